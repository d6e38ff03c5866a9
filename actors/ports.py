"""A session's way to one stream of a provider, whatever carries it.

The session knows only `Port` and is told through `PortSink`. `LocalPort` joins it to a provider object in the same
process (tests, examples, inline placement); `link_port.LinkPort` to a provider actor over a link.

Order    events reach the sink in the order in which the provider emitted them; nothing arrives after `close`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import structs

from actors import wire
from actors.providers.interface import Assess, Fault, ProviderEvent, Ready, Refused, StreamSpec, ToolOutcome
from router.errors import LawError, ProviderError

if TYPE_CHECKING:
    from actors.tool_runner import ToolRunner

__all__ = ["LocalPort", "Port", "PortSink", "apply_op"]


class PortSink(Protocol):
    """Who hears what a stream says: one stage of one session."""

    def on_event(self, port: Port, event: ProviderEvent) -> None: ...

    def on_voiced(self, port: Port, pos: int, voiced: bool) -> None:
        """VAD only: the frame of 20 ms that ends at `pos` is voiced or not."""
        ...

    def on_accepted(self, port: Port) -> None:
        """Audio left the receiver's queue: credit came back."""
        ...


class Port(Protocol):
    """Send only; never waits, never raises for a stream that is gone (its `Fault` has been told or will be)."""

    provider: str
    epoch: int
    rate_hz: int

    def audio(self, pos: int, pcm: bytes | memoryview) -> None:
        """Samples from `pos` on, 16-bit mono at `rate_hz`."""
        ...

    def send(self, op: wire.StageOp) -> None: ...

    def close(self, *, drain: bool = False) -> None: ...

    @property
    def unaccepted(self) -> int:
        """Samples sent that have not left the receiver's queue."""
        ...


def apply_op(stream: Any, op: wire.StageOp) -> tuple[str, ...]:
    """Call the method of a stream that `op` stands for; the options that it refused, of an update.

    Raises LawError for an op that its stage has not.
    """
    method = _METHODS.get(type(op))
    if method is None:
        raise LawError("stream", type(stream).__name__, type(op).__name__)
    refused: object = method(stream, op)
    return tuple(refused) if isinstance(op, wire.UpdateStream) and isinstance(refused, (tuple, list)) else ()


_METHODS: Mapping[type, Any] = {
    wire.UpdateStream: lambda s, op: s.update(op.options),
    wire.SttSpeechStart: lambda s, op: s.speech_start(op.utt, op.pos),
    wire.SttSpeechEnd: lambda s, op: s.speech_end(op.utt, op.pos),
    wire.SttFinalize: lambda s, op: s.finalize(op.utt, op.pos),
    wire.SttPause: lambda s, op: s.pause(),
    wire.SttResume: lambda s, op: s.resume(),
    wire.TtsBegin: lambda s, op: s.begin(op.reply, op.options),
    wire.TtsText: lambda s, op: s.text(op.reply, op.text),
    wire.TtsFlush: lambda s, op: s.flush(op.reply),
    wire.TtsEnd: lambda s, op: s.end(op.reply),
    wire.TtsCancel: lambda s, op: s.cancel(op.reply),
    wire.AgentReply: lambda s, op: s.reply(op.turn, op.revision, op.history, op.tools, op.cause),
    wire.AgentToolResult: lambda s, op: s.tool_result(op.turn, op.id, op.result, op.ok),
    wire.AgentCancel: lambda s, op: s.cancel(op.turn),
    wire.S2sActivity: lambda s, op: s.activity_start(op.pos) if op.on else s.activity_end(op.pos),
    wire.S2sRespond: lambda s, op: s.respond(),
    wire.S2sCancel: lambda s, op: s.cancel(op.response),
    wire.S2sHeard: lambda s, op: s.heard(op.response, op.ms),
    wire.S2sToolResult: lambda s, op: s.tool_result(op.id, op.result, op.ok, op.answer),
    wire.S2sInject: lambda s, op: s.inject(op.role, op.text),
}

_OPEN_OPS_MAX = 512
"""Ops and audio kept while the provider opens: 2 s of audio at 20 ms is 100, and few ops come besides."""


