"""What was tried beside the code, each on and off in one run: pre-loading, niceness, garbage collection, ticks, links.

python benchmarks/levers.py [--only start,warm,niceness,garbage,gateway] [--sessions 300] [--seconds 10] [--json]

start      seconds from nothing to a cluster that serves, with and without `RAY_preload_python_modules`
warm       the first `open()` with the default route's actors started ahead of it and not, and the second where each
           session has a host of its own, with empty hosts kept and none
niceness   lateness of the sessions beside a process that takes a whole core, at Ray's nice 15 and at our 0
garbage    how long the collector holds a process of a thousand sessions, before and after what lives is frozen
gateway    cost and lateness by the gateway's tick, and by the number of its links
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors.local import LocalConnector  # after the path is set
from actors.providers.registry import find
from actors.session import VoiceSession
from benchmarks import measure
from benchmarks.rig import ROOT
from cluster.configuration import load
from router.choose import choose
from router.context import RouteContext
from router.plan import RoutePlan

_RUN_S = 90.0
_STARTS = 3
_GARBAGE_SESSIONS = 1000
_FAKES = {"vad": "fake-vad", "turn": "fake-turn", "stt": "fake-stt", "agent": "fake-agent", "tts": "fake-tts"}
_START = """
import sys, time
began_s = time.perf_counter()
import cluster
from benchmarks.rig import Rig
with Rig(10, progress=lambda text: None):
    print(time.perf_counter() - began_s, flush=True)
"""
_OPEN = """
import json, sys, time
import ray, cluster
from benchmarks.rig import config_of
from cluster.settings import ClusterSettings
prewarm, isolation, kept = json.loads(sys.argv[1])
router = cluster.start(
    config_of("", 10, isolation=isolation, warm=kept), "levers.yaml", wait_ready=prewarm,
    settings=ClusterSettings(bind_ip="127.0.0.1", prewarm=prewarm),
)
took_s = []
for number in range(2):
    began_s = time.perf_counter()
    ray.get(router.open.remote({"session_id": f"levers-{number}", "tenant_id": "bench"}), timeout=60)
    took_s.append(time.perf_counter() - began_s)
    time.sleep(6.0)  # what is kept ready was begun by the first
print(json.dumps(took_s), flush=True)
cluster.stop(router)
"""
Rows = list[dict[str, Any]]


def start(args: argparse.Namespace) -> Rows:
    """Interleaved: what else the machine does falls on both."""
    took_s: dict[str, list[float]] = {"preloaded": [], "not preloaded": []}
    for _ in range(_STARTS):
        for name, some in took_s.items():
            environment = dict(os.environ)
            if name == "not preloaded":
                environment["RAY_preload_python_modules"] = "json"  # of the standard library: nothing of ours
            done = subprocess.run(
                [sys.executable, "-c", _START], cwd=ROOT, env=environment, capture_output=True, timeout=_RUN_S,
                text=True, check=True,
            )  # fmt: skip
            some.append(float(done.stdout))
    return [
        {"lever": "start", "way": name, "seconds": round(statistics.median(some), 2)} for name, some in took_s.items()
    ]


def warm(args: argparse.Namespace) -> Rows:
    rows = []
    for prewarm in (True, False):
        first_s, _ = _opens(prewarm, "packed", 1)
        rows.append({"lever": "warm", "way": f"first open, actors {'' if prewarm else 'not '}started ahead",
                     "ms": round(first_s * 1000, 1)})  # fmt: skip
    for kept in (2, 0):
        _, next_s = _opens(True, "dedicated", kept)
        rows.append({"lever": "warm", "way": f"next open of a host of its own, {kept} kept empty",
                     "ms": round(next_s * 1000, 1)})  # fmt: skip
    return rows


def _opens(prewarm: bool, isolation: str, kept: int) -> tuple[float, float]:
    """Seconds that the first open took, and one some seconds later; in a cluster of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, json.dumps([prewarm, isolation, kept])], cwd=ROOT, capture_output=True,
        timeout=_RUN_S, text=True, check=True,
    )  # fmt: skip
    first_s, next_s = json.loads(done.stdout.splitlines()[-1])
    return float(first_s), float(next_s)


