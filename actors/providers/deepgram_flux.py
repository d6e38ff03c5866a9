"""Deepgram Flux, `/v2/listen`: a recogniser whose model says when a turn is over, one WebSocket per stream.

    ears: {stage: stt, type: deepgram-flux, secret: env:DEEPGRAM_API_KEY, options: {model: flux-general-en}}

Flux tells the whole turn again and again and settles it when it ends: `EndOfTurn` is the one final. With `turn_events`
it has the authority over turns, `EagerEndOfTurn` and `TurnResumed` too where `eager_eot_threshold` is set. Without, its
own ends are suppressed and turns end where the session says so.

`ForceEndTurn` stands for `finalize`. It ends the turn on what is transcribed so far, and does nothing where no turn is
under way. So the answer is an `EndOfTurn` that reaches the end of speech, or a message that there is nothing up to the
position asked for; words that were still under way when the turn was forced are forced once more.

Source   deepgram-sdk 7.17 (`listen/v2` types), developers.deepgram.com/docs/flux. Not tried against the live service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from annotated_types import Ge, Le, Len, MaxLen
from pydantic import Field, model_validator

from actors.logs import get_logger
from actors.providers.deepgram import DEEPGRAM_MARKS
from actors.providers.interface import Options, StreamSpec, SttCapabilities, TimedWord
from actors.providers.vendor_dialect import SttSettings, Updated, changed_options
from actors.providers.vendor_endpoint import Endpoint
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode, encode, kind_of
from actors.providers.vendor_socket import Message, SocketRequest
from actors.providers.vendor_stt import SttLine
from actors.providers.vendor_stt_provider import VendorSttProvider
from router.errors import ProviderError

__all__ = ["FluxOptions", "Provider"]

log = get_logger("deepgram-flux")

_MULTI = ("en", "es", "fr", "de", "hi", "ru", "pt", "ja", "it", "nl")
"""Of flux-general-multi, as the vendor's page on language prompting has them."""
_FORCE = '{"type":"ForceEndTurn"}'

Term = Annotated[str, Len(1, 100)]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z]{2,5}(-[A-Za-z0-9]{2,8})*$")]


class FluxOptions(Options):
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "flux-general-en"
    language: Tag | None = None
    """BCP 47. flux-general-multi is hinted at it; flux-general-en knows English alone."""
    language_hints: Annotated[tuple[Tag, ...], MaxLen(10)] = ()
    """flux-general-multi: more languages than one."""
    keyterms: Annotated[tuple[Term, ...], MaxLen(100)] = ()
    eot_threshold: Annotated[float, Ge(0.5), Le(1.0)] | None = None
    """How sure Flux is before it ends a turn; 1.0: it never does. None: the vendor's 0.7, 1.0 without `turn_events`."""
    eager_eot_threshold: Annotated[float, Ge(0.3), Le(0.9)] | None = None
    """How sure before it says that the turn may be over. None: it never does."""
    eot_timeout_ms: Annotated[int, Ge(500), Le(60000)] | None = None
    """Silence that ends a turn in any case. None: the vendor's 5000."""
    numerals: bool = False
    profanity_filter: bool = False
    redact: Literal["numbers", "aggressive_numbers"] | None = None
    tag: Annotated[str, MaxLen(128)] | None = None
    mip_opt_out: bool = False
    turn_events: bool = True
    chunk_ms: Annotated[int, Ge(20), Le(250)] = 80
    """The vendor advises 80."""
    keepalive_s: Annotated[float, Ge(0.05), Le(8)] = 4.0
    """Nothing sent for so long: 0.1 s of silence. Flux has no message for it."""
    finalize_s: Annotated[float, Ge(0.05), Le(5)] = 0.9
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 5.0
    kept_s: Annotated[float, Ge(1), Le(60)] = 30.0
    """A whole turn is one final: audio is kept for longer than where spans are settled one by one."""
    max_connection_s: Annotated[float, Ge(1), Le(86400)] | None = None

    @model_validator(mode="after")
    def _eager_is_earlier(self) -> FluxOptions:
        if self.eager_eot_threshold is not None and self.eager_eot_threshold > (self.eot_threshold or 0.7):
            raise ValueError("eager_eot_threshold is above eot_threshold")
        return self

    @property
    def is_multi(self) -> bool:
        return "multi" in self.model

    @property
    def hints(self) -> tuple[str, ...]:
        own = (self.language,) if self.language else ()
        return tuple(dict.fromkeys(own + self.language_hints)) if self.is_multi else ()

    @property
    def thresholds(self) -> dict[str, float | int]:
        """What is not left to the vendor."""
        eot = self.eot_threshold if self.eot_threshold is not None or self.turn_events else 1.0
        named = {
            "eot_threshold": eot,
            "eager_eot_threshold": self.eager_eot_threshold if self.turn_events else None,
            "eot_timeout_ms": self.eot_timeout_ms,
        }
        return {name: value for name, value in named.items() if value is not None}


