"""The end of a caller's link in a session host: one session or, behind a gateway, a thousand.

Used by  session_host.py, one for each link of role `caller`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from actors import wire
from actors.lanes import MANY
from actors.link_codec import AudioBatch
from actors.link_end import Link
from router.errors import LinkError, LinkProtocolError

if TYPE_CHECKING:
    from actors.session_host import SessionHost
    from actors.session_seat import Seat

__all__ = ["CallerEnd"]

_STREAMS_MAX = 65_536
"""Streams are numbered by the caller: a number beyond it gets no place in the table of rows."""


class CallerEnd:
    """Fulfils `link.Handler`."""

    def __init__(self, host: SessionHost) -> None:
        self.host = host
        self.seats: dict[int, Seat] = {}
        self.rows = np.zeros(64, dtype=np.int64)
        """Of a stream: its session's row in the host's table; 0: it has none."""

    def seat(self, stream: int, seat: Seat) -> None:
        """A session sits on this stream from now on."""
        self.seats[stream] = seat
        if stream < _STREAMS_MAX and seat.row:
            if stream >= len(self.rows):
                rows = np.zeros(max(stream + 1, 2 * len(self.rows)), dtype=np.int64)
                rows[: len(self.rows)] = self.rows
                self.rows = rows
            self.rows[stream] = seat.row

    def leave(self, stream: int) -> None:
        self.seats.pop(stream, None)
        if stream < len(self.rows):
            self.rows[stream] = 0

    def on_audio(self, link: Link, batch: AudioBatch) -> None:
        """What is in step goes through whole; the rest in a plain loop, where a session that raises ends alone."""
        host = self.host
        host.frames += len(batch)
        many = len(batch) >= MANY
        rows: Iterable[tuple[int, int, int, bytes]]
        if many:
            left = host.lanes.take(link, self.rows, batch, host.clock())
            if left is None:
                return
            rows = batch.picked(left)
        else:
            rows = zip(batch.streams, batch.seqs, batch.poss, batch.pcm(), strict=True)
        seats = self.seats
        for stream, seq, pos, pcm in rows:
            seat = seats.get(stream)
            if seat is None:
                host.stale_frames += 1
                continue
            try:
                seat.audio(seq, pos, pcm)
                if many and seat.session.lane is None and seat.row:
                    seat.session.lane = host.lanes.enter(seat, seat.row)
            except Exception as error:
                host.failed(seat, error)

    def on_control(self, link: Link, stream: int, body: memoryview) -> None:
        try:
            op = wire.host_decoder_for_caller.decode(body)
        except msgspec.DecodeError as error:
            raise LinkProtocolError(link.peer, f"from a caller: {error}") from None
        seat = self.seats.get(stream)
        if isinstance(op, wire.Attach):
            if seat is not None:
                raise LinkProtocolError(link.peer, f"stream {stream} was attached twice")
            self.host.attach(link, self, stream, op)
        elif seat is not None:
            self.host.guard(seat, seat.session.caller_op, op)

    def on_closed(self, link: Link, error: LinkError | None) -> None:
        self.host.lost(link)

    def on_bits(self, link: Link, streams: memoryview, poss: memoryview, bits: bytes) -> None:
        raise LinkProtocolError(link.peer, "a caller sends no verdicts")

    def on_credit(self, link: Link, streams: list[int], seqs: list[int]) -> None:
        raise LinkProtocolError(link.peer, "a caller sends no credit")
