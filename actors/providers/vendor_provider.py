"""What the provider object of every network adapter has: options, credential, address, client, tasks, streams.

    class Provider(VendorProvider[AcmeOptions]):
        TYPE, DEFAULT_ENDPOINT, MARKS, Options = "acme", "https://api.acme.example", {...}, AcmeOptions

        @classmethod
        def capabilities(cls, options): ...
        async def probe(self): ...
        async def open(self, spec, emit): ...        # self.parsed(spec), self.dial(...), self.keep(stream)

One object per credential and region, in its actor: connections are never shared between tenants' keys (S9).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from random import Random
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from actors.providers import options as stream_options
from actors.providers.interface import Stream, StreamSpec
from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_endpoint import Endpoint
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_http import HttpLimits, VendorHttp
from actors.providers.vendor_socket import SocketLimits, SocketRequest, VendorSocket, dial
from actors.secrets import Secret
from actors.task_home import TaskHome
from router.errors import FaultKind

__all__ = ["VendorProvider"]

_CLOSE_S = 2.0

O = TypeVar("O", bound=BaseModel)  # noqa: E741


class VendorProvider(Generic[O]):
    TYPE: ClassVar[str]
    DEFAULT_ENDPOINT: ClassVar[str]
    """Empty: the configuration must name one."""
    MARKS: ClassVar[Mapping[str, FaultKind]] = {}
    NEEDS_SECRET: ClassVar[bool] = True
    HTTP: ClassVar[HttpLimits] = HttpLimits()
    SOCKET: ClassVar[SocketLimits] = SocketLimits()
    Options: ClassVar[type[BaseModel]]

    def __init__(self, options: Mapping[str, Any], secret: Secret | None, endpoint: str | None) -> None:
        """Raises ProviderError(config) naming every bad option, a missing secret, a bad endpoint."""
        self._given = dict(options)
        self.options: O = self._parse(self._given)
        self.vendor = Vendor(name=self.TYPE, secret=secret, marks=self.MARKS)
        if self.NEEDS_SECRET and secret is None:
            raise self.vendor.error("config", "needs a secret and none is named")
        if not (endpoint or self.DEFAULT_ENDPOINT):
            raise self.vendor.error("config", "needs an endpoint and none is named")
        self.endpoint = Endpoint.of(self.vendor, endpoint, self.DEFAULT_ENDPOINT)
        self.counts = VendorCounts()
        self.http = VendorHttp(self.vendor, self.counts, self.HTTP)
        self.home = TaskHome(self.TYPE)
        self.rng = Random()
        self._streams: dict[int, Stream] = {}
        self._is_open = False

    @property
    def key(self) -> str:
        """The credential itself: for a header, never for a message."""
        return self.vendor.secret.reveal() if self.vendor.secret is not None else ""

    @property
    def streams(self) -> int:
        return len(self._streams)

    def parsed(self, spec: StreamSpec) -> O:
        """The options of a stream. Raises ProviderError(config)."""
        return self._parse(self._given, spec.options)

    def keep(self, stream: Any) -> None:
        """Close it when the provider closes, unless it was let go before."""
        self._streams[id(stream)] = stream

    def let_go(self, stream: Any) -> None:
        self._streams.pop(id(stream), None)

    async def dial(self, request: SocketRequest, tenant: str = "") -> VendorSocket:
        """An open socket. Raises ProviderError."""
        vendor = self.vendor.of(tenant) if tenant else self.vendor
        return await dial(request, vendor, self.counts, self.SOCKET)

    async def warm(self) -> None:
        """The tasks' home. Derived classes add what they want open before the first call."""
        if not self._is_open:
            self._is_open = True
            await self.home.open()

    async def close(self) -> None:
        """Every stream, connection and task. Idempotent, bounded."""
        streams, self._streams = list(self._streams.values()), {}
        with contextlib.suppress(TimeoutError):  # what did not end by then ends with its home
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.gather(*(s.close(drain=False) for s in streams), return_exceptions=True)
        await self.http.close()
        if self._is_open:
            await self.home.close(timeout_s=_CLOSE_S)

    def _parse(self, *layers: Mapping[str, Any]) -> O:
        return stream_options.parse(self.Options, self.TYPE, *layers)  # type: ignore[return-value]
