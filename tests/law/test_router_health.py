"""When a pool is put aside and comes back: Envoy's rules as timelines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.health import Health, HealthRules, Outcome, eject_outliers

OK, FAILED = Outcome("ok"), Outcome("connect")


def after(*steps: tuple[float, Outcome], start: Health | None = None) -> Health:
    health = start if start is not None else Health()
    for now_s, outcome in steps:
        health = health.after(outcome, now_s)
    return health


def failures(n: int, at_s: float) -> list[tuple[float, Outcome]]:
    return [(at_s, FAILED)] * n


@pytest.mark.parametrize(
    ("steps", "at_s", "available"),
    [
        pytest.param([], 0.0, True, id="nothing is known, so it is well"),
        pytest.param(failures(4, 1.0), 1.0, True, id="four failures in a row are not enough"),
        pytest.param(failures(5, 1.0), 1.0, False, id="five are"),
        pytest.param([*failures(4, 1.0), (1.0, OK), *failures(4, 1.0)], 1.0, True, id="a success breaks the row"),
        pytest.param(failures(5, 1.0), 30.9, False, id="put aside for 30 s"),
        pytest.param(failures(5, 1.0), 31.0, True, id="then one probe may go"),
        pytest.param([(0.0, OK), (0.0, FAILED)] * 9, 0.0, True, id="half of 18 outcomes says nothing yet"),
        pytest.param([(0.0, OK), (0.0, FAILED)] * 10, 0.0, False, id="half of 20 outcomes is too much"),
        pytest.param([(0.0, OK), (0.0, FAILED), (0.0, OK)] * 20, 0.0, True, id="a third is not"),
        pytest.param(
            [(0.0, OK), (0.0, FAILED)] * 9 + [(20.0, OK), (20.0, FAILED)], 20.0, True, id="old windows are forgotten"
        ),
        pytest.param([(0.0, Outcome("busy", 7.0))], 6.9, False, id="a vendor that says when to come back is believed"),
        pytest.param([(0.0, Outcome("busy", 7.0))], 7.0, True, id="to the second"),
        pytest.param([(0.0, Outcome("busy", 9e9))], 3600.0, True, id="for an hour at most"),
        pytest.param([(0.0, Outcome("busy"))], 0.0, True, id="busy without a time is one failure"),
        pytest.param([(0.0, Outcome("quota"))], 0.0, False, id="a used-up quota puts aside at once"),
        pytest.param([(0.0, Outcome("auth"))], 9e9, False, id="no time heals a wrong credential"),
        pytest.param([(0.0, Outcome("config"))], 9e9, False, id="nor a wrong configuration"),
        pytest.param([(0.0, Outcome("expired"))] * 9, 0.0, True, id="a planned roll-over is no failure"),
    ],
)
def test_available(steps, at_s, available):
    assert after(*steps).available(at_s) is available


def test_one_probe_at_a_time_and_its_outcome_decides():
    open_ = after(*failures(5, 0.0))
    assert open_.half_open(30.0)
    probing = open_.probing(30.0)
    assert [probing.available(t) for t in (30.0, 44.9, 45.0)] == [False, False, True]  # a lost probe is forgotten
    assert after((31.0, OK), start=probing).available(31.0)
    again = after((31.0, FAILED), start=probing)
    assert [again.available(t) for t in (31.0, 90.9, 91.0)] == [False, False, True]  # 60 s: the second time


def test_a_late_outcome_of_an_old_stream_neither_ends_nor_lengthens_the_ejection():
    open_ = after(*failures(5, 0.0))
    assert not after((1.0, OK), start=open_).available(1.0)
    assert after((29.0, FAILED), start=open_).ejected_until_s == 30.0


def test_ejections_grow_to_five_minutes_and_shrink_in_health():
    health, now_s, lengths = Health(), 0.0, []
    for _ in range(12):
        health = health.ejected(now_s)
        assert health.ejected_until_s is not None
        lengths.append(health.ejected_until_s - now_s)
        now_s = health.ejected_until_s
    assert lengths == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]
    well = after((now_s, OK), start=health)
    assert well.ejected(now_s + 30 * 10.5).ejections == 12 - 10 + 1
    assert well.ejected(now_s + 9e6).ejections == 1


def test_time_does_not_run_backwards():
    with pytest.raises(ValueError, match="after one at 5"):
        after((5.0, OK), (4.9, OK))


kinds = st.sampled_from(["ok", "ok", "timeout", "busy", "overload", "stall", "expired", "connect"])
steps = st.lists(st.tuples(st.floats(0, 50), kinds, st.none() | st.floats(-1, 1e6)), max_size=60)


@given(steps)
def test_whatever_happened_a_pool_that_is_not_latched_comes_back(happened):
    health, now_s = Health(), 0.0
    for passed_s, kind, retry_after_s in happened:
        now_s += passed_s
        health = health.after(Outcome(kind, retry_after_s), now_s)
        share, n = health.success_share()
        assert 0 <= share <= 1
        assert n >= 0
    assert health.available(now_s + 3600.0 + HealthRules().probe_s)


# ------------------------------------------------------------------------------------------------ among peers


def peer(n_ok: int, n_failed: int) -> Health:
    return Health(n_ok=n_ok, n_failed=n_failed)


FINE = {f"p{n}": peer(98, 2) for n in range(9)}


@pytest.mark.parametrize(
    ("healths", "out"),
    [
        pytest.param({**FINE, "bad": peer(60, 40)}, {"bad"}, id="far under its peers"),
        pytest.param(FINE, set(), id="all alike"),
        pytest.param({"a": peer(98, 2), "b": peer(98, 2), "bad": peer(10, 90)}, set(), id="too few to compare"),
        pytest.param({**FINE, "bad": peer(6, 4)}, set(), id="too few outcomes"),
        pytest.param({**FINE, "bad": peer(50, 50), "worse": peer(40, 60)}, {"worse"}, id="one of ten, the worst"),
        pytest.param({**FINE, "bad": peer(60, 40), "out": peer(0, 0).ejected(0.0)}, set(), id="a tenth is out already"),
    ],
)
def test_outliers(healths, out):
    judged = eject_outliers(healths, 1.0)
    assert {k for k, h in judged.items() if h != healths[k]} == out
    assert all(not judged[k].available(1.0) for k in out)
