"""One call: facts in, orders out. The shell around the turn law, a passive object that its host steps.

    caller audio, ops ──► VoiceSession ◄── events of the stages
                               │
           events, reply audio ▼ to the outlet; ops and audio to the stages

Nothing in here waits, sleeps or makes a task: the host calls `caller_audio`, `caller_op` and, once `wake_s` has come,
`tick`; the stages call back through their slots. Where `stir` is given it is told that a stage has spoken, and the host
calls `step_owed` in the next turn of its loop. An exception ends this session alone (the host sees to that).

Clocks   media position (`ear.at_s`) for the law; session time (the loop's, or the media position in lock-step) for
         pacing; loop time for what providers owe. Source: conversation model, section 1.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from actors import events as ev
from actors import turn_table as law
from actors import wire
from actors.alarms import Alarm
from actors.call_record import CallRecord
from actors.deaf_watch import ANSWERS, DeafWatch
from actors.ear import CONCEAL_AFTER_S, Ear
from actors.formats import FRAME_MS, AudioFormat
from actors.history import as_text
from actors.listening import Listening
from actors.observe import MediaDropped, Observer, SessionEnded, SessionStarted, ToolDone, TurnDone, ignore
from actors.providers import interface as pi
from actors.reply import Stamps
from actors.roll_over import RollOver
from actors.roll_stages import RollStages
from actors.speaking import Speaking
from actors.speaking_agent import AgentVoice
from actors.speaking_model import ModelVoice
from actors.stage_options import StageOptions
from actors.stage_slot import Connector, StageSlot
from actors.tool_desk import offered
from actors.turn_law import TurnLaw
from actors.turn_tail import TAIL_S, turn_tail
from actors.wording import Heard, Wording
from router.plan import Candidate, RoutePlan, Stage

if TYPE_CHECKING:
    from actors.lane import Lane

__all__ = ["FALLBACKS", "Mode", "Outlet", "VoiceSession"]

Mode = Literal["live", "file", "lockstep"]
FALLBACKS: Mapping[str, str] = {"vad": "energy", "turn": "silence"}
"""What serves in the host's own process when every candidate of the stage has failed."""
_ASSESS_S = 0.1  # no answer of the turn detector by then: the default wait
_MODEL_END_S = 1.5  # silence a speech-to-speech model is given after the input ended, to notice the end of a turn
_MODEL_END_MAX_S = 10.0
_KEEP_QUIET_S = 5.0
"""Audio kept for replay while nobody speaks: many vendors give no final for silence, so it would fill the ring."""
_LET_GO_S = 1.4
"""Audio that nobody wants any more is let go of so often, and a session looked at: before the 2 s of credit that an ear
has are used up, less the 400 ms that it accepts together. Else a quiet session would leave the table each time."""
_CONCEAL_STEP_S = (
    0.1  # silence of a mute caller in whom nothing is under way: five frames at once cost little more than one
)
_REST_STEP_S = 0.5
"""The media clock of one whose ear rests; before anything of the caller's or of a stage's it is brought up to date."""
_LOOK_S = 0.05  # half of the shortest deadline, that of a turn detector
_UNKNOWN_S = -1.0
"""Of when something is due: a deadline may have been set since it was looked for."""
_NEVER = 2**62
_LOCKSTEP_BURST = 50  # frames of silence at once, so that a host's loop is not kept


class Outlet(Protocol):
    """The caller's side, as the session sees it. Never waits."""

    def event(self, event: ev.Event) -> None: ...

    def audio_out(self, reply_id: int, pos: int, pcm: bytes) -> None:
        """Reply audio in the caller's format; `pos` in samples from the reply's start."""
        ...

    def accept(self) -> None:
        """Everything that the caller has sent so far was taken: its credit comes back."""
        ...

    def closed(self, record: dict[str, Any]) -> None:
        """After `session.closed`: the call record is complete."""
        ...


