"""The replay ring against a list that forgets nothing: what is readable, what is dropped, what stays when settled."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.replay_ring import ReplayRing


def audio(begin: int, end: int) -> bytes:
    """Sample k is k, so that a sample tells its place."""
    return (np.arange(begin, end) % 30_000).astype("<i2").tobytes()


STEPS = st.lists(st.tuples(st.sampled_from(["write", "settle"]), st.integers(1, 900)), max_size=60)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(900, 40_000), st.sampled_from([0, 1, 700, 5_000, 36_000]))
def test_it_holds_what_is_not_settled_and_the_tail(steps, bound, tail):
    ring, whole = ReplayRing(bound, tail), max(bound, tail)
    end = start = dropped = 0
    for what, n in steps:
        n = n * 40 if what == "settle" else n
        if what == "write":
            ring.write(audio(end, end + n))
            end += n
            over = end - whole - start
            if over > 0:
                start, dropped = start + over, dropped + over
        else:
            ring.settle(n)
            start = max(start, min(n, end))
        assert (ring.start, ring.end, ring.dropped) == (start, end, dropped)
        assert ring.read(0, end) == audio(start, end)
        oldest = min(start, max(0, end - tail))
        assert ring.recent(end - tail, end) == audio(max(oldest, end - tail, 0), end) if tail else True
        middle = (start + end) // 2
        assert ring.read(middle, end + 5) == audio(middle, end)


def test_without_a_tail_nothing_settled_stays():
    ring = ReplayRing(16_000)
    ring.write(audio(0, 1000))
    ring.settle(600)
    assert ring.recent(0, 1000) == ring.read(0, 1000) == audio(600, 1000)


def test_eight_seconds_and_a_frame_fit_where_a_doubling_fits_them():
    """At 16 kHz: 256 KB, not 512."""
    ring = ReplayRing(30 * 16_000, 8 * 16_000)
    for at in range(0, 60 * 16_000, 320):
        ring.write(audio(at, at + 320))
        ring.settle(at + 320)
    assert len(ring._data) == 262_144
    assert ring.recent(0, ring.end) == audio(ring.end - 8 * 16_000, ring.end)
