"""The fake vendors' server does what it is told: a fake that cannot misbehave proves nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.vendors.live import run
from tests.vendors.orders import bad_json, odd_bytes, truncated_base64
from tests.vendors.peer import Body, Peer
from tests.vendors.server import FakeVendor, Route


class Parrot(FakeVendor):
    """Says everything back; `{"type": "Cough"}` is against its rules."""

    def routes(self) -> Iterator[Route]:
        yield "GET", "/talk", self.socket(self.talk)
        yield "POST", "/say", self.http(self.say)

    async def talk(self, peer: Peer) -> None:
        while True:
            message = await peer.receive_json()
            if isinstance(message, dict) and message.get("type") == "Cough":
                self.violation("a cough")
            if isinstance(message, bytes) or message.get("type") not in self.orders.ignored:
                await peer.send(message)

    async def say(self, body: Body) -> None:
        await body.start(content_type="audio/l16")
        await body.write(bytes(range(100)))


def test_it_answers_and_counts() -> None:
    async def scene() -> None:
        async with Parrot() as vendor:
            async with connect(f"{vendor.ws_url}/talk") as ws:
                for n in range(3):
                    await ws.send(json.dumps({"type": "Hello", "n": n}))
                told = [json.loads(await ws.recv()) for _ in range(4)]
                assert [t["n"] for t in told if t["type"] == "Hello"] == [0, 1, 2]
                assert [t["type"] for t in told].count("SomethingNew") == 1  # an unknown type, now and then
            async with httpx.AsyncClient() as http:
                assert (await http.post(f"{vendor.http_url}/say")).content == bytes(range(100))
                await http.post(f"{vendor.http_url}/say")
            assert (vendor.connections, vendor.handshakes, vendor.requests) == (2, 1, 2)
            assert vendor.seen["Hello"] == 3
            await vendor.until(lambda: not vendor.peers)

    run(scene())


def test_it_refuses_closes_and_cuts() -> None:
    async def scene() -> None:
        async with Parrot() as vendor:
            vendor.orders.refuse(429, "slow down", {"Retry-After": "2"})
            with pytest.raises(websockets.InvalidStatus) as refused:
                await connect(f"{vendor.ws_url}/talk")
            assert refused.value.response.status_code == 429
            assert refused.value.response.headers["Retry-After"] == "2"
            for order, code, reason in (("close", 1011, "NET-0001"), ("cut", 1006, "")):
                ws = await connect(f"{vendor.ws_url}/talk")
                await vendor.until(lambda: len(vendor.peers) == 1)
                if order == "cut":
                    vendor.peers[0].cut()
                else:
                    await asyncio.gather(vendor.peers[0].close(code, reason), return_exceptions=True)
                with pytest.raises(websockets.ConnectionClosed):
                    await ws.recv()
                assert (ws.close_code, ws.close_reason) == (code, reason)
                await vendor.until(lambda: not vendor.peers)
            vendor.orders.cut_after(2)
            vendor.orders.mangle(lambda m: [m[:1], m[1:2], m[2:3]])
            async with httpx.AsyncClient() as http:
                with pytest.raises(httpx.RemoteProtocolError):
                    await http.post(f"{vendor.http_url}/say")

    run(scene())


def test_it_stalls_delays_and_drips() -> None:
    async def scene() -> None:
        async with Parrot() as vendor, connect(f"{vendor.ws_url}/talk") as ws:
            loop = asyncio.get_running_loop()
            vendor.orders.stall()
            await ws.send('{"type": "Hello"}')
            await vendor.until(lambda: vendor.seen["Hello"] == 1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await ws.recv()
            vendor.orders.allow()
            assert json.loads(await ws.recv()) == {"type": "Hello"}
            vendor.orders.delay_s = 0.1
            at = loop.time()
            await ws.send(b"x")
            for _ in range(2):  # the answer, and the unknown one before it
                await ws.recv()
            assert loop.time() - at >= 0.1
            vendor.orders.delay_s = 0
            vendor.orders.drip(3)
            await ws.send(bytes(7))
            assert [len(await ws.recv()) for _ in range(3)] == [3, 3, 1]

    run(scene())


def test_what_the_protocol_forbids_fails_the_test_that_did_it() -> None:
    async def scene() -> None:
        async with Parrot() as vendor, connect(f"{vendor.ws_url}/talk") as ws:
            await ws.send('{"type": "Cough"}')
            await ws.recv()

    with pytest.raises(AssertionError, match="a cough"):
        run(scene())


def test_mangles_change_what_they_say() -> None:
    assert bad_json('{"a": 1}') == ['{"a"']
    assert [len(p) for p in odd_bytes(bytes(640))] == [321, 319]
    (text,) = truncated_base64(json.dumps({"audio": "QUJDREVGR0hJSktMTU5P", "type": "audio"}))
    assert len(json.loads(text)["audio"]) % 4 == 1
    assert json.loads(text)["type"] == "audio"
