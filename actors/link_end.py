"""One end of a link: what is sent in a turn of the loop leaves as one write, what comes is handed on in batches.

    link.send_audio(stream, gen, seq, pos, pcm); link.send(stream, op); link.send_credit(stream, seq)   never wait
    await link.close("done")

Bounds   a message `max_bytes` (told by the receiver in the opening); what the transport buffers `WRITE_HIGH_BYTES`;
         behind that a Backlog: audio is dropped oldest-first and counted per stream, control is never dropped: the
         link closes with LinkClosed("the peer does not read") when its bound is reached.
Silence  each end says how often it wants to hear something, and closes when the peer was silent for longer than
         `silence_bound_s`, or than is usual lately (`suspicion.py`).
Errors   the handler's `on_closed(link, error)` is told, once; None: closed by us.
Used by  `link.connect` and `link.serve`, which make them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import msgspec
import numpy as np

from actors import link_codec as codec
from actors.link_auth import MAX_HANDSHAKE_BYTES, Acceptor, Dialer, Role, refusal
from actors.link_backlog import Backlog
from actors.link_codec import AudioBatch
from actors.logs import get_logger
from actors.suspicion import BEATS, Suspicion
from router.errors import LinkClosed, LinkError, LinkProtocolError

__all__ = ["Handler", "Limits", "Link", "LinkStatistics"]

log = get_logger("link")

HANDSHAKE_S = 5.0
"""An unauthenticated socket lives no longer."""
CALLER_ADMIT_S = 5.0
"""A caller's link without one attached session lives no longer."""
WRITE_HIGH_BYTES = 256 * 1024
"""What the transport may hold before the backlog begins: 4 ms of 1,000 sessions' audio, or 8 s of one's."""
FLUSH_BYTES = 128 * 1024
"""A batch is written before the turn ends when it grows so long."""
CLOSE_S = 1.0
"""How long `close` waits for what was sent last to leave."""
CREDIT_WAIT_S = 0.05
"""What credit of a stream that has plenty may wait for company: a write and a read of its own cost as much as ten
frames."""
MISSED_BEATS = BEATS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one link, each end its own."""

    max_bytes: int = 4 << 20
    """Longest message taken from a host or router: an agent's history is the longest body."""
    caller_max_bytes: int = 256 * 1024
    """Longest message taken from a caller: 100 sessions' second of audio is cut by the sender before that."""
    caller_streams: int = 2_000
    """Sessions that one caller's link may carry: a gateway's thousand and room to come back."""
    backlog_audio_bytes: int = 4 << 20
    """Audio that waits while the peer does not read: 2 s of 64 sessions."""
    backlog_control_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatistics:
    """Counts since the link opened."""

    sent_bytes: int
    received_bytes: int
    sent_writes: int
    received_messages: int
    received_frames: int
    dropped_frames: int
    """Audio let go because the peer did not read."""
    dropped_bytes: int
    backlog_bytes: int
    backlog_peak_bytes: int
    silence_ms_max: float
    """Longest time without a byte from the peer, in ticks of the timer."""


class Handler(Protocol):
    """Who hears what comes over a link. Plain functions, called on the loop; what they raise ends the link."""

    def on_audio(self, link: Link, batch: AudioBatch) -> None: ...
    def on_bits(self, link: Link, streams: memoryview, poss: memoryview, bits: bytes) -> None: ...
    def on_credit(self, link: Link, streams: list[int], seqs: list[int]) -> None: ...
    def on_control(self, link: Link, stream: int, body: memoryview) -> None: ...
    def on_closed(self, link: Link, error: LinkError | None) -> None:
        """Once, and nothing after it."""
        ...


