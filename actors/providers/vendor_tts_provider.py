"""The provider object of a voice over sockets with contexts: one pool, one set of carriers, a line for each stream.

    class Provider(SocketTtsProvider[AcmeOptions]):
        LIMITS, POOL = CarrierLimits(contexts_max=8), PoolSettings(...)
        def dialect(self): ...                        read once
        def request(self, options, rate_hz): ...      the socket that these options need
        def asked(self, options, rate_hz): ...        what its contexts are opened with
        def settings(self, options): ...

A socket for the configured options is open from `warm` on, one for the options of each open stream from `open` on, and
the pool keeps an idle one of each: so a turn makes no handshake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel

from actors.providers.interface import Emit, StreamSpec, TtsCapabilities
from actors.providers.vendor_contexts import Carrier, CarrierLimits, Carriers, Context
from actors.providers.vendor_json import kind_of
from actors.providers.vendor_pool import PoolSettings, VendorPool
from actors.providers.vendor_provider import VendorProvider
from actors.providers.vendor_socket import Message, SocketRequest
from actors.providers.vendor_tts import Saying, TtsLine, TtsSettings, Voice
from actors.providers.vendor_tts_socket import SocketVoice, TtsDialect
from actors.secrets import Secret
from router.errors import ProviderError

__all__ = ["SocketTtsProvider"]


O = TypeVar("O", bound=BaseModel)  # noqa: E741


class SocketTtsProvider(VendorProvider[O]):
    """`Options` has a field `prewarm`: how many idle sockets are kept open."""

    LIMITS: ClassVar[CarrierLimits] = CarrierLimits()
    GREETING: ClassVar[str] = ""
    """Type of the first message of a socket; empty: the vendor does not greet."""

    def __init__(self, options: Mapping[str, Any], secret: Secret | None, endpoint: str | None) -> None:
        super().__init__(options, secret, endpoint)
        self.speaks = self.dialect()
        self.pool = VendorPool(self.dial, self.home, self.vendor, self.counts, self.pool_settings(), self.rng)
        self.carriers = Carriers(self.pool, self.home, self.vendor, self.counts, self._take, self.limits())
        self._users: Counter[SocketRequest] = Counter()
        """Open streams by the socket that they need."""

    # -- what an adapter says

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TtsCapabilities:
        raise NotImplementedError

    def dialect(self) -> TtsDialect:
        raise NotImplementedError

    def request(self, options: O, rate_hz: int) -> SocketRequest:
        raise NotImplementedError

    def asked(self, options: O, rate_hz: int) -> Any:
        """`Context.options`."""
        raise NotImplementedError

    def settings(self, options: O) -> TtsSettings:
        raise NotImplementedError

    def limits(self) -> CarrierLimits:
        return self.LIMITS

    def pool_settings(self) -> PoolSettings:
        return PoolSettings()

    # -- what it is then

    async def warm(self) -> None:
        await super().warm()
        self._want(self._first())

    async def probe(self) -> None:
        """A socket opens, and is greeted where the vendor does: the key is taken, and what is in the address."""
        socket = await self.dial(self._first())
        try:
            if self.GREETING:
                await socket.until(self._greets, self.SOCKET.connect_s)
        finally:
            await socket.close(bye=self.pool.settings.bye)

    async def open(self, spec: StreamSpec, emit: Emit) -> TtsLine[O]:
        options, vendor = self.parsed(spec), self.vendor.of(spec.tenant_id)
        rates = self.capabilities(self._given).rates_hz
        if spec.rate_hz not in rates:
            raise vendor.error("config", f"rate_hz {spec.rate_hz}; it gives {', '.join(map(str, rates))}")
        await self.warm()
        request = self.request(options, spec.rate_hz)
        try:
            await self.carriers.ready(request)
        except ProviderError as error:
            raise vendor.named(error) from None
        self._use(request)
        line: TtsLine[O] = TtsLine(
            lambda saying, chosen: self._voice(saying, chosen, spec.rate_hz), options, spec, emit, vendor, self.counts,
            self.settings(options), self._gone, lambda before, after: self._changed(before, after, spec.rate_hz),
        )  # fmt: skip
        self.keep(line)
        return line

    async def close(self) -> None:
        await self.carriers.close()
        await self.pool.close()
        await super().close()

    # -- inside

    def _first(self) -> SocketRequest:
        return self.request(self.options, self.capabilities(self._given).rates_hz[0])

    def _greets(self, message: Message) -> bool:
        return not isinstance(message, bytes) and kind_of(self.vendor, message) == self.GREETING

    def _take(self, carrier: Carrier, message: Message) -> None:
        self.speaks.take(carrier, message)

    def _voice(self, saying: Saying, options: O, rate_hz: int) -> Voice:
        request, asked = self.request(options, rate_hz), self.asked(options, rate_hz)
        return SocketVoice(saying, self.carriers, self.speaks, lambda voice: Context(request, asked, voice))

    def _gone(self, line: TtsLine[O]) -> None:
        self.let_go(line)
        self._unuse(self.request(line.options, line.rate_hz))

    def _changed(self, before: O, after: O, rate_hz: int) -> None:
        """The stream's next reply needs another socket: it is there by then."""
        old, new = self.request(before, rate_hz), self.request(after, rate_hz)
        if old != new:
            self._use(new)
            self._unuse(old)

    def _use(self, request: SocketRequest) -> None:
        self._users[request] += 1
        self._want(request)

    def _unuse(self, request: SocketRequest) -> None:
        self._users[request] -= 1
        if self._users[request] <= 0:
            del self._users[request]
            if request != self._first():
                self.pool.want(request, 0)

    def _want(self, request: SocketRequest) -> None:
        prewarm: int = getattr(self.options, "prewarm", 1)
        if prewarm:
            self.pool.want(request, prewarm)
