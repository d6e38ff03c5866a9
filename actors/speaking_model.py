"""The speech-to-speech model's half of speaking: its responses become replies, one after the other.

    ResponseStarted ──► law (its turn is over) ──► Reply ──► mouth          a second response waits for the first

A model that owes something (it was asked to answer, or is in the middle of a response) and is silent for `MODEL_S` has
stalled. The next model is told the history and answers what the one before did not.

Units    loop time for what the model owes.
Full     more than `QUEUE_MAX` responses waiting: the newest is not taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from actors import events as ev
from actors import turn_table as law
from actors import wire
from actors.providers import interface as pi
from actors.reply import Reply
from actors.stage_slot import StageSlot
from actors.tool_desk import Round
from actors.turn_law import TurnLaw

if TYPE_CHECKING:
    from actors.speaking import Speaking, SpeakingOwner

__all__ = ["MODEL_S", "QUEUE_MAX", "ModelVoice"]

MODEL_S = 5.0
"""A speech-to-speech model that owes something is silent no longer (a stage that opens has as long)."""
QUEUE_MAX = 16


class ModelVoice:
    """Owned by `Speaking`, whose current reply it fills."""

    def __init__(
        self, desk: Speaking, owner: SpeakingOwner, slot: StageSlot, turns: TurnLaw, clock: Callable[[], float]
    ) -> None:
        self.due_s: float | None = None
        """Loop time by which the model must have done something that it owes."""
        self._desk, self._owner, self._slot, self._law, self._clock = desk, owner, slot, turns, clock
        self._answers_tools = False
        """It was told what its tools gave, and has not begun to answer."""
        self._running: set[int] = set()
        """Responses that have begun and are not done; a model makes one at a time."""
        self._settled: list[Round] = []
        """Tools have answered, and the model is in the middle of something else."""
        self._responses: deque[Reply] = deque()
        self._unanswered = False
        self._tool_rounds, self._tool_utt = 0, 0

    @property
    def owed(self) -> bool:
        """It is to say something to what its tools gave."""
        return self._answers_tools or bool(self._settled)

    @property
    def waiting(self) -> int:
        """Responses that wait for the one before."""
        return len(self._responses)

    def next(self) -> None:
        """The floor is free: the response that waited longest is spoken."""
        if self._responses and self._law.reply is law.ReplyState.NONE:
            answer = self._responses.popleft()
            self._desk.note_waiting()
            self._answers(answer)

    def inject(self, text: str, *, keypad: bool) -> None:
        """A text that it shall speak (greeting, `say`), or digits that the caller typed and it shall answer."""
        self._slot.send(wire.S2sInject(role="user" if keypad else "agent", text=text))
        self.ask()

    def dropped(self, response: int, heard_ms: float) -> None:
        """This response is over: what was heard of it, and no more of it."""
        self._running.discard(response)
        self._slot.send(wire.S2sHeard(response=response, ms=heard_ms))
        self._slot.send(wire.S2sCancel(response=response))

    def event(self, event: pi.ProviderEvent) -> None:
        """Of a speech-to-speech model; what it hears is the session's business."""
        if isinstance(event, pi.ResponseStarted):
            self._running.add(event.response)
            self._response(event.response)
            self._desk.note_waiting()
            return
        if isinstance(event, pi.ToolOutcome):
            self._desk.tools.outcome(event)
            return
        if isinstance(event, pi.ToolCall):
            self._calls(event)
            return
        if isinstance(event, pi.ToolCancelled):
            self._desk.tools.cancelled(event.id)
            return
        if isinstance(event, pi.Action):
            if (asking := self._reply_of(event.turn)) is not None:
                self._desk.act(event, asking)
            return
        if isinstance(event, pi.ResponseDone):
            self._running.discard(event.response)
        number = event.reply if isinstance(event, pi.TtsAudio) else getattr(event, "response", None)
        reply = self._reply_of(number)
        if reply is None:
            return
        if reply is self._desk.current:
            self.due_s = self._clock() + MODEL_S
        if isinstance(event, pi.TtsAudio):
            self._desk.audio(reply, event.pcm, self._slot)
        elif isinstance(event, pi.OutputText):
            self._says(reply, event.delta)
        elif isinstance(event, pi.ModelInterrupted):
            if reply is self._desk.current:
                self._owner.obey(self._law.interrupt(self._owner.at_s()))
        elif isinstance(event, pi.ResponseDone):
            reply.text_done = True
            reply.voice_done()
            if reply is self._desk.current:
                self.due_s = None
            if event.status == "completed":
                self._desk.tools.round_over(event.response, spoke=bool(reply.spoken.text.strip()))
            else:
                self._desk.tools.dropped(event.response)
            self._settle()
            self._desk.note_waiting()
            self._desk.speak()

    def _calls(self, event: pi.ToolCall) -> None:
        """It calls a tool, within a response; rounds are counted from the caller's last words."""
        if self._tool_utt != self._law.utt:
            self._tool_rounds, self._tool_utt = 0, self._law.utt
        reply = self._reply_of(event.turn)
        if reply is not None:
            self._desk.tools.called(event, reply, self._tool_rounds, reply.spoken.text)

    def tools_settled(self, round: Round) -> None:
        """Tools have outcomes. The model shall go on from the last of a round, unless the caller has gone on."""
        if round.wanted and round.goes_on and self._is_busy:
            self._settled.append(round)
            return
        goes_on = round.wanted and round.goes_on and self._law.caller is law.CallerState.QUIET
        told = [call for call in round.calls if not call.cancelled]
        for call in told:
            if call.outcome is not None:
                answer = goes_on and call is told[-1]
                ok, result = call.outcome.why == "done", call.outcome.result
                self._slot.send(wire.S2sToolResult(id=call.model_id, result=result, ok=ok, answer=answer))
        if goes_on:
            self._tool_rounds += 1
            self._answers_tools = True
            self.due_s = self._clock() + MODEL_S
        self._desk.note_waiting()
        if not self._law.more_to_say:
            self._owner.obey(self._law.nothing_more(self._owner.at_s()))

    @property
    def _is_busy(self) -> bool:
        """It makes a response, or was asked for one."""
        reply = self._desk.current
        asked = reply is not None and reply.source == "model" and reply.response is None
        return asked or self._answers_tools or bool(self._running)

    def _settle(self) -> None:
        """It is free again: it hears what its tools gave meanwhile."""
        settled, self._settled = self._settled, []
        for round in settled:
            self.tools_settled(round)

    def _says(self, reply: Reply, delta: str) -> None:
        if not delta:
            return  # a sign of life
        if reply is not self._desk.current:
            reply.early.append(delta)
            return
        if reply.stamps.agent_s is None:
            reply.stamps.agent_s = self._owner.session_s()
        reply.spoken.text += delta
        self._owner.emit(ev.AgentText, turn_id=reply.turn_id or 0, reply_id=reply.id, delta=delta)

    def ask(self) -> None:
        """The model shall speak now, and is waited for."""
        self._slot.send(wire.S2sRespond())
        self.due_s = self._clock() + MODEL_S

    def changed(self) -> None:
        """The model died: what it was saying is over, and what it meant to say is not said."""
        self._responses.clear()
        owed = self.owed or self._desk.tools.wanted
        self._answers_tools = False
        self._running.clear()
        self._settled.clear()
        self._desk.tools.superseded(0)
        self._desk.tools.changed(None)
        self._desk.note_waiting()
        self.due_s = None
        reply = self._desk.current
        if reply is not None:
            self._unanswered = not reply.started
            reply.response = None  # the next model counts from 1 too: a cancel of this one would silence its own
            self._desk.fail(reply.id)
        else:
            self._unanswered = owed or (self._law.caller is not law.CallerState.SPEAKING and self._law.has_words)

    def again(self) -> None:
        """The next model is opened and knows the history: it answers what the one before did not."""
        unanswered, self._unanswered = self._unanswered, False
        if unanswered:
            self.ask()

    def _reply_of(self, response: int | None) -> Reply | None:
        for reply in (self._desk.current, *self._responses):
            if reply is not None and reply.response == response:
                return reply
        return None

    def _gone_on(self, response: int) -> None:
        """It answers the caller, without having waited for its tools: these results it is only told."""
        self._desk.tools.superseded(response)
        for round in self._settled:
            round.wanted = False
        self._settle()

    def _response(self, response: int) -> None:
        reply = self._desk.current
        if reply is not None and reply.source == "model" and reply.response is None:
            reply.response = response  # it was asked for: a greeting, a `say`
            return
        if not self._answers_tools:
            self._gone_on(response)
        self._answers_tools = False
        answer = self._desk.make_reply(0, None, 0, "model")
        answer.response = response
        if self._law.reply is law.ReplyState.HELD:  # the model took what it heard for a turn
            self._responses.append(answer)  # it begins when what was held is over: `next`
            self._desk.note_waiting()
            self._owner.obey(self._law.interrupt(self._owner.at_s()))
            return
        if self._law.reply is law.ReplyState.NONE:
            self._answers(answer)
        elif len(self._responses) < QUEUE_MAX:
            self._responses.append(answer)
            self._desk.note_waiting()

    def _answers(self, reply: Reply) -> None:
        orders = self._law.response_started("", self._owner.at_s())
        if not orders:
            assert reply.response is not None  # it is the answer to one
            self.dropped(reply.response, 0.0)
            return
        for order in orders:
            if isinstance(order, law.Ask):
                reply.id, reply.turn_id, reply.revision = order.reply, order.turn, order.revision
        self._desk.current = reply
        reply.stamps = self._owner.stamps_of_speech()
        self._owner.obey(orders)
        self.due_s = None if reply.mouth.complete else self._clock() + MODEL_S
        early, reply.early = reply.early, []
        for delta in early:
            self._says(reply, delta)
        self._desk.speak()
