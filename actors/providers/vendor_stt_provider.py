"""The provider object of a streaming recogniser: `VendorProvider` whose streams are `SttLine`s.

    class Provider(VendorSttProvider[AcmeOptions]):
        TYPE, DEFAULT_ENDPOINT, MARKS, Options = "acme", "https://api.acme.example", {...}, AcmeOptions
        GREETING = "Begin"

        @classmethod
        def capabilities(cls, options): ...
        def dialect(self, options, spec, vendor): ...      # a `vendor_dialect.Dialect`
        def settings(self, options): ...                   # its `SttSettings`

Many vendors take the handshake whatever is in it and refuse afterwards, by a message or a close code. So the probe
says what a dialect begins with, waits for the vendor's `GREETING`, where it has one, and hears out what comes in its
place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel

from actors.providers.interface import Emit, StreamSpec, SttCapabilities
from actors.providers.vendor_dialect import Dialect, SttSettings
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import kind_of
from actors.providers.vendor_provider import VendorProvider
from actors.providers.vendor_socket import Message
from actors.providers.vendor_stt import SttLine
from router.errors import ProviderError

__all__ = ["VendorSttProvider"]

O = TypeVar("O", bound=BaseModel)  # noqa: E741


class VendorSttProvider(VendorProvider[O]):
    GREETING: ClassVar[str] = ""
    """Type of the message that says that the vendor takes the connection; empty: the handshake says it."""
    REFUSAL: ClassVar[str] = "Error"
    """Type of the message that says that it does not."""

    @property
    def greeting(self) -> str:
        """`GREETING`, unless the options decide."""
        return self.GREETING

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        raise NotImplementedError

    def dialect(self, options: O, spec: StreamSpec, vendor: Vendor) -> Dialect:
        raise NotImplementedError

    def settings(self, options: O) -> SttSettings:
        raise NotImplementedError

    def refused(self, vendor: Vendor, message: Message) -> ProviderError:
        """What a message of type `REFUSAL` says."""
        raise NotImplementedError

    def kind(self, message: Message) -> str:
        """Type of a message, as `GREETING` and `REFUSAL` have it."""
        return "" if isinstance(message, bytes) else kind_of(self.vendor, message)

    async def probe(self) -> None:
        """A connection as the options want it opens, is greeted and closes: key, model and parameters are taken."""
        spec = StreamSpec(stream=0, epoch=0, session_id="probe", tenant_id="", rate_hz=self._rates()[0])
        dialect = self.dialect(self.options, spec, self.vendor)
        socket = await self.dial(dialect.request())
        try:
            if self.greeting:
                await socket.until(self._greets, self.SOCKET.connect_s, dialect.hello())
        finally:
            await socket.close()

    async def open(self, spec: StreamSpec, emit: Emit) -> SttLine:
        options, vendor = self.parsed(spec), self.vendor.of(spec.tenant_id)
        if spec.rate_hz not in self._rates():
            raise vendor.error("config", f"rate_hz {spec.rate_hz}; it takes {', '.join(map(str, self._rates()))}")
        await self.warm()
        dialect = self.dialect(options, spec, vendor)
        socket = await self.dial(dialect.request(), spec.tenant_id)
        line = SttLine(
            dialect, spec, emit, vendor, self.counts, self.home,
            lambda request: self.dial(request, spec.tenant_id), self.settings(options), self.rng, self.let_go,
        )  # fmt: skip
        self.keep(line)
        line.start(socket)
        return line

    def _greets(self, message: Message) -> bool:
        kind = self.kind(message)
        if kind == self.REFUSAL:
            raise self.refused(self.vendor, message)
        return kind == self.greeting

    def _rates(self) -> tuple[int, ...]:
        return self.capabilities(self._given).rates_hz
