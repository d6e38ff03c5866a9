"""A session host for tests of the client: a real link server on loopback that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from actors import wire
from actors.client import SessionHandle
from actors.events import CallerClose, CloseReason, EndInput, Event, SessionClosed, SessionOpened
from actors.link import Link, LinkServer, serve
from actors.link_codec import AudioBatch
from router.errors import LinkError

PATIENCE_S = 5.0
"""No wait of a test is longer; nothing here takes a tenth of it."""


class Leg:
    """One caller's stream as the host sees it."""

    def __init__(self, link: Link, stream: int, attach: wire.Attach) -> None:
        self.link, self.stream, self.attach = link, stream, attach
        self.frames: list[tuple[int, int, bytes]] = []
        """(seq, pos, pcm)"""
        self.ops: list[Any] = []

    def say(self, *records: Event | wire.Attached | wire.Denied) -> None:
        for record in records:
            self.link.send(self.stream, record)

    def voice(self, reply_id: int, pos: int, pcm: bytes) -> None:
        self.link.send_audio(self.stream, reply_id, 0, pos, pcm)

    def credit(self, seq: int) -> None:
        self.link.send_credit(self.stream, seq)


class Host:
    """What callers reach. `accept` decides the answer to every Attach; credit follows each frame if `generous`."""

    def __init__(self) -> None:
        self.legs: list[Leg] = []
        self.links: set[Link] = set()
        self.credit_ms = 400.0
        self.pos: int | None = None
        self.generous = True
        self.opens = True
        self.closed_n = 2
        """Number of the `session.closed` that answers `end_input` and `close`."""
        self.accept: Callable[[wire.Attach], wire.Denied | None] = lambda attach: None
        self.on_op: Callable[[Leg, Any], None] = self._close_when_asked
        self.changed = asyncio.Event()
        self._server: LinkServer | None = None

    async def start(self, port: int = 0) -> None:
        self._server = await serve(lambda link: self, b"k" * 32, port=port)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close()

    @property
    def address(self) -> str:
        assert self._server is not None
        return self._server.address

    def handle(self, session_id: str = "s1") -> SessionHandle:
        return SessionHandle(
            session_id=session_id, tenant_id="acme", route="acme", version="v", reason="tenant acme",
            default_cause=None, providers={"stt": ("ears",)}, address=self.address, token=session_id.encode(),
        )  # fmt: skip

    def cut(self) -> None:
        """Every connection is lost at once."""
        for link in list(self.links):
            link.fail(LinkError("test", "cut"))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what came makes `condition` true."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def on_control(self, link: Link, stream: int, body: memoryview) -> None:
        record = wire.host_decoder_for_caller.decode(body)
        self.changed.set()
        self.links.add(link)
        if not isinstance(record, wire.Attach):
            leg = self._leg(link, stream)
            leg.ops.append(record)
            self.on_op(leg, record)
            return
        leg = Leg(link, stream, record)
        self.legs.append(leg)
        denied = self.accept(record)
        if denied is not None:
            leg.say(denied)
            return
        link.admit(stream)
        pos = record.next_sample if self.pos is None else self.pos
        leg.say(wire.Attached(session_id=record.token.decode(), pos=pos, credit_ms=self.credit_ms))
        if self.opens and record.after_n == 0:
            leg.say(SessionOpened(session_id=record.token.decode(), n=1, route="acme", version="v", providers={}))

    def on_audio(self, link: Link, batch: AudioBatch) -> None:
        self.changed.set()
        for stream, seq, pos, pcm in zip(batch.streams, batch.seqs, batch.poss, batch.frames(), strict=True):
            leg = self._leg(link, stream)
            leg.frames.append((seq, pos, bytes(pcm)))
            if self.generous:
                leg.credit(seq + 1)

    def on_bits(self, link: Link, streams: Any, poss: Any, bits: Any) -> None: ...
    def on_credit(self, link: Link, streams: Any, seqs: Any) -> None: ...

    def on_closed(self, link: Link, error: LinkError | None) -> None:
        self.links.discard(link)
        self.changed.set()

    def _close_when_asked(self, leg: Leg, op: Any) -> None:
        if isinstance(op, EndInput | CallerClose):
            reason: CloseReason = "input_ended" if isinstance(op, EndInput) else "caller_closed"
            leg.say(SessionClosed(session_id="s1", n=self.closed_n, reason=reason, stats={}))

    def _leg(self, link: Link, stream: int) -> Leg:
        return next(leg for leg in reversed(self.legs) if leg.link is link and leg.stream == stream)


def with_host(body: Callable[[Host], Coroutine[Any, Any, None]]) -> None:
    """Run `body` against a fresh host and see that it leaves no task behind."""

    async def whole() -> None:
        host = Host()
        await host.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await body(host)
        finally:
            await host.stop()
        await asyncio.sleep(0)
        left = [t.get_name() for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        assert not left

    asyncio.run(whole())
