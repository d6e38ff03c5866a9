"""The ear: a caller's audio, any chunking and format, becomes frames of 20 ms on the media clock.

The media position is the count of samples here. When the caller's frames stop for `CONCEAL_AFTER_S` the ear fills
with silence in session time, so that a caller who falls mute in mid-word still ends its turn.

Units    positions in samples at `rate_hz`; instants in session time. Source: conversation model, section 1 (200 ms).
"""

from __future__ import annotations

from collections.abc import Iterator

from actors.audio import Decoder
from actors.formats import FRAME_MS, AudioFormat
from actors.replay_ring import ReplayRing

__all__ = ["CONCEAL_AFTER_S", "Ear"]

CONCEAL_AFTER_S = 0.2
_FRAME_S = FRAME_MS / 1000


class Ear:
    """`hear` and `conceal` yield (position, frame); the caller of them feeds the stages."""

    __slots__ = (
        "_decoder", "_frame_bytes", "_silence", "concealed_ms", "concealing", "ended", "last_s", "rate_hz", "rest",
        "ring",
    )  # fmt: skip

    def __init__(
        self,
        audio_in: AudioFormat,
        rate_hz: int,
        replay_s: float,
        now_s: float,
        tail_s: float = 0.0,
        lent: memoryview | None = None,
    ) -> None:
        """`tail_s`: so much stays to be heard again, whatever is settled. `lent`: memory for the replay audio."""
        self.rate_hz = rate_hz
        self.ring = ReplayRing(int(replay_s * rate_hz), int(tail_s * rate_hz), lent)
        self.concealed_ms = 0.0
        self.last_s = now_s
        """Session time up to which there is audio; when it lags by `CONCEAL_AFTER_S`, silence fills in."""
        self.concealing = False
        """The caller is mute (or its input has ended): silence fills in without waiting."""
        self.ended = False
        self._decoder = Decoder(audio_in, rate_hz)
        self._frame_bytes = rate_hz * FRAME_MS // 1000 * 2
        self._silence = bytes(self._frame_bytes)
        self.rest = b""
        """What of the caller's audio makes no whole frame yet."""

    def end(self, now_s: float) -> None:
        """No more audio will come."""
        self.ended = self.concealing = True
        self.last_s = now_s

    @property
    def pos(self) -> int:
        return self.ring.end

    @property
    def at_s(self) -> float:
        """Media position, seconds."""
        return self.ring.end / self.rate_hz

    @property
    def repairs(self) -> int:
        """Odd bytes carried over and the like."""
        return self._decoder.repairs

    def hear(self, chunk: bytes | memoryview, now_s: float) -> Iterator[tuple[int, bytes]]:
        """Take a chunk of the caller's. Raises AudioError for one that cannot be."""
        self.last_s, self.concealing = now_s, False
        pcm = self._decoder.feed(bytes(chunk))
        size = self._frame_bytes
        if not self.rest and len(pcm) == size:  # the usual case: one frame in, one frame out
            pos = self.ring.end
            self.ring.write(pcm)
            yield pos, pcm
            return
        pcm = self.rest + pcm
        whole = len(pcm) - len(pcm) % size
        self.rest = pcm[whole:]
        for at in range(0, whole, size):
            frame, pos = pcm[at : at + size], self.ring.end
            self.ring.write(frame)
            yield pos, frame

    def conceal(self, now_s: float) -> Iterator[tuple[int, bytes]]:
        """Silence up to `now_s`, once the caller has been mute for long enough."""
        if not self.concealing and now_s - self.last_s < CONCEAL_AFTER_S - 1e-6:
            return
        self.concealing = True
        while now_s - self.last_s >= _FRAME_S - 1e-6:
            self.last_s += _FRAME_S
            yield self.add_silence()

    def fill(self, now_s: float) -> int:
        """Silence up to `now_s` for a caller who is mute already, all at once and for nobody to hear: its frames."""
        frames = int((now_s - self.last_s + 1e-6) / _FRAME_S)
        if frames <= 0:
            return 0
        self.last_s += frames * _FRAME_S
        self.concealed_ms += frames * FRAME_MS
        self.skip(frames)
        return frames

    def skip(self, frames: int) -> None:
        """So many frames of the caller's never came: the media clock goes on over silence."""
        self.ring.write_silence(frames * self._frame_bytes // 2)

    def add_silence(self) -> tuple[int, bytes]:
        """One frame of silence; what is left of the caller's last chunk comes first."""
        frame = self._silence
        if self.rest:
            frame, self.rest = (self.rest + self._silence)[: self._frame_bytes], b""
        pos = self.ring.end
        self.ring.write(frame)
        self.concealed_ms += FRAME_MS
        return pos, frame
