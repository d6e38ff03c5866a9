"""What `open()` costs on a warm cluster: latency with 1, 10 and 100 openers at once, and with 100 a second arriving.

    python benchmarks/open.py [--opens 1000] [--runs 3] [--isolation packed dedicated] [--json] [--plot FILE]

An open is counted from the call of `router.open.remote` to the handle in the caller's hands. The table has medians over
the runs, which take turns on one cluster whose actors are warm.

packed      sessions stay until the row is done, then the router takes them back: the books are as small as they were
dedicated   each takes an empty host for itself, of which there are `--hosts`; the opener has it taken back at once and
            asks again, so with more openers than hosts an open waits for a host; a process for each of a hundred
            has no place on this machine
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure  # after the path is set
from benchmarks.rig import Rig

_PER_S = 100
OPENERS = (1, 10, 100)
_HOSTS_S = 60.0


class Opener:
    """Opens sessions, keeps how long each took, closes them again."""

    def __init__(self, router: Any, *, keep: bool) -> None:
        self._router, self._keep = router, keep
        self._next = 0
        self._open: list[str] = []
        self.refused: dict[str, int] = {}

    async def one(self) -> float | None:
        """Milliseconds; None where it was refused."""
        session_id = f"open-{self._next}"
        self._next += 1
        began_s = time.perf_counter()
        try:
            await self._router.open.remote({"session_id": session_id, "tenant_id": "bench"})
        except Exception as error:  # Ray raises a class made of its own and the refusal's
            name = getattr(error, "kind", type(error).__name__)
            self.refused[name] = self.refused.get(name, 0) + 1
            return None
        took_ms = (time.perf_counter() - began_s) * 1000
        if self._keep:
            self._open.append(session_id)
        else:
            await self._router.close.remote(session_id)
        return took_ms

    async def close_all(self) -> None:
        some, self._open = self._open, []
        await asyncio.gather(*(self._router.close.remote(s) for s in some))


async def at_once(opener: Opener, openers: int, opens: int) -> list[float | None]:
    """`openers` of them, each asking again as soon as it is answered."""

    async def opening(n: int) -> list[float | None]:
        return [await opener.one() for _ in range(n)]

    found = await asyncio.gather(*(opening(max(1, opens // openers)) for _ in range(openers)))
    return [ms for some in found for ms in some]


async def arriving(opener: Opener, per_s: int, opens: int) -> list[float | None]:
    """So many a second, whether or not those before are answered."""
    began_s, asked = time.perf_counter(), []
    async with asyncio.TaskGroup() as tasks:
        for n in range(opens):
            await asyncio.sleep(max(0.0, began_s + n / per_s - time.perf_counter()))
            asked.append(tasks.create_task(opener.one()))
    return [task.result() for task in asked]


async def measured(opener: Opener, how: str, openers: int, work: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
    refused = dict(opener.refused)
    began_s = time.perf_counter()
    found = await work()
    took_s = time.perf_counter() - began_s
    ms = [x for x in found if x is not None]
    await opener.close_all()
    return {
        "how": how, "openers": openers, "opens": len(ms),
        "refused": {k: v - refused.get(k, 0) for k, v in opener.refused.items() if v > refused.get(k, 0)},
        "per_s": round(len(ms) / took_s, 1), "p50_ms": _round(measure.quantile(ms, 0.5)),
        "p99_ms": _round(measure.quantile(ms, 0.99)), "max_ms": _round(measure.quantile(ms, 1.0)),
        "load_1m": measure.machine()["load_1m"],
    }  # fmt: skip


async def run(router: Any, args: argparse.Namespace, isolation: str) -> list[dict[str, Any]]:
    """All rows of one cluster, `args.runs` times."""
    packed = isolation == "packed"
    opener = Opener(router, keep=packed)
    opens = args.opens if packed else args.opens // 4
    await at_once(opener, 1, 20)  # warm-up
    await opener.close_all()
    if not packed:
        await empty_hosts(router, args.hosts)
    rows = []
    for _ in range(args.runs):
        for n in OPENERS:
            rows.append(await measured(opener, "at once", n, lambda n=n: at_once(opener, n, max(opens, n))))
        rows.append(await measured(opener, f"{_PER_S}/s arriving", 0, lambda: arriving(opener, _PER_S, opens)))
    return [{"isolation": isolation, **row} for row in rows]


async def empty_hosts(router: Any, wanted: int) -> None:
    """Wait until so many hosts are there."""
    async with asyncio.timeout(_HOSTS_S):
        while True:
            pools = await router.pools.remote()
            if sum(len(pool["actors"]) for pool in pools if pool["stage"] == "host") >= wanted:
                return
            await asyncio.sleep(0.5)


def medians(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each way of asking: opens and refusals of all runs together, medians of the rest."""
    found = []
    for key in dict.fromkeys((r["isolation"], r["how"], r["openers"]) for r in rows):
        mine = [r for r in rows if (r["isolation"], r["how"], r["openers"]) == key]
        refused: Counter[str] = Counter()
        for row in mine:
            refused.update(row["refused"])
        middle: dict[str, Any] = {}
        for name in ("per_s", "p50_ms", "p99_ms", "max_ms", "load_1m"):
            values = [r[name] for r in mine if r[name] is not None]
            middle[name] = statistics.median(values) if values else None
        found.append({
            "isolation": key[0], "how": key[1], "openers": key[2], "runs": len(mine),
            "opens": sum(r["opens"] for r in mine), "refused": dict(refused), **middle,
        })  # fmt: skip
    return found


