"""Is this frame speech? The voice detector of WebRTC, one per stream, since it adapts to its line.

Cost      2 microseconds per frame of 20 ms at 16 kHz; a new detector 0.3 microseconds.
Options   `mode` 0 (anything might be speech) to 3 (only what surely is).
Frames    20 ms at 8, 16, 32 or 48 kHz. One that is not, or of a stream that is not attached, is unvoiced and counted:
          a batch carries many sessions, and one of them must not end the others.
Source    https://webrtc.googlesource.com/src/+/main/common_audio/vad
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Annotated, Any

import webrtcvad
from annotated_types import Ge, Le

from actors.formats import FRAME_MS
from actors.providers import options as stream_options
from actors.providers.interface import Options, StreamSpec, VadCapabilities
from actors.secrets import Secret
from router.errors import ProviderError

__all__ = ["Provider", "WebrtcOptions"]

TYPE = "webrtc"
_process = webrtcvad._webrtcvad.process
"""What `Vad.is_speech` calls. Its own checks of the length cost a third of what the detector does, and a thousand
callers have 50,000 frames a second; the length is checked here."""
_RATES_HZ = (16000, 8000, 32000, 48000)
_USUAL_HZ = 16000
_USUAL_BYTES = 2 * _USUAL_HZ * FRAME_MS // 1000
_RATE_HZ, _SAMPLES = repeat(_USUAL_HZ), repeat(_USUAL_BYTES // 2)


class WebrtcOptions(Options):
    mode: Annotated[int, Ge(0), Le(3)] = 2
    """2 finds the ends of words on a telephone line and leaves breath out; 3 loses soft first consonants."""


_TOGETHER = 64


class _Shelf:
    """New detectors, made side by side: a batch of many streams walks through a few pages, not through the whole heap.

    With a thousand streams in a process that does other things between batches it is a sixth of what a frame costs.
    """

    def __init__(self) -> None:
        self._ready: dict[int, list[webrtcvad.Vad]] = {}

    def take(self, mode: int) -> webrtcvad.Vad:
        ready = self._ready.setdefault(mode, [])
        if not ready:
            ready.extend(webrtcvad.Vad(mode) for _ in range(_TOGETHER))
        return ready.pop()


class _Line:
    """One stream's detector."""

    __slots__ = ("_shelf", "detector", "frame_bytes", "mode", "rate_hz", "raw", "samples")

    def __init__(self, mode: int, rate_hz: int, shelf: _Shelf) -> None:
        self.mode, self.rate_hz, self._shelf = mode, rate_hz, shelf
        self.samples = rate_hz * FRAME_MS // 1000
        self.frame_bytes = self.samples * 2
        self.renew()

    def renew(self) -> None:
        self.detector = self._shelf.take(self.mode)
        self.raw: Any = self.detector._vad


class Provider:
    """Voice detection for many streams. `bad_frames` counts what was of no stream or of a wrong length."""

    Options = WebrtcOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> VadCapabilities:
        stream_options.parse(WebrtcOptions, TYPE, options)
        return VadCapabilities(rates_hz=_RATES_HZ, streams_per_actor=1000, inline=True)

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        self.options = stream_options.parse(WebrtcOptions, TYPE, options)
        self.bad_frames = 0
        self._lines: dict[int, _Line] = {}
        self._usual: dict[int, Any] = {}
        """Of lines at 16 kHz, which nearly all are, what the detector's function takes: a batch of them is one `map`,
        since a loop in Python costs half of what the detector does."""
        self._shelf = _Shelf()

    async def warm(self) -> None:
        """Nothing: a detector is made in no time."""

    async def probe(self) -> None:
        """Nothing: it runs in this process."""

    async def close(self) -> None:
        self._lines.clear()
        self._usual.clear()

    def attach(self, spec: StreamSpec) -> None:
        known = stream_options.parse(WebrtcOptions, TYPE, dict(self.options), spec.options)
        if spec.rate_hz not in _RATES_HZ:
            taken = ", ".join(str(rate_hz) for rate_hz in sorted(_RATES_HZ))
            raise ProviderError(TYPE, "config", f"audio at {spec.rate_hz} Hz; {taken} Hz are taken")
        self._lines[spec.stream] = line = _Line(known.mode, spec.rate_hz, self._shelf)
        if spec.rate_hz == _USUAL_HZ:
            self._usual[spec.stream] = line.raw

    def detach(self, stream: int) -> None:
        self._lines.pop(stream, None)
        self._usual.pop(stream, None)

    def reset(self, stream: int) -> None:
        """Forget what the line sounds like."""
        line = self._lines.get(stream)
        if line is not None:
            line.renew()
            if stream in self._usual:
                self._usual[stream] = line.raw

    def classify(self, streams: Sequence[int], frames: Sequence[bytes | memoryview]) -> Sequence[bool]:
        try:
            raws = list(map(self._usual.__getitem__, streams))
        except KeyError:
            return self._one_by_one(streams, frames)
        if set(map(len, frames)) != {_USUAL_BYTES} or len(raws) != len(frames):
            return self._one_by_one(streams, frames)
        return list(map(_process, raws, _RATE_HZ, frames, _SAMPLES))

    def _one_by_one(self, streams: Sequence[int], frames: Sequence[bytes | memoryview]) -> Sequence[bool]:
        lines, found = self._lines, []
        for stream, frame in zip(streams, frames, strict=True):
            line = lines.get(stream)
            if line is None or len(frame) != line.frame_bytes:
                self.bad_frames += 1
                found.append(False)
            else:
                found.append(_process(line.raw, line.rate_hz, frame, line.samples) == 1)
        return found
