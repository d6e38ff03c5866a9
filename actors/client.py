"""The caller's door: a handle to a session, and the connections that many sessions share.

    session = await router.open.remote(ctx)                      # SessionHandle: plain data, goes anywhere
    async with session.connect(audio_in=AudioFormat("mulaw", 8000)) as call: ...
    with session.connect() as call: ...                          # the same without asyncio (client_sync)
    failed = send_many(calls, frames)                            # a gateway: many calls in a tick (gateway)

Sessions of one process on one host share one link: a link of its own for each session costs the host twice the CPU at
three hundred sessions. `Client` holds the links of one event loop, opens each once however many ask, and closes it
with the last call on it. A link takes 200 calls, then the next one is opened.

Raises   LinkError where the host cannot be reached; what else `connect` raises, see `actors.call`.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from actors.call import Call
from actors.call_facts import Mode
from actors.formats import AudioFormat
from actors.link import Link, connect
from actors.link_codec import AudioBatch
from router.errors import LinkClosed, LinkError
from router.plan import DefaultCause

if TYPE_CHECKING:
    from actors.client_sync import SyncCall, SyncConnection
    from actors.cohort import Cohort

__all__ = ["Call", "Client", "Connection", "HostLink", "Mode", "SessionHandle", "default_client"]

CONNECT_S = 3.0
"""A host is on the same cluster: a connection takes milliseconds. SYN is sent again after 1 s: two chances."""
SILENCE_BOUND_S = 2.0
"""A host beats three times in it. A call survives a stall of a second (a machine that starts actors); a host that died
is noticed by the end of file long before."""
CALLS_PER_LINK = 200
"""Below the host's own bound of streams on one caller's link (2,000); one host's default is 250 sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHandle:
    """One opened session: plain, picklable data that behaves the same wherever the session lives.

    The token is a bearer's: who holds the handle may attach. It is left out of the handle's text.
    """

    session_id: str
    tenant_id: str
    route: str
    version: str
    """Of the route table; the session keeps it for life."""
    reason: str
    """One line for people: why this route."""
    default_cause: DefaultCause | None
    """Why the default route was taken; None where a route matched."""
    providers: dict[str, tuple[str, ...]]
    """Ordered candidates by stage."""
    address: str
    """`host:port` of its session host's link server."""
    token: bytes

    def connect(
        self,
        *,
        audio_in: AudioFormat | None = None,
        audio_out: AudioFormat | None = None,
        mode: Mode = "live",
        client: Client | None = None,
    ) -> Connection:
        """A connection for `async with` or `with`. `audio_in` is 16-bit 16 kHz unless said; out is as in.

        `mode`: live drops the oldest input beyond 2 s; file waits for credit; lockstep waits for every answer too.
        `client`: whose links are used; None: those of the running loop.
        """
        audio_in = audio_in or AudioFormat()
        return Connection(self, audio_in, audio_out or audio_in, mode, client)

    def __repr__(self) -> str:
        return f"SessionHandle({self.session_id!r}, route={self.route!r}, address={self.address!r})"


