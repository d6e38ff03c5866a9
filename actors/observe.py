"""What happened, as records: the code that acts emits them, and knows neither metrics nor logs.

    observer.observe(TurnDone(route=..., endpointing_s=0.52, ...))

`Aggregate` is the observer of a process: it adds records up under bounded label sets until somebody (cluster/metrics)
takes them away. Without it nothing is kept: `ignore` is an observer too.

    counter    sum of a field, or the number of records         since the last `take`
    gauge      the last value
    histogram  how many values lay at or below each bound, all of them, and their sum: since the process began

Units    `_s` seconds, `_ms` milliseconds, as in the field's name; None where it does not apply.
Labels   come from the records' own fields; a tenant beyond the first `TENANTS` is `other`, since a label set is for
         ever in the exporter. No session id, call id or actor id is a label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, Protocol

__all__ = [
    "Aggregate",
    "Lag",
    "MediaDropped",
    "Metric",
    "Observer",
    "PoolSize",
    "Record",
    "RouteMissing",
    "SessionEnded",
    "SessionOpening",
    "SessionRefusal",
    "SessionStarted",
    "ToolDone",
    "TurnDone",
    "Values",
    "ignore",
    "install",
    "tell",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpening(Record):
    """The router answered an `open` with a grant."""

    route: str
    tenant: str
    region: str
    open_s: float
    """From the call's arrival at the router to its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRefusal(Record):
    """The router refused an `open`."""

    tenant: str
    region: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMissing(Record):
    """The default route was taken, or would have been."""

    cause: str
    """tenant, region or other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted(Record):
    """A host has a session open: every stage is ready."""

    route: str
    tenant: str
    region: str
    setup_s: float
    """From the caller's `Attach` to `session.opened`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(Record):
    route: str
    tenant: str
    region: str
    reason: str
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnDone(Record):
    """A turn was answered. Seconds from the last voiced frame; providers are those that really served."""

    route: str
    tenant: str
    region: str
    stt: str = ""
    agent: str = ""
    tts: str = ""
    endpointing_s: float | None = None
    stt_final_s: float | None = None
    agent_first_s: float | None = None
    tts_first_s: float | None = None
    total_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDone(Record):
    """A tool that a model called has an outcome."""

    route: str
    tenant: str
    region: str
    tool: str
    """Its name in the configuration; `unknown` for what no route offers."""
    outcome: str
    """done, failed, timeout or overload."""
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaDropped(Record):
    """Frames of 20 ms that a queue let go of, by its declared policy."""

    route: str
    tenant: str
    region: str
    stage: str
    provider: str
    """Who serves the stage; empty where none does (the caller's own way, the replay ring)."""
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag(Record):
    """How late the loop of a process runs."""

    stage: str
    """`host`, `router`, or the stage of a provider actor."""
    region: str
    provider: str
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSize(Record):
    """A pool as the router's books have it."""

    provider: str
    region: str
    stage: str
    owner: str
    actors: int
    streams: int
    capacity: int


class Observer(Protocol):
    """Whoever is told. Never waits, never raises."""

    def observe(self, record: Record) -> None: ...


class _Ignore:
    def observe(self, record: Record) -> None:
        """Nothing is kept."""


ignore: Observer = _Ignore()
_here: Observer = ignore


def install(observer: Observer) -> None:
    """Make `observer` the one of this process; the actor's shell does so once, before it starts anything."""
    global _here
    _here = observer


def tell(record: Record) -> None:
    """A fact, to the observer of this process."""
    _here.observe(record)


Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the table of metrics (cluster/metrics.py): which field of which record it shows."""

    name: str
    kind: Kind
    unit: str
    description: str
    record: type[Record]
    value: str | None = None
    """Field; None counts the records."""
    labels: tuple[str, ...] = ()
    """Fields of the record, which are also the label names."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram."""


@dataclass(frozen=True, slots=True)
class Values:
    """What came together of one metric under one label set since the last `take`."""

    metric: Metric
    labels: Mapping[str, str]
    values: Sequence[float]
    """One value for a counter (its increase) and a gauge. For a histogram, since the process began: the values at or
    below each of its bounds, all values, and their sum."""


TENANTS = 50
"""Tenants with a label of their own, per process: each multiplies the series of every metric that has the label."""


class _Spread:
    """A histogram under one label set."""

    __slots__ = ("counts", "labels", "metric", "sum")

    def __init__(self, metric: Metric, labels: Labels) -> None:
        self.metric, self.labels = metric, labels
        self.counts = [0] * (len(metric.buckets) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.metric.buckets, value)] += 1
        self.sum += value

    def values(self) -> list[float]:
        return [*accumulate(self.counts), self.sum]


class Aggregate:
    """The observer of a process: adds up, hands over, forgets."""

    def __init__(self, table: Sequence[Metric], *, tenants: int = TENANTS) -> None:
        self._rows: dict[type[Record], list[Metric]] = {}
        for row in table:
            self._rows.setdefault(row.record, []).append(row)
        self._values: dict[tuple[str, Labels], tuple[Metric, list[float]]] = {}
        self._spreads: dict[tuple[str, Labels], _Spread] = {}
        self._moved: dict[_Spread, None] = {}
        """Spreads that something was added to since the last take."""
        self._tenants: set[str] = set()
        self._most_tenants = tenants

    def observe(self, record: Record) -> None:
        for metric in self._rows.get(type(record), ()):
            value = 1.0 if metric.value is None else getattr(record, metric.value)
            if value is None:
                continue
            labels = tuple(self._label(name, getattr(record, name)) for name in metric.labels)
            key = (metric.name, labels)
            if metric.kind == "histogram":
                spread = self._spreads.get(key)
                if spread is None:
                    spread = self._spreads[key] = _Spread(metric, labels)
                spread.add(float(value))
                self._moved[spread] = None
                continue
            _, values = self._values.setdefault(key, (metric, []))
            if metric.kind == "counter" and values:
                values[0] += value
            else:
                values[:] = [float(value)]

    def take(self, *, whole: bool = False) -> list[Values]:
        """What is new since the last take; `whole`: with the histograms that nothing was added to."""
        taken, self._values = self._values, {}
        spreads, self._moved = list(self._spreads.values() if whole else self._moved), {}
        return [
            Values(metric, dict(zip(metric.labels, labels, strict=True)), values)
            for metric, labels, values in (
                *((metric, labels, values) for (_, labels), (metric, values) in taken.items()),
                *((spread.metric, spread.labels, spread.values()) for spread in spreads),
            )
        ]

    def _label(self, name: str, value: str) -> str:
        if name != "tenant" or value in self._tenants:
            return value
        if len(self._tenants) < self._most_tenants:
            self._tenants.add(value)
            return value
        return "other"
