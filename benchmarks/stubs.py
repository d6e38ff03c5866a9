"""Providers that cost as little as a provider can, so that what is measured is the house and not the guest.

    stt: benchmarks.stubs:Stt     a partial and a final for every utterance; tells a board how late each frame came
    tts: benchmarks.stubs:Tts     one second of silence for every text, at once

The agent is `fake-agent`, voice detection and turns are the real ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from time import monotonic_ns
from typing import Any

from actors.providers.interface import (
    Cancelled,
    Done,
    Emit,
    Final,
    Finalized,
    Flushed,
    Options,
    Partial,
    StreamSpec,
    SttCapabilities,
    TtsAudio,
    TtsCapabilities,
)
from benchmarks.board import Board

__all__ = ["Stt", "SttOptions", "Tts", "TtsOptions", "session_number"]

_RATE_HZ = 16_000
_STREAMS = 10_000
_STOPPED_S = 600.0
_TOLD_EVERY = 3 * 1024
"""Numbers, of so many frames of all streams: the board is told of them together, which costs a tenth of one by one."""
_TOLD_NS = 1_000_000_000
"""And not later than so, where streams are few: whoever reads the board waits 2.5 s."""
_TEXT = "hello there."


def session_number(session_id: str) -> int:
    """The row of the board: session ids of the benchmarks end in `-` and their number."""
    return int(session_id.rpartition("-")[2])


class SttOptions(Options):
    board: str | None = None
    """File of the board; None: nothing is counted."""
    read_s: float = 0.0
    """Blocked for so long with each frame, whichever stream's: 0.02 reads one session at the speed of speech."""
    stops_after: int | None = None
    """So many frames of a stream, then the whole process blocks for ten minutes: a vendor's library that hangs."""


class _Base:
    """What the stubs share: nothing to warm, probe or close."""

    TYPE: type[Options] = Options

    def __init__(self, options: Mapping[str, Any], secret: object = None, endpoint: str | None = None) -> None:
        self.options: Any = self.TYPE.model_validate(dict(options))

    async def warm(self) -> None: ...
    async def probe(self) -> None: ...
    async def close(self) -> None: ...


class _Stream:
    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ()

    async def close(self, *, drain: bool) -> None: ...


class Tally:
    """When which frame of which session was there: kept for a moment, then the board is told."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.seen: list[int] = []

    def tell(self) -> None:
        if self.seen:
            self.board.handled(self.seen)
        self.seen.clear()


class SttStream(_Stream):
    def __init__(self, spec: StreamSpec, emit: Emit, tally: Tally | None) -> None:
        self._emit, self._tally = emit, tally
        self._settled = spec.pos
        self._number = session_number(spec.session_id) if tally is not None else 0

    def audio(self, pos: int, pcm: bytes) -> None:
        tally = self._tally
        if tally is not None:
            now_ns, seen = monotonic_ns(), tally.seen
            seen += (self._number, pos, now_ns)
            if len(seen) >= _TOLD_EVERY or now_ns - seen[2] > _TOLD_NS:
                tally.tell()

    async def close(self, *, drain: bool) -> None:
        if self._tally is not None:
            self._tally.tell()

    def finalize(self, utt: int, pos: int) -> None:
        if pos > self._settled:
            self._emit(Final(utt=utt, text=_TEXT, from_pos=self._settled, to_pos=pos))
            self._settled = pos
        self._emit(Finalized(utt=utt, to_pos=pos))

    def speech_start(self, utt: int, pos: int) -> None:
        self._emit(Partial(utt=utt, text=_TEXT))

    def speech_end(self, utt: int, pos: int) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class SlowStt(SttStream):
    """Reads slower than speech, or not at all, and holds its process meanwhile, as a vendor's library that blocks."""

    def __init__(self, spec: StreamSpec, emit: Emit, tally: Tally | None, options: SttOptions) -> None:
        super().__init__(spec, emit, tally)
        self._options, self._frames = options, 0

    def audio(self, pos: int, pcm: bytes) -> None:
        super().audio(pos, pcm)
        self._frames += 1
        stops = self._options.stops_after is not None and self._frames > self._options.stops_after
        time.sleep(_STOPPED_S if stops else self._options.read_s)


class Stt(_Base):
    Options = TYPE = SttOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        SttOptions.model_validate(dict(options))
        return SttCapabilities(rates_hz=(_RATE_HZ,), streams_per_actor=_STREAMS, silence_bound_s=3.0, partials=True)

    def __init__(self, options: Mapping[str, Any], secret: object = None, endpoint: str | None = None) -> None:
        super().__init__(options, secret, endpoint)
        self._tally = Tally(Board(self.options.board)) if self.options.board else None

    async def open(self, spec: StreamSpec, emit: Emit) -> SttStream:
        if self.options.read_s or self.options.stops_after is not None:
            return SlowStt(spec, emit, self._tally, self.options)
        return SttStream(spec, emit, self._tally)


class TtsOptions(Options):
    seconds: float = 1.0
    """Of silence for each text."""


class TtsStream(_Stream):
    def __init__(self, emit: Emit, pcm: bytes) -> None:
        self._emit, self._pcm = emit, pcm
        self._pos: dict[int, int] = {}

    def begin(self, reply: int, options: Mapping[str, Any]) -> None:
        self._pos[reply] = 0

    def text(self, reply: int, text: str) -> None:
        if reply in self._pos:
            self._emit(TtsAudio(reply=reply, pos=self._pos[reply], pcm=self._pcm))
            self._pos[reply] += len(self._pcm) // 2

    def flush(self, reply: int) -> None:
        if reply in self._pos:
            self._emit(Flushed(reply=reply))

    def end(self, reply: int) -> None:
        if self._pos.pop(reply, None) is not None:
            self._emit(Done(reply=reply))

    def cancel(self, reply: int) -> None:
        self._pos.pop(reply, None)
        asyncio.get_running_loop().call_soon(self._emit, Cancelled(reply=reply))


class Tts(_Base):
    Options = TYPE = TtsOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TtsCapabilities:
        TtsOptions.model_validate(dict(options))
        return TtsCapabilities(rates_hz=(_RATE_HZ,), streams_per_actor=_STREAMS)

    async def open(self, spec: StreamSpec, emit: Emit) -> TtsStream:
        return TtsStream(emit, bytes(round(self.options.seconds * _RATE_HZ) * 2))
