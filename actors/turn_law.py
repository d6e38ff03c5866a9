"""The law of turn-taking: who holds the floor. The tables are in `turn_table`; here is what moves them.

The law is told facts (methods named after them) with the media position `at_s`, and answers with orders for the
session. It knows neither audio nor providers nor tasks. `due_s` is the one instant at which it wants `tick`.

Cross effects, each by name
    merge     the caller speaks again before reply audio was heard: the reply is cancelled without trace, the words
              join the same turn, `revision` + 1
    amend     a final comes late and nothing was heard yet: the turn is told again, the agent asked again
    reopen    a final comes late and the reply is being heard: its words open the next turn
    hold      the caller speaks into a reply: it is held, not killed
    confirm   speech long enough, or words: the held reply is interrupted
    relent    no words for `resume_s`: the held reply goes on
    queue     a turn ends while a reply that nobody may interrupt goes on: it is told when that reply is over
    gate      the vendor's eager end: the agent thinks, the mouth stays shut until the end is sure or taken back

Units    every instant and span is media position in seconds.
Late     a fact about an utterance, turn or reply that is over is normal: counted in `stale`, never raised.
Illegal  a pair without a row raises LawError with the story of the last events: a bug in the session.
Source   conversation model, section 3; the numbers stand in router.settings.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from actors.events import CloseReason, TurnWhy
from actors.stood_in import StoodIn, same_words
from actors.turn_table import (
    CALLER,
    REPLY,
    Ask,
    Assess,
    Authority,
    CallerState,
    CancelReply,
    Close,
    Finalize,
    Heard,
    HoldReply,
    ModelSilent,
    OpenGate,
    Order,
    PromptDue,
    ReplyState,
    Respond,
    ResumeReply,
    Said,
    SpeechBegan,
    SpeechDropped,
    SpeechEnded,
    StopReply,
    TurnOver,
)  # fmt: skip
from actors.wording import swap
from router.errors import LawError
from router.settings import SessionSettings

__all__ = [
    "Ask", "Assess", "CancelReply", "Close", "Finalize", "HoldReply", "OpenGate", "Order", "PromptDue", "ReplyState",
    "ResumeReply", "SpeechBegan", "SpeechDropped", "SpeechEnded", "StopReply", "TurnLaw", "TurnOver",
]  # fmt: skip

_VENDOR_PATIENCE_S = 2.0
"""Beyond the longest pause: who has the authority over turns and does not end one by then is not waited for."""


@dataclass(slots=True)
class _Turn:
    id: int
    began_s: float = 0.0
    """Media position of its first speech; 0: nobody knows."""
    revision: int = 0
    pieces: list[str] = field(default_factory=list)
    tail: str = ""
    """The partial that stood in for a final that did not come."""
    told: bool = False
    patched: bool = False
    """Some of its words are a partial for good: the ear that heard them died."""

    @property
    def provisional(self) -> bool:
        return bool(self.tail) or self.patched

    @property
    def text(self) -> str:
        return " ".join([*self.pieces, self.tail] if self.tail else self.pieces)


@dataclass(slots=True)
class _Reply:
    id: int
    turn: _Turn | None
    interruptible: bool
    gated: bool = False
    audible_s: float | None = None
    """Since when its audio leaves; None: not yet."""


def _count_words(text: str) -> int:
    return len(text.split())


_NEVER_S = float("inf")


class TurnLaw:
    """One call's floor.

    `caller`, `reply`, `stale`, `due_s` are for reading. Every method is a fact; it returns the orders it caused, in
    order, and never waits. Raises LawError for what cannot happen.
    """

    def __init__(self, settings: SessionSettings, *, authority: Authority = "local") -> None:
        self.caller, self.reply = CallerState.QUIET, ReplyState.NONE
        self.authority: Authority = authority
        self.stale = 0
        self.story: deque[str] = deque(maxlen=24)
        self.current: _Reply | None = None
        self._s = settings
        self._out: list[Order] = []
        self._turn: _Turn | None = None
        self._turns = self._replies = self._prompts = 0
        self.utt = 0
        self.words_turn: int | None = None
        """The turn that the words of the last final went to."""
        self._utt_words = False
        self._partial = ""
        self._stood_in: deque[StoodIn] = deque(maxlen=8)
        """Partials that were told in place of finals which may still come, oldest first."""
        self._vendor_told = (0.0, "")
        """Until where, and what, the vendor's last turn was."""
        self._last_voiced_s = 0.0
        self._speech_s = 0.0
        self._covered_s = 0.0
        self._timed_out = False
        self._pause_due_s: float | None = None
        self._pause_over = False
        self._resume_due_s: float | None = None
        self._quiet_since_s: float | None = 0.0
        self._input_ended = self._hanging_up = self._closing = self._closed = False
        self._assessed_text: str | None = None
        self._asked_model = False
        self._awaits_words = False
        """Speech too short to count for words without any: a model may tell them late."""
        self.local_turns = False
        """A speech-to-speech model leaves the ends of turns to us."""
        self.words_first = True
        """Such a model tells words before it is asked to answer: short speech without any is none."""
        self.has_verdicts = True
        """Frames are judged voiced or not; without, speech counts until it is said to have stopped."""
        self.more_to_say = False
        """Something waits to be spoken: the call does not close over it."""

    # ------------------------------------------------------------------------------------------- the two doors

    def _caller(self, event: Heard) -> None:
        to = CALLER.get((self.caller, event))
        if to is None:
            raise LawError("caller", self.caller, event, tuple(self.story))
        self.story.append(f"{self.caller}-{event}")
        self.caller = to

    def _reply(self, event: Said) -> None:
        to = REPLY.get((self.reply, event))
        if to is None:
            raise LawError("reply", self.reply, event, tuple(self.story))
        self.story.append(f"{self.reply}-{event}")
        self.reply = to

    def _done(self) -> list[Order]:
        out, self._out = self._out, []
        return out

    # ----------------------------------------------------------------------------------------------- the caller

    def speech_started(self, at_s: float, voiced_s: float, heard_ms: float) -> list[Order]:
        """The VAD (or who has the authority) hears speech since `voiced_s`; `heard_ms` of the reply were heard."""
        if self.caller is CallerState.SPEAKING or self._closing:
            self.stale += 1
            return []
        self._caller(Heard.START)
        self.utt += 1
        self._utt_words, self._partial, self._timed_out, self._asked_model = False, "", False, False
        self._awaits_words = False
        self._pause_due_s = self._quiet_since_s = None
        self._speech_s = self._last_voiced_s = voiced_s
        self._out.append(SpeechBegan(self.utt, voiced_s))
        self._speech_meets_reply(at_s, heard_ms)
        if self._turn is None:
            self._turns += 1
            self._turn = _Turn(self._turns, voiced_s)
        return self._done()

    def _speech_meets_reply(self, at_s: float, heard_ms: float) -> None:
        reply = self.current
        if self.reply is ReplyState.AWAITING_FINAL:
            self._reply(Said.REGRET)
        elif reply is None or not reply.interruptible:
            return
        elif self.reply is ReplyState.HELD:
            self._hold_until(at_s)
        elif reply.turn is not None and heard_ms <= 0:
            self._merge(reply)
        else:
            self._reply(Said.HOLD)
            self._out.append(HoldReply(reply.id))
            self._hold_until(at_s)

    def _hold_until(self, at_s: float) -> None:
        self._resume_due_s = at_s + self._s.barge_in.resume_s

    def _merge(self, reply: _Reply) -> None:
        assert reply.turn is not None
        clear = self.reply is ReplyState.SPEAKING
        self._reply(Said.REGRET)
        self._out.append(CancelReply(reply.id, clear))
        later, self._turn, self.current = self._turn, reply.turn, None
        self._hanging_up = False  # the caller has more to say
        turn = self._turn
        if turn.told:
            turn.revision += 1
        if turn.tail:  # the partial that stood in stays: its final has not come
            self._settle_tail(turn)
        if later is not None:  # words that came late and waited
            turn.pieces += later.pieces

    def speech_stopped(self, at_s: float, last_voiced_s: float) -> list[Order]:
        """Unvoiced for `vad.stop_s`."""
        if self.caller is not CallerState.SPEAKING:
            self.stale += 1
            return []
        self._caller(Heard.STOP)
        self._last_voiced_s = last_voiced_s
        self._out.append(SpeechEnded(self.utt, last_voiced_s))
        if self.authority == "local":
            self._pause_due_s, self._pause_over = last_voiced_s + self._s.endpointing.min_s, False
            self._out.append(Finalize(self.utt))
            self._assess(at_s)
            self._try_end(at_s)
        else:
            patience_s = self._s.endpointing.min_s if self.local_turns else self._patience_s()
            self._pause_due_s, self._pause_over = last_voiced_s + patience_s, False
        return self._done()

    def _patience_s(self) -> float:
        return max(self._s.endpointing.min_s, self._s.endpointing.max_s) + _VENDOR_PATIENCE_S

    def _assess(self, at_s: float) -> None:
        text = self._text_so_far()
        self._assessed_text = text
        from_s = self._turn.began_s if self._turn else self._speech_s
        self._out.append(Assess(self.utt, text, at_s - self._last_voiced_s, from_s))

    def _text_so_far(self) -> str:
        turn = self._turn.text if self._turn else ""
        return f"{turn} {self._partial}".strip()

    @property
    def last_voiced_s(self) -> float:
        """Where the caller's last speech ended, or how far it has come."""
        return self._last_voiced_s

    @property
    def has_words(self) -> bool:
        """The open turn has words that nobody has answered."""
        return self._turn is not None and bool(self._turn.text)

    @property
    def voiced_due_s(self) -> float | None:
        """A reply is held while the caller speaks: a voiced frame that ends here or later is wanted with `voiced`."""
        if self.reply is not ReplyState.HELD or self.caller is not CallerState.SPEAKING:
            return None
        # positions are sums of frames of 20 ms: half a millisecond is no speech
        return self._speech_s + self._s.barge_in.min_speech_s - 0.0005

    def voiced(self, last_voiced_s: float) -> list[Order]:
        """While a reply is held: the caller has been voiced up to here. Long enough, and it is a barge-in."""
        enough = last_voiced_s - self._speech_s >= self._s.barge_in.min_speech_s - 0.0005
        if enough and self.reply is ReplyState.HELD and self.caller is CallerState.SPEAKING:
            self._interrupt()
        return self._done()

    def partial(self, text: str, at_s: float) -> list[Order]:
        """The STT's present idea of the words since its last final."""
        self._partial = text
        words = self._s.barge_in.min_words
        if self.reply is ReplyState.HELD and words and _count_words(text) >= words:
            self._interrupt()
        return self._done()

    def final(self, text: str, to_s: float, at_s: float, from_s: float | None = None) -> list[Order]:
        """Words that stand, and the caller's audio that they cover. `text` may be empty."""
        self._covered_s = max(self._covered_s, to_s)
        text = text.strip()
        if text:
            self._partial = ""
            self._words(text, from_s, to_s)
            self.words_turn = turn.id if (turn := self._present_turn) is not None else None
        self._try_end(at_s)
        return self._done()

    @property
    def _present_turn(self) -> _Turn | None:
        """The one that grows, else the one that is being answered."""
        return self._turn if self._turn is not None or self.current is None else self.current.turn

    def reword(self, turn_id: int, old: str, new: str) -> None:
        """A nicer text of a final's words came; a turn that is over keeps its own."""
        turn = self._present_turn
        if turn is not None and turn.id == turn_id:
            for number in reversed(range(len(turn.pieces))):
                before, turn.pieces[number] = turn.pieces[number], swap(turn.pieces[number], old, new)
                if turn.pieces[number] != before:
                    break

    def _words(self, text: str, from_s: float | None, to_s: float) -> None:
        rest = self._beyond_what_stood_in(text, from_s, to_s)
        if rest is not None:
            if not rest:
                return
            text = rest
        if self._speaks_into_reply():
            self._interrupt()
        reply = self.current
        if self.authority == "stt":
            self._words_of_vendor(reply, text, from_s)
        elif self._turn is not None:
            self._utt_words = True
            self._turn.pieces.append(text)
        elif self.authority == "s2s":
            self._heard_by_model(reply, text, to_s)
        elif self.reply is ReplyState.THINKING and reply is not None and reply.turn is not None:
            self._amend(reply, reply.turn, text)
        else:
            self._reopen(text)

    def _words_of_vendor(self, reply: _Reply | None, text: str, from_s: float | None) -> None:
        """Finals of a vendor that ends turns: its end carries the text; they count where the end does not come."""
        until_s, told = self._vendor_told
        late = from_s is not None and from_s < until_s and same_words(text, told[-len(text) :])
        if late or (reply is not None and reply.gated):
            return
        self._turn_for_vendor().pieces.append(text)
        self._utt_words = True
        if self.caller is CallerState.QUIET and self._pause_due_s is None:
            self._pause_due_s, self._pause_over = self._last_voiced_s + self._patience_s(), False

    def _speaks_into_reply(self) -> bool:
        """Words of speech that fell into this reply: held, or let go on too early because they came late."""
        reply = self.current
        if reply is None or not reply.interruptible:
            return False
        fell_into = reply.audible_s is not None and self._speech_s > reply.audible_s
        return self.reply is ReplyState.HELD or (self.reply is ReplyState.SPEAKING and fell_into)

    def _beyond_what_stood_in(self, text: str, from_s: float | None, to_s: float) -> str | None:
        """What a late final says beyond the partials that were told in its place; None: it is no late final.

        A final that says something else takes the place of what stood in, where that turn is still open. Only one that
        covers the audio of what stood in can be its final: a caller may say the same words twice.
        """
        found: str | None = None
        while self._stood_in and text:
            stood_in = self._stood_in[0]
            if to_s <= stood_in.began_s:
                return found  # a final of what was said before it
            if from_s is not None and from_s >= stood_in.until_s:
                self._stood_in.popleft()  # its final never came: it stands for good
                continue
            self._stood_in.popleft()
            rest = stood_in.rest(text)
            if rest is None:
                return "" if self._replace(stood_in, text) else found
            if stood_in.turn.tail and stood_in.index is None:
                self._settle_tail(stood_in.turn)
            found = text = rest
            from_s = stood_in.until_s
        return found

    def _settle_tail(self, turn: _Turn) -> None:
        """The partial at the end of a turn becomes one of its pieces, because the turn goes on or its final agrees."""
        for stood_in in self._stood_in:
            if stood_in.turn is turn and stood_in.index is None:
                stood_in.index = len(turn.pieces)
        turn.pieces.append(turn.tail)
        turn.tail = ""

    def _replace(self, stood_in: StoodIn, text: str) -> bool:
        turn = self._turn
        if stood_in.index is None:
            stood_in.turn.tail = ""
        if turn is None or stood_in.turn is not turn:
            return False
        if stood_in.index is None:
            turn.pieces.append(text)
        else:
            turn.pieces[stood_in.index] = text
        return True

    def _heard_by_model(self, reply: _Reply | None, text: str, to_s: float) -> None:
        """The model answered before it told what it had heard: the turn is told, perhaps again; its reply goes on.

        Or it has not answered yet, and nobody told of speech: it will, or is asked where the turns are ours.
        """
        if reply is None or reply.turn is None:
            if self._closing:
                self.stale += 1
                return
            self._turn_for_vendor().pieces.append(text)
            self._quiet_since_s = None
            self._pause_due_s, self._pause_over = to_s + self._patience_s(), False
            if self.local_turns and reply is None:
                self._out.append(Respond())
            return
        turn = reply.turn
        turn.pieces.append(text)
        turn.revision += turn.told
        turn.told = True
        self._out.append(TurnOver(turn.id, turn.revision, turn.text, "provider", False, self._last_voiced_s))

    def _reopen(self, text: str) -> None:
        if not self._closing:
            self._turns += 1
            self._turn = _Turn(self._turns, self._speech_s, pieces=[text])
            self._quiet_since_s = None

    def _amend(self, reply: _Reply, turn: _Turn, text: str) -> None:
        turn.pieces.append(text)  # before its tail, where that stands for what was said later
        turn.revision += 1
        self._reply(Said.REGRET)
        self._out.append(CancelReply(reply.id, False))
        self.current, self._hanging_up = None, False
        self._tell(turn, "pause")

    def ear_lost(self, at_s: float) -> list[Order]:
        """The ear died: the words of its last partial stand for good, since nobody will make a final of them."""
        text, self._partial = self._partial.strip(), ""
        if text and self._turn is not None:
            self._turn.pieces.append(text)
            self._turn.patched = self._utt_words = True
            if self._speaks_into_reply():
                self._interrupt()
        return self._done()

    def set_authority(self, authority: Authority, at_s: float) -> list[Order]:
        """Who ends turns from now on; where nobody would end the present one, its pause is judged here."""
        before, self.authority = self.authority, authority
        if before != authority and authority == "local" and self.caller is CallerState.PAUSING:
            self._pause_due_s, self._pause_over = self._last_voiced_s + self._s.endpointing.min_s, False
            self._out.append(Finalize(self.utt))
            self._assess(at_s)
            self._try_end(at_s)
        return self._done()

    def finalized(self, to_s: float, at_s: float) -> list[Order]:
        """Every final up to `to_s` has come."""
        self._covered_s = max(self._covered_s, to_s)
        if self.caller is CallerState.PAUSING and self._text_so_far() != self._assessed_text:
            self._assess(at_s)
        self._try_end(at_s)
        return self._done()

    def final_timeout(self, utt: int, at_s: float) -> list[Order]:
        """The STT's declared time is over and no final came: the last partial stands in."""
        if utt != self.utt or self.caller is not CallerState.PAUSING or self._covered_s >= self._last_voiced_s:
            self.stale += 1
            return []
        self._timed_out = True
        self._try_end(at_s)
        return self._done()

    def assessed(self, utt: int, p_complete: float, wait_s: float | None, at_s: float) -> list[Order]:
        """The turn detector's word on the present pause."""
        if utt != self.utt or self.caller is not CallerState.PAUSING or self._pause_due_s is None:
            self.stale += 1
            return []
        low, high = self._s.endpointing.min_s, max(self._s.endpointing.min_s, self._s.endpointing.max_s)
        wait = (low if p_complete >= 0.5 else high) if wait_s is None else min(max(wait_s, low), high)
        self._pause_due_s = self._last_voiced_s + wait
        self._pause_over = False
        if self.reply is ReplyState.AWAITING_FINAL and at_s < self._pause_due_s:
            self._reply(Said.REGRET)  # the whole text looks unfinished: the pause is not over after all
        self._try_end(at_s)
        return self._done()

    # --------------------------------------------------------------------------------------------- ends of turns

    def _try_end(self, at_s: float) -> None:
        if self.caller is CallerState.PAUSING:
            if self._pause_due_s is not None and at_s >= self._pause_due_s:
                self._pause_over = True
            if self._closing:
                pass
            elif self.authority == "s2s":
                told = self.has_words or self._covered_s >= self._last_voiced_s
                if self._pause_over or (self._awaits_words and told):
                    self._model_pause(at_s)
            elif self._pause_over or self._input_ended:
                self._end_or_wait(at_s)
        elif self._turn is not None and self.caller is CallerState.QUIET and self.authority == "s2s":
            self._model_owes(at_s)
        elif self._turn is not None and self.caller is CallerState.QUIET and not self._closing:
            due = self._pause_due_s  # of a vendor that ends turns: it is waited for
            if due is None or at_s >= due or self._input_ended:
                self._end("pause", at_s)  # late words: their pause is long over
        self._try_close(at_s)

    def _model_owes(self, at_s: float) -> None:
        """It has told words, and answers them, or is silent for too long; not while something else is spoken."""
        if self._pause_due_s is None or at_s < self._pause_due_s:
            return
        free = self.reply is ReplyState.NONE
        self._pause_due_s = None if free else at_s + self._patience_s()
        if free and not self._closing:
            self._out.append(ModelSilent())

    def _model_pause(self, at_s: float) -> None:
        """A model has the turns and says nothing: ask it, if they are ours; then it is not waited for."""
        self._pause_due_s, self._pause_over = at_s + self._patience_s(), False
        words = self._turn is not None and self._turn.text
        # many models tell what they heard after they have answered: speech of some length counts for words
        spoke = words or self._last_voiced_s - self._speech_s >= self._s.barge_in.min_speech_s
        spoke = spoke or (not self.words_first and self.reply is ReplyState.NONE)
        covered = self._covered_s >= self._last_voiced_s
        if self.local_turns and not spoke and not covered and not self._awaits_words:
            self._awaits_words, self._pause_due_s = True, at_s + _VENDOR_PATIENCE_S
            return
        self._awaits_words = False
        if self.local_turns and spoke and not self._asked_model:
            self._asked_model = True
            self._out.append(Respond())
        elif self._turn is not None and self._turn.text:
            self._out.append(ModelSilent())
        else:
            self._out.append(SpeechDropped(self.utt))
            self._discard(at_s)

    def _end_or_wait(self, at_s: float) -> None:
        turn, reply = self._turn, self.current
        if turn is None:  # an eager end that was neither confirmed nor taken back
            if reply is not None and reply.gated and reply.turn is not None:
                self._ungate(reply, reply.turn, reply.turn.text, at_s)
            return
        if self.authority == "stt" and not self._asked_model:  # the vendor did not end it: finalize, and judge here
            self._asked_model = True
            self._out.append(Finalize(self.utt))
        covered = self._covered_s >= self._last_voiced_s
        if not covered and not self._timed_out:
            if self.reply is ReplyState.NONE:
                self._reply(Said.AWAIT_FINAL)
            return
        if not covered and self._partial:
            turn.tail, self._partial, self._utt_words = self._partial, "", True
            self._stood_in.append(StoodIn(turn.tail, self._speech_s, self._last_voiced_s, turn))
        if turn.text and self.reply is ReplyState.HELD:
            self._interrupt()
        if not self._utt_words:
            self._out.append(SpeechDropped(self.utt))
        if turn.text:
            self._end("input_ended" if self._input_ended else "timeout" if not covered else "pause", at_s)
        else:
            self._discard(at_s)

    def _discard(self, at_s: float) -> None:
        self._caller(Heard.DISCARD)
        self._turn = self._pause_due_s = None
        self._asked_model = self._awaits_words = False
        if self.reply is ReplyState.AWAITING_FINAL:
            self._reply(Said.NO_WORDS)
        if self.reply is ReplyState.NONE:
            self._quiet_since_s = at_s

    def _end(self, why: TurnWhy, at_s: float) -> None:
        self._caller(Heard.END)
        self._pause_due_s = None
        turn = self._turn
        if turn is None:
            return
        if self.current is not None:  # queue: a reply that may not be interrupted goes on
            return
        self._turn = None
        self._vendor_told = (at_s, turn.text)
        self._tell(turn, why)

    def _tell(self, turn: _Turn, why: TurnWhy, *, gated: bool = False) -> None:
        self._replies += 1
        self._reply(Said.ASK)
        self.current = _Reply(self._replies, turn, self._s.barge_in.enabled, gated)
        self._prompts = 0
        if not gated and turn.text:  # a model may answer before it tells what it heard
            turn.told = True
            self._out.append(TurnOver(turn.id, turn.revision, turn.text, why, turn.provisional, self._last_voiced_s))
        self._out.append(Ask(self._replies, turn.id, turn.revision, turn.text, gated))

    # ------------------------------------------------------------- the vendor's own turns (authority stt and s2s)

    def eager_end(self, text: str, at_s: float) -> list[Order]:
        """The vendor thinks the turn is over and may take it back."""
        if self.authority != "stt" or self.reply is not ReplyState.NONE or not text.strip():
            self.stale += 1
            return []
        turn = self._turn_for_vendor()
        turn.pieces = [text.strip()]
        self._turn = None
        self._tell(turn, "provider", gated=True)
        return self._done()

    def eager_resumed(self, at_s: float) -> list[Order]:
        """Taken back: as if it had never been."""
        reply = self.current
        if reply is None or not reply.gated or reply.turn is None:
            self.stale += 1
            return []
        self._merge(reply)
        return self._done()

    def provider_turn_ended(self, text: str, at_s: float) -> list[Order]:
        """The vendor has decided: the turn is over."""
        if self.authority != "stt":
            self.stale += 1
            return []
        text, reply = text.strip(), self.current
        if self._turn is None and not (reply is not None and reply.gated) and self._was_told(text):
            self.stale += 1  # we did not wait for it
            return []
        if self.reply is ReplyState.HELD and text:
            self._interrupt()
            reply = None
        if reply is not None and reply.gated and reply.turn is not None:
            if same_words(reply.turn.text, text):
                self._ungate(reply, reply.turn, text, at_s)
                return self._done()
            self._merge(reply)
        turn = self._turn_for_vendor()
        turn.pieces, turn.tail = ([text] if text else turn.pieces), ""
        self._covered_s = max(self._covered_s, at_s)
        self._vendor_told = (at_s, turn.text)
        if turn.text:
            self._end("provider", at_s)
        elif self.caller is CallerState.PAUSING:
            self._discard(at_s)
        return self._done()

    def _was_told(self, text: str) -> bool:
        until_s, told = self._vendor_told
        return same_words(text, told) and self._speech_s <= until_s

    def _turn_for_vendor(self) -> _Turn:
        if self._turn is None:
            self._turns += 1
            self._turn = _Turn(self._turns, self._speech_s)
        return self._turn

    def _ungate(self, reply: _Reply, turn: _Turn, text: str, at_s: float) -> None:
        if self.caller is not CallerState.QUIET:
            self._caller(Heard.END)
        self._pause_due_s = None
        reply.gated, turn.told, turn.pieces = False, True, [text]
        self._vendor_told = (at_s, text)
        self._out.append(TurnOver(turn.id, turn.revision, turn.text, "provider", False, self._last_voiced_s))
        self._out.append(OpenGate(reply.id))

    def response_started(self, text: str, at_s: float) -> list[Order]:
        """A speech-to-speech model answers: its turn is over, its reply begins. `text`: what it heard so far.

        No orders: the caller speaks on, the answer is not wanted.
        """
        if self.reply is not ReplyState.NONE:
            raise LawError("reply", self.reply, "response_started", tuple(self.story))
        turn = self._turn_for_vendor()
        turn.pieces = [text] if text else turn.pieces
        self._covered_s = max(self._covered_s, at_s)
        if self.caller is CallerState.SPEAKING and at_s - self._speech_s >= self._s.barge_in.min_speech_s:
            self.stale += 1  # merge: it answers half of what is being said, and nothing of it was heard
            return []
        speaks_again = self.caller is CallerState.SPEAKING
        if self.caller is CallerState.PAUSING:
            self._caller(Heard.END)
        self._pause_due_s = self._quiet_since_s = self._turn = None
        self._tell(turn, "provider")
        if speaks_again:  # the answer comes too late to begin at once: it is held as if it had been spoken into
            self._turns += 1
            self._turn = _Turn(self._turns, self._speech_s)
            assert self.current is not None
            if self.current.interruptible:
                self._reply(Said.HOLD)
                self._out.append(HoldReply(self.current.id))
                self._hold_until(at_s)
        return self._done()

    # ------------------------------------------------------------------------------------------------ the reply

    def say(self, at_s: float, *, interruptible: bool = True) -> int | None:
        """The application, a greeting or a prompt wants to speak: the number of its reply, or None: not now."""
        if self.reply is not ReplyState.NONE or self.caller is not CallerState.QUIET or self._closing:
            return None
        self._reply(Said.ASK)
        self._replies += 1
        self.current = _Reply(self._replies, None, interruptible and self._s.barge_in.enabled)
        self._quiet_since_s = None
        return self._replies

    def reply_audio(self, reply: int, at_s: float) -> list[Order]:
        """The first audio of this reply leaves for the caller."""
        if not self._is_current(reply) or self.reply is not ReplyState.THINKING:
            self.stale += 1
            return []
        self._reply(Said.AUDIO)
        assert self.current is not None
        self.current.audible_s = at_s
        return self._done()

    def set_interruptible(self, reply: int, interruptible: bool) -> None:
        """What answers this turn says whether it may be interrupted (`agent: client`)."""
        if self.current is not None and self.current.id == reply:
            self.current.interruptible = interruptible and self._s.barge_in.enabled

    def reply_done(self, reply: int, at_s: float) -> list[Order]:
        """All of it was played, or it failed, or there was nothing to say."""
        if not self._is_current(reply) or self.reply is ReplyState.HELD:
            self.stale += 1
            return []
        self._reply(Said.FINISH)
        self._reply_over(at_s)
        return self._done()

    def reply_failed(self, reply: int, at_s: float) -> list[Order]:
        """Nothing more of it will come; what waits in the mouth is thrown away."""
        if not self._is_current(reply):
            self.stale += 1
            return []
        self._reply(Said.INTERRUPT)
        self._reply_over(at_s)
        return self._done()

    def interrupt(self, at_s: float) -> list[Order]:
        """As a barge-in would, at once (the application's `interrupt()`, or the model's own)."""
        if self.current is None:
            self.stale += 1
            return []
        self._interrupt()
        self._after_reply(at_s)
        return self._done()

    def _interrupt(self) -> None:
        reply = self.current
        assert reply is not None
        was_held = self.reply is ReplyState.HELD
        self._reply(Said.INTERRUPT)
        self._out.append(StopReply(reply.id, was_held))
        self.current = self._resume_due_s = None
        self._hanging_up = False  # the caller has more to say

    def _is_current(self, reply: int) -> bool:
        return self.current is not None and self.current.id == reply

    def _reply_over(self, at_s: float) -> None:
        self.current = self._resume_due_s = None
        self._after_reply(at_s)

    def _after_reply(self, at_s: float) -> None:
        if self.caller is CallerState.QUIET:
            self._quiet_since_s = at_s
        self._try_end(at_s)

    # ------------------------------------------------------------------------------------------- ends of the call

    def input_ended(self, at_s: float) -> list[Order]:
        """No more audio will come; the ear adds silence until the open turn has ended."""
        self._input_ended = True
        self._try_end(at_s)
        return self._done()

    def hang_up(self, at_s: float) -> list[Order]:
        """The agent wants to end the call when its reply has been heard."""
        self._hanging_up = True
        self._try_close(at_s)
        return self._done()

    def nothing_more(self, at_s: float) -> list[Order]:
        """What `more_to_say` stood for is not coming after all."""
        self._try_close(at_s)
        return self._done()

    def closing(self) -> None:
        """The call ends without a reply: finals are still heard, nothing is answered."""
        self._closing = True

    def _try_close(self, at_s: float) -> None:
        if self._closed or self._closing or self.reply is not ReplyState.NONE or self.current is not None:
            return
        if self._hanging_up:
            self._close("agent_hung_up")
        elif self._input_ended and self.caller is CallerState.QUIET and self._turn is None and not self.more_to_say:
            self._close("input_ended")

    def _close(self, reason: CloseReason) -> None:
        self._closed = self._closing = True
        self._out.append(Close(reason))

    # ------------------------------------------------------------------------------------------------------ time

    @property
    def due_s(self) -> float | None:
        """When `tick` is wanted; None: nothing is pending."""
        due_s = _NEVER_S if self._closed else self._s.max_duration_s
        silence_s = None if self._s.silence is None else self._silence_due_s()
        if silence_s is not None and silence_s < due_s:
            due_s = silence_s
        pause_s = self._pause_due_s
        if pause_s is not None and pause_s < due_s and not self._pause_over:
            due_s = pause_s
        resume_s = self._resume_due_s
        if resume_s is not None and resume_s < due_s and self.caller is not CallerState.SPEAKING:
            due_s = resume_s
        if not self.has_verdicts and self.reply is ReplyState.HELD and self.caller is CallerState.SPEAKING:
            due_s = min(due_s, self._speech_s + self._s.barge_in.min_speech_s)
        return None if due_s == _NEVER_S else due_s

    def _silence_due_s(self) -> float | None:
        silence = self._s.silence
        if silence is None or self._quiet_since_s is None or self._closing:
            return None
        if self.reply is not ReplyState.NONE or self.caller is not CallerState.QUIET:
            return None
        return self._quiet_since_s + silence.after_s

    def tick(self, at_s: float) -> list[Order]:
        """The media position has reached `at_s`."""
        if not self.has_verdicts:
            self._out += self.voiced(at_s)
        if self._resume_due_s is not None and at_s >= self._resume_due_s:
            self._relent()
        if self._pause_due_s is not None and not self._pause_over and at_s >= self._pause_due_s:
            self._try_end(at_s)
        due = self._silence_due_s()
        if due is not None and at_s >= due:
            self._silent(at_s)
        if at_s >= self._s.max_duration_s and not self._closed:
            self._close("max_duration")
        return self._done()

    def _relent(self) -> None:
        if self.caller is CallerState.SPEAKING:
            return  # the confirmation decides
        self._resume_due_s = None
        if self.reply is ReplyState.HELD:
            assert self.current is not None
            self._reply(Said.RETHINK if self.current.audible_s is None else Said.RESUME)
            self._out.append(ResumeReply(self.current.id))

    def _silent(self, at_s: float) -> None:
        silence = self._s.silence
        assert silence is not None
        if self._prompts >= len(silence.prompts):
            self._close("silence")
        else:
            self._quiet_since_s = None
            self._out.append(PromptDue(self._prompts))
            self._prompts += 1
