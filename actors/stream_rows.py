"""Which streams of a link have a row in a table: from the numbers of many streams to their rows at once.

A link numbers its streams upwards for all its life, and of a million only the last thousand are there: a window of
numbers moves along. A number outside it has no row.

Bounds   a window of `WINDOW_MAX` numbers, 2 MB: an older stream than that finds no place, and goes without a row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["WINDOW_MAX", "StreamRows"]

WINDOW_MAX = 1 << 20
"""Five new sessions a second, beside one that has been there for 58 hours."""
_FIRST = 256

Array = np.ndarray[Any, Any]


class StreamRows:
    """Rows are 1 to 32,767; 0 is none."""

    __slots__ = ("_base", "_rows", "used")

    def __init__(self) -> None:
        self.used = 0
        """Streams that have a row."""
        self._base = 0
        self._rows: Array = np.zeros(_FIRST + 1, dtype=np.int16)  # the last cell is nobody's: what lies outside

    def put(self, stream: int, row: int) -> bool:
        """`stream` has this row from now on. False: there is no place for it."""
        at = stream - self._base
        if not 0 <= at < len(self._rows) - 1:
            if not self._move(stream):
                return False
            at = stream - self._base
        self.used += self._rows[at] == 0
        self._rows[at] = row
        return True

    def drop(self, stream: int) -> None:
        at = stream - self._base
        if 0 <= at < len(self._rows) - 1 and self._rows[at]:
            self._rows[at] = 0
            self.used -= 1

    def of(self, streams: Array) -> Array:
        """Rows (int64) of these streams (uint32); 0 where one has none."""
        at = np.minimum(streams - np.uint32(self._base), len(self._rows) - 1)  # below the window it wraps to far above
        return self._rows[at].astype(np.int64)

    def _move(self, stream: int) -> bool:
        """A window that holds `stream` and everybody who has a row."""
        there = np.flatnonzero(self._rows)
        low = min(stream, self._base + int(there[0])) if len(there) else stream
        high = max(stream, self._base + int(there[-1])) if len(there) else stream
        size = _FIRST
        while size < 2 * (high - low + 1):
            size *= 2
        if size > WINDOW_MAX:
            return False
        rows = np.zeros(size + 1, dtype=np.int16)
        rows[there + (self._base - low)] = self._rows[there]
        self._base, self._rows = low, rows
        return True
