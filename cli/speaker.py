"""A loudspeaker that exists only on paper: it plays reply audio in step with the caller's frames.

Whatever has come is played in order, 20 ms for 20 ms; when nothing is there it plays silence. `voice.clear` empties it.
What it played *is* what the caller heard: the right side of the recording, and what `played` reports.

Pure: `advance` is the clock. Linear 16-bit mono.

Units    `_ms` milliseconds of the reply from its start.
Used by  cli/drive.py.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["REPORT_MS", "Heard", "Speaker"]

REPORT_MS = 100.0
"""How often it says what was played: a barge-in is then known to a tenth of a second, at 10 operations a second."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The caller has heard so much of this reply."""

    reply_id: int
    ms: float


@dataclass(slots=True)
class _Piece:
    reply_id: int
    offset_ms: float
    pcm: bytes
    done: int = 0


class Speaker:
    """One virtual loudspeaker at `rate_hz`."""

    def __init__(self, rate_hz: int) -> None:
        self._bytes_per_ms = rate_hz * 2 / 1000
        self._pieces: deque[_Piece] = deque()
        self._played: dict[int, float] = {}
        self._reported: dict[int, float] = {}

    @property
    def is_idle(self) -> bool:
        return not self._pieces

    def add(self, reply_id: int, offset_ms: float, pcm: bytes) -> None:
        if pcm:
            self._pieces.append(_Piece(reply_id, offset_ms, pcm))

    def clear(self, reply_id: int) -> None:
        """Throw away what is not played of this reply."""
        self._pieces = deque(p for p in self._pieces if p.reply_id != reply_id)

    def advance(self, n_bytes: int) -> bytes:
        """The next `n_bytes` of sound."""
        out = bytearray()
        while len(out) < n_bytes and self._pieces:
            piece = self._pieces[0]
            take = piece.pcm[piece.done : piece.done + n_bytes - len(out)]
            out += take
            piece.done += len(take)
            self._played[piece.reply_id] = piece.offset_ms + piece.done / self._bytes_per_ms
            if piece.done == len(piece.pcm):
                self._pieces.popleft()
        out += bytes(n_bytes - len(out))
        return bytes(out)

    def reports(self) -> list[Heard]:
        """What should be told now: 100 ms more of a reply, or all that is there of it."""
        told = []
        waiting = {p.reply_id for p in self._pieces}
        for reply_id, ms in self._played.items():
            more = ms - self._reported.get(reply_id, 0.0)
            if more >= REPORT_MS or (more > 0 and reply_id not in waiting):
                self._reported[reply_id] = ms
                told.append(Heard(reply_id, ms))
        return told
