"""The router's workers: started when the books want them, listened to over one link each, replaced when they die.

    a link breaks -> dialled again twice -> refused: the worker is dead; it is killed to be sure, its leases are gone
    a start takes more than 15 s -> killed; the pool's fault is an event, and its next try waits

A router that restarted calls `adopt`: it lists the workers that live, dials each, and rebuilds the books from what
they report. Workers never restart: what replaces one has another name.

Every task is a child of the router's TaskGroup and bounded; a worker's failure ends its own task alone.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

from actors.books import Books
from actors.fleet import Dial, Fleet, NoNode, WorkerLink
from actors.host_book import HostBook
from actors.logs import get_logger
from actors.pool_book import PoolBook, PoolKey
from actors.wire import (
    AnyRouterOp,
    AnyWorkerOp,
    Hello,
    LeaseRequest,
    LeaseReturn,
    Outcome,
    ProviderSpec,
    Retire,
    SessionChange,
    WorkerInfo,
    WorkerReport,
)
from router.errors import ConfigError, LinkError, PatchbayError, ProviderError

__all__ = ["CREATE_S", "Workforce", "pool_key"]

CREATE_S = 15.0
"""A creation that takes longer is killed: an actor starts in 0.5 to 4 s, one that no node can take waits for ever."""
_DIAL_S = 3.0
_KILL_S = 5.0
_REDIALS_S = (0.05, 0.3)
"""A dead process refuses at once; a link lost for another reason comes back. Both are known within half a second."""
_RETIRED_S = 10.0
"""A worker told to retire that is still there so long after its last stream is killed."""

log = get_logger("workforce")


class Workforce:
    """Workers of one router. `changed` is called after every change of the books."""

    def __init__(
        self,
        books: Books,
        fleet: Fleet,
        dial: Dial,
        key: bytes,
        *,
        tag: Callable[[], str],
        changed: Callable[[], None],
        on_outcome: Callable[[Outcome], None],
        on_lease_request: Callable[[str, LeaseRequest], Coroutine[Any, Any, None]],
        on_session: Callable[[str, SessionChange], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.books = books
        self.key = key
        self.failed_starts = 0
        self.deaths = 0
        self._fleet, self._dial, self._tag, self._tasks = fleet, dial, tag, tasks
        self._changed, self._on_outcome, self._on_session = changed, on_outcome, on_session
        self._on_lease_request = on_lease_request
        self._links: dict[str, WorkerLink] = {}
        self._infos: dict[str, WorkerInfo] = {}
        self._reported: set[str] = set()
        self._news = asyncio.Event()
        """Set at each report; `wait_reports` looks whether it was the last."""
        self._retired_s: dict[str, float] = {}
        self._closing = False

    def spawn(self, work: Coroutine[Any, Any, None], what: str) -> None:
        """A child task whose failure is told and ends nothing else."""
        self._tasks.create_task(_guarded(work, what), name=what)

    def send(self, actor: str, op: AnyRouterOp) -> None:
        link = self._links.get(actor)
        if link is not None:
            link.send(op)

    # -- wanting more and fewer

    def tend(self, now_s: float) -> None:
        """Start what the books want and retire what they want no more."""
        if self._closing:
            return
        for pool in tuple(self.books.pools.values()):
            for _ in range(pool.to_start(now_s)):
                self._begin_provider(pool, now_s)
            for name in pool.surplus(now_s):
                self.retire(name, now_s)
        for book in tuple(self.books.hosts.values()):
            for _ in range(book.to_start(now_s)):
                self._begin_host(book, now_s)
            for name in book.surplus(now_s):
                self.retire(name, now_s)
        for name, since_s in tuple(self._retired_s.items()):
            if now_s - since_s >= _RETIRED_S and not self._in_use(name):
                self._retired_s.pop(name, None)
                self.spawn(self._bury(name, "told to retire, and did not"), f"bury {name}")

    def retire(self, name: str, now_s: float) -> None:
        """No new work for it; it ends itself when its last stream has gone."""
        for pool in self.books.pools.values():
            if name in pool.actors:
                pool.actors[name].retiring = True
        for book in self.books.hosts.values():
            if name in book.hosts:
                book.hosts[name].retiring = True
        self._retired_s.setdefault(name, now_s)
        self.send(name, Retire())

    def _in_use(self, name: str) -> bool:
        pools = (p.actors[name].leases for p in self.books.pools.values() if name in p.actors)
        hosts = (b.hosts[name].sessions for b in self.books.hosts.values() if name in b.hosts)
        return any(pools) or any(hosts)

    def start_first(self, pool: PoolBook) -> None:
        """Start an actor of a pool that has none, ahead of the first caller."""
        if not pool.serving and not pool.starting and pool.can_grow(_now()):
            self._begin_provider(pool, _now())

    def _begin_provider(self, pool: PoolBook, now_s: float) -> None:
        name = f"patchbay-{pool.spec.stage}-{pool.key.provider}-{pool.key.region}-{self._tag()}"
        pool.begin_start(name, now_s)
        self.spawn(self._start_provider(pool, name), f"start {name}")

    def _begin_host(self, book: HostBook, now_s: float) -> None:
        name = f"patchbay-host-{book.region}-{self._tag()}"
        book.begin_start(name, now_s)
        self.spawn(self._start_host(book, name), f"start {name}")

    async def _start_provider(self, pool: PoolBook, name: str) -> None:
        info, fault = await self._create(lambda: self._fleet.start_provider(name, pool.spec, self.key))
        if info is None:
            await self._start_failed(pool, name, *fault)
            return
        pool.started(info, _now())
        log.info("worker.started", actor=name, pool=str(pool.key), streams=info.capacity)
        self._changed()

    async def _start_host(self, book: HostBook, name: str) -> None:
        info, fault = await self._create(lambda: self._fleet.start_host(name, book.region, self.key))
        if info is None:
            await self._start_failed(book, name, *fault)
            return
        book.started(info)
        log.info("worker.started", actor=name, region=book.region, sessions=info.capacity)
        self._changed()

    async def _create(
        self, start: Callable[[], Coroutine[Any, Any, WorkerInfo]]
    ) -> tuple[WorkerInfo | None, tuple[str, str]]:
        """A worker that serves and has a link; or None and the fault (kind, detail)."""
        try:
            async with asyncio.timeout(CREATE_S):
                info = await start()
                await self._connect(info)
                return info, ("", "")
        except TimeoutError:
            return None, ("unavailable", f"it did not start within {CREATE_S:g} s")
        except ProviderError as error:
            return None, (error.kind, str(error))
        except ConfigError as error:
            return None, ("config", str(error))
        except NoNode as error:
            return None, ("region", str(error))
        except PatchbayError as error:
            return None, ("unavailable", str(error))
        except Exception as error:  # of the fleet or a provider's own code: told, and the pool tries again later
            return None, ("unavailable", f"{type(error).__name__}: {error}"[:500])

    async def _start_failed(self, book: PoolBook | HostBook, name: str, kind: str, detail: str) -> None:
        self.failed_starts += 1
        book.start_failed(name, kind, detail, _now())
        log.warning("worker.start_failed", actor=name, kind=kind, detail=detail)
        self._changed()
        await self._drop(name)
        await self._kill(name)

    # -- links

    async def _connect(self, info: WorkerInfo) -> None:
        async with asyncio.timeout(_DIAL_S):
            link = await self._dial(info, self.key, self)
        self._infos[info.actor] = info
        self._links[info.actor] = link
        self._reported.discard(info.actor)
        link.send(Hello(router=self.books.incarnation))

    def on_op(self, actor: str, op: AnyWorkerOp) -> None:
        """A worker said something. Called by its link, in order."""
        match op:
            case WorkerReport():
                self._report(actor, op)
            case SessionChange():
                self._on_session(actor, op)
            case LeaseReturn():
                if self.books.give_back(op.lease_id):
                    self._changed()
            case LeaseRequest():
                self.spawn(self._on_lease_request(actor, op), f"lease for {op.session_id}")
            case Outcome():
                self._on_outcome(op)

    def on_closed(self, actor: str, detail: str) -> None:
        """The link to a worker is gone: dial again, or find that the worker is."""
        self._links.pop(actor, None)
        if actor in self._infos and not self._closing:
            self.spawn(self._redial(actor, detail), f"redial {actor}")

    def _report(self, actor: str, report: WorkerReport) -> None:
        whole = actor not in self._reported
        self._reported.add(actor)
        self._news.set()
        for pool in self.books.pools.values():
            if actor in pool.actors:
                pool.actors[actor].reported = report.streams
        for book in self.books.hosts.values():
            host = book.hosts.get(actor)
            if host is None:
                continue
            host.report_lag(report.lag_p99_ms, _now())
            if whole:
                told = {change.session_id for change in report.sessions}
                for session_id in sorted(host.sessions - told):
                    session = self.books.sessions.get(session_id)
                    if session is not None and session.live:
                        self.books.release(session_id)  # it ended while nobody listened
                for change in report.sessions:
                    self._on_session(actor, change)
        self._changed()

    async def _redial(self, actor: str, detail: str) -> None:
        info = self._infos[actor]
        for wait_s in _REDIALS_S:
            await asyncio.sleep(wait_s)
            try:
                await self._connect(info)
            except (LinkError, OSError, TimeoutError):
                continue
            log.warning("worker.link_back", actor=actor, detail=detail)
            return
        expected = actor in self._retired_s
        await self._bury(actor, "retired" if expected else detail)

    async def _bury(self, actor: str, why: str) -> None:
        """A worker is dead, or is now: take it out of the books, then kill what may be left of it."""
        retired = self._retired_s.pop(actor, None) is not None
        streams = self.books.provider_lost(actor)
        sessions = self.books.host_lost(actor)
        if retired:
            log.info("worker.retired", actor=actor)
        else:
            self.deaths += 1
            log.error("worker.lost", actor=actor, why=why, streams=streams, sessions=len(sessions))
        for session in sessions:
            log.error("session.lost", session=session.session_id, tenant=session.tenant_id, route=session.route)
        self._changed()
        await self._drop(actor)
        await self._kill(actor)

    async def _drop(self, actor: str) -> None:
        self._infos.pop(actor, None)
        self._reported.discard(actor)
        link = self._links.pop(actor, None)
        if link is not None:
            await link.close()

    async def _kill(self, name: str) -> None:
        try:
            async with asyncio.timeout(_KILL_S):
                await self._fleet.kill(name)
        except TimeoutError:
            log.error("worker.not_killed", actor=name)

    # -- adopting and ending

    async def adopt(self, infos: tuple[WorkerInfo, ...], pool_of: Callable[[ProviderSpec], PoolBook]) -> int:
        """Take over workers that live. Providers first, so that the hosts' sessions find their streams' actors."""
        adopted = 0
        ordered = sorted(infos, key=lambda i: (i.kind == "host", i.actor))
        for _, group in itertools.groupby(ordered, key=lambda i: i.kind):
            some = tuple(group)
            for info in some:
                if info.kind == "host":
                    self.books.host_book(info.region).started(info)
                elif info.spec is not None:
                    pool_of(info.spec).started(info, _now())
            done = await asyncio.gather(*(self._connect(i) for i in some), return_exceptions=True)
            for info, result in zip(some, done, strict=True):
                if isinstance(result, BaseException):
                    await self._bury(info.actor, f"it could not be adopted: {result}")
                else:
                    adopted += 1
        return adopted

    async def wait_reports(self, timeout_s: float) -> None:
        """Until every worker has reported, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                while not set(self._links) <= self._reported:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            log.warning("adoption.incomplete", actors=sorted(set(self._links) - self._reported))

    async def close(self, *, kill: bool) -> None:
        """Hang up on all workers; `kill` ends them."""
        self._closing = True
        names = [*self._infos, *(n for p in self.books.pools.values() for n in p.starting)]
        for link in tuple(self._links.values()):
            await link.close()
        self._links.clear()
        if kill:
            await asyncio.gather(*(self._kill(name) for name in names))


def pool_key(spec: ProviderSpec) -> PoolKey:
    """The pool that an actor made of this spec belongs to."""
    return PoolKey(spec.provider, spec.owner, spec.region, spec.endpoint or "")


async def _guarded(work: Coroutine[Any, Any, None], what: str) -> None:
    try:
        await work
    except Exception as error:
        log.error("task.failed", task=what, error=type(error).__name__, detail=str(error)[:500])


def _now() -> float:
    return asyncio.get_running_loop().time()
