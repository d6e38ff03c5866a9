"""A vendor to test against: a real HTTP and WebSocket server on a loopback port of its own.

    class FakeAcme(FakeVendor):                      # one protocol, one file: tests/vendors/fake_acme.py
        def routes(self):
            yield "GET", "/v1/listen", self.socket(self.listen)
            yield "POST", "/v1/speak", self.http(self.speak)

    async with FakeAcme() as vendor:                 # vendor.ws_url, vendor.http_url
        vendor.orders.refuse(429, headers={"Retry-After": "2"})
        ...

It is strict: what the protocol does not allow is written down with `violation(...)`, and leaving the block fails if
anything was. It misbehaves on command: `vendor.orders` (tests/vendors/orders.py) is what the test holds. It counts
connections, handshakes and requests. As vendors do, it sends a message of an unknown type now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar

from aiohttp import web

from tests.canary import KEY
from tests.vendors.orders import Orders
from tests.vendors.peer import Body, Gone, Peer

__all__ = ["KEY", "FakeVendor", "Route"]

Route = tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]
_CLOSE_S = 2.0
_LOOK_S = 0.005


class FakeVendor:
    """Derive it, give `routes`, call `violation` for whatever the vendor would not take."""

    unknown: ClassVar[dict[str, Any] | str | None] = {"type": "SomethingNew", "since": "yesterday"}
    """A message that no client knows; None where the protocol has no messages."""
    binary: ClassVar[bool] = False
    """Text goes out in binary frames, as some vendors do."""
    unknown_every: ClassVar[int] = 7
    """Before so many messages of a socket it is sent once."""
    unknown_from: ClassVar[int] = 2
    """The first message that it is sent before: not the greeting."""

    def __init__(self) -> None:
        self.orders = Orders()
        self.violations: list[str] = []
        self.connections = 0
        """Sockets accepted by the port: TCP."""
        self.handshakes = 0
        """WebSockets opened."""
        self.requests = 0
        """HTTP requests that were no handshake."""
        self.seen: Counter[str] = Counter()
        """Messages of clients, by type."""
        self.peers: list[Peer] = []
        """Sockets that are open now, oldest first."""
        self.port = 0
        """Where it listens; set before it is entered, the one it shall have."""
        self._runner: web.AppRunner | None = None
        self._news = asyncio.Event()

    def routes(self) -> Iterator[Route]:
        raise NotImplementedError

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def violation(self, text: str) -> None:
        """The client did what the vendor does not allow. Fails the test unless it clears the list."""
        self.violations.append(text)

    async def until(self, holds: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until something is so: looked at when the vendor is told something, and every 5 ms."""
        async with asyncio.timeout(timeout_s):
            while not holds():
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._news.wait()

    def told(self) -> None:
        """Something changed: whoever waits in `until` looks again."""
        self._news.set()

    # -- for the protocols

    def socket(self, talk: Callable[[Peer], Awaitable[None]], **options: Any) -> Callable[..., Any]:
        """A handler that opens a WebSocket and lets `talk` have it; its end without a word closes with 1000."""

        async def handle(request: web.Request) -> web.StreamResponse:
            refused = await self.admit(request)
            if refused is not None:
                return refused
            ws = web.WebSocketResponse(compress=False, max_msg_size=16 * 1024 * 1024, timeout=0.5, **options)
            await ws.prepare(request)
            self.handshakes += 1
            peer = Peer(self, request, ws)
            self.peers.append(peer)
            self.told()
            try:
                await talk(peer)
                await peer.close(1000)
            except Gone:
                pass
            finally:
                self.peers.remove(peer)
                self.told()
            return ws

        return handle

    def http(self, answer: Callable[[Body], Awaitable[None]]) -> Callable[..., Any]:
        """A handler of requests: `answer` reads `body.request` and writes by `body.start`, `body.write`."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests += 1
            self.told()
            refused = await self.admit(request)
            if refused is not None:
                return refused
            body = Body(self, request)
            try:
                await answer(body)
                return await body.end()
            except Gone:
                return body.response or web.Response()
            finally:
                self.told()

        return handle

    async def admit(self, request: web.Request) -> web.Response | None:
        """The answer to a request that is refused, or None. What is ordered goes before what the vendor wants."""
        if self.orders.accept_delay_s:
            await asyncio.sleep(self.orders.accept_delay_s)
        ordered = self.orders.refusal()
        if ordered is not None:
            return web.Response(status=ordered.status, headers=ordered.headers, text=ordered.body)
        return await self.check(request)

    async def check(self, request: web.Request) -> web.Response | None:
        """The vendor's own rules for a handshake or a request: key, path, query. None: it may come in."""
        return None

    # -- life

    async def __aenter__(self) -> FakeVendor:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        for method, path, handler in self.routes():
            app.router.add_route(method, path, handler)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        self._count_connections(self._runner)
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return self

    async def __aexit__(self, *error: object) -> None:
        self.orders.allow()
        self.orders.listen()
        for peer in list(self.peers):
            peer.cut()
        assert self._runner is not None
        async with asyncio.timeout(_CLOSE_S):
            await self._runner.cleanup()
        if error[0] is None:
            assert not self.violations, f"the vendor would not have taken this: {self.violations}"

    def _count_connections(self, runner: web.AppRunner) -> None:
        server = runner.server
        assert server is not None
        made = server.connection_made

        def connection_made(handler: Any, transport: asyncio.Transport) -> None:
            self.connections += 1
            made(handler, transport)

        server.connection_made = connection_made  # type: ignore[method-assign]
