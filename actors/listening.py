"""The caller's half of a session: ear, voice gate, the cursors of VAD and speech-to-text, and who owes an answer.

    frame ──► ring ──► VAD feed ──► verdicts ──► gate ──► law
                  └──► STT feed ──► partials, finals ──► law, settle

It tells the law what it hears and hands the law's orders on; it decides nothing about turns.

Units    positions in samples of the ear; deadlines of providers in loop time.
"""

from __future__ import annotations

from collections.abc import Callable

from actors import wire
from actors.audio_feed import AudioFeed
from actors.ear import Ear
from actors.lull import Lull
from actors.providers.interface import Final, Finalized, Partial, TimedWord
from actors.stage_slot import StageSlot
from actors.turn_law import TurnLaw
from actors.turn_table import CallerState, Order
from actors.voice_gate import VoiceGate
from router.settings import SessionSettings

__all__ = ["Listening"]

_FINALIZE_SLACK_S = 0.5  # beside the STT's declared p99: the way there and back, and a busy machine


class Listening:
    """Owned by one session. `obey` carries out the law's orders."""

    def __init__(
        self,
        settings: SessionSettings,
        law: TurnLaw,
        ear: Ear,
        vad: StageSlot | None,
        words: StageSlot,
        obey: Callable[[list[Order]], None],
        heard_ms: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self.ear, self.law = ear, law
        self.gate = VoiceGate(settings.vad, ear.rate_hz)
        self.words = AudioFeed(words, ear.ring, ear.rate_hz)
        self.vad = None if vad is None else AudioFeed(vad, ear.ring, ear.rate_hz)
        self.lull = Lull(ear, self.words, words) if words.stage == "stt" else None
        """None: a speech-to-speech model hears silence too."""
        self.vad_pos = 0
        """Verdicts have come up to here."""
        self.final_p99_s = 1.0
        self.finalizing: int | None = None
        """The utterance whose `finalized` is owed."""
        self.final_due_s: float | None = None
        self.final_missed = False
        """The answer to the last `finalize` did not come."""
        self.settled_to = 0
        """The ear has said that every final up to here has come."""
        self._finalize_at = self._renewed_at = 0
        self._finalize_sent = True
        self._words, self._obey, self._heard_ms, self._clock = words, obey, heard_ms, clock
        law.has_verdicts = vad is not None

    # ---------------------------------------------------------------------------------------------- audio in

    def frame(self, pos: int, frame: bytes) -> None:
        if self.vad is not None:
            self.vad.push(pos, frame)
        if self.lull is None or not self.lull.resting or not self.lull.takes(pos + len(frame) // 2):
            self.words.push(pos, frame)
        if not self._finalize_sent:
            self._finalize()

    @property
    def is_straight(self) -> bool:
        """Everybody has been given all that there is."""
        return not self.words.lag and (self.vad is None or not self.vad.lag)

    def pass_over(self, to: int) -> None:
        """What lies before `to` is a hole in the caller's audio."""
        self.words.pass_over(to)
        if self.vad is not None:
            self.vad.pass_over(to)
            self.vad_pos = to
        if not self._finalize_sent:
            self._finalize()

    @property
    def is_resting(self) -> bool:
        """A mute caller in whom nothing is under way, all of whose audio was judged: its silence need not be heard."""
        if self.lull is None or not self.lull.resting or not self.ear.concealing or not self.is_idle:
            return False
        vad = self.vad
        return vad is None or (not vad.lag and self.vad_pos >= vad.sent and not self.gate.speaking)

    def rest_over(self) -> None:
        """What the ear filled in while the session rests: the clock goes on, nobody is given it."""
        if self.lull is not None and self.lull.takes(self.ear.pos) and self.vad is not None:
            self.vad.pass_over(self.ear.pos)
            self.vad_pos = self.ear.pos

    def pump(self) -> None:
        """Credit came back, or a stream was opened."""
        if self.vad is not None:
            self.vad.pump()
        self.words.pump()
        if not self._finalize_sent:
            self._finalize()

    def voiced(self, pos: int, voiced: bool) -> bool:
        """A verdict of the VAD on the frame that ends at `pos` (of its own clock). True: the law was told of it."""
        assert self.vad is not None
        end = self.vad.to_ear(pos)
        self.vad_pos = end
        change = self.gate.frame(end, voiced)
        if change is None:
            due_s = self.law.voiced_due_s if voiced else None
            if due_s is None or end < due_s * self.ear.rate_hz:
                return False
        self.verdict(end, change)
        return True

    def verdict(self, end: int, change: bool | None) -> None:
        """What the gate made of a verdict: speech started (True), stopped, or (None) a voiced frame that counts."""
        rate, at_s = self.ear.rate_hz, self.ear.at_s
        if change is None:
            self._obey(self.law.voiced(end / rate))
        elif change:
            self._obey(self.law.speech_started(at_s, self.gate.began / rate, self._heard_ms()))
        else:
            self._obey(self.law.speech_stopped(at_s, self.gate.last_voiced / rate))

    @property
    def awaits(self) -> bool:
        """Something of the audio given so far has not been answered (for lock-step)."""
        port = self._words.port
        behind = self.words.lag > 0 or port is None or port.unaccepted > 0
        return behind or self.finalizing is not None or (self.vad is not None and self.vad_pos < self.ear.pos)

    @property
    def is_idle(self) -> bool:
        """No speech, no open turn, no final owed: what the ear of the route has heard, it has answered."""
        return self.law.caller is CallerState.QUIET and not self.law.has_words and self.finalizing is None

    def take_passed_s(self) -> float:
        """Seconds of silence that speech to text was spared since this was last asked."""
        return 0.0 if self.lull is None else self.lull.take_passed() / self.ear.rate_hz

    def drop_stale(self, live: bool) -> dict[str, float]:
        """For a live caller: milliseconds that each stage has let go of, because it is too far behind."""
        if not live:
            return {}
        dropped = {}
        for stage, feed in (("stt", self.words), ("vad", self.vad)):
            samples = feed.drop_oldest() if feed is not None else 0
            if samples:
                dropped[stage] = samples * 1000 / self.ear.rate_hz
        return dropped

    # ------------------------------------------------------------------------------------------------ words

    def finalize(self, utt: int) -> None:
        """Ask once for everything up to now."""
        if self.lull is not None:
            self.lull.wake()
        self.finalizing, self._finalize_at, self._finalize_sent = utt, self.ear.pos, False
        self.final_missed = False
        self.final_due_s = self._clock() + self.final_p99_s + _FINALIZE_SLACK_S
        self._finalize()

    def _finalize(self) -> None:
        if self.words.sent >= self._finalize_at and self._words.port is not None:
            self._finalize_sent = True
            pos = self.words.to_stream(self._finalize_at)
            self._words.send(wire.SttFinalize(utt=self.finalizing or 0, pos=pos))

    def partial(self, event: Partial) -> None:
        self._obey(self.law.partial(event.text, self.ear.at_s))

    def final(self, event: Final) -> tuple[float, float]:
        """Settle; returns the span in media seconds. The session tells the law after it told the caller."""
        rate = self.ear.rate_hz
        from_pos = max(self.words.to_ear(event.from_pos), self._renewed_at)  # it was opened before it took over
        to_pos = max(self.words.to_ear(event.to_pos), from_pos)
        self.ear.ring.settle(to_pos)
        return from_pos / rate, to_pos / rate

    def renewed(self) -> None:
        """Another stream of the same provider serves: it goes on where the one before ended."""
        feed, port = self.words, self._words.port
        assert port is not None
        self._renewed_at = feed.sent
        feed.restart(feed.sent, port.rate_hz)
        if self.lull is not None and not self.lull.resting:
            self._words.send(wire.SttResume())  # it was told to wait for its turn
        if self.lull is not None and self.law.caller is CallerState.SPEAKING:
            self._words.send(wire.SttSpeechStart(utt=self.law.utt, pos=feed.to_stream(feed.sent)))
        self.pump()

    def word_times(self, word: TimedWord) -> tuple[float, float]:
        rate = self.ear.rate_hz
        return self.words.to_ear(word.from_pos) / rate, self.words.to_ear(word.to_pos) / rate

    def finalized(self, event: Finalized) -> None:
        to_pos = self.words.to_ear(event.to_pos)
        self.settled_to = max(self.settled_to, to_pos)
        asked = self.finalizing is not None and self._finalize_sent  # else it answers the question before
        if asked and (event.utt == self.finalizing or to_pos >= self._finalize_at):
            self.finalizing = self.final_due_s = None
            self._finalize_sent = True
        self._obey(self.law.finalized(to_pos / self.ear.rate_hz, self.ear.at_s))

    def final_missing(self) -> None:
        """The declared time is over, or the stream that owed the final is gone."""
        utt, self.finalizing, self.final_due_s = self.finalizing, None, None
        self._finalize_sent = True
        if utt is not None:
            self.final_missed = True
            self._obey(self.law.final_timeout(utt, self.ear.at_s))
