"""A fleet in one process, in virtual time: workers are entries, links are calls, and the test holds the handle.

fleet = FakeFleet()
async with SessionRouter(rules, fleet, fleet.dial, ...).running() as router: ...
fleet.die("patchbay-stt-ears-...")        its process is gone: its link closes, dialling it is refused
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from actors import wire
from actors.fleet import WorkerSink
from router.context import RouteContext
from router.errors import LinkClosed, ProviderError
from router.plan import Candidate, Capacity, Refusal, RoutePlan, Stage
from router.scaling import HostBounds, PoolBounds
from router.settings import SessionSettings


@dataclass
class FakeWorker:
    """One worker that lives. `told` is what the router said to it, oldest first."""

    info: wire.WorkerInfo
    told: list[wire.AnyRouterOp] = field(default_factory=list)
    sink: WorkerSink | None = None
    sessions: dict[str, wire.SessionChange] = field(default_factory=dict)

    def say(self, op: wire.AnyWorkerOp) -> None:
        if self.sink is not None:
            self.sink.on_op(self.info.actor, op)

    def report(self, lag_p99_ms: float = 0.0) -> None:
        self.say(
            wire.WorkerReport(
                actor=self.info.actor, streams=len(self.sessions), lag_p99_ms=lag_p99_ms,
                sessions=tuple(self.sessions.values()),
            )
        )  # fmt: skip


class _FakeLink:
    def __init__(self, worker: FakeWorker) -> None:
        self._worker = worker

    def send(self, op: wire.AnyRouterOp) -> None:
        self._worker.told.append(op)
        if isinstance(op, wire.Hello):
            asyncio.get_running_loop().call_soon(self._worker.report)

    async def close(self) -> None:
        self._worker.sink = None


class FakeFleet:
    """`actors.fleet.Fleet` and its `dial`."""

    def __init__(self, *, start_s: float = 1.0, capacity: int = 2) -> None:
        self.workers: dict[str, FakeWorker] = {}
        self.killed: list[str] = []
        self.started: list[str] = []
        self.capacity: dict[str, int] = {}
        self.fails: dict[str, Exception] = {}
        """Provider -> what its start raises."""
        self.live_regions: frozenset[str] = frozenset()
        self.the_key: bytes | None = None
        self.slow: set[str] = set()
        """Providers that never come up."""
        self.checked: list[str] = []
        self._start_s, self._capacity = start_s, capacity
        self._port = 1000

    # -- Fleet

    async def start_host(self, name: str, region: str, key: bytes) -> wire.WorkerInfo:
        await asyncio.sleep(self._start_s)
        return self._add(name, "host", region, None, 250)

    async def start_provider(self, name: str, spec: wire.ProviderSpec, key: bytes) -> wire.WorkerInfo:
        self.started.append(spec.provider)
        if spec.provider in self.slow:
            await asyncio.sleep(1_000_000)
        await asyncio.sleep(self._start_s)
        if spec.provider in self.fails:
            raise self.fails[spec.provider]
        self.the_key = key
        capacity = spec.streams_per_actor or self.capacity.get(spec.provider, self._capacity)
        return self._add(name, "provider", spec.region, spec, capacity)

    async def kill(self, name: str) -> None:
        self.killed.append(name)
        self.workers.pop(name, None)

    async def living(self) -> tuple[wire.WorkerInfo, ...]:
        return tuple(w.info for w in self.workers.values())

    async def key(self) -> bytes | None:
        return self.the_key if self.workers else None

    async def regions(self) -> frozenset[str]:
        return self.live_regions

    async def check(self, specs: tuple[wire.ProviderSpec, ...]) -> dict[str, str | None]:
        self.checked += [s.provider for s in specs]
        return {s.provider: str(self.fails[s.provider]) if s.provider in self.fails else None for s in specs}

    # -- links

    async def dial(self, info: wire.WorkerInfo, key: bytes, sink: WorkerSink) -> _FakeLink:
        worker = self.workers.get(info.actor)
        if worker is None:
            raise LinkClosed(info.address, "nobody listens")
        worker.sink = sink
        return _FakeLink(worker)

    # -- the test's handle

    def named(self, part: str) -> list[FakeWorker]:
        return [w for name, w in sorted(self.workers.items()) if part in name]

    def die(self, name: str) -> None:
        worker = self.workers.pop(name)
        sink, worker.sink = worker.sink, None
        if sink is not None:
            sink.on_closed(name, "end of file")

    def break_link(self, name: str) -> None:
        worker = self.workers[name]
        sink, worker.sink = worker.sink, None
        if sink is not None:
            sink.on_closed(name, "reset")

    def lose_router(self) -> None:
        for worker in self.workers.values():
            worker.sink = None

    def _add(self, name: str, kind: Any, region: str, spec: wire.ProviderSpec | None, capacity: int) -> wire.WorkerInfo:
        self._port += 1
        info = wire.WorkerInfo(
            actor=name, kind=kind, region=region, address=f"127.0.0.1:{self._port}", pid=self._port, node="n1",
            capacity=capacity, spec=spec,
        )  # fmt: skip
        self.workers[name] = FakeWorker(info)
        return info


def attach(worker: FakeWorker, session_id: str, grant: wire.Grant) -> None:
    """A caller attached: what a host then says."""
    change = wire.SessionChange(
        session_id=session_id, state="attached", tenant_id=grant.plan.tenant_id, region=grant.plan.region,
        route=grant.plan.route, version=grant.plan.version, leases=grant.leases, fingerprint=grant.fingerprint,
        isolation=grant.plan.isolation,
    )  # fmt: skip
    worker.sessions[session_id] = change
    worker.say(change)


class HandRules:
    """`actors.rules.Rules` written by hand: tenant -> stages -> provider names, `provider@owner` for an owned key."""

    version = "v1"

    def __init__(
        self,
        routes: dict[str, dict[Stage, str]],
        *,
        bounds: dict[str, PoolBounds] | None = None,
        hosts: HostBounds | None = None,
        max_sessions: int | None = None,
        capacity: Capacity | None = None,
        keep: tuple[str, ...] = (),
        offline: tuple[str, ...] = (),
        isolation: Any = "packed",
    ) -> None:
        self.routes, self.bounds, self.capacity = routes, bounds or {}, capacity or Capacity()
        self.host_bounds = hosts or HostBounds()
        self.max_sessions, self.keep, self._offline, self.isolation = max_sessions, keep, offline, isolation
        self.chosen: Callable[[RouteContext], None] = lambda ctx: None

    def choose(self, ctx: RouteContext, live_regions: frozenset[str]) -> RoutePlan | Refusal:
        self.chosen(ctx)
        route = self.routes.get(ctx.tenant_id)
        name = ctx.tenant_id if route is not None else "default"
        route = route if route is not None else self.routes.get("*")
        if route is None:
            return Refusal(kind="no_route", detail=f"no route for tenant {ctx.tenant_id}")
        return RoutePlan(
            route=name, version=self.version, tenant_id=ctx.tenant_id, region=ctx.region, pool_region=ctx.region,
            stages={stage: tuple(self._made(stage, p) for p in names.split()) for stage, names in route.items()},
            settings=SessionSettings(), max_sessions=self.max_sessions, isolation=self.isolation,
            default_cause="tenant" if name == "default" else None, reason=f"route {name}",
        )  # fmt: skip

    def _made(self, stage: Stage, name: str) -> Candidate:
        provider, _, owner = name.partition("@")
        return Candidate(stage=stage, provider=provider, type=provider, owner=owner or "*", capacity=self.capacity)

    def explain(self, ctx: RouteContext, live_regions: frozenset[str]) -> dict[str, Any]:
        return {"route": ctx.tenant_id}

    def pool_bounds(self, provider: str) -> PoolBounds:
        return self.bounds.get(provider, PoolBounds(max=2))

    def spec(self, candidate: Candidate, region: str) -> wire.ProviderSpec:
        return wire.ProviderSpec(
            provider=candidate.provider,
            type=candidate.type,
            stage=candidate.stage,
            owner=candidate.owner,
            region=region,
        )

    def is_inline(self, candidate: Candidate) -> bool:
        return candidate.type == "client"

    def candidate(self, provider: str, region: str, owner: str) -> Candidate | None:
        for route in self.routes.values():
            for stage, names in route.items():
                for name in names.split():
                    made = self._made(stage, name)
                    if (made.provider, made.owner) == (provider, owner):
                        return made
        return None

    def kept(self) -> tuple[str, ...]:
        return self.keep

    def offline(self) -> tuple[wire.ProviderSpec, ...]:
        return tuple(wire.ProviderSpec(provider=p, type=p, stage="stt") for p in self._offline)

    def prewarmed(self) -> tuple[Candidate, ...]:
        return tuple(self._made(stage, p.split()[0]) for stage, p in self.routes.get("*", {}).items())


def auth_failure(provider: str) -> ProviderError:
    return ProviderError(provider, "auth", "the key was not accepted")
