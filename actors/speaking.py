"""The session speaking: what is said next, who answers, and what leaves for the caller.

    law: Ask ──► agent or client or model ──► Reply ──► voice ──► mouth ──► outlet
    say, greeting, prompts, keypad ──► queue ──► when the floor is free

At most one reply is current; the law numbers it. What else wants to speak waits in a bounded queue.

Units    session time for pacing, loop time for what providers owe.
Full     more than `QUEUE_MAX` waiting to speak: the newest is refused with an `error` event (kind `overload`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from actors import events as ev
from actors import turn_table as law
from actors import wire
from actors.actions import Actions
from actors.call_record import CallRecord
from actors.formats import AudioFormat
from actors.history import History
from actors.mouth import Mouth
from actors.providers import interface as pi
from actors.recital import Recital
from actors.reply import Reply, Source, Stamps
from actors.speaking_agent import SLACK_S, AgentVoice, number_of
from actors.speaking_model import QUEUE_MAX, ModelVoice
from actors.stage_slot import StageSlot
from actors.tool_desk import ToolDesk
from actors.tools import ToolError
from actors.turn_law import TurnLaw
from actors.turn_table import Order
from router.plan import RoutePlan
from router.settings import SessionSettings

__all__ = ["QUEUE_MAX", "Speaking", "SpeakingOwner"]

CLIENT_S = 30.0
"""An application that answers turns itself has so long: it may ask a model of its own; no caller waits longer."""
_READY_MS = 1000.0  # lock-step: with so much audio waiting, time may go on while the voice works
Wants = Literal["say", "greeting", "silence", "dtmf"]


@dataclass(slots=True)
class _Waiting:
    wants: Wants
    text: str
    interruptible: bool = True
    say_id: int | None = None
    more: bool = False


class SpeakingOwner(Protocol):
    """The session, as this half sees it."""

    session_id: str
    plan: RoutePlan

    def emit(self, event: type[ev.Event], /, **fields: Any) -> None: ...
    def obey(self, orders: list[Order]) -> None: ...
    def session_s(self) -> float: ...
    def at_s(self) -> float: ...
    def send_audio(self, reply_id: int, pos: int, pcm: bytes) -> bool:
        """False: nobody is attached; the audio was not taken."""
        ...

    def set_language(self, language: str) -> tuple[str, ...]: ...
    def tool_done(self, tool: str, outcome: str, latency_s: float) -> None: ...
    def count_dropped(self, stage: str, ms: float, policy: str) -> None: ...

    def turn_answered(self, event: dict[str, Any]) -> None: ...
    def stamps_of_speech(self) -> Stamps:
        """A model begins to answer what the caller said last; empty where it has answered that before."""
        ...


class Speaking:
    """Owned by one session."""

    def __init__(
        self,
        owner: SpeakingOwner,
        settings: SessionSettings,
        turns: TurnLaw,
        audio_out: AudioFormat,
        agent: StageSlot | None,
        voice: StageSlot | None,
        model: StageSlot | None,
        record: CallRecord,
        clock: Callable[[], float],
        *,
        client_agent: bool,
        capabilities: Callable[[StageSlot], Any],
    ) -> None:
        self.history = History()
        self.current: Reply | None = None
        self.stamps = Stamps()
        self.agent_due_s: float | None = None
        self.answer_due_s: float | None = None
        """Loop time by which the application must have answered a turn (`agent: client`)."""
        self.attached = True
        self._owner, self._s, self._law, self._out = owner, settings, turns, audio_out
        self._voice = voice
        self.agent = None if agent is None else AgentVoice(self, owner, agent, settings, clock, capabilities)
        self.model = None if model is None else ModelVoice(self, owner, model, turns, clock)
        self._model_slot = model
        self._record, self._clock, self._client, self._caps = record, clock, client_agent, capabilities
        self._actions = Actions(owner, turns)
        answering: AgentVoice | ModelVoice | None = self.model or self.agent
        assert answering is not None  # a route names one of them
        slot = model or agent
        assert slot is not None
        self._answering = slot
        self.tools = ToolDesk(owner, self.history, slot.send, self._act_as_tool, answering.tools_settled, clock)
        self._queue: deque[_Waiting] = deque()
        self._known_can: tuple[int, pi.TtsCapabilities] | None = None
        self._greet_first_turn = settings.greeting if settings.greeting_when == "after_first_turn" else None

    # --------------------------------------------------------------------------------------- what wants to speak

    def opened(self) -> None:
        if self._s.greeting and self._s.greeting_when == "open":
            self.enqueue(_Waiting("greeting", self._s.greeting, self._s.greeting_interruptible))

    def say(self, op: ev.Say) -> None:
        reply = self.current
        if reply is not None and reply.source == "client" and reply.say_id is None and not reply.text_done:
            reply.say_id = op.say_id
            self.answer_due_s = None
            self._law.set_interruptible(reply.id, op.interruptible)
            self._take_text(reply, op.text, op.more)
        else:
            self.enqueue(_Waiting("say", op.text, op.interruptible, op.say_id, op.more))

    def say_more(self, say_id: int, text: str, *, end: bool) -> None:
        reply = self.current
        if reply is not None and reply.say_id == say_id:
            self._take_text(reply, text, not end)
            return
        for waiting in self._queue:
            if waiting.say_id == say_id:
                waiting.text = (waiting.text + text)[:65_536]
                waiting.more = not end

    def dtmf(self, digits: str) -> None:
        self.enqueue(_Waiting("dtmf", digits))

    def prompt(self, index: int) -> None:
        assert self._s.silence is not None
        self.enqueue(_Waiting("silence", self._s.silence.prompts[index]))

    def enqueue(self, waiting: _Waiting) -> None:
        if len(self._queue) >= QUEUE_MAX:
            detail = f"{QUEUE_MAX} texts already wait to be said; this one is not taken"
            self._owner.emit(ev.ErrorEvent, stage="tts", provider="", kind="overload", detail=detail)
            return
        self._queue.append(waiting)
        self.note_waiting()
        self.next()

    def note_waiting(self) -> None:
        """The law does not close a call over what waits to be spoken."""
        owed = self.model is not None and (self.model.waiting or self.model.owed or self.tools.wanted)
        self._law.more_to_say = bool(self._queue or owed)

    def next(self) -> None:
        """The floor may be free: let the next one speak."""
        if self.model is not None:
            self.model.next()
        while self._queue and self.current is None:
            waiting = self._queue[0]
            number = self._law.say(self._owner.at_s(), interruptible=waiting.interruptible)
            if number is None:
                return
            self._queue.popleft()
            self.note_waiting()
            self._speak_waiting(number, waiting)

    def _speak_waiting(self, number: int, waiting: _Waiting) -> None:
        if self.model is not None:
            reply = self._begin(number, None, 0, "model")
            self.model.inject(waiting.text, keypad=waiting.wants == "dtmf")
            reply.say_id = waiting.say_id
        elif waiting.wants == "dtmf":
            reply = self._begin(number, None, 0, "agent")
            self.history.user(-number, waiting.text)
            self._asks.ask(reply, "dtmf")
        else:
            reply = self._begin(number, None, 0, "say")
            reply.say_id = waiting.say_id
            self._take_text(reply, waiting.text, waiting.more)

    def _take_text(self, reply: Reply, text: str, more: bool) -> None:
        self.answer_due_s = self._clock() + CLIENT_S if more else None  # a stream of text that nobody ends is ended
        reply.add_text(text)
        if not more:
            reply.end_text()
        self.pump(reply)

    @property
    def _asks(self) -> AgentVoice:
        assert self.agent is not None  # asked on routes with an agent alone
        return self.agent

    # ------------------------------------------------------------------------------------------ orders of the law

    def ask(self, order: law.Ask) -> None:
        if self.model is not None:
            return  # the reply was begun where the model began it
        self.history.user(order.turn, order.text)
        source: Source = "client" if self._client else "agent"
        greeting, self._greet_first_turn = self._greet_first_turn, None
        reply = self._begin(order.reply, order.turn, order.revision, "say" if greeting else source, order.gated)
        reply.stamps = self.stamps
        if greeting:
            self._take_text(reply, greeting, False)
        elif source == "agent":
            self._asks.ask(reply, "user")
        else:
            self.answer_due_s = self._clock() + CLIENT_S

    def client_silent(self) -> None:
        """The application did not answer, or go on, in time: what it has said is all of it, and the call goes on."""
        self.answer_due_s = None
        reply = self.current
        if reply is not None and reply.source in ("client", "say") and not reply.text_done:
            reply.end_text()
            self.pump(reply)

    def _begin(self, number: int, turn: int | None, revision: int, source: Source, gated: bool = False) -> Reply:
        self.current = self.make_reply(number, turn, revision, source, gated)
        return self.current

    def make_reply(self, number: int, turn: int | None, revision: int, source: Source, gated: bool = False) -> Reply:
        """A reply with a mouth of its own."""
        mouth = Mouth(self._out, self._s.reply_audio_max_s, gated=gated)
        recital = Recital(number, mouth, self._s.reply_audio_max_s * 1000)
        reply = Reply(number, turn, revision, source, mouth, self._out, recital)
        reply.pieces.whole = self._voice is None or self._voice_can(self._voice).takes == "sentences"
        return reply

    def open_gate(self, order: law.OpenGate) -> None:
        if self.current is not None and self.current.id == order.reply:
            self.current.mouth.open = True
            for delta in self.current.early:
                self.tell_text(self.current, delta)
            self.current.early.clear()
            held, self.current.held = self.current.held, []
            for event in held:
                self._asks.event(event)
            self.speak()

    def hold(self, order: law.HoldReply) -> None:
        if self.current is not None:
            self.current.mouth.hold(self._owner.session_s())
            if self.current.started:  # else nobody has heard of it yet
                self._owner.emit(ev.VoiceHeld, reply_id=order.reply)
                self._owner.emit(ev.VoiceClear, reply_id=order.reply)

    def resume(self, order: law.ResumeReply) -> None:
        if self.current is not None:
            offset_ms = self.current.mouth.resume(self._owner.session_s())
            if self.current.started:
                self._owner.emit(ev.VoiceResumed, reply_id=order.reply, offset_ms=offset_ms)
            self.speak()

    def detach(self) -> None:
        """Nobody listens: the reply stops where it is, and what was not played is told to be thrown away."""
        self.attached = False
        reply = self.current
        if reply is not None and not reply.mouth.held:
            reply.mouth.hold(self._owner.session_s())
            if reply.started:
                self._owner.emit(ev.VoiceClear, reply_id=reply.id)

    def attach(self) -> None:
        self.attached = True
        reply = self.current
        if reply is not None and reply.mouth.held and self._law.reply is not law.ReplyState.HELD:
            self.resume(law.ResumeReply(reply.id))

    def cancel(self, order: law.CancelReply) -> None:
        """Without trace: not in the history, and no `voice.stopped` unless the caller was told that it began."""
        reply = self._drop(order.reply)
        self.history.reply_over()
        if reply is not None and reply.started:
            self._owner.emit(ev.VoiceClear, reply_id=reply.id)
            self._stopped(reply, "interrupted", "", 0.0, True)

    def stop(self, order: law.StopReply) -> None:
        now_s = self._owner.session_s()
        played_ms = self.current.mouth.played_ms(now_s) if self.current is not None else 0.0
        reply = self._drop(order.reply)
        if reply is None:
            return
        if reply.started and not order.was_held:
            self._owner.emit(ev.VoiceClear, reply_id=reply.id)
        self._conclude(reply, "interrupted", played_ms)

    def _drop(self, number: int) -> Reply | None:
        """The current reply is over: whoever works on it is told to stop."""
        reply = self.current
        if reply is None or reply.id != number:
            return None
        self.current, reply.ended = None, True
        self._owe_nothing()
        self.tools.dropped(number_of(reply))
        if reply.response is not None and self.model is not None:
            self.model.dropped(reply.response, reply.mouth.played_ms(self._owner.session_s()))
        if reply.asked and self.agent is not None:
            self.agent.cancelled(reply)
        if self._voice is not None and reply.recital.is_open:
            self._voice.send(wire.TtsCancel(reply=reply.recital.context))
        return reply

    def _owe_nothing(self) -> None:
        self.agent_due_s = self.answer_due_s = None
        if self.model is not None:
            self.model.due_s = None

    def tell_text(self, reply: Reply, delta: str) -> None:
        self._owner.emit(ev.AgentText, turn_id=reply.turn_id or 0, reply_id=reply.id, delta=delta)

    def act(self, event: pi.Action, reply: Reply) -> None:
        """The agent, or the model, wants something done about the call."""
        try:
            self._actions.do(event.name, event.value, reply)
        except ToolError as error:
            provider, detail = self._answering.provider, f"{event.name}: {error}"
            self._owner.emit(ev.ErrorEvent, stage="agent", provider=provider, kind="action", detail=detail)

    def _act_as_tool(self, name: str, args: dict[str, Any], reply: Reply | None) -> str:
        """The same as a tool: the one argument it may have is its value. Raises ToolError."""
        return self._actions.do(name, str(next(iter(args.values()), "")), reply)

    # --------------------------------------------------------------------------------------------- voice's events

    def voice_event(self, event: pi.ProviderEvent) -> None:
        reply = self.current
        if reply is None or reply.source == "model" or getattr(event, "reply", None) != reply.recital.context:
            return  # of a reply that is over: adapters and links drop most of them already
        if isinstance(event, pi.TtsAudio):
            self.audio(reply, event.pcm, self._voice)
        elif isinstance(event, pi.Align):
            reply.recital.align(event.end_ms, event.char_to)
        elif isinstance(event, pi.Flushed):
            reply.recital.flushed()
            self.pump(reply)
        elif isinstance(event, pi.Done):
            reply.voice_done()
            self.pump(reply)

    def audio(self, reply: Reply, pcm: bytes, slot: StageSlot | None) -> None:
        assert slot is not None
        if reply.stamps.tts_s is None:
            reply.stamps.tts_s = self._owner.session_s()
        rate_hz = slot.port.rate_hz if slot.port is not None else 16_000
        if slot is self._model_slot:  # it hears at one rate and may speak at another
            rate_hz = self._caps(slot).output_rate_hz
        reply.audio(pcm, rate_hz)
        self._record.use(slot.provider, audio_s=len(pcm) / 2 / rate_hz)
        reply.voice_due_s = self._voice_due(reply)
        self._watch_context(reply)
        self.speak()

    def voice_changed(self) -> None:
        if self._voice is not None and self.current is not None and self.current.source != "model":
            self.current.pieces.whole = self._voice_can(self._voice).takes == "sentences"
            self.current.voice_changed()
            self.pump(self.current)

    def yield_voice(self, *, now: bool) -> None:
        """Another stream is to take over: the context ends at the next sentence, or at this word."""
        reply = self.current
        if reply is not None and reply.source != "model" and self._voice is not None:
            reply.recital.yields = True
            self._give(reply)
            if now:
                reply.recital.end_idle(self._voice)

    def take_voice(self) -> None:
        """It has taken over, or will not."""
        if self.current is not None and self.current.source != "model":
            self.current.recital.yields = False
            self.pump(self.current)

    @property
    def is_model_quiet(self) -> bool:
        """The model says nothing and owes nothing."""
        model = self.model
        busy = model is None or model.waiting or model.owed or model.due_s is not None
        return not busy and self.current is None and not self.tools.wanted and not self.tools.is_busy

    def again(self) -> None:
        """A model serves that knows the history: it answers what the one before did not."""
        if self.model is not None:
            self.model.again()

    def voice_idle(self) -> None:
        """The vendor is about to drop the open context, since the agent pauses: it is ended, and begun again with the
        next words."""
        reply = self.current
        if reply is not None and self._voice is not None:
            reply.context_due_s = None
            reply.recital.end_idle(self._voice)

    def _voice_can(self, voice: StageSlot) -> pi.TtsCapabilities:
        if self._known_can is None or self._known_can[0] != voice.index:
            self._known_can = (voice.index, self._caps(voice))
        return self._known_can[1]

    def _voice_due(self, reply: Reply) -> float | None:
        if self._voice is None or not reply.voice_busy:
            return None
        return self._clock() + self._voice_can(self._voice).first_audio_p99_s + SLACK_S

    def pump(self, reply: Reply) -> None:
        self._give(reply)
        self.speak()

    def _give(self, reply: Reply) -> None:
        """Give the voice as much text as the mouth has room for."""
        if self._voice is not None and reply.source != "model":
            can = self._voice_can(self._voice)
            given = reply.pump(self._voice, can)
            if given:
                self._record.use(self._voice.provider, characters=given)
                reply.voice_due_s = self._voice_due(reply)
            self._watch_context(reply)

    def _watch_context(self, reply: Reply) -> None:
        if self._voice is not None and reply.source != "model":
            idle_s = reply.recital.idle_s(self._voice_can(self._voice))
            reply.context_due_s = None if idle_s is None else self._clock() + idle_s

    # ------------------------------------------------------------------------------------------------- audio out

    def speak(self) -> None:
        """Let leave what may, and notice when a reply is over."""
        reply = self.current
        if reply is None:
            return
        now_s = self._owner.session_s()
        if self.attached:
            taken = reply.mouth.take(now_s)
            if taken is not None:
                self._leave(reply, *taken)
                if reply.recital.has_waiting:
                    self._give(reply)
        if reply.mouth.held:
            return
        if reply.source == "model":
            over = reply.mouth.complete and not reply.mouth.put_ms
        else:
            over = reply.is_silent and not reply.asked
        if over or reply.mouth.is_over(now_s):
            self._finish(reply)

    def _leave(self, reply: Reply, offset_ms: float, pcm: bytes) -> None:
        if not reply.started:
            reply.started = True
            self._owner.obey(self._law.reply_audio(reply.id, self._owner.at_s()))
            self._owner.emit(ev.VoiceStarted, reply_id=reply.id, turn_id=reply.turn_id)
            self._latency(reply)
        self._owner.send_audio(reply.id, round(offset_ms * self._out.rate_hz / 1000), pcm)

    def _latency(self, reply: Reply) -> None:
        stamps = reply.stamps
        if reply.turn_id is None or stamps.last_voiced_s is None:
            return
        zero = stamps.last_voiced_s

        def since(instant_s: float | None) -> float | None:
            return None if instant_s is None else round(instant_s - zero, 6)

        fields = {
            "turn_id": reply.turn_id,
            "reply_id": reply.id,
            "endpoint": since(stamps.decided_s),
            "stt_final": since(stamps.final_s),
            "agent_first": since(stamps.agent_s),
            "tts_first": since(stamps.tts_s),
            "total": round(self._owner.session_s() - zero, 6),
        }
        self._owner.emit(ev.TurnLatency, **fields)
        self._owner.turn_answered(fields)

    def _finish(self, reply: Reply) -> None:
        self.current, reply.ended = None, True
        self._owe_nothing()
        self.history.reply_over()
        if reply.started or reply.said:
            self._conclude(reply, "finished" if reply.started else "failed", reply.mouth.sent_ms)
        self._owner.obey(self._law.reply_done(reply.id, self._owner.at_s()))

    def fail(self, number: int, why: Literal["interrupted", "failed"] = "failed") -> None:
        """Nothing more of it will come, or nobody will hear it."""
        played_ms = self.current.mouth.played_ms(self._owner.session_s()) if self.current is not None else 0.0
        reply = self._drop(number)
        if reply is not None:
            if reply.started:
                self._owner.emit(ev.VoiceClear, reply_id=reply.id)
            self._conclude(reply, why, played_ms)
            self._owner.obey(self._law.reply_failed(number, self._owner.at_s()))

    def _conclude(self, reply: Reply, why: Literal["finished", "interrupted", "failed"], played_ms: float) -> None:
        self.history.reply_over()
        heard, exact = reply.heard(played_ms)
        if reply.mouth.dropped_ms:
            self._owner.count_dropped("tts", reply.mouth.dropped_ms, "drop_newest")
        self.history.agent(reply.said, heard, why != "finished")
        if reply.started:
            self._stopped(reply, why, heard, played_ms, not (exact and reply.mouth.reported))

    def _stopped(self, reply: Reply, why: Any, heard: str, heard_ms: float, estimated: bool) -> None:
        self._owner.emit(
            ev.VoiceStopped, reply_id=reply.id, why=why, said=reply.said, heard=heard, heard_ms=round(heard_ms, 3),
            estimated=estimated,
        )  # fmt: skip

    def played(self, op: ev.Played) -> None:
        if self.current is not None and self.current.id == op.reply_id:
            self.current.mouth.report(op.ms, self._owner.session_s())

    def heard_ms(self) -> float:
        return 0.0 if self.current is None else self.current.mouth.played_ms(self._owner.session_s())

    @property
    def awaits(self) -> bool:
        """Lock-step: somebody owes text or audio for the current reply."""
        reply = self.current
        if self.model is not None and (self.model.owed or self.tools.wanted):
            return True
        if reply is None or reply.source == "client" or reply.mouth.waiting_ms >= _READY_MS or reply.mouth.held:
            return False
        if reply.source == "model":
            return not reply.mouth.complete
        return reply.asked or reply.voice_busy or (reply.source == "say" and not reply.text_done)
