"""Ours and both peers in one run, interleaved, same WAV: cores per session, and lateness until each falls behind.

    make bench-peers                                         builds the peers' environments under .bench/, then this
    python benchmarks/compare.py [--seconds 30] [--warm-s 5] [--runs 5] [--ours 10,40,100,200,300,1000]
                                 [--vad-actor 1000] [--livekit 10,40,80] [--pipecat 10,20,40,60] [--find]
                                 [--peers FOLDER]
                                 [--wav FILE] [--json] [--plot FILE]

A round runs every system once at every number of sessions, the systems taking turns, so that what else the machine
does falls on all of them; the table gives medians over the rounds, of those runs alone that are `late_valid`. `--find`:
then each system is tried with more and more sessions, and between, until it is known within a tenth how many it does
not keep up with; once each.

Ours stands in two ways: with the voice detector in the session host (`patchbay`), which is cheapest in all, and in an
actor of its own (`vad-actor`), which takes it off the host's loop.

A peer runs all its sessions in one process, which is kinder than the process per call that LiveKit gives. Peers have no
gateway: their frames are made where they are used. Ours are made in another process and cross two links: its CPU, that
of Ray and that of the benchmark itself are in `all_cores`, and not in `cores` and `cpu_per_session`. `waited` is the
share of the time that threads of the system wanted a core and had none, start and end included.
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

OURS = {"patchbay": "inline", "vad-actor": "vad-actor"}
"""Placement of the voice detector."""
PEERS = {"livekit": ("lk", "peer_livekit.py"), "pipecat": ("pc", "peer_pipecat.py")}
KEYS = (
    "cpu_per_session", "late_p50_ms", "late_p99_ms", "late_worst_session_p99_ms", "turn_p50_ms", "turn_p99_ms",
    "rss_mb", "pss_mb", "cores", "all_cores",
)  # fmt: skip
_TIMEOUT_S = 140
"""For a run to start and end, besides the time that it counts."""
_FIND_MAX = 8
"""Runs of one system's search."""


def once(system: str, sessions: int, args: argparse.Namespace) -> dict[str, Any]:
    """One run of one system; what it printed, with `failed` where it did not."""
    if system in OURS:
        command = [sys.executable, str(ROOT / "benchmarks/density.py"), "--json", "--sessions", str(sessions),
                   "--seconds", str(args.seconds), "--warm-s", str(args.warm_s), "--wav", args.wav,
                   "--placement", OURS[system]]  # fmt: skip
    else:
        folder, harness = PEERS[system]
        python = Path(args.peers) / folder / "bin" / "python"
        command = [str(python), str(ROOT / "benchmarks/peers" / harness), args.wav, str(sessions), str(args.seconds),
                   str(args.warm_s)]  # fmt: skip
    out, errors, waited = watched(command, _TIMEOUT_S + args.warm_s + args.seconds)
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if not lines:
        return {"peer": system, "sessions": sessions, "failed": (errors.strip().splitlines() or ["no output"])[-1]}
    result: dict[str, Any] = json.loads(lines[-1])
    return {**result, "peer": system, "waited": round(waited, 3), "load_1m": measure.machine()["load_1m"]}


