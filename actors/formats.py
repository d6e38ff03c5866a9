"""Formats of audio at the caller's door.

Linear 16-bit little-endian mono at 8, 16, 24 or 48 kHz, or G.711 mu-law and A-law at 8 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from router.errors import AudioError

__all__ = ["FRAME_MS", "AudioFormat", "Encoding"]

Encoding = Literal["pcm16", "mulaw", "alaw"]
FRAME_MS = 20
"""The tick of the whole house: RTP's usual packet, a length that webrtcvad takes."""
_RATES = {"pcm16": (8000, 16000, 24000, 48000), "mulaw": (8000,), "alaw": (8000,)}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Encoding and rate of mono audio. Raises AudioError for a pair that is not taken.

    >>> AudioFormat("pcm16", 16000).frame_bytes
    640
    """

    encoding: Encoding = "pcm16"
    rate_hz: int = 16000

    def __post_init__(self) -> None:
        if self.encoding not in _RATES:
            raise AudioError("encoding", f"{self.encoding!r}; pcm16, mulaw or alaw are taken")
        if self.rate_hz not in _RATES[self.encoding]:
            rates = ", ".join(str(r) for r in _RATES[self.encoding])
            raise AudioError("rate_hz", f"{self.rate_hz!r}; {self.encoding} is taken at {rates} Hz")

    @property
    def sample_bytes(self) -> int:
        return 2 if self.encoding == "pcm16" else 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of 20 ms."""
        return self.rate_hz * FRAME_MS // 1000 * self.sample_bytes
