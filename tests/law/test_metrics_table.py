"""The table of metrics, its page, and what an aggregate makes of records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.observe import (
    TENANTS,
    Aggregate,
    MediaDropped,
    Metric,
    RouteMissing,
    SessionOpening,
    SessionStarted,
    TurnDone,
)
from cluster.metrics import FLUSH_S, TABLE, Flush, as_markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_the_page_is_made_from_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown(), "python -m cluster.metrics > docs/metrics.md"


def test_every_row_names_fields_that_its_record_has() -> None:
    for metric in TABLE:
        have = {f.name for f in fields(metric.record)}
        assert {*metric.labels, *([metric.value] if metric.value else [])} <= have, metric.name
        assert (metric.kind == "histogram") == bool(metric.buckets), metric.name
        assert list(metric.buckets) == sorted(metric.buckets), metric.name


def test_names_are_unique_and_no_id_is_a_label() -> None:
    assert len({m.name for m in TABLE}) == len(TABLE)
    assert not {label for m in TABLE for label in m.labels} & {"session", "session_id", "call", "actor", "trace"}


def test_a_counter_adds_up_and_begins_anew_a_histogram_counts_for_ever() -> None:
    aggregate = Aggregate(TABLE)
    who = {"route": "r", "tenant": "t", "region": "eu"}
    served = {"stt": "ears", "agent": "", "tts": ""}
    for total_s in (0.5, 0.71, 99.0):
        aggregate.observe(TurnDone(**who, stt="ears", total_s=total_s))
    taken = {v.metric.name: (v.labels, list(v.values)) for v in aggregate.take()}
    #              0.05 0.1 0.2 0.3 0.5 0.7 1.0 1.5 2.0 3.0 5.0 10.0 all
    below = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 3]
    assert taken["patchbay_turns"] == (who, [3.0])
    labels, values = taken["patchbay_turn_latency_s"]
    assert labels == {**who, **served}
    assert values[:-1] == below
    assert values[-1] == pytest.approx(100.21)
    assert [(v.metric.name, list(v.values)) for v in aggregate.take()] == [("patchbay_turn_latency_s", values)]
    aggregate.observe(TurnDone(**who, stt="ears", total_s=0.01))
    again = {v.metric.name: list(v.values) for v in aggregate.take()}
    assert again["patchbay_turns"] == [1.0]
    assert again["patchbay_turn_latency_s"][:-1] == [n + 1 for n in below]


@given(st.lists(st.floats(0.0, 20.0), max_size=50))
def test_a_histogram_counts_what_lies_at_or_below_each_bound(values: list[float]) -> None:
    metric = next(m for m in TABLE if m.name == "patchbay_open_s")
    aggregate = Aggregate([metric])
    for value in values:
        aggregate.observe(SessionOpening(route="r", tenant="t", region="eu", open_s=value))
    for taken in aggregate.take():
        *counts, total = taken.values
        assert counts == [sum(v <= bound for v in values) for bound in (*metric.buckets, float("inf"))]
        assert total == pytest.approx(sum(values))


def test_tenants_beyond_the_bound_are_other() -> None:
    aggregate = Aggregate(TABLE, tenants=2)
    for tenant in ("a", "b", "c", "d", "a"):
        aggregate.observe(SessionOpening(route="r", tenant=tenant, region="eu", open_s=0.001))
    granted = {v.labels["tenant"]: v.values[0] for v in aggregate.take() if v.metric.name.endswith("granted")}
    assert granted == {"a": 2, "b": 1, "other": 2}


def test_regions_beyond_the_bound_are_other_for_callers_make_them_up() -> None:
    aggregate = Aggregate(TABLE, regions=3)
    for n in range(100):
        aggregate.observe(SessionStarted(route="r", tenant="t", region=f"made-up-{n}", setup_s=0.001))
        aggregate.observe(TurnDone(route="r", tenant="t", region=f"made-up-{n}", total_s=1.0))
    for _ in range(2):  # what was taken once is no more than what is there
        histograms = [v for v in aggregate.take() if v.metric.kind == "histogram"]
        assert len(histograms) == 2 * 4
        assert {v.labels["region"] for v in histograms} == {"made-up-0", "made-up-1", "made-up-2", "other"}
    assert sum(v.values[-2] for v in histograms) == 200


def test_a_record_that_no_row_asks_for_costs_nothing() -> None:
    aggregate = Aggregate([])
    aggregate.observe(RouteMissing(cause="tenant"))
    assert aggregate.take() == []


class Exporter:
    """Ray's, as far as a flush knows it: what was told of each series, and in which order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[str, str, float]] = []
        self.waiting: list[tuple[float, Callable[[], None]]] = []
        monkeypatch.setattr("cluster.metrics._bind", self.bind)
        self.flush = Flush(lambda delay_s, work: self.waiting.append((delay_s, work)))

    def bind(self, metric: Metric, suffix: str) -> Any:
        exporter = self

        class Bound:
            def set(self, value: float, tags: dict[str, str]) -> None:
                if tags.get("tenant") == "refused":
                    raise ValueError("not this one")
                exporter.told.append((metric.name + suffix, tags.get("le", ""), value))

            def inc(self, value: float, tags: dict[str, str]) -> None:
                if value <= 0:
                    raise ValueError("no increase")
                exporter.told.append((metric.name, "", value))

        return Bound()

    def wait(self) -> tuple[int, float]:
        """Until nothing is due: the most of one slice, and the seconds that it took."""
        most, waited_s = 0, 0.0
        while self.waiting:
            before = len(self.told)
            delay_s, work = self.waiting.pop(0)
            waited_s += delay_s
            work()
            most = max(most, len(self.told) - before)
        return most, waited_s


