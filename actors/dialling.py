"""The router's link to a worker: what travels on it is `wire.AnyRouterOp` one way and `wire.AnyWorkerOp` the other."""

from __future__ import annotations

import msgspec

from actors.fleet import WorkerSink
from actors.link import AudioBatch, Link, connect
from actors.wire import AnyRouterOp, WorkerInfo, router_decoder
from actors.worker import ROUTER_STREAM
from router.errors import LinkError, LinkProtocolError

__all__ = ["dial"]

_DIAL_S = 3.0
_SILENCE_S = 5.0
"""Control only: a dead process is known by end of file in milliseconds, and a machine that stalls for seconds must
not cost the router its workers. What is bound to be slower says so (`WorkerInfo.silence_bound_s`)."""


async def dial(info: WorkerInfo, key: bytes, sink: WorkerSink) -> _RouterLink:
    """An open link to this worker. Raises LinkError."""
    handler = _Listener(info.actor, sink)
    silence_s = max(_SILENCE_S, 2 * info.silence_bound_s)
    link = await connect(info.address, handler, key=key, role="router", timeout_s=_DIAL_S, silence_bound_s=silence_s)
    return _RouterLink(link)


class _RouterLink:
    def __init__(self, link: Link) -> None:
        self._link = link

    def send(self, op: AnyRouterOp) -> None:
        if not self._link.closed:
            self._link.send(ROUTER_STREAM, op)

    async def close(self) -> None:
        await self._link.close("the router hangs up")


class _Listener:
    """`link.Handler` of the router's end."""

    def __init__(self, actor: str, sink: WorkerSink) -> None:
        self._actor, self._sink = actor, sink

    def on_control(self, link: Link, stream: int, body: memoryview) -> None:
        try:
            op = router_decoder.decode(body)
        except msgspec.DecodeError as error:
            raise LinkProtocolError(link.peer, f"from {self._actor}: {error}") from None
        self._sink.on_op(self._actor, op)

    def on_closed(self, link: Link, error: LinkError | None) -> None:
        self._sink.on_closed(self._actor, error.detail if error else "closed")

    def on_audio(self, link: Link, batch: AudioBatch) -> None:
        raise LinkProtocolError(link.peer, "a worker sends its router no audio")

    def on_bits(self, link: Link, streams: memoryview, poss: memoryview, bits: bytes) -> None:
        raise LinkProtocolError(link.peer, "a worker sends its router no verdicts")

    def on_credit(self, link: Link, streams: list[int], seqs: list[int]) -> None:
        raise LinkProtocolError(link.peer, "a worker sends its router no credit")