class HostLink:
    """One link to one host, shared by calls; each call has a stream number that is never used again on it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.calls: dict[int, Call] = {}
        self.seats: dict[int, tuple[Cohort, int]] = {}
        """Of calls that a cohort sends for: it, and their row."""
        self.is_open = False
        self._link: Link | None = None
        self._next_stream = 1

    async def start(self) -> None:
        self._link = await connect(
            self.address, self, key=None, role="caller", timeout_s=CONNECT_S, silence_bound_s=SILENCE_BOUND_S
        )
        self.is_open = True

    def open(self, call: Call) -> int:
        stream = self._next_stream
        self._next_stream += 1
        self.calls[stream] = call
        return stream

    def send(self, stream: int, body: Struct) -> None:
        if self._link is not None and self.is_open:
            self._link.send(stream, body)

    def send_audio(self, stream: int, seq: int, pos: int, pcm: bytes) -> None:
        if self._link is not None and self.is_open:
            self._link.send_audio(stream, 0, seq, pos, pcm)

    @property
    def block_bytes(self) -> int:
        """Columns and PCM of the longest block that the host takes; 0 without a link."""
        return self._link.block_bytes if self._link is not None else 0

    def send_audio_block(self, columns: np.ndarray[Any, Any], pcm: bytes) -> None:
        """Frames of many calls: uint32 of shape (5, frames), see `Link.send_audio_block`."""
        if self._link is not None and self.is_open:
            self._link.send_audio_block(columns, pcm)

    async def close(self) -> None:
        self.is_open = False
        if self._link is not None:
            await self._link.close("no call left")

    # What the link tells its handler.

    def on_control(self, link: Link, stream: int, body: memoryview) -> None:
        call = self.calls.get(stream)
        if call is not None:
            call.on_control(body)

    def on_audio(self, link: Link, batch: AudioBatch) -> None:
        rows = zip(batch.streams, batch.gens, batch.poss, batch.frames(), strict=True)
        for stream, reply_id, pos, pcm in rows:
            call = self.calls.get(stream)
            if call is not None:
                call.on_audio(reply_id, pos, bytes(pcm))

    def on_bits(self, link: Link, streams: Sequence[int], poss: Sequence[int], bits: bytes) -> None:
        """Verdicts are for hosts; a caller is sent none."""

    def on_credit(self, link: Link, streams: Sequence[int], seqs: Sequence[int]) -> None:
        for stream, seq in zip(streams, seqs, strict=True):
            if (seat := self.seats.get(stream)) is not None:
                seat[0].accepted(seat[1], seq)
            elif (call := self.calls.get(stream)) is not None:
                call.on_credit(seq)

    def on_closed(self, link: Link, error: LinkError | None) -> None:
        self.is_open = False
        calls, self.calls = self.calls, {}
        for call in calls.values():
            call.on_link_closed(error or LinkClosed(self.address, "closed"))


class Client:
    """The links of one event loop, by address. Not for several loops: streams belong to the loop of their link."""

    def __init__(self) -> None:
        self._links: dict[str, list[HostLink]] = {}
        self._doors: dict[str, asyncio.Lock] = {}

    async def acquire(self, address: str, call: Call) -> tuple[HostLink, int]:
        """A stream for `call` on a link to `address`; a link is opened if none has room. Raises LinkError, OSError.

        Finding the link and taking the stream is one step: no link is closed in between for having no calls.
        """
        async with self._doors.setdefault(address, asyncio.Lock()):
            links = [link for link in self._links.get(address, ()) if link.is_open]
            self._links[address] = links
            for link in links:
                if len(link.calls) < CALLS_PER_LINK:
                    return link, link.open(call)
            link = HostLink(address)
            await link.start()
            links.append(link)
            return link, link.open(call)

    def release(self, link: HostLink, stream: int) -> None:
        """The call on `stream` is over. The last call's link is closed by `tidy`."""
        link.calls.pop(stream, None)

    async def tidy(self) -> None:
        """Close the links that no call uses."""
        for address, links in list(self._links.items()):
            idle = [link for link in links if not link.calls]
            self._links[address] = [link for link in links if link.calls]
            if not self._links[address]:
                del self._links[address]
            for link in idle:
                await link.close()

    def statistics(self) -> dict[str, tuple[int, ...]]:
        """Calls on each link, by address."""
        return {address: tuple(len(link.calls) for link in links) for address, links in self._links.items()}


_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = weakref.WeakKeyDictionary()


def default_client() -> Client:
    """The client of the running loop, made when first asked for."""
    return _clients.setdefault(asyncio.get_running_loop(), Client())


class Connection:
    """A call that is about to be: `async with` gives a `Call`, `with` a `SyncCall`. One use."""

    def __init__(
        self, handle: SessionHandle, audio_in: AudioFormat, audio_out: AudioFormat, mode: Mode, client: Client | None
    ) -> None:
        self._handle, self._formats, self._mode, self._client = handle, (audio_in, audio_out), mode, client
        self._call: Call | None = None
        self._tasks = asyncio.TaskGroup()
        self._sync: SyncConnection | None = None

    async def __aenter__(self) -> Call:
        client = self._client or default_client()
        self._client = client
        call = Call(self._handle, client, *self._formats, self._mode)
        try:
            await call.attach()
        except BaseException:
            await client.tidy()
            raise
        await self._tasks.__aenter__()
        self._keeper = self._tasks.create_task(call.keep_attached(), name=f"call {self._handle.session_id}")
        self._call = call
        return call

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._call is not None  # `__aenter__` has set both
        assert self._client is not None
        try:
            await self._call.leave(in_peace=error is None)
        finally:
            self._keeper.cancel()
            await self._tasks.__aexit__(None, None, None)
            await self._client.tidy()
        return None

    def __enter__(self) -> SyncCall:
        from actors.client_sync import SyncConnection

        self._sync = SyncConnection(self)
        return self._sync.__enter__()

    def __exit__(self, *raised: Any) -> None:
        assert self._sync is not None  # `__enter__` has set it
        self._sync.__exit__(*raised)
