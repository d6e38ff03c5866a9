"""The arithmetic of the benchmarks: what a wrong figure would come from."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import measure
from benchmarks.plot import draw, round_steps


@given(st.integers(0, 2**28 - 1))
def test_a_bucket_holds_its_number_and_is_at_most_a_thirtieth_wide(us: int) -> None:
    bucket = measure.bucket_of(us)
    assert 0 <= bucket < measure.BUCKETS
    top = measure.bucket_us(bucket)
    assert us <= top <= us + us / 30
    assert measure.bucket_of(top) == bucket
    assert measure.bucket_of(top + 1) == bucket + 1 or bucket == measure.BUCKETS - 1


def test_what_is_out_of_range_stays_in_the_histogram() -> None:
    assert measure.bucket_of(-5) == 0
    assert measure.bucket_of(2**40) == measure.BUCKETS - 1


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_of_a_histogram_is_that_of_the_values_within_its_width(values: list[int], q: float) -> None:
    counts = [0] * measure.BUCKETS
    for value in values:
        counts[measure.bucket_of(value)] += 1
    exact = measure.quantile(values, q)
    told_ms = measure.histogram_quantile(counts, q)
    assert exact is not None
    assert told_ms is not None
    assert exact / 1000 <= told_ms <= exact * (1 + 1 / 30) / 1000


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=100))
def test_quantiles_are_values_and_share_out_the_list(values: list[float]) -> None:
    assert measure.quantile(values, 1.0) == max(values)
    middle = measure.quantile(values, 0.5)
    assert middle in values
    assert sum(v <= middle for v in values) >= len(values) / 2


def test_nothing_has_no_quantile() -> None:
    assert measure.quantile([], 0.5) is None
    assert measure.histogram_quantile([0] * measure.BUCKETS, 0.99) is None


def test_schedstat_is_time_on_a_cpu_then_time_waiting() -> None:
    assert measure.parse_schedstat("90000 1200 17\n") == (90000, 1200)


def test_smaps_are_read_in_kib_and_other_pss_lines_are_not_taken_for_it() -> None:
    text = "55d-7ff ---p 00000000 00:00 0 [rollup]\nRss:   100 kB\nPss:    40 kB\nPss_Anon:  30 kB\nPss_Dirty: 9 kB\n"
    assert measure.parse_smaps(text) == (40, 100)


def test_usage_is_the_difference_and_a_new_process_counts_whole() -> None:
    before = {"stt": {1: measure.Sample(cpu_ns=2_000_000_000, wait_ns=5)}}
    after = {
        "stt": {1: measure.Sample(3_000_000_000, 5, 1024, 2048), 2: measure.Sample(500_000_000, 0, 1024, 1024)},
        "tts": {},
    }  # fmt: skip
    used = measure.usage(before, after)
    assert used["stt"] == measure.Usage(2, 1.5, 0.0, 2.0, 3.0)
    assert used["tts"].processes == 0


def test_this_process_has_used_cpu_and_memory() -> None:
    found = measure.read({"me": [os.getpid()], "gone": [2**22 + 1]}, memory=True)
    me = found["me"][os.getpid()]
    assert me.cpu_ns > 0
    assert 0 < me.pss_kb <= me.rss_kb
    assert found["gone"] == {}


def test_processes_are_classed_by_the_books_and_the_rest_is_rays() -> None:
    commands = {10: "raylet", 11: "ray::ProviderActor", 12: "ray::RouterActor.open", 13: "gcs_server", 14: "ray::IDLE"}
    found = measure.classify(commands, {"stt": [11]})
    assert found == {"stt": [11], "router": [12], "ray's own": [10, 13, 14]}


@given(st.floats(-100, 100), st.floats(-100, 100), st.integers(3, 40))
def test_the_slope_of_a_straight_line_is_exact(rise: float, base: float, n: int) -> None:
    found, half = measure.slope([(x, base + rise * x) for x in range(n)])
    assert found == pytest.approx(rise, abs=1e-6)
    assert half == pytest.approx(0, abs=1e-5)


def test_noise_widens_the_interval_of_a_slope() -> None:
    points = [(x, (-1) ** x) for x in range(100)]
    rise, half = measure.slope([(float(x), float(y)) for x, y in points])
    assert abs(rise) < half
    with pytest.raises(ValueError, match="two points"):
        measure.slope([(1.0, 1.0), (1.0, 2.0)])


def _walk(seed: int, stays: float, n: int = 200) -> list[tuple[float, float]]:
    """Noise of which a share `stays` from one reading to the next; no slope."""
    rng, y, points = random.Random(seed), 0.0, []
    for x in range(n):
        y = stays * y + rng.gauss(0, 1)
        points.append((float(x), y))
    return points


def test_readings_that_are_alike_are_worth_fewer() -> None:
    """Without a slope about 95 of 100 intervals should hold 0: of readings that are alike those of `slope` do not."""

    def holds(found: tuple[float, float]) -> bool:
        return abs(found[0]) <= found[1]

    for stays, plain_at_most in ((0.0, 100), (0.9, 60)):
        walks = [_walk(seed, stays) for seed in range(100)]
        assert sum(holds(measure.trend(w)) for w in walks) >= 85
        assert sum(holds(measure.slope(w)) for w in walks) <= plain_at_most
    grows = [(x, y + 0.5 * x) for x, y in _walk(1, 0.9)]
    rise, half = measure.trend(grows)
    assert rise - half > 0


def test_a_line_without_noise_has_no_interval() -> None:
    assert measure.trend([(float(x), 7.0) for x in range(50)]) == (0.0, 0.0)


def test_a_table_keeps_its_columns() -> None:
    lines = measure.table([{"a": 1, "b": None}, {"a": 0.123456, "b": "x"}], ["a", "b"]).splitlines()
    assert lines == ["     a  b", "     1  -", "0.1235  x"]


@given(st.floats(0.001, 1e6), st.floats(1.01, 1e4), st.booleans())
def test_the_labels_of_an_axis_enclose_what_is_drawn(low: float, times: float, log: bool) -> None:
    high = low * times
    steps = round_steps(low, high, log)
    assert steps[0] <= low * (1 + 1e-9)
    assert steps[-1] >= high * (1 - 1e-9)
    assert len(steps) <= 20


def test_a_chart_names_its_lines(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x.svg"
    draw(path, ("cost", "sessions", "core", {"ours": [(10, 0.1), (100, 0.05)], "a peer": [(10, 0.2)]}, True))
    text = path.read_text()
    assert "ours" in text
    assert "a peer" in text
    assert text.count("<title>") == 3
