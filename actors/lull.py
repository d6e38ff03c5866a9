"""A lull: the caller is away or mute and says nothing, so the ear of the route may rest.

    caller's frames ──► Listening ──► speech to text           resting: silence is passed over, `pause` was said
                                                               a frame of the caller's: `resume`, then the frame

The media clock goes on; nobody is given the silence (`Listening.rest_over`): a vendor bills it by the minute, or closes
a socket that gets nothing and was not told why, and a thousand silent callers would cost their host as much as a
thousand that speak. A stream is told `pause` once nobody owes anything to anybody: no open turn, no final asked for,
all audio given.

Units    loop time; positions in samples of the ear.
Used by  listening.py (frames), session.py (time).
"""

from __future__ import annotations

from actors import wire
from actors.audio_feed import AudioFeed
from actors.ear import CONCEAL_AFTER_S, Ear
from actors.stage_slot import StageSlot

__all__ = ["REST_AFTER_S", "Lull"]

REST_AFTER_S = 2.0
"""Of nothing from the caller. A jam of the network is shorter; the shortest patience of a vendor is 5 s or more."""
_LOOK_S = 0.5


class Lull:
    """Of one session whose words come from speech to text."""

    __slots__ = ("_ear", "_feed", "_mute_since_s", "_slot", "due_s", "passed", "resting")

    def __init__(self, ear: Ear, feed: AudioFeed, slot: StageSlot) -> None:
        self.resting = False
        self.due_s: float | None = None
        """When to look again; None: a frame of the caller's is waited for."""
        self.passed = 0
        """Samples that were not given since the last `take_passed`."""
        self._ear, self._feed, self._slot = ear, feed, slot
        self._mute_since_s: float | None = None

    def tick(self, now_s: float, *, attached: bool, idle: bool) -> None:
        """`idle`: nobody owes anything to anybody."""
        ear = self._ear
        mute = ear.concealing or now_s - ear.last_s >= CONCEAL_AFTER_S
        self.due_s = None if self.resting else now_s + _LOOK_S
        if self.resting or not mute:
            self._mute_since_s = None
            return
        if self._mute_since_s is None:
            self._mute_since_s = now_s
        long_enough = not attached or now_s - self._mute_since_s >= REST_AFTER_S - 1e-6
        if long_enough and idle and not self._feed.lag and self._slot.state == "ready":
            self.resting, self.due_s = True, None
            self._slot.send(wire.SttPause())

    def heard(self) -> None:
        """The caller is not mute now: what it was before does not count."""
        self._mute_since_s = None

    def takes(self, end: int) -> bool:
        """While resting: the frame that ends at `end` is silence and passed over. False: it is the caller's."""
        if not self._ear.concealing:
            self.wake()
            return False
        self.passed += end - self._feed.sent
        self._feed.pass_over(end)
        return True

    def wake(self) -> None:
        """Audio, or a question about it, is about to be sent."""
        if self.resting:
            self.resting = False
            self._slot.send(wire.SttResume())

    def renewed(self) -> None:
        """Another stream serves: it does not know that nothing comes."""
        if self.resting:
            self._slot.send(wire.SttPause())

    def take_passed(self) -> int:
        passed, self.passed = self.passed, 0
        return passed
