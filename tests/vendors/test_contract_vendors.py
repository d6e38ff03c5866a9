"""One contract for every network adapter: what a session relies on, whoever the vendor is and whatever it does.

A case per adapter (`cases_<vendor>.py`), a row per promise (`contract.ROWS`). `make vendors` runs all and prints the
matrix.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.vendor_http import HttpLimits, VendorHttp
from actors.providers.vendor_socket import SocketLimits
from router.errors import ProviderError
from router.price import AMOUNTS
from tests.vendors.awaits import cancelled_at
from tests.vendors.contract import ROWS, Outcome, Row, VendorCase, begin, cases, failed, is_right, make, spec_of, work
from tests.vendors.live import Ear, run
from tests.vendors.matrix import MANY, MATRIX, PACED_S
from tests.vendors.orders import bad_json, nan, odd_bytes, truncated_base64
from tests.vendors.server import FakeVendor

CASES = cases()
ROW = {row.name: row for row in ROWS}
CELLS = [
    pytest.param(case, row, id=f"{case.name}-{row.name}")
    for case in CASES
    for row in ROWS
    if case.applies(row) and row.name not in case.skip
]
REFUSALS: dict[str, tuple[int, Outcome]] = {
    "auth": (401, "auth"), "config": (400, "config"), "quota": (402, "quota"), "busy": (429, "busy"),
    "overload": (503, "overload"), "redirect": (307, "config"),
}  # fmt: skip
GARBAGE: dict[str, Outcome] = {
    "bad_json": "protocol", "unknown_type": "right", "truncated_base64": "protocol", "odd_bytes": "right",
    "other_rate": "protocol", "nan": "protocol", "other_request": "right", "final_first": "right",
}  # fmt: skip
MANGLES = {"bad_json": bad_json, "truncated_base64": truncated_base64, "odd_bytes": odd_bytes, "nan": nan}
COUNTED = {"unknown_type": "unknown", "odd_bytes": "odd_bytes", "other_request": "stale", "final_first": "stale"}
"""What an adapter counts of garbage that it comes through: nothing counted, and there was none."""


@pytest.mark.parametrize(("case", "row"), CELLS)
def test_it_keeps_the_contract(case: VendorCase, row: Row) -> None:
    scenes = {**dict.fromkeys(REFUSALS, _refused), **dict.fromkeys(GARBAGE, _garbage), **SCENES}
    outcome = run(scenes[row.name](case, row.name), limit_s=120.0 if row.name in MANY else 30.0)
    MATRIX.outcomes[case.name, row.name] = outcome


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_every_row_is_run_or_says_why_not(case: VendorCase) -> None:
    assert set(case.skip) <= {row.name for row in ROWS if case.applies(row)}
    assert all(len(why) > 10 for why in case.skip.values())
    assert {*case.expect, *case.disturb} <= set(ROW)
    own = {"other_rate", "other_request", "final_first"}
    missing = {name for name in own if case.applies(ROW[name])} - set(case.disturb) - set(case.skip)
    assert not missing, f"these need the vendor's own words: {missing}"


# ------------------------------------------------------------------------------------------------------ the scenes


Scene = Callable[[VendorCase, str], Awaitable[str]]


def _url(vendor: FakeVendor, case: VendorCase) -> str:
    return (vendor.ws_url if case.by == "socket" else vendor.http_url) + case.prefix


async def _outcome(provider: Any, case: VendorCase, number: int = 1) -> tuple[str, Ear, str]:
    """How one piece of work on a new stream came out, what was told, and the detail of its error."""
    ear = Ear()
    try:
        stream = await provider.open(spec_of(case, number), ear)
    except ProviderError as error:
        assert not ear.told
        return error.kind, ear, error.detail
    try:
        await work(case, stream, ear, number)
    finally:
        await stream.close(drain=False)
    return _told(case, ear, number)


def _told(case: VendorCase, ear: Ear, number: int) -> tuple[str, Ear, str]:
    faults = ear.all(i.Fault)
    if faults:
        assert len(faults) == 1
        assert ear.told[-1] is faults[0], "something was told after the fault"
        return faults[0].kind, ear, faults[0].detail
    assert is_right(case, ear, number), ear.told[-12:]
    return "right", ear, ""


async def _happy(case: VendorCase, row: str) -> str:
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case))
        await provider.warm()
        await provider.probe()
        outcome, _, detail = await _outcome(provider, case)
        assert outcome == "right", detail
        outcome, _, detail = await _outcome(provider, case, 2)
        assert outcome == "right", detail
        await provider.close()
        await provider.close()
        assert provider.streams == 0
    return outcome


async def _usage(case: VendorCase, row: str) -> str:
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case))
        await provider.warm()
        ear = Ear()
        stream = await provider.open(spec_of(case), ear)
        await work(case, stream, ear, 1)
        told = await ear.wait(i.Usage)
        assert set(told.amounts) <= set(AMOUNTS)
        assert all(math.isfinite(value) and value >= 0 for value in told.amounts.values())
        assert any(told.amounts.values()), "nothing was used"
        await stream.close(drain=False)
        await provider.close()
    return "right"


async def _refused(case: VendorCase, row: str) -> str:
    status, kind = REFUSALS[row]
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case))
        location = f"{vendor.http_url}/elsewhere"
        vendor.orders.refuse(status, '{"message": "no"}', {"Retry-After": "2", "Location": location}, times=50)
        await provider.warm()
        with pytest.raises(ProviderError) as probed:
            await provider.probe()
        assert probed.value.kind == kind
        before = vendor.orders.refused
        ear = Ear()
        outcome, ear, detail = await _outcome(provider, case)
        assert outcome == case.expect.get(row, kind), detail
        assert "acme" in detail, "the tenant is named"
        assert case.type in detail
        if kind in ("auth", "config", "quota"):
            assert vendor.orders.refused - before <= 1, "what will not pass is asked once"
        if row == "busy":
            faults = ear.all(i.Fault)
            assert (faults[0].retry_after_s if faults else probed.value.retry_after_s) == 2.0
        await provider.close()
    return outcome


async def _timeout(case: VendorCase, row: str) -> str:
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case))
        provider.SOCKET = SocketLimits(connect_s=0.2, close_s=0.2)
        provider.http = VendorHttp(provider.vendor, provider.counts, HttpLimits(connect_s=0.2, read_s=0.2))
        vendor.orders.accept_delay_s = 5.0
        await provider.warm()
        outcome, _, detail = await _outcome(provider, case)
        assert outcome == case.expect.get(row, "timeout"), detail
        await provider.close()
    return outcome


async def _nobody(case: VendorCase, row: str) -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    provider = make(case, f"http://127.0.0.1:{port}")
    await provider.warm()
    outcome, _, detail = await _outcome(provider, case)
    assert outcome == "connect", detail
    await provider.close()
    return outcome


async def _at_work(case: VendorCase, row: str) -> str:
    """The vendor ends the connection, or falls silent, in the middle of work."""
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case), **(case.stall_options if row == "stall" else {}))
        await provider.warm()
        ear = Ear()
        if row != "stall" and case.stage == "tts" and case.by == "socket":
            vendor.orders.delay_s = 0.02  # it is still speaking when it is cut off
        stream = await provider.open(spec_of(case), ear)
        if row == "stall":
            vendor.orders.stall()  # from now on: a vendor that does not answer the opening is another row
        begin(case, stream, 1)
        if row == "stall":
            await ear.until(lambda: failed(ear))
        elif case.by == "http":
            vendor.orders.cut_after(1)
            await ear.until(lambda: failed(ear))
        else:
            await vendor.until(lambda: any(p.received or p.sent for p in vendor.peers))
            if case.stage == "tts":  # before any audio came, the text may be said again elsewhere
                await ear.wait(i.TtsAudio)
            for peer in list(vendor.peers):
                if row == "lost":
                    peer.cut()
                else:
                    await asyncio.gather(peer.close(1013, "try again later"), return_exceptions=True)
            usual: Outcome = "connect" if row == "lost" else "busy"
            if case.expect.get(row, usual) == "right":
                await stream.close(drain=False)
                outcome = await _lost_and_found(case)
                await provider.close()
                return outcome
            await ear.until(lambda: failed(ear))
        outcome, _, detail = _told(case, ear, 1)
        usual = {"stall": "stall", "lost": "connect", "busy_close": "busy"}[row]  # type: ignore[assignment]
        assert outcome == case.expect.get(row, usual), detail
        told = len(ear.told)
        begin(case, stream, 2)
        await stream.close(drain=False)
        assert len(ear.told) == told, "nothing after a fault"
        vendor.orders.allow()
        vendor.orders.left = None
        await provider.close()
    return outcome


async def _lost_and_found(case: VendorCase) -> str:
    """An adapter that mends a lost connection by itself: the work comes out right all the same."""
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case))
        await provider.warm()
        ear = Ear()
        stream = await provider.open(spec_of(case), ear)
        await vendor.until(lambda: bool(vendor.peers))
        vendor.peers[0].cut()
        await work(case, stream, ear, 1)
        outcome, _, detail = _told(case, ear, 1)
        assert outcome == "right", detail
        assert provider.counts.reconnects == 1
        await stream.close(drain=False)
        await provider.close()
    return outcome


async def _garbage(case: VendorCase, row: str) -> str:
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case))
        await provider.warm()
        if row in case.disturb:
            disturbed = case.disturb[row](vendor)
            if inspect.isawaitable(disturbed):
                await disturbed
        elif row in MANGLES:
            vendor.orders.mangle(MANGLES[row])
        elif row == "unknown_type":
            vendor.unknown_from = vendor.unknown_every = 1  # type: ignore[misc]
        outcome, _, detail = await _outcome(provider, case)
        assert outcome == case.expect.get(row, GARBAGE[row]), detail
        if row in MANGLES and row not in case.disturb:
            assert vendor.orders.mangled, "nothing of what the vendor sent was changed: the row shows nothing"
        if row in COUNTED:
            assert getattr(provider.counts, COUNTED[row]) > 0, "none was sent: the row shows nothing"
        vendor.orders.mangle(None)
        await provider.close()
    return outcome


async def _cancel_open(case: VendorCase, row: str) -> str:
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case))
        await provider.warm()
        n = 1
        while await cancelled_at(provider.open(spec_of(case, n), Ear()), n):
            n += 1
            assert n < 200
        for stream in list(provider._streams.values()):  # that of the last, which came through
            await stream.close(drain=False)
        assert provider.streams == 0
        outcome, _, detail = await _outcome(provider, case, n + 1)
        assert outcome == "right", detail
        await provider.close()
        await vendor.until(lambda: not vendor.peers)
    return outcome


async def _cancel_close(case: VendorCase, row: str) -> str:
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case))
        await provider.warm()
        for drain in (False, True):
            n, was_cancelled = 1, True
            while was_cancelled:
                ear = Ear()
                stream = await provider.open(spec_of(case, n), ear)
                begin(case, stream, 1)
                was_cancelled = await cancelled_at(stream.close(drain=drain), n)
                await stream.close(drain=False)
                told = len(ear.told)
                begin(case, stream, 2)
                assert len(ear.told) == told
                n += 1
                assert n < 200
        outcome, _, detail = await _outcome(provider, case, 500)
        assert outcome == "right", detail
        await provider.close()
        assert provider.streams == 0
    return outcome


async def _close_busy(case: VendorCase, row: str) -> str:
    loop = asyncio.get_running_loop()
    async with case.fake() as vendor:
        for who in ("stream", "provider"):
            provider = make(case, _url(vendor, case))
            await provider.warm()
            ear = Ear()
            stream = await provider.open(spec_of(case), ear)
            vendor.orders.delay_s = 0.02
            begin(case, stream, 1)
            await ear.until(lambda ear=ear: len(ear.told) > 0)
            began_s = loop.time()
            await (stream.close(drain=False) if who == "stream" else provider.close())
            assert loop.time() - began_s < 2.0
            told = len(ear.told)
            begin(case, stream, 2)
            await stream.close(drain=True)
            await provider.close()
            assert len(ear.told) == told, "nothing after close"
            assert provider.streams == 0
            vendor.orders.delay_s = 0.0
        await vendor.until(lambda: not vendor.peers)
    return "right"


async def _slow(case: VendorCase, row: str) -> str:
    """For ears: a vendor that reads nothing while audio comes. For voices and answers: one that sends in drops."""
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case))
        await provider.warm()
        if case.stage in ("stt", "s2s"):
            ear = Ear()
            stream = await provider.open(spec_of(case), ear)
            vendor.orders.deafen()
            if case.stage == "stt":
                stream.speech_start(1, 0)
            second = bytes(2 * case.rate_hz)
            for n in range(600):  # ten minutes of it, at once
                if failed(ear):
                    break
                stream.audio(n * case.rate_hz, second)
                await asyncio.sleep(0)
            assert failed(ear) or provider.counts.dropped_bytes > 0, "everything was kept"
            outcome = "dropped" if not failed(ear) else ear.all(i.Fault)[0].kind
            assert outcome in ("dropped", "overload")
            vendor.orders.listen()
            vendor.violations.clear()
            await stream.close(drain=False)
        else:
            vendor.orders.drip(501, 0.001)
            outcome, _, detail = await _outcome(provider, case)
            assert outcome == "right", detail
        await provider.close()
    return outcome


async def _many(case: VendorCase, row: str) -> str:
    """`many`: one after the other, work that hardly overlaps. `many_at_once`: all of it in the same moment."""
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case))
        provider.SOCKET = SocketLimits(connect_s=30.0)
        provider.http = VendorHttp(provider.vendor, provider.counts, HttpLimits(connect_s=30.0, read_s=30.0))
        capability = provider.capabilities(dict(case.options)).streams_per_actor
        count = min(capability, 200) if case.streams is None else case.streams
        await provider.warm()
        apart_s = PACED_S if row == "many" else 0.0
        took = await _ask_all(case, provider, count, apart_s)
        MATRIX.latencies[case.name, row] = (count, took)
        await provider.close()
    return str(count)


async def _ask_all(case: VendorCase, provider: Any, count: int, apart_s: float) -> list[float]:
    """Seconds from the moment a stream was due to be asked until it was answered: what waits for a busy loop counts."""
    loop = asyncio.get_running_loop()
    ears = [Ear(wait_s=30.0) for _ in range(count)]
    opened = await asyncio.gather(*(provider.open(spec_of(case, n), e) for n, e in enumerate(ears, 1)))
    assert provider.streams == count
    began_s = loop.time()

    async def one(stream: Any, ear: Ear, number: int) -> float:
        due_s = began_s + number * apart_s
        await asyncio.sleep(due_s - loop.time())
        await work(case, stream, ear, number)
        return loop.time() - due_s

    took = await asyncio.gather(*(one(s, e, n) for n, (s, e) in enumerate(zip(opened, ears, strict=True), 1)))
    for number, ear in enumerate(ears, 1):
        assert _told(case, ear, number)[0] == "right"
    await asyncio.gather(*(s.close(drain=False) for s in opened))
    assert provider.streams == 0
    return took


async def _after_cancel(case: VendorCase, row: str) -> str:
    async with case.fake() as vendor:
        provider = make(case, _url(vendor, case))
        await provider.warm()
        ear = Ear()
        stream = await provider.open(spec_of(case), ear)
        begin(case, stream, 1)
        first = {"tts": i.TtsAudio, "agent": i.TextDelta, "s2s": i.TtsAudio}[case.stage]
        await ear.wait(first)
        number = ear.all(i.ResponseStarted)[0].response if case.stage == "s2s" else 1
        stream.cancel(number)
        if case.stage == "tts":
            await ear.wait(i.Cancelled)
        elif case.stage == "s2s":
            await ear.wait(i.ResponseDone)
        told = len(ear.told)
        if case.stage != "s2s":  # work that follows shows that what was late has had its time
            await work(case, stream, ear, 2)
            assert is_right(case, ear, 2), ear.told[-12:]
        else:
            stream.inject("agent", "ten of clubs")
            stream.respond()
            assert (await ear.wait(i.ResponseDone, 2)).status == "completed"
        late = [e for e in ear.told[told:] if number in (getattr(e, name, 0) for name in ("reply", "turn", "response"))]
        assert not late
        assert not failed(ear)
        if case.stage == "tts" and case.by == "socket":  # a request that is cancelled is closed: nothing is late
            assert provider.counts.stale > 0, "nothing came late: the row shows nothing"
        await stream.close(drain=False)
        await provider.close()
    return "right"


SCENES: dict[str, Scene] = {
    "happy": _happy, "usage": _usage, "cancel_open": _cancel_open, "cancel_close": _cancel_close,
    "close_busy": _close_busy, "slow": _slow, "many": _many, "many_at_once": _many, "timeout": _timeout,
    "connect": _nobody, "busy_close": _at_work, "lost": _at_work, "stall": _at_work, "after_cancel": _after_cancel,
}  # fmt: skip
