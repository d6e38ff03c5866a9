"""Is a vendor silent because there is nothing to say, or because it has stalled?

    watch = StallWatch(5.0, stalled)
    watch.owe()        something is owed from now on (speech is heard, text was sent); does nothing if it already was
    watch.heard()      a sign of life: the time starts again
    watch.settle()     nothing is owed any more
    stalled()          called once, when something was owed for so long without a sign

Nothing is owed in ordinary silence, so silence is no stall.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["StallWatch"]


class StallWatch:
    """One timer, set when it is needed; a sign of life moves a time and touches no timer."""

    __slots__ = ("_loop", "_since_s", "_stalled", "_timer", "limit_s")

    def __init__(self, limit_s: float, stalled: Callable[[], None]) -> None:
        self.limit_s = limit_s
        self._stalled = stalled
        self._loop = asyncio.get_running_loop()
        self._since_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def owed(self) -> bool:
        return self._since_s is not None

    def owe(self) -> None:
        if self._since_s is None:
            self._since_s = self._loop.time()
            if self._timer is None:
                self._timer = self._loop.call_at(self._since_s + self.limit_s, self._look)

    def heard(self) -> None:
        if self._since_s is not None:
            self._since_s = self._loop.time()

    def settle(self) -> None:
        self._since_s = None

    def close(self) -> None:
        self._since_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._since_s is None:
            return
        due_s = self._since_s + self.limit_s
        if self._loop.time() >= due_s:
            self._since_s = None
            self._stalled()
        else:
            self._timer = self._loop.call_at(due_s, self._look)
