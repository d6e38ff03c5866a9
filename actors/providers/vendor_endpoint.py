"""Where a vendor is: a base URL from the configuration, checked once, and the addresses made from it.

    endpoint = Endpoint.of(vendor, configured, "https://api.deepgram.com")
    endpoint.ws("/v1/listen", [("model", "nova-3")])       wss://api.deepgram.com/v1/listen?model=nova-3
    endpoint.http("/v1/projects")                          https://api.deepgram.com/v1/projects

Only https and wss; http and ws for loopback alone, where tests and local servers are. No user info (it would be a
secret in the configuration), no query, no fragment. Nothing that a vendor answers changes the address.
TLS is verified always: against the system's certificates, or certifi's where the system has none.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlencode, urlsplit

import certifi

from actors.providers.vendor_faults import Vendor

__all__ = ["Endpoint", "tls_context"]

_TLS = {"https": True, "wss": True, "http": False, "ws": False}


@dataclass(frozen=True, slots=True)
class Endpoint:
    authority: str
    """Host and port as in a URL."""
    prefix: str
    """Path before every path, without a slash at its end."""
    tls: bool

    @classmethod
    def of(cls, vendor: Vendor, configured: str | None, default: str) -> Endpoint:
        """Raises ProviderError(config) for a URL that is not taken; it names the fault and not the URL's user info."""
        url = configured or default
        if any(c.isspace() or ord(c) < 32 for c in url):
            raise vendor.error("config", "endpoint: there is white space in it")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise vendor.error("config", "endpoint: this is no URL") from None
        if parts.scheme not in _TLS:
            raise vendor.error("config", "endpoint: it begins with https:// or wss://")
        if parts.username is not None or parts.password is not None or "@" in parts.netloc:
            raise vendor.error("config", "endpoint: no user info in it; the secret is named by its reference")
        if not host or parts.query or parts.fragment:
            raise vendor.error("config", "endpoint: scheme, host, and perhaps a port and a path; nothing else")
        if not _TLS[parts.scheme] and not _is_loopback(host):
            raise vendor.error("config", f"endpoint: {parts.scheme}:// is for loopback only; say https:// or wss://")
        named = f"[{host}]" if ":" in host else host
        return cls(f"{named}:{port}" if port else named, parts.path.rstrip("/"), _TLS[parts.scheme])

    def ws(self, path: str, query: Sequence[tuple[str, str]] = ()) -> str:
        return self._url("wss" if self.tls else "ws", path, query)

    def http(self, path: str, query: Sequence[tuple[str, str]] = ()) -> str:
        return self._url("https" if self.tls else "http", path, query)

    def _url(self, scheme: str, path: str, query: Sequence[tuple[str, str]]) -> str:
        asked = f"?{urlencode(query, quote_via=quote)}" if query else ""
        return f"{scheme}://{self.authority}{self.prefix}{path}{asked}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """One for the process: to read the certificates costs some 20 ms. Verifies names and chains, TLS 1.2 at least."""
    context = ssl.create_default_context()
    if context.cert_store_stats()["x509_ca"] == 0:
        context.load_verify_locations(certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
