"""One reply on its way out: text, voice, mouth; and what of it was heard.

    agent or say ──add_text──► pieces ──recital──► voice ──audio──► encoder ──► mouth
    speech-to-speech model ─────────────────────────audio──► encoder ──► mouth

Text waits in the recital when the mouth has plenty: an agent may write for minutes, the mouth holds its bound.

Units    `_ms` of reply audio from the reply's start; session time in `_s`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from actors.audio import Encoder
from actors.formats import AudioFormat
from actors.heard import Spoken
from actors.mouth import Mouth
from actors.pieces import Pieces
from actors.providers.interface import Cause, ProviderEvent, TtsCapabilities
from actors.recital import Recital
from actors.stage_slot import StageSlot

__all__ = ["MAX_TEXT", "Reply", "Stamps"]

MAX_TEXT = 65_536
"""Characters of one reply; an agent that writes more is cut and the reply ends there."""
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
class Reply:
    """Fed by the session; it sends text to the voice and audio into its mouth."""

    id: int
    turn_id: int | None
    revision: int
    source: Source
    mouth: Mouth
    audio_out: AudioFormat
    recital: Recital
    say_id: int | None = None
    response: int | None = None
    interruptible: bool = True
    stamps: Stamps = field(default_factory=Stamps)
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
    context_due_s: float | None = None
    """Loop time by which an open context that gets no text is ended."""
    pieces: Pieces = field(default_factory=lambda: Pieces(whole=True))
    _encoder: Encoder | None = None
    _encoder_hz: int = 0
    _chars: int = 0

    # ---------------------------------------------------------------------------------------------------- text

    def add_text(self, delta: str) -> None:
        room = MAX_TEXT - self._chars
        self._chars += len(delta)
        if room > 0 and not self.text_done:
            self.recital.add(self.pieces.feed(delta[:room]))

    def end_sentence(self) -> None:
        """No more text for a while: what there is is whole."""
        if not self.text_done:
            self.recital.add(self.pieces.end())

    def end_text(self) -> None:
        if not self.text_done:
            self.recital.add(self.pieces.end())
            self.text_done = True

    @property
    def has_text(self) -> bool:
        return self._chars > 0

    @property
    def spoken(self) -> Spoken:
        """The text given to a voice, and where it lies in the audio."""
        return self.recital.spoken

    @property
    def said(self) -> str:
        """All of its text, spoken or still to be."""
        return self.recital.said

    @property
    def is_silent(self) -> bool:
        """Complete, and there is nothing to be heard."""
        return self.text_done and not self.recital.has_waiting and not self.spoken.text

    @property
    def voice_busy(self) -> bool:
        """The voice owes audio."""
        return self.recital.is_busy

    # --------------------------------------------------------------------------------------------------- voice

    def pump(self, voice: StageSlot, can: TtsCapabilities) -> int:
        """Give the voice the text it should be working on; returns the characters given."""
        given = self.recital.pump(voice, can, text_done=self.text_done)
        self._conclude()
        return given

    def _conclude(self) -> None:
        """Nothing more will come once all text is given and the last context is done."""
        recital = self.recital
        if self.text_done and recital.is_idle and not recital.has_waiting and self.spoken.text:
            self.mouth.complete = True

    def audio(self, pcm: bytes, rate_hz: int) -> None:
        """From the voice or the model, contiguous."""
        if self._encoder is None or self._encoder_hz != rate_hz:
            self._encoder, self._encoder_hz = Encoder(self.audio_out, rate_hz), rate_hz
        self.mouth.put(self._encoder.feed(pcm))

    def voice_done(self) -> None:
        """Nothing more will come of the voice's context, or of the model."""
        if self._encoder is not None:
            self.mouth.put(self._encoder.flush())
            self._encoder = None
        self.recital.done()
        if self.source == "model":
            self.mouth.complete = True
        else:
            self._conclude()

    def voice_changed(self) -> None:
        """The voice failed and another takes over."""
        self._encoder = None
        if not self.mouth.complete:
            self.recital.voice_changed()
            self._conclude()

    # --------------------------------------------------------------------------------------------------- heard

    def heard(self, played_ms: float) -> tuple[str, bool]:
        """Text heard and whether that is exact."""
        whole = self.mouth.complete and not self.recital.has_waiting
        return self.spoken.heard(played_ms, self.mouth.put_ms if whole else None)
