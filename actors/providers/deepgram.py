"""Deepgram live speech to text, `/v1/listen`: Nova models over one WebSocket per stream.

    ears: {stage: stt, type: deepgram, secret: env:DEEPGRAM_API_KEY, options: {model: nova-3, language: en}}

Spans that Deepgram settles (`is_final`) are finals at once; `Finalize` is sent when the session says so, and answered
by the result that has `from_finalize`, by one that covers the position asked for, or by our own deadline: with little
audio buffered Deepgram may send none. Keyterms change in place (`Configure`), the language by another connection.

With `turn_events` its endpointing may have the authority over turns: `speech_final` ends one, and `UtteranceEnd` does
where no `speech_final` came before it (noise can keep endpointing from firing).

Source   deepgram-sdk 7.17 (`listen/v1` types), developers.deepgram.com. Not tried against the live service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from annotated_types import Ge, Le, Len, MaxLen
from pydantic import Field

from actors.logs import get_logger
from actors.providers.interface import Options, StreamSpec, SttCapabilities, TimedWord
from actors.providers.vendor_dialect import SttSettings, Updated, changed_options
from actors.providers.vendor_endpoint import Endpoint
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode, encode, kind_of
from actors.providers.vendor_socket import Message, SocketRequest
from actors.providers.vendor_stt import SttLine
from actors.providers.vendor_stt_provider import VendorSttProvider
from router.errors import FaultKind

__all__ = ["DEEPGRAM_MARKS", "DeepgramOptions", "Provider"]

log = get_logger("deepgram")

_NOVA_3 = (
    "en", "multi", "es", "fr", "de", "pt", "it", "nl", "sv", "da", "no", "fi", "pl", "cs", "sk", "hu", "ro", "bg", "el",
    "et", "lv", "lt", "ca", "hr", "sr", "sl", "bs", "mk", "be", "uk", "ru", "tr", "id", "ms", "tl", "vi", "th", "hi",
    "bn", "mr", "ta", "te", "kn", "ja", "ko", "zh",
)  # fmt: skip
"""Of Nova-3 as the vendor's changelog has them up to March 2026. Other models: whatever the vendor takes."""

Word = Annotated[str, Len(1, 100)]


DEEPGRAM_MARKS: dict[str, FaultKind] = {
    "data-0000": "protocol", "asr_payment_required": "quota", "insufficient_permissions": "auth",
    "too_many_requests": "busy",
}  # fmt: skip
"""Of both versions of the interface."""


class DeepgramOptions(Options):
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "nova-3"
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,5}(-[A-Za-z0-9]{2,8})*$")] = "en"
    """BCP 47, or `multi`: several languages in one call (Nova-3)."""
    keyterms: Annotated[tuple[Word, ...], MaxLen(100)] = ()
    """Nova-3; the vendor allows 500 tokens in total."""
    endpointing_ms: Annotated[int, Ge(0), Le(5000)] = 300
    """Silence after which a span is settled; 0: never by silence."""
    utterance_end_ms: Annotated[int, Ge(1000), Le(5000)] | None = None
    interim_results: bool = True
    punctuate: bool = True
    smart_format: bool = False
    numerals: bool = False
    profanity_filter: bool = False
    redact: Annotated[tuple[Literal["pci", "numbers", "aggressive_numbers", "ssn"], ...], MaxLen(4)] = ()
    tag: Annotated[str, MaxLen(128)] | None = None
    mip_opt_out: bool = False
    turn_events: bool = False
    """Its endpointing may end turns."""
    chunk_ms: Annotated[int, Ge(20), Le(250)] = 50
    """The vendor advises 20 to 250."""
    keepalive_s: Annotated[float, Ge(0.05), Le(8)] = 4.0
    """The vendor closes after 10 s without a frame and advises 3 to 5."""
    finalize_s: Annotated[float, Ge(0.05), Le(5)] = 0.9
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 5.0
    kept_s: Annotated[float, Ge(1), Le(60)] = 15.0
    max_connection_s: Annotated[float, Ge(1), Le(86400)] | None = None
    """A connection is replaced before it is so old. The vendor documents no limit."""


_BY_MESSAGE = frozenset({"keyterms", "numerals"})
_FIXED = frozenset({"turn_events", "chunk_ms", "keepalive_s", "finalize_s", "stall_s", "kept_s", "max_connection_s"})
"""Ours, set when the stream is opened."""


class _Word(msgspec.Struct, frozen=True):
    word: str
    start: float
    end: float
    punctuated_word: str | None = None


class _Alternative(msgspec.Struct, frozen=True):
    transcript: str
    confidence: float = 0.0
    words: tuple[_Word, ...] = ()
    languages: tuple[str, ...] | None = None


class _Channel(msgspec.Struct, frozen=True):
    alternatives: tuple[_Alternative, ...] = ()


class _Results(msgspec.Struct, frozen=True):
    start: float
    duration: float
    channel: _Channel
    channel_index: tuple[int, ...] = (0,)
    is_final: bool = False
    speech_final: bool = False
    from_finalize: bool = False


class _Told(msgspec.Struct, frozen=True):
    """The other messages, as far as they are read."""

    timestamp: float = 0.0
    last_word_end: float = 0.0
    code: str | None = None
    description: str | None = None
    message: str | None = None
    variant: str | None = None


