"""Warm sockets: no handshake for work that finds one, and no failure when one is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_pool import PoolSettings, VendorPool
from actors.providers.vendor_socket import SocketRequest, VendorSocket, dial
from actors.task_home import TaskHome
from router.errors import ProviderError
from tests.vendors.live import run
from tests.vendors.test_vendor_socket import Parrot

VENDOR = Vendor(name="parrot")


@asynccontextmanager
async def pooled(vendor: Parrot, **settings: Any) -> AsyncIterator[tuple[VendorPool, VendorCounts]]:
    counts, home = VendorCounts(), TaskHome("pool")
    await home.open()

    async def connect(request: SocketRequest) -> VendorSocket:
        return await dial(request, VENDOR, counts)

    pool = VendorPool(connect, home, VENDOR, counts, PoolSettings(**settings), Random(1))
    try:
        yield pool, counts
    finally:
        await pool.close()
        await pool.close()
        await home.close(timeout_s=2.0)
        assert home.failed == 0
        assert (pool.idle, pool.used) == (0, 0)


def request(vendor: Parrot, voice: str = "a") -> SocketRequest:
    return SocketRequest(url=f"{vendor.ws_url}/talk?voice={voice}")


async def turn(pool: VendorPool, vendor: Parrot, voice: str = "a") -> None:
    """One piece of work on one socket."""
    socket = await pool.take(request(vendor, voice))
    told: list[Any] = []
    running = asyncio.ensure_future(socket.run(told.append))
    socket.send(f"say {voice}")
    await vendor.until(lambda: f"say {voice}" in told)
    running.cancel()
    await asyncio.wait([running])
    pool.give(socket)


def test_a_hundred_turns_make_one_handshake() -> None:
    async def scene() -> None:
        async with Parrot() as vendor, pooled(vendor) as (pool, counts):
            for _ in range(100):
                await turn(pool, vendor)
            assert (vendor.handshakes, counts.reused) == (1, 99)
            await turn(pool, vendor, "b")  # another voice is another connection
            assert vendor.handshakes == 2

    run(scene())


def test_what_is_wanted_is_warm_before_it_is_asked_for_and_filled_up_again() -> None:
    async def scene() -> None:
        async with Parrot() as vendor, pooled(vendor) as (pool, counts):
            pool.want(request(vendor), 2)
            await vendor.until(lambda: pool.idle == 2)
            socket = await pool.take(request(vendor))
            assert counts.reused == 1
            await vendor.until(lambda: pool.idle == 2)
            assert (vendor.handshakes, pool.used) == (3, 1)
            pool.drop(socket)
            await vendor.until(lambda: len(vendor.peers) == 2)
            assert pool.used == 0
            pool.want(request(vendor), 0)

    run(scene())


def test_an_idle_socket_that_the_vendor_closed_is_nobodys_failure() -> None:
    async def scene() -> None:
        async with Parrot() as vendor, pooled(vendor) as (pool, counts):
            await turn(pool, vendor)
            vendor.peers[0].cut()
            await vendor.until(lambda: pool.idle == 0)
            await turn(pool, vendor)
            assert vendor.handshakes == 2
            assert counts.failed_handshakes == 0

    run(scene())


def test_old_sockets_are_replaced_in_time_without_a_gap() -> None:
    async def scene() -> None:
        async with Parrot() as vendor, pooled(vendor, age_max_s=0.2, jitter=0.5) as (pool, counts):
            pool.want(request(vendor), 2)
            await vendor.until(lambda: pool.idle == 2)
            while vendor.handshakes < 8:
                await vendor.until(lambda n=vendor.handshakes: vendor.handshakes > n)
                assert pool.idle >= 2  # the next one is there before the old one goes
            assert counts.rolled_over >= 4
            assert counts.failed_handshakes == 0
            socket = await pool.take(request(vendor))
            await asyncio.sleep(0.2)  # at work it is left alone, and goes when it is given back
            assert pool.is_old(socket)
            pool.give(socket)
            assert socket not in pool._used
            await vendor.until(lambda: socket.closed)

    run(scene())


def test_idle_sockets_are_kept_alive_and_unneeded_ones_go() -> None:
    async def scene() -> None:
        async with Parrot() as vendor, pooled(
            vendor, idle_max_s=0.5, jitter=0.0, keepalive_s=0.05, keepalive=lambda: '{"type":"KeepAlive"}'
        ) as (pool, _):  # fmt: skip
            await turn(pool, vendor)
            sent = vendor.peers[0].sent
            await vendor.until(lambda: bool(vendor.peers) and vendor.peers[0].sent >= sent + 3)
            await vendor.until(lambda: not vendor.peers)
            assert pool.idle == 0

    run(scene())


def test_the_number_of_sockets_is_bounded() -> None:
    async def scene() -> None:
        async with Parrot() as vendor, pooled(vendor, sockets_max=2) as (pool, _):
            await turn(pool, vendor, "a")
            first, second = await pool.take(request(vendor, "b")), await pool.take(request(vendor, "c"))
            assert pool.idle == 0  # the idle one of other work made room
            with pytest.raises(ProviderError) as caught:
                await pool.take(request(vendor, "d"))
            assert caught.value.kind == "overload"
            pool.give(first)
            pool.give(second)
            await turn(pool, vendor, "d")

    run(scene())


def test_prewarming_goes_on_after_what_may_pass_and_ends_at_what_will_not() -> None:
    async def scene() -> None:
        async with Parrot() as vendor, pooled(vendor) as (pool, counts):
            vendor.orders.refuse(503)
            pool.want(request(vendor), 1)
            await vendor.until(lambda: pool.idle == 1)
            assert counts.failed_handshakes == 1
            vendor.orders.refuse(401)
            pool.want(request(vendor, "b"), 1)
            await vendor.until(lambda: not pool._warming)
            vendor.orders.refuse(401)
            with pytest.raises(ProviderError) as caught:
                await pool.take(request(vendor, "b"))
            assert caught.value.kind == "auth"
            assert vendor.handshakes == 1

    run(scene())


def test_many_at_once_get_sockets_of_their_own() -> None:
    async def scene() -> None:
        async with Parrot() as vendor, pooled(vendor) as (pool, counts):
            for _ in range(3):
                taken = await asyncio.gather(*(pool.take(request(vendor)) for _ in range(20)))
                assert len(set(taken)) == 20
                for socket in taken:
                    pool.give(socket)
            assert vendor.handshakes == 20
            assert counts.reused == 40

    run(scene())
