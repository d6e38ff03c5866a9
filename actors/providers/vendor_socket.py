"""One WebSocket to a vendor: dialled with a deadline, written from a bounded queue, read until it ends.

    socket = await dial(request, vendor, counts)       ProviderError: auth, config, busy, connect, timeout, ...
    socket.send('{"type":"Finalize"}')                 never waits, never dropped: past its bound the socket fails
    socket.send_audio(pcm, mark=(pos, n))              never waits; past its bound the oldest audio goes, counted
    await socket.run(take, sent)                       reads and writes; returns after our own end, raises otherwise
    await socket.until(holds, timeout_s)               reads a greeting, before `run`
    await socket.close()                               bounded

`take(message)` is called for each message and must not wait; what it raises ends the socket (a ProviderError as it is,
anything else as `protocol`). `sent(mark)` is called when audio has left the queue for the wire, in order. `run` may be
cancelled and run again: a pool keeps an idle socket so until somebody takes it.

Unlike the library's defaults: no compression (64 KB a connection, and bombs), no redirects, no proxy of the
environment, a handshake of 3 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_endpoint import tls_context
from actors.providers.vendor_faults import Vendor
from router.errors import ProviderError

__all__ = ["Message", "SocketLimits", "SocketRequest", "VendorSocket", "dial"]

Message = str | bytes
Mark = Any

_log = logging.getLogger("patchbay.websockets")
_log.setLevel(logging.CRITICAL)  # at DEBUG the library writes headers, and with them the credential


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketRequest:
    """Everything that a connection is made with: two that are equal may serve each other's work."""

    url: str = field(repr=False)
    """May carry a key in its query."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    subprotocols: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLimits:
    connect_s: float = 3.0
    """TCP, TLS and the upgrade. A stage that is not open in 2 s falls back anyway; a probe may take longer."""
    close_s: float = 1.0
    message_bytes_max: int = 4 * 1024 * 1024
    """Of one message: ten seconds of speech in base64 are a quarter of it."""
    audio_bytes_max: int = 256 * 1024
    """Audio that waits to be written: 8 s at 16 kHz."""
    control_max: int = 256
    """Other messages that wait."""
    ping_s: float | None = 20.0
    """A ping so often, and as long for its answer; None where a vendor does not answer pings."""


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def dial(
    request: SocketRequest, vendor: Vendor, counts: VendorCounts, limits: SocketLimits | None = None
) -> VendorSocket:
    """An open socket. Raises ProviderError; counts the handshake and its time."""
    limits = limits or SocketLimits()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    tls = tls_context() if request.url.startswith("wss:") else None
    try:
        ws = await _Connect(
            request.url, additional_headers=list(request.headers), compression=None, proxy=None, logger=_log,
            subprotocols=[Subprotocol(name) for name in request.subprotocols] or None,
            open_timeout=limits.connect_s, close_timeout=limits.close_s, max_size=limits.message_bytes_max,
            ping_interval=limits.ping_s, ping_timeout=limits.ping_s, user_agent_header="patchbay", ssl=tls,
        )  # fmt: skip
    except Exception as error:
        counts.failed_handshakes += 1
        raise vendor.from_exception(error, "connecting") from None
    now_s = loop.time()
    counts.handshakes += 1
    counts.handshake_s += now_s - began_s
    return VendorSocket(ws, request, vendor, counts, limits, now_s)


class VendorSocket:
    def __init__(
        self, ws: ClientConnection, request: SocketRequest, vendor: Vendor, counts: VendorCounts,
        limits: SocketLimits, opened_s: float,
    ) -> None:  # fmt: skip
        self.request, self.vendor, self.opened_s = request, vendor, opened_s
        self.last_sent_s = opened_s
        """When something was last given to the wire, in loop time: for keep-alives."""
        self.headers = ws.response.headers if ws.response is not None else websockets.Headers()
        """Of the vendor's answer to the handshake."""
        self._ws, self._counts, self._limits = ws, counts, limits
        self._queue: deque[tuple[Message, Mark]] = deque()
        self._audio_bytes = self._controls = 0
        self._wake, self._dry = asyncio.Event(), asyncio.Event()
        self._failure: ProviderError | None = None
        self._ending = False

    @property
    def closed(self) -> bool:
        """Nothing can be sent any more."""
        return self._ending or self._ws.state is not websockets.State.OPEN

    @property
    def waiting_bytes(self) -> int:
        """Audio that has not left yet."""
        return self._audio_bytes

    def send(self, message: Message) -> None:
        """A message that must arrive, in order with the audio."""
        if self.closed:
            return
        if self._controls >= self._limits.control_max:
            self.fail(self.vendor.error("overload", f"{self._controls} messages wait and the vendor reads none"))
            return
        self._controls += 1
        self._queue.append((message, None))
        self._wake.set()

    def send_audio(self, message: Message, mark: Mark) -> None:
        """Audio, in the vendor's wrapping; `mark` (not None) comes back by `sent`. Empty audio is not sent: a frame
        without bytes ends a stream at some vendors."""
        if self.closed or not message:
            return
        self._queue.append((message, mark))
        self._audio_bytes += len(message)
        while self._audio_bytes > self._limits.audio_bytes_max:
            self._drop_oldest()
        self._wake.set()

    def end(self) -> None:
        """The vendor was told that nothing more comes: its close is the end that was asked for."""
        self._ending = True

    def fail(self, error: ProviderError) -> None:
        """End it now: `run` raises `error`."""
        if self._failure is None and not self._ending:
            self._failure = error
            self._ws.transport.abort()

    async def run(self, take: Callable[[Message], None], sent: Callable[[Mark], None] | None = None) -> None:
        """Read and write until the connection ends. Raises ProviderError unless the end was ours."""
        failure: ProviderError | None = None
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(sent), name="vendor socket writer")
            try:
                failure = await self._read(take)
            finally:
                writer.cancel()
        if self._failure is not None:
            raise self._failure from None
        if failure is not None and not self._ending:
            raise failure from None

    async def until(self, holds: Callable[[Message], bool], timeout_s: float, first: Sequence[Message] = ()) -> None:
        """Say `first`, then read until a message `holds`: a greeting. Not while `run` runs. Raises ProviderError."""
        try:
            async with asyncio.timeout(timeout_s):
                for message in first:
                    await self._ws.send(message)
                while not holds(await self._ws.recv()):
                    pass
        except TimeoutError:
            raise self.vendor.error("timeout", f"no greeting in {timeout_s:g} s") from None
        except websockets.ConnectionClosed as error:
            raise self.vendor.from_exception(error, "reading") from None

    async def close(self, code: int = 1000, bye: Sequence[Message] = ()) -> None:
        """`bye`, a close frame, its answer for `close_s` at most, gone. Idempotent."""
        was_closed, self._ending = self.closed, True
        try:
            async with asyncio.timeout(2 * self._limits.close_s):
                for message in () if was_closed else bye:
                    await self._ws.send(message)
                await self._ws.close(code)
        except (TimeoutError, OSError, websockets.WebSocketException):
            pass
        finally:
            self._ws.transport.abort()

    async def flush(self, timeout_s: float) -> bool:
        """Wait until all that was given is on the wire. False: not in time. While `run` runs."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._queue:
                    self._dry.clear()
                    await self._dry.wait()
        except TimeoutError:
            return False
        return True

    async def _read(self, take: Callable[[Message], None]) -> ProviderError | None:
        """The error that the connection ended with."""
        try:
            while True:
                take(await self._ws.recv())
        except ProviderError as error:  # the adapter's word for what it read
            self._ws.transport.abort()
            return error
        except websockets.ConnectionClosed as error:
            return self.vendor.from_exception(error, "reading")
        except Exception as error:
            self._ws.transport.abort()
            return self.vendor.error("protocol", f"{type(error).__name__} while a message was read")

    async def _write(self, sent: Callable[[Mark], None] | None) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(websockets.ConnectionClosed, OSError):  # the reader sees the same, and says it
            while True:
                while not self._queue:
                    self._dry.set()
                    self._wake.clear()
                    await self._wake.wait()
                message, mark = self._queue.popleft()
                if mark is None:
                    self._controls -= 1
                else:
                    self._audio_bytes -= len(message)
                    if sent is not None:
                        sent(mark)
                self.last_sent_s = loop.time()
                await self._ws.send(message)

    def _drop_oldest(self) -> None:
        for at, (message, mark) in enumerate(self._queue):
            if mark is not None:
                del self._queue[at]
                self._audio_bytes -= len(message)
                self._counts.dropped_bytes += len(message)
                return
