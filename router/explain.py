"""Why a call goes where it goes: the winner, and for every other route the first condition that failed.

The same conditions, splits and plan as `choose`, asked of every route in file order without the index; a property
test holds the two equal. Costs a pass over the whole table: for people, not for calls.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal

from router.choose import fallback, plan_of
from router.context import RouteContext
from router.match import key_value
from router.plan import Refusal, RoutePlan, Stage
from router.table import Route, RouteTable

__all__ = ["BucketTrace", "Explanation", "RouteTrace", "SplitTrace", "explain"]


@dataclass(frozen=True, slots=True)
class BucketTrace:
    """Where the caller falls under a route's bucket."""

    by: str
    key: str
    salt: str
    position: float
    """0 to 100."""
    from_: float
    below: float


@dataclass(frozen=True, slots=True)
class SplitTrace:
    """The arms of a split and their scores; the highest wins."""

    stage: Stage
    by: str
    key: str
    salt: str
    arms: tuple[tuple[str, float, float], ...]
    """Provider, weight, score; best first."""


@dataclass(frozen=True, slots=True)
class RouteTrace:
    """One route's verdict. `later`: it would match, but the winner stands before it."""

    name: str
    line: int
    verdict: Literal["won", "lost", "later"]
    why: str
    buckets: tuple[BucketTrace, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `choose` answers for a call, and why."""

    context: RouteContext
    version: str
    outcome: RoutePlan | Refusal
    """Equal to what `choose` answers."""
    winner: str | None
    """Name of the route; `default` where the default route serves; None where nobody does."""
    routes: tuple[RouteTrace, ...]
    """In file order."""
    splits: tuple[SplitTrace, ...] = ()
    """Of the winner."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: numbers, text, lists and mappings only."""
        refused = isinstance(self.outcome, Refusal)
        return {
            "session_id": self.context.session_id,
            "tenant_id": self.context.tenant_id,
            "region": self.context.region,
            "version": self.version,
            "winner": self.winner,
            "refusal" if refused else "plan": asdict(self.outcome),
            "routes": [asdict(trace) for trace in self.routes],
            "splits": [asdict(split) for split in self.splits],
        }

    def as_text(self) -> str:
        """For people: a line for each route, then what serves."""
        c = self.context
        lines = [f"{c.session_id} of {c.tenant_id} in {c.region}, table {self.version}"]
        marks = {"won": "->", "lost": "  ", "later": "  "}
        lines += [f"{marks[r.verdict]} {r.name} (line {r.line}): {r.why}" for r in self.routes]
        for s in self.splits:
            arms = ", ".join(f"{name} {weight:g}: {score:.3f}" for name, weight, score in s.arms)
            lines.append(f"   {s.stage} split by {s.by} = {s.key} in {s.salt}: {arms}")
        if isinstance(self.outcome, Refusal):
            lines.append(f"=> refused ({self.outcome.kind}): {self.outcome.detail}")
        else:
            plan = self.outcome
            lines.append(f"=> {plan.reason}; pools of {plan.pool_region}")
            for stage, candidates in plan.stages.items():
                lines.append(f"   {stage}: {', then '.join(x.provider for x in candidates)}")
        return "\n".join(lines)


def explain(ctx: RouteContext, table: RouteTable, *, live_regions: Collection[str] | None = None) -> Explanation:
    """Why `choose` answers for `ctx` what it does."""
    won: Route | None = None
    traces = []
    for route in table.routes:
        failed = next((c for c in route.conditions if not c.holds(ctx)), None)
        verdict: Literal["won", "lost", "later"] = "lost"
        if failed is not None:
            why = failed.why_not(ctx)
        elif won is not None:
            verdict, why = "later", f"it matches, but {won.name} comes before it"
        else:
            verdict, why, won = "won", "every condition holds", route
        traces.append(RouteTrace(route.name, route.line, verdict, why, _buckets(route, ctx)))
    outcome = fallback(ctx, table, live_regions) if won is None else plan_of(won, ctx, table, None, live_regions)
    served = won if won is not None else table.default
    return Explanation(
        context=ctx,
        version=table.version,
        outcome=outcome,
        winner=served.name if served is not None else None,
        routes=tuple(traces),
        splits=_splits(served, ctx) if served is not None else (),
    )


def _buckets(route: Route, ctx: RouteContext) -> tuple[BucketTrace, ...]:
    return tuple(
        BucketTrace(b.by, key_value(ctx, b.by)[0], b.salt.text, b.position(ctx), b.from_, b.below)
        for b in route.buckets
    )


def _splits(route: Route, ctx: RouteContext) -> tuple[SplitTrace, ...]:
    found = []
    for slot in route.slots:
        if slot.split is not None:
            key, _ = key_value(ctx, slot.split.by)
            scored = [(arm.name, arm.weight, arm.score(key)) for arm, _ in slot.split.arms]
            best_first = tuple(sorted(scored, key=lambda arm: -arm[2]))
            found.append(SplitTrace(slot.stage, slot.split.by, key, slot.split.salt, best_first))
    return tuple(found)
