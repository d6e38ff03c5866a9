"""OpenAI's file transcription, `/audio/transcriptions`: one request an utterance, for models that take no stream.

    ears: {stage: stt, type: openai-transcribe, secrets: {"*": "env:OPENAI_API_KEY"}, options: {model: gpt-transcribe}}

The endpoint is the base URL as the vendor's SDK has it, with its `/v1`; servers that speak as OpenAI does are named so.
The audio goes as a WAV file. The answer is read as it is written (server-sent events) where the model does that, and as
one JSON object where it comes as one: `whisper-1` ignores the wish, and so do other servers.

Source   openai 3.57 (`types/audio`); help page "Audio API FAQ". Not tried against the live service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import httpx
import msgspec
from annotated_types import Ge, Le, Len, MaxLen
from pydantic import Field, model_validator

from actors.providers.interface import Emit, Options, StreamSpec, SttCapabilities, TimedWord
from actors.providers.vendor_dialect import changed_options
from actors.providers.vendor_http import HttpLimits
from actors.providers.vendor_json import decode
from actors.providers.vendor_pcm import wav_header
from actors.providers.vendor_provider import VendorProvider
from actors.providers.vendor_sse import SseDecoder, SseEvent
from actors.providers.vendor_utterances import Job, UtteranceLine, UtteranceSettings
from router.errors import FaultKind, ProviderError

__all__ = ["OpenAiTranscribeOptions", "Provider"]

_RATES_HZ = (16000, 8000, 24000, 32000, 44100, 48000)
_ANSWER_MAX = 1_048_576
_FINAL_SLACK_S = 0.2
_PROBE_S = 0.2
"""Of silence: there is no smaller question that has to do with transcription."""

Keyword = Annotated[str, Len(1, 100)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]


class OpenAiTranscribeOptions(Options):
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")] = "gpt-transcribe"
    language: Language | None = None
    """BCP 47; the vendor is told the language without its region. None: it finds out."""
    languages: Annotated[tuple[Language, ...], MaxLen(8)] = ()
    """Languages that may come (`gpt-transcribe`)."""
    keyterms: Annotated[tuple[Keyword, ...], MaxLen(100)] = ()
    """Words to expect (`gpt-transcribe`)."""
    prompt: Annotated[str, MaxLen(4000)] | None = None
    temperature: Annotated[float, Ge(0), Le(1)] | None = None
    stream: bool = True
    """Ask for the text as it is written."""
    word_times: bool = False
    """`whisper-1` and servers like it: `verbose_json` with words, in one piece."""
    finalize_s: Annotated[float, Ge(0.05), Le(20)] = 3.0
    """`finalize` is answered by then. Our own estimate, with no live service to measure."""
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 10.0
    utterance_s: Annotated[float, Ge(5), Le(600)] = 60.0
    """Longer speech goes in pieces. The vendor takes 25 MiB: 13 minutes at 16 kHz."""

    @model_validator(mode="after")
    def _fits_the_model(self) -> OpenAiTranscribeOptions:
        takes_none = self.model.startswith(("gpt-4o", "whisper-1"))
        if (self.keyterms or self.languages) and takes_none:
            raise ValueError(f"keyterms, languages: {self.model} takes none")
        if self.word_times and self.model.startswith("gpt-"):
            raise ValueError(f"word_times: {self.model} has none")
        if self.model.startswith(("gpt-live", "gpt-realtime")):
            raise ValueError(f"model: {self.model} is for live audio: type openai-stt")
        return self


_FIXED = frozenset({"finalize_s", "stall_s", "utterance_s"})


class _TokenDetails(msgspec.Struct, frozen=True):
    audio_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    type: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    input_token_details: _TokenDetails | None = None
    seconds: float = 0.0


class _Word(msgspec.Struct, frozen=True):
    word: str
    start: float
    end: float


class _Language(msgspec.Struct, frozen=True):
    code: str = ""


class _Error(msgspec.Struct, frozen=True):
    type: str | None = None
    code: str | None = None
    message: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    text: str
    words: tuple[_Word, ...] | None = None
    language: str | None = None
    languages: tuple[_Language, ...] | None = None
    usage: _Usage | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str = ""
    delta: str = ""
    text: str = ""
    languages: tuple[_Language, ...] | None = None
    usage: _Usage | None = None
    error: _Error | None = None


class OpenAiTranscriber:
    """One stream's: a `vendor_utterances.Transcriber`."""

    def __init__(self, provider: Provider, options: OpenAiTranscribeOptions, rate_hz: int, tenant: str) -> None:
        self.options = options
        self._provider, self._rate_hz, self._tenant = provider, rate_hz, tenant
        self._vendor = provider.vendor.of(tenant) if tenant else provider.vendor

    def update(self, changes: Mapping[str, Any]) -> tuple[str, ...]:
        self.options, _, refused = changed_options(self.options, changes, _FIXED)
        return refused

    async def transcribe(self, job: Job) -> None:
        provider = self._provider
        wav = wav_header(self._rate_hz, len(job.pcm) // 2) + job.pcm
        async with provider.http.stream(
            "POST", provider.endpoint.http("/audio/transcriptions"), headers=provider.headers, tenant=self._tenant,
            data=_form(self.options), files={"file": ("speech.wav", wav, "audio/wav")},
        ) as response:  # fmt: skip
            job.alive()
            if _is_stream(response):
                await self._written(job, response)
            else:
                self._take(job, decode(self._vendor, await self._whole(response), _Answer))

    async def _written(self, job: Job, response: httpx.Response) -> None:
        """Read to its end, also when the text is whole: a connection whose answer was not read cannot be reused."""
        decoder, text = SseDecoder(self._vendor), ""
        async for piece in response.aiter_bytes():
            job.alive()
            for event in () if job.is_done else decoder.feed(piece):
                if (told := self._event(event)) is None:
                    continue
                if told.type == "transcript.text.done":
                    self._take(job, _Answer(told.text, languages=told.languages, usage=told.usage))
                    job.done()
                    break
                text += told.delta
                job.interim(text.strip())
        if not job.is_done:
            raise self._vendor.error("connect", "the answer ended before the text was whole")

    def _event(self, event: SseEvent) -> _Event | None:
        if event.data == "[DONE]":
            return None
        told = decode(self._vendor, event.data, _Event)
        if told.error is not None:
            said = ": ".join(filter(None, (told.error.code or told.error.type, told.error.message)))
            raise self._vendor.from_message(said, "overload")
        if told.type in ("transcript.text.delta", "transcript.text.done"):
            return told
        self._provider.counts.unknown += told.type != "transcript.text.segment"
        return None

    async def _whole(self, response: httpx.Response) -> bytes:
        body = b""
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > _ANSWER_MAX:
                raise self._vendor.error("protocol", f"an answer of more than {_ANSWER_MAX} bytes")
        return body

    def _take(self, job: Job, answer: _Answer) -> None:
        job.text = answer.text.strip()
        if self.options.word_times and answer.words is not None:
            words = [TimedWord(w.word.strip(), job.pos(w.start), job.pos(w.end)) for w in answer.words]
            job.words = words or None
        job.language = answer.languages[0].code or None if answer.languages else answer.language
        usage = answer.usage or _Usage()
        if usage.type == "tokens":
            audio = usage.input_token_details.audio_tokens or 0 if usage.input_token_details is not None else 0
            job.used(
                audio_s=job.seconds, audio_tokens_in=float(audio),
                tokens_in=float(max(0, usage.input_tokens - audio)), tokens_out=float(usage.output_tokens),
            )  # fmt: skip
        else:
            job.used(audio_s=usage.seconds if usage.type == "duration" else job.seconds)


class Provider(VendorProvider[OpenAiTranscribeOptions]):
    TYPE = "openai-transcribe"
    DEFAULT_ENDPOINT = "https://api.openai.com/v1"
    MARKS: ClassVar[Mapping[str, FaultKind]] = {
        "insufficient_quota": "quota", "credit": "quota", "invalid_api_key": "auth", "model_not_found": "config",
    }  # fmt: skip
    HTTP = HttpLimits(read_s=65.0)  # beyond `stall_s`, which says more
    Options = OpenAiTranscribeOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        finalize_s = options.get("finalize_s", 3.0)
        return SttCapabilities(
            rates_hz=_RATES_HZ,
            streaming=False,
            partials=options.get("stream", True) is True and options.get("word_times", False) is not True,
            word_times=options.get("word_times", False) is True,
            final_p99_s=(float(finalize_s) if isinstance(finalize_s, int | float) else 3.0) + _FINAL_SLACK_S,
            needs_secret=True,
        )

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def warm(self) -> None:
        await super().warm()
        self.http.open()

    async def probe(self) -> None:
        """A moment of silence is transcribed: key, model and options are taken."""
        samples = round(_PROBE_S * _RATES_HZ[0])
        wav = wav_header(_RATES_HZ[0], samples) + bytes(2 * samples)
        try:
            await self.http.fetch(
                "POST", self.endpoint.http("/audio/transcriptions"), headers=self.headers, data=_form(self.options),
                files={"file": ("speech.wav", wav, "audio/wav")},
            )  # fmt: skip
        except ProviderError as error:
            if "audio_too_short" not in error.detail:
                raise

    async def open(self, spec: StreamSpec, emit: Emit) -> UtteranceLine:
        options, vendor = self.parsed(spec), self.vendor.of(spec.tenant_id)
        if spec.rate_hz not in _RATES_HZ:
            raise vendor.error("config", f"rate_hz {spec.rate_hz}; it takes {', '.join(map(str, _RATES_HZ))}")
        await self.warm()
        settings = UtteranceSettings(
            finalize_s=options.finalize_s, stall_s=options.stall_s, utterance_s=options.utterance_s
        )
        transcriber = OpenAiTranscriber(self, options, spec.rate_hz, spec.tenant_id)
        line = UtteranceLine(transcriber, spec, emit, vendor, self.counts, self.home, settings, self.let_go)
        self.keep(line)
        return line


def _form(options: OpenAiTranscribeOptions) -> dict[str, str | list[str]]:
    form: dict[str, str | list[str]] = {
        "model": options.model, "response_format": "verbose_json" if options.word_times else "json",
    }  # fmt: skip
    if options.word_times:
        form["timestamp_granularities[]"] = ["word"]
    elif options.stream:
        form["stream"] = "true"
    if options.language:
        form["language"] = options.language.split("-")[0]
    if options.languages:
        form["languages[]"] = [language.split("-")[0] for language in options.languages]
    if options.keyterms:
        form["keywords[]"] = list(options.keyterms)
    if options.prompt is not None:
        form["prompt"] = options.prompt
    if options.temperature is not None:
        form["temperature"] = f"{options.temperature:g}"
    return form


def _is_stream(response: httpx.Response) -> bool:
    return bool(response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream")
