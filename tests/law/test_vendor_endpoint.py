"""Where a vendor may be, and what is never taken."""

from __future__ import annotations

import ssl

import pytest

from actors.providers.vendor_endpoint import Endpoint, tls_context
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_socket import SocketRequest
from router.errors import ProviderError

VENDOR = Vendor(name="acme")
DEFAULT = "https://api.acme.example"


@pytest.mark.parametrize(
    ("configured", "ws", "http"),
    [
        (None, "wss://api.acme.example/v1", "https://api.acme.example/v1"),
        ("wss://eu.acme.example/", "wss://eu.acme.example/v1", "https://eu.acme.example/v1"),
        ("https://proxy.example:8443/acme", "wss://proxy.example:8443/acme/v1", "https://proxy.example:8443/acme/v1"),
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("ws://[::1]:9", "ws://[::1]:9/v1", "http://[::1]:9/v1"),
        ("http://localhost", "ws://localhost/v1", "http://localhost/v1"),
    ],
)
def test_addresses_are_made_from_the_configured_one(configured: str | None, ws: str, http: str) -> None:
    endpoint = Endpoint.of(VENDOR, configured, DEFAULT)
    assert endpoint.ws("/v1") == ws
    assert endpoint.http("/v1") == http


def test_a_query_is_encoded() -> None:
    endpoint = Endpoint.of(VENDOR, None, DEFAULT)
    assert endpoint.ws("/v1", [("keyterm", "a b&c=d"), ("keyterm", "é")]).endswith(
        "?keyterm=a%20b%26c%3Dd&keyterm=%C3%A9"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://api.acme.example", "ws://10.0.0.1", "http://127.0.0.1.evil.example", "http://localhost.evil.example",
        "ftp://acme", "acme.example", "//acme.example", "https://user:canary@acme.example", "https://canary@acme.example",
        "https://", "https://acme.example/?key=canary", "https://acme.example/#x", "https://acme.example:port",
        "https://acme .example", "https://acme.example\r\nHost: x", "http://0x7f000001", "http://2130706433",
        "http://169.254.169.254", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_what_is_not_taken_is_an_error_of_the_configuration(url: str) -> None:
    with pytest.raises(ProviderError) as caught:
        Endpoint.of(VENDOR, url, DEFAULT)
    assert caught.value.kind == "config"
    assert "canary" not in str(caught.value)


def test_certificates_and_names_are_verified() -> None:
    context = tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context is tls_context()


def test_a_request_shows_neither_its_address_nor_its_headers() -> None:
    request = SocketRequest(url="wss://x/?key=canary", headers=(("Authorization", "canary"),), subprotocols=("canary",))
    assert "canary" not in repr(request)
    assert request == SocketRequest(url=request.url, headers=request.headers, subprotocols=request.subprotocols)
    assert len({request, SocketRequest(url=request.url, headers=(("Authorization", "other"),))}) == 2
