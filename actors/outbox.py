"""Caller audio on its way to the session: cut into frames, sent as credit allows, kept until accepted.

    chunks of any length ──► frames of 20 ms ──► waiting ──credit──► in flight ──accepted──► gone
                                                   │
                                          live: more than 2 s wait, the oldest goes, counted

Pure: no loop, no clock, no link. `put` cuts, `due` hands out what may be sent now (`step` is both, for the usual
case), `accepted` takes credit back, `rewind` makes what was in flight wait again on a new connection.

Units    `seq` counts frames sent on one connection, from 0; `pos` counts samples in the caller's own format.
         A dropped frame leaves a gap in `pos` and none in `seq`, so the ear knows how much is missing.
Raises   AudioError from `put` for what is no bytes.
Used by  actors/call.py.
"""

from __future__ import annotations

from collections import deque

import msgspec

from actors.formats import FRAME_MS, AudioFormat
from router.errors import AudioError

__all__ = ["LIVE_WAIT_MS", "Frame", "Outbox"]

LIVE_WAIT_MS = 2000
"""Live audio that waits longer is of no use to a conversation: the session keeps 2 s before it opens, no more."""
_SILENCE = {"pcm16": b"\x00", "mulaw": b"\xff", "alaw": b"\xd5"}  # G.711: the codes of a zero sample


class Frame(msgspec.Struct, gc=False):
    """20 ms of the caller; `seq` is -1 until it is sent for the first time."""

    pos: int
    pcm: bytes
    seq: int = -1


class Outbox:
    """One caller's audio. `window_ms` is set by the session when it attaches; 0 until then: nothing may go out."""

    def __init__(self, audio: AudioFormat, *, live: bool) -> None:
        self.audio, self.live = audio, live
        self._frame_bytes, self._frame_samples = audio.frame_bytes, audio.frame_bytes // audio.sample_bytes
        self.window_ms = 0.0
        self.dropped_ms = 0.0
        self.accepted_seq = 0
        """Frames below it left the session's queue."""
        self.is_taken = False
        """The session has accepted a frame, on this connection or one before."""
        self._rest = bytearray()
        self.pos = 0
        """Of the next frame."""
        self.next_seq = 0
        self._waiting: deque[Frame] = deque()
        self._in_flight: deque[Frame] = deque()

    @property
    def waiting_ms(self) -> int:
        return len(self._waiting) * FRAME_MS

    @property
    def in_flight_ms(self) -> int:
        return len(self._in_flight) * FRAME_MS

    @property
    def has_room(self) -> bool:
        """A frame that is put now may be sent now."""
        return not self._waiting and self._may_send()

    @property
    def next_sample(self) -> int:
        """First sample that can still be sent (again)."""
        if self._in_flight:
            return self._in_flight[0].pos
        return self._waiting[0].pos if self._waiting else self.pos

    def put(self, pcm: bytes | bytearray | memoryview) -> None:
        """Take audio in any chunking; what is no whole frame waits for the rest. Raises AudioError."""
        if not isinstance(pcm, (bytes, bytearray, memoryview)):
            raise AudioError("pcm", f"bytes are taken, not {type(pcm).__name__}")
        if not self._rest and type(pcm) is bytes and len(pcm) == self._frame_bytes:
            self._append(pcm)  # the usual chunk, without copies
            return
        self._rest += pcm
        size = self.audio.frame_bytes
        whole = len(self._rest) // size * size
        for start in range(0, whole, size):
            self._append(bytes(self._rest[start : start + size]))
        del self._rest[:whole]

    def step(self, pcm: bytes) -> Frame | None:
        """`put` and `due` in one, where all is as usual: live, a whole frame, nothing waits, and the window is open.

        None: it is not, and nothing was taken.
        """
        flight = self._in_flight
        if (
            type(pcm) is not bytes
            or len(pcm) != self._frame_bytes
            or self._waiting
            or self._rest
            or not self.live
            or (len(flight) + 1) * FRAME_MS > self.window_ms
        ):
            return None
        frame = Frame(self.pos, pcm, self.next_seq)
        self.pos += self._frame_samples
        self.next_seq += 1
        flight.append(frame)
        return frame

    @property
    def in_step(self) -> bool:
        """A whole frame that is put now leaves now, and live."""
        return self.live and not self._rest and self.has_room

    def take_back(self, next_seq: int, pos: int, accepted_seq: int, frames: list[Frame]) -> None:
        """Since this was in step, frames were numbered and sent elsewhere: `frames` are those not accepted yet."""
        self.accepted(accepted_seq)
        self.next_seq, self.pos = next_seq, pos
        self._in_flight += frames
        self.accepted(accepted_seq)

    def pad(self) -> None:
        """Fill the last frame with silence, so that no sample of the input is kept back for ever."""
        if self._rest:
            missing = self.audio.frame_bytes - len(self._rest)
            self.put(_SILENCE[self.audio.encoding] * missing)

    def due(self) -> list[Frame]:
        """Frames to send now, numbered and moved into flight."""
        frames = []
        while self._waiting and self._may_send():
            frame = self._waiting.popleft()
            frame.seq = self.next_seq
            self.next_seq += 1
            self._in_flight.append(frame)
            frames.append(frame)
        return frames

    def accepted(self, seq: int) -> None:
        """The session accepted every frame below `seq`; an older word is ignored."""
        self.accepted_seq = max(self.accepted_seq, min(seq, self.next_seq))
        self.is_taken = self.is_taken or self.accepted_seq > 0
        flight = self._in_flight
        for _ in range(self.accepted_seq - (self.next_seq - len(flight))):  # in flight are the last that were numbered
            flight.popleft()

    def rewind(self, pos: int) -> None:
        """A new connection wants audio from sample `pos`: what was in flight from there on waits again.

        Sequence numbers start anew at 0 with each connection: they belong to its stream.
        """
        again = [f for f in self._in_flight if f.pos >= pos]
        self._in_flight.clear()
        self._waiting.extendleft(reversed(again))
        self.next_seq = self.accepted_seq = 0
        self._shed()

    def _append(self, pcm: bytes) -> None:
        self._waiting.append(Frame(self.pos, pcm))
        self.pos += len(pcm) // self.audio.sample_bytes
        self._shed()

    def _shed(self) -> None:
        while self.live and self.waiting_ms > LIVE_WAIT_MS:
            self._waiting.popleft()
            self.dropped_ms += FRAME_MS

    def _may_send(self) -> bool:
        return self.in_flight_ms + FRAME_MS <= self.window_ms
