"""What a benchmark reads and how it prints: CPU, run-queue wait and memory of processes, quantiles, tables.

    before = read(pids)                     # {"host": [123], "stt": [124], ...}
    ...                                     # the counted time
    used = usage(before, read(pids))        # {"host": Usage(cpu_s, wait_s, ...), ...}

CPU is the sum over `/proc/PID/task/*/schedstat` (the file of the process alone is its main thread); its second number
is the time that threads were runnable and waited for a core, which says how busy the machine was. Memory is PSS, so
that pages which processes share are counted once.

Units    `_s` seconds, `_kb` kibibytes, `_us` microseconds.
Source   kernel documentation, scheduler/sched-stats.rst, filesystems/proc.rst.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "BUCKETS", "Sample", "Usage", "bucket_of", "bucket_us", "classify", "descendants", "histogram_quantile",
    "machine", "parse_schedstat", "parse_smaps", "print_result", "quantile", "read", "slope", "table", "trend",
    "usage",
]  # fmt: skip

PROC = Path("/proc")
RAY_OWN = "ray's own"
_SUB_BITS = 5
BUCKETS = 24 << _SUB_BITS
"""Buckets of a histogram of microseconds: up to 2 ** 28 (4 minutes), each at most 3 % wide."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one instant."""

    cpu_ns: int = 0
    wait_ns: int = 0
    pss_kb: int = 0
    rss_kb: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of one class used between two instants; memory is that of the later one."""

    processes: int
    cpu_s: float
    wait_s: float
    pss_mb: float
    rss_mb: float


# ---------------------------------------------------------------------------------------------------- reading


def parse_schedstat(text: str) -> tuple[int, int]:
    """(ns on a CPU, ns runnable and waiting for one) of one thread.

    >>> parse_schedstat("1500 20 3")
    (1500, 20)
    """
    on, wait, *_ = text.split()
    return int(on), int(wait)


def parse_smaps(text: str) -> tuple[int, int]:
    """(PSS, RSS) in KiB, of a `smaps_rollup`."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in ("Pss", "Rss"):
            found[name] = int(rest.split()[0])
    return found.get("Pss", 0), found.get("Rss", 0)


def sample(pid: int, *, memory: bool = False) -> Sample | None:
    """The process now; None if it has gone."""
    cpu_ns = wait_ns = pss_kb = rss_kb = 0
    try:
        tasks = list((PROC / str(pid) / "task").iterdir())
        if memory:
            pss_kb, rss_kb = parse_smaps((PROC / str(pid) / "smaps_rollup").read_text())
    except OSError:
        return None
    for task in tasks:
        try:
            on, wait = parse_schedstat((task / "schedstat").read_text())
        except (OSError, ValueError):
            continue  # the thread ended in between
        cpu_ns += on
        wait_ns += wait
    return Sample(cpu_ns, wait_ns, pss_kb, rss_kb)


def read(pids: Mapping[str, Iterable[int]], *, memory: bool = False) -> dict[str, dict[int, Sample]]:
    """Every process of every class now; those that have gone are left out."""
    return {
        name: {pid: found for pid in some if (found := sample(pid, memory=memory)) is not None}
        for name, some in pids.items()
    }


def usage(before: Mapping[str, Mapping[int, Sample]], after: Mapping[str, Mapping[int, Sample]]) -> dict[str, Usage]:
    """Per class. A process that came in between counts from its start; one that ended counts nothing."""
    used = {}
    for name, some in after.items():
        was = before.get(name, {})
        none = Sample()
        used[name] = Usage(
            processes=len(some),
            cpu_s=sum(s.cpu_ns - was.get(pid, none).cpu_ns for pid, s in some.items()) / 1e9,
            wait_s=sum(s.wait_ns - was.get(pid, none).wait_ns for pid, s in some.items()) / 1e9,
            pss_mb=sum(s.pss_kb for s in some.values()) / 1024,
            rss_mb=sum(s.rss_kb for s in some.values()) / 1024,
        )
    return used


# ---------------------------------------------------------------------------------------- which process is what


def descendants(root: int) -> dict[int, str]:
    """pid -> command line of every process below `root`."""
    parents: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    below, grew = {root}, True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        below |= more
        grew = bool(more)
    return {pid: _command(pid) for pid in below - {root}}


