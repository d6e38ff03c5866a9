"""When a worker looks for garbage: when enough sessions have ended, and never because many have begun.

Python's collector walks through all that a process holds once that has grown by a quarter: 122 ms with a thousand
sessions, in which every caller waits, and again and again while they come. Here it does so by itself for what is young
alone. Sessions that end leave circles behind: once as many have ended as live, all is walked through, which costs each
of them no more than its own share. What was there before the first session is frozen and never looked at again.

Bounds   garbage of as many sessions as live, of `ENDED_MIN` where fewer do, and of `EVERY_S`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

__all__ = ["ENDED_MIN", "EVERY_S", "Garbage"]

ENDED_MIN = 100
EVERY_S = 900.0
"""Circles of something else than sessions are few: a pause in a quarter of an hour."""
_YOUNG, _OLDER, _NEVER = 700, 5, 1_000_000
"""Thresholds of the collector: Python's own for what is young, half of it for the next, which took 2 to 4 ms."""


class Garbage:
    """Of one process. `start` when it is ready to serve, `beat` every few seconds."""

    def __init__(self, collect: Callable[[], object] = gc.collect) -> None:
        self._collect = collect
        self._ended, self._last_s = 0, 0.0

    def start(self, now_s: float) -> None:
        """What is there by now stays: Ray's modules and ours, a tenth of a second to walk through."""
        gc.set_threshold(_YOUNG, _OLDER, _NEVER)
        gc.collect()
        gc.freeze()
        self._last_s = now_s

    def beat(self, now_s: float, live: int, ended: int) -> bool:
        """`live` sessions or streams are open, `ended` ever have closed. True: all was walked through."""
        due = ended - self._ended >= max(ENDED_MIN, live) or now_s - self._last_s >= EVERY_S
        if due:
            self._ended, self._last_s = ended, now_s
            self._collect()
        return due
