"""The one table of Patchbay's metrics: name, kind, unit, labels, meaning. docs/metrics.md is made from it.

Each process adds its records up (`actors.observe`) and hands them to Ray's exporter every few seconds; no Ray call is
made. Ray adds `WorkerId` and its own labels: sum over processes with `sum without (WorkerId)`. Names get the prefix
`ray_` in what Prometheus scrapes.

A histogram is told as what Prometheus has of one, `_bucket` by `le`, `_count` and `_sum`, each a gauge of Ray's. Ray's
own histograms are replayed sample by sample in the process that Prometheus scrapes, with the middle of its bucket for
each: at a thousand calls that took 150 ms of a core every 10 s, and made the sum an estimate.

    python -m cluster.metrics > docs/metrics.md
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

from actors.logs import get_logger
from actors.observe import (
    Aggregate,
    Lag,
    MediaDropped,
    Metric,
    PoolSize,
    RouteMissing,
    SessionEnded,
    SessionOpening,
    SessionRefusal,
    SessionStarted,
    ToolDone,
    TurnDone,
    Values,
)

__all__ = ["FLUSH_S", "TABLE", "Flush", "as_markdown"]

_TOLD = os.environ.get("RAY_metrics_report_interval_ms", "")  # noqa: SIM112 - Ray's own name
FLUSH_S = min(5.0, max(0.5, (int(_TOLD) if _TOLD.isascii() and _TOLD.isdigit() else 10_000) / 2000))
"""Half of the time between two exports of Ray's, so that each has news: it forgets a gauge that two did not have."""
_SLICE_S = 0.02
_SLICE_MIN = 16
"""0.2 ms at Ray's 11 us for a sample: less than a batch of frames takes."""

log = get_logger("metrics")

_FAST_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0)
_TURN_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_CALL_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_WHO = ("route", "tenant", "region")


def _turn(name: str, value: str, served: tuple[str, ...], meaning: str) -> Metric:
    return Metric(
        name=f"patchbay_{name}_s",
        kind="histogram",
        unit="s",
        description=f"{meaning}, from the last voiced frame of the turn",
        record=TurnDone,
        value=value,
        labels=(*_WHO, *served),
        buckets=_TURN_S,
    )


TABLE: tuple[Metric, ...] = (
    Metric(
        name="patchbay_sessions_granted", kind="counter", unit="sessions", record=SessionOpening, labels=_WHO,
        description="Sessions that the router planned and placed",
    ),
    Metric(
        name="patchbay_open_s", kind="histogram", unit="s", record=SessionOpening, value="open_s",
        labels=_WHO, buckets=_FAST_S,
        description="Time that the router took to answer an open, actors that had to start included",
    ),
    Metric(
        name="patchbay_sessions_refused", kind="counter", unit="sessions", record=SessionRefusal,
        labels=("tenant", "region", "kind"), description="Sessions that the router refused, by kind of refusal",
    ),
    Metric(
        name="patchbay_route_missing", kind="counter", unit="sessions", record=RouteMissing, labels=("cause",),
        description="Sessions that no route matched, by cause: tenant, region or other",
    ),
    Metric(
        name="patchbay_sessions_started", kind="counter", unit="sessions", record=SessionStarted, labels=_WHO,
        description="Sessions whose every stage became ready",
    ),
    Metric(
        name="patchbay_session_setup_s", kind="histogram", unit="s", record=SessionStarted, value="setup_s",
        labels=("route", "region"), buckets=_FAST_S,
        description="From the caller's attach to session.opened",
    ),
    Metric(
        name="patchbay_sessions_ended", kind="counter", unit="sessions", record=SessionEnded,
        labels=(*_WHO, "reason"), description="Sessions that ended, by reason",
    ),
    Metric(
        name="patchbay_session_duration_s", kind="histogram", unit="s", record=SessionEnded, value="duration_s",
        labels=("route", "region"), buckets=_CALL_S, description="How long sessions were open",
    ),
    Metric(
        name="patchbay_turns", kind="counter", unit="turns", record=TurnDone, labels=_WHO,
        description="Turns of callers that were answered",
    ),
    _turn("endpointing_delay", "endpointing_s", ("stt",), "Until the turn was decided to be over"),
    _turn("stt_final_delay", "stt_final_s", ("stt",), "Until the last final came"),
    _turn("agent_first_token", "agent_first_s", ("agent",), "Until the agent's first text"),
    _turn("tts_first_audio", "tts_first_s", ("tts",), "Until the voice's first audio"),
    _turn("turn_latency", "total_s", ("stt", "agent", "tts"), "Until the first audio of the reply left the session"),
    Metric(
        name="patchbay_tool_calls", kind="counter", unit="calls", record=ToolDone, labels=(*_WHO, "tool", "outcome"),
        description="Tools that models called, by what came of them: done, failed, timeout or overload",
    ),
    Metric(
        name="patchbay_tool_s", kind="histogram", unit="s", record=ToolDone, value="latency_s",
        labels=("route", "tool"), buckets=_TURN_S, description="From a model's call of a tool to its outcome",
    ),
    Metric(
        name="patchbay_frames_dropped", kind="counter", unit="frames of 20 ms", record=MediaDropped, value="frames",
        labels=(*_WHO, "stage", "provider"), description="Audio that a full queue let go of by its declared policy",
    ),
    Metric(
        name="patchbay_loop_lag_p99_ms", kind="gauge", unit="ms", record=Lag, value="p99_ms",
        labels=("stage", "region", "provider"),
        description="How late the loop of a process ran, p99 of the last seconds",
    ),
    Metric(
        name="patchbay_pool_actors", kind="gauge", unit="actors", record=PoolSize, value="actors",
        labels=("provider", "region", "stage", "owner"), description="Actors of a pool that are ready",
    ),
    Metric(
        name="patchbay_pool_streams", kind="gauge", unit="streams", record=PoolSize, value="streams",
        labels=("provider", "region", "stage", "owner"), description="Streams of a pool that are taken",
    ),
    Metric(
        name="patchbay_pool_capacity", kind="gauge", unit="streams", record=PoolSize, value="capacity",
        labels=("provider", "region", "stage", "owner"), description="Streams that the actors of a pool bear",
    ),
)  # fmt: skip