def classify(commands: Mapping[int, str], known: Mapping[str, Iterable[int]]) -> dict[str, list[int]]:
    """Processes by class: `known` (from the router's own books), the router by its title, the rest Ray's own.

    >>> classify({7: "ray::HostActor", 8: "raylet", 9: "ray::RouterActor"}, {"host": [7]})
    {'host': [7], 'router': [9], "ray's own": [8]}
    """
    found = {name: sorted(pids) for name, pids in known.items()}
    named = {pid for pids in found.values() for pid in pids}
    found["router"] = sorted(pid for pid, command in commands.items() if command.startswith("ray::RouterActor"))
    named.update(found["router"])
    found[RAY_OWN] = sorted(pid for pid, c in commands.items() if pid not in named and "py-spy" not in c)
    return found


def _command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


# -------------------------------------------------------------------------------------------------- statistics


def quantile(values: Sequence[float], q: float) -> float | None:
    """The value that a share `q` of them does not pass (nearest rank); None of none.

    >>> quantile([4, 1, 3, 2], 0.5)
    2
    """
    if not values:
        return None
    ordered = sorted(values)
    rank = -(-int(q * 1e9) * len(ordered) // 1_000_000_000)
    return ordered[min(len(ordered), max(1, rank)) - 1]


def bucket_of(us: int) -> int:
    """The bucket of so many microseconds: exact below 32, then 32 buckets to each doubling."""
    if us < 0:
        return 0
    shift = max(0, us.bit_length() - _SUB_BITS - 1)
    return min((shift << _SUB_BITS) + (us >> shift), BUCKETS - 1)


def bucket_us(bucket: int) -> int:
    """The most microseconds that fall into it: a quantile from a histogram is never told too small."""
    if bucket < 2 << _SUB_BITS:
        return bucket
    shift = (bucket >> _SUB_BITS) - 1
    return ((bucket - (shift << _SUB_BITS) + 1) << shift) - 1


def histogram_quantile(counts: Sequence[int], q: float) -> float | None:
    """In milliseconds, of a histogram with `bucket_of`; None of an empty one."""
    total = sum(counts)
    if not total:
        return None
    rank, seen = max(1, -(-int(q * 1e9) * total // 1_000_000_000)), 0
    for bucket, count in enumerate(counts):
        seen += count
        if seen >= rank:
            return bucket_us(bucket) / 1000
    return None


def slope(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(slope, half of its 95 % interval) of the straight line through `points` by least squares.

    The half is infinite for two points. 1.96 stands for Student's t: use it with 30 points or more.
    """
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if n < 2 or not spread:
        raise ValueError("a slope takes two points at different places")
    rise = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    if n == 2:
        return rise, float("inf")
    left = sum((y - mean_y - rise * (x - mean_x)) ** 2 for x, y in points)
    return rise, float(1.96 * (left / (n - 2) / spread) ** 0.5)


def trend(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """As `slope`, of readings one after another, which are alike: memory grows in steps and stays there.

    The interval is that of as many independent readings as these are worth, by how much each resembles the one before
    (lag-1 autocorrelation r of what the line leaves: n (1 - r) / (1 + r);
    Santer et al. 2000, on trends of temperature).
    """
    rise, half = slope(points)
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    left = [y - mean_y - rise * (x - mean_x) for x, y in points]
    power = sum(e * e for e in left)
    alike = sum(a * b for a, b in itertools.pairwise(left)) / power if power else 0.0
    worth = n * (1 - alike) / (1 + alike) if alike > 0 else n
    return rise, half * ((n - 2) / (worth - 2)) ** 0.5 if worth > 2 else float("inf")


# ---------------------------------------------------------------------------------------------------- printing


def machine() -> dict[str, Any]:
    """Where a figure comes from, and how busy it was there."""
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows under their names, numbers to the right."""
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(columns)]
    lines = ["  ".join(name.rjust(w) for name, w in zip(columns, widths, strict=True))]
    lines += ["  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in cells]
    return "\n".join(lines)


def print_result(result: Mapping[str, Any], *, as_json: bool, human: Callable[[Mapping[str, Any]], str]) -> None:
    print(json.dumps(result) if as_json else human(result), flush=True)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
