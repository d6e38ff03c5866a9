"""When a worker looks for garbage: when enough sessions have ended, and never because many have begun.

Python's collector walks through all that a process holds once that has grown by a quarter: 122 ms with a thousand
sessions, in which every caller waits. What lives is frozen at every beat instead, which costs nothing, so that only
what has come since is ever looked at. Sessions that end leave circles behind: after as many as there are left, all is
thawed and walked through once, which costs each session that ended no more than its own share.

Bounds   garbage of `live` + `ENDED_MIN` sessions, and of `EVERY_S`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

__all__ = ["ENDED_MIN", "EVERY_S", "Garbage"]

ENDED_MIN = 100
EVERY_S = 900.0
"""Circles of something else than sessions are few: a pause in a quarter of an hour."""
_YOUNG, _OLDER, _NEVER = 700, 5, 1_000_000
"""Thresholds of the collector: by itself it looks at what is young, some thousand objects at once, and no further."""


class Garbage:
    """Of one process. `start` when it is ready to serve, `beat` every few seconds."""

    def __init__(
        self,
        collect: Callable[[], object] = gc.collect,
        freeze: Callable[[], None] = gc.freeze,
        thaw: Callable[[], None] = gc.unfreeze,
    ) -> None:
        self._collect, self._freeze, self._thaw = collect, freeze, thaw
        self._ended, self._last_s = 0, 0.0

    def start(self, now_s: float) -> None:
        """What is there by now stays: Ray's modules and ours, a tenth of a second to walk through."""
        gc.set_threshold(_YOUNG, _OLDER, _NEVER)
        self._collect()
        self._freeze()
        self._last_s = now_s

    def beat(self, now_s: float, live: int, ended: int) -> bool:
        """`live` sessions or streams are open, `ended` ever have closed. True: it was walked through."""
        due = ended - self._ended >= max(ENDED_MIN, live) or now_s - self._last_s >= EVERY_S
        if due:
            self._ended, self._last_s = ended, now_s
            self._thaw()
            self._collect()
        self._freeze()
        return due
