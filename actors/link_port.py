"""A session's way to a stream of a provider actor: a Port over a link that all sessions of the host share.

    links = ProviderLinks(key, tasks)                      one per host
    port = links.open(lease, spec, sink, provider="ears")  returns at once; the link is dialled once per actor
    port.audio(pos, pcm); port.send(op); port.close()

Order    what the provider emitted reaches the sink in its order, audio (columns) and events alike.
Late     what comes for a stream that was closed, or a reply that was cancelled, is dropped and counted in `stale`.
Credit   `unaccepted` is what was sent and has not left the provider's queue: the session looks at it before it sends,
         and keeps the rest in its replay ring. Past `UNACCEPTED_MAX_S` the port drops the newest and counts it.
Lost     a link that breaks, or cannot be made in `CONNECT_S`, is a Fault(kind="connect") at every port of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np

from actors import wire
from actors.fence import Fence
from actors.link import connect
from actors.link_codec import AudioBatch
from actors.link_end import Link
from actors.logs import get_logger
from actors.ports import PortSink
from actors.providers.interface import Fault, ProviderEvent, StreamSpec, TtsAudio
from actors.stream_rows import StreamRows
from router.errors import FaultKind, LinkClosed, LinkError, LinkProtocolError

__all__ = ["CONNECT_S", "LinkPort", "ProviderLinks", "ProviderLinksStatistics", "VerdictTable"]

CONNECT_S = 2.0
"""A stage whose candidate is not ready by then takes the next (conversation model, section 5)."""
UNACCEPTED_MAX_S = 30.0
"""The length of the replay ring: nothing older could be sent again anyway."""
_KEPT_MAX = 512
"""Ops and audio kept while the link is dialled: 2 s of audio at 20 ms is 100, and few ops come besides."""
_ENDED = b""
"""Body of a control message that says: this stream has ended, nothing of it follows."""

log = get_logger("link_port")


class VerdictTable(Protocol):
    """Where verdicts of many sessions are taken at once: `lanes.Lanes`."""

    def judged(
        self, rows: StreamRows, streams: memoryview, poss: memoryview, bits: bytes
    ) -> np.ndarray[Any, Any] | None:
        """The indices of what is left for the ports, in order; None: nothing."""
        ...


class LinkPort:
    """One stream; made by `ProviderLinks.open`. Fulfils `ports.Port`."""

    __slots__ = (
        "_bound", "_closed", "_draining", "_fence", "_frame", "_kept", "_op", "_peer", "_sink", "accepted",
        "dropped", "epoch", "provider", "rate_hz", "sent", "stream",
    )  # fmt: skip

    def __init__(self, provider: str, peer: _Peer, stream: int, spec: StreamSpec, op: wire.OpenStream, sink: PortSink):
        self.provider, self.epoch, self.rate_hz = provider, spec.epoch, spec.rate_hz
        self.sent = self.accepted = 0
        """Samples sent, or kept, on this stream so far (a frame's number on the link), and those that left the
        receiver's queue."""
        self.dropped = 0
        """Frames not sent, because nothing was accepted for too long or the link took too long."""
        self._peer, self.stream, self._op, self._sink = peer, stream, op, sink
        self._bound = int(UNACCEPTED_MAX_S * spec.rate_hz)
        self._frame = spec.rate_hz // 50
        self._kept: deque[tuple[int, bytes] | wire.StageOp] = deque()
        self._fence = Fence()
        self._closed = self._draining = False

    def audio(self, pos: int, pcm: bytes | memoryview) -> None:
        if self._closed or self._draining:
            return
        link = self._peer.link
        if link is None:
            self._keep((pos, bytes(pcm)))
            return
        sent = self.sent + (len(pcm) >> 1)
        if sent - self.accepted > self._bound:
            self.dropped += 1
            return
        self.sent = sent
        link.send_audio(self.stream, self.epoch, sent & 0xFFFFFFFF, pos, pcm)

    @property
    def link(self) -> Link | None:
        """None while it is dialled, and for a stream that takes nothing more."""
        return None if self._closed or self._draining else self._peer.link

    @property
    def unaccepted(self) -> int:
        """Samples sent, or kept, that have not left the receiver's queue."""
        return self.sent - self.accepted

    def send(self, op: wire.StageOp) -> None:
        if self._closed:
            return
        self._fence.note(op)
        link = self._peer.link
        if link is None:
            self._keep(op)
            return
        try:
            link.send(self.stream, op)
        except LinkProtocolError as error:  # a history or a text longer than any bound: this stream's fault alone
            self._peer.soon(self, Fault(kind="protocol", detail=error.detail))

    def close(self, *, drain: bool = False) -> None:
        """`drain`: what was given is finished first, and its events still come."""
        if self._closed:
            return
        link = self._peer.link
        self._closed, self._draining = not drain, True
        self._kept.clear()
        self.accepted = self.sent
        if link is None or not drain:
            self._closed = True
            self._peer.ports.pop(self.stream, None)
        if link is not None and not link.closed:
            link.send(self.stream, wire.CloseStream(drain=drain))

    def stand(self, table: VerdictTable, row: int) -> bool:
        """Verdicts of this stream, and its `accepted`, are that row's from now on. False: the row cannot be named."""
        self._peer.table = table
        return self._peer.rows.put(self.stream, row)

    def step_down(self) -> None:
        self._peer.rows.drop(self.stream)

    # -- told by the peer

    def begin(self, link: Link) -> None:
        """The link is there: open the stream, then everything that was kept, in order."""
        link.send(self.stream, self._op)
        kept, self._kept = self._kept, deque()
        self.sent = self.accepted = 0
        for thing in kept:
            if isinstance(thing, tuple):
                self.audio(*thing)
            else:
                self.send(thing)

    def hear(self, event: ProviderEvent) -> bool:
        """False: it was stale."""
        if self._closed or self._fence.stale(event):
            return False
        self._sink.on_event(self, event)
        return True

    def voice(self, reply: int, pos: int, pcm: memoryview) -> bool:
        if self._closed or self._fence.stale_audio(reply):
            return False
        self._sink.on_event(self, TtsAudio(reply=reply, pos=pos, pcm=bytes(pcm)))
        return True

    def verdict(self, pos: int, voiced: int) -> None:
        """A verdict is its frame's credit too: it left the queue."""
        self.accepted += self._frame
        self._sink.on_voiced(self, pos, voiced != 0)

    def credit(self, seq: int) -> None:
        newly = (seq - self.accepted) & 0xFFFFFFFF
        if newly < 1 << 31:  # else it is older than one that came before
            self.accepted += newly
        self._sink.on_accepted(self)

    def fault(self, kind: FaultKind, detail: str) -> None:
        """The link is lost: told once, and nothing after it."""
        if not self._closed:
            self._sink.on_event(self, Fault(kind=kind, detail=detail))
            self._closed = True

    def _keep(self, thing: tuple[int, bytes] | wire.StageOp) -> None:
        """While the link is dialled: the oldest audio goes first when the bound is reached; ops are few and stay."""
        if isinstance(thing, tuple):
            self.sent += len(thing[1]) >> 1
        self._kept.append(thing)
        if len(self._kept) > _KEPT_MAX:
            at = next((i for i, kept in enumerate(self._kept) if isinstance(kept, tuple)), 0)
            gone = self._kept[at]
            del self._kept[at]
            self.dropped += 1
            if isinstance(gone, tuple):
                self.accepted += len(gone[1]) >> 1


class _Peer:
    """One provider actor, seen from this host: its link and the ports on it. Fulfils `link.Handler`."""

    def __init__(self, address: str, on_lost: Callable[[_Peer], None]) -> None:
        self.address = address
        self.link: Link | None = None
        self.ports: dict[int, LinkPort] = {}
        self.rows = StreamRows()
        """Of streams whose sessions stand on the host's table."""
        self.table: VerdictTable | None = None
        self.stale = self.failed = 0
        self.lost = False
        self._next_stream = 1
        self._on_lost = on_lost

    def number(self) -> int:
        """Unique for the life of the link."""
        self._next_stream += 1
        return self._next_stream - 1

    def soon(self, port: LinkPort, event: ProviderEvent) -> None:
        """A sink is never called from within its own call of the port."""
        asyncio.get_running_loop().call_soon(lambda: port.hear(event))

    def lose(self, detail: str) -> None:
        if self.lost:
            return
        self.lost = True
        self._on_lost(self)
        ports, self.ports = list(self.ports.values()), {}
        if ports:
            log.warning(
                "provider.link_lost",
                provider=ports[0].provider,
                address=self.address,
                detail=detail,
                streams=len(ports),
            )
        for port in ports:
            try:
                port.fault("connect", f"{self.address}: {detail}")
            except Exception as error:
                self._sink_failed(port, error)

    def on_audio(self, link: Link, batch: AudioBatch) -> None:
        ports, payload, offsets = self.ports, batch.payload, batch.offsets
        for i, stream in enumerate(batch.streams):
            port = ports.get(stream)
            try:
                if port is None or not port.voice(batch.gens[i], batch.poss[i], payload[offsets[i] : offsets[i + 1]]):
                    self.stale += 1
            except Exception as error:
                self._sink_failed(port, error)

    def on_bits(self, link: Link, streams: memoryview, poss: memoryview, bits: bytes) -> None:
        """Sessions on the table are moved all at once, the others one by one."""
        left: Iterable[int] = range(len(streams))
        if self.table is not None and self.rows.used:
            found = self.table.judged(self.rows, streams, poss, bits)
            if found is None:
                return
            left = found.tolist()
        ports = self.ports
        for i in left:
            port = ports.get(streams[i])
            if port is None:
                self.stale += 1
                continue
            try:
                port.verdict(poss[i], bits[i])
            except Exception as error:
                self._sink_failed(port, error)

    def on_credit(self, link: Link, streams: list[int], seqs: list[int]) -> None:
        ports = self.ports
        for stream, seq in zip(streams, seqs, strict=True):
            port = ports.get(stream)
            if port is None:
                self.stale += 1
                continue
            try:
                port.credit(seq)
            except Exception as error:
                self._sink_failed(port, error)

    def on_control(self, link: Link, stream: int, body: memoryview) -> None:
        if body == _ENDED:
            self.ports.pop(stream, None)
            return
        try:
            event = wire.host_decoder_for_provider.decode(body)
        except msgspec.DecodeError as error:
            raise LinkProtocolError(link.peer, f"from a provider: {error}") from None
        port = self.ports.get(stream)
        try:
            if port is None or not port.hear(event):
                self.stale += 1
        except Exception as error:
            self._sink_failed(port, error)

    def on_closed(self, link: Link, error: LinkError | None) -> None:
        self.lose(error.detail if error is not None else "closed here")

    def _sink_failed(self, port: LinkPort | None, error: Exception) -> None:
        """A session that fails ends alone: its port is closed, the others of the batch go on."""
        self.failed += 1
        log.error("sink.failed", provider=port.provider if port else "?", error=type(error).__name__, detail=str(error))
        if port is not None:
            port.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLinksStatistics:
    links: int
    ports: int
    stale: int
    """Late frames and events dropped: for closed streams and cancelled replies."""
    sink_failures: int
    lost: int
    """Links that broke or could not be made."""


class ProviderLinks:
    """Links of one host to provider actors, dialled once each and shared. `tasks` is the parent of the dialling."""

    def __init__(self, key: bytes, tasks: asyncio.TaskGroup, *, connect_s: float = CONNECT_S) -> None:
        self._key, self._tasks, self._connect_s = key, tasks, connect_s
        self._peers: dict[tuple[str, str], _Peer] = {}
        self._past_stale = self._past_failed = self._lost = 0
        self._closed = False

    def open(
        self, lease: wire.Lease, spec: StreamSpec, sink: PortSink, *, provider: str, ack_ms: int = 100
    ) -> LinkPort:
        """A port to a stream of the leased actor. `spec.stream` is not used: the link numbers its streams.

        Never raises: what goes wrong is a Fault at the sink.
        """
        peer = self._peers.get((lease.address, lease.actor))
        if peer is None:
            peer = _Peer(lease.address, self._gone)
            if not self._closed:
                self._peers[lease.address, lease.actor] = peer
            self._tasks.create_task(self._dial(peer, lease))
        op = wire.OpenStream(
            epoch=spec.epoch, lease_id=lease.lease_id, session_id=spec.session_id, tenant_id=spec.tenant_id,
            rate_hz=spec.rate_hz, pos=spec.pos, options=dict(spec.options), resume=spec.resume, tools=spec.tools,
            trace=spec.trace, ack_ms=ack_ms,
        )  # fmt: skip
        stream = peer.number()
        port = LinkPort(provider, peer, stream, spec, op, sink)
        peer.ports[stream] = port
        if peer.link is not None:
            port.begin(peer.link)
        return port

    def statistics(self) -> ProviderLinksStatistics:
        peers = self._peers.values()
        return ProviderLinksStatistics(
            links=sum(p.link is not None for p in peers),
            ports=sum(len(p.ports) for p in peers),
            stale=self._past_stale + sum(p.stale for p in peers),
            sink_failures=self._past_failed + sum(p.failed for p in peers),
            lost=self._lost,
        )

    async def close(self) -> None:
        """Close every link; bounded."""
        self._closed = True
        links = [peer.link for peer in self._peers.values() if peer.link is not None]
        await asyncio.gather(*(link.close("the host ends") for link in links))

    async def _dial(self, peer: _Peer, lease: wire.Lease) -> None:
        try:
            if self._closed:
                raise LinkClosed(lease.address, "the host ends")
            link = await connect(
                lease.address, peer, key=self._key, role="host", timeout_s=self._connect_s,
                silence_bound_s=lease.silence_bound_s,
            )  # fmt: skip
        except LinkError as error:
            peer.lose(error.detail)
            return
        if link.closed:
            return  # `on_closed` has told the ports
        peer.link = link
        for port in list(peer.ports.values()):
            port.begin(link)

    def _gone(self, peer: _Peer) -> None:
        self._lost += 1
        self._past_stale += peer.stale
        self._past_failed += peer.failed
        for key, known in list(self._peers.items()):
            if known is peer:
                del self._peers[key]
