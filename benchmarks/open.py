"""What `open()` costs on a warm cluster: latency with 1, 10 and 100 openers at once, and with 100 a second arriving.

    python benchmarks/open.py [--opens 300] [--isolation packed] [--json] [--plot FILE]

An open is counted from the call of `router.open.remote` to the handle in the caller's hands; every session that was
opened is closed again through the router between the measurements, so that the books stay as small as they began.
With `--isolation dedicated` each session takes an empty host for itself: there are only the warm ones to give, and an
open past them waits for a process to start, so few are asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure  # after the path is set
from benchmarks.rig import Rig

_PER_S = 100


class Opener:
    """Opens sessions, keeps how long each took, closes them again."""

    def __init__(self, router: Any) -> None:
        self._router = router
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
        self._open.append(session_id)
        return (time.perf_counter() - began_s) * 1000

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


async def run(router: Any, opens: int, dedicated: bool) -> list[dict[str, Any]]:
    opener = Opener(router)
    await at_once(opener, 1, 1 if dedicated else 20)  # warm-up
    await opener.close_all()
    rows = [
        await measured(opener, "at once", n, lambda n=n: at_once(opener, n, n if dedicated else max(opens, n)))
        for n in ((1, 4) if dedicated else (1, 10, 100))
    ]
    if not dedicated:
        rows.append(await measured(opener, f"{_PER_S}/s arriving", 0, lambda: arriving(opener, _PER_S, opens)))
    return rows


def human(result: Mapping[str, Any]) -> str:
    columns = ["how", "openers", "opens", "refused", "per_s", "p50_ms", "p99_ms", "max_ms", "load_1m"]
    lines = [
        measure.table(result["rows"], columns),
        f"{result['isolation']}; machine {result['machine']}; CPU per open:",
    ]
    return "\n".join([*lines, str(result["us_per_open"])])


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--opens", type=int, default=300)
    parser.add_argument("--isolation", choices=("packed", "dedicated"), default="packed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot")
    args = parser.parse_args()
    load = measure.machine()
    with Rig(max(1000, args.opens), isolation=args.isolation) as rig:
        before = measure.read(rig.pids())
        rows = asyncio.run(run(rig.router, args.opens, args.isolation == "dedicated"))
        used = measure.usage(before, measure.read(rig.pids()))
    n = max(1, sum(row["opens"] for row in rows))
    result = {
        "benchmark": "open", "isolation": args.isolation, "rows": rows, "machine": load,
        "us_per_open": {k: round(u.cpu_s * 1e6 / n) for k, u in used.items()},
    }  # fmt: skip
    measure.print_result(result, as_json=args.json, human=human)
    if args.plot:
        from benchmarks.plot import draw

        points = [r for r in rows if r["openers"]]
        lines = {key: [(r["openers"], r[key]) for r in points if r[key]] for key in ("p50_ms", "p99_ms")}
        draw(args.plot, ("open(), by how many ask at once", "openers", "ms", lines, True))


if __name__ == "__main__":
    main()
