"""What the router asks of its configuration: the decision, and the bounds and options that pools are made with."""

from __future__ import annotations

from typing import Any, Protocol

from actors.wire import ProviderSpec
from router.context import RouteContext
from router.plan import Candidate, Refusal, RoutePlan
from router.scaling import HostBounds, PoolBounds

__all__ = ["Rules"]


class Rules(Protocol):
    """A route table, seen from the router's books. `TableRules` is the real one; a test writes one by hand."""

    version: str
    host_bounds: HostBounds

    def choose(self, ctx: RouteContext, live_regions: frozenset[str]) -> RoutePlan | Refusal: ...

    def explain(self, ctx: RouteContext, live_regions: frozenset[str]) -> dict[str, Any]: ...

    def pool_bounds(self, provider: str) -> PoolBounds: ...

    def spec(self, candidate: Candidate, region: str) -> ProviderSpec:
        """What an actor for this candidate is made of; holds references to secrets, never one."""
        ...

    def is_inline(self, candidate: Candidate) -> bool:
        """True for what needs no stream of an actor."""
        ...

    def candidate(self, provider: str, region: str, owner: str) -> Candidate | None:
        """A provider of the table by name, for `scale` and `min`; None where there is no such provider."""
        ...

    def kept(self) -> tuple[str, ...]:
        """Providers whose pools have a minimum."""
        ...

    def offline(self) -> tuple[ProviderSpec, ...]:
        """Providers that need no vendor and no credential: those that can be checked ready at start-up."""
        ...

    def prewarmed(self) -> tuple[Candidate, ...]:
        """First candidates of the default route that are offline: what the first caller will ask for."""
        ...
