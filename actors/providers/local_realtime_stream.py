"""One conversation of `local-realtime`: audio in, turns by the turn law, an ear, an agent and a voice between.

    audio ──► VAD ──gate──► turn law ──Ask──► agent ──text──► voice ──► audio of a response
          └─► ear ──finals──┘   └── speech_started/stopped, response_started, interrupted

The law is the session's own (`actors.turn_law`); here it is the authority, there it is told. A response has the number
that the law gives its reply. What the caller has heard is reckoned on the media clock from the first audio, and
corrected by what the session tells (`heard`).

Units    positions in samples at `RATE_HZ`, `_s` media seconds. The one deadline off the media clock: the ear's final.
Bounds   the history keeps 200 items; responses are one at a time; an asked-for text waits for the floor, the last one
         only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from actors import turn_law as law
from actors.providers import interface as i
from actors.providers import options as stream_options
from actors.providers.local_realtime_memory import Memory, Response
from actors.resample import Resampler
from actors.turn_table import ReplyState
from actors.voice_gate import VoiceGate
from router.settings import BargeIn, Endpointing, SessionSettings

if TYPE_CHECKING:
    from actors.providers.local_realtime import LocalRealtimeOptions, Parts

__all__ = ["RATE_HZ", "LocalRealtimeStream"]

RATE_HZ = 16000
"""In and out; what pocketsphinx's model was trained on."""
_FRAME = RATE_HZ // 50
_LIVE = ("prefix", "rate_wpm", "script", "voice")
"""Options that may change in mid-call."""