def human(result: Mapping[str, Any]) -> str:
    columns = [
        "isolation",
        "how",
        "openers",
        "runs",
        "opens",
        "refused",
        "per_s",
        "p50_ms",
        "p99_ms",
        "max_ms",
        "load_1m",
    ]
    return "\n".join([
        measure.table(result["rows"], columns),
        f"CPU per open, us: {result['us_per_open']}; run-queue wait, s: {result['waited_s']}; hosts {result['hosts']}; "
        f"machine {result['machine']}; Ray calls alone, no sender",
    ])  # fmt: skip


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--opens", type=int, default=1000, help="of each row and run; a quarter of it dedicated")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--isolation", nargs="+", choices=("packed", "dedicated"), default=["packed", "dedicated"])
    parser.add_argument("--hosts", type=int, default=4, help="empty ones that dedicated sessions find")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot")
    args = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "open", "machine": measure.machine(), "us_per_open": {}, "waited_s": {},
                              "hosts": {}}  # fmt: skip
    rows = []
    for isolation in args.isolation:
        with Rig(max(1000, 2 * args.opens), isolation=isolation, warm=args.hosts) as rig:
            before = measure.read(rig.pids())
            rows += asyncio.run(run(rig.router, args, isolation))
            used = measure.usage(before, measure.read(rig.pids()))
            n = max(1, sum(row["opens"] for row in rows if row["isolation"] == isolation))
            result["us_per_open"][isolation] = {k: round(u.cpu_s * 1e6 / n) for k, u in used.items()}
            result["waited_s"][isolation] = {k: round(u.wait_s, 2) for k, u in used.items()}
            result["hosts"][isolation] = len(rig.pids()["host"])
    result["rows"] = medians(rows)
    measure.print_result(result, as_json=args.json, human=human)
    if args.plot:
        plot(args.plot, result["rows"])


def plot(path: str, rows: list[dict[str, Any]]) -> None:
    from benchmarks.plot import draw

    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for key in ("p50_ms", "p99_ms"):
            if row["openers"] and row[key] is not None:
                lines.setdefault(f"{row['isolation']} {key[:3]}", []).append((row["openers"], row[key]))
    draw(path, ("open(), by how many ask at once", "openers", "ms", lines, True))


if __name__ == "__main__":
    main()
