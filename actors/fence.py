"""What was cancelled stays cancelled: late events of it are recognised by their number.

Late frames after a barge-in arrive every time: the vendor had sent them before it was told. Both ends of a link keep
a fence, the provider's so that they do not travel, the session's for those already on the way.

    Fence.note(op)       an operation that cancels, or asks again
    Fence.stale(event)   True: it belongs to what was cancelled, or to an older revision

`Cancelled` and `ResponseDone` pass: they are the answers to a cancel. Pure; remembers the last `_KEPT` numbers.
"""

from __future__ import annotations

from actors import wire
from actors.providers.interface import (
    Action,
    AgentDone,
    Align,
    Done,
    Flushed,
    OutputText,
    ProviderEvent,
    TextDelta,
    ToolCall,
    TtsAudio,
)

__all__ = ["Fence"]

_KEPT = 64
"""A stream has a handful of replies under way at once; older numbers never come again."""
_REPLY: dict[type, str] = {
    TtsAudio: "reply", Align: "reply", Flushed: "reply", Done: "reply", OutputText: "response",
    TextDelta: "turn", AgentDone: "turn", ToolCall: "turn", Action: "turn",
}  # fmt: skip


class Fence:
    """Numbers of one stream: replies of a voice, responses of a speech-to-speech model, or turns of an agent."""

    __slots__ = ("_cancelled", "_revision")

    def __init__(self) -> None:
        self._cancelled: dict[int, None] = {}
        self._revision: dict[int, int] = {}

    def note(self, op: wire.StageOp) -> None:
        if isinstance(op, wire.TtsCancel):
            self._cancel(op.reply)
        elif isinstance(op, wire.S2sCancel):
            self._cancel(op.response)
        elif isinstance(op, wire.AgentCancel):
            self._cancel(op.turn)
        elif isinstance(op, wire.AgentReply):
            self._cancelled.pop(op.turn, None)  # the turn grew and is asked again
            self._revision[op.turn] = op.revision
            if len(self._revision) > _KEPT:
                del self._revision[next(iter(self._revision))]

    def stale_audio(self, reply: int) -> bool:
        return reply in self._cancelled

    def stale(self, event: ProviderEvent) -> bool:
        name = _REPLY.get(type(event))
        if name is None:
            return False
        number: int = getattr(event, name)
        if number in self._cancelled:
            return True
        if isinstance(event, TextDelta | AgentDone | ToolCall | Action) and event.revision is not None:
            return event.revision < self._revision.get(number, 0)
        return False

    def _cancel(self, number: int) -> None:
        self._cancelled[number] = None
        if len(self._cancelled) > _KEPT:
            del self._cancelled[next(iter(self._cancelled))]
