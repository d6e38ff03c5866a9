"""What an ear at a vendor is billed for: the audio that it was sent, or how long its connections were open.

    meter = Meter("connection")
    meter.opened(at_s)                another connection; the one before it ends then
    meter.due(audio_s, now_s)         seconds since `take`
    meter.take(audio_s, now_s)        the same, and they are told

Pure. Seconds; instants on the caller's clock.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["Meter"]


class Meter:
    __slots__ = ("_billed", "_open_since_s", "_past_s", "_told_s")

    def __init__(self, billed: Literal["audio", "connection"]) -> None:
        self._billed = billed
        self._open_since_s: float | None = None
        self._past_s = self._told_s = 0.0

    def opened(self, at_s: float) -> None:
        if self._open_since_s is not None:
            self._past_s += max(0.0, at_s - self._open_since_s)
        self._open_since_s = at_s

    def due(self, audio_s: float, now_s: float) -> float:
        return self._total(audio_s, now_s) - self._told_s

    def take(self, audio_s: float, now_s: float) -> float:
        used_s = self.due(audio_s, now_s)
        self._told_s += used_s
        return used_s

    def _total(self, audio_s: float, now_s: float) -> float:
        if self._billed == "audio":
            return audio_s
        return self._past_s + (0.0 if self._open_since_s is None else max(0.0, now_s - self._open_since_s))
