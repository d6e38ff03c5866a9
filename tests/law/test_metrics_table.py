"""The table of metrics, its page, and what an aggregate makes of records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from actors.observe import SAMPLES, Aggregate, MediaDropped, RouteMissing, SessionOpening, TurnDone
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


def test_a_counter_adds_up_a_histogram_keeps_samples_and_taking_begins_anew() -> None:
    aggregate = Aggregate(TABLE)
    for total_s in (0.5, 0.7):
        aggregate.observe(TurnDone(route="r", tenant="t", region="eu", stt="ears", total_s=total_s))
    taken = {v.metric.name: (v.labels, list(v.values)) for v in aggregate.take()}
    who = {"route": "r", "tenant": "t", "region": "eu"}
    served = {"stt": "ears", "agent": "", "tts": ""}
    assert taken == {"patchbay_turns": (who, [2.0]), "patchbay_turn_latency_s": ({**who, **served}, [0.5, 0.7])}
    assert aggregate.take() == []


def test_tenants_beyond_the_bound_are_other() -> None:
    aggregate = Aggregate(TABLE, tenants=2)
    for tenant in ("a", "b", "c", "d", "a"):
        aggregate.observe(SessionOpening(route="r", tenant=tenant, region="eu", open_s=0.001))
    granted = {v.labels["tenant"]: v.values[0] for v in aggregate.take() if v.metric.name.endswith("granted")}
    assert granted == {"a": 2, "b": 1, "other": 2}


def test_samples_beyond_the_bound_are_counted() -> None:
    aggregate = Aggregate([m for m in TABLE if m.name == "patchbay_open_s"])
    for _ in range(SAMPLES + 3):
        aggregate.observe(SessionOpening(route="r", tenant="t", region="eu", open_s=0.001))
    assert aggregate.overflow == 3
    assert len(aggregate.take()[0].values) == SAMPLES


def test_a_record_that_no_row_asks_for_costs_nothing() -> None:
    aggregate = Aggregate([])
    aggregate.observe(RouteMissing(cause="tenant"))
    assert aggregate.take() == []


def test_a_sample_that_the_exporter_does_not_take_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    class Bound:
        def observe(self, value: float, tags: dict[str, str]) -> None:
            if value == 7.0:
                raise ValueError("no sevens")
            told.append(value)

        def inc(self, value: float, tags: dict[str, str]) -> None:
            if value <= 0:
                raise ValueError("no increase")

    monkeypatch.setattr("cluster.metrics._bind", lambda metric: Bound())
    waiting: list[Callable[[], None]] = []
    flush = Flush(lambda delay_s, work: waiting.append(work))
    who = {"route": "r", "tenant": "t", "region": "eu"}
    flush.aggregate.observe(MediaDropped(**who, stage="stt", provider="ears", frames=0))
    for n in range(100):
        flush.aggregate.observe(TurnDone(**who, stt="ears", total_s=float(n)))
    flush.flush()
    flush.drain()  # the process ends before the slices are through
    assert told == [float(n) for n in range(100) if n != 7]
    assert flush.refused == 1
    for work in waiting:
        work()
    assert len(told) == 99


def test_samples_are_handed_over_a_slice_at_a_time_all_of_them_and_before_the_next_flush(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[float] = []

    class Bound:
        def observe(self, value: float, tags: dict[str, str]) -> None:
            told.append(value)

        def inc(self, value: float, tags: dict[str, str]) -> None: ...

    monkeypatch.setattr("cluster.metrics._bind", lambda metric: Bound())
    waiting: list[tuple[float, Callable[[], None]]] = []
    flush = Flush(lambda delay_s, work: waiting.append((delay_s, work)))
    for n in range(3000):
        flush.aggregate.observe(TurnDone(route="r", tenant="t", region="eu", stt="ears", total_s=float(n)))
    flush.flush()
    slices, waited_s = [len(told)], 0.0
    while waiting:
        delay_s, work = waiting.pop()
        waited_s += delay_s
        work()
        slices.append(len(told) - sum(slices))
    assert told == [float(n) for n in range(3000)]
    assert max(slices) <= 25
    assert waited_s < FLUSH_S
