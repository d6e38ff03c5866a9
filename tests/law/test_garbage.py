"""When a worker looks for garbage."""

from __future__ import annotations

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st

from actors.garbage import ENDED_MIN, EVERY_S, Garbage


class Circle:
    def __init__(self) -> None:
        self.me = self


def test_many_that_begin_are_not_walked_through() -> None:
    passes: list[int] = []
    garbage = Garbage(lambda: passes.append(1))
    for beat in range(1, 100):
        assert not garbage.beat(5.0 * beat, live=100 * beat, ended=0)
    assert passes == []


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.integers(0, 2000))
def test_no_more_than_is_live_has_ended_since_it_was_last_walked_through(ends: list[int], live: int) -> None:
    passes: list[int] = []
    garbage = Garbage(lambda: passes.append(1))
    ended = at_last = told = 0
    for beat, more in enumerate(ends):
        ended += more
        if garbage.beat(float(beat), live, ended):
            at_last, told = ended, told + 1
        assert ended - at_last < max(ENDED_MIN, live)
    assert len(passes) == told


def test_what_is_no_session_is_looked_for_now_and_then() -> None:
    passes: list[int] = []
    garbage = Garbage(lambda: passes.append(1))
    assert not garbage.beat(EVERY_S - 1, 1000, 0)
    assert garbage.beat(EVERY_S, 1000, 0)
    assert not garbage.beat(EVERY_S + 5, 1000, 0)
    assert passes == [1]


def test_old_garbage_waits_for_a_beat_and_is_found_by_it() -> None:
    before = gc.get_threshold()
    try:
        garbage = Garbage()
        garbage.start(0.0)
        made = Circle()
        circle = weakref.ref(made)
        gc.collect(1)  # it is old now
        del made
        gc.collect(1)
        assert circle() is not None
        assert not garbage.beat(5.0, live=1, ended=1)
        assert garbage.beat(10.0, live=0, ended=ENDED_MIN)
        assert circle() is None
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