class LocalPort:
    """A port to a provider object in this process.

    `tasks` is the parent of its tasks: opening the stream, closing it, and each call of a tool.
    Audio and ops given while the stream opens are kept, bounded; beyond the bound the oldest goes and is counted.
    """

    def __init__(
        self,
        name: str,
        provider: Any,
        stage: str,
        spec: StreamSpec,
        sink: PortSink,
        tasks: asyncio.TaskGroup,
        tools: ToolRunner | None = None,
    ) -> None:
        self.provider, self.epoch, self.rate_hz = name, spec.epoch, spec.rate_hz
        self.dropped = 0
        self._object, self._stage, self._spec, self._sink, self._tasks = provider, stage, spec, sink, tasks
        self._tools = tools
        self._stream: Any = None
        self.served, self.number = provider, spec.stream
        """The provider object, and this stream's number in it."""
        self._closed = False
        self._kept: list[tuple[int, bytes] | wire.StageOp] = []
        self._batch_stage = stage in ("vad", "turn")
        if self._batch_stage:
            provider.attach(spec)
            asyncio.get_running_loop().call_soon(self._emit, Ready())
        else:
            tasks.create_task(self._open())

    @property
    def unaccepted(self) -> int:
        return sum(len(k[1]) // 2 for k in self._kept if isinstance(k, tuple))

    def audio(self, pos: int, pcm: bytes | memoryview) -> None:
        if self._closed:
            return
        if self._stage == "vad":
            try:
                verdict = bool(self._object.classify((self.number,), (pcm,))[0])
            except Exception as error:
                self.fail(error)
            else:
                self._sink.on_voiced(self, pos + len(pcm) // 2, verdict)
        elif self._stream is None:
            self._keep((pos, bytes(pcm)))
        else:
            self._stream.audio(pos, bytes(pcm))

    def send(self, op: wire.StageOp) -> None:
        if self._closed:
            return
        if isinstance(op, wire.TurnAssess):
            for answer in self._assess(op.question):
                asyncio.get_running_loop().call_soon(self._emit, answer)
        elif isinstance(op, wire.ToolRun):
            self._tasks.create_task(self._run_tool(op))
        elif isinstance(op, wire.VadReset):
            self._object.reset(self._spec.stream)
        elif self._stream is None:
            self._keep(op)
        else:
            self._apply(op)

    def _assess(self, question: Assess) -> Sequence[ProviderEvent]:
        try:
            answers: Sequence[ProviderEvent] = self._object.assess((structs.replace(question, stream=self.number),))
        except Exception as error:
            self.fail(error)
            return ()
        return answers

    def close(self, *, drain: bool = False) -> None:
        if self._closed:
            return
        self._closed = not drain
        self._kept.clear()
        if self._batch_stage:
            self._closed = True
            self._object.detach(self._spec.stream)
        elif self._stream is not None:
            self._tasks.create_task(self._close(self._stream, drain))

    def fail(self, error: Exception) -> None:
        """The provider raised: its stream is of no more use, the session is. Its text stays here."""
        fault = Fault(kind="protocol", detail=f"{type(error).__name__} in the provider")
        asyncio.get_running_loop().call_soon(self._emit, fault)

    def _keep(self, thing: tuple[int, bytes] | wire.StageOp) -> None:
        if len(self._kept) >= _OPEN_OPS_MAX:
            self._kept.pop(0)
            self.dropped += 1
        self._kept.append(thing)

    def _emit(self, event: ProviderEvent) -> None:
        if not self._closed:
            self._sink.on_event(self, event)

    async def _open(self) -> None:
        try:
            stream = await self._object.open(self._spec, self._emit)
        except ProviderError as error:
            self._emit(Fault(kind=error.kind, detail=error.detail, retry_after_s=error.retry_after_s))
            return
        if self._closed:
            await stream.close(drain=False)
            return
        self._stream = stream
        kept, self._kept = self._kept, []
        for thing in kept:
            if isinstance(thing, tuple):
                stream.audio(*thing)
            else:
                self._apply(thing)
        self._emit(Ready())

    def _apply(self, op: wire.StageOp) -> None:
        refused = apply_op(self._stream, op)
        if refused:
            self._emit(Refused(options=refused))

    async def _run_tool(self, op: wire.ToolRun) -> None:
        if self._tools is None:
            self._emit(ToolOutcome(id=op.id, why="failed", result="no tools are run here"))
        else:
            self._emit(await self._tools.run(op))

    async def _close(self, stream: Any, drain: bool) -> None:
        await stream.close(drain=drain)
        self._closed = True
