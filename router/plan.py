"""The decision: which providers, in which order, with which options, under which policies.

Plain frozen dataclasses: msgspec carries them in a grant to the host, pickle to a caller.
A plan holds references to secrets (`env:NAME`, `file:PATH`), never a secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from router.errors import RefusalKind
from router.price import Price
from router.settings import SessionSettings
from router.tools import ToolSpec

__all__ = ["CASCADE", "STAGES", "Candidate", "Capacity", "DefaultCause", "Placement", "Refusal", "RoutePlan", "Stage"]

Stage = Literal["vad", "turn", "stt", "agent", "tts", "s2s"]
STAGES: tuple[Stage, ...] = ("vad", "turn", "stt", "agent", "tts", "s2s")
CASCADE: tuple[Stage, ...] = ("vad", "turn", "stt", "agent", "tts")
DefaultCause = Literal["tenant", "region", "other"]
Placement = Literal["actor", "inline"]
"""In an actor of its pool, or in the session host itself: for what costs less than the way to an actor and back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How many streams a provider bears."""

    streams_per_actor: int | None = None
    """None: what the provider's own capability says."""
    streams_per_key: int | None = None
    """Open streams of one credential in the whole cluster (the vendor's cap); None: no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One provider that may serve one stage of this session."""

    stage: Stage
    provider: str
    """Its name in the table."""
    type: str
    """What the registry knows it by: `espeak`, or a user's `module:Class`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Stream options: the provider's own, over them the route's `with`, language and voice."""
    owner: str = "*"
    """Whose credential: a tenant, or `*` for the shared one. Part of the pool's key."""
    secret: str | None = None
    """Reference `env:NAME` or `file:PATH`, resolved in the provider actor only."""
    endpoint: str | None = None
    data_region: str | None = None
    capacity: Capacity = field(default_factory=Capacity)
    price: Price | None = None
    """For the cost in the call record; None: no price was said."""
    placement: Placement = "actor"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePlan:
    """What `choose` answers when a route was found."""

    route: str
    """Name of the route; `default` for the default route."""
    version: str
    """Hash of the table's content; the session keeps it for life."""
    tenant_id: str
    region: str
    """As the caller said it."""
    pool_region: str
    """The region whose pools serve it: the caller's where a route or a node knows it, else `default`."""
    stages: dict[Stage, tuple[Candidate, ...]]
    """Ordered candidates: vad, turn, stt, agent, tts; or s2s (and vad where the model has none)."""
    settings: SessionSettings
    tools: tuple[ToolSpec, ...] = ()
    """What the agent, or the model, is offered."""
    isolation: Literal["packed", "dedicated"] = "packed"
    residency: tuple[str, ...] = ()
    """Data regions that may serve it; empty: any."""
    max_sessions: int | None = None
    """Sessions of this route in the cluster."""
    default_cause: DefaultCause | None = None
    """Why the default route was taken; None where a route matched."""
    reason: str = ""
    """One line for people: which rule, which bucket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What `choose` or `admit` answers when nobody serves."""

    kind: RefusalKind
    detail: str
    retry_after_s: float | None = None
