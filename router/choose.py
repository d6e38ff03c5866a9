"""The decision: which route serves this call, and with what.

    first route in file order whose conditions all hold → its plan
    none                                                → the default route's plan, with the cause
    no default                                          → a refusal `no_route`

Pure and deterministic: the same context and table give the same plan on every machine. A split puts its winner first
and the `then:` candidates after it; the arms that lost are not fallbacks, since that would blur the experiment.

Cost     median 3 to 9 microseconds at 1,000 routes on a 2-core machine, from quiet to busy; bucket, split and greeting
         make three times that. What a caller does not change is made once (benchmarks/choose.py).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any, TypeVar

from router.bucket import text_of
from router.context import RouteContext
from router.match import key_value
from router.plan import DefaultCause, Refusal, RoutePlan
from router.settings import SessionSettings
from router.table import REMEMBERED, Route, RouteTable

__all__ = ["choose", "plan_of"]

T = TypeVar("T")


def choose(ctx: RouteContext, table: RouteTable, *, live_regions: Collection[str] | None = None) -> RoutePlan | Refusal:
    """The plan for `ctx`, or why there is none.

    `live_regions` are the regions of labelled nodes; None or empty where nodes have no labels (see router/region.py).
    A plan is shared with other calls that it also suits: read its stages and options, do not change them.
    """
    routes = table.routes
    for position in table.candidates(ctx):
        route = routes[position]
        for condition in route.unfiled:
            if not condition.holds(ctx):
                break
        else:
            return plan_of(route, ctx, table, None, live_regions)
    return fallback(ctx, table, live_regions)


def fallback(ctx: RouteContext, table: RouteTable, live_regions: Collection[str] | None) -> RoutePlan | Refusal:
    """What serves a call that no route matches."""
    cause = table.default_cause(ctx)
    if table.default is None:
        return Refusal(kind="no_route", detail=f"{_CAUSES[cause].format(ctx=ctx)} and there is no default route")
    return plan_of(table.default, ctx, table, cause, live_regions)


_CAUSES: dict[DefaultCause, str] = {
    "tenant": "no route is for tenant {ctx.tenant_id}",
    "region": "no route for tenant {ctx.tenant_id} is for region {ctx.region}",
    "other": "no route for tenant {ctx.tenant_id} in region {ctx.region} takes this call",
}


def plan_of(
    route: Route,
    ctx: RouteContext,
    table: RouteTable,
    cause: DefaultCause | None,
    live_regions: Collection[str] | None,
) -> RoutePlan | Refusal:
    """The plan of `route`, which has been found to match (or is the default, for `cause`)."""
    pool_region = table.regions.pool_region(ctx.region, live_regions, route.residency)
    if pool_region is None:
        allowed = ", ".join(route.residency)
        return Refusal(kind="region", detail=f"route {route.name} keeps data in {allowed}; no live node is there")
    arms: tuple[str, ...] = ()
    if route.splits:
        arms = tuple([split.winner(key_value(ctx, split.by)[0]) for _, split in route.splits])
    key = (ctx.tenant_id, ctx.region, pool_region, cause, arms)
    plan = route.plans.get(key)
    if plan is None:
        plan = _new_plan(route, ctx, table.version, pool_region, cause, arms)
        if len(route.plans) < REMEMBERED:
            route.plans[key] = plan
    if route.greeting and isinstance(plan, RoutePlan):
        return _copy(plan, _PLAN, _WRITE_SETTINGS, _with_greeting(route, ctx))
    return plan


def _new_plan(
    route: Route, ctx: RouteContext, version: str, pool_region: str, cause: DefaultCause | None, arms: tuple[str, ...]
) -> RoutePlan | Refusal:
    stages, lacking = route.stages_for(ctx.tenant_id, ctx.region, arms)
    if lacking is not None:
        within = f" that keeps data in {', '.join(route.residency)}" if route.residency else ""
        detail = f"route {route.name} has no {lacking} provider for region {ctx.region}{within}"
        return Refusal(kind="region", detail=detail)
    reason = route.reason if cause is None else f"{route.reason}; {_CAUSES[cause].format(ctx=ctx)}"
    for (stage, split), arm in zip(route.splits, arms, strict=True):
        reason += f"; {stage} {arm} by {split.by} in {split.salt}"
    return RoutePlan(
        route=route.name,
        version=version,
        tenant_id=ctx.tenant_id,
        region=ctx.region,
        pool_region=pool_region,
        stages=stages,
        settings=route.settings,
        tools=route.tools,
        isolation=route.isolation,
        residency=route.residency,
        max_sessions=route.max_sessions,
        default_cause=cause,
        reason=reason,
    )


def _with_greeting(route: Route, ctx: RouteContext) -> SessionSettings:
    """The route's settings with the names in its greeting replaced: plain substitution, nothing is evaluated."""
    greeting = "".join([_said(part, ctx) if n & 1 else part for n, part in enumerate(route.greeting)])
    return _copy(route.settings, _SETTINGS, _WRITE_GREETING, greeting)


def _copy(record: T, slots: list[Any], write: Any, value: object) -> T:
    """`record` with one field changed. dataclasses.replace would run the constructor, which costs as much as the rest
    of the decision."""
    made = object.__new__(type(record))
    for slot in slots:
        slot.__set__(made, slot.__get__(record))
    write(made, value)
    return made


_SETTINGS = [getattr(SessionSettings, f.name) for f in fields(SessionSettings)]
_PLAN = [getattr(RoutePlan, f.name) for f in fields(RoutePlan)]
_WRITE_GREETING = SessionSettings.__dict__["greeting"].__set__
_WRITE_SETTINGS = RoutePlan.__dict__["settings"].__set__


def _said(name: str, ctx: RouteContext) -> str:
    """`{name}` of a greeting: `tenant_id`, `region` or an attribute; nothing where it is absent."""
    if name in ("tenant_id", "region"):
        return ctx.tenant_id if name == "tenant_id" else ctx.region
    return text_of(ctx.attributes.get(name, ""))