class LocalRealtimeStream:
    """An S2sStream."""

    def __init__(
        self,
        parts: Parts,
        options: LocalRealtimeOptions,
        spec: i.StreamSpec,
        number: int,
        emit: i.Emit,
        gone: Callable[[Any], None],
    ) -> None:
        self._parts, self._options, self._emit, self._gone = parts, options, emit, gone
        self._spec = replace(spec, stream=number, options={})
        self._settings = SessionSettings(
            endpointing=Endpointing(min_s=options.min_pause_s, max_s=max(options.min_pause_s, options.max_pause_s)),
            barge_in=BargeIn(min_speech_s=options.min_speech_s),
            max_duration_s=86_400.0,
        )
        self._law = law.TurnLaw(self._settings)
        self._gate = VoiceGate(self._settings.vad, RATE_HZ)
        self._zero = self._pos = self._settled = spec.pos
        self._rest = b""
        self._memory = Memory()
        self._response: Response | None = None
        self._say: str | None = None
        """What the session wants said; spoken when `respond` comes and the floor is free."""
        self._wants_say = False
        self._final_wait_s = 1.0
        self._voice_hz = RATE_HZ
        self._deadline: asyncio.TimerHandle | None = None
        self._resampler: Resampler | None = None
        self._stt: Any = None
        self._agent: Any = None
        self._tts: Any = None
        self._is_closed = False

    async def open(self, agent: i.AgentProvider) -> None:
        """Open a stream of each part. Raises ProviderError, and leaves none open."""
        try:
            self._stt = await self._parts.stt.open(self._part_spec(RATE_HZ), self._on_stt)
            self._agent = await agent.open(self._part_spec(RATE_HZ), self._on_agent)
            ear: Any = self._parts.stt.capabilities({})
            self._final_wait_s = ear.final_p99_s
            rates_hz = self._parts.tts.capabilities({}).rates_hz
            self._voice_hz = RATE_HZ if RATE_HZ in rates_hz else rates_hz[0]
            self._tts = await self._parts.tts.open(self._part_spec(self._voice_hz), self._on_tts)
            self._tts.update({"voice": self._options.voice, "rate_wpm": self._options.rate_wpm})
            self._parts.vad.attach(self._part_spec(RATE_HZ))
            self._parts.turn.attach(self._part_spec(RATE_HZ))
        except BaseException:
            await self.close(drain=False)
            raise

    def _part_spec(self, rate_hz: int) -> i.StreamSpec:
        return replace(self._spec, rate_hz=rate_hz)

    # ---------------------------------------------------------------------------------------------- what is asked

    def audio(self, pos: int, pcm: bytes) -> None:
        """Whole frames are looked at as they fill; a gap in the positions is silence for the ear."""
        if self._is_closed:
            return
        expected = self._pos + len(self._rest) // 2
        if pos != expected:
            self._pos, self._rest = (pos, b"") if pos > expected else (self._pos, self._rest)
            pcm = pcm[2 * max(0, expected - pos) :]
        data = self._rest + pcm
        whole = len(data) // (2 * _FRAME) * 2 * _FRAME
        self._rest = data[whole:]
        for at in range(0, whole, 2 * _FRAME):
            self._frame(data[at : at + 2 * _FRAME])

    def activity_start(self, pos: int) -> None:
        """It listens itself."""

    def activity_end(self, pos: int) -> None:
        """It listens itself."""

    def respond(self) -> None:
        self._wants_say = True
        self._try_say()

    def cancel(self, response: int) -> None:
        if self._response is not None and self._response.id == response:
            self._obey(self._law.interrupt(self._at_s), asked=True)

    def heard(self, response: int, ms: float) -> None:
        if self._response is not None and self._response.id == response:
            self._response.told_ms = ms
        else:
            self._memory.heard(response, ms, self._at_s)

    def tool_result(self, id: str, result: str, ok: bool, answer: bool) -> None:
        """It calls no tools."""

    def inject(self, role: Literal["user", "agent", "system"], text: str) -> None:
        """Into the history; a text of the agent's is spoken if `respond` follows."""
        self._settle_say()
        if role == "agent":
            self._say = text
        else:
            self._memory.add(i.Item(role=role, said=text))

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        live = {name: value for name, value in options.items() if name in _LIVE}
        self._options, refused = stream_options.changed(self._options, live)
        taken = {name: value for name, value in live.items() if name not in refused}
        no_voice = self._tts.update({name: value for name, value in taken.items() if name in ("voice", "rate_wpm")})
        no_agent = self._agent.update({name: value for name, value in taken.items() if name in ("prefix", "script")})
        return (*refused, *no_voice, *no_agent, *(name for name in options if name not in live))

    async def close(self, *, drain: bool) -> None:
        if self._is_closed:
            return
        if drain and self._tts is not None:
            await self._tts.close(drain=True)
        self._is_closed = True
        if self._deadline is not None:
            self._deadline.cancel()
        for stream in (self._stt, self._agent, self._tts):
            if stream is not None:
                await stream.close(drain=False)
        self._parts.vad.detach(self._spec.stream)
        self._parts.turn.detach(self._spec.stream)
        self._gone(self)

    # ------------------------------------------------------------------------------------------------------ audio

    @property
    def _at_s(self) -> float:
        return self._pos / RATE_HZ

    def _frame(self, frame: bytes) -> None:
        self._stt.audio(self._pos, frame)
        self._pos += _FRAME
        voiced = bool(self._parts.vad.classify((self._spec.stream,), (frame,))[0])
        change = self._gate.frame(self._pos, voiced)
        if change is True:
            heard_ms = self._response.heard_ms(self._at_s) if self._response is not None else 0.0
            self._obey(self._law.speech_started(self._at_s, self._gate.began / RATE_HZ, heard_ms))
        elif change is False:
            self._obey(self._law.speech_stopped(self._at_s, self._gate.last_voiced / RATE_HZ))
        elif voiced and self._law.voiced_due_s is not None:
            self._obey(self._law.voiced(self._pos / RATE_HZ))
        self._played_out()
        due_s = self._law.due_s
        if due_s is not None and self._at_s >= due_s:
            self._obey(self._law.tick(self._at_s))
        if self._wants_say:
            self._try_say()

    def _played_out(self) -> None:
        """A response is over when its last sample was played."""
        response = self._response
        if response is not None and self._law.reply is ReplyState.SPEAKING and response.is_played(self._at_s):
            self._memory.add(i.Item(role="agent", said=response.spoken.text))
            self._response = None
            self._obey(self._law.reply_done(response.id, self._at_s))

    # -------------------------------------------------------------------------------------------- the law's orders

    def _obey(self, orders: Sequence[law.Order], *, asked: bool = False) -> None:
        """`asked`: the session wants it so, and need not be told that the model was interrupted."""
        for order in orders:
            match order:
                case law.SpeechBegan(utt, at_s):
                    begin = max(self._settled, round((at_s - self._settings.vad.prefix_s) * RATE_HZ), self._zero)
                    self._stt.speech_start(utt, begin)
                    self._say_event(i.SttSpeechStarted(pos=round(at_s * RATE_HZ)))
                case law.SpeechEnded(utt, at_s):
                    self._stt.speech_end(utt, round(at_s * RATE_HZ))
                    self._say_event(i.SttSpeechStopped(pos=round(at_s * RATE_HZ)))
                case law.Finalize(utt):
                    self._finalize(utt)
                case law.Assess(utt, text, pause_s):
                    self._assess(utt, text, pause_s)
                case law.TurnOver(turn, _, text):
                    self._hear_turn(turn, text)
                case law.Ask(reply, turn, revision):
                    self._begin(Response(reply, turn, revision, RATE_HZ))
                    self._agent.reply(turn, revision, self._memory.items(), (), "user")
                case law.CancelReply(reply) | law.StopReply(reply):
                    self._drop(reply, isinstance(order, law.StopReply), asked)
                case law.HoldReply():
                    if self._response is not None:
                        self._response.held_s = self._at_s
                case law.ResumeReply():
                    if self._response is not None:
                        self._response.resume(self._at_s)
                case law.Close():
                    self._say_event(i.Fault(kind="expired", detail="a conversation lasts a day at most"))
                case law.SpeechDropped() | law.OpenGate() | law.PromptDue():
                    pass

    def _finalize(self, utt: int) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(self._final_wait_s, self._final_missing, utt)
        self._stt.finalize(utt, self._pos)

    def _final_missing(self, utt: int) -> None:
        self._deadline = None
        self._obey(self._law.final_timeout(utt, self._at_s))

    def _assess(self, utt: int, text: str, pause_s: float) -> None:
        question = i.Assess(
            stream=self._spec.stream, utt=utt, text=text, pause_ms=pause_s * 1000, history=self._memory.items()
        )
        for answer in self._parts.turn.assess((question,)):
            self._obey(self._law.assessed(answer.utt, answer.p_complete, answer.wait_s, self._at_s))

    def _hear_turn(self, turn: int, text: str) -> None:
        self._settle_say()
        self._memory.user(turn, text)

    def _drop(self, reply: int, interrupted: bool, asked: bool) -> None:
        """Whoever works on it is told to stop; what was heard of it stays in the history."""
        response = self._response
        if response is None or response.id != reply:
            return
        self._response = None
        self._agent.cancel(response.turn)
        self._tts.cancel(reply)
        if interrupted:
            self._memory.interrupted(response, self._at_s)
        if not asked:
            self._say_event(i.ModelInterrupted(response=reply))
        if not response.is_made:
            self._say_event(i.ResponseDone(response=reply, status="cancelled"))

    # -------------------------------------------------------------------------------------------- texts asked for

    def _try_say(self) -> None:
        """Take the floor if it is free; else the next frame tries again."""
        number = self._law.say(self._at_s)
        if number is None:
            return
        self._wants_say = False
        text, self._say = self._say, None
        self._begin(Response(number, -number, 0, RATE_HZ))  # turns of the law count from 1
        if text is not None:
            self._speak(number, text)
            return
        has_said = any(item.role == "user" for item in self._memory.items())
        self._agent.reply(-number, 0, self._memory.items(), (), "user" if has_said else "greeting")

    def _settle_say(self) -> None:
        """A text of the agent's that was not asked to be spoken is something said before."""
        if self._say is not None and not self._wants_say:
            self._memory.add(i.Item(role="agent", said=self._say))
            self._say = None

    # ------------------------------------------------------------------------------------------------- the parts

    def _begin(self, response: Response) -> None:
        self._response = response
        self._resampler = Resampler(self._voice_hz, RATE_HZ)
        self._say_event(i.ResponseStarted(response=response.id))

    def _speak(self, number: int, text: str) -> None:
        response = self._response
        assert response is not None
        response.spoken.text = text
        self._say_event(i.OutputText(response=number, delta=text))
        self._tts.begin(number, {})
        self._tts.text(number, text)
        self._tts.end(number)

    def _on_agent(self, event: i.ProviderEvent) -> None:
        response = self._response
        if isinstance(event, i.Fault):
            self._say_event(event)
        if response is None or getattr(event, "turn", None) != response.turn:
            return
        if isinstance(event, i.Action):
            self._say_event(msgspec.structs.replace(event, turn=response.id))
        elif isinstance(event, i.TextDelta) and event.revision == response.revision:
            response.spoken.text += event.delta
        elif isinstance(event, i.AgentDone) and event.revision == response.revision:
            if response.spoken.text.strip():
                self._speak(response.id, response.spoken.text)
            else:
                self._over_without_sound(response)

    def _over_without_sound(self, response: Response) -> None:
        self._response = None
        self._say_event(i.ResponseDone(response=response.id))
        self._obey(self._law.reply_done(response.id, self._at_s))

    def _on_tts(self, event: i.ProviderEvent) -> None:
        response = self._response
        if isinstance(event, i.Fault):
            self._say_event(event)
        if response is None or getattr(event, "reply", None) != response.id or self._resampler is None:
            return
        if isinstance(event, i.TtsAudio):
            self._sound(response, self._resampler.feed(event.pcm))
        elif isinstance(event, i.Align):
            response.spoken.words.append((event.end_ms, event.char_to))
        elif isinstance(event, i.Done):
            self._sound(response, self._resampler.flush())
            response.is_made = True
            if response.begun_s is None:
                self._over_without_sound(response)
            else:
                self._say_event(i.ResponseDone(response=response.id))

    def _sound(self, response: Response, pcm: bytes) -> None:
        if not pcm:
            return
        if response.begun_s is None:
            response.begun_s = self._at_s
            self._obey(self._law.reply_audio(response.id, self._at_s))
        self._say_event(i.TtsAudio(reply=response.id, pos=response.samples, pcm=pcm))
        response.samples += len(pcm) // 2

    def _on_stt(self, event: i.ProviderEvent) -> None:
        match event:
            case i.Partial():
                if event.text:
                    self._say_event(i.InputText(text=event.text, final=False))
                self._obey(self._law.partial(event.text, self._at_s))
            case i.Final():
                self._settled = max(self._settled, event.to_pos)
                if event.text:
                    heard = i.InputText(text=event.text, final=True, from_pos=event.from_pos, to_pos=event.to_pos)
                    self._say_event(heard)
                self._obey(self._law.final(event.text, event.to_pos / RATE_HZ, self._at_s))
            case i.Finalized():
                if self._deadline is not None:
                    self._deadline.cancel()
                    self._deadline = None
                self._obey(self._law.finalized(event.to_pos / RATE_HZ, self._at_s))
            case i.Fault() | i.Expiring():  # what it hears and gives, the session counts
                self._say_event(event)
            case _:
                pass
        if self._wants_say:
            self._try_say()

    def _say_event(self, event: i.ProviderEvent) -> None:
        if not self._is_closed:
            self._emit(event)
