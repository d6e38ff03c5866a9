"""One client of a fake vendor: a WebSocket (`Peer`) or a request with its answer (`Body`).

What is sent goes through the orders: delayed, stalled, mangled, cut to pieces, cut off.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from tests.vendors.orders import Message

if TYPE_CHECKING:
    from tests.vendors.server import FakeVendor

__all__ = ["Body", "Gone", "Peer"]


class Gone(Exception):
    """The client has left, or was cut off."""


class Peer:
    """An open WebSocket, seen from the vendor."""

    def __init__(self, vendor: FakeVendor, request: web.Request, ws: web.WebSocketResponse) -> None:
        self.vendor, self.request, self.ws = vendor, request, ws
        self.query = request.query
        self.sent = self.received = 0
        """Messages."""
        self.closed = False
        self._lock = asyncio.Lock()

    async def receive(self, timeout_s: float | None = None) -> Message:
        """The next message. Raises Gone when the client has left, TimeoutError after `timeout_s`."""
        async with asyncio.timeout(timeout_s):
            await self.vendor.orders.hearing.wait()
            message = await self.ws.receive()
        self.vendor.told()
        self.received += 1
        if message.type == WSMsgType.TEXT:
            return str(message.data)
        if message.type == WSMsgType.BINARY:
            return bytes(message.data)
        self.closed = True
        raise Gone

    async def receive_json(self, timeout_s: float | None = None) -> dict[str, Any] | bytes:
        """The next message, text decoded; text that is no JSON object is a violation. Counted in `vendor.seen`."""
        message = await self.receive(timeout_s)
        if isinstance(message, bytes):
            self.vendor.seen["bytes"] += 1
            return message
        try:
            decoded = json.loads(message)
        except ValueError:
            decoded = None
        if not isinstance(decoded, dict):
            self.vendor.violation(f"no JSON object: {message[:80]!r}")
            raise Gone
        kind = decoded.get("type")
        if isinstance(kind, str):
            self.vendor.seen[kind] += 1
        return decoded

    async def send(self, message: dict[str, Any] | Message) -> None:
        """As ordered. Raises Gone where the connection is gone."""
        orders = self.vendor.orders
        await orders.flow()
        async with self._lock:
            self.sent += 1
            unknown, since = self.vendor.unknown, self.sent - self.vendor.unknown_from
            if unknown is not None and since >= 0 and since % self.vendor.unknown_every == 0:
                await self.say(unknown)
            for changed in orders.change(json.dumps(message) if isinstance(message, dict) else message):
                if orders.is_last():
                    self.cut()
                    raise Gone
                await self._drip(changed)

    async def say(self, message: dict[str, Any] | Message) -> None:
        """Exactly this, now: past all orders."""
        try:
            data = json.dumps(message) if isinstance(message, dict) else message
            if isinstance(data, str) and self.vendor.binary:
                data = data.encode()
            if isinstance(data, bytes):
                await self.ws.send_bytes(data)
            else:
                await self.ws.send_str(data)
        except (ConnectionError, RuntimeError):
            self.closed = True
            raise Gone from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if not self.closed:
            self.closed = True
            await self.ws.close(code=code, message=reason.encode())
        raise Gone

    def cut(self) -> None:
        """The connection is gone, without a close frame."""
        self.closed = True
        if self.request.transport is not None:
            self.request.transport.abort()

    async def _drip(self, message: Message) -> None:
        orders = self.vendor.orders
        if isinstance(message, str) or orders.piece_bytes is None:
            await self.say(message)
            return
        for at in range(0, len(message), orders.piece_bytes):
            await self.say(message[at : at + orders.piece_bytes])
            await asyncio.sleep(orders.pause_s)


class Body:
    """A request and the answer to it, which may come in pieces."""

    def __init__(self, vendor: FakeVendor, request: web.Request) -> None:
        self.vendor, self.request = vendor, request
        self.response: web.StreamResponse | None = None

    async def json(self) -> dict[str, Any]:
        """The request's body. Something else than a JSON object is a violation."""
        try:
            decoded = await self.request.json()
        except ValueError:
            decoded = None
        if not isinstance(decoded, dict):
            self.vendor.violation(f"{self.request.path}: the body is no JSON object")
            return {}
        return decoded

    async def start(self, status: int = 200, content_type: str = "application/json", **headers: str) -> None:
        """The head of the answer; `headers` with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.response = web.StreamResponse(status=status, headers={"Content-Type": content_type, **named})
        await self.response.prepare(self.request)

    async def write(self, piece: Message) -> None:
        """A piece of the body, as ordered. Raises Gone where the client has left."""
        if self.response is None:
            await self.start()
        orders = self.vendor.orders
        await orders.flow()
        for changed in orders.change(piece):
            data = changed.encode() if isinstance(changed, str) else changed
            if orders.is_last():
                self.cut()
                raise Gone
            step = orders.piece_bytes or len(data) or 1
            for at in range(0, len(data), step):
                await self._write(data[at : at + step])
                if orders.piece_bytes is not None:
                    await asyncio.sleep(orders.pause_s)

    async def answer(self, status: int, body: dict[str, Any] | Message, **headers: str) -> None:
        """All of it at once."""
        is_json = isinstance(body, dict)
        await self.start(status, "application/json" if is_json else "text/plain", **headers)
        await self.write(json.dumps(body) if isinstance(body, dict) else body)

    async def end(self) -> web.StreamResponse:
        if self.response is None:
            await self.start()
        assert self.response is not None
        try:
            await self.response.write_eof()
        except (ConnectionError, RuntimeError):
            raise Gone from None
        return self.response

    def cut(self) -> None:
        if self.request.transport is not None:
            self.request.transport.abort()

    async def _write(self, data: bytes) -> None:
        assert self.response is not None
        try:
            await self.response.write(data)
        except (ConnectionError, RuntimeError):
            raise Gone from None
