"""How long one routing decision takes, by the size of the table.

    python benchmarks/choose.py [--sizes 10,1000,100000] [--seed 7] [--json] [--plot FILE]

Each table has, for every tenant, one route by region and feature, one by bucket with a split of two voices and a
greeting with a name, and one for the rest; on top, one route in a hundred is for tenants by prefix and one in two
hundred for any tenant with a certain attribute. Contexts are drawn at random beforehand; one in ten is of a tenant
that no route names. Each decision is timed by itself; the clock's own cost is measured and taken off.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure  # after the path is set
from router.choose import choose
from router.context import RouteContext
from router.plan import RoutePlan
from router.route_builder import conditions_of
from router.schema import When
from router.settings import SessionSettings
from router.table import Choice, ProviderSpec, Route, RouteTable, Slot, Split

SPECS = {
    name: ProviderSpec(name=name, stage=stage, type=name, **more)  # type: ignore[arg-type]
    for name, stage, more in (
        ("webrtc", "vad", {}),
        ("heuristic", "turn", {}),
        ("ears", "stt", {"secrets": {"t1": "env:T1", "*": "env:ALL"}, "data_region": "eu"}),
        ("echo", "agent", {}),
        ("voice-a", "tts", {}),
        ("voice-b", "tts", {}),
        ("realtime", "s2s", {"secrets": {"*": "env:ALL"}}),
    )
}
CASCADE = ("webrtc", "heuristic", "ears", "echo", "voice-a")


def route(name: str, when: dict[str, object], providers: tuple[str, ...] = CASCADE, **more: object) -> Route:
    slots = [Slot(SPECS[p].stage, (Choice(SPECS[p], {}),)) for p in providers]
    if more.pop("split", False):
        arms = [(Choice(SPECS["voice-a"], {}), 90.0), (Choice(SPECS["voice-b"], {}), 10.0)]
        slots[-1] = Slot("tts", (), Split("user_id", "exp7", arms))
    settings = SessionSettings(greeting=more.get("greeting"))  # type: ignore[arg-type]
    conditions = conditions_of(When.model_validate(when))
    return Route(name=name, line=0, conditions=conditions, slots=tuple(slots), settings=settings)


def table_of(n_routes: int) -> tuple[RouteTable, int]:
    """A table of `n_routes`, and how many tenants it names."""
    routes: list[Route] = []
    tenant = 0
    while len(routes) < n_routes:
        t, n = f"t{tenant}", len(routes)
        routes += [
            route(f"s2s-{n}", {"tenant": t, "region": "eu-*", "features": {"s2s": True}}, ("webrtc", "realtime")),
            route(
                f"half-{n}",
                {"tenant": t, "bucket": {"by": "user_id", "salt": "exp7", "from": 0, "below": 50}},
                split=True,
                greeting="Hello {name}",
            ),
            route(f"rest-{n}", {"tenant": t}),
        ]
        if tenant % 33 == 32:
            routes.append(route(f"prefix-{n}", {"tenant": f"group{tenant}-*"}))
        if tenant % 66 == 65:
            routes.append(route(f"any-{n}", {"attributes": {"campaign": f"c{tenant}"}}))
        tenant += 1
    table = RouteTable(version="bench", routes=routes[:n_routes], default=route("default", {}), providers=SPECS)
    return table, tenant


def contexts(n: int, tenants: int, rng: random.Random) -> list[RouteContext]:
    made = []
    for i in range(n):
        tenant = f"t{rng.randrange(tenants)}" if rng.random() < 0.9 else f"stranger{rng.randrange(1000)}"
        made.append(
            RouteContext(
                session_id=f"s{i}",
                tenant_id=tenant,
                region=rng.choice(("eu-west-1", "us-east-1")),
                features={"s2s": rng.random() < 0.3},
                attributes={"user_id": f"u{rng.randrange(10**6)}", "name": "Ann"},
            )
        )
    return made


def timed(n_routes: int, n_calls: int, seed: int) -> dict[str, float]:
    rng = random.Random(seed)
    table, tenants = table_of(n_routes)
    calls = contexts(n_calls, tenants, rng)
    for ctx in calls[: n_calls // 10]:  # warm-up, thrown away
        choose(ctx, table)
    clock = time.perf_counter_ns
    empty = statistics.median(-(clock() - clock()) for _ in range(10_000))
    gc.collect()
    gc.freeze()
    taken = []
    for ctx in calls:
        start = clock()
        plan = choose(ctx, table)
        taken.append(clock() - start - empty)
        if not isinstance(plan, RoutePlan):
            raise SystemExit(f"{ctx} was refused")
    taken.sort()
    return {
        "routes": n_routes,
        "n": n_calls,
        "p50_us": round(taken[len(taken) // 2] / 1000, 2),
        "p95_us": round(taken[int(len(taken) * 0.95)] / 1000, 2),
        "p99_us": round(taken[int(len(taken) * 0.99)] / 1000, 2),
        "mean_us": round(statistics.fmean(taken) / 1000, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default="10,1000,100000")
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot")
    args = parser.parse_args()
    rows = [timed(int(size), args.calls, args.seed) for size in args.sizes.split(",")]
    result = {"benchmark": "choose", "machine": measure.machine(), "seed": args.seed, "rows": rows}
    measure.print_result(result, as_json=args.json, human=human)
    if args.plot:
        from benchmarks.plot import draw

        lines = {key: [(row["routes"], row[f"{key}_us"]) for row in rows] for key in ("p50", "p95", "p99", "mean")}
        draw(args.plot, ("choose(), by the size of the table", "routes", "us", lines, True))


def human(result: Mapping[str, Any]) -> str:
    columns = ["routes", "n", "p50_us", "p95_us", "p99_us", "mean_us"]
    return f"{measure.table(result['rows'], columns)}\nseed {result['seed']}; machine {result['machine']}"


if __name__ == "__main__":
    main()
