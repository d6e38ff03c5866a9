"""How many of what the cluster keeps: the `pools:`, `hosts:` and `records:` blocks.

Validated here, enforced by the cluster. Each field of a provider's pool that is not given is that of `pools.default`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HostPolicy", "PoolPolicy", "RecordPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """Provider actors of one pool, which is one provider, credential owner and region."""

    min: int = 0
    """Actors kept though nobody uses them; an idle one is 0.9 % of a core and 50 MB."""
    max: int = 8
    target: float = 0.7
    """Share of the streams in use at which the pool grows, 0 to 1: 0.3 is headroom for the time an actor starts in."""
    idle_s: float = 600.0
    """An actor without streams ends after so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPolicy:
    """Session hosts of one region: filled, then spread."""

    max_sessions: int = 250
    """Sessions of one host, before the next one opens."""
    warm: int = 1
    """Empty hosts kept ready, for `isolation: dedicated` and for bursts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPolicy:
    """Where call records go."""

    path: str | None = None
    """A folder or file; None: none are written."""
