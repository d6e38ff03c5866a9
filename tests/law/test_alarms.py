"""When each session wants a tick: a column, looked at in parts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.alarms import Alarm, Alarms

INSTANTS = st.lists(st.floats(0.0, 10.0), max_size=40)


@given(INSTANTS, st.floats(0.0, 10.0), st.integers(1, 5))
def test_who_is_due_is_found_once_in_one_part_and_nobody_else(at_s: list[float], now_s: float, parts: int) -> None:
    alarms = Alarms(40)
    places = {}
    for instant_s in at_s:
        alarm = alarms.take()
        alarm.at_s = instant_s
        places[alarm.place] = instant_s
    found = [place for part in range(parts) for place in alarms.due(now_s, part, parts)]
    assert sorted(found) == sorted(place for place, instant_s in places.items() if instant_s <= now_s)
    assert all(place % parts == part for part in range(parts) for place in alarms.due(now_s, part, parts))


def test_a_place_given_back_is_nobodys_whatever_its_holder_still_sets() -> None:
    alarms = Alarms(1)
    gone = alarms.take()
    with pytest.raises(IndexError):
        alarms.take()
    alarms.give_back(gone)
    gone.at_s = 1.0
    assert alarms.due(math.inf) == [0]  # infinity is reached by infinity alone
    assert alarms.due(1e9) == []
    assert alarms.take().at_s == 0.0
    assert alarms.due(0.0) == [0]


def test_without_a_column_an_alarm_has_its_own() -> None:
    one, other = Alarm(), Alarm()
    one.at_s = 5.0
    assert (one.at_s, other.at_s) == (5.0, 0.0)
