"""Health of the pools in one place for the whole cluster, and the order in which a plan's candidates are tried.

Outcomes that hosts report feed it; `router.admit` decides. A candidate put aside is left out, but never the last one;
the first session to a pool that comes back is its probe, the only one.
"""

from __future__ import annotations

from random import Random
from typing import cast

from actors.books import Books
from actors.wire import Outcome as Told
from router.admit import admit
from router.errors import FaultKind
from router.health import RULES, Health, Outcome, eject_outliers
from router.load import Load, PoolKey
from router.plan import Refusal, RoutePlan, Stage

__all__ = ["Admission"]


class Admission:
    """One per router."""

    def __init__(self, books: Books, rng: Random) -> None:
        self.health: dict[PoolKey, Health] = {}
        """Only pools that an outcome came of: as many as there are pools."""
        self._books, self._rng = books, rng
        self._swept_s = float("-inf")

    def order(self, plan: RoutePlan, now_s: float) -> dict[Stage, list[int]] | Refusal:
        """Indices of the candidates to be tried, best first, by stage; a refusal where a stage has nobody."""
        admitted = admit(plan, self.health, self._load(), now_s, self._rng)
        if isinstance(admitted, Refusal):
            return admitted
        for key in admitted.probes:
            self.health[key] = self.health[key].probing(now_s)
        order: dict[Stage, list[int]] = {}
        for stage, candidates in plan.stages.items():
            index = {id(candidate): i for i, candidate in enumerate(candidates)}
            order[stage] = [index[id(candidate)] for candidate in admitted.plan.stages[stage]]
        return order

    def outcome(self, told: Told, now_s: float) -> None:
        """How a stream went, as a host tells it."""
        key = next((k for k, p in self._books.pools.items() if told.actor in p.actors), None)
        if key is None:
            return  # of an actor that has gone: its pool is judged by those it has
        name = PoolKey(key.provider, key.owner, key.region)
        kind = "ok" if told.ok else cast(FaultKind, told.kind or "connect")
        self.health[name] = self.health.get(name, Health(returned_s=now_s)).after(
            Outcome(kind, told.retry_after_s), now_s
        )

    def sweep(self, now_s: float) -> None:
        """Once in a window: put aside those that do far worse than others of their type."""
        if now_s - self._swept_s < RULES.window_s:
            return
        self._swept_s = now_s
        types = {PoolKey(k.provider, k.owner, k.region): p.spec.type for k, p in self._books.pools.items()}
        for kind in set(types.values()):
            equals = {name: health for name, health in self.health.items() if types.get(name) == kind}
            self.health.update(eject_outliers(equals, now_s))

    def _load(self) -> dict[PoolKey, Load]:
        """Without a bound: a full pool is waited for, and grown (attempt.py), not passed over unseen."""
        return {
            PoolKey(k.provider, k.owner, k.region): Load(in_flight=pool.used) for k, pool in self._books.pools.items()
        }
