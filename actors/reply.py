"""One reply on its way out: text, sentences, voice, mouth; and what of it was heard.

    agent or say ──add_text──► sentences ──pump──► voice ──audio──► encoder ──► mouth
    speech-to-speech model ─────────────────────────audio──► encoder ──► mouth

Text waits here when the mouth has plenty: an agent may write for minutes, the mouth holds `reply_audio_max_s`.
After a voice failed, the sentence it was in is said again if none of it was played, else the next one follows.

Units    `_ms` of reply audio from the reply's start; session time in `_s`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from actors import wire
from actors.audio import Encoder
from actors.formats import AudioFormat
from actors.heard import Spoken
from actors.mouth import Mouth
from actors.providers.interface import Align, Cause, ProviderEvent
from actors.sentences import Splitter
from actors.stage_slot import StageSlot

__all__ = ["MAX_TEXT", "Reply", "Stamps"]

MAX_TEXT = 65_536
"""Characters of one reply; an agent that writes more is cut and the reply ends there."""
_CHARS_PER_S = 15.0  # usual pace of speech; only to guess how much audio a sentence in work will give
Source = Literal["agent", "client", "say", "model"]


@dataclass(slots=True)
class Stamps:
    """Session time of what `turn.latency` tells; None: has not happened."""

    last_voiced_s: float | None = None
    decided_s: float | None = None
    final_s: float | None = None
    agent_s: float | None = None
    tts_s: float | None = None


@dataclass(slots=True)
class _Sentence:
    text: str
    from_char: int
    to_char: int
    from_ms: float | None = None
    """Where its audio begins; None until the sentence before it is complete."""


@dataclass(slots=True)
class Reply:
    """Fed by the session; it sends text to the voice and audio into its mouth."""

    id: int
    turn_id: int | None
    revision: int
    source: Source
    mouth: Mouth
    audio_out: AudioFormat
    half_full_ms: float
    say_id: int | None = None
    response: int | None = None
    interruptible: bool = True
    stamps: Stamps = field(default_factory=Stamps)
    spoken: Spoken = field(default_factory=Spoken)
    text_done: bool = False
    asked: bool = False
    """The agent has been asked and has not said `done`."""
    cause: Cause = "user"
    """What the agent was last asked for."""
    round_text: str = ""
    """What it has said since."""
    tool_rounds: int = 0
    """How often it called tools and was asked again."""
    held: list[ProviderEvent] = field(default_factory=list)
    """Of a reply that may be taken back: what the agent wants done waits until it may not."""
    started: bool = False
    ended: bool = False
    early: list[str] = field(default_factory=list)
    """Text not told yet: of a response that waits for the one before it, of a reply that may be taken back."""
    voice_due_s: float | None = None
    """Loop time by which the voice must have given audio for what it was told."""
    _splitter: Splitter = field(default_factory=Splitter)
    _pending: deque[str] = field(default_factory=deque)
    _in_voice: deque[_Sentence] = field(default_factory=deque)
    _encoder: Encoder | None = None
    _encoder_hz: int = 0
    _chars: int = 0
    begun: bool = False
    _end_told: bool = False
    _base_ms: float = 0.0
    _base_char: int = 0

    # ---------------------------------------------------------------------------------------------------- text

    def add_text(self, delta: str) -> None:
        room = MAX_TEXT - self._chars
        self._chars += len(delta)
        if room > 0 and not self.text_done:
            self._pending.extend(self._splitter.feed(delta[:room]))

    def end_sentence(self) -> None:
        """No more text for a while: what there is is whole."""
        if not self.text_done:
            self._pending.extend(self._splitter.end())

    def end_text(self) -> None:
        if not self.text_done:
            self._pending.extend(self._splitter.end())
            self.text_done = True

    def cut_text(self) -> None:
        """Nothing more is said than what the voice has already been given."""
        self._pending.clear()
        self.text_done = True

    @property
    def has_text(self) -> bool:
        return self._chars > 0

    @property
    def said(self) -> str:
        """All of its text, spoken or still to be."""
        return " ".join([self.spoken.text, *self._pending]).strip()

    @property
    def is_silent(self) -> bool:
        """Complete, and there is nothing to be heard."""
        return self.text_done and not self._pending and not self._in_voice and not self.spoken.text

    @property
    def voice_busy(self) -> bool:
        """The voice owes audio, or could be given text at once."""
        return bool(self._in_voice) or (self._end_told and not self.mouth.complete)

    # --------------------------------------------------------------------------------------------------- voice

    def pump(self, voice: StageSlot) -> int:
        """Give the voice the sentences it should be working on; returns the characters given."""
        given = 0
        while self._pending and self._has_room():
            sentence = self._pending.popleft()
            if not self.begun:
                voice.send(wire.TtsBegin(reply=self.id))
                self.begun = True
                self._base_char = len(self.spoken.text) + (1 if self.spoken.text else 0)
            from_char, to_char = self.spoken.add(sentence)
            first = not self._in_voice
            self._in_voice.append(_Sentence(sentence, from_char, to_char, self.mouth.put_ms if first else None))
            joined = sentence if from_char == self._base_char else f" {sentence}"
            voice.send(wire.TtsText(reply=self.id, text=joined))
            voice.send(wire.TtsFlush(reply=self.id))
            given += len(sentence)
        if self.text_done and not self._pending and self.begun and not self._end_told:
            self._end_told = True
            voice.send(wire.TtsEnd(reply=self.id))
        return given

    @property
    def has_pending(self) -> bool:
        """Sentences wait for the mouth to have room."""
        return bool(self._pending)

    def _has_room(self) -> bool:
        owed_ms = sum(len(s.text) for s in self._in_voice) / _CHARS_PER_S * 1000
        ahead_ms = self.mouth.waiting_ms + owed_ms
        return not ahead_ms or ahead_ms < self.half_full_ms

    def audio(self, pcm: bytes, rate_hz: int) -> None:
        """From the voice or the model, contiguous."""
        if self._encoder is None or self._encoder_hz != rate_hz:
            self._encoder, self._encoder_hz = Encoder(self.audio_out, rate_hz), rate_hz
        self.mouth.put(self._encoder.feed(pcm))

    def align(self, event: Align) -> None:
        to_char = self._base_char + event.char_to
        if to_char <= len(self.spoken.text):
            self.spoken.words.append((self._base_ms + event.end_ms, to_char))

    def flushed(self) -> None:
        """The voice has given all audio of the oldest sentence in work."""
        if self._in_voice:
            done = self._in_voice.popleft()
            self.spoken.sentences.append((done.to_char, self.mouth.put_ms))
            if self._in_voice:
                self._in_voice[0].from_ms = self.mouth.put_ms

    def voice_done(self) -> None:
        """Nothing more will come from the voice or the model."""
        if self._encoder is not None:
            self.mouth.put(self._encoder.flush())
        while self._in_voice:
            self.flushed()
        self.mouth.complete = True

    def voice_changed(self) -> None:
        """The voice failed and another takes over: decide what is said again."""
        self._encoder = None
        self.begun = self._end_told = False
        if self.mouth.complete:
            return
        again = [s.text for s in self._in_voice]
        if self._in_voice:
            current = self._in_voice[0]
            from_ms = current.from_ms or 0.0
            if self.mouth.sent_ms <= from_ms:
                self.mouth.truncate(from_ms)
                cut = current.from_char
            else:
                again = again[1:]
                cut = current.to_char
            self.spoken.text = self.spoken.text[:cut].rstrip()
            self.spoken.words = [w for w in self.spoken.words if w[1] <= cut]
            if cut == current.to_char:
                self.spoken.sentences.append((cut, self.mouth.put_ms))
        self._in_voice.clear()
        self._pending.extendleft(reversed(again))
        self._base_ms = self.mouth.put_ms
        if self.text_done and not self._pending:
            self.mouth.complete = True

    # --------------------------------------------------------------------------------------------------- heard

    def heard(self, played_ms: float) -> tuple[str, bool]:
        """Text heard and whether that is exact."""
        whole = self.mouth.complete and not self._pending
        return self.spoken.heard(played_ms, self.mouth.put_ms if whole else None)