_BY_MESSAGE = {
    "keyterms", "numerals", "language", "language_hints", "eot_threshold", "eager_eot_threshold", "eot_timeout_ms",
}  # fmt: skip
_THRESHOLDS = {"eot_threshold", "eager_eot_threshold", "eot_timeout_ms"}
_FIXED = frozenset({"turn_events", "chunk_ms", "keepalive_s", "finalize_s", "stall_s", "kept_s", "max_connection_s"})


class _Word(msgspec.Struct, frozen=True):
    word: str
    confidence: float
    start: float | None = None
    end: float | None = None


class _TurnInfo(msgspec.Struct, frozen=True):
    request_id: str
    event: str
    turn_index: int
    audio_window_start: float
    audio_window_end: float
    transcript: str
    words: tuple[_Word, ...] = ()
    end_of_turn_confidence: float = 0.0
    languages: tuple[str, ...] | None = None


class _Told(msgspec.Struct, frozen=True):
    """The other messages, as far as they are read."""

    request_id: str = ""
    code: str | None = None
    description: str | None = None


def _error(vendor: Vendor, message: Message) -> ProviderError:
    told = decode(vendor, message, _Told)
    return vendor.from_close(1011, " ".join(filter(None, (told.code, told.description))))


class FluxDialect:
    """One stream's: a `vendor_dialect.Dialect`."""

    def __init__(self, options: FluxOptions, spec: StreamSpec, vendor: Vendor, key: str, endpoint: Endpoint) -> None:
        self.options = options
        self._spec, self._vendor, self._endpoint = spec, vendor, endpoint
        self._headers = (("Authorization", f"Token {key}"),)
        self._request_id: str | None = None
        """Of this connection, once it is greeted."""
        self._forced_pos = -1
        """The `finalize` up to here was forced a second time."""

    def request(self) -> SocketRequest:
        return SocketRequest(url=self._endpoint.ws("/v2/listen", self._query()), headers=self._headers)

    def hello(self) -> Sequence[Message]:
        self._request_id, self._forced_pos = None, -1
        return ()

    def audio(self, pcm: bytes) -> Message:
        return pcm

    def finalize(self) -> Sequence[Message]:
        return (_FORCE,)

    def keepalive(self) -> Message | None:
        return None

    def bye(self) -> Sequence[Message]:
        """Flux tells the rest in `Update`s and ends no turn: the last of them is the final. Force could cut a word."""
        return ('{"type":"CloseStream"}',)

    def update(self, changes: Mapping[str, Any]) -> Updated:
        before = self.options
        self.options, changed, refused = changed_options(before, changes, _FIXED)
        unset = {n for n in changed & _THRESHOLDS if n not in self.options.thresholds}
        if changed - _BY_MESSAGE or unset:
            return Updated(refused=refused, reconnect=True)
        message = self._configure(changed, before.hints != self.options.hints)
        return Updated(refused=refused, messages=(message,) if message else ())

    def take(self, line: SttLine, message: Message) -> None:
        if isinstance(message, bytes):
            line.counts.unknown += 1
            return
        match kind_of(self._vendor, message):
            case "TurnInfo":
                self._turn_info(line, decode(self._vendor, message, _TurnInfo))
            case "Connected":
                self._request_id = decode(self._vendor, message, _Told).request_id
            case "Error":
                raise _error(self._vendor, message)
            case "ConfigureFailure" | "Warning" as kind:
                told = decode(self._vendor, message, _Told)
                log.warning("flux.not_taken", message=kind, code=self._vendor.text(told.code or ""))
            case "ConfigureSuccess":
                pass
            case _:
                line.counts.unknown += 1

    def _turn_info(self, line: SttLine, told: _TurnInfo) -> None:
        if told.request_id != self._request_id or line.sent_s <= 0:
            line.counts.stale += 1
            return
        to_pos, with_events = line.pos(told.audio_window_end), self.options.turn_events
        if told.event == "EndOfTurn":
            self._end_turn(line, told, to_pos)
        else:
            if told.event == "StartOfTurn" and with_events:
                first = told.words[0].start if told.words else None
                line.speech_started(told.audio_window_end if first is None else first)
            elif told.event == "TurnResumed" and with_events:
                line.resumed()
            line.partial(told.transcript)
            if told.event == "EagerEndOfTurn" and with_events:
                line.eager_end(told.transcript)
        self._answer(line, told, to_pos)

    def _end_turn(self, line: SttLine, told: _TurnInfo, to_pos: int) -> None:
        words = [
            TimedWord(w.word, line.pos(w.start), line.pos(w.end))
            for w in told.words
            if w.start is not None and w.end is not None
        ]
        confidence = sum(w.confidence for w in told.words) / len(told.words) if told.words else None
        language = told.languages[0] if told.languages else None
        is_timed = words and len(words) == len(told.words)
        text = line.final(
            told.transcript, to_pos, words if is_timed else None, confidence=confidence, language=language
        )
        if text and self.options.turn_events:
            # Where a part of it stood in for it before, the session has that part: what it has is the turn.
            line.turn_ended(text if text == told.transcript else "")

    def _answer(self, line: SttLine, told: _TurnInfo, to_pos: int) -> None:
        """Whether this says that everything up to the position asked for was told."""
        asked = line.asked_pos()
        if asked is None:
            return
        is_end = told.event == "EndOfTurn"
        if (is_end and (to_pos >= asked or line.covers(to_pos))) or (not told.transcript and to_pos >= asked):
            line.finalized(asked)
        elif not is_end and told.transcript and to_pos > asked > self._forced_pos:
            self._forced_pos = asked
            line.say(_FORCE)

    def _configure(self, changed: set[str], hints: bool) -> str:
        """Empty where nothing changed that Flux is told."""
        o, message = self.options, dict[str, Any]()
        if "keyterms" in changed:
            message["keyterms"] = list(o.keyterms)
        if "numerals" in changed:
            message["numerals"] = o.numerals
        if hints:
            message["language_hints"] = list(o.hints)
        if changed & _THRESHOLDS:
            message["thresholds"] = {n: v for n, v in o.thresholds.items() if n in changed}
        return encode({"type": "Configure", **message}) if message else ""

    def _query(self) -> list[tuple[str, str]]:
        o = self.options
        query = [("model", o.model), ("encoding", "linear16"), ("sample_rate", str(self._spec.rate_hz))]
        query += [(name, f"{value:g}") for name, value in o.thresholds.items()]
        query += [(name, "true") for name in ("numerals", "profanity_filter", "mip_opt_out") if getattr(o, name)]
        query += [("redact", o.redact)] if o.redact else []
        query += [("language_hint", hint) for hint in o.hints]
        query += [("keyterm", term) for term in o.keyterms]
        return query + ([("tag", o.tag)] if o.tag else [])


