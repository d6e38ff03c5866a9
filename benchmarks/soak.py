"""Sessions opened and closed at random for a long time: what grows? Memory, descriptors, threads, tasks, Ray's objects.

    python benchmarks/soak.py --minutes 30 [--sessions 200] [--per-s 5] [--json] [--plot FILE]

`--sessions` live at once, all talking; every second `--per-s` of them hang up and as many others call. After the first
`--warm-min` minutes (a fifth of the time where that is less) the following is read every two seconds, and the slope of
each over time is told with its 95 % interval (`measure.trend`): it should hold 0, or be under 1 MB an hour.

    each process of ours    PSS, file descriptors, threads
    each class of them      tasks of asyncio, by the actors' own `statistics`
    Ray                     objects in its store, their bytes; references that its processes hold, by the raylet's books

A session that cannot be had, on a machine that others load too, is counted in `failed` and the soak goes on.
A process that came later has its own first minutes, which are not counted either, and its own line for as long as it
lived. `opens_per_s` is what was reached.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure  # after the path is set
from benchmarks.rig import Rig

_EVERY_S = 2.0
_WARM_MIN = 5.0
_GOAL_MB_PER_H = 1.0
_DRAWN = 80
"""Points of a line in the picture."""
_NOTHING = 1e-6
"""What arithmetic makes of a line without a slope."""
_CHARTS = {
    "pss_mb": "PSS, MB", "descriptors": "File descriptors", "threads": "Threads", "tasks": "Tasks of asyncio",
    "objects": "Objects in Ray's store", "references": "References to objects, all of Ray's processes",
}  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    rng = random.Random(args.seed)
    most = args.sessions + round(args.minutes * 60 * args.per_s) + args.per_s
    series: Series = {}
    with Rig(most, capacity=args.sessions + 4 * args.per_s) as rig:
        rig.attach(args.sessions)
        live = list(range(args.sessions))
        began_s = time.monotonic()
        warm_s = min(args.warm_min * 60, args.minutes * 12)
        next_read_s, beat = began_s, 0
        while (now_s := time.monotonic()) < began_s + args.minutes * 60:
            if now_s >= next_read_s:
                next_read_s = now_s + _EVERY_S
                note(series, rig, (now_s - began_s) / 3600)
            live = churn(rig, live, rng, args.per_s)
            beat += 1
            time.sleep(max(0.0, began_s + beat - time.monotonic()))
        hosts = [{"sessions": s.sessions, "failed_sessions": s.failed_sessions} for s in rig.statistics("host")]
        opened, took_s = rig.opened, time.monotonic() - began_s
        told = rig.stop()
    series = settled(series, warm_s / 3600)
    rows = slopes(series)
    return {
        "benchmark": "soak", "minutes": args.minutes, "live": args.sessions, "opened": opened, "seed": args.seed,
        "opens_per_s": round((opened - args.sessions) / took_s, 2),
        "rows": rows, "holds": all(row["holds"] for row in rows), "hosts": hosts, "failed": told.get("failed"),
        "ended": told.get("reasons"), "series": series, "machine": measure.machine(),
    }  # fmt: skip


def churn(rig: Rig, live: list[int], rng: random.Random, n: int) -> list[int]:
    """`n` callers, chosen at random, hang up; as many new ones call."""
    gone = set(rng.sample(live, min(n, len(live))))
    rig.hang_up(sorted(gone))
    first = rig.opened
    rig.attach(n, quiet=True, may_fail=True)
    return [i for i in live if i not in gone] + list(range(first, first + n))


Series = dict[str, dict[str, list[tuple[float, float]]]]
"""By process or class, by what was read: (hours, value)."""


def settled(series: Series, warm_h: float) -> Series:
    """Each line without the first `warm_h` hours of its own: a process that has just started fills what it keeps.

    >>> settled({"a": {"x": [(0.0, 1.0), (0.1, 2.0), (0.2, 3.0)]}, "b": {"x": [(0.15, 1.0), (0.2, 9.0)]}}, 0.1)
    {'a': {'x': [(0.1, 2.0), (0.2, 3.0)]}}
    """
    found: Series = {}
    for process, things in series.items():
        for thing, points in things.items():
            kept = [point for point in points if point[0] >= points[0][0] + warm_h]
            if kept:
                found.setdefault(process, {})[thing] = kept
    return found


def note(series: Series, rig: Rig, at_h: float) -> None:
    """One reading of every process of ours, and of Ray's objects."""
    pids = rig.pids()
    for name in ("host", "vad", "turn", "stt", "agent", "tts", "router"):
        for pid in pids.get(name, ()):
            found = measure.sample(pid, memory=True)
            if found is None:
                continue
            mine = series.setdefault(f"{name} {pid}", {})
            mine.setdefault("pss_mb", []).append((at_h, found.pss_kb / 1024))
            mine.setdefault("descriptors", []).append((at_h, len(os.listdir(f"/proc/{pid}/fd"))))
            mine.setdefault("threads", []).append((at_h, len(os.listdir(f"/proc/{pid}/task"))))
    for name, tasks in rig.tasks().items():
        series.setdefault(name, {}).setdefault("tasks", []).append((at_h, tasks))
    for what, n in ray_objects().items():
        series.setdefault("ray", {}).setdefault(what, []).append((at_h, n))


def ray_objects() -> dict[str, float]:
    """What Ray's object store holds, and the references to objects in all its processes: of the one node there is.

    By Ray's own private call, since its public `ray.util.state` wants a dashboard; a test keeps watch over it.
    """
    import ray
    from ray._private.internal_api import node_stats

    node = ray.nodes()[0]
    told = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=True)
    return {
        "objects": told.store_stats.num_local_objects,
        "objects_mb": told.store_stats.object_store_bytes_used / 1e6,
        "references": sum(worker.num_object_refs_in_scope for worker in told.core_workers_stats),
    }


def slopes(series: Mapping[str, Mapping[str, list[tuple[float, float]]]]) -> list[dict[str, Any]]:
    """Per process and thing, units an hour; `holds`: the goal is met."""
    rows = []
    for process, things in series.items():
        for thing, points in things.items():
            if len(points) < 3:
                continue
            rise, half = measure.trend(points)
            small = thing.endswith("_mb") and rise < _GOAL_MB_PER_H
            rows.append(
                {"process": process, "what": thing, "per_hour": round(rise, 3),
                 "half_95": round(half, 3) if half < float("inf") else None,
                 "first": points[0][1], "last": points[-1][1], "readings": len(points),
                 "holds": small or (half < float("inf") and rise - half <= _NOTHING)}
            )  # fmt: skip
    return rows


def human(result: Mapping[str, Any]) -> str:
    columns = ["process", "what", "per_hour", "half_95", "first", "last", "readings", "holds"]
    told = {k: result[k] for k in ("minutes", "live", "opened", "opens_per_s", "failed", "ended", "hosts", "machine")}
    return "\n".join([measure.table(result["rows"], columns), str(told)])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--per-s", type=int, default=5)
    parser.add_argument("--warm-min", type=float, default=_WARM_MIN)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot")
    args = parser.parse_args()
    result = run(args)
    measure.print_result(result, as_json=args.json, human=human)
    if args.plot:
        from benchmarks.plot import draw

        charts = []
        for thing, title in _CHARTS.items():
            lines = {
                process: [(x * 60, y) for x, y in things[thing][:: max(1, len(things[thing]) // _DRAWN)]]
                for process, things in result["series"].items()
                if thing in things
            }
            charts.append((title, "minutes", "", lines, False))
        draw(args.plot, *charts)


if __name__ == "__main__":
    main()
