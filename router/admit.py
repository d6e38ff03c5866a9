"""From a plan to what is tried now: its candidates, filtered by health and ordered by load among equals.

The order of a plan is a preference and stays; only neighbours that are equal (the same type with the same stream
options: two accounts, two endpoints) change places, the less loaded of two drawn at random first. Candidates put
aside are left out, but never the last of a stage: if all are ejected, the one that returns soonest is tried anyway.

Pure: the caller gives health, load, time and chance, and marks the probes that it is told of.

Source   power of two choices: Mitzenmacher, "The power of two choices in randomized load balancing" (2001).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from router.health import Health
from router.load import Load, PoolKey
from router.plan import Candidate, Refusal, RoutePlan, Stage

if TYPE_CHECKING:
    from random import Random

__all__ = ["Admission", "PassedOver", "admit", "pool_key"]

RETRY_S = 1.0
"""Streams end all the time: soon enough to find one, not so soon that refused callers are the load."""

_WELL = Health()
_IDLE = Load()


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A candidate of the plan that is not tried, and why."""

    stage: Stage
    key: PoolKey
    why: str


@dataclass(frozen=True, slots=True)
class Admission:
    """A plan whose candidates may be tried in their order."""

    plan: RoutePlan
    probes: tuple[PoolKey, ...] = ()
    """Pools for which this session is the probe: store `health[key].probing(now_s)` in the same step."""
    passed_over: tuple[PassedOver, ...] = ()


def pool_key(plan: RoutePlan, candidate: Candidate) -> PoolKey:
    return PoolKey(candidate.provider, candidate.owner, plan.pool_region)


def admit(
    plan: RoutePlan,
    health: Mapping[PoolKey, Health],
    load: Mapping[PoolKey, Load],
    now_s: float,
    rng: Random,
) -> Admission | Refusal:
    """What of `plan` may be tried at `now_s`; a refusal where a stage has nobody.

    A pool without an entry in `health` is well, one without an entry in `load` is idle. Refusals: `unavailable` where
    the credentials or configuration of every candidate are wrong, `capacity` where every one is full.
    """
    stages: dict[Stage, tuple[Candidate, ...]] = {}
    probes: list[PoolKey] = []
    passed: list[PassedOver] = []
    for stage, candidates in plan.stages.items():
        keyed = [(pool_key(plan, c), c) for c in candidates]
        well = _well(stage, keyed, health, now_s, passed)
        if not well:
            reasons = ", ".join(f"{p.key.provider} ({p.why})" for p in passed if p.stage == stage)
            return Refusal(kind="unavailable", detail=f"no {stage} provider of route {plan.route} can serve: {reasons}")
        roomy = [(key, c) for key, c in well if not load.get(key, _IDLE).full]
        if not roomy:
            names = ", ".join(key.provider for key, _ in well)
            detail = f"every {stage} provider of route {plan.route} is full: {names}"
            return Refusal(kind="capacity", detail=detail, retry_after_s=RETRY_S)
        passed.extend(PassedOver(stage, key, "full") for key, _ in well if load.get(key, _IDLE).full)
        ordered = _by_load(roomy, load, rng)
        first = ordered[0][0]
        if health.get(first, _WELL).half_open(now_s):
            probes.append(first)
        stages[stage] = tuple(c for _, c in ordered)
    return Admission(replace(plan, stages=stages), tuple(probes), tuple(passed))


_Keyed = list[tuple[PoolKey, Candidate]]


def _well(
    stage: Stage, keyed: _Keyed, health: Mapping[PoolKey, Health], now_s: float, passed: list[PassedOver]
) -> _Keyed:
    """Those not put aside; where all are, the one that returns soonest."""
    well = [(key, c) for key, c in keyed if health.get(key, _WELL).available(now_s)]
    if not well:
        hopeful = [(key, c) for key, c in keyed if health[key].latched is None]
        well = [min(hopeful, key=lambda k: health[k[0]].ejected_until_s or 0.0)] if hopeful else []
    kept = {key for key, _ in well}
    for key, _ in keyed:
        if key not in kept:
            passed.append(PassedOver(stage, key, _why(health[key], now_s)))
    return well


def _why(health: Health, now_s: float) -> str:
    if health.latched is not None:
        return f"{health.latched}: put aside until the configuration is read again"
    until_s = health.ejected_until_s or now_s
    return f"put aside for {until_s - now_s:.0f} s more" if until_s > now_s else "a probe is under way"


def _by_load(keyed: _Keyed, load: Mapping[PoolKey, Load], rng: Random) -> _Keyed:
    ordered: _Keyed = []
    for _, group in groupby(keyed, key=lambda k: (k[1].type, k[1].options)):
        equals = list(group)
        if len(equals) > 1:
            two = rng.sample(range(len(equals)), 2)
            best = min(sorted(two), key=lambda n: load.get(equals[n][0], _IDLE).cost_s)
            first = equals.pop(best)
            equals = [first, *sorted(equals, key=lambda k: load.get(k[0], _IDLE).cost_s)]
        ordered.extend(equals)
    return ordered
