"""One `open`, trying: which candidate next, how long to wait for it, when to give up.

    reservable now            -> placed
    pool grows (or starts)    -> wait, at most `grow_wait_s`, then the next candidate
    pool or key full at max   -> wait, at most `full_wait_s`, then the next candidate
    pool cannot start         -> the next candidate, at once
    no candidate left         -> an actor that starts is waited for until `deadline_s`; then a refusal that says why

Time is an argument: `step(books, now_s)` is called again whenever the books changed or `until_s` has come.
Units    `_s` seconds on the router's loop clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.books import Books, Lack, Placed, Short
from actors.pool_book import PoolKey
from router.errors import RefusalKind
from router.plan import Refusal, RoutePlan, Stage

__all__ = ["Attempt", "OpenLimits", "Wait"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLimits:
    """How long an `open` may take."""

    deadline_s: float = 20.0
    """In all; above the 15 s that the creation of an actor may take, so that its failure is told and not ours."""
    grow_wait_s: float = 10.0
    """For an actor that starts, while there is another candidate: starting takes 0.5 to 4 s (2-core machine)."""
    full_wait_s: float = 2.0
    """For a stream of a pool that is full and cannot grow: what a stage of a live session waits, too."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be had yet: these pools are wanted, and look again at `until_s` at the latest."""

    pools: tuple[PoolKey, ...]
    host: bool
    until_s: float


@dataclass(slots=True)
class Attempt:
    """The state of one `open` that has not been answered."""

    session_id: str
    fingerprint: str
    plan: RoutePlan
    limits: OpenLimits
    started_s: float
    order: dict[Stage, list[int]]
    """Candidates still to be tried, best first."""
    _since_s: dict[Stage, float] = field(default_factory=dict)

    def step(self, books: Books, now_s: float) -> Placed | Wait | Refusal:
        """Place the session, or say what to wait for, or why it cannot be."""
        deadline_s = self.started_s + self.limits.deadline_s
        while True:
            bound = self.plan.max_sessions
            if bound is not None and books.per_route[self.plan.route] >= bound:
                return Refusal(
                    kind="limit", detail=f"route {self.plan.route}: {bound} sessions are open", retry_after_s=5.0
                )
            found = books.place(self.session_id, self.plan, self.order, fingerprint=self.fingerprint, now_s=now_s)
            if isinstance(found, Placed):
                return found
            until_s = deadline_s
            advanced = False
            for lack in found.lacks:
                patience_s = self._patience_s(lack)
                since_s = self._since_s.setdefault(lack.stage, self.started_s)
                if now_s - since_s >= patience_s:
                    if len(self.order[lack.stage]) == 1:
                        return self._refusal(lack, books, now_s)
                    self.order[lack.stage].pop(0)
                    self._since_s[lack.stage] = now_s
                    advanced = True
                elif patience_s != float("inf"):
                    until_s = min(until_s, since_s + patience_s)
            if advanced:
                continue
            if found.host == "broken":
                return Refusal(kind=_kind(found.host_kind), detail=found.host_detail, retry_after_s=5.0)
            if now_s >= deadline_s:
                return self._too_late(found, books, now_s)
            return Wait(tuple(lack.pool for lack in found.lacks), found.host is not None, until_s)

    def _patience_s(self, lack: Lack) -> float:
        if lack.why == "broken":
            return 0.0
        if lack.why != "cold":
            return self.limits.full_wait_s
        return self.limits.grow_wait_s if len(self.order[lack.stage]) > 1 else float("inf")

    def _too_late(self, short: Short, books: Books, now_s: float) -> Refusal:
        if short.lacks:
            return self._refusal(short.lacks[0], books, now_s)
        return Refusal(kind="capacity", detail=short.host_detail, retry_after_s=2.0)

    def _refusal(self, lack: Lack, books: Books, now_s: float) -> Refusal:
        tried = self.plan.stages[lack.stage]
        names = ", ".join(c.provider for c in tried[: lack.candidate]) if lack.candidate else ""
        before = f" (before it: {names})" if names else ""
        pool = books.pools.get(lack.pool)
        retry_s: float | None = 2.0
        if lack.kind in ("auth", "config"):
            retry_s = None  # coming back does not help: somebody must mend the configuration
        elif lack.why == "broken" and pool is not None and pool.fault is not None:
            retry_s = max(round(pool.fault.until_s - now_s, 1), 1.0)
        return Refusal(kind=_kind(lack.kind), detail=f"{lack.stage}: {lack.detail}{before}", retry_after_s=retry_s)


def _kind(fault: str) -> RefusalKind:
    """A pool's fault as the kind of refusal that it leads to."""
    if fault == "capacity":
        return "capacity"
    return "region" if fault == "region" else "unavailable"
