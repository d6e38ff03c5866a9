"""One session's stream inside a provider actor: what comes over the link goes to the provider, its events go back.

Audio and ops that come while the provider opens are kept, bounded; past the bound the oldest audio goes and is
counted. Credit is given when audio was handed to the provider, once it has grown by `ack_ms` (0: each frame), and
leaves the link after every event of the same turn. Events of what was cancelled are dropped and counted.

Used by  provider_host.py, which owns all streams of its actor.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from actors import wire
from actors.fence import Fence
from actors.link_end import Link
from actors.ports import apply_op
from actors.providers.interface import Fault, ProviderEvent, Refused, StreamSpec, TtsAudio
from router.errors import LinkProtocolError

__all__ = ["HostedStream"]

_KEPT_BYTES_MAX = 512 * 1024
"""Audio kept while the provider opens: 5 s at 48 kHz, longer than a session waits for it."""
_KEPT_OPS_MAX = 256
_PLENTY_MS = 200
"""Whose credit is told as seldom as this has plenty, and waits for company."""
_PIECE_BYTES = 64 * 1024
"""A provider may emit a whole reply at once; it travels in pieces, so that other streams get their turn."""


class HostedStream:
    """`number` is the stream's on its link, `key` its number within the actor (two links may use one number)."""

    __slots__ = (
        "_fence", "_has_plenty", "_kept", "_kept_bytes", "_out_seq", "accepted", "ack_samples", "closed", "dropped",
        "epoch", "key", "lease_id", "link", "number", "provided", "session_id", "stale",
    )  # fmt: skip

    def __init__(self, link: Link, number: int, key: int, op: wire.OpenStream) -> None:
        self.link, self.number, self.key = link, number, key
        self.epoch, self.lease_id, self.session_id = op.epoch, op.lease_id, op.session_id
        self.provided: Any = None
        """The provider's own stream, once it is open; never for VAD and turn detection."""
        self.closed = False
        self.stale = 0
        self.dropped = 0
        self._fence = Fence()
        self._kept: deque[tuple[int, int, bytes] | wire.StageOp] = deque()
        self._kept_bytes = 0
        self.ack_samples = op.ack_ms * op.rate_hz // 1000
        """So much of it is accepted together; 0: each frame."""
        self._has_plenty = op.ack_ms >= _PLENTY_MS
        self.accepted = self._out_seq = 0

    def spec(self, op: wire.OpenStream) -> StreamSpec:
        return StreamSpec(
            stream=self.key, epoch=op.epoch, session_id=op.session_id, tenant_id=op.tenant_id, rate_hz=op.rate_hz,
            pos=op.pos, options=op.options, resume=op.resume, tools=op.tools, trace=op.trace,
        )  # fmt: skip

    def emit(self, event: ProviderEvent) -> None:
        """The provider says something; given to it at `open`."""
        if self.closed or self._fence.stale(event):
            self.stale += 1
        elif isinstance(event, TtsAudio):
            for at in range(0, len(event.pcm), _PIECE_BYTES):
                self._out_seq += 1
                piece = event.pcm[at : at + _PIECE_BYTES]
                self.link.send_audio(self.number, event.reply, self._out_seq, event.pos + at // 2, piece)
        else:
            try:
                self.link.send(self.number, event)
            except LinkProtocolError as error:  # an event longer than any bound: the provider is not to blame for ours
                self.fault(Fault(kind="protocol", detail=f"{type(event).__name__}: {error.detail}"))

    def fault(self, fault: Fault) -> None:
        """Past the fence: the stream is over."""
        if not self.closed:
            self.link.send(self.number, fault)

    def audio(self, seq: int, pos: int, pcm: bytes) -> None:
        """A frame. Raises whatever the provider raises."""
        if self.provided is None:
            self._keep(seq, pos, pcm)
            return
        self.provided.audio(pos, pcm)
        if (seq - self.accepted) & 0xFFFFFFFF >= self.ack_samples:
            self.accept(seq)

    def accept(self, seq: int) -> None:
        """Everything up to the frame of this number has left the queue here: its credit goes back."""
        self.accepted = seq
        if self._has_plenty:
            self.link.owe_credits((self.number,), (seq,))
        else:
            self.link.send_credit(self.number, seq)

    def op(self, op: wire.StageOp) -> None:
        """An operation. Raises LawError for one that the stage has not, and whatever the provider raises."""
        self._fence.note(op)
        if self.provided is not None:
            self._apply(op)
        elif len(self._kept) < _KEPT_OPS_MAX or any(isinstance(k, tuple) for k in self._kept):
            self._kept.append(op)
            self._trim()
        else:
            raise OverflowError(f"{_KEPT_OPS_MAX} operations came before the stream was open")

    def opened(self, provided: Any) -> None:
        """The provider's stream is there: everything kept goes to it, in order."""
        self.provided = provided
        kept, self._kept, self._kept_bytes = self._kept, deque(), 0
        for thing in kept:
            if isinstance(thing, tuple):
                self.audio(*thing)
            else:
                self._apply(thing)

    def _apply(self, op: wire.StageOp) -> None:
        refused = apply_op(self.provided, op)
        if refused:
            self.emit(Refused(options=refused))

    def _keep(self, seq: int, pos: int, pcm: bytes) -> None:
        self._kept.append((seq, pos, pcm))
        self._kept_bytes += len(pcm)
        self._trim()

    def _trim(self) -> None:
        while self._kept_bytes > _KEPT_BYTES_MAX or len(self._kept) > 2 * _KEPT_OPS_MAX:
            at = next(i for i, thing in enumerate(self._kept) if isinstance(thing, tuple))
            gone = self._kept[at]
            del self._kept[at]
            assert isinstance(gone, tuple)
            self._kept_bytes -= len(gone[2])
            self.dropped += 1
