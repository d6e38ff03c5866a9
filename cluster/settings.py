"""How this cluster runs: what is not of the route table. Plain data; it goes to the router actor as an argument."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClusterSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """One cluster's settings."""

    bind_ip: str | None = None
    """Address that links listen on; None: each node's own. The embedded cluster listens on loopback only."""
    base_dir: str = "."
    """Folder that `file:PATH` of the configuration is relative to."""
    prewarm: bool = True
    """Start what the default route's first caller will need, and check every offline provider once."""
    host_class: str = "actors.session_host:SessionHost"
    host_cpus: float = 0.25
    provider_cpus: float = 0.1
    """Shares by which Ray places: forty provider actors to four cores; what they use is 0.01 idle."""