class Provider(VendorSttProvider[FluxOptions]):
    TYPE = "deepgram-flux"
    DEFAULT_ENDPOINT = "https://api.deepgram.com"
    MARKS = DEEPGRAM_MARKS
    Options = FluxOptions
    GREETING = "Connected"

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        model = str(options.get("model", "flux-general-en"))
        return SttCapabilities(
            rates_hz=(16000, 8000, 24000, 44100, 48000),
            languages=_MULTI if "multi" in model else ("en",) if model.endswith("-en") else (),
            partials=True,
            word_times=True,
            turn_events=options.get("turn_events", True) is not False,
            finalize_acknowledged=False,
            needs_silence=True,
            replay_rate_max=1.25,
            needs_secret=True,
        )

    def dialect(self, options: FluxOptions, spec: StreamSpec, vendor: Vendor) -> FluxDialect:
        return FluxDialect(options, spec, vendor, self.key, self.endpoint)

    def settings(self, options: FluxOptions) -> SttSettings:
        return SttSettings(
            chunk_ms=options.chunk_ms, keepalive_s=options.keepalive_s, finalize_s=options.finalize_s,
            stall_s=options.stall_s, kept_s=options.kept_s, age_max_s=options.max_connection_s, replay_rate=1.25,
        )  # fmt: skip

    def refused(self, vendor: Vendor, message: Message) -> ProviderError:
        return _error(vendor, message)
