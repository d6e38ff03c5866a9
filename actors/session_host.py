"""Many calls in one process: links of callers in, links to provider actors out, one tick for all.

    host = SessionHost("patchbay-host-eu-1f2e3d4c")
    info = await host.start("eu", key)
    ...                    # callers dial info.address and attach with a grant; the router dials with the cluster key
    await host.stop()

A session is a passive object: a batch of frames is decoded and handed out in a plain loop, and one timer (`ticks.py`)
looks at those alone that have something due. What a session raises ends that session alone.

Bounds   `max_sessions`; a grant is good once (and again for its own session's caller).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from actors import events as ev
from actors import observe, wire
from actors.alarms import Alarms
from actors.arrivals import Arrivals
from actors.caller_end import CallerEnd
from actors.grant import GRANT_TTL_S, LEEWAY_S, verify
from actors.lanes import Lanes
from actors.link import LinkServer, serve
from actors.link_end import Handler, Link
from actors.link_port import ProviderLinks
from actors.logs import get_logger
from actors.providers.interface import Capabilities, StreamSpec
from actors.providers.registry import find
from actors.session_seat import Seat
from actors.task_home import TaskHome
from actors.ticks import Ticks
from actors.worker import RouterDoor
from router.errors import AudioError, ConfigError, LinkAuthError, LinkProtocolError
from router.plan import Candidate

__all__ = ["SessionHost", "SessionHostStatistics"]

_STOP_S = 3.0
_SPENT_MAX = 20_000
_RECORDS_MAX = 1_000

log = get_logger("host")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHostStatistics:
    sessions: int
    attached: int
    """Sessions ever."""
    denied: int
    failed_sessions: int
    """Ended by an exception of ours."""
    frames: int
    stale_frames: int
    records_dropped: int
    """Call records that the disk was too slow for."""
    unread_frames: int
    """Of replies, dropped because a caller does not read what comes to it."""
    tasks: int
    """Of asyncio, in this process."""
    lag_p99_ms: float
    provider_links: int
    concealed_ms: float
    """Silence that was filled in for the callers who are here."""

    @property
    def live(self) -> int:
        return self.sessions

    @property
    def ended(self) -> int:
        """Sessions that are over."""
        return self.attached - self.sessions


class _ToHere:
    """The observer of this process, whichever it is when a record comes."""

    def observe(self, record: observe.Record) -> None:
        observe.tell(record)


class SessionHost:
    """Made in its own process; all methods on its loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.observer: observe.Observer = _ToHere()
        self.tasks = TaskHome(name)
        self.lanes: Lanes
        self.alarms: Alarms
        self.ticks: Ticks
        self.links: ProviderLinks
        self.clock: Callable[[], float]
        self.attached = self.denied = self.failed_sessions = self.frames = self.stale_frames = 0
        self.records_dropped = self.unread_frames = 0
        """The latter of links that have ended."""
        self._seats: dict[str, Seat] = {}
        self._by_token: dict[bytes, Seat] = {}
        self._ends: dict[Link, CallerEnd] = {}
        self._arrivals = Arrivals(self._seat_one)
        self._spent: dict[bytes, float] = {}
        self._inline: dict[str, Any] = {}
        self._local_streams = 0
        self._server: LinkServer | None = None
        self._records: asyncio.Queue[bytes] = asyncio.Queue(_RECORDS_MAX)
        self._key = b""
        self._door: RouterDoor
        self._info: wire.WorkerInfo

    # ---------------------------------------------------------------------------------------------------- life

    async def start(
        self,
        region: str,
        key: bytes,
        *,
        bind_ip: str = "127.0.0.1",
        node: str = "",
        max_sessions: int = 250,
        leave: Callable[[], None] | None = None,
        records_path: str | None = None,
    ) -> wire.WorkerInfo:
        """Serve callers and the router. `records_path`: a file that gets one JSON line for each call."""
        loop = asyncio.get_running_loop()
        self.clock, self._key = loop.time, key
        self.lanes = Lanes(max_sessions, self.failed)
        self.alarms = Alarms(max_sessions + 1)
        await self.tasks.open()
        self.links = ProviderLinks(key, self.tasks.group)
        if records_path is not None:
            self.tasks.spawn(self._write_records(Path(records_path)), "records")
        self._server = await serve(self._handler, key, bind_ip=bind_ip)
        self._info = wire.WorkerInfo(
            actor=self.name, kind="host", region=region, address=self._server.address, pid=os.getpid(), node=node,
            capacity=max_sessions, started_unix_s=_unix_s(),
        )  # fmt: skip
        self._door = RouterDoor(report=self._report, live=lambda: len(self._seats), on_op=self._router_op, leave=leave)
        self.ticks = Ticks(self.alarms, self.lanes, self.guard, self._door.tick)
        self.ticks.start()
        return self._info

    async def describe(self) -> wire.WorkerInfo:
        return self._info

    def statistics(self) -> SessionHostStatistics:
        return SessionHostStatistics(
            sessions=len(self._seats), attached=self.attached, denied=self.denied,
            failed_sessions=self.failed_sessions, frames=self.frames, stale_frames=self.stale_frames,
            records_dropped=self.records_dropped, unread_frames=self._unread(),
            tasks=len(asyncio.all_tasks()), lag_p99_ms=self.ticks.lag_p99_ms(),
            provider_links=self.links.statistics().links,
            concealed_ms=sum(seat.session.ear.concealed_ms for seat in self._seats.values()),
        )  # fmt: skip

    def _unread(self) -> int:
        return self.unread_frames + sum(link.statistics().dropped_frames for link in self._ends)

    async def stop(self) -> None:
        """End every session as drained, then the links; bounded. Idempotent."""
        if self._server is not None:  # it was started
            self.ticks.stop()
        for seat in list(self._seats.values()):
            seat.session.close("drained")
        if self._server is not None:
            await self._server.close("the host ends")
            await self.links.close()
        if not self._records.full():
            self._records.put_nowait(b"")
        await self.tasks.close(timeout_s=_STOP_S)

    def guard(self, seat: Seat, work: Callable[..., None], *args: Any) -> None:
        """An exception ends this session alone."""
        try:
            work(*args)
        except Exception as error:
            self.failed(seat, error)

    def failed(self, seat: Seat, error: Exception) -> None:
        self.failed_sessions += 1
        seat.log.error("session.failed", error=type(error).__name__, detail=str(error)[:500], exc_info=True)
        try:
            seat.session.close("error")
        except Exception as worse:
            seat.log.error("session.close_failed", error=type(worse).__name__)
            seat.session.closed = True
            self.ended(seat, {"session_id": seat.grant.session_id, "reason": "error", "duration_s": 0.0})

    # -------------------------------------------------------------------------------------------------- callers

    def _handler(self, link: Link) -> Handler:
        if link.role == "router":
            return self._door.take(link)
        if link.role != "caller":
            link.fail(LinkAuthError(link.peer, f"a session host serves no {link.role}"))
        end = self._ends[link] = CallerEnd(self)
        return end

    def attach(self, link: Link, end: CallerEnd, stream: int, attach: wire.Attach) -> None:
        """A caller shows its token: a new session, or the caller of one that lives. Seated in its turn."""
        if not self._arrivals.add(link, end, stream, attach):
            self._deny(link, stream, "capacity", "more callers come than this host can seat")

    def _seat_one(self, link: Link, end: CallerEnd, stream: int, attach: wire.Attach) -> None:
        if stream in end.seats:
            link.fail(LinkProtocolError(link.peer, f"stream {stream} was attached twice"))
            return
        try:
            seat = self._seat_of(attach)
        except LinkAuthError as error:
            self._deny(link, stream, "auth", error.detail)
            return
        except AudioError as error:
            self._deny(link, stream, "audio", str(error))
            return
        except ConfigError as error:
            self._deny(link, stream, "config", str(error))
            return
        if isinstance(seat, wire.Denied):
            self._deny(link, stream, seat.kind, seat.detail)
            return
        again = seat.grant.session_id in self._seats
        if not link.admit(stream):
            if not again:
                seat.give_back_row()
            self._deny(link, stream, "capacity", "this connection carries as many sessions as it may")
            return
        end.seat(stream, seat)
        seat.sit(link, stream, attach)
        if again:
            self.guard(seat, seat.session.attach)
            return
        self._seats[seat.grant.session_id] = seat
        self.ticks.add(seat)
        self._by_token[hashlib.sha256(seat.token).digest()] = seat
        self.attached += 1
        self.session_changed(seat, "attached")
        seat.give_back_unused()
        self.guard(seat, seat.session.start)

    def _seat_of(self, attach: wire.Attach) -> Seat | wire.Denied:
        known = self._known(attach.token)
        if known is not None:
            if not known.fits(attach):
                return wire.Denied(kind="audio", detail="a caller comes back with the formats and mode it left with")
            return known
        digest = hashlib.sha256(attach.token).digest()
        if digest in self._spent:
            return wire.Denied(kind="gone", detail="the session has ended")
        grant = verify(attach.token, self._key, now_unix_s=_unix_s(), host=self.name)
        if grant.session_id in self._seats:
            return wire.Denied(kind="conflict", detail="the session lives under another token")
        if self._door.retiring:
            return wire.Denied(kind="draining", detail="this host takes no new sessions")
        if len(self._seats) >= self._info.capacity:
            return wire.Denied(kind="capacity", detail=f"this host has its {self._info.capacity} sessions")
        return Seat(self, grant, attach, self.clock())

    def _known(self, token: bytes) -> Seat | None:
        """The living session of this token; found by its hash, so that nothing of it shows in the time it takes."""
        return self._by_token.get(hashlib.sha256(token).digest())

    def _deny(self, link: Link, stream: int, kind: str, detail: str) -> None:
        self.denied += 1
        log.warning("attach.denied", peer=link.peer, kind=kind, detail=detail)
        link.send(stream, wire.Denied(kind=kind, detail=detail))

    def leave_stream(self, link: Link, stream: int) -> None:
        """Another connection took this session over, or it has ended."""
        end = self._ends.get(link)
        if end is not None:
            end.leave(stream)
        link.release(stream)

    def lost(self, link: Link) -> None:
        end = self._ends.pop(link, None)
        self.unread_frames += link.statistics().dropped_frames
        if end is not None:
            for seat in list(end.seats.values()):
                self.guard(seat, seat.lose)

    # ---------------------------------------------------------------------------------------- what seats ask for

    def capabilities(self, candidate: Candidate) -> Capabilities:
        capabilities: Capabilities = find(candidate.type).capabilities(candidate.options)
        return capabilities

    def inline(self, candidate: Candidate) -> Any:
        """One object of each type that is served here, shared by all sessions: options are a stream's own."""
        made = self._inline.get(candidate.type)
        if made is None:
            made = self._inline[candidate.type] = find(candidate.type)({}, None, None)
        return made

    def number(self, spec: StreamSpec) -> StreamSpec:
        self._local_streams += 1
        return replace(spec, stream=self._local_streams)

    def soon(self, work: Callable[..., None], *args: Any) -> None:
        asyncio.get_running_loop().call_soon(partial(work, *args))

    def push(self, op: wire.WorkerOp) -> bool:
        return self._door.push(op)

    def session_changed(self, seat: Seat, state: Any, reason: str = "") -> None:
        self._door.push(self._change(seat, state, reason))

    def ended(self, seat: Seat, record: dict[str, Any]) -> None:
        """The session is over: its leases go back, its token is spent, its record is written."""
        if self._seats.pop(seat.grant.session_id, None) is None:
            return
        for link, end in list(self._ends.items()):
            for stream, other in list(end.seats.items()):
                if other is seat:
                    self.leave_stream(link, stream)
        self.ticks.remove(seat)
        seat.give_back_row()
        self._by_token.pop(hashlib.sha256(seat.token).digest(), None)
        self._spend(seat.token)
        self.session_changed(seat, "closed", str(record["reason"]))
        try:
            self._records.put_nowait(msgspec.json.encode({**record, "ended": datetime.now(UTC).isoformat()}) + b"\n")
        except asyncio.QueueFull:
            self.records_dropped += 1

    def _spend(self, token: bytes) -> None:
        now_s = self.clock()
        while self._spent and (len(self._spent) >= _SPENT_MAX or next(iter(self._spent.values())) < now_s):
            del self._spent[next(iter(self._spent))]
        self._spent[hashlib.sha256(token).digest()] = now_s + GRANT_TTL_S + 2 * LEEWAY_S

    async def _write_records(self, path: Path) -> None:
        while True:
            line = await self._records.get()
            if not line:  # the host ends, and everything before it is written
                return
            try:
                await asyncio.to_thread(_append, path, line)
            except OSError as error:
                log.error("record.not_written", path=str(path), detail=error.strerror)

    # --------------------------------------------------------------------------------------------------- router

    def _router_op(self, op: wire.RouterOp) -> None:
        seat = self._seats.get(getattr(op, "session_id", ""))
        if seat is None:
            return
        if isinstance(op, wire.LeaseAnswer):
            self.guard(seat, seat.leased, op)
        elif isinstance(op, wire.CloseSession):
            if op.reason == "drained":
                self.guard(seat, seat.session.close, "drained")
            else:
                self.guard(seat, seat.session.caller_op, ev.CallerClose())

    def _report(self, whole: bool) -> wire.WorkerReport:
        told = self._seats.values() if whole else ()  # asked many times a second, and hardly ever whole
        sessions = tuple(self._change(s, "opened" if s.opened else "attached") for s in told)
        return wire.WorkerReport(
            actor=self.name, streams=len(self._seats), lag_p99_ms=self.ticks.lag_p99_ms(), sessions=sessions
        )

    def _change(self, seat: Seat, state: Any, reason: str = "") -> wire.SessionChange:
        grant = seat.grant
        return wire.SessionChange(
            session_id=grant.session_id, state=state, tenant_id=grant.plan.tenant_id, region=grant.plan.region,
            route=grant.plan.route, version=grant.plan.version, leases=seat.leases, reason=reason,
            fingerprint=grant.fingerprint, age_s=self.clock() - seat.began_s, isolation=grant.plan.isolation,
        )  # fmt: skip


def _append(path: Path, line: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(line)


def _unix_s() -> float:
    """Wall clock: tokens are dated by another process."""
    return datetime.now(UTC).timestamp()
