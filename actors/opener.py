"""`open`: from a context to a session that is planned, placed and signed, or to a refusal.

    open ──choose──> plan ──Attempt──> placed ──sign──> SessionHandle
                              │ wait: the pools it wants are started; every change of the books wakes it
                              └ refused

Idempotent in `session_id`: asked again it answers with the same session (a fresh signature); asked with other fields
or by another tenant it is a `conflict`. Asked twice at once, both have the one answer.

Units    `_s` seconds on the loop's clock; the grant carries wall-clock time, since it goes to another machine.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping

from actors.attempt import Attempt, OpenLimits
from actors.books import Books, Placed, Session
from actors.client import SessionHandle
from actors.grant import GRANT_TTL_S, fingerprint, sign
from actors.logs import get_logger
from actors.observe import Observer, RouteMissing, SessionOpening, SessionRefusal
from actors.rules import Rules
from actors.waiters import Asking, Waiters
from actors.wire import Grant, Lease
from router.context import RouteContext
from router.errors import ContextError, RefusalKind, SessionRefused
from router.plan import Refusal, RoutePlan, Stage

__all__ = ["Opener", "session_id_of"]

MAX_WAITING = 1000
"""Opens that wait at once; beyond it they are refused at once, since each wakes at every change of the books."""
_LOGGED_MAX = 1000
"""Tenants and regions remembered as logged for a missing route; the oldest is forgotten."""

log = get_logger("router")


class Opener:
    """Opens sessions in these books. `tend` has the books' wishes carried out: pools started, hosts opened."""

    def __init__(
        self,
        rules: Rules,
        books: Books,
        waiters: Waiters,
        *,
        limits: OpenLimits,
        key: Callable[[], bytes],
        tend: Callable[[], None],
        order: Callable[[RoutePlan], dict[Stage, list[int]] | Refusal],
        regions: Callable[[], frozenset[str]],
        unix_s: Callable[[], float],
        observer: Observer,
    ) -> None:
        self.refused: Counter[str] = Counter()
        self.route_missing: Counter[str] = Counter()
        self.draining = False
        self.ready = asyncio.Event()
        self._rules, self._books, self._waiters, self._limits = rules, books, waiters, limits
        self._key, self._tend, self._order, self._regions = key, tend, order, regions
        self._unix_s, self._observer = unix_s, observer
        self._opening: dict[str, tuple[str, asyncio.Future[SessionHandle]]] = {}
        self._logged: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    async def open(self, ctx: RouteContext | Mapping[str, object]) -> SessionHandle:
        """Plan and place a session. Raises SessionRefused."""
        began_s = _now()
        try:
            context = RouteContext.of(ctx)
        except ContextError as error:
            self.refused["context"] += 1
            raise SessionRefused("context", str(error), None, session_id_of(ctx)) from None
        try:
            handle = await self._once(context)
        except SessionRefused as refusal:
            self._count_refusal(context, refusal.kind, refusal.detail)
            raise
        self._observer.observe(
            SessionOpening(route=handle.route, tenant=context.tenant_id, region=context.region, open_s=_now() - began_s)
        )
        return handle

    # -- the same id, again or at the same time

    async def _once(self, ctx: RouteContext) -> SessionHandle:
        print_ = fingerprint(ctx)
        await self._until_ready(ctx)
        known = self._books.sessions.get(ctx.session_id)
        if known is not None:
            self._same(known.fingerprint, print_, ctx)
            return self._again(known, ctx)
        pending = self._opening.get(ctx.session_id)
        if pending is not None:
            self._same(pending[0], print_, ctx)
            return await asyncio.shield(pending[1])
        answer: asyncio.Future[SessionHandle] = asyncio.get_running_loop().create_future()
        self._opening[ctx.session_id] = (print_, answer)
        try:
            handle = await self._place(ctx, print_)
        except BaseException as error:
            told = error if isinstance(error, SessionRefused) else _refused("unavailable", "it was given up", ctx, 1.0)
            answer.set_exception(told)
            answer.exception()  # nobody else may be waiting for it
            raise
        else:
            answer.set_result(handle)
            return handle
        finally:
            del self._opening[ctx.session_id]

    async def _until_ready(self, ctx: RouteContext) -> None:
        if not self.ready.is_set():
            try:
                async with asyncio.timeout(self._limits.deadline_s):
                    await self.ready.wait()
            except TimeoutError:
                raise _refused("unavailable", "the session router is still starting", ctx, 2.0) from None
        self._check_open(ctx)

    def _check_open(self, ctx: RouteContext) -> None:
        if self.draining:
            raise _refused("draining", "the cluster is closing", ctx, None)

    def _same(self, held: str, asked: str, ctx: RouteContext) -> None:
        if held != asked:
            # Not a word of whose it is: another tenant may be asking.
            raise _refused("conflict", "a session of this id is open with other fields", ctx, None)

    def _again(self, session: Session, ctx: RouteContext) -> SessionHandle:
        """The handle of a session that is there. A restarted router plans it anew to sign it: the host knows the
        session, and looks only at its id."""
        plan = session.plan
        if plan is None:
            chosen = self._rules.choose(ctx, self._regions())
            if isinstance(chosen, Refusal):
                raise _refused(chosen.kind, chosen.detail, ctx, chosen.retry_after_s)
            plan = chosen
        address = self._books.address_of(session.host)
        if address is None:
            raise _refused("unavailable", "the session's host is gone", ctx, 1.0)
        leases = tuple(self._books.leases[i].lease for i in sorted(session.leases))
        if not session.live:
            session.since_s = _now()
        return self._handle(session, plan, ctx, leases, address)

    # -- a new one

    async def _place(self, ctx: RouteContext, print_: str) -> SessionHandle:
        plan = self._plan(ctx)
        if len(self._waiters) >= MAX_WAITING:
            raise _refused("capacity", f"{MAX_WAITING} opens are waiting", ctx, 2.0)
        order = self._order(plan)
        if isinstance(order, Refusal):
            raise _refused(order.kind, order.detail, ctx, order.retry_after_s)
        attempt = Attempt(ctx.session_id, print_, plan, self._limits, _now(), order)
        while True:
            found = attempt.step(self._books, _now())
            if isinstance(found, Placed):
                _log_granted(ctx, plan, found.host)
                return self._handle(found.session, plan, ctx, found.leases, found.address)
            if isinstance(found, Refusal):
                raise _refused(found.kind, found.detail, ctx, found.retry_after_s)
            hosts = self._books.host_book(plan.pool_region)
            asked = [self._books.pools[key] for key in found.pools]
            with Asking(*asked, *([hosts] if found.host else [])):
                self._tend()
                await self._waiters.wait(found.until_s - _now())
            self._check_open(ctx)

    def _plan(self, ctx: RouteContext) -> RoutePlan:
        plan = self._rules.choose(ctx, self._regions())
        if isinstance(plan, Refusal):
            if plan.kind == "no_route":
                self._missing(ctx, "other")
            raise _refused(plan.kind, plan.detail, ctx, plan.retry_after_s)
        if plan.default_cause is not None:
            self._missing(ctx, plan.default_cause)
        return plan

    def _handle(
        self, session: Session, plan: RoutePlan, ctx: RouteContext, leases: tuple[Lease, ...], address: str
    ) -> SessionHandle:
        grant = Grant(
            session_id=session.session_id,
            host=session.host,
            plan=plan,
            leases=leases,
            issued_unix_s=self._unix_s(),
            ttl_s=GRANT_TTL_S,
            attributes=dict(ctx.attributes),
            trace=ctx.trace,
            fingerprint=session.fingerprint,
        )
        return SessionHandle(
            session_id=session.session_id,
            tenant_id=session.tenant_id,
            route=session.route,
            version=session.version,
            reason=plan.reason,
            default_cause=plan.default_cause,
            providers={stage: tuple(c.provider for c in some) for stage, some in plan.stages.items()},
            address=address,
            token=sign(grant, self._key()),
        )

    # -- what is told of it

    def _missing(self, ctx: RouteContext, cause: str) -> None:
        self.route_missing[cause] += 1
        self._observer.observe(RouteMissing(cause=cause))
        who = (cause, ctx.tenant_id, ctx.region)
        if who not in self._logged:
            self._logged[who] = None
            if len(self._logged) > _LOGGED_MAX:
                self._logged.popitem(last=False)
            log.warning("route.missing", cause=cause, tenant=ctx.tenant_id, region=ctx.region, session=ctx.session_id)

    def _count_refusal(self, ctx: RouteContext, kind: RefusalKind, detail: str) -> None:
        self.refused[kind] += 1
        self._observer.observe(SessionRefusal(tenant=ctx.tenant_id, region=ctx.region, kind=kind))
        told = {"tenant": ctx.tenant_id, "region": ctx.region, "session": ctx.session_id, "trace": ctx.trace}
        log.info("session.refused", kind=kind, detail=detail, **told)


def session_id_of(ctx: object) -> str:
    """The id in a context that may be wrong, for its refusal."""
    value = ctx.get("session_id") if isinstance(ctx, Mapping) else None
    return value[:128] if isinstance(value, str) else ""


def _log_granted(ctx: RouteContext, plan: RoutePlan, host: str) -> None:
    told = {"tenant": ctx.tenant_id, "region": ctx.region, "session": ctx.session_id, "trace": ctx.trace}
    log.info("session.granted", route=plan.route, host=host, reason=plan.reason, **told)


def _refused(kind: RefusalKind, detail: str, ctx: RouteContext, retry_after_s: float | None) -> SessionRefused:
    return SessionRefused(kind, detail, retry_after_s, ctx.session_id)


def _now() -> float:
    return asyncio.get_running_loop().time()
