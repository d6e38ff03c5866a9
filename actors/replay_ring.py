"""Caller audio kept until a final covers it: one buffer of bytes per session, bounded.

    oldest ──── settled, kept for who listens to a turn again ──── start ──── not yet settled ──── end

The buffer starts small and doubles up to its bound, so that a session whose finals come in time stays small.
Position `start` is the oldest sample not settled, `end` the next to come; `settle` moves `start` forward. The last
`tail` samples stay readable when they are settled (`recent`): a turn detector hears a turn whose first words have
their final already. With a tail of 0 nothing stays.

Units    positions in samples from media position 0; 16-bit samples.
Full     the oldest audio goes (`drop_oldest`) and `dropped` counts its samples: an event, not a silence. Of what is
         settled nothing is counted.
"""

from __future__ import annotations

__all__ = ["ReplayRing"]


class ReplayRing:
    """Audio from `start` to `end`, and before it what is settled and kept."""

    __slots__ = ("_bound", "_data", "_lent", "_oldest", "_tail", "dropped", "end", "start")

    def __init__(self, bound_samples: int, tail: int = 0, lent: memoryview | None = None) -> None:
        self._bound = max(bound_samples, tail) * 2
        self._lent = lent if lent is not None and len(lent) <= self._bound else None
        self._data: bytearray | memoryview = bytearray(min(self._bound, 65_536)) if self._lent is None else self._lent
        self._tail = tail
        self._oldest = self.start = self.end = 0
        self.dropped = 0

    def write(self, pcm: bytes | memoryview) -> None:
        """Append whole samples; at most the bound at once."""
        size = len(pcm)
        if self._oldest < self.start:
            self._forget()
        kept = (self.end - self._oldest) * 2
        capacity = len(self._data)
        if kept + size > capacity:
            capacity = self._make_room(kept, size)
        at = self.end * 2 % capacity
        first = min(size, capacity - at)
        self._data[at : at + first] = pcm[:first]
        if first < size:
            self._data[: size - first] = pcm[first:]
        self.end += size // 2

    def write_silence(self, samples: int) -> None:
        """As `write`, of so many samples of silence."""
        while samples > 0:
            some = min(samples, self._bound // 2, 16_000)
            self.write(bytes(2 * some))
            samples -= some

    def _make_room(self, kept: int, size: int) -> int:
        capacity = len(self._data)
        wanted = capacity
        while wanted < kept + size and wanted < self._bound:
            wanted = min(wanted * 2, self._bound)
        if wanted != capacity:
            self._move(bytearray(wanted))
        over = kept + size - wanted
        if over > 0:
            self._oldest += over // 2
            self.dropped += max(0, self._oldest - self.start)
            self.start = max(self.start, self._oldest)
        return wanted

    @property
    def is_lent(self) -> bool:
        """The audio lies in the memory that was lent; once that had no room, the ring has its own, until it is home."""
        lent = self._lent
        if lent is not None and self._data is not lent and 4 * (self.end - self._oldest) < len(lent):
            self._move(lent)
        return self._data is self._lent

    @property
    def room_end(self) -> int:
        """Up to here the buffer takes audio before anything that is kept would have to go."""
        self._forget()
        return self._oldest + len(self._data) // 2

    def _move(self, to: bytearray | memoryview) -> None:
        """The audio that is kept, into another buffer."""
        kept, audio = 2 * (self.end - self._oldest), self.recent(self._oldest, self.end)
        self._data = to
        at = self._oldest * 2 % len(to)
        first = min(kept, len(to) - at)
        to[at : at + first] = audio[:first]
        to[: kept - first] = audio[first:]

    def read(self, begin: int, end: int) -> bytes:
        """Samples `begin..end`, cut to what is not settled."""
        return self.recent(max(begin, self.start), end)

    def recent(self, begin: int, end: int) -> bytes:
        """Samples `begin..end`, cut to what is kept, settled or not."""
        begin, end = max(begin, self._oldest), min(end, self.end)
        if begin >= end:
            return b""
        capacity = len(self._data)
        at, size = begin * 2 % capacity, (end - begin) * 2
        first = min(size, capacity - at)
        return bytes(self._data[at : at + first]) + bytes(self._data[: size - first])

    def settle(self, until: int) -> None:
        """A final covers everything before `until`: it is not needed again."""
        self.start = max(self.start, min(until, self.end))
        self._forget()

    def _forget(self) -> None:
        self._oldest = max(self._oldest, min(self.start, self.end - self._tail))
