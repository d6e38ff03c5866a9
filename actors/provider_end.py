"""The end of one session host's link inside a provider actor: whole batches in, one plain loop over their rows.

Streams are known by their number on this link and their epoch; a frame of any other is late, dropped and counted.

Used by  provider_host.py, one for each link of role `host`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actors import wire
from actors.link_codec import AudioBatch
from actors.link_end import Link
from actors.provider_stream import HostedStream
from router.errors import LinkError, LinkProtocolError

if TYPE_CHECKING:
    from actors.provider_host import ProviderHost

__all__ = ["HostEnd"]


class HostEnd:
    """Fulfils `link.Handler`."""

    def __init__(self, host: ProviderHost) -> None:
        self.host = host
        self.streams: dict[int, HostedStream] = {}
        self.keys: dict[int, int] = {}
        """Of a stream's number and epoch, (number << 32) + epoch, its key in the actor: one look for a frame."""

    def on_audio(self, link: Link, batch: AudioBatch) -> None:
        host, streams = self.host, self.streams
        host.frames += len(batch)
        if host.stage == "vad":
            host.classify(link, batch, self.keys)
            return
        find = streams.get
        for number, gen, seq, pos, pcm in zip(
            batch.streams, batch.gens, batch.seqs, batch.poss, batch.pcm(), strict=True
        ):
            stream = find(number)
            if stream is None or stream.epoch != gen:
                host.stale += 1
                continue
            try:
                provided = stream.provided
                if provided is None:
                    stream.audio(seq, pos, pcm)
                    continue
                provided.audio(pos, pcm)  # as `stream.audio` does, without the call
                if (seq - stream.accepted) & 0xFFFFFFFF >= stream.ack_samples:
                    stream.accept(seq)
            except Exception as error:
                host.fail(stream, error)

    def on_control(self, link: Link, number: int, body: memoryview) -> None:
        try:
            op = wire.provider_decoder.decode(body)
        except msgspec.DecodeError as error:
            raise LinkProtocolError(link.peer, f"from a host: {error}") from None
        host = self.host
        stream = self.streams.get(number)
        if isinstance(op, wire.OpenStream):
            if stream is not None:
                raise LinkProtocolError(link.peer, f"stream {number} was opened twice")
            host.joined(link, self)
            opened = host.open_stream(link, number, op)
            if opened is not None:
                self.streams[number] = opened
                self.keys[(number << 32) + opened.epoch] = opened.key
        elif stream is None:
            host.stale += 1
        elif isinstance(op, wire.CloseStream):
            host.close_stream(stream, drain=op.drain)
        else:
            try:
                self._apply(stream, op)
            except Exception as error:
                host.fail(stream, error)

    def forget(self, stream: HostedStream) -> None:
        self.streams.pop(stream.number, None)
        self.keys.pop((stream.number << 32) + stream.epoch, None)

    def _apply(self, stream: HostedStream, op: wire.StageOp) -> None:
        host = self.host
        if isinstance(op, wire.TurnAssess) and host.stage == "turn":
            host.ask(stream, op.question)
        elif isinstance(op, wire.ToolRun) and host.stage in ("agent", "s2s"):
            host.run_tool(stream, op)
        elif isinstance(op, wire.VadReset) and host.stage == "vad":
            host.provider.reset(stream.key)
        else:
            stream.op(op)

    def on_closed(self, link: Link, error: LinkError | None) -> None:
        """The session host is gone, or its link: its streams end, and what they held comes back."""
        for stream in list(self.streams.values()):
            self.host.close_stream(stream, drain=False)
        self.host.left(link)

    def on_bits(self, link: Link, streams: memoryview, poss: memoryview, bits: bytes) -> None:
        raise LinkProtocolError(link.peer, "a host sends no verdicts")

    def on_credit(self, link: Link, streams: list[int], seqs: list[int]) -> None:
        raise LinkProtocolError(link.peer, "a host sends no credit")
