"""How many of what the cluster keeps, and what it does first: `pools:`, `hosts:`, `records:` and `startup:`.

Validated here, enforced by the cluster. Each field of a provider's pool that is not given is that of `pools.default`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["HostPolicy", "PoolPolicy", "RecordPolicy", "StartupPolicy"]


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
    max: int = 64
    """Never more of them, whatever is asked for or lags: what a region has machines for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPolicy:
    """Where call records go."""

    path: str | None = None
    """A folder or file; None: none are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupPolicy:
    """What a cluster does before it says that it is ready."""

    check: Literal["none", "live"] = "none"
    """`live`: every provider connects, authenticates and works once, which costs a word each."""
    on_failure: Literal["stop", "warn"] = "stop"
    """Where one does not: the cluster does not start, or starts and says so."""
    attempts: int = 3
    """For what may pass; never for what a credential or an option is to blame for."""
    deadline_s: float = 40.0
    """Of one provider, with all its attempts."""
    together: int = 8
    """Providers that are tried at once."""
