"""Caller audio kept until a final covers it: one buffer of bytes per session, bounded.

The buffer starts small and doubles up to its bound, so that a session whose finals come in time stays small.
Position `start` is the oldest sample kept, `end` the next to come; `settle` moves `start` forward.

Units    positions in samples from media position 0; 16-bit samples.
Full     the oldest audio goes (`drop_oldest`) and `dropped` counts its samples: an event, not a silence.
"""

from __future__ import annotations

__all__ = ["ReplayRing"]


class ReplayRing:
    """Audio from `start` to `end`."""

    __slots__ = ("_bound", "_data", "dropped", "end", "start")

    def __init__(self, bound_samples: int) -> None:
        self._bound = bound_samples * 2
        self._data = bytearray(min(self._bound, 65_536))
        self.start = self.end = 0
        self.dropped = 0

    def write(self, pcm: bytes | memoryview) -> None:
        """Append whole samples; at most the bound at once."""
        size = len(pcm)
        kept = (self.end - self.start) * 2
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
            audio = self.read(self.start, self.end)
            self._data = bytearray(wanted)
            at = self.start * 2 % wanted
            first = min(kept, wanted - at)
            self._data[at : at + first] = audio[:first]
            self._data[: kept - first] = audio[first:]
        over = kept + size - wanted
        if over > 0:
            self.dropped += over // 2
            self.start += over // 2
        return wanted

    def read(self, begin: int, end: int) -> bytes:
        """Samples `begin..end`, cut to what is kept."""
        begin, end = max(begin, self.start), min(end, self.end)
        if begin >= end:
            return b""
        capacity = len(self._data)
        at, size = begin * 2 % capacity, (end - begin) * 2
        first = min(size, capacity - at)
        return bytes(self._data[at : at + first]) + bytes(self._data[: size - first])

    def settle(self, until: int) -> None:
        """A final covers everything before `until`: it is not needed again."""
        self.start = max(self.start, min(until, self.end))
