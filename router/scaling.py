"""How many actors a pool should have: a function of what is asked of it.

    streams wanted = used + waiting + opens per second x seconds that an actor takes to start
    actors wanted  = streams wanted / (streams per actor x target), rounded up, between min and max

`target` is the share of an actor's streams that should be in use: what is left over is the headroom for opens that
come while the next actor starts. A pool grows at once and shrinks late: only when it has wanted fewer for `idle_s`.

Pure values in, pure values out.
Units    `_s` seconds; `opens_per_s` streams taken per second, smoothed by the caller.
Source   the shape (context in, number out) of Ray Serve's autoscaling policy; the law is queueing's Little: streams
         that will arrive in the time that help needs to come.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

__all__ = ["HostBounds", "HostLoad", "PoolBounds", "PoolLoad", "hosts_wanted", "replicas_wanted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolBounds:
    """What the configuration says of a pool."""

    min: int = 0
    max: int = 8
    target: float = 0.7
    """Share of the streams that should be in use, above 0, at most 1."""
    idle_s: float = 600.0
    """A pool with more than it needs keeps it so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLoad:
    """What is asked of a pool now."""

    actors: int
    """Ready or starting, those that retire not counted."""
    streams_per_actor: int
    used: int = 0
    waiting: int = 0
    """Opens that wait for a stream of it."""
    opens_per_s: float = 0.0
    start_s: float = 1.0
    """How long an actor took to start, lately."""
    pinned: int | None = None
    """What `scale` asked for: at least so many are kept."""
    idle_for_s: float = 0.0
    """How long fewer than `actors` would have done."""


def replicas_wanted(load: PoolLoad, bounds: PoolBounds) -> int:
    """Actors that the pool should have now; between `bounds.min` and `bounds.max`.

    >>> replicas_wanted(PoolLoad(actors=1, streams_per_actor=10, used=8), PoolBounds(target=0.7))
    2
    """
    floor = max(bounds.min, load.pinned or 0)
    per_actor = max(load.streams_per_actor * bounds.target, 1e-9)
    streams = load.used + load.waiting + load.opens_per_s * load.start_s
    need = ceil(round(streams / per_actor, 6)) if load.used + load.waiting > 0 else 0
    if need < load.actors and load.idle_for_s < bounds.idle_s:
        need = load.actors
    return max(min(max(need, floor), bounds.max), min(floor, bounds.max))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostBounds:
    """Session hosts of one region."""

    max_sessions: int = 250
    """Sessions that one host takes: 300 on one host cost 0.35 core, on four 0.63 (2-core machine)."""
    warm: int = 1
    """Empty hosts kept ready for routes with `isolation: dedicated`, once one was asked for."""
    max: int = 64
    idle_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLoad:
    """The hosts of a region now."""

    hosts: int
    """Ready or starting."""
    packed: int
    """Of these, hosts that take packed sessions (a dedicated one does not)."""
    sessions: int
    """Packed sessions on them."""
    lagging: int = 0
    """Packed hosts whose loop has lagged for a while: full, whatever they count."""
    empty: int = 0
    dedicated_seen: bool = False
    idle_for_s: float = 0.0


AHEAD = 0.8
"""The next host opens when the others are filled so far: starting one takes a second, 250/s fill a fifth in less."""


def hosts_wanted(load: HostLoad, bounds: HostBounds) -> int:
    """Hosts that the region should have now: those in use, one ahead of need, and the warm ones."""
    ahead = ceil(round((load.sessions + 1) / (bounds.max_sessions * AHEAD), 6))
    packed = max(ahead, min(load.lagging + 1, load.packed + 1) if load.lagging else 0)
    dedicated = load.hosts - load.packed
    need = dedicated + packed + (bounds.warm if load.dedicated_seen else 0)
    if need < load.hosts and load.idle_for_s < bounds.idle_s:
        need = load.hosts
    return min(max(need, 1), bounds.max)
