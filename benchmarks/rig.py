"""A real cluster for a benchmark: Ray, router, hosts and provider actors here, the callers in a process beside them.

    with Rig(sessions=300) as rig:
        rig.attach(300)
        seen = rig.count(warm_s=5, seconds=30)        # CPU and memory by class of process; lateness on rig.board
        told = rig.stop()                             # what the callers saw

Everything a benchmark starts ends with the block.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import benchmarks.measure as measure
from benchmarks.board import Board

__all__ = ["ROOT", "WAV", "Rig", "config_of", "default_wav"]

ROOT = Path(__file__).resolve().parent.parent
WAV = ROOT / "examples" / "speech" / "weather.wav"
_ANSWER_S = 60.0
_OPEN_AT_ONCE = 50


def default_wav() -> str:
    return str(WAV)


def config_of(
    board: str,
    sessions: int,
    *,
    hosts: int = 1,
    stt: Mapping[str, Any] | None = None,
    isolation: str = "packed",
    more: str = "",
    providers: str = "",
    max_sessions: int | None = None,
    placement: str = "inline",
    warm: int = 1,
    most: int = 64,
) -> str:
    """webrtc and heuristic as they ship, in the host (`placement` inline), in an actor each (actor), or the detector
    alone in one (vad-actor); the rest stubs, endpointing 0, one actor of each."""
    options = json.dumps({"board": board, **(stt or {})})
    # twice the sessions: no second host is opened ahead of need, so that there is the number asked for
    full = 2 * sessions if hosts == 1 else -(-sessions // hosts)
    full = max_sessions or full
    apart = f"placement: actor, capacity: {{streams_per_actor: {max(sessions, 1)}}}"
    vad = "placement: inline" if placement == "inline" else apart
    turn = apart if placement == "actor" else "placement: inline"
    capacity = f"capacity: {{streams_per_actor: {max(sessions, 1)}}}"
    answers = json.dumps({"says": ["This is the answer."], "streams_per_actor": max(sessions, 1)})
    return f"""\
schema: 1
providers:
  vad: {{stage: vad, type: webrtc, {vad}}}
  turn: {{stage: turn, type: heuristic, {turn}}}
  ears: {{stage: stt, type: "benchmarks.stubs:Stt", options: {options}, {capacity}}}
  answer: {{stage: agent, type: fake-agent, options: {answers}, {capacity}}}
  voice: {{stage: tts, type: "benchmarks.stubs:Tts", {capacity}}}
{providers}
pools:
  default: {{min: 0, max: 1}}
hosts: {{max_sessions: {full}, warm: {warm}, max: {most}}}
session:
  endpointing: {{min_s: 0, max_s: 0}}
