"""A recogniser for the fakes of speech-to-text vendors: it hears the tones of `actors.providers.fake_tones`.

What a fake says so comes from the audio that it was sent: a word that was lost, cut or sent twice shows in the text.
Times are seconds of audio from the beginning of the connection, as vendors count them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actors.providers.fake_tones import hear

__all__ = ["Listener", "Word"]

_AUDIBLE = 1500


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    start_s: float
    end_s: float


class Listener:
    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.received = self.settled = 0
        """Samples: of all audio, and up to the last final."""
        self.last_loud: int | None = None
        """Sample after the last audible one; None before the first."""
        self._kept = bytearray()

    @property
    def received_s(self) -> float:
        return self.received / self.rate_hz

    @property
    def settled_s(self) -> float:
        return self.settled / self.rate_hz

    @property
    def silent_s(self) -> float:
        """Since the last audible sample; everything where there was none."""
        return (self.received - (self.last_loud or 0)) / self.rate_hz

    @property
    def speech_waits(self) -> bool:
        """Something audible is not settled."""
        return self.last_loud is not None and self.last_loud > self.settled

    def add(self, pcm: bytes) -> None:
        samples = np.frombuffer(pcm, dtype="<i2")
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > _AUDIBLE)
        if len(loud):
            self.last_loud = self.received + int(loud[-1]) + 1
        self.received += len(samples)
        self._kept.extend(pcm)

    def words(self) -> list[Word]:
        """Everything heard since the last final."""
        found = hear(bytes(self._kept), self.rate_hz)
        rate, at = self.rate_hz, self.settled
        return [Word(w.text, (at + w.from_sample) / rate, (at + w.to_sample) / rate) for w in found]

    def settle(self) -> None:
        """All audio so far is final."""
        self.settled = self.received
        self._kept.clear()
