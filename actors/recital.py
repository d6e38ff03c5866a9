"""What the voice is given of a reply, and what of that it still owes: sentences or a stream of words, in contexts.

    pieces ──► [ waiting ] ──pump──► begin, text, flush at each sentence, end ──► voice
                                     `flushed` ends the oldest sentence, `done` the context

A context is what one `begin` opens. A voice that takes a stream is given words as they come and never has an open
context from which text is withheld (vendors drop it): when the mouth has enough, the context is ended at a sentence,
and another begins when there is room. A voice that takes sentences keeps its context and is given the next one later.

After a voice failed, the sentence it was in is said again if none of it was played, else the next one follows.

Units    `_ms` of reply audio from the reply's start; characters of the whole text given to voices.
Bound    `full_ms` of audio in the mouth, made or owed: half of it is kept filled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from actors import wire
from actors.heard import Spoken
from actors.mouth import Mouth
from actors.pieces import Piece, fit
from actors.providers.interface import TtsCapabilities
from actors.stage_slot import StageSlot

__all__ = ["CONTEXT_STEP", "Recital"]

CONTEXT_STEP = 1 << 20
"""Between the numbers of one reply's contexts; the first has the reply's own. A call has fewer replies."""
_CHARS_PER_S = 15.0  # usual pace of speech; only to guess how much audio a sentence in work will give
_BREAK = 0.9  # of full: a context is ended within a sentence, rather than to let audio go
_IDLE_SHARE = 0.7  # of the time that a vendor keeps an open context without text


@dataclass(slots=True)
class _Sentence:
    """A sentence in work, or as much of it as there is."""

    text: str
    from_char: int
    to_char: int
    from_ms: float | None
    """Where its audio begins; None until the sentence before it is complete."""
    is_whole: bool = False
    """The voice has all of it and was asked to be done with it."""


@dataclass(slots=True)
class Recital:
    """Of one reply."""

    reply: int
    mouth: Mouth
    full_ms: float
    spoken: Spoken = field(default_factory=Spoken)
    context: int = 0
    """The number of the present context, or the last."""
    is_open: bool = False
    """A context was begun and is not done."""
    is_ending: bool = False
    """The voice was told that the context gets no more text."""
    yields: bool = False
    """The voice is about to be replaced: its context ends at the next sentence, and none is begun until it has been."""
    _waiting: deque[Piece] = field(default_factory=deque)
    _in_voice: deque[_Sentence] = field(default_factory=deque)
    _begins: bool = True
    """The next piece begins a sentence."""
    _skips: bool = False
    """The rest of the sentence that is being written is not said: its begin was in a voice that died."""
    _contexts: int = 0
    _base_ms: float = 0.0
    _base_char: int = 0

    # ---------------------------------------------------------------------------------------------------- text

    def add(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if self._skips:
                self._skips = not piece.ends
            else:
                self._waiting.append(piece)

    @property
    def has_waiting(self) -> bool:
        """Text waits for the mouth to have room, or for its sentence to be whole."""
        return bool(self._waiting)

    @property
    def said(self) -> str:
        """All of the text, spoken or still to be."""
        return "".join([self.spoken.text, *(piece.text for piece in self._waiting)]).strip()

    @property
    def is_busy(self) -> bool:
        """The voice owes audio: it was asked to be done with something."""
        return self.is_ending or any(sentence.is_whole for sentence in self._in_voice)

    @property
    def is_idle(self) -> bool:
        """No context is open: another voice may take over."""
        return not self.is_open

    # --------------------------------------------------------------------------------------------------- voice

    def pump(self, voice: StageSlot, can: TtsCapabilities, *, text_done: bool) -> int:
        """Give the voice the text it should be working on; returns the characters given."""
        streams, given = can.takes == "stream", 0
        if self.yields and not self.is_open:
            return 0  # the next voice begins where this one ended
        while self._waiting and not self.is_ending:
            if not self._has_room(streams):
                if self.is_open and (streams or can.context_idle_s is not None):
                    self._end(voice)
                break
            piece = self._waiting.popleft() if streams else self._sentence(text_done)
            if piece is None:
                break
            given += self._say(voice, piece, can.text_limit)
        wants_end = (text_done and not self._waiting) or (self.yields and self._begins)
        if self.is_open and not self.is_ending and wants_end:
            self._end(voice)
        return given

    def end_idle(self, voice: StageSlot) -> None:
        """No text came for so long that the vendor would drop the context: the next words begin another."""
        if self.is_open and not self.is_ending:
            self._end(voice)

    def idle_s(self, can: TtsCapabilities) -> float | None:
        """How long the open context may be left without text; None: as long as it likes, or it waits for none."""
        waits = can.context_idle_s is not None and self.is_open and not self.is_ending and not self._waiting
        return can.context_idle_s * _IDLE_SHARE if waits and can.context_idle_s is not None else None

    def _sentence(self, text_done: bool) -> Piece | None:
        """A whole sentence of what waits, for a voice that takes sentences; None: it is still being written."""
        if not text_done and not any(piece.ends for piece in self._waiting):
            return None
        text = ""
        while self._waiting:
            piece = self._waiting.popleft()
            text += piece.text
            if piece.ends:
                break
        return Piece(text, True)

    def _say(self, voice: StageSlot, piece: Piece, limit: int | None) -> int:
        text = piece.text if self.spoken.text else piece.text.lstrip()
        begin = len(self.spoken.text) + len(text) - len(text.lstrip())
        if text and not self.is_open:
            self._begin(voice, begin)
            for_voice = text.lstrip()
        else:
            for_voice = text
        if text:
            self.spoken.text += text
            self._note(text, begin)
            for part in fit(for_voice, limit):
                voice.send(wire.TtsText(reply=self.context, text=part))
        if piece.ends and self._in_voice and not self._in_voice[-1].is_whole:
            self._in_voice[-1].is_whole = True
            voice.send(wire.TtsFlush(reply=self.context))
        self._begins = piece.ends
        return len(text)

    def _note(self, text: str, begin: int) -> None:
        end = len(self.spoken.text)
        if self._in_voice and not self._in_voice[-1].is_whole:
            last = self._in_voice[-1]
            last.text, last.to_char = last.text + text, end
        else:
            from_ms = None if self._in_voice else self.mouth.put_ms
            self._in_voice.append(_Sentence(text, begin, end, from_ms))

    def _begin(self, voice: StageSlot, at_char: int) -> None:
        self.context = self.reply + self._contexts * CONTEXT_STEP
        self._contexts += 1
        self.is_open, self._base_ms, self._base_char = True, self.mouth.put_ms, at_char
        voice.send(wire.TtsBegin(reply=self.context))

    def _end(self, voice: StageSlot) -> None:
        self.is_ending = True
        voice.send(wire.TtsEnd(reply=self.context))

    def _has_room(self, streams: bool) -> bool:
        owed_ms = sum(len(s.text) for s in self._in_voice) / _CHARS_PER_S * 1000
        ahead_ms, half_ms = self.mouth.waiting_ms + owed_ms, self.full_ms / 2
        if self._begins and self.yields and self.is_open:
            return False
        if not ahead_ms:
            return True
        if streams and self.is_open and not self._begins:  # words of a sentence in work follow at once
            return ahead_ms + len(self._waiting[0].text) / _CHARS_PER_S * 1000 < self.full_ms * _BREAK
        return ahead_ms < half_ms

    # ------------------------------------------------------------------------------------------ what came of it

    def align(self, end_ms: float, char_to: int) -> None:
        """A word of the present context: where it ends in the context's audio and text."""
        to_char = self._base_char + char_to
        if to_char <= len(self.spoken.text):
            self.spoken.words.append((self._base_ms + end_ms, to_char))

    def flushed(self) -> None:
        """The voice has given all audio of the oldest sentence in work."""
        if self._in_voice:
            done = self._in_voice.popleft()
            self.spoken.sentences.append((done.to_char, self.mouth.put_ms))
            if self._in_voice:
                self._in_voice[0].from_ms = self.mouth.put_ms

    def done(self) -> None:
        """Nothing more comes of the context."""
        while self._in_voice:
            self.flushed()
        self.is_open = self.is_ending = False

    def voice_changed(self) -> None:
        """The voice failed and another takes over: decide what is said again."""
        self.is_open = self.is_ending = self.yields = False
        again = [Piece(s.text, s.is_whole) for s in self._in_voice]
        if self._in_voice:
            current = self._in_voice[0]
            from_ms = current.from_ms or 0.0
            if self.mouth.sent_ms <= from_ms:
                self.mouth.truncate(from_ms)
                cut = current.from_char
            else:
                again, cut = again[1:], current.to_char
                self.spoken.sentences.append((cut, self.mouth.put_ms))
                if not current.is_whole:
                    self._skip()
            self.spoken.text = self.spoken.text[:cut].rstrip()
            self.spoken.words = [w for w in self.spoken.words if w[1] <= cut]
            self._begins = True
        self._in_voice.clear()
        self._waiting.extendleft(reversed(again))

    def _skip(self) -> None:
        """The rest of the sentence that the dead voice was in."""
        while self._waiting:
            if self._waiting.popleft().ends:
                return
        self._skips = True
