"""The agent's half of speaking: it is asked, its words go to the voice, its tools are run, and it is asked again.

    ask ──AgentReply──► agent ──text──► Reply          ToolCall ... AgentDone ──► tools ──► ask, with cause `tool`

What it wants done (an action, a tool) for a reply that may still be taken back waits until it may not. After it failed
the next one is asked what this one did not answer, with the history that has calls and results.

Units    loop time for what the agent owes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actors import events as ev
from actors import wire
from actors.providers import interface as pi
from actors.reply import MAX_TEXT, Reply
from actors.stage_slot import StageSlot
from actors.tool_desk import Call, Round
from router.settings import SessionSettings

if TYPE_CHECKING:
    from actors.speaking import Speaking, SpeakingOwner

__all__ = ["SLACK_S", "AgentVoice", "number_of"]

SLACK_S = 1.0
"""Beside a provider's declared p99."""


class AgentVoice:
    """Owned by `Speaking`, whose current reply it fills."""

    def __init__(
        self,
        desk: Speaking,
        owner: SpeakingOwner,
        slot: StageSlot,
        settings: SessionSettings,
        clock: Callable[[], float],
        capabilities: Callable[[StageSlot], Any],
    ) -> None:
        self._desk, self._owner, self._slot, self._s, self._clock = desk, owner, slot, settings, clock
        self._caps = capabilities

    def ask(self, reply: Reply, cause: pi.Cause) -> None:
        """It shall say something, for this reason."""
        reply.asked, reply.cause, reply.round_text = True, cause, ""
        tools = self._desk.tools.offered if reply.tool_rounds < self._s.tool_rounds else ()
        self._desk.agent_due_s = self._clock() + self._caps(self._slot).first_text_p99_s + SLACK_S
        turn = number_of(reply)
        history = self._desk.history.items()
        self._slot.send(wire.AgentReply(turn=turn, revision=reply.revision, history=history, cause=cause, tools=tools))

    def cancelled(self, reply: Reply) -> None:
        """Nobody wants its answer any more."""
        self._slot.send(wire.AgentCancel(turn=number_of(reply)))

    def event(self, event: pi.ProviderEvent) -> None:
        if isinstance(event, pi.ToolOutcome):
            self._desk.tools.outcome(event)
            return
        reply = self._desk.current
        if reply is None or not self._is_for(reply, event):
            return  # of a reply that is over
        if not reply.mouth.open and (reply.held or isinstance(event, pi.Action | pi.ToolCall)):
            reply.held.append(event)  # nothing is done for a reply that may be taken back
        elif isinstance(event, pi.TextDelta):
            self._take_delta(reply, event.delta)
        elif isinstance(event, pi.AgentDone):
            self._agent_done(reply)
        elif isinstance(event, pi.Action):
            self._desk.act(event, reply)
        elif isinstance(event, pi.ToolCall):
            self._desk.agent_due_s = None
            self._desk.tools.called(event, reply, reply.tool_rounds, reply.round_text)

    def _take_delta(self, reply: Reply, delta: str) -> None:
        self._desk.agent_due_s = None
        if not delta:
            return  # a sign of life: it thinks, or writes the arguments of a call
        if reply.stamps.agent_s is None:
            reply.stamps.agent_s = self._owner.session_s()
        if reply.mouth.open:
            self._desk.tell_text(reply, delta)
        else:
            reply.early.append(delta)  # nobody hears of a reply that may be taken back
        reply.round_text += delta[: MAX_TEXT - len(reply.round_text)]
        reply.add_text(delta)
        self._desk.pump(reply)

    def _agent_done(self, reply: Reply) -> None:
        """It has said all, or waits for its tools: then what it has said meanwhile is spoken."""
        self._desk.agent_due_s = None
        reply.end_sentence()
        if not self._desk.tools.round_over(number_of(reply), spoke=bool(reply.round_text.strip())):
            self._answered(reply)
        elif reply is self._desk.current:
            self._desk.pump(reply)

    def _answered(self, reply: Reply) -> None:
        reply.asked = False
        reply.end_text()
        self._desk.pump(reply)

    def tools_settled(self, round: Round) -> None:
        """Every tool of a round has an outcome, which the history has: the agent goes on."""
        reply = self._desk.current
        if not round.wanted or reply is None or reply is not round.reply:
            return
        reply.tool_rounds += 1
        for call in round.calls:
            self._tell_result(reply, call)
        if round.refused:
            detail = f"tools were called more than {self._s.tool_rounds} times in one turn"
            self._owner.emit(ev.ErrorEvent, stage="agent", provider=self._slot.provider, kind="overload", detail=detail)
        if round.goes_on:
            self.ask(reply, "tool")
        else:
            self._answered(reply)

    def _tell_result(self, reply: Reply, call: Call) -> None:
        if call.outcome is not None:
            ok = call.outcome.why == "done"
            self._slot.send(
                wire.AgentToolResult(turn=number_of(reply), id=call.model_id, result=call.outcome.result, ok=ok)
            )

    def _is_for(self, reply: Reply, event: pi.ProviderEvent) -> bool:
        if reply.source != "agent" or getattr(event, "turn", None) != number_of(reply):
            return False
        revision = getattr(event, "revision", None)
        return revision is None or revision == reply.revision

    def changed(self) -> None:
        """Asked again if nothing was said to what it was asked last; else the reply ends with what there is."""
        reply = self._desk.current
        if reply is None or not reply.asked:
            self._desk.tools.changed(None)
            return
        reply.held.clear()
        if self._desk.tools.changed(number_of(reply)):
            return  # it waits for its tools, or the next one has been asked
        if reply.round_text:
            self._answered(reply)
        else:
            self.ask(reply, reply.cause)


def number_of(reply: Reply) -> int:
    """As the agent is told of it, or the model's own: its turn, its response, or below zero what has neither."""
    if reply.response is not None:
        return reply.response
    return reply.turn_id if reply.turn_id is not None else -reply.id
