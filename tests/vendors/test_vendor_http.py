"""The client that network adapters share: reuse, streaming, deadlines, and what it never follows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_http import HttpLimits, VendorHttp
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.live import run
from tests.vendors.peer import Body
from tests.vendors.server import KEY, FakeVendor, Route

VENDOR = Vendor(name="speaker", secret=Secret(KEY, "env:K"))


class Speaker(FakeVendor):
    unknown = None

    def routes(self) -> Iterator[Route]:
        yield "POST", "/speak", self.http(self.speak)

    async def speak(self, body: Body) -> None:
        asked = await body.json()
        await body.start(content_type="audio/l16;rate=16000")
        for n in range(asked.get("pieces", 3)):
            await body.write(bytes([n]) * 100)


async def ask(http: VendorHttp, vendor: Speaker, **body: Any) -> bytes:
    made = b""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with http.stream("POST", f"{vendor.http_url}/speak", headers=headers, json=body, tenant="acme") as response:
        async for piece in response.aiter_bytes():
            made += piece
    return made


async def failing(work: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await work
    assert KEY not in str(caught.value)
    return caught.value


def test_a_connection_serves_many_requests_and_is_counted_once() -> None:
    async def scene() -> None:
        async with Speaker() as vendor:
            counts = VendorCounts()
            http = VendorHttp(VENDOR, counts)
            for _ in range(5):
                assert len(await ask(http, vendor)) == 300
            assert (counts.handshakes, counts.reused) == (vendor.connections, 4) == (1, 4)
            assert counts.handshake_s > 0
            await asyncio.gather(*(ask(http, vendor) for _ in range(3)))
            assert vendor.connections == 3
            await http.close()
            await http.close()

    run(scene())


@pytest.mark.parametrize(("status", "kind"), [(401, "auth"), (429, "busy"), (500, "overload"), (307, "config")])
def test_a_refusal_is_named_and_not_followed(status: int, kind: str) -> None:
    async def scene() -> None:
        async with Speaker() as vendor:
            http = VendorHttp(VENDOR, VendorCounts())
            headers = {"Retry-After": "3", "Location": f"{vendor.http_url}/elsewhere"}
            vendor.orders.refuse(status, f"no {KEY}", headers)
            error = await failing(ask(http, vendor))
            assert (error.kind, error.retry_after_s) == (kind, 3.0)
            assert "speaker for tenant acme" in error.detail
            assert vendor.requests == 1
            assert len(await ask(http, vendor)) == 300  # the next one is served
            await http.close()

    run(scene())


def test_no_head_is_a_timeout_and_no_more_body_a_stall_and_a_lost_connection_is_lost() -> None:
    async def scene() -> None:
        async with Speaker() as vendor:
            http = VendorHttp(VENDOR, VendorCounts(), HttpLimits(read_s=0.2, connect_s=0.5))
            vendor.orders.accept_delay_s = 1.0
            assert (await failing(ask(http, vendor))).kind == "timeout"
            vendor.orders.accept_delay_s = 0.0
            vendor.orders.stall()
            assert (await failing(ask(http, vendor))).kind == "stall"
            vendor.orders.allow()
            vendor.orders.cut_after(1)
            assert (await failing(ask(http, vendor))).kind == "connect"
            vendor.orders.left = None
            assert len(await ask(http, vendor)) == 300
            await http.close()

    run(scene())


def test_an_answer_that_is_no_longer_wanted_is_let_go_of() -> None:
    async def scene() -> None:
        async with Speaker() as vendor:
            http = VendorHttp(VENDOR, VendorCounts())
            vendor.orders.delay_s = 0.05
            running = asyncio.ensure_future(ask(http, vendor, pieces=10_000))
            await vendor.until(lambda: vendor.requests == 1)
            await asyncio.sleep(0.1)
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()
            vendor.orders.delay_s = 0.0
            assert len(await ask(http, vendor)) == 300
            await http.close()

    run(scene())
