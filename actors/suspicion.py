"""When a silent peer is held for dead: the bound it declared, or twice what has been usual lately, if that is more.

Usual are the peer's own silences that ended, and the lateness of our own timer: where this process is kept waiting, so
is its neighbour. Both fade, half in 5 s. A young link is given half as much again, since it is among processes that
start. Silence is counted in ticks of the listener's own timer, so that one that was itself stalled first reads what
has come before it accuses anybody.

Pure: `tick` takes the time. Units: seconds of any steady clock. Source: the idea of phi accrual detectors (suspicion
that adapts to what is usual), with two numbers instead of a distribution; a fixed 0.3 s ended live calls on a 2-core
machine at a load of ten, where six processes of ours were starting.
"""

from __future__ import annotations

__all__ = ["BEATS", "SUSPICION_MAX_S", "Suspicion"]

BEATS = 3
"""The peer sends so many beats in its bound, so that one that is late is no death."""
SUSPICION_MAX_S = 3.0
"""However unsteady the machine, a peer silent for so long is dead (the bound of the slowest provider)."""
_HALF_LIFE_S = 5.0
_YOUNG = 1.5


class Suspicion:
    """One peer. `heard` when anything came, `tick` every `tick_s`; `tick` answers how long it was silent, if too long.

    >>> peer = Suspicion(declared_s=0.3, tick_s=0.1, now_s=0.0)
    >>> [peer.tick(n / 10) for n in range(1, 4)]
    [None, None, None]
    """

    __slots__ = ("_declared_s", "_due_s", "_keep", "_tick_s", "missed", "missed_max", "usual_s")

    def __init__(self, declared_s: float, tick_s: float, now_s: float) -> None:
        self.missed = self.missed_max = 0
        """Ticks since anything came, and the most of them ever."""
        self.usual_s = _YOUNG * declared_s / 2
        self._declared_s, self._tick_s, self._due_s = declared_s, tick_s, now_s + tick_s
        self._keep: float = 0.5 ** (tick_s / _HALF_LIFE_S)

    @property
    def allowed_s(self) -> float:
        return max(self._declared_s, min(2 * self.usual_s, SUSPICION_MAX_S))

    def heard(self) -> None:
        if self.missed:
            self.usual_s = max(self.usual_s, self.missed * self._tick_s)
            self.missed = 0

    def tick(self, now_s: float) -> float | None:
        self.missed += 1
        self.missed_max = max(self.missed_max, self.missed)
        self.usual_s = max(self.usual_s * self._keep, now_s - self._due_s)
        self._due_s = now_s + self._tick_s
        silent_s = self.missed * self._tick_s
        return silent_s if silent_s > self.allowed_s + self._tick_s / 2 else None
