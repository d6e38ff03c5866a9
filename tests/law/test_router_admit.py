"""From a plan to what is tried now."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.admit import Admission, admit
from router.health import Health
from router.load import Load, PoolKey
from router.plan import Candidate, Refusal, RoutePlan
from router.settings import SessionSettings

NOW_S = 1000.0
WELL = Health()
OUT = Health(ejected_until_s=NOW_S + 20)
LONGER = Health(ejected_until_s=NOW_S + 50)
HALF = Health(ejected_until_s=NOW_S - 1)
PROBED = HALF.probing(NOW_S - 1)
LATCHED = Health(latched="auth")


def candidate(name: str, type_: str = "") -> Candidate:
    return Candidate(stage="stt", provider=name, type=type_ or name)


def plan(*candidates: Candidate) -> RoutePlan:
    return RoutePlan(
        route="r", version="v", tenant_id="t", region="eu", pool_region="eu",
        stages={"stt": candidates}, settings=SessionSettings(),
    )  # fmt: skip


def key(name: str) -> PoolKey:
    return PoolKey(name, "*", "eu")


def order(found: Admission | Refusal) -> list[str]:
    assert isinstance(found, Admission), found
    return [c.provider for c in found.plan.stages["stt"]]


ABC = plan(candidate("a"), candidate("b"), candidate("c"))


@pytest.mark.parametrize(
    ("health", "full", "tried", "probes"),
    [
        pytest.param({}, "", ["a", "b", "c"], [], id="all well: the order of the plan"),
        pytest.param({"a": OUT}, "", ["b", "c"], [], id="one put aside is left out"),
        pytest.param({"a": HALF}, "", ["a", "b", "c"], ["a"], id="a half open first one gets a probe"),
        pytest.param({"a": PROBED}, "", ["b", "c"], [], id="but one at a time"),
        pytest.param({"b": HALF}, "", ["a", "b", "c"], [], id="a half open fallback is none"),
        pytest.param({"a": LONGER, "b": OUT, "c": LONGER}, "", ["b"], [], id="never the last: the one back soonest"),
        pytest.param({"a": LATCHED, "b": OUT, "c": LATCHED}, "", ["b"], [], id="a wrong credential is no last hope"),
        pytest.param({}, "a", ["b", "c"], [], id="a full one is left out"),
        pytest.param({"b": OUT}, "a", ["c"], [], id="full and put aside"),
    ],
)
def test_admission(health, full, tried, probes):
    load = {key(n): Load(in_flight=3, bound=3) for n in full}
    found = admit(ABC, {key(n): h for n, h in health.items()}, load, NOW_S, Random(1))
    assert order(found) == tried
    assert isinstance(found, Admission)
    assert [p.provider for p in found.probes] == probes
    assert {p.key.provider for p in found.passed_over} == set("abc") - set(tried)


@pytest.mark.parametrize(
    ("health", "full", "kind", "retry_after_s"),
    [
        pytest.param(dict.fromkeys("abc", LATCHED), "", "unavailable", None, id="every credential is wrong"),
        pytest.param({}, "abc", "capacity", 1.0, id="everything is full"),
        pytest.param(dict.fromkeys("ab", OUT), "c", "capacity", 1.0, id="the only well one is full"),
    ],
)
def test_a_refusal_names_its_kind(health, full, kind, retry_after_s):
    load = {key(n): Load(in_flight=3, bound=3) for n in full}
    found = admit(ABC, {key(n): h for n, h in health.items()}, load, NOW_S, Random(1))
    assert isinstance(found, Refusal)
    assert (found.kind, found.retry_after_s) == (kind, retry_after_s)


def test_of_two_equals_the_less_loaded_goes_first_and_a_preference_stays():
    twins = plan(candidate("first"), candidate("x", "vendor"), candidate("y", "vendor"), candidate("last"))
    load = {key("x"): Load(in_flight=9), key("y"): Load(in_flight=2), key("first"): Load(in_flight=99)}
    assert order(admit(twins, {}, load, NOW_S, Random(1))) == ["first", "y", "x", "last"]


def test_equals_share_the_load_and_a_slow_one_gets_less():
    many = plan(*(candidate(f"p{n}", "vendor") for n in range(4)))
    load = {key(f"p{n}"): Load(latency_s=0.1 if n else 0.3) for n in range(4)}
    rng = Random(7)
    for _ in range(400):
        won = key(order(admit(many, {}, load, NOW_S, rng))[0])
        load[won] = Load(latency_s=load[won].latency_s, in_flight=load[won].in_flight + 1)
    counts = [load[key(f"p{n}")].in_flight for n in range(4)]
    assert sum(counts) == 400
    assert counts[0] < 0.6 * min(counts[1:])
    assert max(counts[1:]) - min(counts[1:]) <= 8


@given(
    st.lists(st.sampled_from([WELL, OUT, HALF, PROBED, LATCHED]), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.integers(0, 9),
)
def test_admission_is_total_and_repeats_for_the_same_seed(healths, full, seed):
    of = plan(*(candidate(f"p{n}", "v") for n in range(len(healths))))
    health = {key(f"p{n}"): h for n, h in enumerate(healths)}
    load = {key(f"p{n}"): Load(in_flight=1, bound=1 if f else 2) for n, f in enumerate(full)}
    found = admit(of, health, load, NOW_S, Random(seed))
    assert found == admit(of, health, load, NOW_S, Random(seed))
    usable = [n for n, h in enumerate(healths) if h.available(NOW_S)]
    if isinstance(found, Admission):
        tried = order(found)
        assert tried
        assert len(tried) + len(found.passed_over) == len(healths)
        assert not usable or set(tried) == {f"p{n}" for n in usable if not full[n]}
    elif found.kind == "unavailable":
        assert all(h.latched for h in healths)
    else:
        assert not any(not full[n] for n in usable)


@pytest.mark.parametrize(
    ("sample_s", "now_s", "latency_s"),
    [
        pytest.param(1.0, 10.0, 1.0, id="a slow answer counts at once"),
        pytest.param(0.1, 10.0, 0.2 * 0.36788 + 0.1 * 0.63212, id="a quick one by 1 - 1/e after a decay time"),
        pytest.param(0.1, 0.0, 0.2, id="and not at all at the same instant"),
    ],
)
def test_load_believes_bad_news_at_once(sample_s, now_s, latency_s):
    load = Load(latency_s=0.2).after(sample_s=sample_s, now_s=now_s)
    assert load.latency_s == pytest.approx(latency_s, rel=1e-4)


def test_load_refuses_a_sample_from_the_past():
    with pytest.raises(ValueError, match="after one at 5"):
        Load(seen_s=5.0).after(sample_s=0.1, now_s=4.0)