default:
  use: {{vad: vad, turn: turn, stt: ears, agent: answer, tts: voice}}
  isolation: {isolation}
{more}"""


class Rig:
    """See the module. `tick_ms`, `links`: of the sender. `sessions`: ever; `capacity`: at once, where that is less.
    `warm`: empty hosts that are kept once a session wanted one for itself. `most`: hosts there may ever be."""

    def __init__(
        self,
        sessions: int,
        *,
        wav: str | None = None,
        hosts: int = 1,
        tick_ms: float = 5.0,
        links: int = 1,
        stt: Mapping[str, Any] | None = None,
        isolation: str = "packed",
        more: str = "",
        providers: str = "",
        max_sessions: int | None = None,
        capacity: int | None = None,
        placement: str = "inline",
        warm: int = 1,
        most: int = 64,
        progress: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ) -> None:
        self.sessions, self.progress, self.links, self.tick_ms = sessions, progress, links, tick_ms
        self.folder = tempfile.TemporaryDirectory(prefix="patchbay-bench-")
        self.board_path = str(Path(self.folder.name, "board"))
        self.board = Board.create(self.board_path, sessions)
        self.config = config_of(
            self.board_path,
            capacity or sessions,
            hosts=hosts,
            stt=stt,
            isolation=isolation,
            more=more,
            providers=providers,
            max_sessions=max_sessions,
            placement=placement,
            warm=warm,
            most=most,
        )
        self._sender_args = ["--wav", wav or default_wav(), "--tick-ms", str(tick_ms), "--links", str(links)]
        self.sender: subprocess.Popen[bytes] | None = None
        self.router: Any = None
        self.opened = 0

    def __enter__(self) -> Rig:
        import cluster

        try:
            self.router = cluster.start(self.config, str(ROOT / "benchmark.yaml"), wait_ready=True)
        except BaseException:
            self.folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import cluster

        try:
            self.stop()
        finally:
            if self.sender is not None and self.sender.poll() is None:
                self.sender.kill()
                self.sender.wait(10)
            with contextlib.suppress(Exception):
                cluster.stop(self.router)
            self.folder.cleanup()

    # ------------------------------------------------------------------------------------------------- callers

    def open(self, n: int, tenant: str = "bench") -> list[tuple[int, Any]]:
        """`n` more sessions, not attached: (number, handle)."""
        import ray

        numbers = range(self.opened, self.opened + n)
        asked = [self.router.open.remote({"session_id": f"bench-{i}", "tenant_id": tenant}) for i in numbers]
        self.opened += n
        return list(zip(numbers, ray.get(asked, timeout=_ANSWER_S), strict=True))

    def warm(self, tenant: str) -> None:
        """Have the actors that this tenant's sessions want: one is opened, and taken back."""
        import ray

        ray.get(self.router.open.remote({"session_id": f"warm-{tenant}", "tenant_id": tenant}), timeout=_ANSWER_S)
        ray.get(self.router.close.remote(f"warm-{tenant}"), timeout=_ANSWER_S)

    def clear(self) -> None:
        """Forget what board and sender have counted."""
        self.board.clear()
        self._ask("clear")

    def attach(
        self, n: int, tenant: str = "bench", manners: str = "", *, quiet: bool = False, may_fail: bool = False
    ) -> None:
        """Open `n` sessions, and let the sender talk on them. `manners`: see the sender. A session that fails ends the
        benchmark, unless it may: then it is counted."""
        if self.sender is None:
            self.sender = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.sender", "--board", self.board_path, *self._sender_args],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        began_s = time.perf_counter()
        for start in range(0, n, _OPEN_AT_ONCE):
            told = self._ask(manners, self.open(min(_OPEN_AT_ONCE, n - start), tenant))
            if told["failed"] and not may_fail:
                raise SystemExit(f"sessions failed: {told['failed']}")
        if not quiet:
            self.progress(f"{n} sessions talk after {time.perf_counter() - began_s:.1f} s")

    def hang_up(self, numbers: list[int]) -> None:
        """These callers close, and it is over when they have."""
        self._ask("hang up", numbers)

    def stop(self) -> dict[str, Any]:
        """End every call; what the sender saw."""
        if self.sender is None or self.sender.poll() is not None:
            return {}
        told = self._ask("stop")
        self.sender.wait(20)
        return told

    def _ask(self, *message: Any) -> dict[str, Any]:
        assert self.sender is not None
        assert self.sender.stdin is not None
        assert self.sender.stdout is not None
        pickle.dump(message, self.sender.stdin)
        self.sender.stdin.flush()
        if not select.select([self.sender.stdout], [], [], _ANSWER_S)[0]:
            raise SystemExit(f"the sender did not answer to {message[0]} within {_ANSWER_S:g} s")
        line = self.sender.stdout.readline()
        if not line:
            raise SystemExit("the sender ended")
        told: dict[str, Any] = json.loads(line)
        return told

    # ----------------------------------------------------------------------------------------------- processes

    def pools(self) -> list[dict[str, Any]]:
        import ray

        pools: list[dict[str, Any]] = ray.get(self.router.pools.remote(), timeout=_ANSWER_S)
        return pools

    def sessions_by_host(self) -> Counter[str]:
        """How many sessions each host has: one that was opened and has none is in no figure of sessions."""
        import ray

        return Counter(s["host"] for s in ray.get(self.router.sessions.remote(), timeout=_ANSWER_S))

    def statistics(self, stage: str) -> list[Any]:
        """What the hosts (`host`) or provider actors of a stage count of themselves; one that hangs is left out."""
        import ray

        from cluster.launch import NAMESPACE

        names = [name for pool in self.pools() if pool["stage"] == stage for name in pool["actors"]]
        found = []
        for name in names:
            with contextlib.suppress(Exception):
                actor = ray.get_actor(name, namespace=NAMESPACE)
                found.append(ray.get(actor.statistics.remote(), timeout=2.0))
        return found

    def tasks(self) -> dict[str, int]:
        """Tasks of asyncio, by class of process; of what answers."""
        import ray

        found = {stage: sum(s.tasks for s in self.statistics(stage)) for stage in ("host", "stt", "agent", "tts")}
        found["router"] = ray.get(self.router.statistics.remote(), timeout=_ANSWER_S)["tasks"]
        return found

    def pids(self) -> dict[str, list[int]]:
        """Every process by class: the stages and the host by the router's books, this driver, the sender."""
        known: dict[str, list[int]] = {}
        for pool in self.pools():
            known.setdefault(pool["stage"], []).extend(pool["pids"])
        sender = [self.sender.pid] if self.sender is not None else []
        below = measure.descendants(os.getpid())
        found = measure.classify({p: c for p, c in below.items() if p not in sender}, known)
        return {**found, "driver": [os.getpid()], "sender": sender}

    def memory_mb(self) -> dict[str, float]:
        """PSS by class of process, now."""
        return {
            name: sum(one.pss_kb for one in some.values()) / 1024
            for name, some in measure.read(self.pids(), memory=True).items()
        }

    def count(self, *, warm_s: float, seconds: float) -> tuple[dict[str, measure.Usage], float]:
        """Warm up, count; usage by class of process, and the seconds really counted."""
        from_ns = time.monotonic_ns() + round(warm_s * 1e9)
        until_ns = from_ns + round(seconds * 1e9)
        self.board.count(from_ns, until_ns)
        _sleep_until(from_ns - 200_000_000)
        pids = self.pids()  # late: a spare host that started during the warm-up does not count its start
        _sleep_until(from_ns)
        began_s, before = time.monotonic(), measure.read(pids)
        _sleep_until(until_ns)
        took_s, after = time.monotonic() - began_s, measure.read(pids)
        later = {name: sorted(set(some) - set(pids.get(name, ()))) for name, some in self.pids().items()}
        for name, some in measure.read(later).items():  # started meanwhile: they count whole
            after.setdefault(name, {}).update(some)
        pids = {name: [*pids.get(name, ()), *later.get(name, ())] for name in {**pids, **later}}
        time.sleep(2.5)  # what was due at the end is handled late, and told of a second later
        memory = measure.read(pids, memory=True)
        used = measure.usage(before, after)
        kept = measure.usage({}, memory)
        return {
            name: measure.Usage(u.processes, u.cpu_s, u.wait_s, kept[name].pss_mb, kept[name].rss_mb)
            for name, u in used.items()
        }, took_s


def _sleep_until(at_ns: int) -> None:
    time.sleep(max(0, at_ns - time.monotonic_ns()) / 1e9)
