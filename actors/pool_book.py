"""The book of one pool: its actors, and who has which stream of them.

An actor is starting (has a deadline), ready, or retiring (takes nothing new, ends when its last stream has gone).
A stream is taken by naming its lease and given back by naming it again; both are one step, so `used` is always the
number of leases.

    fill, then spread: the fullest actor below its target share is taken, else the emptiest that has room, so that a
    pool with more actors than it needs empties some of them and can shrink

Pure: no clock, no Ray, no logging. Units: `_s` seconds on the router's loop clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from actors.wire import ProviderSpec, WorkerInfo
from router.scaling import PoolBounds, PoolLoad, replicas_wanted

__all__ = ["Fault", "PoolBook", "PoolKey", "ProviderActor"]

_RATE_WINDOW_S = 10.0
_BACKOFF_S = (2.0, 5.0, 15.0, 60.0)
"""A pool whose actors do not start is tried again after so long: first soon (a vendor's blip), then rarely."""


@dataclass(frozen=True, slots=True, order=True)
class PoolKey:
    """What shares a pool: one provider, one credential, one region, one endpoint of the vendor."""

    provider: str
    owner: str
    region: str
    endpoint: str = ""
    """Part of the key because residency binds the vendor's endpoint: two of them never share an actor."""

    def __str__(self) -> str:
        return f"{self.region}/{self.provider}" + ("" if self.owner == "*" else f"@{self.owner}")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a pool does not start: `kind` as the refusal that it leads to."""

    kind: str
    detail: str
    until_s: float
    """It is not tried again before."""


@dataclass(slots=True)
class ProviderActor:
    """One ready actor."""

    info: WorkerInfo
    leases: set[str] = field(default_factory=set)
    retiring: bool = False
    reported: int = 0
    """Streams that it says it has open; for display, the leases count."""

    @property
    def room(self) -> int:
        return 0 if self.retiring else max(self.info.capacity - len(self.leases), 0)


@dataclass(slots=True)
class PoolBook:
    """One pool."""

    key: PoolKey
    spec: ProviderSpec
    bounds: PoolBounds
    actors: dict[str, ProviderActor] = field(default_factory=dict)
    starting: dict[str, float] = field(default_factory=dict)
    """Name of an actor that is being started -> when that began."""
    pinned: int | None = None
    waiting: int = 0
    fault: Fault | None = None
    failures: int = 0
    """Starts that failed in a row."""
    start_s: float = 1.0
    idle_since_s: float | None = None
    _taken: list[float] = field(default_factory=list)

    # -- streams

    def take(self, lease_id: str, now_s: float) -> ProviderActor | None:
        """Reserve one stream under this lease; None when no actor has room."""
        actor = self._pick()
        if actor is not None:
            actor.leases.add(lease_id)
            self._taken.append(now_s)
        return actor

    def give_back(self, lease_id: str, actor: str) -> bool:
        """End a lease. False where it was not held: giving back twice changes nothing."""
        holder = self.actors.get(actor)
        if holder is None or lease_id not in holder.leases:
            return False
        holder.leases.remove(lease_id)
        return True

    def _pick(self) -> ProviderActor | None:
        best: ProviderActor | None = None
        best_rank: tuple[int, int, str] | None = None
        for name, actor in self.actors.items():
            if not actor.room:
                continue
            used = len(actor.leases)
            below = used < actor.info.capacity * self.bounds.target
            rank = (0, -used, name) if below else (1, used, name)
            if best_rank is None or rank < best_rank:
                best, best_rank = actor, rank
        return best

    # -- actors

    def begin_start(self, name: str, now_s: float) -> None:
        self.starting[name] = now_s

    def started(self, info: WorkerInfo, now_s: float) -> None:
        """An actor is ready: new, or one that a restarted router found."""
        since_s = self.starting.pop(info.actor, None)
        if since_s is not None:
            self.start_s = 0.5 * self.start_s + 0.5 * (now_s - since_s)
        self.actors[info.actor] = ProviderActor(info)
        self.fault, self.failures = None, 0

    def start_failed(self, name: str, kind: str, detail: str, now_s: float) -> None:
        self.starting.pop(name, None)
        wait_s = _BACKOFF_S[min(self.failures, len(_BACKOFF_S) - 1)]
        self.failures += 1
        self.fault = Fault(kind, detail, now_s + wait_s)

    def lost(self, name: str) -> set[str]:
        """The actor is dead; the leases that died with it."""
        self.starting.pop(name, None)
        actor = self.actors.pop(name, None)
        return actor.leases if actor else set()

    # -- scaling

    @property
    def used(self) -> int:
        return sum(len(a.leases) for a in self.actors.values())

    @property
    def serving(self) -> int:
        return sum(not a.retiring for a in self.actors.values())

    @property
    def room(self) -> int:
        return sum(a.room for a in self.actors.values())

    def is_broken(self, now_s: float) -> bool:
        """Nothing is ready, nothing is coming, and the last start failed not long ago."""
        return not self.serving and not self.starting and self.fault is not None and now_s < self.fault.until_s

    def can_grow(self, now_s: float) -> bool:
        held_off = self.fault is not None and now_s < self.fault.until_s
        return self.serving + len(self.starting) < self.bounds.max and not held_off

    def wanted(self, now_s: float) -> int:
        """Actors that it should have now. Remembers since when fewer would do."""
        self._taken = [t for t in self._taken if t > now_s - _RATE_WINDOW_S]
        fewer = replicas_wanted(self._load(float("inf"), now_s), self.bounds) < self.serving + len(self.starting)
        if not fewer:
            self.idle_since_s = None
        elif self.idle_since_s is None:
            self.idle_since_s = now_s
        idle_for_s = 0.0 if self.idle_since_s is None else now_s - self.idle_since_s
        return replicas_wanted(self._load(idle_for_s, now_s), self.bounds)

    def to_start(self, now_s: float) -> int:
        """Actors to start now; 0 while a failed start is waited out."""
        if self.fault is not None and now_s < self.fault.until_s:
            return 0
        return max(self.wanted(now_s) - self.serving - len(self.starting), 0)

    def surplus(self, now_s: float) -> tuple[str, ...]:
        """Actors to retire now, emptiest first. Those with streams only where `scale` asked for fewer."""
        over = self.serving - self.wanted(now_s)
        by_use = sorted((len(a.leases), name) for name, a in self.actors.items() if not a.retiring)
        return tuple(name for used, name in by_use[: max(over, 0)] if not used)

    def pin(self, replicas: int) -> tuple[str, ...]:
        """Keep at least so many from now on; the actors beyond are to retire at once, emptiest first."""
        self.pinned = replicas
        by_use = sorted((len(a.leases), name) for name, a in self.actors.items() if not a.retiring)
        return tuple(name for _, name in by_use[: max(len(by_use) - replicas, 0)])

    def leases(self) -> Iterator[str]:
        for actor in self.actors.values():
            yield from actor.leases

    def _load(self, idle_for_s: float, now_s: float) -> PoolLoad:
        recent = len(self._taken) / _RATE_WINDOW_S
        return PoolLoad(
            actors=self.serving + len(self.starting),
            streams_per_actor=self._per_actor(),
            used=sum(len(a.leases) for a in self.actors.values() if not a.retiring),
            waiting=self.waiting,
            opens_per_s=recent,
            start_s=self.start_s,
            pinned=self.pinned,
            idle_for_s=idle_for_s,
        )

    def _per_actor(self) -> int:
        for actor in self.actors.values():
            return max(actor.info.capacity, 1)
        # Nothing has started yet, so the capability is not known here: one actor, whose answer says how many streams.
        return self.spec.streams_per_actor or 1_000_000
