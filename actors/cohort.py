"""Calls whose frames always leave together: the same as `send_many`, with the numbers of all of them in columns.

    cohort = Cohort(calls)                 # a gateway's callers of one tick; who comes or goes makes a new one
    failed = cohort.send(frames)           # frames[i] of calls[i]: as `gateway.send_many(calls, frames)`

At a thousand calls, what one frame costs is mostly the wait for the memory of its call. A call in step is therefore a
row here: its next number and position, what was accepted and how much it may have in flight are columns, and the frames
of a tick are kept as one entry until they were accepted. No object of a call is touched meanwhile.

Whatever else is done with a call (its link breaks, it is over, `call.send`, its statistics are asked for) takes it out
first: `leave` gives its outbox what the row knows, with the frames that were not accepted. It comes back with the next
tick for which it is in step. Order is kept within a call; those in step leave before the others of a tick.

Bounds   ticks kept: `TICKS_MAX`; a call whose frame is older leaves and keeps its own, at most its window of them.
Units    rows are indices of `calls`; sequence numbers, samples and bytes as in `outbox`.
Raises   as `send_many`; ValueError for a call that is there twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.formats import FRAME_MS
from actors.gateway import send_block, send_many
from actors.outbox import Frame
from router.errors import PatchbayError

if TYPE_CHECKING:
    from actors.call import Call
    from actors.client import HostLink

__all__ = ["Cohort"]

TICKS_MAX = 128
"""2.5 s of frames: more than a host gives as credit."""

_Column = np.ndarray[Any, np.dtype[np.int64]]


class Cohort:
    """See the module. Belongs to the event loop of its calls."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = tuple(calls)
        n = len(self.calls)
        if len(set(self.calls)) != n:
            raise ValueError("a call is there twice")
        self._in = np.zeros(n, np.bool_)
        self._seq, self._pos, self._since, self._accepted, self._room, self._stream, self._link = (
            np.zeros(n, np.int64) for _ in range(7)
        )
        self._bytes = np.array([call.audio_in.frame_bytes for call in self.calls], np.int64)
        self._samples = self._bytes // np.array([call.audio_in.sample_bytes for call in self.calls], np.int64)
        self._links: list[HostLink] = []
        self._kept: deque[tuple[_Column, list[bytes]]] = deque()
        """By tick, oldest first: number of each row's frame, -1 where none left from here, and the frames."""

    def send(self, frames: Sequence[bytes]) -> list[tuple[int, PatchbayError]]:
        """A frame of each call. Returns (row, error) of each call that took nothing. Never waits."""
        if len(frames) != len(self.calls):
            raise ValueError(f"{len(self.calls)} calls and {len(frames)} frames")
        for row in np.flatnonzero(~self._in).tolist():
            self._enter(row)
        goes = self._in & (self._seq - self._accepted < self._room) & (_lengths(frames) == self._bytes)
        rows = np.flatnonzero(goes)
        if len(rows):
            self._send(rows, frames)
            self._kept.append((np.where(goes, self._seq, -1), list(frames)))
            self._seq += goes
            self._pos += self._samples * goes
            self._forget()
        if len(rows) == len(frames):
            return []
        others = np.flatnonzero(~goes).tolist()
        failed = send_many([self.calls[row] for row in others], [frames[row] for row in others])
        return [(others[at], error) for at, error in failed]

    def accepted(self, row: int, seq: int) -> None:
        """The session of this row accepted every frame below `seq`; an older word is ignored."""
        self._accepted[row] = max(self._accepted[row], min(seq, self._seq[row]))

    def leave(self, row: int) -> None:
        """Its call goes its own way: the outbox has again what it lent, and the frames in flight."""
        since, accepted = int(self._since[row]), int(self._accepted[row])
        first_pos = int(self._pos[row] - (self._seq[row] - since) * self._samples[row])
        frames = []
        for numbers, pcms in self._kept:
            seq = int(numbers[row])
            numbers[row] = -1  # when it comes back, on another stream perhaps, these are not its own
            if seq >= accepted:
                frames.append(Frame(first_pos + (seq - since) * int(self._samples[row]), pcms[row], seq))
        self._in[row] = False
        self._links[self._link[row]].seats.pop(int(self._stream[row]), None)
        self.calls[row].seat = None
        self.calls[row].outbox.take_back(int(self._seq[row]), int(self._pos[row]), accepted, frames)

    def _enter(self, row: int) -> None:
        """Take in a call that is in step: its outbox keeps what is in flight from before."""
        call = self.calls[row]
        if call.is_over or call.way is None or not (box := call.outbox).in_step:
            return
        link, stream = call.way
        call.seat = link.seats[stream] = (self, row)
        self._link[row], self._stream[row] = self._index(link), stream
        self._seq[row] = self._since[row] = box.next_seq
        self._pos[row], self._accepted[row], self._room[row] = box.pos, box.accepted_seq, box.window_ms // FRAME_MS
        self._in[row] = True

    def _index(self, link: HostLink) -> int:
        """Place of the link, in that of one that no row uses any more if there is one."""
        if link not in self._links:
            used = set(self._link[self._in].tolist())
            free = [at for at in range(len(self._links)) if at not in used] or [len(self._links)]
            self._links[free[0] : free[0] + 1] = [link]
        return self._links.index(link)

    def _send(self, rows: _Column, frames: Sequence[bytes]) -> None:
        for at, link in enumerate(self._links):
            some = rows[self._link[rows] == at] if len(self._links) > 1 else rows
            if len(some):
                columns = np.zeros((5, len(some)), "<u4")  # one epoch: a call that comes back has another stream
                columns[0], columns[2], columns[3] = self._stream[some], self._seq[some], self._pos[some]
                columns[4] = self._bytes[some]
                send_block(link, columns, [frames[row] for row in some.tolist()])

    def _forget(self) -> None:
        """Ticks whose frames were all accepted, or are kept by calls that have left."""
        while self._kept:
            open_rows = self._kept[0][0] >= self._accepted
            if open_rows.any():
                if len(self._kept) <= TICKS_MAX:
                    return
                for row in np.flatnonzero(open_rows).tolist():
                    self.leave(row)
            self._kept.popleft()


def _lengths(frames: Sequence[bytes]) -> _Column:
    """Bytes of each; -1 for what is no bytes, or could change once it was sent."""
    if set(map(type, frames)) == {bytes}:
        return np.fromiter(map(len, frames), np.int64, len(frames))
    return np.array([len(pcm) if type(pcm) is bytes else -1 for pcm in frames], np.int64)
