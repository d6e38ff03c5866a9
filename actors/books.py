"""The router's books: sessions, their host, their streams, and every bound that counts over the whole cluster.

    place(session)    choose one candidate per stage and a host, and reserve all of it: one step, all or nothing
    release(session)  give everything back, once
    exchange(lease)   a live session falls back: another stream for one it gives back

Choosing and reserving cannot be interrupted: nothing here waits. What cannot be had is told as `Short`: which stage,
which pool, why; `attempt.py` decides whether to wait, to go on to the next candidate or to refuse.

Invariants (a property test holds them): every lease is held by one session and counted in one actor; the streams of a
key are the leases of its pools; `used <= capacity` but for what a restarted router found (`adopt`).

Pure. Units: `_s` seconds on the router's loop clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from actors.host_book import HostBook
from actors.pool_book import PoolBook, PoolKey
from actors.wire import Lease, ProviderSpec, SessionChange
from router.plan import Candidate, RoutePlan, Stage
from router.scaling import HostBounds, PoolBounds

__all__ = ["Booked", "Books", "Lack", "Placed", "Session", "Short", "key_of"]

Why = Literal["cold", "full", "key", "broken", "none"]


def key_of(candidate: Candidate, pool_region: str) -> PoolKey:
    """The pool that serves this candidate."""
    return PoolKey(candidate.provider, candidate.owner, pool_region, candidate.endpoint or "")


@dataclass(frozen=True, slots=True)
class Booked:
    """A lease and the pool it counts in."""

    lease: Lease
    pool: PoolKey
    session_id: str


@dataclass(slots=True)
class Session:
    """One session, granted or live."""

    session_id: str
    tenant_id: str
    fingerprint: str
    route: str
    version: str
    region: str
    host: str
    isolation: Literal["packed", "dedicated"]
    since_s: float
    plan: RoutePlan | None = None
    """None for a session that a restarted router found."""
    leases: set[str] = field(default_factory=set)
    live: bool = False
    """A caller attached; before, it is a grant that expires."""


@dataclass(frozen=True, slots=True)
class Lack:
    """Why a stage cannot be had from its present candidate."""

    stage: Stage
    candidate: int
    pool: PoolKey
    why: Why
    detail: str
    kind: str = "capacity"


@dataclass(frozen=True, slots=True)
class Short:
    """Nothing was reserved: what is missing."""

    lacks: tuple[Lack, ...]
    host: Why | None = None
    host_detail: str = ""
    host_kind: str = "capacity"


@dataclass(frozen=True, slots=True)
class Placed:
    """Everything is reserved."""

    session: Session
    leases: tuple[Lease, ...]
    host: str
    address: str


@dataclass(slots=True)
class Books:
    """All of them. `incarnation` makes lease ids of two routers differ."""

    incarnation: str
    bounds_of: Callable[[str], PoolBounds]
    """Bounds of a provider's pools."""
    spec_of: Callable[[Candidate, str], ProviderSpec]
    """What an actor for this candidate in this pool region is made of."""
    host_bounds: HostBounds = field(default_factory=HostBounds)
    is_inline: Callable[[Candidate], bool] = lambda candidate: False
    """True for what needs no stream of an actor: the agent that is the caller's own code."""
    pools: dict[PoolKey, PoolBook] = field(default_factory=dict)
    hosts: dict[str, HostBook] = field(default_factory=dict)
    """By region."""
    sessions: dict[str, Session] = field(default_factory=dict)
    leases: dict[str, Booked] = field(default_factory=dict)
    per_key: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Streams of (provider, owner) in the whole cluster."""
    per_route: Counter[str] = field(default_factory=Counter)
    _count: int = 0

    # -- pools and hosts by name

    def pool(self, candidate: Candidate, pool_region: str) -> PoolBook:
        """The pool of a candidate, made when first asked for."""
        key = key_of(candidate, pool_region)
        if key not in self.pools:
            self.pools[key] = PoolBook(key, self.spec_of(candidate, pool_region), self.bounds_of(candidate.provider))
        return self.pools[key]

    def host_book(self, region: str) -> HostBook:
        if region not in self.hosts:
            self.hosts[region] = HostBook(region, self.host_bounds)
        return self.hosts[region]

    # -- place

    def place(
        self,
        session_id: str,
        plan: RoutePlan,
        order: Mapping[Stage, Sequence[int]],
        *,
        fingerprint: str,
        now_s: float,
    ) -> Placed | Short:
        """Reserve the first candidate of `order` for every stage, and a host; or say what is short and take nothing.

        `order[stage]` holds the indices still to be tried, best first.
        """
        lacks: list[Lack] = []
        for stage, candidates in plan.stages.items():
            index = order[stage][0]
            lack = self._lack(stage, index, candidates[index], plan.pool_region, now_s)
            if lack is not None:
                lacks.append(lack)
        hosts = self.host_book(plan.pool_region)
        if lacks:
            return Short(tuple(lacks))
        host = hosts.take(session_id, plan.isolation)
        if host is None:
            fault = hosts.fault if hosts.is_broken(now_s) else None
            if fault is not None:
                return Short((), "broken", fault.detail, fault.kind)
            return Short((), "cold", f"no session host of region {plan.pool_region} has room")
        session = Session(
            session_id, plan.tenant_id, fingerprint, plan.route, plan.version, plan.region,
            host.info.actor, plan.isolation, now_s, plan,
        )  # fmt: skip
        self.sessions[session_id] = session
        self.per_route[plan.route] += 1
        leases = tuple(
            self._take(session, stage, order[stage][0], candidates[order[stage][0]], plan.pool_region, now_s)
            for stage, candidates in plan.stages.items()
            if not self.is_inline(candidates[order[stage][0]])
        )
        return Placed(session, leases, host.info.actor, host.info.address)

    def _lack(self, stage: Stage, index: int, candidate: Candidate, region: str, now_s: float) -> Lack | None:
        """Why no stream of this candidate can be had now; None if one can. No two stages share a pool."""
        if self.is_inline(candidate):
            return None
        pool = self.pool(candidate, region)
        bound = candidate.capacity.streams_per_key
        if bound is not None and self.per_key[candidate.provider, candidate.owner] >= bound:
            return Lack(stage, index, pool.key, "key", f"{candidate.provider}: all {bound} streams of its key are open")
        if pool.room:
            return None
        if pool.is_broken(now_s):
            assert pool.fault is not None
            return Lack(stage, index, pool.key, "broken", pool.fault.detail, pool.fault.kind)
        if pool.starting or pool.can_grow(now_s):
            return Lack(stage, index, pool.key, "cold", f"an actor of pool {pool.key} is being started")
        return Lack(stage, index, pool.key, "full", f"pool {pool.key} is full: {pool.used} streams are open")

    def _take(
        self, session: Session, stage: Stage, index: int, candidate: Candidate, region: str, now_s: float
    ) -> Lease:
        pool = self.pool(candidate, region)
        self._count += 1
        lease_id = f"{self.incarnation}-{self._count}"
        actor = pool.take(lease_id, now_s)
        assert actor is not None, "place() looked before"
        lease = Lease(
            lease_id=lease_id, stage=stage, candidate=index, address=actor.info.address, actor=actor.info.actor,
            rate_hz=actor.info.rate_hz, silence_bound_s=actor.info.silence_bound_s,
        )  # fmt: skip
        self._book(session, lease, pool.key)
        return lease

    def _book(self, session: Session, lease: Lease, key: PoolKey) -> None:
        self.leases[lease.lease_id] = Booked(lease, key, session.session_id)
        self.per_key[key.provider, key.owner] += 1
        session.leases.add(lease.lease_id)

    # -- give back

    def release(self, session_id: str) -> Session | None:
        """End a session in the books: its host's place, its streams, its route's count. None if it is not there."""
        session = self.sessions.pop(session_id, None)
        if session is None:
            return None
        for lease_id in tuple(session.leases):
            self.give_back(lease_id)
        for book in self.hosts.values():
            book.give_back(session_id, session.host)
        self.per_route[session.route] -= 1
        if not self.per_route[session.route]:
            del self.per_route[session.route]
        return session

    def give_back(self, lease_id: str) -> bool:
        """End one lease. False where it is not held."""
        booked = self.leases.pop(lease_id, None)
        if booked is None:
            return False
        pool = self.pools.get(booked.pool)
        if pool is not None:
            pool.give_back(lease_id, booked.lease.actor)
        key = (booked.pool.provider, booked.pool.owner)
        self.per_key[key] -= 1
        if not self.per_key[key]:
            del self.per_key[key]
        session = self.sessions.get(booked.session_id)
        if session is not None:
            session.leases.discard(lease_id)
        return True

    def expired(self, now_s: float, ttl_s: float) -> tuple[str, ...]:
        """Sessions that were granted and never attached."""
        return tuple(s.session_id for s in self.sessions.values() if not s.live and now_s - s.since_s >= ttl_s)

    # -- falling back

    def exchange(
        self, session_id: str, stage: Stage, index: int, candidate: Candidate, region: str, now_s: float
    ) -> Lease | Lack | None:
        """A stream of this candidate for a session that is live; None if the session is not known."""
        session = self.sessions.get(session_id)
        if session is None:
            return None
        lack = self._lack(stage, index, candidate, region, now_s)
        if lack is not None:
            return lack
        return self._take(session, stage, index, candidate, region, now_s)

    # -- workers

    def host_lost(self, name: str) -> tuple[Session, ...]:
        """A host is dead: its sessions are released."""
        gone: list[Session] = []
        for book in self.hosts.values():
            for session_id in sorted(book.lost(name)):
                session = self.release(session_id)
                if session is not None:
                    gone.append(session)
        return tuple(gone)

    def provider_lost(self, name: str) -> int:
        """A provider actor is dead: its leases are gone; the sessions ask for others. Returns how many."""
        dead: set[str] = set()
        for pool in self.pools.values():
            dead |= pool.lost(name)
        return sum(self.give_back(lease_id) for lease_id in dead)

    def adopt(
        self, change: SessionChange, host: str, pool_region: str, key_by_actor: Mapping[str, PoolKey], now_s: float
    ) -> Session:
        """A live session that a host told of and these books did not know. Counted even where it is one too many."""
        session = Session(
            change.session_id, change.tenant_id, change.fingerprint, change.route, change.version, change.region,
            host, change.isolation, now_s - change.age_s, None, live=True,
        )  # fmt: skip
        self.release(change.session_id)
        self.sessions[change.session_id] = session
        self.per_route[change.route] += 1
        entry = self.host_book(pool_region).hosts.get(host)
        if entry is not None:
            entry.sessions.add(change.session_id)
            entry.dedicated = change.isolation == "dedicated"
        for lease in change.leases:
            self.give_back(lease.lease_id)
            key = key_by_actor.get(lease.actor)
            if key is not None:
                self.pools[key].actors[lease.actor].leases.add(lease.lease_id)
                self._book(session, lease, key)
        return session

    def address_of(self, host: str) -> str | None:
        """Where a host listens; None if it is gone."""
        return next((b.hosts[host].info.address for b in self.hosts.values() if host in b.hosts), None)

    def key_by_actor(self) -> dict[str, PoolKey]:
        return {name: pool.key for pool in self.pools.values() for name in pool.actors}
