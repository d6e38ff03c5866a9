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

    __slots__ = ("_bound", "_data", "_oldest", "_tail", "dropped", "end", "start")

    def __init__(self, bound_samples: int, tail: int = 0) -> None:
        self._bound = max(bound_samples, tail) * 2
        self._data = bytearray(min(self._bound, 65_536))
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

    def _make_room(self, kept: int, size: int) -> int:
        capacity = len(self._data)
        wanted = capacity
        while wanted < kept + size and wanted < self._bound:
            wanted = min(wanted * 2, self._bound)
        if wanted != capacity:
            audio = self.recent(self._oldest, self.end)
            self._data = bytearray(wanted)
            at = self._oldest * 2 % wanted
            first = min(kept, wanted - at)
            self._data[at : at + first] = audio[:first]
            self._data[: kept - first] = audio[first:]
        over = kept + size - wanted
        if over > 0:
            self._oldest += over // 2
            self.dropped += max(0, self._oldest - self.start)
            self.start = max(self.start, self._oldest)
        return wanted

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
