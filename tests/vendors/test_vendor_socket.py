"""The socket that network adapters share: how it opens, what it never does, and how it ends."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_socket import SocketLimits, SocketRequest, VendorSocket, dial
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.live import run
from tests.vendors.peer import Peer
from tests.vendors.server import KEY, FakeVendor, Route

VENDOR = Vendor(name="parrot", secret=Secret(KEY, "env:K"), tenant="acme")


class Parrot(FakeVendor):
    """Says back what it is told; `sleep` makes it read nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = asyncio.Event()
        self.reads.set()

    def routes(self) -> Iterator[Route]:
        yield "GET", "/talk", self.socket(self.talk)
        yield "GET", "/elsewhere", self.socket(self.talk)

    async def talk(self, peer: Peer) -> None:
        while True:
            await self.reads.wait()
            await peer.send(await peer.receive())


async def opened(vendor: Parrot, **limits: Any) -> tuple[VendorSocket, VendorCounts]:
    counts = VendorCounts()
    request = SocketRequest(url=f"{vendor.ws_url}/talk", headers=(("Authorization", f"Token {KEY}"),))
    return await dial(request, VENDOR, counts, SocketLimits(**{"connect_s": 0.5, "close_s": 0.2, **limits})), counts


async def failing(work: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await work
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return caught.value


def test_it_writes_in_order_and_reads_until_it_is_closed() -> None:
    async def scene() -> None:
        async with Parrot() as vendor:
            socket, counts = await opened(vendor)
            told: list[Any] = []
            marks: list[Any] = []
            running = asyncio.ensure_future(socket.run(told.append, marks.append))
            socket.send("hello")
            socket.send_audio(b"12", 1)
            socket.send_audio(b"", 2)  # never: it ends a stream at some vendors
            socket.send_audio(b"34", 3)
            await vendor.until(lambda: len(told) >= 4)  # and one of a type that is not known
            assert await socket.flush(1.0)
            assert [t for t in told if "SomethingNew" not in str(t)] == ["hello", b"12", b"34"]
            assert marks == [1, 3]
            await socket.close()
            await running  # our own end is no error
            await socket.close()
            assert socket.closed
            socket.send("after the end nothing happens")
            assert counts.handshakes == 1
            assert counts.handshake_s > 0

    run(scene())


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "auth"), (400, "config"), (402, "quota"), (429, "busy"), (503, "overload")]
)
def test_a_refused_handshake_is_named(status: int, kind: str) -> None:
    async def scene() -> None:
        async with Parrot() as vendor:
            vendor.orders.refuse(status, f'{{"err_msg": "no: {KEY}"}}', {"Retry-After": "4"})
            error = await failing(opened(vendor))
            assert (error.kind, error.retry_after_s) == (kind, 4.0)
            assert "parrot for tenant acme" in error.detail

    run(scene())


def test_a_redirect_is_not_followed() -> None:
    async def scene() -> None:
        async with Parrot() as vendor:
            vendor.orders.refuse(307, headers={"Location": f"{vendor.ws_url}/elsewhere"})
            error = await failing(opened(vendor))
            assert error.kind == "config"
            assert "redirects are not followed" in error.detail
            assert vendor.handshakes == 0

    run(scene())


def test_a_slow_handshake_has_a_deadline_and_nobody_there_is_said_so() -> None:
    async def scene() -> None:
        async with Parrot() as vendor:
            vendor.orders.accept_delay_s = 2.0
            assert (await failing(opened(vendor, connect_s=0.1))).kind == "timeout"
            request = SocketRequest(url=f"ws://127.0.0.1:{_free_port()}/talk")
            assert (await failing(dial(request, VENDOR, VendorCounts()))).kind == "connect"
            vendor.orders.accept_delay_s = 0.0

    run(scene())


@pytest.mark.parametrize(
    ("end", "kind"),
    [(None, "connect"), ((1011, "NET-0001"), "overload"), ((1013, ""), "busy"), ((1008, "x"), "protocol")],
)
def test_the_vendors_end_is_named(end: tuple[int, str] | None, kind: str) -> None:
    async def scene() -> None:
        async with Parrot() as vendor:
            socket, _ = await opened(vendor)
            await vendor.until(lambda: len(vendor.peers) == 1)
            running = asyncio.ensure_future(socket.run(lambda m: None))
            if end is None:
                vendor.peers[0].cut()
            else:
                await asyncio.gather(vendor.peers[0].close(*end), return_exceptions=True)
            assert (await failing(running)).kind == kind
            await socket.close()

    run(scene())


def test_a_vendor_that_reads_nothing_costs_audio_first_and_then_the_connection() -> None:
    async def scene() -> None:
        async with Parrot() as vendor:
            socket, counts = await opened(vendor, audio_bytes_max=100_000, control_max=4)
            vendor.reads.clear()
            marks: list[int] = []
            running = asyncio.ensure_future(socket.run(lambda m: None, marks.append))
            for n in range(100):
                socket.send_audio(bytes(10_000), n)
            assert socket.waiting_bytes <= 100_000
            assert counts.dropped_bytes == 900_000
            for n in range(5):
                socket.send(f"control {n}")
            error = await failing(running)
            assert error.kind == "overload"
            assert marks == sorted(marks)
            assert all(n >= 90 for n in marks)  # the oldest went
            await socket.close()
            vendor.reads.set()

    run(scene())


def test_what_reading_raises_ends_the_socket_with_a_fault_of_the_protocol() -> None:
    async def scene() -> None:
        async with Parrot() as vendor:
            for wrong, kind in ((KeyError("canary"), "protocol"), (VENDOR.error("quota", "enough"), "quota")):
                socket, _ = await opened(vendor)

                def take(message: Any, wrong: Exception = wrong) -> None:
                    raise wrong

                running = asyncio.ensure_future(socket.run(take))
                socket.send("hello")
                error = await failing(running)
                assert error.kind == kind
                assert "canary" not in str(error)
                await socket.close()

    run(scene())


def test_reading_may_be_given_up_and_taken_up_again() -> None:
    async def scene() -> None:
        async with Parrot() as vendor:
            socket, _ = await opened(vendor)
            first: list[Any] = []
            running = asyncio.ensure_future(socket.run(first.append))
            socket.send("one")
            await vendor.until(lambda: len(first) == 1)
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()
            second: list[Any] = []
            running = asyncio.ensure_future(socket.run(second.append))
            socket.send("two")
            await vendor.until(lambda: "two" in second)
            await socket.close()
            await running

    run(scene())


def test_closing_is_bounded_when_the_vendor_does_not_answer() -> None:
    async def scene() -> None:
        async with Parrot() as vendor:
            socket, _ = await opened(vendor)
            await vendor.until(lambda: len(vendor.peers) == 1)
            vendor.reads.clear()
            began_s = asyncio.get_running_loop().time()
            await socket.close()
            assert asyncio.get_running_loop().time() - began_s < 1.0
            vendor.reads.set()

    run(scene())


def test_a_certificate_that_nobody_signed_is_not_taken(tmp_path: Path) -> None:
    async def scene() -> None:
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=_self_signed(tmp_path))
        async with server:
            port = server.sockets[0].getsockname()[1]
            request = SocketRequest(url=f"wss://127.0.0.1:{port}/talk", headers=(("Authorization", KEY),))
            counts = VendorCounts()
            error = await failing(dial(request, VENDOR, counts, SocketLimits(connect_s=2.0)))
            assert error.kind == "connect"
            assert "SSLCertVerificationError" in error.detail
            assert (counts.handshakes, counts.failed_handshakes) == (0, 1)

    run(scene())


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = folder / "self.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def _free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
