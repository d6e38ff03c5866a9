"""How late the loop runs: the overshoot of a tick that should have come every `interval_s`.

Driven by the host's own tick, so it costs no timer. Pure: the time is an argument. Bounded: the last `window`
ticks, and the quantiles are of them.

Source   the trick of Ray's loop monitor: ask to be woken, and see how late it was.
"""

from __future__ import annotations

from collections import deque

__all__ = ["LagMonitor"]


class LagMonitor:
    """Lateness of the last `window` ticks, milliseconds.

    >>> lag = LagMonitor(interval_s=0.02)
    >>> for now_s in (0.0, 0.02, 0.045):
    ...     lag.tick(now_s)
    >>> round(lag.p99_ms(), 3)
    5.0
    """

    def __init__(self, interval_s: float, window: int = 250) -> None:
        self.interval_s = interval_s
        self._late_ms: deque[float] = deque(maxlen=window)
        self._last_s: float | None = None

    def tick(self, now_s: float) -> None:
        """The tick came at `now_s`; it was armed when the one before it came."""
        if self._last_s is not None:
            self._late_ms.append(max(0.0, (now_s - self._last_s - self.interval_s) * 1e3))
        self._last_s = now_s

    def p50_ms(self) -> float:
        return self.quantile_ms(0.5)

    def p99_ms(self) -> float:
        return self.quantile_ms(0.99)

    def quantile_ms(self, q: float) -> float:
        """0 where nothing was measured yet."""
        late = sorted(self._late_ms)
        return late[min(len(late) - 1, int(q * len(late)))] if late else 0.0
