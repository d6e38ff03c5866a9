"""What happened in one call, on one time axis: the samples sent, the samples heard, and every event with its place.

The axis is media time: seconds of audio since the first frame. The recording, the picture and the demo's check are all
made of this record.

Shapes   `sent`, `heard`: int16, as long as each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from actors.events import Event, VoiceAudio

__all__ = ["CallLog", "Samples"]

Samples = npt.NDArray[np.int16]


@dataclass(slots=True)
class CallLog:
    """Filled while the call runs."""

    rate_hz: int
    title: str = ""
    timed: bool = True
    """False for lock-step calls: latencies mean nothing there."""
    entries: list[tuple[float, Event]] = field(default_factory=list)
    """(media seconds when it came, event); reply audio is left out, `heard` has it."""
    held: list[tuple[float, float]] = field(default_factory=list)
    """Spans of media time in which the file was held and silence was sent."""
    input_end_s: float | None = None
    """Where the file ended."""
    _sent: bytearray = field(default_factory=bytearray)
    _heard: bytearray = field(default_factory=bytearray)

    @property
    def now_s(self) -> float:
        """Media time so far."""
        return len(self._heard) / 2 / self.rate_hz

    @property
    def sent(self) -> Samples:
        return np.frombuffer(bytes(self._sent), dtype="<i2").astype(np.int16)

    @property
    def heard(self) -> Samples:
        return np.frombuffer(bytes(self._heard), dtype="<i2").astype(np.int16)

    def add(self, event: Event) -> None:
        if not isinstance(event, VoiceAudio):
            self.entries.append((self.now_s, event))

    def frame(self, sent: bytes, heard: bytes, *, held: bool) -> None:
        """20 ms went by."""
        start_s = self.now_s
        self._sent += sent
        self._heard += heard
        if held and self.held and abs(self.held[-1][1] - start_s) < 1e-6:
            self.held[-1] = (self.held[-1][0], self.now_s)
        elif held:
            self.held.append((start_s, self.now_s))

    def of(self, *types: type[Event]) -> list[tuple[float, Event]]:
        """Entries of these types, in order."""
        return [(at_s, event) for at_s, event in self.entries if isinstance(event, types)]
