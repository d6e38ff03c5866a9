"""A worker's door to the router: who it reports to, and when it has no reason to live any more.

    router dials, says Hello          -> the whole WorkerReport
    load changed                      -> a WorkerReport, once a second at most
    SessionChange, LeaseRequest, Outcome   -> at once; without a router they are dropped and counted, since the whole
                                         report at the next Hello says what matters of them
    another router link               -> replaces the first
    Retire                            -> no new work; `leave()` when the last stream has gone
    no router and no live streams for `absent_s` -> `leave()`

The host of the door calls `tick(now_s)` a few times a second; there is no timer here. Router messages travel on
stream 0 of their link.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from actors import wire
from actors.link_codec import AudioBatch
from actors.link_end import Link
from actors.logs import get_logger
from router.errors import LinkError, LinkProtocolError

__all__ = ["ABSENT_S", "REPORT_S", "ROUTER_STREAM", "RouterDoor"]

ABSENT_S = 60.0
REPORT_S = 1.0
ROUTER_STREAM = 0
_LAG_CHANGED_MS = 1.0
"""A lag that moved by less is no news; idle workers stay silent."""

log = get_logger("worker")


class RouterDoor:
    """Handler of router links (`link.Handler`).

    report(whole) -> WorkerReport     what this worker is; `whole` with leases and sessions
    live() -> int                     open streams or sessions
    on_op(op)                         CloseSession and LeaseAnswer; the door takes Hello and Retire itself
    leave()                           called once, when there is no reason to stay
    """

    def __init__(
        self,
        *,
        report: Callable[[bool], wire.WorkerReport],
        live: Callable[[], int],
        on_op: Callable[[wire.RouterOp], None] | None = None,
        leave: Callable[[], None] | None = None,
        absent_s: float = ABSENT_S,
    ) -> None:
        self.retiring = False
        self.dropped = 0
        """Messages that had no router to go to."""
        self.router = ""
        self._report, self._live, self._on_op, self._leave, self._absent_s = report, live, on_op, leave, absent_s
        self._link: Link | None = None
        self._greeted = False
        self._told = (-1, 0.0)
        self._told_s = float("-inf")
        self._present_s: float | None = None
        self._left = False

    @property
    def has_router(self) -> bool:
        return self._link is not None and not self._link.closed

    def take(self, link: Link) -> RouterDoor:
        """The handler for a link of role `router`; what was there before is closed."""
        before, self._link, self._greeted = self._link, link, False
        if before is not None and not before.closed:
            before.fail(LinkError(before.peer, "replaced by another router link"))
        return self

    def push(self, op: wire.WorkerOp) -> bool:
        """Tell the router at once. False: there is none; dropped and counted."""
        if self._link is None or self._link.closed or not self._greeted:
            self.dropped += 1
            return False
        self._link.send(ROUTER_STREAM, op)
        return True

    def tick(self, now_s: float) -> None:
        """Report changed load, and notice that nobody needs this worker. Call it at least once a second."""
        live = self._live()
        if self.has_router and self._greeted and now_s - self._told_s >= REPORT_S:
            report = self._report(False)
            streams, lag_ms = self._told
            if report.streams != streams or abs(report.lag_p99_ms - lag_ms) >= _LAG_CHANGED_MS:
                self._tell(report)
                self._told_s = now_s
        if self._present_s is None or self.has_router or live:
            self._present_s = now_s
        if self.retiring and not live:
            self._go("retired, and the last stream has gone")
        elif now_s - self._present_s >= self._absent_s:
            self._go(f"no router and no live streams for {self._absent_s:g} s")

    def _tell(self, report: wire.WorkerReport) -> None:
        self._told = (report.streams, report.lag_p99_ms)
        self.push(report)

    def _go(self, why: str) -> None:
        if self._left:
            return
        self._left = True
        log.info("worker.leaves", why=why)
        if self._leave is not None:
            self._leave()

    # -- link.Handler

    def on_control(self, link: Link, stream: int, body: memoryview) -> None:
        if link is not self._link:
            return
        try:
            op = wire.worker_decoder.decode(body)
        except msgspec.DecodeError as error:
            raise LinkProtocolError(link.peer, f"from the router: {error}") from None
        if isinstance(op, wire.Hello):
            self.router, self._greeted = op.router, True
            self._tell(self._report(True))
        elif isinstance(op, wire.Retire):
            self.retiring = True
        elif self._on_op is not None:
            self._on_op(op)

    def on_closed(self, link: Link, error: LinkError | None) -> None:
        if link is self._link:
            self._link = None

    def on_audio(self, link: Link, batch: AudioBatch) -> None:
        raise LinkProtocolError(link.peer, "a router sends no audio")

    def on_bits(self, link: Link, streams: memoryview, poss: memoryview, bits: bytes) -> None:
        raise LinkProtocolError(link.peer, "a router sends no verdicts")

    def on_credit(self, link: Link, streams: list[int], seqs: list[int]) -> None:
        raise LinkProtocolError(link.peer, "a router sends no credit")
