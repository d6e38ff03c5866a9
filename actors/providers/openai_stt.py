"""OpenAI realtime transcription: text of live audio over one WebSocket per stream, `/v1/realtime?intent=transcription`.

    ears: {stage: stt, type: openai-stt, secrets: {"*": "env:OPENAI_API_KEY"}, options: {language: en}}

Audio is committed at each `finalize`, or by the vendor where it has `turn_detection`; each commit gives an item, and
each item a final (`openai_stt_items.py`).

Two kinds of models. `gpt-live-transcribe` and `gpt-realtime-whisper` write while they hear and take no turn detection.
The others write after the commit, so nothing is owed before it.

Without turn detection only speech is sent: a commit covers everything since the one before it, and minutes of silence
before a word cost money and make words.

Source   openai 3.57 (`types/realtime`), developers.openai.com (realtime transcription). Not tried against the live
         service.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le, Len, MaxLen
from pydantic import Field, model_validator

from actors.providers.interface import Options, StreamSpec, SttCapabilities
from actors.providers.openai_stt_items import Error, Items, Told, refusal
from actors.providers.vendor_dialect import SttSettings, Updated, changed_options
from actors.providers.vendor_endpoint import Endpoint
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode, encode
from actors.providers.vendor_socket import Message, SocketRequest
from actors.providers.vendor_stt import SttLine
from actors.providers.vendor_stt_provider import VendorSttProvider
from router.errors import ProviderError

__all__ = ["OpenAiSttOptions", "Provider"]

RATE_HZ = 24000
"""The only rate of its PCM."""
_BEFORE_S = 0.3
"""Sent before the speech that the session heard."""
_FINAL_SLACK_S = 0.2
_NOT_READ = frozenset({
    "session.created", "session.updated", "conversation.item.added", "conversation.item.created",
    "conversation.item.done", "input_audio_buffer.cleared", "rate_limits.updated", "segment",
})  # fmt: skip

Keyword = Annotated[str, Len(1, 100)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]


def is_live(model: str) -> bool:
    """It writes while it hears, and has no turn detection."""
    return model.startswith(("gpt-live-transcribe", "gpt-realtime-whisper"))


def takes_hints(model: str) -> bool:
    """Keywords and several languages, as the SDK has them."""
    return model.startswith(("gpt-live-transcribe", "gpt-transcribe"))


class OpenAiSttOptions(Options):
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "gpt-live-transcribe"
    language: Language | None = None
    """BCP 47; the vendor is told the language without its region. None: it finds out."""
    languages: Annotated[tuple[Language, ...], MaxLen(8)] = ()
    """Languages that may come (`gpt-live-transcribe`, `gpt-transcribe`)."""
    keyterms: Annotated[tuple[Keyword, ...], MaxLen(100)] = ()
    """Words to expect (`gpt-live-transcribe`, `gpt-transcribe`)."""
    prompt: Annotated[str, MaxLen(4000)] | None = None
    """What the call is about; not for `gpt-realtime-whisper`."""
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    """How long a live model waits before it writes: later is better."""
    noise_reduction: Literal["near_field", "far_field"] | None = None
    turn_detection: Literal["none", "server_vad", "semantic_vad"] = "none"
    """The vendor's, which then may end turns; not for live models."""
    vad_threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    silence_ms: Annotated[int, Ge(50), Le(5000)] = 500
    """Silence that ends a turn, for `server_vad`."""
    prefix_ms: Annotated[int, Ge(0), Le(2000)] = 300
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    """For `semantic_vad`."""
    chunk_ms: Annotated[int, Ge(20), Le(500)] = 50
    finalize_s: Annotated[float, Ge(0.05), Le(10)] | None = None
    """`finalize` is answered by then. None: 1.5, and 2.8 for models that write after the commit."""
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 5.0
    kept_s: Annotated[float, Ge(1), Le(60)] = 30.0
    max_connection_s: Annotated[float, Ge(1), Le(3600)] = 3300.0
    """A connection is replaced before it is so old; the vendor ends sessions after an hour."""

    @model_validator(mode="after")
    def _fits_the_model(self) -> OpenAiSttOptions:
        if is_live(self.model) and self.turn_detection != "none":
            raise ValueError(f"turn_detection: {self.model} has none")
        if self.delay is not None and not is_live(self.model):
            raise ValueError(f"delay: {self.model} has none")
        if (self.keyterms or self.languages) and not takes_hints(self.model):
            raise ValueError(f"keyterms, languages: {self.model} takes none")
        if self.prompt is not None and self.model.startswith("gpt-realtime-whisper"):
            raise ValueError(f"prompt: {self.model} takes none")
        return self


_BY_UPDATE = frozenset({"language", "languages", "keyterms", "prompt", "delay", "noise_reduction"})
_FIXED = frozenset({"turn_detection", "chunk_ms", "finalize_s", "stall_s", "kept_s", "max_connection_s"})
"""Set when the stream is opened: who ends turns, and what is ours."""


