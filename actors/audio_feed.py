"""Caller audio on its way to one stage: from the ear to the stream, as its credit allows.

In step, a frame goes straight through. Without credit it stays where it already is, in the replay ring, and only the
cursor `sent` stays behind; when credit comes back the cursor catches up from the ring in the same pieces.

Units    `sent` in samples of the ear; the stream's own rate may differ, then the feed resamples.
Full     more than `LAG_MAX_S` behind: drop_oldest for a live caller (the cursor jumps, `dropped` counts the samples);
         audio from a file waits instead (`block`: the session gives its sender no credit).
"""

from __future__ import annotations

from actors.formats import FRAME_MS
from actors.replay_ring import ReplayRing
from actors.resample import Resampler
from actors.stage_slot import StageSlot

__all__ = ["LAG_MAX_S", "WINDOW_S", "AudioFeed"]

WINDOW_S = 2.0
"""Credit of a stream: audio sent and not yet taken from the receiver's queue."""
LAG_MAX_S = 2.0


class AudioFeed:
    """One stage's cursor in the caller's audio."""

    __slots__ = (
        "_frame", "_lag_max", "_pos", "_rate_hz", "_resampler", "_rest", "_ring", "_stream_hz", "dropped", "held",
        "sent", "slot", "window",
    )  # fmt: skip

    def __init__(self, slot: StageSlot, ring: ReplayRing, ear_hz: int) -> None:
        self.slot, self._ring, self._rate_hz, self._stream_hz = slot, ring, ear_hz, ear_hz
        self._frame = ear_hz * FRAME_MS // 1000
        self._lag_max = int(LAG_MAX_S * ear_hz)
        self.sent = self.dropped = 0
        self.held = False
        """What comes waits in the ring: another stream will be given it."""
        self._resampler: Resampler | None = None
        self._pos = 0
        self._rest = b""
        self.window = 0

    def restart(self, at: int, stream_hz: int) -> int:
        """A new stream begins at ear position `at`; returns that position in the stream's own samples."""
        self.sent, self.held = at, False
        self.window = int(WINDOW_S * stream_hz)
        self._stream_hz = stream_hz
        self._resampler = None if stream_hz == self._rate_hz else Resampler(self._rate_hz, stream_hz)
        self._pos, self._rest = at * stream_hz // self._rate_hz, b""
        return self._pos

    @property
    def is_straight(self) -> bool:
        """The ear's frames go to the stream as they are."""
        return self._resampler is None

    def to_ear(self, pos: int) -> int:
        """A position that the stream names, on the ear's clock."""
        port = self.slot.port
        return pos if port is None or port.rate_hz == self._rate_hz else round(pos * self._rate_hz / port.rate_hz)

    def to_stream(self, pos: int) -> int:
        port = self.slot.port
        return pos if port is None or port.rate_hz == self._rate_hz else round(pos * port.rate_hz / self._rate_hz)

    def push(self, pos: int, frame: bytes) -> None:
        """The ear has a new frame (it is in the ring already)."""
        port = self.slot.port
        if self.held:
            return
        if port is not None and pos == self.sent and self._resampler is None and port.unaccepted < self.window:
            self.sent = pos + self._frame
            port.audio(pos, frame)
        else:
            self.pump()

    def pump(self) -> None:
        """Send what credit allows; let go of what is too old."""
        port, end = self.slot.port, self._ring.end
        while port is not None and not self.held and self.sent < end and port.unaccepted < self.window:
            if self.sent < self._ring.start:
                self._skip(self._ring.start)
            frame = self._ring.read(self.sent, min(self.sent + self._frame, end))
            pos, self.sent = self.sent, self.sent + len(frame) // 2
            if self._resampler is None:
                port.audio(pos, frame)
            else:
                self._send_resampled(frame)
            port = self.slot.port  # the stream may have failed meanwhile

    def _send_resampled(self, frame: bytes) -> None:
        port = self.slot.port
        assert port is not None
        assert self._resampler is not None
        self._rest += self._resampler.feed(frame)
        size = port.rate_hz * FRAME_MS // 1000 * 2
        while len(self._rest) >= size:
            port.audio(self._pos, self._rest[:size])
            self._pos += size // 2
            self._rest = self._rest[size:]

    @property
    def lag(self) -> int:
        """Samples behind the ear."""
        return self._ring.end - self.sent

    def drop_oldest(self) -> int:
        """Let go of what lies more than `LAG_MAX_S` back; returns the samples."""
        over = self.lag - self._lag_max
        if over <= 0:
            return 0
        over += -over % self._frame
        self._skip(self.sent + over)
        return over

    def pass_over(self, to: int) -> None:
        """What lies before `to` is silence that nobody needs to hear: not given, not dropped."""
        self.sent, self._rest = to, b""
        self._pos = to * self._stream_hz // self._rate_hz

    def _skip(self, to: int) -> None:
        self.dropped += to - self.sent
        self.sent = to
        self._pos = to * self._stream_hz // self._rate_hz
