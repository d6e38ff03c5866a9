"""AssemblyAI streaming speech to text, v3: turns, over one WebSocket per stream.

    ears: {stage: stt, type: assemblyai, secret: env:ASSEMBLYAI_API_KEY, options: {speech_model: u3-rt-pro}}

A turn is told again and again until `end_of_turn`; that text is the final. Models that do not write figures and full
stops by themselves send the turn a second time where `format_turns` is set: the nicer text of the same final. With
`turn_events` the end of a turn has the authority; an `utterance` within a turn, where `eager` is set, is an end that
may be taken back.

Finals reach to the end of their last word: the vendor says nothing of the silence after it. `ForceEndpoint` stands for
`finalize`; it is answered by a turn that ends near the end of speech, and by our own deadline where no turn comes.

Source   assemblyai SDK 1.8.2 (`streaming/v3`), assemblyai.com/docs/streaming. Not tried against the live service.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from annotated_types import Ge, Le, Len, MaxLen
from pydantic import Field, model_validator

from actors.logs import get_logger
from actors.providers.interface import Options, StreamSpec, SttCapabilities, TimedWord
from actors.providers.vendor_dialect import SttSettings, Updated, changed_options
from actors.providers.vendor_endpoint import Endpoint
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode, encode, kind_of
from actors.providers.vendor_socket import Message, SocketRequest
from actors.providers.vendor_stt import SttLine
from actors.providers.vendor_stt_provider import VendorSttProvider
from router.errors import ProviderError

__all__ = ["AssemblyAiOptions", "Provider"]

log = get_logger("assemblyai")

_LANGUAGES: dict[str, tuple[str, ...]] = {
    "universal-streaming-english": ("en",),
    "universal-streaming-multilingual": ("en", "es", "fr", "de", "it", "pt"),
    "u3-rt-pro": ("en", "es", "fr", "de", "it", "pt"),
}
"""As the vendor's page on models has them. Others (Universal-3.5 and 3.6, Whisper): whatever the vendor takes."""
_TURNS_KEPT = 8

Term = Annotated[str, Len(1, 50)]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z]{2,5}(-[A-Za-z0-9]{2,8})*$")]


class AssemblyAiOptions(Options):
    speech_model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "universal-streaming-english"
    language: Tag | None = None
    """Universal-3 models are told; universal-streaming-multilingual finds out."""
    keyterms: Annotated[tuple[Term, ...], MaxLen(100)] = ()
    format_turns: bool = True
    """Figures, capitals and full stops, a moment after the final. Universal-3 models write them at once."""
    turn_events: bool = True
    eager: bool = False
    """The end of an utterance within a turn is an end of the turn that may be taken back: the agent thinks ahead."""
    end_of_turn_confidence_threshold: Annotated[float, Ge(0), Le(1)] | None = None
    min_turn_silence_ms: Annotated[int, Ge(0), Le(10000)] | None = None
    max_turn_silence_ms: Annotated[int, Ge(0), Le(60000)] | None = None
    vad_threshold: Annotated[float, Ge(0), Le(1)] | None = None
    mode: Literal["min_latency", "balanced", "max_accuracy"] | None = None
    """Universal-3.5 and later."""
    chunk_ms: Annotated[int, Ge(50), Le(250)] = 50
    """The vendor takes 50 to 1000 and advises 50."""
    keepalive_s: Annotated[float, Ge(0.05), Le(60)] = 20.0
    finalize_s: Annotated[float, Ge(0.05), Le(5)] = 0.9
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 8.0
    """Universal-3 models are silent for longer within speech without a pause."""
    kept_s: Annotated[float, Ge(1), Le(60)] = 30.0
    max_connection_s: Annotated[float, Ge(1), Le(10800)] = 10800.0
    """The vendor ends a session after 3 hours."""

    @model_validator(mode="after")
    def _silences_fit(self) -> AssemblyAiOptions:
        low, high = self.min_turn_silence_ms, self.max_turn_silence_ms
        if low is not None and high is not None and low > high:
            raise ValueError("min_turn_silence_ms is above max_turn_silence_ms")
        return self

    @property
    def is_universal_3(self) -> bool:
        """They write figures and full stops at once and take languages."""
        return self.speech_model.startswith(("u3-", "universal-3"))

    @property
    def said(self) -> dict[str, Any]:
        """What can be said in mid-call too, by the vendor's names; what is left to the vendor is not in it."""
        named = {
            "keyterms_prompt": list(self.keyterms) or None,
            "format_turns": None if self.is_universal_3 else self.format_turns,
            "end_of_turn_confidence_threshold": self.end_of_turn_confidence_threshold,
            "min_turn_silence": self.min_turn_silence_ms,
            "max_turn_silence": self.max_turn_silence_ms,
            "vad_threshold": self.vad_threshold,
            "mode": self.mode,
            "language_codes": [self.language] if self.language and self.is_universal_3 else None,
        }
        return {name: value for name, value in named.items() if value is not None}


