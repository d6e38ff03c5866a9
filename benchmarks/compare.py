"""Ours and both peers in one run, interleaved, same WAV: cores per session, and lateness until each falls behind.

    make bench-peers                                         builds the peers' environments under .bench/
    python benchmarks/compare.py [--seconds 10] [--rounds 1] [--ours 10,100,300,1000] [--livekit 10,40,80]
                                 [--pipecat 20,40,60] [--wav FILE] [--json] [--plot FILE]

A round runs every system once at every number of sessions, the systems taking turns, so that what else the machine
does falls on all of them; the table gives medians over the rounds. A peer runs all its sessions in one process, which
is kinder than the process per call that LiveKit gives. Peers have no gateway: their frames are made where they are
used. Ours are made in another process and cross two links, and its own CPU and Ray's stand in columns of their own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure  # after the path is set
from benchmarks.rig import ROOT, default_wav

PEERS = {"livekit": ("lk", "peer_livekit.py"), "pipecat": ("pc", "peer_pipecat.py")}
KEYS = ("cpu_per_session", "late_p50_ms", "late_p99_ms", "turn_p50_ms", "turn_p99_ms", "rss_mb", "cores")
_TIMEOUT_S = 170


def once(system: str, sessions: int, args: argparse.Namespace) -> dict[str, Any]:
    """One run of one system; what it printed, with `failed` where it did not."""
    if system == "patchbay":
        command = [sys.executable, str(ROOT / "benchmarks/density.py"), "--json", "--sessions", str(sessions),
                   "--seconds", str(args.seconds), "--wav", args.wav]  # fmt: skip
    else:
        folder, harness = PEERS[system]
        python = ROOT / ".bench" / folder / "bin" / "python"
        if not python.exists():
            return {"peer": system, "sessions": sessions, "failed": "no environment: make bench-peers"}
        command = [str(python), str(ROOT / "benchmarks/peers" / harness), args.wav, str(sessions), str(args.seconds)]
    out, errors, waited = watched(command)
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if not lines:
        return {"peer": system, "sessions": sessions, "failed": (errors.strip().splitlines() or ["no output"])[-1]}
    result: dict[str, Any] = json.loads(lines[-1])
    return {**result, "waited": round(waited, 3), "load_1m": measure.machine()["load_1m"]}


def medians(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each system and number of sessions."""
    rows = []
    for system, sessions in dict.fromkeys((r["peer"], r["sessions"]) for r in runs):
        mine = [r for r in runs if (r["peer"], r["sessions"]) == (system, sessions)]
        good = [r for r in mine if "cpu_per_session" in r]
        row: dict[str, Any] = {"peer": system, "sessions": sessions, "runs": len(good)}
        for key in (*KEYS, "frames", "expected", "waited", "load_1m"):
            values = [r[key] for r in good if r.get(key) is not None]
            row[key] = statistics.median(values) if values else None
        row["behind"] = not good or any(is_behind(r) for r in good)
        rows.append(row)
    return rows


def is_behind(run: Mapping[str, Any]) -> bool:
    """It did not keep up with the speed of speech: frames are missing or a second late, or callers seemed mute."""
    late_ms = run.get("late_p99_ms") or 0
    return run["frames"] < 0.98 * run["expected"] or late_ms > 1000 or not run.get("late_valid", True)


def watched(command: list[str]) -> tuple[str, str, float]:
    """Run it; (output, errors, share of the time that its processes' threads wanted a core and had none)."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began_s, waits_ns = time.monotonic(), {}
    while True:
        try:
            out, errors = process.communicate(timeout=1.0)
            return out, errors, sum(waits_ns.values()) / 1e9 / (time.monotonic() - began_s)
        except subprocess.TimeoutExpired:
            pids = [process.pid, *measure.descendants(process.pid)]
            waits_ns |= {pid: found.wait_ns for pid, found in measure.read({"": pids})[""].items()}
            if time.monotonic() - began_s > _TIMEOUT_S:
                process.kill()


def human(result: Mapping[str, Any]) -> str:
    columns = ["peer", "sessions", "runs", *KEYS, "frames", "expected", "behind", "waited", "load_1m"]
    failed = [
        f"{r['peer']} at {r['sessions']}: {r['failed']}" for r in result["runs"] if isinstance(r.get("failed"), str)
    ]
    return "\n".join([measure.table(result["rows"], columns), *failed])


def plot(path: str, rows: list[dict[str, Any]]) -> None:
    from benchmarks.plot import draw

    def lines(key: str) -> dict[str, list[tuple[float, float]]]:
        found: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            if row[key] is not None:
                found.setdefault(row["peer"], []).append((row["sessions"], row[key]))
        return found

    draw(
        path,
        ("Cores per session", "sessions", "core", lines("cpu_per_session"), True),
        ("Lateness of a frame at the ear, p99", "sessions", "ms", lines("late_p99_ms"), True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ours", default="10,100,300,1000")
    parser.add_argument("--livekit", default="10,40,80")
    parser.add_argument("--pipecat", default="20,40,60")
    parser.add_argument("--wav", default=default_wav())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot")
    args = parser.parse_args()
    wanted = {"patchbay": args.ours, "livekit": args.livekit, "pipecat": args.pipecat}
    sizes = {name: [int(n) for n in text.split(",") if n] for name, text in wanted.items()}
    runs = []
    for _ in range(args.rounds):
        for step in range(max(len(some) for some in sizes.values())):
            for system, some in sizes.items():
                if step < len(some):
                    runs.append(once(system, some[step], args))
                    print(json.dumps({k: v for k, v in runs[-1].items() if k != "by_class"}), file=sys.stderr)
    result = {"benchmark": "compare", "machine": measure.machine(), "wav": Path(args.wav).name,
              "seconds": args.seconds, "rows": medians(runs), "runs": runs}  # fmt: skip
    measure.print_result(result, as_json=args.json, human=human)
    if args.plot:
        plot(args.plot, result["rows"])


if __name__ == "__main__":
    main()
