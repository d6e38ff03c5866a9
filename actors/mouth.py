"""The mouth: reply audio waits here and leaves at the speed of speech, at most half a second ahead of the ear.

    put ──► [ waiting, at most reply_audio_max_s ] ──tick──► sent ──real time──► played

What was played is what the caller reported (`report`), carried on in real time; without a report it is taken to play
in real time from the first frame sent. So `sent - played` never passes `LEAD_MS` + one frame, and a barge-in has at
most half a second to take back.

Units    `now_s` session time; `_ms` of reply audio from the reply's start; audio in the caller's own format.
Full     more than `max_s` waiting: drop_newest, counted in `dropped_ms` (the session withholds text long before).
Source   conversation model, section 3: at most 500 ms ahead, measured at most 520 ms.
"""

from __future__ import annotations

import math

from actors.formats import FRAME_MS, AudioFormat

__all__ = ["LEAD_MS", "Mouth"]

LEAD_MS = 500.0
STEP_MS = 200.0
"""It looks again when so much was played: ten frames in one piece cost what one does, and the ear has 300 ms yet."""


class Mouth:
    """The audio of one reply. A new reply gets a new mouth."""

    __slots__ = (
        "_base_ms", "_base_s", "_byte_ms", "_frame", "_keep", "_max_bytes", "_out", "_taken", "complete",
        "dropped_ms", "held", "open", "put_ms", "reported", "sent_ms",
    )  # fmt: skip

    def __init__(self, audio_out: AudioFormat, max_s: float, *, gated: bool = False) -> None:
        self._frame = audio_out.frame_bytes
        self._byte_ms = FRAME_MS / self._frame
        self._keep = int(2 * LEAD_MS / FRAME_MS) * self._frame
        self._max_bytes = int(max_s * 1000 / FRAME_MS) * self._frame
        self._out = bytearray()
        self._taken = 0
        self.sent_ms = self.put_ms = self.dropped_ms = 0.0
        self._base_ms = self._base_s = 0.0
        self.open = not gated
        """False: an eager end may still be taken back."""
        self.held = False
        self.complete = False
        """Nothing more will be put."""
        self.reported = False
        """The caller tells what it played."""

    @property
    def waiting_ms(self) -> float:
        return (len(self._out) - self._taken) * self._byte_ms

    def put(self, audio: bytes) -> None:
        """Audio of the reply in the caller's format, in order."""
        room = self._max_bytes - (len(self._out) - self._taken)
        if len(audio) > room:
            self.dropped_ms += (len(audio) - room) * self._byte_ms
            audio = audio[: max(room, 0)]
        self._out += audio
        self.put_ms += len(audio) * self._byte_ms

    def played_ms(self, now_s: float) -> float:
        """What the caller has heard of it by now."""
        if self.held:
            return self._base_ms
        return min(self.sent_ms, self._base_ms + max(0.0, now_s - self._base_s) * 1000)

    def take(self, now_s: float) -> tuple[float, bytes] | None:
        """Audio that may leave now, and its offset in ms; None: nothing may."""
        waiting = len(self._out) - self._taken
        if not self.open or self.held or not waiting or (waiting < self._frame and not self.complete):
            return None
        played = self.played_ms(now_s)
        if self.sent_ms - played > LEAD_MS - STEP_MS + 1e-3:
            return None
        frames = 0
        while self.sent_ms + frames * FRAME_MS - played < LEAD_MS and frames * self._frame < waiting:
            frames += 1
        if not self.complete:
            frames = min(frames, waiting // self._frame)
        if not frames:
            return None
        if played >= self.sent_ms:  # the caller ran dry (or nothing was sent yet): it plays on from here
            self._base_ms, self._base_s = self.sent_ms, now_s
        offset = self.sent_ms
        audio = bytes(self._out[self._taken : self._taken + frames * self._frame])
        self._taken += len(audio)
        self.sent_ms += len(audio) * self._byte_ms
        spare = self._taken - self._keep  # what a hold may want back stays
        if spare > 65_536:
            del self._out[:spare]
            self._taken -= spare
        return offset, audio

    def report(self, ms: float, now_s: float) -> None:
        """The caller says what it has heard; never more than was sent, never backwards."""
        if self.held or not math.isfinite(ms) or ms < 0:
            return  # what was cleared is put back from where the hold said; what is no time is no report
        self._base_ms = min(max(ms, self._base_ms), self.sent_ms)
        self._base_s = now_s
        self.reported = True

    def hold(self, now_s: float) -> float:
        """Stop. What was sent and not played waits again, from its frame on, since the caller throws it away.

        Returns the ms that were played.
        """
        played = self.played_ms(now_s)
        back = -(-round((self.sent_ms - played) / self._byte_ms) // self._frame) * self._frame
        back = min(back, self._taken)
        self._taken -= back
        self.sent_ms -= back * self._byte_ms
        self._base_ms, self._base_s, self.held = min(played, self.sent_ms), now_s, True
        return played

    def resume(self, now_s: float) -> float:
        """Go on from where it was held; returns that offset in ms."""
        self._base_s, self.held = now_s, False
        return self.sent_ms

    def truncate(self, keep_ms: float) -> None:
        """Throw away what waits beyond `keep_ms` of the reply (never what was sent)."""
        keep = max(0, round((max(keep_ms, self.sent_ms) - self.sent_ms) / self._byte_ms))
        waiting = len(self._out) - self._taken
        if keep < waiting:
            del self._out[self._taken + keep :]
            self.put_ms = self.sent_ms + keep * self._byte_ms

    def is_over(self, now_s: float) -> bool:
        """All of it was put, sent and played."""
        done = self.complete and not self.waiting_ms and not self.held
        return done and self.played_ms(now_s) >= self.sent_ms - 1e-6

    def due_s(self, now_s: float) -> float | None:
        """When something can next happen: a frame may leave, or the last was played."""
        if self.held or not self.open:
            return None
        if self.waiting_ms:
            ahead_ms = self.sent_ms - self.played_ms(now_s)
            return now_s + max(FRAME_MS, ahead_ms - (LEAD_MS - STEP_MS)) / 1000
        if self.complete:
            return self._base_s + (self.sent_ms - self._base_ms) / 1000
        return None
