"""Cartesia's speech to text: Ink models over one WebSocket per stream, in two manners of speaking.

    ears: {stage: stt, type: cartesia-stt, secret: env:CARTESIA_API_KEY, options: {turn_events: true}}

Without `turn_events` (`/stt/websocket`) the session says where speech ends: the word `finalize` is answered by what is
final and by `flush_done`, each in order. Pieces of a final are put together as they are, a word may be cut between two;
so a piece is told when the answer is whole, or when the next one begins with a space.

With them (`/stt/turns/websocket`) the vendor has the authority over turns: it tells the whole turn again and again,
where `eager` is set an end that it may take back, and the end. It cannot be asked for one: a `finalize` is answered by
the end of the turn, at once where that came before, or by our own deadline.

Neither says where in the audio its words lie: finals reach to what was asked for, or sent.

Source   cartesia SDK 4.2 (`types/stt`), docs.cartesia.ai. Not tried against the live service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from annotated_types import Ge, Le, Len, MaxLen
from pydantic import Field, model_validator

from actors.providers.interface import Options, StreamSpec, SttCapabilities
from actors.providers.vendor_dialect import Dialect, SttSettings, Updated, changed_options
from actors.providers.vendor_endpoint import Endpoint
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode, encode, kind_of
from actors.providers.vendor_socket import Message, SocketRequest
from actors.providers.vendor_stt import SttLine
from actors.providers.vendor_stt_provider import VendorSttProvider
from router.errors import ProviderError

__all__ = ["CartesiaSttOptions", "Provider"]

_VERSION = "2026-08-14"
_CHARACTERS_MAX = 1200

Term = Annotated[str, Len(1, 100)]


class CartesiaSttOptions(Options):
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "ink-2"
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    """BCP 47; Cartesia is told its first part. ink-2 knows English alone."""
    keyterms: Annotated[tuple[Term, ...], MaxLen(100)] = ()
    """1200 characters in total."""
    turn_events: bool = False
    eager: bool = False
    """An end that may be taken back is told: the agent thinks ahead."""
    turn_start_threshold: Annotated[float, Ge(0.5), Le(0.9)] | None = None
    """This and the next three: None is the vendor's own, 0.8, 0.4, 0.2 and 5600; with `turn_events` only."""
    turn_eager_end_threshold: Annotated[float, Ge(0.3), Le(0.6)] | None = None
    turn_end_threshold: Annotated[float, Ge(0.05), Le(0.5)] | None = None
    turn_end_timeout_ms: Annotated[int, Ge(640), Le(11200)] | None = None
    chunk_ms: Annotated[int, Ge(20), Le(250)] = 100
    """The vendor advises 100."""
    keepalive_s: Annotated[float, Ge(0.05), Le(60)] = 4.0
    """Nothing sent for so long: 0.1 s of silence. There is no message for it."""
    finalize_s: Annotated[float, Ge(0.05), Le(5)] = 0.9
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 5.0
    kept_s: Annotated[float, Ge(1), Le(60)] = 30.0
    max_connection_s: Annotated[float, Ge(1), Le(86400)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> CartesiaSttOptions:
        if sum(map(len, self.keyterms)) > _CHARACTERS_MAX:
            raise ValueError(f"keyterms have more than {_CHARACTERS_MAX} characters")
        eager = 0.4 if self.turn_eager_end_threshold is None else self.turn_eager_end_threshold
        start = 0.8 if self.turn_start_threshold is None else self.turn_start_threshold
        end = 0.2 if self.turn_end_threshold is None else self.turn_end_threshold
        if not end < eager < start:
            raise ValueError("turn_end_threshold, turn_eager_end_threshold and turn_start_threshold must rise")
        return self

    @property
    def turn(self) -> dict[str, float | int]:
        """Of turns, by the vendor's names, what is not left to it."""
        named = {name: getattr(self, f"turn_{name}") for name in _TURN}
        return {name: value for name, value in named.items() if value is not None}


_TURN = ("start_threshold", "eager_end_threshold", "end_threshold", "end_timeout_ms")
_FIXED = frozenset(
    {"turn_events", "eager", "chunk_ms", "keepalive_s", "finalize_s", "stall_s", "kept_s", "max_connection_s"}
)


class _Told(msgspec.Struct, frozen=True):
    """Every message, as far as it is read."""

    request_id: str | None = None
    text: str = ""
    transcript: str = ""
    is_final: bool = False
    duration: float | None = None
    language: str | None = None
    title: str = ""
    message: str = ""
    error_code: str | None = None
    status_code: int | None = None


def _error(vendor: Vendor, told: _Told) -> ProviderError:
    said = " ".join(filter(None, (told.error_code, told.title, told.message)))
    if told.status_code is None:
        return vendor.error("protocol", f"an error without a status: {vendor.text(said)}")
    return vendor.from_status(told.status_code, {}, said)


class _CartesiaDialect:
    """What both manners have in common; one stream's: a `vendor_dialect.Dialect`."""

    PATH: str

    def __init__(
        self, options: CartesiaSttOptions, spec: StreamSpec, vendor: Vendor, key: str, endpoint: Endpoint
    ) -> None:
        self.options = options
        self._spec, self._vendor, self._endpoint = spec, vendor, endpoint
        self._headers = (("Authorization", f"Bearer {key}"), ("Cartesia-Version", _VERSION))
        self._request_id: str | None = None
        """Of this connection, once it has said something."""

    def request(self) -> SocketRequest:
        query = [
            ("model", self.options.model), ("encoding", "pcm_s16le"), ("sample_rate", str(self._spec.rate_hz)),
            *self._query(), *(("keyterm", term) for term in self.options.keyterms),
        ]  # fmt: skip
        return SocketRequest(url=self._endpoint.ws(self.PATH, query), headers=self._headers)

    def hello(self) -> Sequence[Message]:
        self._request_id = None
        return ()

    def audio(self, pcm: bytes) -> Message:
        return pcm

    def keepalive(self) -> Message | None:
        return None

    def take(self, line: SttLine, message: Message) -> None:
        if isinstance(message, bytes):
            line.counts.unknown += 1
            return
        kind, told = kind_of(self._vendor, message), decode(self._vendor, message, _Told)
        if kind == "error":
            raise _error(self._vendor, told)
        if self._request_id is None:
            self._request_id = told.request_id
        if told.request_id not in (None, self._request_id):
            line.counts.stale += 1
        else:
            self._take(line, kind, told)

    def _take(self, line: SttLine, kind: str, told: _Told) -> None:
        raise NotImplementedError

    def _query(self) -> list[tuple[str, str]]:
        raise NotImplementedError


class ManualDialect(_CartesiaDialect):
    """The session says where speech ends."""

    PATH = "/stt/websocket"

    def __init__(
        self, options: CartesiaSttOptions, spec: StreamSpec, vendor: Vendor, key: str, endpoint: Endpoint
    ) -> None:
        super().__init__(options, spec, vendor, key, endpoint)
        self._text, self._text_pos = "", 0
        """Final pieces that were not told, as they came, and what was sent when the last of them came."""
        self._language: str | None = None

    def hello(self) -> Sequence[Message]:
        self._text = ""
        return super().hello()

    def finalize(self) -> Sequence[Message]:
        return ("finalize",)

    def bye(self) -> Sequence[Message]:
        return ("close",)

    def update(self, changes: Mapping[str, Any]) -> Updated:
        self.options, changed, refused = changed_options(self.options, changes, _FIXED)
        return Updated(refused=refused, reconnect=bool(changed - {f"turn_{name}" for name in _TURN}))

    def _take(self, line: SttLine, kind: str, told: _Told) -> None:
        match kind:
            case "transcript" if line.sent_s <= 0:
                line.counts.stale += 1
            case "transcript":
                self._transcript(line, told)
            case "flush_done":
                pos = line.answered_pos()
                if pos is None:
                    line.counts.stale += 1
                    return
                self._settle(line, pos)
                asked = line.asked_pos()
                if asked is not None and asked <= pos:
                    line.finalized(asked)
            case "done":
                self._settle(line, line.sent_pos)
                line.said_all()
            case _:
                line.counts.unknown += 1

    def _transcript(self, line: SttLine, told: _Told) -> None:
        if self._text and told.text[:1].isspace() and not line.requests and line.sent_pos > self._text_pos:
            self._settle(line, self._text_pos)  # the vendor has settled it by itself, to the end of a word
        if told.is_final:
            self._text += told.text
            self._text_pos, self._language = line.sent_pos, told.language
            line.partial(self._text.strip())
        else:
            line.partial((self._text + told.text).strip())

    def _settle(self, line: SttLine, to_pos: int) -> None:
        text, self._text = self._text.strip(), ""
        line.final(text, to_pos, language=self._language, is_new=True)

    def _query(self) -> list[tuple[str, str]]:
        return [("language", self.options.language.split("-")[0].lower())]


class TurnsDialect(_CartesiaDialect):
    """The vendor says when a turn is over."""

    PATH = "/stt/turns/websocket"

    def finalize(self) -> Sequence[Message]:
        return ()

    def bye(self) -> Sequence[Message]:
        return ('{"type":"close"}',)

    def update(self, changes: Mapping[str, Any]) -> Updated:
        before = self.options
        self.options, changed, refused = changed_options(before, changes, _FIXED)
        turn = {name: value for name, value in self.options.turn.items() if before.turn.get(name) != value}
        gone = before.turn.keys() - self.options.turn.keys()
        if changed - {f"turn_{name}" for name in _TURN} or gone:
            return Updated(refused=refused, reconnect=True)
        message = encode({"type": "config", "turn": turn}) if turn else ""
        return Updated(refused=refused, messages=(message,) if message else ())

    def _take(self, line: SttLine, kind: str, told: _Told) -> None:
        if kind.startswith("turn.") and line.sent_s <= 0:
            line.counts.stale += 1
            return
        text = told.transcript.strip()
        match kind:
            case "turn.start":
                line.speech_started(line.sent_s)
            case "turn.update":
                line.partial(text)
            case "turn.eager_end":
                line.partial(text)
                if self.options.eager:
                    line.eager_end(text)
            case "turn.resume":
                if self.options.eager:
                    line.resumed()
            case "turn.end":
                self._end_turn(line, text)
            case "connected":
                pass
            case _:
                line.counts.unknown += 1

    def _end_turn(self, line: SttLine, text: str) -> None:
        told = line.final(text, line.sent_pos, is_new=True)
        if told:
            # Where a part of it stood in for it before, the session has that part: what it has is the turn.
            line.turn_ended(told if told == text else "")
        asked = line.asked_pos()
        if asked is not None and line.covers(line.sent_pos):
            line.finalized(asked)

    def _query(self) -> list[tuple[str, str]]:
        return [(f"turn_{name}", f"{value:g}") for name, value in self.options.turn.items()]


class Provider(VendorSttProvider[CartesiaSttOptions]):
    TYPE = "cartesia-stt"
    DEFAULT_ENDPOINT = "https://api.cartesia.ai"
    MARKS = {  # noqa: RUF012
        "credit": "quota",
        "concurrency": "busy",
    }
    Options = CartesiaSttOptions
    REFUSAL = "error"

    @property
    def greeting(self) -> str:
        return "connected" if self.options.turn_events else ""

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        with_turns = options.get("turn_events", False) is True
        return SttCapabilities(
            rates_hz=(16000, 8000, 24000, 44100, 48000),
            languages=("en",) if with_turns or str(options.get("model", "ink-2")).startswith("ink-2") else (),
            partials=True,
            turn_events=with_turns,
            finalize_acknowledged=not with_turns,
            needs_silence=with_turns,
            replay_rate_max=1.25,
            needs_secret=True,
        )

    def dialect(self, options: CartesiaSttOptions, spec: StreamSpec, vendor: Vendor) -> Dialect:
        kind = TurnsDialect if options.turn_events else ManualDialect
        return kind(options, spec, vendor, self.key, self.endpoint)

    def settings(self, options: CartesiaSttOptions) -> SttSettings:
        return SttSettings(
            chunk_ms=options.chunk_ms, keepalive_s=options.keepalive_s, finalize_s=options.finalize_s,
            near_s=0.5 if options.turn_events else 0.0, stall_s=options.stall_s, kept_s=options.kept_s,
            age_max_s=options.max_connection_s, replay_rate=1.25,
        )  # fmt: skip

    def refused(self, vendor: Vendor, message: Message) -> ProviderError:
        return _error(vendor, decode(vendor, message, _Told))