_FIXED = frozenset(
    {"turn_events", "eager", "chunk_ms", "keepalive_s", "finalize_s", "stall_s", "kept_s", "max_connection_s"}
)


class _Word(msgspec.Struct, frozen=True):
    text: str
    start: float
    end: float
    confidence: float = 0.0
    word_is_final: bool = True


class _Turn(msgspec.Struct, frozen=True):
    turn_order: int
    turn_is_formatted: bool
    end_of_turn: bool
    transcript: str
    words: tuple[_Word, ...] = ()
    end_of_turn_confidence: float = 0.0
    utterance: str | None = None
    language_code: str | None = None


class _Told(msgspec.Struct, frozen=True):
    """The other messages, as far as they are read."""

    timestamp: float = 0.0
    error_code: int | None = None
    error: str = ""
    warning_code: int | None = None


def _error(vendor: Vendor, message: Message) -> ProviderError:
    told = decode(vendor, message, _Told)
    return vendor.from_close(told.error_code or 1011, told.error)


class AssemblyAiDialect:
    """One stream's: a `vendor_dialect.Dialect`."""

    def __init__(
        self, options: AssemblyAiOptions, spec: StreamSpec, vendor: Vendor, key: str, endpoint: Endpoint
    ) -> None:
        self.options = options
        self._spec, self._vendor, self._endpoint = spec, vendor, endpoint
        self._headers = (("Authorization", key), ("AssemblyAI-Version", "2025-05-12"))
        self._ended: OrderedDict[int, tuple[int, str]] = OrderedDict()
        """Turns of this connection that are over: where the final ended, and its text if it was the whole turn's."""
        self._eager = ""
        """The text of an end that may be taken back."""

    def request(self) -> SocketRequest:
        return SocketRequest(url=self._endpoint.ws("/v3/ws", self._query()), headers=self._headers)

    def hello(self) -> Sequence[Message]:
        self._ended.clear()
        self._eager = ""
        return ()

    def audio(self, pcm: bytes) -> Message:
        return pcm

    def finalize(self) -> Sequence[Message]:
        return ('{"type":"ForceEndpoint"}',)

    def keepalive(self) -> Message | None:
        return '{"type":"KeepAlive"}'

    def bye(self) -> Sequence[Message]:
        return ('{"type":"Terminate"}',)

    def update(self, changes: Mapping[str, Any]) -> Updated:
        before = self.options
        self.options, changed, refused = changed_options(before, changes, _FIXED)
        said = {name: value for name, value in self.options.said.items() if before.said.get(name) != value}
        gone = before.said.keys() - self.options.said.keys()
        if gone == {"keyterms_prompt"}:
            said["keyterms_prompt"], gone = [], set()
        if "speech_model" in changed or gone:
            return Updated(refused=refused, reconnect=True)
        message = encode({"type": "UpdateConfiguration", **said}) if said else ""
        return Updated(refused=refused, messages=(message,) if message else ())

    def take(self, line: SttLine, message: Message) -> None:
        if isinstance(message, bytes):
            line.counts.unknown += 1
            return
        match kind_of(self._vendor, message):
            case "Turn":
                self._turn(line, decode(self._vendor, message, _Turn))
            case "SpeechStarted":
                told = decode(self._vendor, message, _Told)
                if self.options.turn_events and line.sent_s > 0:
                    line.speech_started(told.timestamp / 1000)
            case "Error":
                raise _error(self._vendor, message)
            case "Warning":
                told = decode(self._vendor, message, _Told)
                log.warning("assemblyai.warned", code=told.warning_code)
            case "Begin" | "Heartbeat" | "Silence" | "Termination":
                pass
            case _:
                line.counts.unknown += 1

    def _turn(self, line: SttLine, told: _Turn) -> None:
        over = self._ended.get(told.turn_order)
        if over is not None and over[1] and told.end_of_turn and told.turn_is_formatted:
            line.formatted(over[0], told.transcript)
            self._ended[told.turn_order] = (over[0], "")
        elif line.sent_s <= 0 or told.turn_order <= max(self._ended, default=-1):
            line.counts.stale += 1
        elif told.end_of_turn:
            self._end_turn(line, told)
        else:
            self._go_on(line, told)

    def _go_on(self, line: SttLine, told: _Turn) -> None:
        open_words = [w.text for w in told.words if not w.word_is_final]
        text = " ".join(filter(None, (told.transcript, *open_words)))
        if self._eager and text != self._eager:
            self._eager = ""
            line.resumed()
        line.partial(text)
        if told.utterance and told.transcript and self.options.eager and self.options.turn_events and not self._eager:
            self._eager = text
            line.eager_end(text)

    def _end_turn(self, line: SttLine, told: _Turn) -> None:
        self._eager = ""
        words = [TimedWord(w.text, line.pos(w.start / 1000), line.pos(w.end / 1000)) for w in told.words]
        to_pos = max((word.to_pos for word in words), default=line.sent_pos)
        is_whole = len(words) == len(told.transcript.split())
        confidence = sum(w.confidence for w in told.words) / len(words) if words else None
        text = line.final(
            told.transcript, to_pos, words if words and is_whole else None, confidence=confidence,
            language=told.language_code,
        )  # fmt: skip
        # Of a text that stood in for a part of it before, the vendor's nicer one would tell that part twice.
        self._ended[told.turn_order] = (line.settled_pos, text if text == told.transcript else "")
        while len(self._ended) > _TURNS_KEPT:
            self._ended.popitem(last=False)
        if text and self.options.turn_events:
            line.turn_ended(text if text == told.transcript else "")
        asked = line.asked_pos()
        if asked is not None and (not told.transcript or line.covers(to_pos)):
            line.finalized(asked)

    def _query(self) -> list[tuple[str, str]]:
        o = self.options
        query = [
            ("sample_rate", str(self._spec.rate_hz)), ("encoding", "pcm_s16le"), ("speech_model", o.speech_model),
        ]  # fmt: skip
        if o.speech_model == "universal-streaming-multilingual":
            query.append(("language_detection", "true"))
        return query + [(name, _written(value)) for name, value in o.said.items()]


