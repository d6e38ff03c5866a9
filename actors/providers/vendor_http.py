"""Requests to a vendor: one client per provider object, its connections kept and reused, answers read as they come.

    http = VendorHttp(vendor, counts)
    async with http.stream("POST", url, headers=..., json=...) as response:      ProviderError for anything but 2xx
        async for piece in response.aiter_bytes(): ...                           ProviderError as well
    await http.close()

Redirects are not followed; the environment's proxies and .netrc are not read; certificates are verified. Nothing is
retried here: only who knows what has been heard can tell whether that does harm.

Deadlines  `connect_s` to connect, `read_s` for the head of the answer (kind timeout) and between two pieces of its body
           (kind stall).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_endpoint import tls_context
from actors.providers.vendor_faults import Vendor

__all__ = ["HttpLimits", "VendorHttp"]

for _name in ("httpx", "httpcore"):  # they log addresses at INFO and headers at DEBUG
    logging.getLogger(_name).setLevel(logging.WARNING)

_BODY_MAX = 16 * 1024
"""Bytes of a refusal's body that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    connections_max: int = 200
    idle_max: int = 20
    """Connections kept open unused."""
    idle_s: float = 55.0
    """Below the 60 s after which common load balancers close: a connection that is reused is a live one."""
    connect_s: float = 3.0
    read_s: float = 10.0
    pool_s: float = 2.0
    """Waiting for a free connection: overload after it."""
    close_s: float = 2.0


class VendorHttp:
    def __init__(self, vendor: Vendor, counts: VendorCounts, limits: HttpLimits | None = None) -> None:
        self.limits = limits or HttpLimits()
        self._vendor, self._counts = vendor, counts
        self._client: httpx.AsyncClient | None = None

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, tenant: str = "", **body: Any
    ) -> AsyncIterator[httpx.Response]:
        """The answer, its body unread. `body`: `json=`, `content=`, `files=`, `data=` of httpx. Raises ProviderError;
        leaving the block in any way closes the answer, and the connection if the body was not read whole."""
        vendor = self._vendor.of(tenant) if tenant else self._vendor
        doing = "asking"
        try:
            request = self._open().build_request(method, url, headers=headers, extensions=self._trace(), **body)
            limits = self.limits
            async with asyncio.timeout(limits.pool_s + limits.connect_s + limits.read_s):
                response = await self._open().send(request, stream=True)
            try:
                if not response.is_success:
                    raise vendor.from_status(response.status_code, response.headers, await _start_of(response))
                doing = "reading the answer"
                yield response
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            if doing != "asking" and isinstance(error, httpx.ReadTimeout):
                raise vendor.error("stall", f"no more of the answer for {self.limits.read_s:g} s") from None
            raise vendor.from_exception(error, doing) from None

    async def fetch(self, method: str, url: str, **request: Any) -> bytes:
        """The whole body of a small answer: probes. Raises ProviderError."""
        async with self.stream(method, url, **request) as response:
            return await response.aread()

    def open(self) -> None:
        """Make the client now: it takes 70 ms, which the first caller need not wait for."""
        self._open()

    async def close(self) -> None:
        """Idempotent, bounded."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(TimeoutError, httpx.HTTPError, OSError):
                async with asyncio.timeout(self.limits.close_s):
                    await client.aclose()

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            limits = self.limits
            self._client = httpx.AsyncClient(
                verify=tls_context(), follow_redirects=False, trust_env=False, http2=False,
                headers={"User-Agent": "patchbay"},
                timeout=httpx.Timeout(limits.read_s, connect=limits.connect_s, pool=limits.pool_s),
                limits=httpx.Limits(
                    max_connections=limits.connections_max, max_keepalive_connections=limits.idle_max,
                    keepalive_expiry=limits.idle_s,
                ),
            )  # fmt: skip
        return self._client

    def _trace(self) -> dict[str, Any]:
        """Counts what this request needed: a new connection, or one that was open."""
        loop = asyncio.get_running_loop()
        began: list[float] = []

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            counts = self._counts
            if event == "connection.connect_tcp.started":
                began.append(loop.time())
            elif event in ("connection.connect_tcp.complete", "connection.start_tls.complete") and began:
                counts.handshakes += event == "connection.connect_tcp.complete"
                counts.handshake_s += loop.time() - began[-1]
                began[-1] = loop.time()
            elif event in ("connection.connect_tcp.failed", "connection.start_tls.failed"):
                counts.failed_handshakes += 1
            elif event == "http11.send_request_headers.started" and not began:
                counts.reused += 1

        return {"trace": trace}


async def _start_of(response: httpx.Response) -> bytes:
    """What a refusal says, cut; what cannot be read of it is left out."""
    said = b""
    with contextlib.suppress(httpx.HTTPError, OSError):
        async for piece in response.aiter_bytes():
            said += piece
            if len(said) >= _BODY_MAX:
                break
    return said[:_BODY_MAX]
