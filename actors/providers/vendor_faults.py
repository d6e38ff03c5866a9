"""Whose fault it is, in one of the ten words of `FaultKind`: status, close code or exception of a vendor -> error.

    vendor = Vendor(name="deepgram", secret=secret, marks={"data-0000": "protocol"})
    raise vendor.from_status(429, response.headers, body)         # busy, with the retry time
    raise vendor.from_close(1011, "NET-0001 ...")                 # overload
    raise vendor.from_exception(error, "connecting") from None    # connect, timeout, ...: never with the exception

What a vendor says of itself goes before what its number says: `marks` are words of its codes and reasons. What is
told names the provider, the tenant and the reference of the secret; what the vendor wrote is cut to 200 characters, and
nothing that looks like a credential, nor the secret itself, is left in it.

Source   the table of statuses and close codes is what the vendors' pages and SDKs have in common (RFC 9110, RFC 6455).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import httpx
import websockets

from actors.logs import clean_text
from actors.providers.interface import Fault
from actors.secrets import Secret
from router.errors import FaultKind, ProviderError

__all__ = ["RETRY_AFTER_MAX_S", "TEXT_MAX", "Vendor", "fault_of", "retry_after_s"]

TEXT_MAX = 200
"""Characters of a vendor's own text in an error."""
RETRY_AFTER_MAX_S = 3600.0
"""A vendor that wants to be left alone for longer is asked again after an hour."""

