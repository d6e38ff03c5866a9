"""What a vendor does wrong has one of ten names, and nothing secret in it."""

from __future__ import annotations

import asyncio
import pickle
import socket
import ssl
from typing import Any

import httpx
import pytest
import websockets
from websockets.datastructures import Headers
from websockets.frames import Close
from websockets.http11 import Response

from actors.providers.vendor_faults import TEXT_MAX, Vendor, fault_of, retry_after_s
from actors.secrets import Secret
from tests.canary import ODD_KEY

VENDOR = Vendor(
    name="acme", secret=Secret(ODD_KEY, "env:ACME_KEY"), tenant="shop",
    marks={"quota_exceeded": "quota", "data-0000": "protocol", "input_timeout": "expired"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, "", "config"), (401, "", "auth"), (402, "", "quota"), (403, "", "auth"), (404, "", "config"),
        (408, "", "timeout"), (409, "", "overload"), (413, "", "config"), (418, "", "config"), (422, "", "config"),
        (429, "", "busy"), (500, "", "overload"), (502, "", "overload"), (503, "", "overload"), (504, "", "timeout"),
        (529, "", "overload"), (302, "", "config"), (204, "", "protocol"),
        (429, '{"error": {"code": "insufficient_quota"}}', "quota"),
        (401, '{"detail": {"status": "quota_exceeded"}}', "quota"),  # the vendor's own mark goes before its number
        (401, "too many wrong keys", "auth"),  # a mark that several have does not
        (400, "API key not valid. Please pass a valid API key.", "auth"),
    ],
)  # fmt: skip
def test_a_status_has_a_kind(status: int, body: str, kind: str) -> None:
    error = VENDOR.from_status(status, {}, body)
    assert error.kind == kind
    assert str(status) in error.detail
    assert "acme for tenant shop" in error.detail
    assert error.retryable is (kind not in ("auth", "config", "quota"))


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (1000, "", "connect"), (1001, "", "expired"), (1002, "", "protocol"), (None, "", "connect"),
        (1006, "", "connect"), (1008, "", "protocol"), (1008, "DATA-0000: no audio", "protocol"),
        (1008, "input_timeout_exceeded", "expired"), (1008, "Too many concurrent sessions", "busy"),
        (1008, "Unauthorized", "auth"), (1011, "", "overload"), (1012, "", "connect"), (1013, "", "busy"),
        (3000, "", "auth"), (4711, "", "protocol"), (1011, "You exceeded your current quota", "quota"),
    ],
)  # fmt: skip
def test_a_close_code_has_a_kind(code: int | None, reason: str, kind: str) -> None:
    assert VENDOR.from_close(code, reason).kind == kind


def _status(status: int, headers: dict[str, str], body: bytes) -> websockets.InvalidStatus:
    return websockets.InvalidStatus(Response(status, "x", Headers(headers), body))


REQUEST = httpx.Request("POST", f"https://vendor/?key={ODD_KEY}", headers={"Authorization": f"Bearer {ODD_KEY}"})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"), (httpx.ReadTimeout("x", request=REQUEST), "timeout"),
        (httpx.ConnectTimeout("x", request=REQUEST), "timeout"), (httpx.PoolTimeout("x"), "overload"),
        (httpx.ConnectError(ODD_KEY, request=REQUEST), "connect"), (ConnectionRefusedError(), "connect"),
        (socket.gaierror(-2, "x"), "connect"), (ssl.SSLCertVerificationError("x"), "connect"),
        (httpx.RemoteProtocolError("x", request=REQUEST), "connect"), (httpx.InvalidURL(ODD_KEY), "config"),
        (httpx.DecodingError("x", request=REQUEST), "protocol"), (websockets.InvalidURI(ODD_KEY, "x"), "config"),
        (websockets.InvalidUpgrade("Upgrade", None), "protocol"), (websockets.InvalidMessage("x"), "connect"),
        (_status(401, {}, ODD_KEY.encode()), "auth"), (_status(429, {"retry-after": "7"}, b""), "busy"),
        (websockets.ConnectionClosedError(None, None), "connect"),
        (websockets.ConnectionClosedError(Close(1013, "later"), None), "busy"),
        (ValueError(ODD_KEY), "protocol"), (KeyError(ODD_KEY), "protocol"),
        (asyncio.IncompleteReadError(b"", 1), "connect"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)  # fmt: skip
def test_an_exception_has_a_kind_and_takes_no_secret_along(error: Exception, kind: str) -> None:
    told = VENDOR.from_exception(error, "asking")
    assert told.kind == kind
    for shown in (str(told), repr(told), told.detail, repr(pickle.loads(pickle.dumps(told))), repr(fault_of(told))):
        assert "canary" not in shown
    again = pickle.loads(pickle.dumps(told))
    assert (again.kind, again.detail, again.retry_after_s) == (told.kind, told.detail, told.retry_after_s)


def test_a_status_of_the_handshake_brings_its_retry_time() -> None:
    assert VENDOR.from_exception(_status(429, {"Retry-After": "7"}, b""), "connecting").retry_after_s == 7.0


@pytest.mark.parametrize(
    "said",
    [
        ODD_KEY, "canary%2Fkey%2B4f1d2c3b", f"Authorization: Bearer {ODD_KEY}", "Authorization: Token canary-other-9",
        "wss://x/?api_key=canary-other-9&x=1", "token=canary-other-9", "sk-canary-1234567890",
        "eyJcanary123456.eyJzdWIiOiJ4In0.abc", f"x{ODD_KEY}y",
    ],
)  # fmt: skip
def test_what_a_vendor_wrote_is_shown_without_credentials_and_cut(said: str) -> None:
    assert "canary" not in VENDOR.text(said)
    assert "canary" not in VENDOR.text(said.encode())
    long = VENDOR.text("no " * 1000 + said)
    assert len(long) <= TEXT_MAX
    assert VENDOR.text("a\n  b\tc") == "a b c"
    assert "canary" not in VENDOR.from_status(401, {"dg-error": said}, "").detail
    assert "env:ACME_KEY" in VENDOR.from_status(401, {}, said).detail  # which key it was, by its name


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None), ({"Retry-After": "3"}, 3.0), ({"retry-after": " 2.5 "}, 2.5), ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None), ({"Retry-After": "inf"}, None), ({"Retry-After": "soon"}, None),
        ({"Retry-After": "999999"}, 3600.0), ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "Wed, 01 Jan 2025 00:00:30 GMT", "Date": "Wed, 01 Jan 2025 00:00:00 GMT"}, 30.0),
        ({"Retry-After": "Wed, 01 Jan 2025 00:00:00 GMT", "Date": "Wed, 01 Jan 2025 00:00:30 GMT"}, 0.0),
        ({"Retry-After": "Wed, 01 Jan 2025 00:00:00 GMT"}, 0.0),  # long ago, by our clock
        ({"Retry-After": ""}, None),
    ],
)  # fmt: skip
def test_when_it_may_be_tried_again(headers: dict[str, str], expected: Any) -> None:
    assert retry_after_s(headers) == expected


def test_a_vendor_shows_no_secret_and_does_not_leave_its_process() -> None:
    assert "canary" not in repr(VENDOR)
    with pytest.raises(TypeError):
        pickle.dumps(VENDOR)