def medians(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each system and number of sessions."""
    rows = []
    for system, sessions in dict.fromkeys((r["peer"], r["sessions"]) for r in runs):
        mine = [r for r in runs if (r["peer"], r["sessions"]) == (system, sessions)]
        good = [r for r in mine if "cpu_per_session" in r and r.get("late_valid", True)]
        row: dict[str, Any] = {"peer": system, "sessions": sessions, "runs": len(mine), "valid": len(good)}
        for key in (*KEYS, "lost", "frames", "expected", "waited", "load_1m"):
            values = [r[key] for r in good if r.get(key) is not None]
            row[key] = statistics.median(values) if values else None
        row["by_class"] = {
            name: {key: statistics.median([r["by_class"][name][key] for r in good]) for key in ("core", "waited")}
            for name in dict.fromkeys(name for r in good for name in r.get("by_class", ()))
            if all(name in r["by_class"] for r in good)
        }
        row["behind"] = 2 * sum(is_behind(r) for r in mine) > len(mine)
        rows.append(row)
    return rows


def is_behind(run: Mapping[str, Any]) -> bool:
    """It did not keep up with the speed of speech: frames are missing or a second late, or callers seemed mute. One
    that gave no result, because it was not done in time or ended otherwise, did not either."""
    if "cpu_per_session" not in run:
        return True
    late_ms = run.get("late_p99_ms") or 0
    return run["frames"] < 0.98 * run["expected"] or late_ms > 1000 or not run.get("late_valid", True)


def next_size(tried: Mapping[int, bool]) -> int | None:
    """How many sessions to try next, by whether a system fell behind at those tried; None: it is known well enough.

    Half as many again until it falls behind, then the middle, until no more than a tenth lies between.

    >>> next_size({40: False, 80: False}), next_size({80: False, 120: True}), next_size({100: False, 110: True})
    (120, 100, None)
    """
    fell = min((n for n, behind in tried.items() if behind), default=None)
    held = max((n for n, behind in tried.items() if not behind and (fell is None or n < fell)), default=0)
    if fell is None:
        return held + -(-held // 2)
    if fell - held <= max(1, fell // 10):
        return None
    return (held + fell) // 2


def find(system: str, rows: list[dict[str, Any]], args: argparse.Namespace) -> list[dict[str, Any]]:
    """The runs that it took to know how many sessions this system does not keep up with."""
    tried = {row["sessions"]: row["behind"] for row in rows if row["peer"] == system}
    runs: list[dict[str, Any]] = []
    while tried and len(runs) < _FIND_MAX and (sessions := next_size(tried)):
        runs.append(once(system, sessions, args))
        tried[sessions] = is_behind(runs[-1])
        told(runs[-1])
    return runs


def watched(command: list[str], timeout_s: float) -> tuple[str, str, float]:
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
            if time.monotonic() - began_s > timeout_s:
                process.kill()


def human(result: Mapping[str, Any]) -> str:
    columns = ["peer", "sessions", "runs", "valid", *KEYS, "lost", "frames", "expected", "behind", "waited", "load_1m"]
    failed = [
        f"{r['peer']} at {r['sessions']}: {r['failed']}" for r in result["runs"] if isinstance(r.get("failed"), str)
    ]
    ends = [f"{system} keeps up with {n['holds']}, not with {n['behind']}" for system, n in result["limits"].items()]
    how = "ours: one host, one sender with one link and a tick of 5 ms; peers: one process, frames made inside it"
    classes = [
        {"peer": r["peer"], "sessions": r["sessions"], "class": name, **told}
        for r in result["rows"]
        for name, told in r["by_class"].items()
    ]
    by_class = [measure.table(classes, ["peer", "sessions", "class", "core", "waited"])] if classes else []
    return "\n".join([how, measure.table(result["rows"], columns), *by_class, *ends, *result["ratios"], *failed])


def ratios(rows: list[dict[str, Any]]) -> list[str]:
    """What a session of ours costs as a part of what it costs a peer at the best of the numbers it keeps up with."""
    found = []
    for peer in PEERS:
        good = [row for row in rows if row["peer"] == peer and not row["behind"] and row["cpu_per_session"]]
        best = min(good, key=lambda row: float(row["cpu_per_session"]), default=None)
        for row in rows if best is not None else ():
            if row["peer"] in OURS and row["cpu_per_session"]:
                times = best["cpu_per_session"] / row["cpu_per_session"]
                found.append(
                    f"{row['peer']} at {row['sessions']}: {times:.1f} times less than {peer} at {best['sessions']}"
                )
    return found


def limits(rows: list[dict[str, Any]]) -> dict[str, dict[str, int | None]]:
    """Per system: the most sessions that it kept up with below the fewest that it did not."""
    found: dict[str, dict[str, int | None]] = {}
    for system in dict.fromkeys(row["peer"] for row in rows):
        mine = {row["sessions"]: row["behind"] for row in rows if row["peer"] == system}
        fell = min((n for n, behind in mine.items() if behind), default=None)
        held = max((n for n, behind in mine.items() if not behind and (fell is None or n < fell)), default=None)
        found[system] = {"holds": held, "behind": fell}
    return found


def told(run: Mapping[str, Any]) -> None:
    """At once, to standard error: what was measured is not lost with what follows."""
    print(json.dumps({k: v for k, v in run.items() if k != "by_class"}), file=sys.stderr, flush=True)


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
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-s", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ours", default="10,40,100,200,300,1000")
    parser.add_argument("--vad-actor", default="1000")
    parser.add_argument("--livekit", default="10,40,80")
    parser.add_argument("--pipecat", default="10,20,40,60")
    parser.add_argument("--find", action="store_true", help="go on until each falls behind")
    parser.add_argument("--peers", default=str(ROOT / ".bench"), help="where the peers' environments are, lk and pc")
    parser.add_argument("--wav", default=default_wav())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot")
    args = parser.parse_args()
    wanted = {"patchbay": args.ours, "vad-actor": args.vad_actor, "livekit": args.livekit, "pipecat": args.pipecat}
    sizes = {name: [int(n) for n in text.split(",") if n] for name, text in wanted.items()}
    for system, (folder, _) in PEERS.items():
        if sizes[system] and not (Path(args.peers) / folder / "bin" / "python").exists():
            parser.error(f"no environment of {system} in {args.peers}: make bench-peers, or --{system} ''")
    runs = []
    for _ in range(args.runs):
        for step in range(max(len(some) for some in sizes.values())):
            for system, some in sizes.items():
                if step < len(some):
                    runs.append(once(system, some[step], args))
                    told(runs[-1])
    if args.find:
        rows = medians(runs)
        for system in sizes:
            runs += find(system, rows, args)
    rows = sorted(medians(runs), key=lambda row: (list(sizes).index(row["peer"]), row["sessions"]))
    result = {"benchmark": "compare", "machine": measure.machine(), "wav": Path(args.wav).name,
              "seconds": args.seconds, "warm_s": args.warm_s, "rows": rows, "limits": limits(rows),
              "ratios": ratios(rows), "runs": runs}  # fmt: skip
    measure.print_result(result, as_json=args.json, human=human)
    if args.plot:
        plot(args.plot, result["rows"])


if __name__ == "__main__":
    main()
