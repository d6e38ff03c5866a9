"""The route table as the router's books ask it: `actors.rules.Rules` over a loaded configuration."""

from __future__ import annotations

from typing import Any

from actors.providers import registry
from actors.secrets import placed
from actors.wire import ProviderSpec
from router.choose import choose
from router.context import RouteContext
from router.explain import explain
from router.plan import Candidate, Refusal, RoutePlan
from router.scaling import HostBounds, PoolBounds
from router.table import SHARED, Choice, RouteTable

__all__ = ["TableRules"]


class TableRules:
    """`Rules` of one table; immutable like it."""

    def __init__(self, table: RouteTable, base_dir: str = ".") -> None:
        """`base_dir`: the folder that a secret's `file:PATH` is relative to, on every node."""
        self.table = table
        self._base_dir = base_dir
        self.version = table.version
        hosts = table.hosts
        self.host_bounds = HostBounds(max_sessions=hosts.max_sessions, warm=hosts.warm, max=hosts.max)

    def choose(self, ctx: RouteContext, live_regions: frozenset[str]) -> RoutePlan | Refusal:
        return choose(ctx, self.table, live_regions=live_regions)

    def explain(self, ctx: RouteContext, live_regions: frozenset[str]) -> dict[str, Any]:
        told: dict[str, Any] = explain(ctx, self.table, live_regions=live_regions).as_dict()
        return told

    def pool_bounds(self, provider: str) -> PoolBounds:
        policy = self.table.pool(provider)
        return PoolBounds(min=policy.min, max=policy.max, target=policy.target, idle_s=policy.idle_s)

    def spec(self, candidate: Candidate, region: str) -> ProviderSpec:
        """The actor is made with the provider's own options; what a route adds is said per stream."""
        provider = self.table.providers.get(candidate.provider)
        return ProviderSpec(
            provider=candidate.provider,
            type=candidate.type,
            stage=candidate.stage,
            owner=candidate.owner,
            region=region,
            options=dict(provider.options) if provider else {},
            secret=placed(candidate.secret, self._base_dir),
            endpoint=candidate.endpoint,
            streams_per_actor=candidate.capacity.streams_per_actor,
        )

    def is_inline(self, candidate: Candidate) -> bool:
        """What runs in the session host, and the agent that is the caller's own code: no actor stands for it."""
        if candidate.placement == "inline":
            return True
        if candidate.stage != "agent":
            return False
        return bool(getattr(registry.find(candidate.type).capabilities(candidate.options), "client", False))

    def candidate(self, provider: str, region: str, owner: str) -> Candidate | None:
        """The provider as a candidate for this owner; None where the table has not got it, or not for this owner."""
        spec = self.table.providers.get(provider)
        if spec is None or (owner != SHARED and owner not in spec.secrets):
            return None
        if owner == SHARED and spec.secrets and SHARED not in spec.secrets:
            return None
        return Choice(spec, dict(spec.options)).candidate(owner, region)

    def kept(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.table.providers if self.table.pool(name).min > 0))

    def offline(self) -> tuple[ProviderSpec, ...]:
        found = (self.candidate(name, "default", SHARED) for name in sorted(self.table.providers))
        return tuple(self.spec(c, "default") for c in found if c is not None and self._is_offline(c))

    def prewarmed(self) -> tuple[Candidate, ...]:
        """Without a default route, of the first route."""
        route = self.table.default or next(iter(self.table.routes), None)
        if route is None:
            return ()
        first = (slot.choices[0].candidate(SHARED, "default") for slot in route.slots if slot.choices)
        return tuple(c for c in first if c is not None and self._is_offline(c))

    def _is_offline(self, candidate: Candidate) -> bool:
        if candidate.secret is not None or candidate.endpoint is not None or self.is_inline(candidate):
            return False
        return not registry.find(candidate.type).capabilities(candidate.options).needs_secret