def niceness(args: argparse.Namespace) -> Rows:
    rows = []
    for nice in ("15", "0"):
        with _neighbour():
            told = _density(args.sessions, args.seconds, {"RAY_worker_niceness": nice})
        rows.append({"lever": "niceness", "way": f"nice {nice}, a neighbour on a core", **told})
    return rows


@contextmanager
def _neighbour() -> Iterator[None]:
    """A process that takes all that it is given, at nice 0."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def gateway(args: argparse.Namespace) -> Rows:
    ways = [("--tick-ms", tick) for tick in ("2.5", "5", "10", "20")] + [("--links", links) for links in ("4",)]
    return [
        {"lever": "gateway", "way": f"{name} {value}", **_density(args.sessions, args.seconds, {}, name, value)}
        for name, value in ways
    ]


def _density(sessions: int, seconds: float, environment: Mapping[str, str], *more: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks/density.py"), "--json", "--sessions", str(sessions)]
    done = subprocess.run(
        [*command, "--seconds", str(seconds), *more], env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=_RUN_S + seconds, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    keys = ("cpu_per_session", "late_p50_ms", "late_p99_ms", "turn_p50_ms", "lost", "late_valid")
    return {key: told[key] for key in keys}


class Nobody:
    """The outlet of a session whose caller only waits."""

    def event(self, event: object) -> None: ...
    def audio_out(self, reply_id: int, pos: int, pcm: bytes) -> None: ...
    def accept(self) -> None: ...
    def closed(self, record: dict[str, Any]) -> None: ...


def garbage(args: argparse.Namespace) -> Rows:
    return asyncio.run(_garbage())


async def _garbage() -> Rows:
    config = {
        "schema": 1,
        "providers": {stage: {"stage": stage, "type": type_} for stage, type_ in _FAKES.items()},
        "default": {"use": {stage: stage for stage in _FAKES}},
    }
    table = load(json.dumps(config), "levers", str(ROOT), check_environment=False)
    plan = choose(RouteContext(session_id="levers", tenant_id="bench"), table, live_regions=frozenset())
    assert isinstance(plan, RoutePlan)
    providers = {stage: find(type_)({}, None, None) for stage, type_ in _FAKES.items()}
    rows = []
    async with asyncio.TaskGroup() as tasks:
        connector = LocalConnector(providers, tasks)
        sessions = [
            VoiceSession(
                f"levers-{number}", plan, connector, connector.capabilities, Nobody(), asyncio.get_running_loop().time
            )
            for number in range(_GARBAGE_SESSIONS)
        ]
        for session in sessions:
            session.start()
        while not all(session.opened for session in sessions):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
        gc.collect()
        rows.append({"lever": "garbage", "way": "a full pass over 1,000 sessions", "ms": _took_ms(gc.collect)})
        rows.append({"lever": "garbage", "way": "to freeze them", "ms": _took_ms(gc.freeze)})
        rows.append({"lever": "garbage", "way": "a full pass when they are frozen", "ms": _took_ms(gc.collect)})
        gc.unfreeze()
        for session in sessions:
            session.close("drained")
    return rows


def _took_ms(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return round((time.perf_counter() - began_s) * 1000, 3)


LEVERS: dict[str, Callable[[argparse.Namespace], Rows]] = {
    "start": start, "warm": warm, "niceness": niceness, "garbage": garbage, "gateway": gateway,
}  # fmt: skip


def human(result: Mapping[str, Any]) -> str:
    rows: Rows = result["rows"]
    return measure.table(rows, list(dict.fromkeys(key for row in rows for key in row)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(LEVERS))
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    wanted = [name for name in args.only.split(",") if name]
    if unknown := [name for name in wanted if name not in LEVERS]:
        parser.error(f"--only {','.join(unknown)}: there are {', '.join(LEVERS)}")
    rows: Rows = []
    for name in wanted:
        found = LEVERS[name](args)
        rows += found
        print(json.dumps(found), file=sys.stderr, flush=True)  # what was measured is not lost with what follows
    measure.print_result(
        {"benchmark": "levers", "machine": measure.machine(), "rows": rows}, as_json=args.json, human=human
    )


if __name__ == "__main__":
    main()