class OpenAiDialect:
    """One stream's: a `vendor_dialect.Dialect`."""

    def __init__(
        self, options: OpenAiSttOptions, spec: StreamSpec, vendor: Vendor, key: str, endpoint: Endpoint
    ) -> None:
        self.options = options
        self._spec, self._vendor, self._endpoint = spec, vendor, endpoint
        self._headers = (("Authorization", f"Bearer {key}"),)
        self._appended = 0
        """Samples given to this connection."""
        self._items = Items(vendor, writes_early=is_live(options.model))
        self._is_leaving = False

    # ----------------------------------------------------------------------------------------------- outgoing

    def request(self) -> SocketRequest:
        return SocketRequest(url=self._endpoint.ws("/realtime", [("intent", "transcription")]), headers=self._headers)

    def hello(self) -> Sequence[Message]:
        self._appended, self._items = 0, Items(self._vendor, writes_early=is_live(self.options.model))
        return (self._session(),)

    def audio(self, pcm: bytes) -> Message:
        self._appended += len(pcm) // 2
        return f'{{"type":"input_audio_buffer.append","audio":"{base64.b64encode(pcm).decode()}"}}'

    def finalize(self) -> Sequence[Message]:
        name = self._items.commit(self._appended / RATE_HZ)
        return (f'{{"type":"input_audio_buffer.commit","event_id":"{name}"}}',)

    def keepalive(self) -> Message | None:
        return None

    def bye(self) -> Sequence[Message]:
        self._is_leaving = True
        return self.finalize()

    def update(self, changes: Mapping[str, Any]) -> Updated:
        """Hints change in place. A model of the other kind is refused: what it owes is set at the opening."""
        before = self.options
        wanted = changes.get("model")
        fixed = _FIXED | ({"model"} if isinstance(wanted, str) and is_live(wanted) != is_live(before.model) else set())
        self.options, changed, refused = changed_options(before, changes, fixed)
        if changed <= _BY_UPDATE:
            return Updated(refused=refused, messages=(self._session(),) if changed else ())
        return Updated(refused=refused, reconnect=True)

    # ----------------------------------------------------------------------------------------------- incoming

    def take(self, line: SttLine, message: Message) -> None:
        if isinstance(message, bytes):
            line.counts.unknown += 1
            return
        told, items = decode(self._vendor, message, Told), self._items
        match told.type.removeprefix("conversation.item.input_audio_transcription."):
            case "delta":
                items.delta(line, told)
            case "completed":
                items.completed(line, told)
            case "failed":
                items.failed(line, told)
            case "input_audio_buffer.committed":
                items.committed(line, told)
            case "input_audio_buffer.speech_started":
                line.alive()
                line.speech_started(told.audio_start_ms / 1000)
            case "input_audio_buffer.speech_stopped":
                line.alive()
                line.speech_stopped(told.audio_end_ms / 1000)
                items.stopped(told)
            case "error":
                items.refused(line, told)
            case kind if kind not in _NOT_READ:
                line.counts.unknown += 1
        if self._is_leaving and items.is_all_told:
            line.said_all()

    def _session(self) -> str:
        o = self.options
        hints: dict[str, Any] = {"model": o.model}
        if o.language:
            hints["language"] = _bare(o.language)
        if takes_hints(o.model):
            hints["languages"] = [_bare(language) for language in o.languages]
            hints["keywords"] = list(o.keyterms)
        if o.prompt is not None:
            hints["prompt"] = o.prompt
        if o.delay is not None:
            hints["delay"] = o.delay
        heard = {
            "format": {"type": "audio/pcm", "rate": RATE_HZ},
            "transcription": {name: value for name, value in hints.items() if value != []},
            "noise_reduction": {"type": o.noise_reduction} if o.noise_reduction else None,
            "turn_detection": _detection(o),
        }
        return encode({"type": "session.update", "session": {"type": "transcription", "audio": {"input": heard}}})


class Provider(VendorSttProvider[OpenAiSttOptions]):
    TYPE = "openai-stt"
    DEFAULT_ENDPOINT = "https://api.openai.com/v1"
    MARKS: ClassVar = {
        "insufficient_quota": "quota", "credit": "quota", "session_expired": "expired", "rate_limit": "busy",
        "invalid_api_key": "auth", "model_not_found": "config", "beta_api_shape_disabled": "config",
    }  # fmt: skip
    Options = OpenAiSttOptions
    GREETING, REFUSAL = "session.updated", "error"

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        detection = options.get("turn_detection", "none")
        return SttCapabilities(
            rates_hz=(RATE_HZ,),
            partials=True,
            turn_events=isinstance(detection, str) and detection != "none",
            final_p99_s=_finalize_s(options.get("model"), options.get("finalize_s")) + _FINAL_SLACK_S,
            needs_secret=True,
        )

    def dialect(self, options: OpenAiSttOptions, spec: StreamSpec, vendor: Vendor) -> OpenAiDialect:
        return OpenAiDialect(options, spec, vendor, self.key, self.endpoint)

    def refused(self, vendor: Vendor, message: Message) -> ProviderError:
        return refusal(vendor, decode(vendor, message, Told).error or Error())

    def settings(self, options: OpenAiSttOptions) -> SttSettings:
        return SttSettings(
            chunk_ms=options.chunk_ms, keepalive_s=None, finalize_s=_finalize_s(options.model, options.finalize_s),
            stall_s=options.stall_s, answers="speech" if is_live(options.model) else "finalize",
            before_s=_BEFORE_S if options.turn_detection == "none" else None, replay_rate=4.0, kept_s=options.kept_s,
            age_max_s=options.max_connection_s,
        )  # fmt: skip


def _finalize_s(model: object, given: object) -> float:
    """Our own estimate, with no live service to measure: one that writes while it hears has little left to write."""
    if isinstance(given, int | float):
        return float(given)
    return 1.5 if is_live(model if isinstance(model, str) else "gpt-live-transcribe") else 2.8


def _detection(options: OpenAiSttOptions) -> dict[str, Any] | None:
    if options.turn_detection == "server_vad":
        return {
            "type": "server_vad", "threshold": options.vad_threshold, "prefix_padding_ms": options.prefix_ms,
            "silence_duration_ms": options.silence_ms,
        }  # fmt: skip
    if options.turn_detection == "semantic_vad":
        return {"type": "semantic_vad", "eagerness": options.eagerness}
    return None


def _bare(language: str) -> str:
    """The vendor takes ISO 639: no region."""
    return language.split("-")[0]
