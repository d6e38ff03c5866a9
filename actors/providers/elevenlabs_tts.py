"""ElevenLabs text to speech, `multi-stream-input`: up to five replies over one WebSocket.

    voice: {stage: tts, type: elevenlabs-tts, secret: env:ELEVENLABS_API_KEY, options: {voice: JBFqnCBsd6RMkjVDRZzb}}

A reply is a context, each sentence is flushed. The vendor promises no answer to a flush, so a sentence is spoken when
the letters that it was reported to have spoken cover it, or when it says so (`flush_done`), or at the latest when it
has been quiet for `quiet_s` after most of it; the last one when the context is over (`isFinal`), which follows the
closing that is sent with it. The address carries voice, model, language and format: sockets are shared by replies that
agree in those.

Cancel   closes the context; what was flushed is spoken to its end by the vendor, dropped here, and the context counts
         among the five until `isFinal`.
Idle     an idle context is dropped after `inactivity_timeout` (180 s is asked for); sockets that are kept open are
         replaced before that.

Source   elevenlabs 2.78 (`types/*_multi.py`, `close_context.py`, `flush_context.py`); elevenlabs.io/docs: multi-context
         WebSocket, models; livekit/agents-js issue 1985 (the five). Not tried against the live service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from annotated_types import Ge, Le
from pydantic import Field

from actors.providers.interface import Options, TtsCapabilities
from actors.providers.vendor_contexts import Carrier, CarrierLimits, Context
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode, encode
from actors.providers.vendor_pcm import from_base64
from actors.providers.vendor_pool import PoolSettings
from actors.providers.vendor_socket import Message, SocketRequest
from actors.providers.vendor_tts import TtsSettings
from actors.providers.vendor_tts_provider import SocketTtsProvider
from actors.providers.vendor_tts_socket import TtsDialect
from router.errors import ProviderError

__all__ = ["ElevenLabsTtsOptions", "Provider"]

_RATES_HZ = (24000, 16000, 8000, 22050, 44100, 48000)
_INACTIVITY_S = 180
"""The most that the vendor allows."""
_CONTEXTS_MAX = 5
"""Of a socket; a sixth ends the socket with 1008."""
_MULTILINGUAL_2 = (
    "en", "ja", "zh", "de", "hi", "fr", "ko", "pt", "it", "es", "id", "nl", "tr", "fil", "pl", "sv", "bg", "ro", "ar",
    "cs", "el", "fi", "hr", "ms", "sk", "da", "ta", "uk", "ru",
)  # fmt: skip
_LANGUAGES = {
    "eleven_multilingual_v2": _MULTILINGUAL_2,
    "eleven_flash_v2_5": (*_MULTILINGUAL_2, "hu", "no", "vi"),
    "eleven_turbo_v2_5": (*_MULTILINGUAL_2, "hu", "no", "vi"),
    "eleven_flash_v2": ("en",),
    "eleven_turbo_v2": ("en",),
}
_MOST = 0.9
"""Share of a sentence's letters that must have been reported before quiet is taken for its end."""

Share = Annotated[float, Ge(0), Le(1)]


class ElevenLabsTtsOptions(Options):
    voice: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    """The id of a voice."""
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "eleven_flash_v2_5"
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = None
    """BCP 47; the vendor is told its first part. None: it hears it from the text."""
    stability: Share | None = None
    similarity_boost: Share | None = None
    style: Share | None = None
    use_speaker_boost: bool | None = None
    speed: Annotated[float, Ge(0.7), Le(1.2)] | None = None
    text_normalization: Literal["auto", "on", "off"] = "auto"
    enable_logging: bool = True
    """False: zero retention, for accounts that have it."""
    seed: Annotated[int, Ge(0), Le(4294967295)] | None = None
    rate_hz: Literal[8000, 16000, 22050, 24000, 44100, 48000] = 24000
    """Of the higher ones the vendor says that they depend on the plan."""
    prewarm: Annotated[int, Ge(0), Le(16)] = 1
    linger_s: Annotated[float, Ge(0.02), Le(120)] = 20.0
    quiet_s: Annotated[float, Ge(0.05), Le(5)] = 1.0
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 5.0
    idle_max_s: Annotated[float, Ge(0.1), Le(170)] = 150.0


_FIXED = frozenset({"rate_hz", "prewarm", "linger_s", "quiet_s", "stall_s", "idle_max_s"})
_SETTINGS = ("stability", "similarity_boost", "style", "use_speaker_boost", "speed")


