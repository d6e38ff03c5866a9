"""The compiled route table: immutable, indexed by tenant and region, named by the hash of its content.

    route = conditions → slots (stage: ordered choices, or a split of them) + session settings + policies

Everything that a call does not change is made once, here: merged options, candidates, plans' parts. What the tenant
(credential) and the region (endpoint) change is made when first needed and kept; the configuration bounds how many
there are, so a made-up tenant adds none.

Used by  router/choose.py and explain.py (decide), the cluster (`providers`, `pools`, `hosts`, `records`, `version`).
Raises   nothing: `router.config.load` builds it from a configuration that holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from router.bucket import Arm
from router.context import RouteContext
from router.index import Index, asked, is_exact
from router.match import BucketIn, Condition, FieldIs, glob, is_glob
from router.plan import Candidate, Capacity, DefaultCause, Placement, Refusal, RoutePlan, Stage
from router.policy import HostPolicy, PoolPolicy, RecordPolicy, StartupPolicy
from router.price import Price
from router.region import Regions, fits
from router.settings import SessionSettings
from router.tools import ToolSpec

__all__ = ["Choice", "Endpoint", "ProviderSpec", "Route", "RouteTable", "Slot", "Split"]

SHARED = "*"
"""The owner of a credential that all tenants use."""
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
REMEMBERED = 1024
"""Stages and plans kept by a route. Those of made-up tenants and regions beyond it are worked out each time."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of a vendor's addresses."""

    url: str
    data_region: str | None = None
    """Where data sent there stays; None: what the provider says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """One provider of the table: an entry of `providers`, or a type that a route names by itself."""

    name: str
    stage: Stage
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    endpoints: tuple[tuple[str, Endpoint], ...] = ()
    """Region pattern and endpoint, most specific first: names, then globs by fixed characters, then file order."""
    data_region: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    """References by tenant, `*` for the shared one."""
    capacity: Capacity = field(default_factory=Capacity)
    price: Price | None = None
    placement: Placement = "actor"
    _matchers: tuple[tuple[Callable[[str], object], Endpoint], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        made = tuple((glob(p) if is_glob(p) else p.__eq__, endpoint) for p, endpoint in self.endpoints)
        object.__setattr__(self, "_matchers", made)

    def owner(self, tenant_id: str) -> str:
        """Whose credential serves this tenant: its own name, or `*`."""
        return tenant_id if tenant_id in self.secrets else SHARED

    def endpoint(self, region: str) -> Endpoint | None:
        """The first endpoint for `region`; None where none fits (or none is given: the type's own)."""
        for matches, endpoint in self._matchers:
            if matches(region):
                return endpoint
        return None


class Choice:
    """A provider as one route uses it: with its merged options, ready to be a candidate."""

    __slots__ = ("_made", "options", "provider")

    def __init__(self, provider: ProviderSpec, options: dict[str, Any]) -> None:
        self.provider, self.options = provider, options
        self._made: dict[tuple[str, Endpoint | None], Candidate] = {}

    def candidate(self, tenant_id: str, region: str) -> Candidate | None:
        """The candidate for this caller; None where the provider has endpoints and none for `region`."""
        provider = self.provider
        endpoint = provider.endpoint(region) if provider.endpoints else None
        if endpoint is None and provider.endpoints:
            return None
        key = (provider.owner(tenant_id), endpoint)
        made = self._made.get(key)
        if made is None:
            # At most (tenants with a secret + 1) × endpoints of these, all named by the configuration.
            made = self._made[key] = self._make(*key)
        return made

    def _make(self, owner: str, endpoint: Endpoint | None) -> Candidate:
        provider = self.provider
        return Candidate(
            stage=provider.stage,
            provider=provider.name,
            type=provider.type,
            options=self.options,
            owner=owner,
            secret=provider.secrets.get(owner),
            endpoint=endpoint.url if endpoint else None,
            data_region=(endpoint.data_region if endpoint else None) or provider.data_region,
            capacity=provider.capacity,
            price=provider.price,
            placement=provider.placement,
        )


class Split:
    """Weighted arms: the caller's key decides which one serves, for ever."""

    __slots__ = ("arms", "by", "salt")

    def __init__(self, by: str, salt: str, arms: Iterable[tuple[Choice, float]]) -> None:
        self.by, self.salt = by, salt
        # By name: two arms never tie, and if they did the order of the file would not decide.
        self.arms = tuple(
            (Arm(salt, choice.provider.name, weight), choice)
            for choice, weight in sorted(arms, key=lambda arm: arm[0].provider.name)
        )

    @property
    def choices(self) -> tuple[Choice, ...]:
        return tuple(choice for _, choice in self.arms)

    def winner(self, key: str) -> str:
        """Name of the arm that serves the caller of `key`."""
        best, won = -1.0, ""
        for arm, _ in self.arms:
            score = arm.score(key)
            if score > best:
                best, won = score, arm.name
        return won

    def arm(self, name: str) -> Choice:
        return next(choice for arm, choice in self.arms if arm.name == name)


@dataclass(frozen=True, slots=True)
class Slot:
    """One stage of a route: a split's winner if there is one, then the choices in their order."""

    stage: Stage
    choices: tuple[Choice, ...]
    split: Split | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route, compiled."""

    name: str
    line: int
    conditions: tuple[Condition, ...]
    slots: tuple[Slot, ...]
    settings: SessionSettings
    isolation: Literal["packed", "dedicated"] = "packed"
    residency: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    max_sessions: int | None = None
    greeting: tuple[str, ...] = field(init=False)
    """Text and names by turns: `("Hello ", "name", "!")`; empty where the greeting has no `{names}` in it."""
    buckets: tuple[BucketIn, ...] = field(init=False)
    reason: str = field(init=False)
    """The part of a plan's reason that is the same for every caller."""
    unfiled: tuple[Condition, ...] = field(init=False)
    """The conditions that the table's index has not answered: all but those on tenants and regions filed exactly."""
    splits: tuple[tuple[Stage, Split], ...] = field(init=False)
    owners: frozenset[str] = field(init=False)
    """Tenants with a credential of their own at some provider of the route."""
    has_endpoints: bool = field(init=False)
    made: dict[tuple[str, ...], tuple[dict[Stage, tuple[Candidate, ...]], Stage | None]] = field(
        init=False, repr=False, compare=False
    )
    """Stages by what changes them (owner, region, arms), kept by `stages_for`."""

    plans: dict[tuple[Any, ...], RoutePlan | Refusal] = field(init=False, repr=False, compare=False)
    """Plans by all that changes them but a greeting's names, kept by `choose`."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "plans", {})
        choices = [c for slot in self.slots for c in (*slot.choices, *(slot.split.choices if slot.split else ()))]
        parts = tuple(_PLACEHOLDER.split(self.settings.greeting or ""))
        put(self, "greeting", parts if len(parts) > 1 else ())
        put(self, "buckets", tuple(c for c in self.conditions if isinstance(c, BucketIn)))
        ranges = (f"; {b.by} in bucket {b.from_:g} to {b.below:g} of {b.salt.text}" for b in self.buckets)
        put(self, "reason", f"route {self.name}{''.join(ranges)}")
        put(self, "unfiled", tuple(c for c in self.conditions if not _is_filed(c)))
        put(self, "splits", tuple((slot.stage, slot.split) for slot in self.slots if slot.split is not None))
        put(self, "owners", frozenset(t for c in choices for t in c.provider.secrets if t != SHARED))
        put(self, "has_endpoints", any(c.provider.endpoints for c in choices))
        put(self, "made", {})

    def stages_for(
        self, tenant_id: str, region: str, arms: tuple[str, ...]
    ) -> tuple[dict[Stage, tuple[Candidate, ...]], Stage | None]:
        """The candidates of every stage for this caller, whose splits were won by `arms` (in the order of `splits`).

        The second is the stage that has none in this region, None where all have. The mapping is shared: read only.
        """
        owner = tenant_id if tenant_id in self.owners else SHARED
        key = (owner, region if self.has_endpoints else "", *arms)
        found = self.made.get(key)
        if found is None:
            found = self._stages(tenant_id, region, iter(arms))
            if len(self.made) < REMEMBERED:
                self.made[key] = found
        return found

    def _stages(
        self, tenant_id: str, region: str, arms: Iterator[str]
    ) -> tuple[dict[Stage, tuple[Candidate, ...]], Stage | None]:
        stages: dict[Stage, tuple[Candidate, ...]] = {}
        for slot in self.slots:
            won = (slot.split.arm(next(arms)),) if slot.split is not None else ()
            made = (choice.candidate(tenant_id, region) for choice in (*won, *slot.choices))
            stages[slot.stage] = tuple(c for c in made if c is not None and _resident(c, self.residency))
        return stages, next((stage for stage, found in stages.items() if not found), None)


class RouteTable:
    """All routes. `version` is the hash of the content: two files that say the same have the same.

    `providers` and `pools` are by provider name; a provider without a pool of its own has `pools["default"]`.
    """

    __slots__ = (
        "_index",
        "default",
        "hosts",
        "pools",
        "providers",
        "records",
        "regions",
        "routes",
        "startup",
        "version",
    )

    def __init__(
        self,
        *,
        version: str,
        routes: Iterable[Route],
        default: Route | None = None,
        providers: Mapping[str, ProviderSpec],
        pools: Mapping[str, PoolPolicy] | None = None,
        hosts: HostPolicy | None = None,
        records: RecordPolicy | None = None,
        startup: StartupPolicy | None = None,
    ) -> None:
        self.version = version
        self.routes = tuple(routes)
        self.default = default
        self.providers = dict(providers)
        self.pools = {"default": PoolPolicy(), **(pools or {})}
        self.hosts = hosts if hosts is not None else HostPolicy()
        self.records = records if records is not None else RecordPolicy()
        self.startup = startup if startup is not None else StartupPolicy()
        self._index = Index(route.conditions for route in self.routes)
        endpoints = (pattern for p in self.providers.values() for pattern, _ in p.endpoints)
        self.regions = Regions([*(r for x in self.routes for r in asked(x.conditions, "region") or ()), *endpoints])

    def candidates(self, ctx: RouteContext) -> Iterable[int]:
        """Positions in `routes` of those that could match, in file order; ask each its `unfiled` conditions."""
        return self._index.candidates(ctx.tenant_id, ctx.region, ctx.attributes)

    def pool(self, provider: str) -> PoolPolicy:
        return self.pools.get(provider, self.pools["default"])

    def default_cause(self, ctx: RouteContext) -> DefaultCause:
        """Why no route matched: no route for this tenant, none of its routes for this region, or something else."""
        if not self._index.knows_tenant(ctx.tenant_id):
            return "tenant"
        for position in self._index.in_place(ctx.tenant_id, ctx.region):
            if all(c.holds(ctx) for c in self.routes[position].conditions if _is_place(c)):
                return "other"
        return "region"


def _is_place(condition: Condition) -> bool:
    return isinstance(condition, FieldIs) and condition.field in ("tenant", "region")


def _is_filed(condition: Condition) -> bool:
    return (
        isinstance(condition, FieldIs)
        and condition.field in ("tenant", "region")
        and is_exact(tuple(str(v) for v in condition.pattern.values))
    )


def _resident(candidate: Candidate, residency: tuple[str, ...]) -> bool:
    """True unless the candidate's data leaves `residency`; one that declares nothing runs on our own nodes."""
    return candidate.data_region is None or fits(candidate.data_region, residency)