class Flush:
    """The observer of this process, and its way to Ray's exporter.

    Ray takes 11 us for a sample, and a process that serves many tenants has thousands of series: handed over at once
    they would hold its loop for 50 ms. So they go a slice at a time, and are all gone before the next flush.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], object] | None = None) -> None:
        """`later(delay_s, work)`: the running loop's `call_later` unless said."""
        self.aggregate = Aggregate(TABLE)
        self._later = later
        self._bound: dict[str, Any] = {}
        self._due: deque[Values] = deque()
        self._slice = _SLICE_MIN
        self._under_way = False
        self.refused = 0
        """Samples that Ray's exporter did not take."""

    def flush(self) -> None:
        """Begin to hand over what came together. Ray's metric objects are made when first needed."""
        self._due.extend(self.aggregate.take())
        series = sum(len(values.values) for values in self._due)
        self._slice = max(_SLICE_MIN, ceil(series * _SLICE_S / (FLUSH_S / 2)))
        if not self._under_way:
            self._hand_over()

    def drain(self) -> None:
        """All of it at once: the process ends."""
        self.flush()
        self._slice = sys.maxsize
        self._hand_over()

    def _hand_over(self) -> None:
        handed = 0
        while self._due and handed < self._slice:
            values = self._due.popleft()
            handed += len(values.values)
            for suffix, tags, value in _series(values):  # a histogram whole: its counts belong together
                try:
                    self._export(values.metric, suffix, tags, value)
                except Exception as error:  # Ray's: one that it does not take holds up no other
                    self.refused += 1
                    log.warning(
                        "metric.refused", metric=values.metric.name, error=type(error).__name__,
                        detail=str(error)[:200],
                    )  # fmt: skip
        self._under_way = bool(self._due)
        if self._under_way:
            later = self._later or asyncio.get_running_loop().call_later
            later(_SLICE_S, self._hand_over)

    def _export(self, metric: Metric, suffix: str, tags: dict[str, str], value: float) -> None:
        name = metric.name + suffix
        bound = self._bound.get(name)
        if bound is None:
            bound = self._bound[name] = _bind(metric, suffix)
        if metric.kind != "counter":
            bound.set(value, tags=tags)
        elif value > 0:  # Ray takes no increase of nothing: a few ms of audio that were dropped are no frame
            bound.inc(value, tags=tags)


def _series(values: Values) -> Iterator[tuple[str, dict[str, str], float]]:
    """(what comes behind the metric's name, labels, value): of a histogram as many as Prometheus has of one."""
    metric, tags = values.metric, dict(values.labels)
    if metric.kind != "histogram":
        yield "", tags, values.values[0]
        return
    *counts, total = values.values
    for bound, count in zip((*map(str, metric.buckets), "+Inf"), counts, strict=True):
        yield "_bucket", {**tags, "le": bound}, count
    yield "_count", tags, counts[-1]
    yield "_sum", tags, total


def _bind(metric: Metric, suffix: str) -> Any:
    from ray.util import metrics as ray_metrics

    if metric.kind == "counter":
        return ray_metrics.Counter(metric.name, metric.description, tag_keys=metric.labels)
    labels = (*metric.labels, "le") if suffix == "_bucket" else metric.labels
    return ray_metrics.Gauge(metric.name + suffix, metric.description, tag_keys=labels)


def as_markdown() -> str:
    """docs/metrics.md, whole."""
    rows = [
        f"| `{m.name}` | {m.kind} | {m.unit} | {', '.join(f'`{name}`' for name in m.labels)} | {m.description} |"
        for m in TABLE
    ]
    return "\n".join([_HEAD, "| name | kind | unit | labels | meaning |", "|---|---|---|---|---|", *rows, ""])


_HEAD = """# Metrics

This page is made from the table in `cluster/metrics.py` (`python -m cluster.metrics`); a test holds it true.

Each process adds up what happens in it and hands it to Ray's exporter every five seconds. Prometheus scrapes it from
Ray's metrics port of each node, where the names have the prefix `ray_` (and counters the suffix `_total`). Ray adds a
label `WorkerId`, so sum over processes: `sum without (WorkerId) (rate(ray_patchbay_turns_total[1m]))`. A histogram has
`_bucket` (by `le`), `_count` and `_sum`, counted since its process began, as `histogram_quantile` takes them:
`histogram_quantile(0.99, sum by (le) (rate(ray_patchbay_turn_latency_s_bucket[5m])))`. To Ray they are gauges.

A tenant beyond the first fifty that a process sees is labelled `other`, and so is a region, since callers name both. No
session, call or actor id is a label. `stt`, `agent` and `tts` name the provider that really served the turn.
"""

if __name__ == "__main__":
    print(as_markdown(), end="")
