"""A webhook as a tool: one signed POST, to an address that was looked at, and a bounded answer.

    POST https://tools.acme.com/book
    Content-Type: application/json
    Idempotency-Key: c-1:3:call_9
    Patchbay-Timestamp: 1790000000
    Patchbay-Signature: v1=hex(HMAC-SHA256(secret, "1790000000." + body))

    {"tool": "book", "call_id": "call_9", "session_id": "c-1", "tenant_id": "acme", "turn": 3, "args": {...}}

Whoever is called computes the signature over the bytes received, compares in constant time, and refuses a timestamp
that is minutes old. 2xx: the body is the result. 4xx: the body is told to the model as what went wrong. Anything else
is a failure of the tool. A redirect is one: it would lead past the list of hosts.

Address   the name is resolved once for each request, every address it has must be public (unless the host is listed
          under `private_hosts`), and the connection goes to one that was looked at; TLS is verified for the name.
Bounds    one request of `deadline_s` (the runner holds it), a body of `_BODY_BYTES`, `_CONNECTIONS` to a host.
Raises    ToolError with what the model is told; never a text of the HTTP library, which may hold headers.
Source    faults, S15; Idempotency-Key: draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote

import httpx
import msgspec

from actors import wire
from actors.providers.vendor_endpoint import tls_context
from actors.secrets import Secret
from actors.tools import ToolError

__all__ = ["Unavailable", "Webhooks", "is_public", "signature"]

_CONNECTIONS = 16
_IDLE_S = 30.0
_BODY_BYTES = 262_144
"""What is read of an answer; the runner cuts it to the tool's own bound."""
_TOLD_CHARS = 300
_NAT64 = IPv6Network("64:ff9b::/96")


class Unavailable(ToolError):
    """It did not answer, or failed: another time it may not."""


class Webhooks:
    """Of one actor: its connections, by host, so that no TLS connection is used for another name."""

    def __init__(self, unix_s: Callable[[], float] = lambda: datetime.now(UTC).timestamp()) -> None:
        self._unix_s = unix_s
        self._clients: dict[tuple[str, str, int], httpx.AsyncClient] = {}

    async def call(self, op: wire.ToolRun, secret: Secret) -> str:
        """What the webhook answers. Raises ToolError."""
        assert op.tool.url is not None
        url = httpx.URL(op.tool.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        address = await _address(url.host, port, private=op.tool.private)
        body = msgspec.json.encode(
            {
                "tool": op.tool.name, "call_id": op.id, "session_id": op.session_id, "tenant_id": op.tenant_id,
                "turn": op.turn, "args": op.args,
            }
        )  # fmt: skip
        stamp = str(int(self._unix_s()))
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "Idempotency-Key": quote(op.key, safe=":@+"),  # a session's id may be any text
            "Patchbay-Timestamp": stamp,
            "Patchbay-Signature": signature(secret, stamp, body),
        }
        request = httpx.Request(
            "POST", url.copy_with(host=address), headers=headers, content=body, extensions={"sni_hostname": url.host}
        )
        try:
            response = await self._client(url.scheme, url.host, port).send(request, stream=True)
            try:
                return await _answer(response)
            finally:
                await response.aclose()
        except httpx.TimeoutException:
            raise Unavailable("the tool did not answer in time") from None
        except httpx.HTTPError as error:
            raise Unavailable(f"the tool cannot be reached ({type(error).__name__})") from None

    async def close(self) -> None:
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()

    def _client(self, scheme: str, host: str, port: int) -> httpx.AsyncClient:
        client = self._clients.get((scheme, host, port))
        if client is None:  # as many as the configuration names hosts
            limits = httpx.Limits(
                max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=_IDLE_S
            )
            client = httpx.AsyncClient(
                verify=tls_context(), limits=limits, timeout=None, follow_redirects=False, trust_env=False
            )
            self._clients[scheme, host, port] = client
        return client


def signature(secret: Secret, stamp: str, body: bytes) -> str:
    """`v1=` and 64 hexadecimal digits, over the timestamp, a full stop and the body."""
    signed = hmac.new(secret.reveal().encode(), f"{stamp}.".encode() + body, hashlib.sha256)
    return f"v1={signed.hexdigest()}"


async def _address(host: str, port: int, *, private: bool) -> str:
    """An address of `host` that may be called. Raises ToolError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable("the tool's host has no address") from None
    addresses = [str(one[4][0]).partition("%")[0] for one in found]
    if not private and not all(is_public(ip_address(address)) for address in addresses):
        raise ToolError("the tool's host is no public one, and may not be called")
    if not addresses:
        raise ToolError("the tool's host has no address")
    return addresses[0]


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """False for what is ours or nobody's, also where it is wrapped into an IPv6 address."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = IPv4Address(address.packed[-4:])
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


async def _answer(response: httpx.Response) -> str:
    if 300 <= response.status_code < 400:
        raise ToolError("the tool answered with a redirect, which is not followed")
    if response.status_code >= 500 or response.status_code < 200:
        raise Unavailable(f"the tool failed (status {response.status_code})")
    read = bytearray()
    async for piece in response.aiter_bytes():
        read += piece[: _BODY_BYTES - len(read)]
        if len(read) >= _BODY_BYTES:
            break
    text = read.decode("utf-8", "replace")
    if response.status_code >= 400:
        raise ToolError(f"the tool refused (status {response.status_code}): {text[:_TOLD_CHARS]}".rstrip(": "))
    return text
