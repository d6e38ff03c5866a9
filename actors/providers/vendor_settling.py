"""Finals of a vendor made into the session's: contiguous, never overlapping, and every `finalize` answered.

    settling.speech(utt)                        the utterance that finals belong to from now on
    settling.ask(utt, pos)                      False: everything up to pos is settled already, nothing to ask
    settling.final(...)                         the vendor's final as an event, or None where all of it was told before
    settling.answered(pos)                      the vendor has finalized up to there: the events that answer
    settling.overdue(interim)                   it has not, in time: the events that answer all the same

Overdue   the words of the interim become a final, so that none is lost. When the vendor's own final comes after all,
          only what is new of it is told: by the words' times where it gives any, else by the words themselves. One
          that covers no more than was answered without it is late: its words are told as a final without a span.
Pure. Positions in samples of the session.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from actors.providers.interface import Final, Finalized, ProviderEvent, TimedWord

__all__ = ["ASKS_MAX", "Ask", "Settling"]

ASKS_MAX = 64
"""`finalize`s that wait at once; the session asks once per utterance."""


@dataclass(slots=True)
class Ask:
    utt: int
    pos: int
    is_sent: bool = False
    """The vendor was asked."""


class Settling:
    def __init__(self, pos: int) -> None:
        self.pos = pos
        """Finals have been told up to here."""
        self.utt = 0
        self.asks: deque[Ask] = deque()
        self._heard = pos
        """The vendor has had its word up to here; what lies between here and `pos` was answered without it."""
        self._alone: deque[tuple[Ask, str]] = deque(maxlen=ASKS_MAX)
        """What was answered without the vendor, whose finals may still come, and the text that stood in for each."""

    def speech(self, utt: int) -> None:
        self.utt = utt

    def ask(self, utt: int, pos: int) -> bool:
        self.utt = max(self.utt, utt)
        if pos <= self.pos and not self.asks:
            return False
        self.asks.append(Ask(utt, max(pos, self.pos)))
        return True

    def final(
        self,
        to_pos: int,
        text: str,
        words: Sequence[TimedWord] | None = None,
        confidence: float | None = None,
        language: str | None = None,
        from_pos: int | None = None,
        is_new: bool = False,
    ) -> Final | None:
        """`from_pos`: where the vendor's final begins, if it says so: it repeats nothing of what lies before.
        `is_new`: it gives no times and says nothing twice, so these words are new though they have no span left."""
        if to_pos <= self._heard:
            text = self.fresh(text) if is_new else ""
            if not text:
                return None
            return Final(utt=self.utt, text=text, from_pos=self.pos, to_pos=self.pos, language=language)
        if to_pos <= self.pos:
            return self._late(to_pos, text, confidence, language)
        if words is not None:
            begin = self.pos if self._stood_in else self._heard
            fresh = tuple(w for w in words if (w.from_pos + w.to_pos) // 2 >= begin)
            if len(fresh) < len(words):
                text = " ".join(w.text for w in fresh)
            words = tuple(self._within(w, to_pos) for w in fresh)
        else:
            text = self.fresh(text, from_pos)
        self._alone.clear()
        told = Final(
            utt=self._utt_at(to_pos), text=text, from_pos=self.pos, to_pos=to_pos, words=words,
            confidence=confidence, language=language,
        )  # fmt: skip
        self.pos = self._heard = to_pos
        return told

    def fresh(self, text: str, from_pos: int | None = None) -> str:
        """A text without what has stood in for a final already."""
        if from_pos is not None and from_pos >= self.pos:
            return text
        return rest(text, self._stood_in)

    @property
    def _stood_in(self) -> str:
        return " ".join(text for _, text in self._alone if text)

    def answered(self, pos: int) -> list[ProviderEvent]:
        """Every ask up to `pos`, and the oldest that was sent in any case: the vendor answers in order."""
        events: list[ProviderEvent] = []
        while self.asks and self.asks[0].is_sent and (not events or self.asks[0].pos <= pos):
            events += self._answer(self.asks.popleft())
        return events

    def overdue(self, interim: str) -> list[ProviderEvent]:
        """The oldest ask, answered by us; `interim` is what the vendor has said and not settled."""
        if not self.asks:
            return []
        ask = self.asks.popleft()
        if ask.pos <= self.pos:
            return self._answer(ask)
        self._alone.append((ask, interim))
        if not interim:
            return self._answer(ask)
        told = Final(utt=ask.utt, text=interim, from_pos=self.pos, to_pos=ask.pos)
        self.pos = ask.pos
        return [told, *self._answer(ask)]

    def unsent(self) -> Ask | None:
        """The oldest ask that the vendor was not asked."""
        return next((ask for ask in self.asks if not ask.is_sent), None)

    def ask_again(self) -> None:
        """On another connection nothing was asked yet."""
        for ask in self.asks:
            ask.is_sent = False

    def _answer(self, ask: Ask) -> list[ProviderEvent]:
        events: list[ProviderEvent] = []
        if self.pos < ask.pos:
            events.append(Final(utt=ask.utt, text="", from_pos=self.pos, to_pos=ask.pos))
            self.pos = ask.pos
        events.append(Finalized(utt=ask.utt, to_pos=ask.pos))
        return events

    def _late(self, to_pos: int, text: str, confidence: float | None, language: str | None) -> Final | None:
        """The vendor's word on what was answered without it: as far as it is new."""
        utt, told = self.utt, ""
        while self._alone and self._alone[0][0].pos <= to_pos:
            ask, stood_in = self._alone.popleft()
            utt, told = ask.utt, f"{told} {stood_in}"
        self._heard = to_pos
        text = beyond(text, told)
        if not text:
            return None
        return Final(utt=utt, text=text, from_pos=self.pos, to_pos=self.pos, confidence=confidence, language=language)

    def _utt_at(self, to_pos: int) -> int:
        """The utterance of a final: the first that is being finalized and reaches so far, or the one being spoken."""
        return next((ask.utt for ask in self.asks if to_pos <= ask.pos), self.utt)

    def _within(self, word: TimedWord, to_pos: int) -> TimedWord:
        begin = min(max(word.from_pos, self.pos), to_pos)
        return TimedWord(word.text, begin, min(max(word.to_pos, begin), to_pos))


def rest(text: str, told: str) -> str:
    """What `text` says beyond `told`, where it begins with the same words; else all of it: better twice than never."""
    words, before = text.split(), [_bare(w) for w in told.split()]
    if [_bare(w) for w in words[: len(before)]] == before:
        return " ".join(words[len(before) :])
    return text


def beyond(text: str, told: str) -> str:
    """What `text` has more than `told`, both of the same audio: the words beyond as many as were told."""
    return " ".join(text.split()[len(told.split()) :])


def _bare(word: str) -> str:
    return re.sub(r"\W+", "", word).casefold()
