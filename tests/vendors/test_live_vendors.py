"""A live check of every network adapter against its fake: it serves, is refused, is busy once, and nobody is there.

The cases are those of the contract (`cases_<vendor>.py`): an adapter that is added there is checked here.
"""

from __future__ import annotations

import socket

import pytest

from actors.live_check import LiveLimits, LiveResult
from actors.live_check import run as try_live
from router.readiness import LiveCheck
from tests.canary import leaks, shown
from tests.vendors.contract import VendorCase, cases
from tests.vendors.live import run
from tests.vendors.server import KEY, FakeVendor

EACH = pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
LIMITS = LiveLimits(attempts=2, wait_s=0.02)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHBAY_TEST_CANARY", KEY)


async def tried(case: VendorCase, url: str) -> LiveResult:
    check = LiveCheck(
        provider=case.name, stage=case.stage, type=case.type, options=dict(case.options),  # type: ignore[arg-type]
        stream_options=dict(case.options), secret="env:PATCHBAY_TEST_CANARY", endpoint=url,
    )  # fmt: skip
    (result,) = await try_live([check], LIMITS)
    assert leaks(shown(result)) == []
    return result


def url_of(vendor: FakeVendor, case: VendorCase) -> str:
    return (vendor.ws_url if case.by == "socket" else vendor.http_url) + case.prefix


@EACH
def test_it_serves_and_says_where_it_is(case: VendorCase) -> None:
    async def scene() -> LiveResult:
        async with case.fake() as vendor:
            result = await tried(case, url_of(vendor, case))
            assert result.address == f"127.0.0.1:{vendor.port}"
            return result

    result = run(scene())
    assert (result.kind, result.step, result.attempts) == (None, "word", 1), result


@EACH
def test_a_revoked_key_is_told_at_once(case: VendorCase) -> None:
    async def scene() -> LiveResult:
        async with case.fake() as vendor:
            vendor.orders.refuse(401, f"no access for {KEY}", times=50)
            return await tried(case, url_of(vendor, case))

    result = run(scene())
    assert (result.kind, result.attempts) == ("auth", 1), result


@EACH
def test_one_that_is_busy_for_a_moment_serves(case: VendorCase) -> None:
    async def scene() -> LiveResult:
        async with case.fake() as vendor:
            vendor.orders.refuse(429, "one moment", {"Retry-After": "0"})
            return await tried(case, url_of(vendor, case))

    result = run(scene())
    assert result.serves, result
    assert result.attempts <= 2


@EACH
def test_nobody_there_is_tried_again_and_told(case: VendorCase) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        scheme = "ws" if case.by == "socket" else "http"
        result = run(tried(case, f"{scheme}://127.0.0.1:{taken.getsockname()[1]}"))
    assert (result.kind, result.attempts) == ("connect", 2), result