class _Alignment(msgspec.Struct, frozen=True):
    """The vendor's pages and its SDK do not spell the fields alike."""

    chars: tuple[str, ...] = ()
    charStartTimesMs: tuple[float, ...] | None = None
    charsStartTimesMs: tuple[float, ...] | None = None
    charDurationsMs: tuple[float, ...] | None = None
    charsDurationsMs: tuple[float, ...] | None = None

    def letters(self) -> list[tuple[str, float, float]]:
        """(letter, start, end) in milliseconds from the piece of audio that it came with."""
        starts = self.charStartTimesMs or self.charsStartTimesMs or ()
        lengths = self.charDurationsMs or self.charsDurationsMs or ()
        return [(c, s, s + d) for c, s, d in zip(self.chars, starts, lengths, strict=False)]


class _Told(msgspec.Struct, frozen=True):
    type: str = ""
    audio: str | None = None
    contextId: str | None = None
    context_id: str | None = None
    isFinal: bool | None = None
    is_final: bool | None = None
    alignment: _Alignment | None = None
    error: str | None = None
    message: str | None = None
    code: int | None = None

    @property
    def context(self) -> str | None:
        return self.contextId if self.contextId is not None else self.context_id


class _Progress:
    """How much of a context's text was spoken: in letters, white space not counted."""

    __slots__ = (
        "acknowledged", "covered", "given", "heard_s", "is_closing", "marks", "timer", "told", "word", "word_ms",
    )  # fmt: skip

    def __init__(self) -> None:
        self.given = self.covered = self.told = self.acknowledged = 0
        self.marks: list[int] = []
        """Letters given before each flush."""
        self.word = ""
        """Letters of a word that a piece of audio ended in."""
        self.word_ms = (0.0, 0.0)
        self.heard_s = 0.0
        self.is_closing = False
        self.timer: asyncio.TimerHandle | None = None


class ElevenLabsTtsDialect:
    """A `vendor_tts_socket.TtsDialect`. `context.options`: the voice settings; `context.state`: a `_Progress`."""

    ends_itself = True
    tells_flushed = False

    def __init__(self, provider: Provider) -> None:
        self.linger_s: float | None = provider.options.linger_s
        self._provider = provider
        self._vendor: Vendor = provider.vendor
        self._counts = provider.counts
        self._quiet_s = provider.options.quiet_s

    def begin(self, context: Context) -> Sequence[Message]:
        context.state = _Progress()
        settings = {"voice_settings": context.options["settings"]} if context.options["settings"] else {}
        return (encode({"text": " ", "context_id": context.id, **settings}),)

    def text(self, context: Context, text: str) -> Sequence[Message]:
        context.state.given += _letters(text)
        return (encode({"text": f"{text.strip()} ", "context_id": context.id}),)

    def flush(self, context: Context) -> Sequence[Message]:
        context.state.marks.append(context.state.given)
        return (encode({"context_id": context.id, "flush": True}),)

    def end(self, context: Context) -> Sequence[Message]:
        if context.state.is_closing:
            return ()
        context.state.is_closing = True
        return (encode({"context_id": context.id, "close_context": True}),)

    def cancel(self, context: Context) -> Sequence[Message]:
        """No other way to stop it; where all its text has been given it was closed before."""
        return self.end(context)

    def take(self, carrier: Carrier, message: Message) -> None:
        if isinstance(message, bytes):
            self._counts.unknown += 1
            return
        told = decode(self._vendor, message, _Told)
        if told.error is not None:
            self._error(carrier, told)
        elif told.isFinal or told.is_final:
            context = carrier.contexts.get(told.context or "")
            if context is None:
                self._counts.stale += 1
            else:
                self._provider.carriers.over(context)
        elif told.audio or told.type == "flush_done":
            context = carrier.find(told.context)
            if context is not None:
                self._tell(context, told)
        else:
            self._counts.unknown += 1

    def _tell(self, context: Context, told: _Told) -> None:
        user, progress = context.user, context.state
        assert user is not None
        if told.audio:
            try:
                pcm = from_base64(self._vendor, told.audio)
            except ProviderError as error:
                user.refused(context, error)
                return
            base_ms = context.samples * 1000 / context.options["rate_hz"]
            context.samples += len(pcm) // 2
            user.sound(context, pcm)
            self._align(context, told.alignment or _Alignment(), base_ms)
            self._watch_quiet(context)
        else:
            progress.acknowledged += 1
        covered = sum(mark <= progress.covered for mark in progress.marks)
        self._flushed(context, max(covered, min(progress.acknowledged, len(progress.marks))))

    def _align(self, context: Context, alignment: _Alignment, base_ms: float) -> None:
        """Words of the letters; one that a piece ends in goes on in the next."""
        progress: _Progress = context.state
        for letter, start_ms, end_ms in alignment.letters():
            if letter.isspace() or not letter:
                self._word(context)
                continue
            begin_ms = progress.word_ms[0] if progress.word else base_ms + start_ms
            progress.word += letter
            progress.word_ms = (begin_ms, base_ms + end_ms)
            progress.covered += 1
        if progress.covered in progress.marks:
            self._word(context)

    def _word(self, context: Context) -> None:
        progress: _Progress = context.state
        word, progress.word = progress.word, ""
        if word and context.user is not None:
            context.user.timed(context, word, *progress.word_ms)

    def _flushed(self, context: Context, count: int) -> None:
        progress: _Progress = context.state
        while progress.told < count and context.user is not None:
            progress.told += 1
            context.user.flushed(context)

    def _watch_quiet(self, context: Context) -> None:
        progress: _Progress = context.state
        loop = asyncio.get_running_loop()
        progress.heard_s = loop.time()
        if progress.timer is None:
            progress.timer = loop.call_later(self._quiet_s, self._quiet, context)

    def _quiet(self, context: Context) -> None:
        """No audio for a while: the sentence whose end was not reported is over, if most of it was spoken."""
        progress: _Progress = context.state
        progress.timer = None
        if context.user is None or progress.told >= len(progress.marks):
            return
        loop = asyncio.get_running_loop()
        due_s = progress.heard_s + self._quiet_s
        if loop.time() < due_s:
            progress.timer = loop.call_at(due_s, self._quiet, context)
        elif not progress.covered or progress.covered >= _MOST * progress.marks[progress.told]:
            self._counts.late += 1
            self._flushed(context, progress.told + 1)

    def _error(self, carrier: Carrier, told: _Told) -> None:
        error = self._vendor.from_close(told.code or 1008, f"{told.error} {told.message or ''}".strip())
        context = carrier.find(told.context) if told.context is not None else None
        if told.context is None:
            raise error
        if context is not None and context.user is not None:
            context.user.refused(context, error)


