"""From voiced frames to speech that starts and stops: hysteresis counted in frames.

Speech starts when `start_frames` of the last `start_window` frames are voiced; it begins at the first of those. It
stops after `stop_s` unvoiced; it ended with the last voiced frame.

Units    positions in samples; frames of 20 ms in order. Source: conversation model, section 3 (3 of 5; 200 ms).
"""

from __future__ import annotations

from router.settings import Vad

__all__ = ["VoiceGate"]


class VoiceGate:
    """One caller's gate. `frame` answers True when speech starts, False when it stops, None otherwise."""

    __slots__ = ("_frame", "began", "bits", "last_voiced", "mask", "need", "speaking", "stop")

    def __init__(self, settings: Vad, rate_hz: int) -> None:
        self.speaking = False
        self.began = 0
        """Where the first voiced frame of the present speech begins."""
        self.last_voiced = 0
        """Where the last voiced frame ends."""
        self._frame = rate_hz // 50
        self.need = min(settings.start_frames, settings.start_window)
        self.mask = (1 << settings.start_window) - 1
        self.stop = round(settings.stop_s * rate_hz)
        self.bits = 0

    def frame(self, end: int, voiced: bool) -> bool | None:
        """Take the verdict on the frame that ends at `end`."""
        if self.speaking:
            if voiced:
                self.last_voiced = end
            elif end - self.last_voiced >= self.stop:
                self.shut(end)
                return False
            return None
        self.bits = bits = (self.bits << 1 | voiced) & self.mask
        if voiced and bits.bit_count() >= self.need:
            self.open(end)
            return True
        return None

    def open(self, end: int) -> None:
        """Speech has started: `bits` are the verdicts up to `end`."""
        self.speaking = True
        self.began = end - self.bits.bit_length() * self._frame
        self.last_voiced = end

    def shut(self, end: int) -> None:
        """Speech has stopped."""
        self.speaking = False
        self.bits = 0
