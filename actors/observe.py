"""What happened, as records: the code that acts emits them, and knows neither metrics nor logs.

    observer.observe(TurnDone(route=..., endpointing_s=0.52, ...))

`Aggregate` is the observer of a process: it adds records up under bounded label sets for somebody (cluster/metrics) who
asks now and then. Without it nothing is kept: `ignore` is an observer too.

    counter    sum of a field, or the number of records         since the last `take`
    gauge      the last value
    histogram  how many values lay at or below each bound, all of them, and their sum: since the process began

Units    `_s` seconds, `_ms` milliseconds, as in the field's name; None where it does not apply.
Labels   come from the records' own fields; a tenant beyond the first `TENANTS` is `other`, and so is a region beyond
         the first `REGIONS`, since callers name both and a label set is for ever. No session id, call id or actor id
         is a label.
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
REGIONS = 50
"""The same of regions, which an open may make up."""


class _Cell:
    """A metric under one label set."""

    __slots__ = ("labels", "metric", "sum")

    def __init__(self, metric: Metric, labels: Labels) -> None:
        self.metric, self.labels, self.sum = metric, labels, 0.0

    def add(self, value: float) -> None:
        self.sum += value

    def take(self) -> list[float]:
        """`Values.values`."""
        raise NotImplementedError


class _Sum(_Cell):
    """A counter."""

    __slots__ = ()

    def take(self) -> list[float]:
        taken, self.sum = self.sum, 0.0
        return [taken]


class _Last(_Cell):
    """A gauge."""

    __slots__ = ()

    def add(self, value: float) -> None:
        self.sum = float(value)

    def take(self) -> list[float]:
        return [self.sum]


class _Spread(_Cell):
    """A histogram."""

    __slots__ = ("counts",)

    def __init__(self, metric: Metric, labels: Labels) -> None:
        super().__init__(metric, labels)
        self.counts = [0] * (len(metric.buckets) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.metric.buckets, value)] += 1
        self.sum += value

    def take(self) -> list[float]:
        return [*accumulate(self.counts), self.sum]


_CELLS: Mapping[Kind, type[_Cell]] = {"counter": _Sum, "gauge": _Last, "histogram": _Spread}


class _Rows:
    """The rows of the table that ask for one type of record, and their cells under each set of its labels."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.names = tuple(dict.fromkeys(name for metric in metrics for name in metric.labels))
        self.free = tuple((self.names.index(name), name) for name in ("tenant", "region") if name in self.names)
        """Labels that callers name."""
        self.cells: dict[Labels, list[tuple[str | None, _Cell]]] = {}
        self._metrics = metrics
        self._cell: dict[tuple[str, Labels], _Cell] = {}

    def at(self, labels: Labels) -> list[tuple[str | None, _Cell]]:
        """(field of the record, cell) of each metric; kept, since a label set is for ever."""
        cells = self.cells.get(labels)
        if cells is None:
            cells = self.cells[labels] = [(metric.value, self._of(metric, labels)) for metric in self._metrics]
        return cells

    def _of(self, metric: Metric, labels: Labels) -> _Cell:
        own = tuple(labels[self.names.index(name)] for name in metric.labels)
        key = (metric.name, own)
        if key not in self._cell:
            self._cell[key] = _CELLS[metric.kind](metric, own)
        return self._cell[key]

    def spreads(self) -> list[_Cell]:
        """Those that anything was ever added to."""
        return [cell for cell in self._cell.values() if isinstance(cell, _Spread) and any(cell.counts)]


class Aggregate:
    """The observer of a process. Counters begin anew when they are taken; the cells themselves are for ever."""

    def __init__(self, table: Sequence[Metric], *, tenants: int = TENANTS, regions: int = REGIONS) -> None:
        records = dict.fromkeys(metric.record for metric in table)
        self._rows = {record: _Rows([metric for metric in table if metric.record is record]) for record in records}
        self._moved: dict[_Cell, None] = {}
        """Cells that something was added to since the last take, in order."""
        self._known: dict[str, set[str]] = {"tenant": set(), "region": set()}
        self._most = {"tenant": tenants, "region": regions}

    def observe(self, record: Record) -> None:
        rows = self._rows.get(type(record))
        if rows is None:
            return
        labels = [getattr(record, name) for name in rows.names]
        for at, name in rows.free:
            if labels[at] not in self._known[name]:
                labels[at] = self._label(name, labels[at])
        for field, cell in rows.at(tuple(labels)):
            value = 1.0 if field is None else getattr(record, field)
            if value is not None:
                cell.add(value)
                self._moved[cell] = None

    def take(self) -> list[Values]:
        """What is new since the last take, and every histogram that there is: an exporter forgets one that is not
        told."""
        moved, self._moved = self._moved, {}
        for rows in self._rows.values():
            moved.update(dict.fromkeys(rows.spreads()))
        return [Values(c.metric, dict(zip(c.metric.labels, c.labels, strict=True)), c.take()) for c in moved]

    def _label(self, name: str, value: str) -> str:
        if len(self._known[name]) < self._most[name]:
            self._known[name].add(value)
            return value
        return "other"
