"""The session router: `open` a session, and know of every session, stream and worker of the cluster.

    handle = await router.open(ctx)      planned, placed, signed; or SessionRefused: why, and when to come back

It owns the books (books.py), has them carried out (workforce.py) and answers questions about them. No Ray here: the
fleet and the links are given (fleet.py).

The router is not on the way of any audio: when it dies no call notices. A new one adopts what lives.

Units    `_s` seconds on the loop's clock.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from actors.admission import Admission
from actors.attempt import OpenLimits
from actors.books import Books, Lack, Session, key_of
from actors.client import SessionHandle
from actors.fleet import Dial, Fleet
from actors.grant import GRANT_TTL_S
from actors.inventory import pool_size, pools_of, sessions_of
from actors.logs import get_logger
from actors.observe import Observer, ignore
from actors.opener import Opener, session_id_of
from actors.pool_book import PoolBook
from actors.rules import Rules
from actors.waiters import Asking, Waiters
from actors.wire import CloseSession, Lease, LeaseAnswer, LeaseRequest, Outcome, ProviderSpec, SessionChange
from actors.workforce import Workforce, pool_key
from router.context import RouteContext
from router.errors import ClusterError, ContextError, SessionGone, SessionRefused
from router.plan import Candidate

__all__ = ["SessionRouter"]

TICK_S = 1.0
"""Grants expire and idle pools shrink on this beat; nothing that a caller waits for hangs on it."""
REVOKED_MAX = 10_000
"""Sessions closed before they attached, remembered so that a late caller is turned away; the oldest is forgotten."""
ADOPT_S = 5.0
"""A worker that does not report by then is left for later: an `open` during adoption waits so long at most."""
_REGIONS_S = 10.0
"""Nodes come and go in minutes; a made-up region must not make a call to Ray for every open."""

log = get_logger("router")


class SessionRouter:
    """The books and their shell. Works inside `async with router.running():`."""

    def __init__(
        self,
        rules: Rules,
        fleet: Fleet,
        dial: Dial,
        *,
        unix_s: Callable[[], float],
        limits: OpenLimits | None = None,
        observer: Observer = ignore,
        prewarm: bool = False,
        tag: Callable[[], str] = lambda: secrets.token_hex(4),
        rng: Random | None = None,
    ) -> None:
        self.rules = rules
        self.books = Books(
            incarnation=tag(),
            bounds_of=rules.pool_bounds,
            spec_of=rules.spec,
            host_bounds=rules.host_bounds,
            is_inline=rules.is_inline,
        )
        self.provider_checks: dict[str, str | None] = {}
        """Offline provider -> None if it is ready, else what is wrong; empty until checked."""
        self.late = 0
        """Sessions that attached after their grant had been taken back."""
        self._limits = limits or OpenLimits()
        self._fleet, self._dial, self._tag = fleet, dial, tag
        self._observer, self._prewarm = observer, prewarm
        self._waiters = Waiters()
        self._admission = Admission(self.books, rng or Random())
        self._opener = Opener(
            rules,
            self.books,
            self._waiters,
            limits=self._limits,
            key=lambda: self.force.key,
            tend=self._tend,
            order=lambda plan: self._admission.order(plan, _now()),
            regions=lambda: self._regions,
            unix_s=unix_s,
            observer=observer,
        )
        self._force: Workforce | None = None
        self._checked = asyncio.Event()
        self._revoked: OrderedDict[str, None] = OrderedDict()
        self._regions: frozenset[str] = frozenset()
        self._regions_seen_s = float("-inf")

    # -- life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SessionRouter]:
        """The router at work; every task it starts is a child of this block."""
        async with asyncio.TaskGroup() as tasks:
            await self._start(tasks)
            beat = tasks.create_task(self._beat(), name="beat")
            try:
                yield self
            finally:
                beat.cancel()
                await self.force.close(kill=False)

    @property
    def force(self) -> Workforce:
        if self._force is None:
            raise ClusterError("the session router has not started")
        return self._force

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        key = await self._fleet.key()
        found = await self._fleet.living() if key is not None else ()
        self._regions = await self._fleet.regions()
        self._force = Workforce(
            self.books,
            self._fleet,
            self._dial,
            key or secrets.token_bytes(32),
            tag=self._tag,
            changed=self._waiters.wake,
            on_outcome=self._outcome,
            on_lease_request=self._fall_back,
            on_session=self._session_changed,
            tasks=tasks,
        )
        if found:
            adopted = await self._force.adopt(found, self._pool_of)
            await self._force.wait_reports(ADOPT_S)
            log.info("router.adopted", workers=adopted, sessions=len(self.books.sessions))
        self._warm_up()
        self._opener.ready.set()
        self._tend()

    def _warm_up(self) -> None:
        """Pools with a minimum, and hosts, before the first caller; what the default route needs if asked to."""
        regions = sorted(self._regions) or ["default"]
        for region in regions:
            self.books.host_book(region)
            for provider in self.rules.kept():
                candidate = self.rules.candidate(provider, region, "*")
                if candidate is not None:
                    self.books.pool(candidate, region)
        if not self._prewarm:
            self._checked.set()
            return
        for candidate in self.rules.prewarmed():
            self.force.start_first(self.books.pool(candidate, regions[0]))
        self.force.spawn(self._check_offline(), "check the offline providers")

    async def _check_offline(self) -> None:
        """Every offline provider of the table once: those that were started are ready, or not; one process tries
        the others, after the first caller has what it needs."""
        try:
            while any(pool.starting for pool in self.books.pools.values()):
                await self._waiters.wait(self._limits.deadline_s)
            for pool in self.books.pools.values():
                if pool.serving:
                    self.provider_checks[pool.key.provider] = None
                elif pool.fault is not None:
                    self.provider_checks[pool.key.provider] = pool.fault.detail
            rest = tuple(s for s in self.rules.offline() if s.provider not in self.provider_checks)
            if rest:
                self.provider_checks.update(await self._fleet.check(rest))
            for provider, wrong in sorted(self.provider_checks.items()):
                if wrong is not None:
                    log.error("provider.not_ready", provider=provider, detail=wrong)
        finally:
            self._checked.set()
            self._waiters.wake()

    async def ready(self, *, providers: bool = False, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until a session host serves (and, if asked, until the offline providers were checked).

        Returns {"hosts": how many, "providers": {name: None or what is wrong}, "fault": why there is no host}.
        """
        deadline_s = _now() + timeout_s
        books = self.books.hosts
        while _now() < deadline_s:
            settled = any(b.hosts or (b.fault is not None and not b.starting) for b in books.values())
            if settled and (not providers or self._checked.is_set()):
                break
            await self._waiters.wait(deadline_s - _now())
        faults = [b.fault.detail for b in books.values() if b.fault is not None and not b.hosts]
        return {
            "hosts": sum(len(b.hosts) for b in books.values()),
            "providers": dict(self.provider_checks),
            "fault": faults[0] if faults else None,
        }

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now_s = _now()
            self._admission.sweep(now_s)
            for session_id in self.books.expired(now_s, GRANT_TTL_S):
                session = self.books.release(session_id)
                if session is not None:
                    log.info("session.expired", session=session_id, tenant=session.tenant_id, route=session.route)
                self._waiters.wake()
            self._tend()
            for pool in self.books.pools.values():
                self._observer.observe(pool_size(pool))

    async def stop(self) -> None:
        """Refuse new sessions and end every worker: live calls end with them."""
        self._opener.draining = True
        self._waiters.wake()
        await self.force.close(kill=True)

    # -- what is asked of it

    async def open(self, ctx: RouteContext | Mapping[str, object]) -> SessionHandle:
        """Plan and place a session; idempotent in `session_id`. Raises SessionRefused."""
        self._look_for_regions(ctx)
        handle = await self._opener.open(ctx)
        self._revoked.pop(handle.session_id, None)
        return handle

    def explain(self, ctx: RouteContext | Mapping[str, object]) -> dict[str, Any]:
        """Why this context gets the route it gets, and why the others lost. Raises SessionRefused(context)."""
        try:
            return self.rules.explain(RouteContext.of(ctx), self._regions)
        except ContextError as error:
            raise SessionRefused("context", str(error), None, session_id_of(ctx)) from None

    async def close(self, session_id: str, timeout_s: float = 5.0) -> None:
        """End a session as its caller would: the last final is delivered. Raises SessionGone if it is not there,
        ClusterError if it has not ended in time."""
        session = self.books.sessions.get(session_id)
        if session is None:
            raise SessionGone(session_id, "is not open here")
        if not session.live:
            self._revoke(session_id)
            self.books.release(session_id)
            self._waiters.wake()
            return
        self.force.send(session.host, CloseSession(session_id=session_id))
        deadline_s = _now() + timeout_s
        while self.books.sessions.get(session_id) is session:
            if _now() >= deadline_s:
                raise ClusterError(f"session {session_id} was told to close and has not within {timeout_s:g} s")
            await self._waiters.wait(deadline_s - _now())

    def sessions(self) -> list[dict[str, Any]]:
        """Every session, granted or live."""
        return sessions_of(self.books, _now())

    def pools(self) -> list[dict[str, Any]]:
        """Every pool of provider actors, then the session hosts of every region."""
        return pools_of(self.books)

    def scale(self, region: str, provider: str, replicas: int, owner: str = "*") -> dict[str, Any]:
        """Keep at least `replicas` actors in the provider's pools of that region from now on; retire those beyond.

        An actor that has streams ends when the last of them has. Load may still grow a pool up to its `max`.
        Raises ClusterError for a provider or region that is not there, or a number that the bounds do not allow.
        """
        candidate = self.rules.candidate(provider, region, owner)
        if candidate is None:
            raise ClusterError(f"the route table has no provider {provider} for owner {owner} in region {region}")
        if self._regions and region not in self._regions and region != "default":
            raise ClusterError(f"no live node serves region {region}; there are {', '.join(sorted(self._regions))}")
        bounds = self.rules.pool_bounds(provider)
        if not bounds.min <= replicas <= bounds.max:
            raise ClusterError(f"pool {region}/{provider}: {replicas} actors; {bounds.min} to {bounds.max} are allowed")
        asked = (provider, owner, region)
        pools = [p for k, p in self.books.pools.items() if (k.provider, k.owner, k.region) == asked]
        for pool in pools or [self.books.pool(candidate, region)]:
            for name in pool.pin(replicas):
                self.force.retire(name, _now())
        self._tend()
        return {"region": region, "provider": provider, "owner": owner, "replicas": replicas}

    def statistics(self) -> dict[str, Any]:
        """Counters, for people and tests."""
        return {
            "sessions": len(self.books.sessions),
            "leases": len(self.books.leases),
            "refused": dict(self._opener.refused),
            "route_missing": dict(self._opener.route_missing),
            "waiting": len(self._waiters),
            "late": self.late,
            "failed_starts": self.force.failed_starts,
            "deaths": self.force.deaths,
            "tasks": len(asyncio.all_tasks()),
        }

    # -- what workers say

    def _session_changed(self, actor: str, change: SessionChange) -> None:
        session = self.books.sessions.get(change.session_id)
        if change.state == "closed":
            if session is not None and session.host == actor:
                self.books.release(change.session_id)
                told = {"tenant": session.tenant_id, "region": session.region, "route": session.route}
                log.info("session.closed", session=change.session_id, reason=change.reason, **told)
                self._waiters.wake()
        elif session is not None and session.host == actor:
            session.live = True
        elif change.session_id in self._revoked:
            self.force.send(actor, CloseSession(session_id=change.session_id))
        else:
            self.late += self._opener.ready.is_set()  # before, it is an adoption
            region = next((b.region for b in self.books.hosts.values() if actor in b.hosts), "default")
            self.books.adopt(change, actor, region, self.books.key_by_actor(), _now())

    async def _fall_back(self, actor: str, ask: LeaseRequest) -> None:
        """A live session wants a stream of another candidate: answered within the time that a stage waits for one."""
        session = self.books.sessions.get(ask.session_id)
        if ask.gives_back is not None:
            self.books.give_back(ask.gives_back)
            self._waiters.wake()
        candidate, region = _wanted(session, ask)
        answer: Lease | Lack | None = None
        if session is not None and candidate is not None:
            answer = await self._exchange(ask, candidate, region)
        lease = answer if isinstance(answer, Lease) else None
        detail = answer.detail if isinstance(answer, Lack) else "" if lease else "there is no such session or candidate"
        told = LeaseAnswer(
            session_id=ask.session_id,
            stage=ask.stage,
            candidate=ask.candidate,
            lease=lease,
            detail=detail,
            retry_after_s=None if lease else 2.0,
        )
        self.force.send(actor, told)

    async def _exchange(self, ask: LeaseRequest, candidate: Candidate, region: str) -> Lease | Lack | None:
        deadline_s = _now() + self._limits.full_wait_s
        while True:
            answer = self.books.exchange(ask.session_id, ask.stage, ask.candidate, candidate, region, _now())
            if not isinstance(answer, Lack) or answer.why == "broken" or _now() >= deadline_s:
                return answer
            with Asking(self.books.pools[key_of(candidate, region)]):
                self._tend()
                await self._waiters.wait(deadline_s - _now())

    def _outcome(self, outcome: Outcome) -> None:
        self._admission.outcome(outcome, _now())

    # -- inside

    def _pool_of(self, spec: ProviderSpec) -> PoolBook:
        """The pool of an actor that was found."""
        key = pool_key(spec)
        if key not in self.books.pools:
            self.books.pools[key] = PoolBook(key, spec, self.rules.pool_bounds(spec.provider))
        return self.books.pools[key]

    def _look_for_regions(self, ctx: RouteContext | Mapping[str, object]) -> None:
        """A caller of a region that no node had may mean that one has now: look, in the background and not often."""
        region = ctx.get("region") if isinstance(ctx, Mapping) else ctx.region
        now_s = _now()
        if not self._regions or region in self._regions or now_s - self._regions_seen_s < _REGIONS_S:
            return
        self._regions_seen_s = now_s
        self.force.spawn(self._see_regions(), "see which regions live")

    async def _see_regions(self) -> None:
        self._regions = await self._fleet.regions()

    def _revoke(self, session_id: str) -> None:
        self._revoked[session_id] = None
        if len(self._revoked) > REVOKED_MAX:
            self._revoked.popitem(last=False)

    def _tend(self) -> None:
        self.force.tend(_now())


def _wanted(session: Session | None, ask: LeaseRequest) -> tuple[Candidate | None, str]:
    """The candidate that a session falls back to, and whose region's pools serve it."""
    if session is not None and session.plan is not None:
        some = session.plan.stages.get(ask.stage, ())
        return (some[ask.candidate] if 0 <= ask.candidate < len(some) else None), session.plan.pool_region
    return ask.want, ask.pool_region or "default"


def _now() -> float:
    return asyncio.get_running_loop().time()
