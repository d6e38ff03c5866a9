"""What the sender, the stub ear and the benchmark tell each other: one small file, mapped by all three.

    [ from_ns, until_ns, sessions ]  then per session  [ start_ns, sent, handled, early ]  then per session a histogram

The sender writes when sample 0 of a session was due at the microphone; the ear, on the same machine and so on the same
CLOCK_MONOTONIC, knows from a frame's position how late it is. Nothing of this travels in the audio or on the links,
and nothing is gathered at the end: a histogram of 3 KiB a session is counted where the frame is handled.

Counted are frames that were due in [from_ns, until_ns), at both ends alike.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import BUCKETS, bucket_of

__all__ = ["FRAME_NS", "SAMPLE_NS", "Board"]

SAMPLE_NS = 62_500
"""At 16 kHz."""
FRAME_NS = 20_000_000
_HEAD, _ROW = 3, 4
_KNOWN_US = 65_536
_BUCKET = np.array([bucket_of(us) for us in range(_KNOWN_US)])


class Board:
    """`create` once, `Board(path)` everywhere else. Cells are 64 bits, buckets 32."""

    def __init__(self, path: str | Path) -> None:
        with Path(path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        view = memoryview(self._map)
        self.sessions: int = view[: 8 * _HEAD].cast("q")[2]
        cells = 8 * (_HEAD + _ROW * self.sessions)
        self.cells = view[:cells].cast("q")
        self.counts = view[cells:].cast("I")
        self._counts = np.frombuffer(self.counts, np.uint32)
        self._rows = np.frombuffer(self.cells, np.int64)[_HEAD:].reshape(self.sessions, _ROW)

    @staticmethod
    def create(path: str | Path, sessions: int) -> Board:
        size = 8 * (_HEAD + _ROW * sessions) + 4 * BUCKETS * sessions
        head = (2**62).to_bytes(8, "little") * 2 + sessions.to_bytes(8, "little")
        Path(path).write_bytes(head + bytes(size - len(head)))
        return Board(path)

    def count(self, from_ns: int, until_ns: int) -> None:
        """Frames due from now on until then are counted."""
        self.cells[1] = until_ns
        self.cells[0] = from_ns

    def clear(self) -> None:
        """Count nothing, and forget what was counted."""
        self.count(2**62, 2**62)
        for session in range(self.sessions):
            at = _HEAD + _ROW * session
            self.cells[at + 1] = self.cells[at + 2] = self.cells[at + 3] = 0
        self.counts[:] = memoryview(bytes(4 * len(self.counts))).cast("I")

    def begin(self, session: int, start_ns: int) -> None:
        """Sample 0 of this session was due then."""
        self.cells[_HEAD + _ROW * session] = start_ns

    def sent(self, sessions: np.ndarray[Any, Any], due_ns: np.ndarray[Any, Any]) -> None:
        """A frame of each of these sessions, none of which is there twice, was handed to the client."""
        counted = (due_ns >= self.cells[0]) & (due_ns < self.cells[1])
        self._rows[sessions[counted], 1] += 1

    def handled(self, seen: list[int]) -> None:
        """The ear had these frames: for each its session, the sample that it begins at, and when, one behind the
        other.

        Of many at once: what it costs to count a frame is counted among what our actors cost.
        """
        sessions, poss, at_ns = np.array(seen, np.int64).reshape(-1, 3).T
        due_ns = self._rows[sessions, 0] + poss * SAMPLE_NS
        counted = (due_ns >= self.cells[0]) & (due_ns < self.cells[1])
        sessions, late_ns = sessions[counted], (at_ns - due_ns)[counted]
        if not len(sessions):
            return
        np.add.at(self._rows[:, 2], sessions, 1)
        early = sessions[late_ns < 0]
        if len(early):
            np.add.at(self._rows[:, 3], early, 1)
        us = np.clip(late_ns // 1000, 0, None)
        far = us >= _KNOWN_US
        buckets = _BUCKET[np.where(far, 0, us)]
        if far.any():
            buckets[far] = [bucket_of(one) for one in us[far].tolist()]
        np.add.at(self._counts, sessions * BUCKETS + buckets, 1)

    def totals(self, sessions: int | None = None) -> tuple[int, int]:
        """(sent, handled) of the first so many sessions; of all."""
        rows = range(self.sessions if sessions is None else sessions)
        cells = self.cells
        return sum(cells[_HEAD + _ROW * r + 1] for r in rows), sum(cells[_HEAD + _ROW * r + 2] for r in rows)

    def early(self, sessions: int | None = None) -> int:
        """Frames of the first so many sessions that were handled before they were due, which cannot be: the session
        has filled in silence, its positions have moved on, and no lateness that is read from them is true."""
        rows = range(self.sessions if sessions is None else sessions)
        return sum(self.cells[_HEAD + _ROW * r + 3] for r in rows)

    def histogram(self, session: int) -> list[int]:
        return self.counts[session * BUCKETS : (session + 1) * BUCKETS].tolist()