class VoiceSession:
    """One caller's session. `start` opens its stages; `closed` tells when it is over; `wake_s` when to `tick`."""

    def __init__(
        self,
        session_id: str,
        plan: RoutePlan,
        connector: Connector,
        capabilities: Callable[[Candidate], pi.Capabilities],
        outlet: Outlet,
        clock: Callable[[], float],
        *,
        audio_in: AudioFormat | None = None,
        audio_out: AudioFormat | None = None,
        mode: Mode = "live",
        trace: str | None = None,
        observer: Observer = ignore,
        ring: memoryview | None = None,
        alarm: Alarm | None = None,
        stir: Callable[[], None] | None = None,
    ) -> None:
        self.session_id, self.plan, self.mode = session_id, plan, mode
        self.audio_in = audio_in or AudioFormat()
        self.audio_out = audio_out or self.audio_in
        self.closed = self.opened = False
        self.attached = True
        self._alarm = alarm or Alarm()
        self._duties_s = self._whole_s = 0.0
        self.patience_s = 0.0
        """A caller is held for mute so much later: its host was kept from reading."""
        self.due_pos = 0
        """Media position, in samples of the ear, at which the law wants to be asked again."""
        self.voiced_at = _NEVER
        """A voiced frame that ends here or later counts: a held reply waits to be confirmed dead."""
        self._outlet, self._clock, self._trace, self._observer = outlet, clock, trace, observer
        self._started_s = self._settle_due_s = clock()
        self._capabilities, self._connector = capabilities, connector
        self._options = StageOptions(capabilities)
        self._ring = ring
        self.lane: Lane | None = None
        """While it is in step with its caller, in the table of its host: see `lanes.py`."""
        self._n = 0
        self._orders: deque[law.Order] = deque()
        self._obeying = self._stepping = self._stirred = False
        self._tell_stirred = stir
        self._later: deque[tuple[StageSlot, int, pi.ProviderEvent]] = deque()
        self._dropped: dict[tuple[str, str], float] = {}
        self._dropped_since_s = 0.0
        self._close_due_s: float | None = None
        self._input_end_at_s: float | None = None
        self._waiting_end = self._closing = self._ending = self._end_asked = False
        self._heard_since_s = 0.0
        self._hearing = False
        self._assess_due_s: float | None = None
        self._asked = (0, 0)
        """Epoch of the turn detector and utterance of its last question."""
        self._final_s: float | None = None
        self._answered_utt = 0
        """The caller's last speech that a model has answered."""
        self._wording = Wording()
        self._deaf = DeafWatch()
        self._failing: ev.CloseReason | None = None
        self.record = CallRecord(session_id, plan, trace)
        self._build()

    def _build(self) -> None:
        stages = self.plan.stages
        self.is_model = "s2s" in stages
        self.slots: dict[Stage, StageSlot] = {}
        model_vad = getattr(self._capabilities(stages["s2s"][0]), "vad", "server") if self.is_model else "local"
        for stage, candidates in stages.items():
            if self.is_model and (stage not in ("s2s", "vad") or (stage == "vad" and model_vad == "server")):
                continue
            chain = self._with_fallback(stage, candidates)
            self.slots[stage] = StageSlot(stage, chain, self._connector, self, self._spec, self._clock)
        words = self.slots["s2s" if self.is_model else "stt"]
        main = self._capabilities(words.candidate)
        rate_hz = main.rates_hz[0] if main.rates_hz else 16_000
        listens = any(getattr(self._capabilities(c), "needs_audio", False) for c in stages.get("turn", ()))
        tail_s = TAIL_S if listens else 0.0
        self.ear = Ear(self.audio_in, rate_hz, self.plan.settings.replay_s, self._clock(), tail_s, self._ring)
        self.law = TurnLaw(self.plan.settings, authority="s2s" if self.is_model else "local")
        self._listen = Listening(
            self.plan.settings, self.law, self.ear, self.slots.get("vad"), words, self.obey, self._heard_ms, self._clock
        )
        self.law.local_turns = self.is_model and model_vad == "local"
        self.law.words_first = getattr(main, "words_first", True)
        agent = self.slots.get("agent")
        self._speak = Speaking(
            self, self.plan.settings, self.law, self.audio_out, agent, self.slots.get("tts"), self.slots.get("s2s"),
            self.record, self._clock,
            client_agent=agent is not None and getattr(self._capabilities(agent.candidate), "client", False),
            capabilities=lambda slot: self._capabilities(slot.candidate),
        )  # fmt: skip
        self._roll_stages = RollStages(
            self.law, self._listen, self._speak, self._spec_beside, self._capabilities, self._tell_history,
            self._ear_cut, self._leave_lane, lambda stage: self.record.counts.update((f"rolled_{stage}",)),
        )  # fmt: skip
        self._roll = RollOver(self.session_id, self._roll_stages, self._clock)
        self._tell_final_p99(words)

    def _with_fallback(self, stage: Stage, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        last = FALLBACKS.get(stage)
        if last is None or candidates[-1].type == last:
            return candidates
        return (*candidates, Candidate(stage=stage, provider=last, type=last))

    def _tell_final_p99(self, words: StageSlot) -> None:
        self._listen.final_p99_s = getattr(self._capabilities(words.candidate), "final_p99_s", 1.0)

    def _spec(self, slot: StageSlot, candidate: Candidate) -> pi.StreamSpec:
        self._leave_lane()
        rates = self._capabilities(candidate).rates_hz
        rate_hz = self.ear.rate_hz if not rates or (self.ear.rate_hz in rates and slot.stage != "tts") else rates[0]
        pos, ring = 0, self.ear.ring
        if slot.stage == "vad" and self._listen.vad is not None:
            pos = self._listen.vad.restart(max(self._listen.vad_pos, ring.start), rate_hz)
        elif slot.stage in ("stt", "s2s"):
            pos = self._listen.words.restart(ring.end if self.opened else ring.start, rate_hz)
        return self._spec_at(slot, candidate, slot.epoch, rate_hz, pos)

    def _spec_beside(self, slot: StageSlot, candidate: Candidate, epoch: int) -> pi.StreamSpec:
        """For a stream of the same candidate that will take over from the one that serves."""
        assert slot.port is not None
        pos = self._listen.words.to_stream(self.ear.pos) if slot.stage in ("stt", "s2s") else 0
        return self._spec_at(slot, candidate, epoch, slot.port.rate_hz, pos)

    def _spec_at(self, slot: StageSlot, candidate: Candidate, epoch: int, rate_hz: int, pos: int) -> pi.StreamSpec:
        is_model = slot.stage == "s2s"
        return pi.StreamSpec(
            stream=0, epoch=epoch, session_id=self.session_id, tenant_id=self.plan.tenant_id, rate_hz=rate_hz,
            pos=pos, options=self._options.of(candidate), trace=self._trace,
            tools=offered(self.plan) if is_model else (),
            resume=self._roll_stages.resume(candidate.provider) if is_model and self.opened else None,
        )  # fmt: skip

    # ---------------------------------------------------------------------------------------------- from the host

    @property
    def is_straight(self) -> bool:
        """A frame of this caller may go straight to the stages: it is live, and everybody is here."""
        return self.opened and self.mode == "live" and self.attached and not (self.closed or self.ear.ended)

    @property
    def wake_s(self) -> float:
        """Loop time of the next `tick` that is wanted."""
        return self._alarm.at_s

    @wake_s.setter
    def wake_s(self, wake_s: float) -> None:
        self._alarm.at_s = wake_s

    @property
    def listening(self) -> Listening:
        return self._listen

    def start(self) -> None:
        """Open the stages; `session.opened` follows when each has a ready candidate."""
        for slot in self.slots.values():
            slot.open()
        self.step()

    def caller_audio(self, chunk: bytes | memoryview) -> None:
        """Audio in the caller's format, any chunking. Raises AudioError for what cannot be taken."""
        if self.closed or self.ear.ended:
            return
        listen = self._listen
        self._rest_on(self._clock())
        for pos, frame in self.ear.hear(chunk, self._clock()):
            listen.frame(pos, frame)
        if listen.words.sent < self.ear.pos:
            self._wake()
        if self.mode != "live" or self.ear.pos >= self.due_pos:
            self.step()
        else:
            self._outlet.accept()

    def pass_over(self, frames: int) -> None:
        """The caller let go of so many frames: the media clock goes on, nobody is given the silence."""
        if self.closed or self.ear.ended:
            return
        straight = self._listen.is_straight
        self.ear.skip(frames)
        if straight:  # else who is behind gets it from the ring, or lets go of it by its own rule
            self._listen.pass_over(self.ear.pos)
        self.step()

    def verdict(self, end: int, change: bool | None) -> None:
        """A verdict of a voice detector in this process that changes something, on the frame that ends at `end`."""
        self._listen.verdict(end, change)
        self.step()

    def caller_op(self, op: ev.Op) -> None:
        handler = _OPS.get(type(op))
        if handler is not None and not self.closed:
            self._sync()
            self._rest_on(self._clock())
            handler(self, op)
            self.step()

    def tick(self) -> None:
        """Time has passed: silence for a mute caller, pacing, deadlines. Sets the next `wake_s`."""
        if self.closed:
            return
        now_s = self._clock()
        self._sync()
        mute = self._is_mute(now_s)
        if not mute:
            if self._listen.lull is not None and self.mode == "live":
                self._listen.lull.heard()
            if self._duties_s == _UNKNOWN_S:
                self._duties_s = self._next_duty()
            if now_s < self._duties_s:
                self._keep_pace(now_s)
                return
        elif self._rest_on(now_s):
            if self._duties_s == _UNKNOWN_S:
                self._duties_s = self._next_duty()
            if now_s < self._duties_s and self.ear.pos < self.due_pos:
                self._set_wake(now_s)
                return
        if mute:
            self._leave_lane()
            for pos, frame in self.ear.conceal(now_s):
                self._listen.frame(pos, frame)
        for slot in tuple(self.slots.values()):
            if slot.due_s is not None:
                slot.tick(now_s)
        self._roll.tick(now_s)
        self._deadlines(now_s)
        self._let_go(now_s)
        self._whole_s = now_s
        lull = self._listen.lull
        if lull is not None and self.opened and self.mode != "lockstep":
            lull.tick(now_s, attached=self.attached, idle=self._listen.is_idle)
        self.step()
        self._duties_s = self._next_duty()
        self._set_wake(now_s)

    @property
    def _rests(self) -> bool:
        return self._listen.is_resting and self._speak.current is None

    def _rest_on(self, now_s: float) -> bool:
        """Silence up to now for a caller who is mute and in whom nothing is under way, all at once. False: it is not
        so."""
        if not self._rests:
            return False
        if self.ear.fill(now_s):
            self._listen.rest_over()
        return True

    def _keep_pace(self, now_s: float) -> None:
        """Nothing is due but the next piece of the reply."""
        reply = self._speak.current
        if reply is not None:
            self._speak.speak()
            if self._speak.current is not reply:
                self.step()
                return
        self._set_wake(now_s)

    @property
    def _may_conceal(self) -> bool:
        return self.opened and self.mode != "lockstep" and (self.mode == "live" or self.ear.ended)

    def _is_mute(self, now_s: float) -> bool:
        ear = self.ear
        after_s = CONCEAL_AFTER_S + self.patience_s - 1e-6
        return self._may_conceal and (ear.concealing or now_s - ear.last_s >= after_s)

    def detach(self) -> None:
        """The caller's connection broke: the reply stops where it is until somebody comes back."""
        self._leave_lane()
        self.attached = False
        self._speak.detach()
        self._close_due_s = self._clock() + self.plan.settings.resume_s
        self._wake()

    def attach(self) -> None:
        """The caller is here again."""
        self._rest_on(self._clock())
        self.attached = True
        self._close_due_s = None
        self._speak.attach()
        self.step()

    def close(self, reason: ev.CloseReason) -> None:
        """End now."""
        if self.closed or self._ending:
            return
        self._leave_lane()
        self._rest_on(self._clock())
        self._ending = True  # what is told on the way may not end it again
        self.law.closing()
        if self._speak.current is not None and self.law.current is not None:
            self._speak.fail(self._speak.current.id, "failed" if reason in ("error", "open_failed") else "interrupted")
        self._flush_dropped()
        self.closed = True
        for slot in self.slots.values():
            slot.close(drain=False)
        duration_s = round(self._clock() - self._started_s, 3)
        if self._hearing:
            self._count_audio(self._words_slot.provider)
        stats = self.record.stats(
            reason=reason, duration_s=duration_s, media_s=round(self.ear.at_s, 3), repairs=self.ear.repairs,
            concealed_ms=round(self.ear.concealed_ms), stale=self.law.stale + sum(s.stale for s in self.slots.values()),
        )  # fmt: skip
        self._send_event(ev.SessionClosed, reason=reason, stats=stats)
        self._observer.observe(SessionEnded(**self._labels(), reason=reason, duration_s=duration_s))
        self._outlet.closed(stats)

    # ------------------------------------------------------------------------------------------------- stepping

    def session_s(self) -> float:
        return self.ear.at_s if self.mode == "lockstep" else self._clock()

    def at_s(self) -> float:
        return self.ear.at_s

    def _heard_ms(self) -> float:
        return self._speak.heard_ms()

    def obey(self, orders: list[law.Order]) -> None:
        """Carry out the law's orders: all of one fact before those of the next."""
        self._orders.extend(orders)
        if self._obeying:
            return
        self._obeying = True
        try:
            while self._orders and not self.closed:
                order = self._orders.popleft()
                _ORDERS[type(order)](self, order)
        finally:
            self._obeying = False
        while self._later and not self.closed:
            slot, epoch, event = self._later.popleft()
            if slot.epoch == epoch:
                self.stage_event(slot, event)

    def _stir(self) -> None:
        """A stage has said something. What a stage says comes in bursts: one step for all of one turn of the loop."""
        if self._tell_stirred is None or self.mode != "live":
            self.step()
        elif not self._stirred:
            self._stirred = True
            self._tell_stirred()

    def step_owed(self) -> None:
        """The step that was owed since `stir` was told."""
        if self._stirred:
            self._sync()  # a batch may have come between
            self.step()

    def step(self) -> None:
        """After anything happened: what is due by media time, what may leave, who may speak next."""
        if self._stepping or self.closed:
            return
        self._stepping, self._stirred = True, False
        try:
            self._advance()
            for _ in range(_LOCKSTEP_BURST):
                if self.closed or not self._may_add_silence():
                    break
                self._listen.frame(*self.ear.add_silence())
                self._advance()
        finally:
            self._stepping = False
        if self.closed:
            return
        self._look_soon()
        self._note_due()
        if self.lane is not None:
            self.lane.limit()
        if self._accepts():
            self._outlet.accept()

    def _sync(self) -> None:
        if self.lane is not None:
            self.lane.sync()

    def _leave_lane(self) -> None:
        """Audio, or who gets it, moves another way than frame by frame."""
        if self.lane is not None:
            self.lane.leave()

    def _note_due(self) -> None:
        """What a frame is looked at for: nothing else of a session moves with the media position."""
        due_s = self.law.due_s
        if self._input_end_at_s is not None:
            due_s = self._input_end_at_s if due_s is None else min(due_s, self._input_end_at_s)
        self.due_pos = _NEVER if due_s is None else int(due_s * self.ear.rate_hz)
        voiced_s = self.law.voiced_due_s
        self.voiced_at = _NEVER if voiced_s is None else math.ceil(voiced_s * self.ear.rate_hz)

    def _advance(self) -> None:
        at_s = self.ear.at_s
        due_s = self.law.due_s
        while due_s is not None and at_s >= due_s and not self.closed:
            self.obey(self.law.tick(at_s))
            again_s = self.law.due_s
            due_s = None if again_s == due_s else again_s
        self._speak.speak()
        if self.closed:
            return
        self._speak.next()
        if self._input_end_at_s is not None and at_s >= self._input_end_at_s:
            self._end_model_input(at_s)
        if self._failing is not None and not self._obeying:
            self.close(self._failing)

    @property
    def _words_slot(self) -> StageSlot:
        return self.slots["s2s" if self.is_model else "stt"]

    def _may_add_silence(self) -> bool:
        return self.mode == "lockstep" and self.ear.ended and self.opened and not self._awaits()

    def _awaits(self) -> bool:
        """Lock-step: time stands still until this has been answered."""
        if not self.opened or any(slot.state == "opening" for slot in self.slots.values()):
            return True
        return self._listen.awaits or self._assess_due_s is not None or self._speak.awaits

    def _accepts(self) -> bool:
        if self.mode == "live":
            return True
        if self.mode == "lockstep":
            return not self._awaits()
        return self._listen.words.lag < self.ear.rate_hz  # a second behind: a file waits

    def _wake(self) -> None:
        """Something may be due that was not: look at everything with the host's next tick."""
        self.wake_s = self._duties_s = 0.0

    def _look_soon(self) -> None:
        """A deadline may have been set: none is nearer than this, and the events of a turn come in bursts."""
        if self.mode == "live":
            if self._duties_s:  # else everything is looked at with the next tick
                self._duties_s = _UNKNOWN_S
            self.wake_s = min(self.wake_s, self._clock() + _LOOK_S)
        else:
            self.wake_s = self._duties_s = 0.0

    def _next_duty(self) -> float:
        """When something other than the pace of the reply or a mute caller wants a tick."""
        speak = self._speak
        dues = [slot.due_s for slot in self.slots.values()]
        dues += (self._listen.final_due_s, self._close_due_s, self._assess_due_s, speak.agent_due_s)
        dues += (speak.tools.due_s, speak.answer_due_s, speak.model.due_s if speak.model else None, self._roll.due_s)
        if self._listen.lull is not None and self.lane is None:  # in step nobody is mute
            dues.append(self._listen.lull.due_s)
        if speak.current is not None:
            dues += (speak.current.voice_due_s, speak.current.context_due_s)
        if self._listen.words.lag:
            dues.append(self._whole_s + 0.1)
        if self._dropped:
            dues.append(self._dropped_since_s + 1.0)
        dues.append(self._settle_due_s)
        return min([d for d in dues if d is not None])

    def _set_wake(self, now_s: float) -> None:
        wake_s = self._duties_s
        reply = self._speak.current
        if reply is not None and self.mode != "lockstep":
            due_s = reply.mouth.due_s(now_s)
            if due_s is not None:
                wake_s = min(wake_s, due_s)
        if self._may_conceal and self.lane is None:  # else the host sees who falls mute
            if self._rests:
                step_s = min(_REST_STEP_S, max(0.0, (self.due_pos - self.ear.pos) / self.ear.rate_hz))
            else:
                step_s = _CONCEAL_STEP_S if self._listen.is_idle else 0.0
            wake_s = min(wake_s, now_s + step_s if self.ear.concealing else self.ear.last_s + CONCEAL_AFTER_S)
        self.wake_s = wake_s

    def _deadlines(self, now_s: float) -> None:
        listen, speak = self._listen, self._speak
        if listen.final_due_s is not None and now_s >= listen.final_due_s:
            listen.final_missing()
            self._after_final()
        if self._assess_due_s is not None and now_s >= self._assess_due_s:
            self._assess_due_s = None
        if speak.agent_due_s is not None and now_s >= speak.agent_due_s:
            speak.agent_due_s = None
            self.slots["agent"].fail(pi.Fault(kind="stall", detail="text was asked for and none came"))
        if speak.tools.due_s is not None:
            speak.tools.tick(now_s)
        if speak.answer_due_s is not None and now_s >= speak.answer_due_s:
            speak.client_silent()
        model = speak.model
        if model is not None and model.due_s is not None and now_s >= model.due_s:
            model.due_s = None
            self._model_stalled()
        reply = speak.current
        if reply is not None and reply.voice_due_s is not None and now_s >= reply.voice_due_s:
            reply.voice_due_s = None
            if reply.voice_busy and "tts" in self.slots:
                self.slots["tts"].fail(pi.Fault(kind="stall", detail="text was given and no audio came"))
        if reply is not None and reply.context_due_s is not None and now_s >= reply.context_due_s:
            speak.voice_idle()
        if self._close_due_s is not None and now_s >= self._close_due_s:
            self.close("caller_closed" if self._closing else "lost")

    @property
    def _model(self) -> ModelVoice:
        assert self._speak.model is not None  # asked for on speech-to-speech routes alone
        return self._speak.model

    @property
    def _agent(self) -> AgentVoice:
        assert self._speak.agent is not None  # asked for on routes with an agent alone
        return self._speak.agent

    def _respond(self, order: law.Respond) -> None:
        self._model.ask()

    def _model_stalled(self) -> None:
        self.slots["s2s"].fail(pi.Fault(kind="stall", detail="it was asked to answer and says nothing"))

    # --------------------------------------------------------------------------------------------------- events

    def emit(self, event: type[ev.Event], /, **fields: Any) -> None:
        if not self.closed:
            self._send_event(event, **fields)

    def _send_event(self, cls: type[ev.Event], /, **fields: Any) -> None:
        self._n += 1
        t = round(self.session_s() - (0.0 if self.mode == "lockstep" else self._started_s), 6)
        event = cls(session_id=self.session_id, n=self._n, t=t, **fields)
        self.record.see(event)
        self._outlet.event(event)

    def send_audio(self, reply_id: int, pos: int, pcm: bytes) -> bool:
        self._outlet.audio_out(reply_id, pos, pcm)
        return True

    def set_language(self, language: str) -> tuple[str, ...]:
        """The agent asks for another language: every stage that has one is told, now and when another opens."""
        slots = [slot for stage, slot in self.slots.items() if stage in ("stt", "agent", "tts", "s2s")]
        return self._options.change("language", language, slots)

    def tool_done(self, tool: str, outcome: str, latency_s: float) -> None:
        self._observer.observe(ToolDone(**self._labels(), tool=tool, outcome=outcome, latency_s=latency_s))

    def turn_answered(self, event: dict[str, Any]) -> None:
        stages = {s: self.slots[s].provider for s in ("stt", "agent", "tts") if s in self.slots}
        if self.is_model:
            stages = dict.fromkeys(("stt", "agent", "tts"), self.slots["s2s"].provider)
        self._observer.observe(
            TurnDone(
                **self._labels(), **stages, endpointing_s=event["endpoint"], stt_final_s=event["stt_final"],
                agent_first_s=event["agent_first"], tts_first_s=event["tts_first"], total_s=event["total"],
            )
        )  # fmt: skip

    def _labels(self) -> dict[str, str]:
        return {"route": self.plan.route, "tenant": self.plan.tenant_id, "region": self.plan.region}

    def _let_go(self, now_s: float) -> None:
        """What a stage is too far behind to be given: declared, counted, told once a second at most."""
        dropped = self._listen.drop_stale(self.mode == "live")
        ring = self.ear.ring
        if now_s >= self._settle_due_s:
            self._settle_due_s += _LET_GO_S * math.ceil((now_s - self._settle_due_s) / _LET_GO_S + 1e-9)
            if self.law.caller is law.CallerState.QUIET and self._listen.finalizing is None and self.opened:
                ring.settle(ring.end - round(_KEEP_QUIET_S * self.ear.rate_hz))
        if ring.dropped:
            dropped["replay"] = ring.dropped * 1000 / self.ear.rate_hz
            ring.dropped = 0
        for stage, ms in dropped.items():
            self.count_dropped(stage, ms, "drop_oldest")
        if self._dropped and self._clock() - self._dropped_since_s >= 1.0:
            self._flush_dropped()

    def count_dropped(self, stage: str, ms: float, policy: str) -> None:
        """Audio was let go of, here or on its way to or from here."""
        if not self._dropped:
            self._dropped_since_s = self._clock()
            due_s = self._dropped_since_s + 1.0
            self._duties_s, self.wake_s = min(self._duties_s, due_s), min(self.wake_s, due_s)
        self._dropped[stage, policy] = self._dropped.get((stage, policy), 0.0) + ms

    def _flush_dropped(self) -> None:
        for (stage, policy), ms in self._dropped.items():
            self.emit(ev.Dropped, stage=stage, ms=round(ms, 3), policy=policy)
            frames = round(ms / FRAME_MS)
            slot = next((s for name, s in self.slots.items() if name == stage), None)
            self._observer.observe(
                MediaDropped(**self._labels(), stage=stage, provider=slot.provider if slot else "", frames=frames)
            )
        self._dropped.clear()

    def _count_audio(self, provider: str) -> None:
        """Seconds of the caller that this provider was given."""
        heard_s = self.ear.at_s - self._heard_since_s - self._listen.take_passed_s()
        self.record.use(provider, input_s=round(heard_s, 3))
        self._heard_since_s = self.ear.at_s

    # ------------------------------------------------------------------------------------------- from the stages

    def stage_prepared(self, slot: StageSlot) -> None:
        self._roll_stages.prepared(slot)
        self._roll.prepared(slot)
        self._wake()

    def _ear_cut(self) -> None:
        """The ear was taken away in mid-utterance: what it had heard stands, nobody answers for the rest."""
        self._listen.final_missing()
        self._after_final()
        self.obey(self.law.ear_lost(self.ear.at_s))

    def stage_ready(self, slot: StageSlot) -> None:
        self._leave_lane()
        self._roll.serves(slot)
        self._listen.pump()
        if slot.stage in ("stt", "s2s"):
            self._hearing, self._heard_since_s = True, self.ear.at_s if self.opened else 0.0
            self._listen.take_passed_s()
            if self._listen.lull is not None:
                self._listen.lull.renewed()
        if not self.opened and all(s.state == "ready" for s in self.slots.values()):
            self.opened = True
            now_s = self._clock()
            self.ear.last_s = now_s
            self._observer.observe(SessionStarted(**self._labels(), setup_s=now_s - self._started_s))
            served = {stage: s.provider for stage, s in self.slots.items()}
            self.emit(
                ev.SessionOpened, route=self.plan.route, version=self.plan.version, providers=served, trace=self._trace
            )
            self._set_authority()
            self._speak.opened()
            if self._end_asked:
                self._end_turns()
        elif self.opened and slot.stage == "s2s":
            self._model.again()
        elif self.opened and slot.stage == "stt":
            self._set_authority()
        self._wake()
        self.step()

    def _set_authority(self) -> None:
        """A vendor that ends turns may; when it is replaced by one that does not, somebody else must."""
        if not self.is_model:
            turns = getattr(self._capabilities(self.slots["stt"].candidate), "turn_events", False)
            self.obey(self.law.set_authority("stt" if turns else "local", self.ear.at_s))

    def stage_voiced(self, pos: int, voiced: bool) -> None:
        if self._listen.voiced(pos, voiced) or self.mode == "lockstep":
            self.step()

    def stage_accepted(self, slot: StageSlot) -> None:
        if self._listen.words.lag:
            self._listen.pump()
        if self.mode != "live":
            self.step()

    def stage_event(self, slot: StageSlot, event: pi.ProviderEvent) -> None:
        if self.closed:
            return
        self._sync()
        self._rest_on(self._clock())
        if self._obeying:  # a provider in this process answers at once: its answer waits until the orders are done
            self._later.append((slot, slot.epoch, event))
            return
        if slot.stage in ("stt", "s2s") and type(event) in ANSWERS:
            self._deaf.answered()
        if isinstance(event, pi.Refused):
            detail = f"{slot.provider} does not change {', '.join(event.options)} in mid-call"
            self.emit(ev.Degraded, stage=slot.stage, detail=detail)
        elif isinstance(event, pi.Expiring):
            self._roll.expiring(slot, event.in_s)
            self._wake()
        elif isinstance(event, pi.Resumable):
            self._roll_stages.resumable(slot, event.handle)
        elif isinstance(event, pi.Usage):
            self.record.report(slot.stage, slot.provider, event.amounts)
        elif slot.stage == "stt":
            self._stt_event(slot, event)
        elif slot.stage == "agent":
            self._agent.event(event)
        elif slot.stage == "tts":
            self._speak.voice_event(event)
        elif slot.stage == "s2s":
            self._model_event(slot, event)
        elif slot.stage == "turn" and isinstance(event, pi.Assessment):
            self._assess_due_s = None
            self.obey(self.law.assessed(event.utt, event.p_complete, event.wait_s, self.ear.at_s))
        self._stir()

    def stage_changed(self, slot: StageSlot, before: str, why: str) -> None:
        self._leave_lane()
        self._roll.gone(slot)
        if why != "expired":  # else its time was up, and it serves on
            self.emit(ev.ProviderChanged, stage=slot.stage, before=before, after=slot.provider, why=why)
        if slot.stage in FALLBACKS and slot.candidate.type == FALLBACKS[slot.stage]:
            self.emit(ev.Degraded, stage=slot.stage, detail=f"every candidate failed; {slot.provider} stands in")
        if slot.stage in ("stt", "s2s"):
            self._tell_final_p99(slot)
            if self._hearing:
                self._count_audio(before)
            self._hearing = False
            self._deaf.answered()  # the next one is not to blame for what this one missed
            self._listen.final_missing()
            self._after_final()
        if slot.stage == "stt" and self.opened:
            self.obey(self.law.ear_lost(self.ear.at_s))
            self.obey(self.law.set_authority("local", self.ear.at_s))
            if self.law.caller is law.CallerState.SPEAKING:
                slot.send(wire.SttSpeechStart(utt=self.law.utt, pos=self._listen.words.to_stream(self.ear.pos)))
        if slot.stage == "agent":
            self._agent.changed()
        elif slot.stage == "tts":
            self._speak.voice_changed()
        elif slot.stage == "turn":
            self._assess_due_s = None
        elif slot.stage == "s2s" and self.opened:
            self._tell_history(slot)
        self._wake()

    def _tell_history(self, slot: StageSlot) -> None:
        """The next model knows what was said: the history as text."""
        if self._listen.vad is None and self.law.caller is law.CallerState.SPEAKING:
            at_s = self.ear.at_s  # it alone would have said that the caller stopped
            self.obey(self.law.speech_stopped(at_s, at_s))
        self._model.changed()
        if slot.state == "opening" and self._roll_stages.resume(slot.provider) is not None:
            return  # it comes back to the conversation as the vendor kept it
        for item in self._speak.history.items():
            slot.send(wire.S2sInject(role=item.role if item.role != "tool" else "system", text=as_text(item)))

    def stage_exhausted(self, slot: StageSlot, fault: pi.Fault) -> None:
        self._leave_lane()
        if slot.stage in FALLBACKS and self.opened:
            self._assess_due_s = None
            return  # without a turn detector the default wait holds
        self.emit(
            ev.ErrorEvent, stage=slot.stage, provider=slot.provider, kind=fault.kind, detail=fault.detail, fatal=True,
            retry_after=fault.retry_after_s,
        )  # fmt: skip
        self._failing = "error" if self.opened else "open_failed"
        self._wake()

    def _stt_event(self, slot: StageSlot, event: pi.ProviderEvent) -> None:
        at_s = self.ear.at_s
        if isinstance(event, pi.Partial):
            if event.text:
                self.emit(ev.TranscriptPartial, utterance_id=event.utt or self.law.utt, text=event.text)
            self._listen.partial(event)
        elif isinstance(event, pi.Final):
            self._final(slot, event)
        elif isinstance(event, pi.Finalized):
            self._listen.finalized(event)
            self._after_final()
        elif isinstance(event, pi.Formatted):
            self._formatted(slot, event)
        elif isinstance(event, pi.EagerEnd):
            self._stamp(at_s, self._listen.gate.last_voiced / self.ear.rate_hz)
            self.obey(self.law.eager_end(event.text, at_s))
        elif isinstance(event, pi.Resumed):
            self.obey(self.law.eager_resumed(at_s))
        elif isinstance(event, pi.VendorTurnEnded):
            self.obey(self.law.provider_turn_ended(event.text, at_s))

    def _final(self, slot: StageSlot, event: pi.Final) -> None:
        start_s, end_s = self._listen.final(event)
        if event.text:
            words = None
            if event.words is not None:
                words = tuple(ev.Word(w.text, *self._listen.word_times(w)) for w in event.words)
            self._final_s = self.session_s()
            self.emit(
                ev.TranscriptFinal, utterance_id=event.utt or self.law.utt, text=event.text, start=start_s, end=end_s,
                provider=slot.provider, words=words, language=event.language, confidence=event.confidence,
            )  # fmt: skip
        orders = self.law.final(event.text, end_s, self.ear.at_s, start_s)
        if event.text:
            utt = event.utt or self.law.utt
            heard = Heard(slot.epoch, event.to_pos, utt, self.law.words_turn, event.text, start_s, end_s)
            self._wording.heard(heard)
        self.obey(orders)

    def _formatted(self, slot: StageSlot, event: pi.Formatted) -> None:
        final = self._wording.formatted(slot.epoch, event.to_pos, event.text.strip())
        if final is None:
            return
        self.emit(
            ev.TranscriptFormatted, utterance_id=final.utt, text=event.text.strip(), start=final.start_s,
            end=final.end_s, provider=slot.provider,
        )  # fmt: skip
        if final.turn is not None:
            for keeper in (self.law, self._speak.history, self.record):
                keeper.reword(final.turn, final.text, event.text.strip())

    def _after_final(self) -> None:
        """The answer to the last `finalize` has come, or will not."""
        if self._waiting_end and self._listen.finalizing is None:
            self._waiting_end = False
            self.obey(self.law.input_ended(self.ear.at_s))
        if self._closing and self._listen.finalizing is None:
            self._failing = "caller_closed"

    def _model_event(self, slot: StageSlot, event: pi.ProviderEvent) -> None:
        rate_hz, at_s, listen = self.ear.rate_hz, self.ear.at_s, self._listen
        if isinstance(event, pi.SttSpeechStarted):
            if listen.vad is None:
                pos_s = listen.words.to_ear(event.pos) / rate_hz
                self.obey(self.law.speech_started(at_s, pos_s, self._heard_ms()))
        elif isinstance(event, pi.SttSpeechStopped):
            if listen.vad is None:
                self.obey(self.law.speech_stopped(at_s, listen.words.to_ear(event.pos) / rate_hz))
        elif isinstance(event, pi.InputText):
            self._input_text(slot, event)
        else:
            self._model.event(event)

    def _input_text(self, slot: StageSlot, event: pi.InputText) -> None:
        utt, ring, rate_hz = self.law.utt, self.ear.ring, self.ear.rate_hz
        if not event.final:
            self.emit(ev.TranscriptPartial, utterance_id=utt, text=event.text)
            self.obey(self.law.partial(event.text, self.ear.at_s))
            return
        words = self._listen.words
        begin = ring.start if event.from_pos is None else max(ring.start, words.to_ear(event.from_pos))
        end = ring.end if event.to_pos is None else words.to_ear(event.to_pos)
        ring.settle(end)
        if event.text:
            self._final_s = self.session_s()
            self.emit(
                ev.TranscriptFinal, utterance_id=utt, text=event.text, start=begin / rate_hz, end=end / rate_hz,
                provider=slot.provider,
            )  # fmt: skip
            self._speak.history.user(-1_000_000 - self._n, event.text)
        self.obey(self.law.final(event.text, end / rate_hz, self.ear.at_s))

    # ---------------------------------------------------------------------------------------- orders of the law

    def _stamp(self, at_s: float, last_voiced_s: float) -> None:
        """The turn is decided now: `turn.latency` counts from its last voiced frame."""
        now_s = self.session_s()
        self._speak.stamps = Stamps(
            last_voiced_s=now_s - (at_s - last_voiced_s), decided_s=now_s, final_s=self._final_s
        )

    def stamps_of_speech(self) -> Stamps:
        """A model decides the turn by answering, and often tells what it heard after that."""
        if self._answered_utt == self.law.utt:
            return Stamps()  # it goes on by itself: a tool, a silence
        self._answered_utt = self.law.utt
        self._stamp(self.ear.at_s, self.law.last_voiced_s)
        return self._speak.stamps

    def _speech_began(self, order: law.SpeechBegan) -> None:
        self._final_s = None
        start_s = max(0.0, order.at_s - self.plan.settings.vad.prefix_s)
        self._deaf.began(order.at_s)
        self.emit(ev.SpeechStarted, utterance_id=order.utt, at=round(start_s, 6))
        pos = self._listen.words.to_stream(round(start_s * self.ear.rate_hz))
        if not self.is_model:
            self.slots["stt"].send(wire.SttSpeechStart(utt=order.utt, pos=pos))
        elif self._listen.vad is not None:
            self.slots["s2s"].send(wire.S2sActivity(on=True, pos=pos))

    def _speech_ended(self, order: law.SpeechEnded) -> None:
        self._deaf.ended(order.at_s)
        self.emit(ev.SpeechStopped, utterance_id=order.utt, at=round(order.at_s, 6))
        pos = self._listen.words.to_stream(round(order.at_s * self.ear.rate_hz))
        if not self.is_model:
            self.slots["stt"].send(wire.SttSpeechEnd(utt=order.utt, pos=pos))
        elif self._listen.vad is not None:
            self.slots["s2s"].send(wire.S2sActivity(on=False, pos=pos))

    def _speech_dropped(self, order: law.SpeechDropped) -> None:
        self.emit(ev.SpeechDiscarded, utterance_id=order.utt)
        if self._deaf.unanswered():
            detail = "speech was heard and no word came of it, not even an empty one"
            self._words_slot.fail(pi.Fault(kind="stall", detail=detail))

    def _assess(self, order: law.Assess) -> None:
        slot = self.slots.get("turn")
        if slot is None or slot.state != "ready":
            return
        caps = self._capabilities(slot.candidate)
        asked, self._asked = self._asked, (slot.epoch, order.utt)
        reads = getattr(caps, "needs_text", True) or getattr(caps, "needs_history", False)
        if asked == self._asked and not reads:
            return  # the text has changed, and it hears the same pause: its answer stands
        tail = b""
        if getattr(caps, "needs_audio", False):
            wanted_hz = self.ear.rate_hz if slot.port is None else slot.port.rate_hz
            tail = turn_tail(self.ear.ring, self.ear.rate_hz, order.from_s, wanted_hz)
        history = self._speak.history.items() if getattr(caps, "needs_history", False) else ()
        question = pi.Assess(
            stream=0, utt=order.utt, text=order.text, pause_ms=order.pause_s * 1000, audio=tail, history=history
        )
        self._assess_due_s = self._clock() + _ASSESS_S
        slot.send(wire.TurnAssess(question=question))

    def _turn_over(self, order: law.TurnOver) -> None:
        if self.is_model:
            self._speak.stamps.final_s = self._final_s
        else:
            voiced_s = order.last_voiced_s
            if self.law.authority == "stt":  # it may be quicker than the VAD, who has not said yet that speech stopped
                voiced_s = max(voiced_s, self._listen.gate.last_voiced / self.ear.rate_hz)
            self._stamp(self.ear.at_s, voiced_s)
        if order.provisional:
            self._speak.stamps.final_s = None
        self.emit(
            ev.TurnEnded, turn_id=order.turn, text=order.text, why=order.why, revision=order.revision,
            provisional=order.provisional,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------ ops of the caller

    def _end_input(self, op: ev.Op) -> None:
        if self._end_asked:
            return  # said again by a caller that came back
        self._end_asked = True
        self._leave_lane()
        self.ear.end(self._clock())
        self._wake()
        if self.opened:
            self._end_turns()

    def _end_turns(self) -> None:
        """The input has ended and every stage is open: the open turn ends, and the call after its reply."""
        at_s = self.ear.at_s
        if self.is_model:
            self._input_end_at_s = at_s + _MODEL_END_S
        elif self.law.caller is law.CallerState.QUIET:
            self._waiting_end = True  # words that the VAD did not notice are words
            self._listen.finalize(self.law.utt)
        else:
            self.obey(self.law.input_ended(at_s))

    def _end_model_input(self, at_s: float) -> None:
        quiet = self.law.caller is law.CallerState.QUIET
        assert self._input_end_at_s is not None
        if quiet or at_s >= self._input_end_at_s + _MODEL_END_MAX_S:
            self._input_end_at_s = None
            self.obey(self.law.input_ended(at_s))
            if not quiet and not self.closed:
                self.close("input_ended")

    def _close_op(self, op: ev.Op) -> None:
        self.law.closing()
        if self.is_model or not self.opened:
            self.close("caller_closed")
            return
        self._closing = True
        self._close_due_s = self._clock() + 5.0
        self._listen.finalize(self.law.utt)
        self._wake()

    def _interrupt(self, op: ev.Op) -> None:
        self.obey(self.law.interrupt(self.ear.at_s))


_OPS: dict[type, Callable[[VoiceSession, Any], None]] = {
    ev.Played: lambda s, op: s._speak.played(op),
    ev.Say: lambda s, op: s._speak.say(op),
    ev.SayText: lambda s, op: s._speak.say_more(op.say_id, op.text, end=False),
    ev.SayEnd: lambda s, op: s._speak.say_more(op.say_id, "", end=True),
    ev.Interrupt: VoiceSession._interrupt,
    ev.Dtmf: lambda s, op: s._speak.dtmf(op.digits),
    ev.EndInput: VoiceSession._end_input,
    ev.CallerClose: VoiceSession._close_op,
}
_ORDERS: dict[type, Callable[[VoiceSession, Any], None]] = {
    law.SpeechBegan: VoiceSession._speech_began,
    law.SpeechEnded: VoiceSession._speech_ended,
    law.SpeechDropped: VoiceSession._speech_dropped,
    law.Finalize: lambda s, o: s._listen.finalize(o.utt),
    law.Assess: VoiceSession._assess,
    law.Respond: VoiceSession._respond,
    law.ModelSilent: lambda s, o: s._model_stalled(),
    law.TurnOver: VoiceSession._turn_over,
    law.Ask: lambda s, o: s._speak.ask(o),
    law.OpenGate: lambda s, o: s._speak.open_gate(o),
    law.CancelReply: lambda s, o: s._speak.cancel(o),
    law.HoldReply: lambda s, o: s._speak.hold(o),
    law.ResumeReply: lambda s, o: s._speak.resume(o),
    law.StopReply: lambda s, o: s._speak.stop(o),
    law.PromptDue: lambda s, o: s._speak.prompt(o.index),
    law.Close: lambda s, o: s.close(o.reason),
}
