"""The sound of the open turn, for a detector that listens: from shortly before its first word, at most eight seconds.

Of the turn alone: what the caller said before it, and what the agent said since, would be taken for a part of it.

Units    positions in samples of the ear, media seconds; the answer is 16-bit PCM at the rate that the stream wants.
Source   Smart Turn hears at most 8 s, and in its authors' own pipeline 0.5 s of what lies before the speech.
"""

from __future__ import annotations

from actors.replay_ring import ReplayRing
from actors.resample import Resampler

__all__ = ["TAIL_S", "turn_tail"]

TAIL_S = 8.0
_BEFORE_S = 0.5


def turn_tail(ring: ReplayRing, rate_hz: int, from_s: float, wanted_hz: int) -> bytes:
    """What came since `from_s` less half a second, as far as it is kept; empty where nothing is."""
    begin = max(ring.end - round(TAIL_S * rate_hz), round((from_s - _BEFORE_S) * rate_hz))
    pcm = ring.recent(begin, ring.end)
    resampler = Resampler(rate_hz, wanted_hz)
    return resampler.feed(pcm) + resampler.flush()
