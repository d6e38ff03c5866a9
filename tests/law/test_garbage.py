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


def of(told: list[str]) -> Garbage:
    return Garbage(*(lambda what=what: told.append(what) for what in ("collect", "freeze", "thaw")))


def test_many_that_begin_are_frozen_and_not_walked_through() -> None:
    told: list[str] = []
    garbage = of(told)
    for beat in range(1, 100):
        assert not garbage.beat(5.0 * beat, live=100 * beat, ended=0)
    assert set(told) == {"freeze"}


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.integers(0, 2000))
def test_no_more_than_is_live_has_ended_since_it_was_last_walked_through(ends: list[int], live: int) -> None:
    garbage = of([])
    ended = at_last = 0
    for beat, more in enumerate(ends):
        ended += more
        if garbage.beat(float(beat), live, ended):
            at_last = ended
        assert ended - at_last < max(ENDED_MIN, live)


def test_what_is_no_session_is_looked_for_now_and_then() -> None:
    told: list[str] = []
    garbage = of(told)
    assert not garbage.beat(EVERY_S - 1, 1000, 0)
    assert garbage.beat(EVERY_S, 1000, 0)
    assert told == ["freeze", "thaw", "collect", "freeze"]


def test_a_circle_that_was_frozen_is_found() -> None:
    before = gc.get_threshold()
    try:
        garbage = Garbage()
        garbage.start(0.0)
        circle = weakref.ref(Circle())
        assert not garbage.beat(5.0, live=1, ended=1)
        assert garbage.beat(10.0, live=0, ended=ENDED_MIN)
        assert circle() is None
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