def test_a_histogram_is_told_as_prometheus_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Exporter(monkeypatch)
    exporter.flush.aggregate.observe(SessionStarted(route="r", tenant="t", region="eu", setup_s=0.03))
    exporter.flush.flush()
    exporter.wait()
    name = "patchbay_session_setup_s"
    bounds = ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.5", "2.0", "10.0", "+Inf"]
    counts = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    wanted = [(f"{name}_bucket", bound, n) for bound, n in zip(bounds, counts, strict=True)]
    wanted += [(f"{name}_count", "", 1), (f"{name}_sum", "", 0.03)]
    assert exporter.told == [("patchbay_sessions_started", "", 1.0), *wanted]
    exporter.told.clear()
    exporter.flush.flush()  # Ray forgets what is not told again
    exporter.wait()
    assert exporter.told == wanted


def test_a_sample_that_the_exporter_does_not_take_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Exporter(monkeypatch)
    who = {"route": "r", "tenant": "t", "region": "eu"}
    exporter.flush.aggregate.observe(MediaDropped(**who, stage="stt", provider="ears", frames=0))
    for tenant in ("a", "refused", "b"):
        exporter.flush.aggregate.observe(TurnDone(**{**who, "tenant": tenant}, stt="ears", total_s=1.0))
    exporter.flush.flush()
    exporter.flush.drain()  # the process ends before the slices are through
    assert [name for name, *_ in exporter.told].count("patchbay_turn_latency_s_count") == 2 * 2
    assert exporter.flush.refused == 2 * 15
    assert [name for name, *_ in exporter.told].count("patchbay_turns") == 3
    exporter.told.clear()
    exporter.wait()
    assert exporter.told == []


def test_what_is_due_goes_a_slice_at_a_time_all_of_it_and_before_the_next_flush(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter = Exporter(monkeypatch)
    for n in range(TENANTS * 4):
        who = {"route": f"r{n // TENANTS}", "tenant": f"t{n % TENANTS}", "region": "eu"}
        exporter.flush.aggregate.observe(TurnDone(**who, stt="ears", total_s=1.0))
    exporter.flush.flush()
    first = len(exporter.told)
    most, waited_s = exporter.wait()
    assert len(exporter.told) == TENANTS * 4 * (1 + 15)
    assert max(first, most) <= 26 + 15  # a histogram goes whole: its counts belong together
    assert waited_s < FLUSH_S
