"""A session host that hosts nothing but attachments: enough of one to show that the cluster around it works.

A caller's `Attach` is verified and answered; the session is live until `CallerClose`, the router's `CloseSession`, or
the end of its caller's link. It reports to the router as a real host does.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from actors import observe, wire
from actors.events import CallerClose
from actors.grant import verify
from actors.link import Link, LinkServer, serve
from actors.worker import RouterDoor
from router.errors import LinkAuthError


class StandInHost:
    def __init__(self, name: str) -> None:
        self.name = name
        self.sessions: dict[str, wire.SessionChange] = {}
        self._server: LinkServer

    async def start(
        self, region: str, key: bytes, *, bind_ip: str, node: str, max_sessions: int,
        leave: Callable[[], None] | None, records_path: str | None,
    ) -> wire.WorkerInfo:  # fmt: skip
        self.key = key
        self.door = RouterDoor(
            report=self._report, live=lambda: len(self.sessions), on_op=self._on_op, leave=leave, absent_s=5.0
        )
        self._server = await serve(self._handler, key, bind_ip=bind_ip)
        self._info = wire.WorkerInfo(
            actor=self.name, kind="host", region=region, address=self._server.address, pid=os.getpid(), node=node,
            capacity=max_sessions,
        )  # fmt: skip
        self._tick()
        return self._info

    async def describe(self) -> wire.WorkerInfo:
        return self._info

    async def stop(self) -> None:
        await self._server.close()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.door.tick(loop.time())
        loop.call_later(0.2, self._tick)

    def _report(self, whole: bool) -> wire.WorkerReport:
        sessions = tuple(self.sessions.values()) if whole else ()
        return wire.WorkerReport(actor=self.name, streams=len(self.sessions), lag_p99_ms=0.0, sessions=sessions)

    def _on_op(self, op: wire.RouterOp) -> None:
        if isinstance(op, wire.CloseSession):
            self.end(op.session_id, op.reason)

    def _handler(self, link: Link) -> Any:
        return self.door.take(link) if link.role == "router" else _Caller(self)

    def begin(self, grant: wire.Grant) -> None:
        change = wire.SessionChange(
            session_id=grant.session_id, state="opened", tenant_id=grant.plan.tenant_id, region=grant.plan.region,
            route=grant.plan.route, version=grant.plan.version, leases=grant.leases, fingerprint=grant.fingerprint,
        )  # fmt: skip
        self.sessions[grant.session_id] = change
        self.door.push(change)
        plan = grant.plan
        observe.tell(observe.SessionStarted(route=plan.route, tenant=plan.tenant_id, region=plan.region, setup_s=0.001))

    def end(self, session_id: str, reason: str) -> None:
        if self.sessions.pop(session_id, None) is not None:
            self.door.push(wire.SessionChange(session_id=session_id, state="closed", reason=reason))


class _Caller:
    def __init__(self, host: StandInHost) -> None:
        self.host = host
        self.open: dict[int, str] = {}

    def on_control(self, link: Link, stream: int, body: memoryview) -> None:
        op = wire.host_decoder_for_caller.decode(body)
        if isinstance(op, wire.Attach):
            try:
                grant = verify(op.token, self.host.key, now_unix_s=time.time(), host=self.host.name)
            except LinkAuthError as error:
                link.send(stream, wire.Denied(kind="auth", detail=error.detail))
                return
            link.admit(stream)
            self.open[stream] = grant.session_id
            self.host.begin(grant)
            link.send(stream, wire.Attached(session_id=grant.session_id, pos=0, credit_ms=200))
        elif isinstance(op, CallerClose) and stream in self.open:
            self.host.end(self.open.pop(stream), "caller_closed")

    def on_closed(self, link: Link, error: Exception | None) -> None:
        for session_id in self.open.values():
            self.host.end(session_id, "lost")

    def on_audio(self, link: Link, batch: Any) -> None: ...

    def on_bits(self, link: Link, streams: Any, poss: Any, bits: bytes) -> None: ...

    def on_credit(self, link: Link, streams: Any, seqs: Any) -> None: ...


class StandInCaller:
    """A caller's end: attaches, and closes when told."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[Any] = asyncio.Queue(16)

    def on_control(self, link: Link, stream: int, body: memoryview) -> None:
        self.said.put_nowait(wire.caller_decoder.decode(body))

    def on_closed(self, link: Link, error: Exception | None) -> None: ...

    def on_audio(self, link: Link, batch: Any) -> None: ...

    def on_bits(self, link: Link, streams: Any, poss: Any, bits: bytes) -> None: ...

    def on_credit(self, link: Link, streams: Any, seqs: Any) -> None: ...