class Provider(SocketTtsProvider[ElevenLabsTtsOptions]):
    TYPE = "elevenlabs-tts"
    DEFAULT_ENDPOINT = "https://api.elevenlabs.io"
    MARKS = {  # noqa: RUF012
        "quota_exceeded": "quota",
        "voice_does_not_exist": "config",
        "voice_id_does_not_exist": "config",
        "voice_not_found": "config",
        "model_not_found": "config",
        "unsupported": "config",
        "max_character_limit_exceeded": "config",
        "too_many_concurrent_requests": "busy",
        "system_busy": "busy",
        "max_active_conversations": "busy",
        "input_timeout_exceeded": "expired",
        "missing_permissions": "auth",
        "detected_unusual_activity": "auth",
    }
    Options = ElevenLabsTtsOptions
    LIMITS = CarrierLimits(contexts_max=_CONTEXTS_MAX, tells_over=True, over_s=10.0)

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TtsCapabilities:
        model, rate_hz = str(options.get("model", "eleven_flash_v2_5")), options.get("rate_hz", 24000)
        return TtsCapabilities(
            rates_hz=tuple(sorted(_RATES_HZ, key=lambda known_hz: known_hz != rate_hz)),
            languages=_LANGUAGES.get(model, ()),
            takes="sentences",
            alignment=True,
            first_audio_p99_s=2.0,
            needs_secret=True,
        )

    def dialect(self) -> TtsDialect:
        return ElevenLabsTtsDialect(self)

    def pool_settings(self) -> PoolSettings:
        return PoolSettings(idle_max_s=self.options.idle_max_s)

    def settings(self, options: ElevenLabsTtsOptions) -> TtsSettings:
        return TtsSettings(stall_s=options.stall_s, fixed=_FIXED)

    def request(self, options: ElevenLabsTtsOptions, rate_hz: int) -> SocketRequest:
        query = [
            ("model_id", options.model), ("output_format", f"pcm_{rate_hz}"), ("sync_alignment", "true"),
            ("inactivity_timeout", str(_INACTIVITY_S)), ("apply_text_normalization", options.text_normalization),
        ]  # fmt: skip
        if options.language is not None:
            query.append(("language_code", options.language.split("-")[0].lower()))
        if not options.enable_logging:
            query.append(("enable_logging", "false"))
        if options.seed is not None:
            query.append(("seed", str(options.seed)))
        path = f"/v1/text-to-speech/{options.voice}/multi-stream-input"
        return SocketRequest(url=self.endpoint.ws(path, query), headers=(("xi-api-key", self.key),))

    def asked(self, options: ElevenLabsTtsOptions, rate_hz: int) -> dict[str, Any]:
        settings = {name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None}
        return {"settings": settings, "rate_hz": rate_hz}


def _letters(text: str) -> int:
    return sum(not c.isspace() for c in text)