def _written(value: object) -> str:
    """In a query: booleans in words, lists as JSON, as the vendor's SDK writes them."""
    if isinstance(value, list):
        return encode(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


class Provider(VendorSttProvider[AssemblyAiOptions]):
    TYPE = "assemblyai"
    DEFAULT_ENDPOINT = "https://streaming.assemblyai.com"
    MARKS = {  # noqa: RUF012
        "too many concurrent": "busy", "insufficient": "quota", "account balance": "quota", "paid-only": "quota",
        "3005": "overload", "3006": "config", "3007": "protocol", "3008": "expired", "3009": "busy",
    }  # fmt: skip
    Options = AssemblyAiOptions
    GREETING = "Begin"

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        return SttCapabilities(
            rates_hz=(16000, 8000, 24000, 44100, 48000),
            languages=_LANGUAGES.get(str(options.get("speech_model", "universal-streaming-english")), ()),
            partials=True,
            word_times=True,
            turn_events=options.get("turn_events", True) is not False,
            finalize_acknowledged=False,
            replay_rate_max=1.25,
            needs_secret=True,
        )

    def dialect(self, options: AssemblyAiOptions, spec: StreamSpec, vendor: Vendor) -> AssemblyAiDialect:
        return AssemblyAiDialect(options, spec, vendor, self.key, self.endpoint)

    def settings(self, options: AssemblyAiOptions) -> SttSettings:
        return SttSettings(
            chunk_ms=options.chunk_ms, chunk_min_ms=50, keepalive_s=options.keepalive_s, near_s=0.5,
            finalize_s=options.finalize_s, stall_s=options.stall_s, kept_s=options.kept_s, replay_rate=1.25,
            age_max_s=options.max_connection_s, billed="connection", bye_always=True,
        )  # fmt: skip

    def refused(self, vendor: Vendor, message: Message) -> ProviderError:
        return _error(vendor, message)