class Link(asyncio.Protocol):
    """One end. Made by `connect` and `serve`; all methods are called on its loop."""

    def __init__(
        self,
        opening: Dialer | Acceptor,
        make_handler: Callable[[Link], Handler],
        *,
        max_bytes: dict[Role, int],
        silence_bound_s: float,
        limits: Limits,
        on_end: Callable[[Link, LinkError | None], None] | None = None,
    ) -> None:
        self.role: Role = "caller"
        """What the end that dialled is; proved unless it is `caller`."""
        self.peer = "?"
        self.opened = False
        self.closed = False
        self.error: LinkError | None = None
        self._opening, self._make_handler, self._max_bytes = opening, make_handler, max_bytes
        self._silence_bound_s, self._limits, self._on_end = silence_bound_s, limits, on_end
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._handler: Handler | None = None
        self._splitter = codec.Splitter(MAX_HANDSHAKE_BYTES)
        self._batch = codec.Batch()
        self._backlog = Backlog(
            audio_bytes_max=limits.backlog_audio_bytes, control_bytes_max=limits.backlog_control_bytes
        )
        self._encode = msgspec.msgpack.Encoder().encode
        self._paused = self._flush_due = self._owes = False
        self._flush_bytes = FLUSH_BYTES
        self._peer_max_bytes = MAX_HANDSHAKE_BYTES
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._tick_s, self._wrote = 0.1, False
        self._suspicion = Suspicion(silence_bound_s, self._tick_s, self._loop.time())
        self._admitted: set[int] = set()
        self._admit_due_s: float | None = None
        self._sent_bytes = self._received_bytes = self._writes = self._messages = self._frames = 0

    # ---------------------------------------------------------------------------------------------- sending

    def send_audio(self, stream: int, gen: int, seq: int, pos: int, pcm: bytes | memoryview) -> None:
        """A frame: all numbers below 2**32. `pcm` must not change before the turn of the loop ends."""
        if self._paused:
            self._backlog.audio(stream, gen, seq, pos, pcm)
            return
        batch = self._batch
        batch.audio(stream, gen, seq, pos, pcm)
        if not self._flush_due:
            self._flush_soon()
        if batch.bytes > self._flush_bytes:
            self._flush()

    def send_audio_block(self, columns: np.ndarray[Any, Any], pcm: bytes | memoryview) -> None:
        """Many frames at once: uint32 of shape (5, frames), streams, gens, seqs, poss and lengths, and their PCM.

        At most `block_bytes`, the columns (`link_codec.ROW_BYTES` a frame) included.
        """
        if self._paused:
            at = 0
            for stream, gen, seq, pos, n in columns.T.tolist():
                self._backlog.audio(stream, gen, seq, pos, bytes(pcm[at : at + n]))  # a view would keep it all
                at += n
            return
        self._batch.block(columns, pcm)
        if not self._flush_due:
            self._flush_soon()
        if self._batch.bytes > self._flush_bytes:
            self._flush()

    @property
    def block_bytes(self) -> int:
        """Rows and PCM of the longest block that the peer takes."""
        return self._peer_max_bytes - codec.HEADER_BYTES

    def flush(self) -> None:
        """What was sent so far leaves now and not with the end of the turn: worth a write where much work follows."""
        if not self._paused:
            self._flush()

    def send_bits(
        self, streams: codec.Numbers, poss: codec.Numbers, bits: Sequence[int] | Sequence[bool] | bytes
    ) -> None:
        """Verdicts of a VAD, row by row: the frame of stream i that ends at poss[i] is voiced or not."""
        if self._paused:
            self._bound(self._backlog.bits(streams, poss, bits))
            return
        self._batch.bits(streams, poss, bits)
        self._flush_soon()

    def send_credit(self, stream: int, seq: int) -> None:
        """Audio of `stream` up to `seq` left the queue here. Leaves after everything else of this turn."""
        (self._backlog if self._paused else self._batch).credit(stream, seq)
        self._flush_soon()

    def owe_credits(self, streams: Sequence[int], seqs: Sequence[int]) -> None:
        """As `send_credit`, of streams that have plenty: leaves with whatever leaves next, or `CREDIT_WAIT_S` later."""
        if self._paused:
            for stream, seq in zip(streams, seqs, strict=True):
                self._backlog.credit(stream, seq)
        elif not self.closed:
            self._batch.credits(streams, seqs)
            if not self._owes and not self._flush_due:
                self._owes = True
                self._loop.call_later(CREDIT_WAIT_S, self._pay)

    def send(self, stream: int, body: msgspec.Struct) -> None:
        """An event or operation. Raises LinkProtocolError if it is longer than the peer takes."""
        self.send_encoded(stream, self._encode(body))

    def send_encoded(self, stream: int, body: bytes) -> None:
        """As `send`, of msgpack made elsewhere; the empty body says that the stream has ended."""
        if len(body) + 64 > self._peer_max_bytes:
            raise LinkProtocolError(self.peer, f"body of {len(body)} bytes; the peer takes {self._peer_max_bytes}")
        if self._paused:
            self._bound(self._backlog.control(stream, body))
            return
        self._batch.control(stream, body)
        self._flush_soon()
        if self._batch.bytes > self._flush_bytes:
            self._flush()

    def take_dropped(self) -> dict[int, tuple[int, int]]:
        """Per stream: (frames, bytes) of audio dropped here since the last call."""
        return self._backlog.take_dropped()

    def admit(self, stream: int) -> bool:
        """A caller's session was attached on `stream`. False: the link carries as many as it may."""
        if stream not in self._admitted and len(self._admitted) >= self._limits.caller_streams:
            return False
        self._admitted.add(stream)
        self._admit_due_s = None
        return True

    def release(self, stream: int) -> None:
        """The session on `stream` has ended."""
        self._admitted.discard(stream)

    def statistics(self) -> LinkStatistics:
        backlog = self._backlog
        return LinkStatistics(
            sent_bytes=self._sent_bytes, received_bytes=self._received_bytes, sent_writes=self._writes,
            received_messages=self._messages, received_frames=self._frames, dropped_frames=backlog.dropped_frames,
            dropped_bytes=backlog.dropped_bytes, backlog_bytes=backlog.audio_bytes + backlog.control_bytes,
            backlog_peak_bytes=backlog.peak_bytes, silence_ms_max=self._suspicion.missed_max * self._tick_s * 1e3,
        )  # fmt: skip

    async def close(self, reason: str = "closed") -> None:
        """Send what is due and the reason, then end; waits at most `CLOSE_S`. Idempotent."""
        if self._transport is not None and not self._transport.is_closing():
            self._flush()
            self._write(codec.message(codec.CLOSE, reason.encode()[:200]))
            self._end(None)
        if self._transport is not None:
            done, _ = await asyncio.wait([self._gone], timeout=CLOSE_S)
            if not done:
                self._transport.abort()

    def fail(self, error: LinkError) -> None:
        """End at once because of `error`; the peer is told that it ended, not why."""
        self._end(error)

    # ------------------------------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = self._transport.get_extra_info("peername")
        self.peer = self._splitter.peer = f"{name[0]}:{name[1]}" if name else "?"
        self._timer = self._loop.call_later(HANDSHAKE_S, self._handshake_late)
        if isinstance(self._opening, Dialer):
            self._write(codec.message(codec.HANDSHAKE, self._opening.hello()))

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        self._suspicion.heard()
        self._received_bytes += len(data)
        try:
            for kind, count, view in self._splitter.feed(data):
                self._messages += 1
                self._on_message(kind, count, view)
                if self.closed:
                    return
        except LinkError as error:
            self._end(error)
        except Exception:
            log.exception("link.handler_failed", peer=self.peer, role=self.role)
            self._end(LinkError(self.peer, "the handler of this link failed"))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._refill()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None)
        self._end(LinkClosed(self.peer, f"connection lost: {exc or 'end of file'}"))

    # ------------------------------------------------------------------------------------------- receiving

    def _on_message(self, kind: int, count: int, view: memoryview) -> None:
        handler = self._handler
        if handler is None:
            self._on_opening(kind, view)
        elif kind == codec.AUDIO:
            batch = codec.decode_audio(view, count, self.peer)
            self._frames += count
            handler.on_audio(self, batch)
        elif kind == codec.BITS:
            handler.on_bits(self, *codec.decode_bits(view, count, self.peer))
        elif kind == codec.CREDIT:
            handler.on_credit(self, *codec.decode_credit(view, count, self.peer))
        elif kind == codec.CONTROL:
            for stream, body in codec.decode_control(view, count, self.peer):
                handler.on_control(self, stream, body)
                if self.closed:
                    return
        elif kind == codec.CLOSE:
            self._end(LinkClosed(self.peer, f"closed by the peer: {bytes(view[:200]).decode(errors='replace')}"))
        elif kind != codec.BEAT:
            raise LinkProtocolError(self.peer, "a message of the opening after it")

    def _on_opening(self, kind: int, view: memoryview) -> None:
        if kind != codec.HANDSHAKE:
            raise LinkProtocolError(self.peer, "the opening was expected")
        opening = self._opening
        answer = opening.take(view)
        if opening.done:
            self._open(opening)
        if answer is not None:
            self._write(codec.message(codec.HANDSHAKE, answer))
        if opening.done:
            self._handler = self._make_handler(self)
            if not self.ready.done():
                self.ready.set_result(None)

    def _open(self, opening: Dialer | Acceptor) -> None:
        """The keys are proved: from here on the link's own bounds and its timer hold."""
        if isinstance(opening, Acceptor):
            self.role = opening.role
            if self.role == "caller":
                self._admit_due_s = self._loop.time() + CALLER_ADMIT_S
        self._peer_max_bytes = opening.peer_max_bytes
        listening = isinstance(opening, Acceptor)
        self._splitter.max_bytes = self._max_bytes[self.role if listening else "host"]
        self._flush_bytes = min(FLUSH_BYTES, self._peer_max_bytes // 2)
        self._tick_s = min(self._silence_bound_s / MISSED_BEATS, opening.peer_wants_beat_s)
        self.opened = True
        if self._timer is not None:
            self._timer.cancel()
        self._suspicion = Suspicion(self._silence_bound_s, self._tick_s, self._loop.time())
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    # ---------------------------------------------------------------------------------------------- writing

    def _flush_soon(self) -> None:
        if self.closed:
            self._batch = codec.Batch()  # nobody will read it, and nobody needs to ask before sending
        elif not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _pay(self) -> None:
        self._owes = False
        if not self._paused:
            self._flush()

    def _flush(self) -> None:
        self._flush_due = False
        if self._batch and not self.closed:
            self._write(self._batch.take())

    def _write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._wrote = True
        self._writes += 1
        self._sent_bytes += len(data)
        self._transport.write(data)

    def _refill(self) -> None:
        """The peer reads again: what waited goes first, piece by piece, until it stops again."""
        self._flush()
        while self._backlog and not self._paused and not self.closed:
            self._backlog.drain(self._batch, self._flush_bytes)
            self._write(self._batch.take())

    def _bound(self, kept: bool) -> None:
        if not kept:
            self._end(LinkClosed(self.peer, "the peer does not read: the bound of what waits for it is reached"))

    # ------------------------------------------------------------------------------------------ time and end

    def _tick(self) -> None:
        """One timer per link: beat if nothing was written since the last, count what the peer missed."""
        if self.closed:
            return
        silent_s = self._suspicion.tick(self._loop.time())
        if silent_s is not None:
            self._end(LinkClosed(self.peer, f"silent for {silent_s:.1f} s"))
            return
        if self._admit_due_s is not None and self._loop.time() > self._admit_due_s:
            self._end(LinkClosed(self.peer, f"no session attached in {CALLER_ADMIT_S:g} s"))
            return
        if not self._wrote and not self._paused:
            self._write(codec.message(codec.BEAT))
        self._wrote = False
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    def _handshake_late(self) -> None:
        self._end(LinkClosed(self.peer, f"no opening in {HANDSHAKE_S:g} s"))

    def _end(self, error: LinkError | None) -> None:
        if self.closed:
            return
        self.closed, self.error = True, error
        if self._timer is not None:
            self._timer.cancel()
        transport = self._transport
        if transport is not None and not transport.is_closing():
            if not self.opened and error is not None:
                transport.write(codec.message(codec.HANDSHAKE, refusal(error)))
            if error is not None and self.opened:
                transport.abort()  # what it buffers for a peer that is silent would never leave
            else:
                transport.close()
        if not self.ready.done():
            self.ready.set_exception(error or LinkClosed(self.peer, "closed before it opened"))
            self.ready.exception()  # the acceptor has nobody who waits for it
        if self._on_end is not None:
            self._on_end(self, error)
        if self._handler is not None:
            self._handler.on_closed(self, error)