class DeepgramDialect:
    """One stream's: a `vendor_dialect.Dialect`."""

    def __init__(
        self, options: DeepgramOptions, spec: StreamSpec, vendor: Vendor, key: str, endpoint: Endpoint
    ) -> None:
        self.options = options
        self._spec, self._vendor, self._endpoint = spec, vendor, endpoint
        self._headers = (("Authorization", f"Token {key}"),)
        self._turn: list[str] = []
        """Texts settled since the last end of a turn."""

    def request(self) -> SocketRequest:
        return SocketRequest(url=self._endpoint.ws("/v1/listen", self._query()), headers=self._headers)

    def hello(self) -> Sequence[Message]:
        return ()

    def audio(self, pcm: bytes) -> Message:
        return pcm

    def finalize(self) -> Sequence[Message]:
        return ('{"type":"Finalize"}',)

    def keepalive(self) -> Message | None:
        return '{"type":"KeepAlive"}'

    def bye(self) -> Sequence[Message]:
        return ('{"type":"CloseStream"}',)

    def update(self, changes: Mapping[str, Any]) -> Updated:
        self.options, changed, refused = changed_options(self.options, changes, _FIXED)
        if changed <= _BY_MESSAGE and self.options.model.startswith("nova-3"):
            return Updated(refused=refused, messages=(self._configure(changed),) if changed else ())
        return Updated(refused=refused, reconnect=bool(changed))

    def take(self, line: SttLine, message: Message) -> None:
        if isinstance(message, bytes):
            line.counts.unknown += 1
            return
        match kind_of(self._vendor, message):
            case "Results":
                self._results(line, decode(self._vendor, message, _Results))
            case "SpeechStarted":
                told = decode(self._vendor, message, _Told)
                if self.options.turn_events:
                    line.speech_started(told.timestamp)
            case "UtteranceEnd":
                self._end_turn(line)
            case "Error":
                told = decode(self._vendor, message, _Told)
                said = " ".join(filter(None, (told.code, told.variant, told.description, told.message)))
                raise self._vendor.from_close(1011, said)
            case "ConfigureFailure":
                told = decode(self._vendor, message, _Told)
                log.warning("deepgram.configure_failed", code=self._vendor.text(told.code or ""))
            case "Metadata" | "ConfigureSuccess":
                pass
            case _:
                line.counts.unknown += 1

    def _results(self, line: SttLine, results: _Results) -> None:
        if results.channel_index[:1] not in ((0,), ()):
            line.counts.stale += 1
            return
        to_pos = line.pos(results.start + results.duration)
        best = results.channel.alternatives[0] if results.channel.alternatives else _Alternative("")
        if not results.is_final:
            line.partial(best.transcript)
            return
        asked = line.asked_pos()
        answers = asked is not None and (results.from_finalize or to_pos >= asked)
        if results.from_finalize and asked is not None:
            to_pos = max(to_pos, min(asked, line.sent_pos))
        words = [TimedWord(w.punctuated_word or w.word, line.pos(w.start), line.pos(w.end)) for w in best.words]
        language = best.languages[0] if best.languages else None
        text = line.final(best.transcript, to_pos, words or None, confidence=best.confidence, language=language)
        if text:
            self._turn.append(text)
        if answers:
            line.finalized(to_pos)
        if results.speech_final:
            self._end_turn(line)

    def _end_turn(self, line: SttLine) -> None:
        """An endpoint: of a turn, where something was said since the one before."""
        text, self._turn = " ".join(self._turn), []
        if text and self.options.turn_events:
            line.turn_ended(text)

    def _configure(self, changed: set[str]) -> str:
        message: dict[str, Any] = {"type": "Configure"}
        if "keyterms" in changed:
            message["keyterms"] = list(self.options.keyterms)
        if "numerals" in changed:
            message["features"] = {"numerals": self.options.numerals}
        return encode(message)

    def _query(self) -> list[tuple[str, str]]:
        o = self.options
        query = [
            ("model", o.model), ("language", o.language), ("encoding", "linear16"),
            ("sample_rate", str(self._spec.rate_hz)), ("channels", "1"),
            ("endpointing", str(o.endpointing_ms) if o.endpointing_ms else "false"),
        ]  # fmt: skip
        named = ("interim_results", "punctuate", "smart_format", "numerals", "profanity_filter", "mip_opt_out")
        query += [(name, "true") for name in named if getattr(o, name)]
        if o.turn_events:
            query.append(("vad_events", "true"))
        if o.interim_results and (o.utterance_end_ms or o.turn_events):
            query.append(("utterance_end_ms", str(o.utterance_end_ms or 1000)))
        query += [("redact", what) for what in o.redact]
        query += [("keyterm", term) for term in o.keyterms]
        return query + ([("tag", o.tag)] if o.tag else [])


class Provider(VendorSttProvider[DeepgramOptions]):
    TYPE = "deepgram"
    DEFAULT_ENDPOINT = "https://api.deepgram.com"
    MARKS = DEEPGRAM_MARKS
    Options = DeepgramOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        model = str(options.get("model", "nova-3"))
        return SttCapabilities(
            rates_hz=(16000, 8000, 24000, 32000, 44100, 48000),
            languages=_NOVA_3 if model.startswith("nova-3") else (),
            partials=options.get("interim_results", True) is not False,
            word_times=True,
            turn_events=options.get("turn_events", False) is True,
            finalize_acknowledged=False,
            replay_rate_max=1.25,
            needs_secret=True,
        )

    def dialect(self, options: DeepgramOptions, spec: StreamSpec, vendor: Vendor) -> DeepgramDialect:
        return DeepgramDialect(options, spec, vendor, self.key, self.endpoint)

    def settings(self, options: DeepgramOptions) -> SttSettings:
        return SttSettings(
            chunk_ms=options.chunk_ms, keepalive_s=options.keepalive_s, finalize_s=options.finalize_s,
            stall_s=options.stall_s, kept_s=options.kept_s, age_max_s=options.max_connection_s, replay_rate=1.25,
        )  # fmt: skip