_STATUS: dict[int, FaultKind] = {
    400: "config", 401: "auth", 402: "quota", 403: "auth", 404: "config", 405: "config", 408: "timeout",
    409: "overload", 410: "config", 411: "config", 413: "config", 414: "config", 415: "config", 422: "config",
    425: "busy", 426: "config", 429: "busy", 499: "timeout", 504: "timeout",
}  # fmt: skip
_CLOSE: dict[int, FaultKind] = {
    1000: "connect", 1001: "expired", 1002: "protocol", 1003: "protocol", 1005: "connect", 1006: "connect",
    1007: "protocol", 1008: "protocol", 1009: "protocol", 1010: "protocol", 1011: "overload", 1012: "connect",
    1013: "busy", 1014: "overload", 1015: "connect", 3000: "auth", 3003: "auth",
}  # fmt: skip
_MARKS: dict[str, FaultKind] = {
    "insufficient_quota": "quota", "quota_exceeded": "quota", "exceeded your current quota": "quota",
    "payment_required": "quota", "invalid_api_key": "auth", "invalid api key": "auth", "api key not valid": "auth",
    "invalid_auth": "auth", "unauthorized": "auth", "not authorized": "auth", "rate_limit": "busy",
    "rate limit": "busy", "too_many": "busy", "too many": "busy", "concurren": "busy",
}  # fmt: skip
"""What several vendors write. A mark changes only what could also be something else: never a 401 or 403 into `busy`."""
_PLAIN: frozenset[FaultKind] = frozenset({"auth"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One provider type with its credential, as errors speak of it."""

    name: str
    secret: Secret | None = None
    tenant: str = ""
    """Whose stream it was; empty where it serves many (a prewarmed connection, a probe)."""
    marks: Mapping[str, FaultKind] = field(default_factory=dict)
    """Of this vendor, in lower case, looked for in codes, reasons and bodies; the first that is found holds, also
    over 401 and 403."""

    def of(self, tenant: str) -> Vendor:
        return replace(self, tenant=tenant)

    def text(self, raw: str | bytes, limit: int = TEXT_MAX) -> str:
        """What the vendor wrote, on one line, cut, without a credential."""
        text = raw[: 20 * limit].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[: 20 * limit]
        if self.secret is not None:
            own = self.secret.reveal()
            for shown in {own, quote(own, safe="")}:
                text = text.replace(shown, "[hidden]")
        text = re.sub(r"\s+", " ", clean_text(text)).strip()
        return text if len(text) <= limit else text[: limit - 3] + "..."

    def error(self, kind: FaultKind, detail: str, retry_after_s: float | None = None) -> ProviderError:
        """`detail` in our own words, or through `text`."""
        whose = f" for tenant {self.tenant}" if self.tenant else ""
        key = f" (key {self.secret.reference})" if kind in ("auth", "quota") and self.secret is not None else ""
        return ProviderError(self.name, kind, f"{self.name}{whose}: {detail}{key}", retry_after_s)

    def named(self, error: ProviderError) -> ProviderError:
        """An error of a connection that serves many, told to one of them: with its tenant in it."""
        ours = f"{self.name}: "
        if not self.tenant or not error.detail.startswith(ours):
            return error
        detail = f"{self.name} for tenant {self.tenant}: {error.detail[len(ours) :]}"
        return ProviderError(error.provider, error.kind, detail, error.retry_after_s)

    def from_status(self, status: int, headers: Mapping[str, str], body: str | bytes) -> ProviderError:
        """A refused handshake or request."""
        kind = _STATUS.get(status)
        if kind is None:
            kind = "overload" if status >= 500 else "config" if 300 <= status < 500 else "protocol"
        said = self.text(body) or self.text(headers.get("dg-error", ""))
        whole = body.decode("utf-8", "replace") if isinstance(body, bytes) else body  # a code stands behind its text
        kind = self._marked(f"{status} {whole} {said}", kind)
        redirected = "; redirects are not followed" if 300 <= status < 400 else ""
        detail = f"HTTP {status}{redirected}{': ' + said if said else ''}"
        return self.error(kind, detail, retry_after_s(headers))

    def from_message(self, said: str, kind: FaultKind) -> ProviderError:
        """An error that comes inside an answer which began well: `kind`, unless its words say better."""
        return self.error(self._marked(said, kind), self.text(said) or "an error without a word")

    def from_close(self, code: int | None, reason: str) -> ProviderError:
        """A connection that the vendor closed; None, 1005 and 1006: without a close frame, or without a code."""
        kind = self._marked(f"{code} {reason}", _CLOSE.get(code or 1006, "protocol"))
        if code is None or code == 1006:
            return self.error(kind, "the connection was lost without a close frame")
        said = self.text(reason)
        return self.error(kind, f"closed with {code}{': ' + said if said else ''}")

    def from_exception(self, error: BaseException, doing: str) -> ProviderError:
        """What a library raised while `doing` (a word like "connecting"). Raise it `from None`: see S12."""
        if isinstance(error, ProviderError):
            return error
        if isinstance(error, websockets.InvalidStatus):
            response = error.response
            return self.from_status(
                response.status_code, dict(response.headers.raw_items()), bytes(response.body or b"")
            )
        if isinstance(error, websockets.ConnectionClosed):
            closed = error.rcvd
            return self.from_close(closed.code if closed else None, closed.reason if closed else "")
        kind = _kind_of(error)
        return self.error(kind, f"{_WORDS.get(kind, 'failed')} while {doing} ({type(error).__name__})")

    def _marked(self, said: str, kind: FaultKind) -> FaultKind:
        lower = said.lower()
        own = next((k for mark, k in self.marks.items() if mark in lower), None)
        if own is not None:
            return own
        if kind in _PLAIN:
            return kind
        return next((k for mark, k in _MARKS.items() if mark in lower), kind)


def fault_of(error: ProviderError) -> Fault:
    """The event for an error."""
    return Fault(kind=error.kind, detail=error.detail, retry_after_s=error.retry_after_s)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until it may be tried again, as the vendor says; 0 to an hour, None where it says nothing that holds.

    `retry-after-ms`, then `Retry-After` in seconds or as a date (RFC 9110, 10.2.3). A date is read against the
    vendor's own `Date`, so that a wrong clock on either side does not matter.
    """
    given = {name.lower(): value for name, value in headers.items()}
    wait_s = _number(given.get("retry-after-ms"))
    if wait_s is not None:
        wait_s /= 1000
    else:
        raw = given.get("retry-after")
        wait_s = _number(raw)
        if wait_s is None and raw is not None:
            until, now = _date(raw), _date(given.get("date")) or datetime.now(UTC)
            wait_s = None if until is None else (until - now).total_seconds()
    return None if wait_s is None else min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)


_WORDS: dict[FaultKind, str] = {
    "timeout": "took too long", "connect": "no connection", "protocol": "the other end broke the protocol",
    "config": "the address or the request is wrong", "overload": "no free connection",
}  # fmt: skip


def _kind_of(error: BaseException) -> FaultKind:
    match error:
        case httpx.PoolTimeout():
            return "overload"
        case TimeoutError() | httpx.TimeoutException() | asyncio.TimeoutError():
            return "timeout"
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | websockets.InvalidURI():
            return "config"
        case ssl.SSLError() | OSError() | httpx.NetworkError() | httpx.RemoteProtocolError() | EOFError():
            return "connect"
        case websockets.InvalidMessage():  # the connection ended, or no HTTP came: nobody who speaks WebSocket is there
            return "connect"
        case _:
            return "protocol"


def _number(text: str | None) -> float | None:
    """A plain decimal number, not negative; nothing else that `float` would take (nan, inf, 1_0)."""
    if text is None or not re.fullmatch(r"\s*\d{1,9}(\.\d{1,9})?\s*", text):
        return None
    return float(text)


def _date(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
