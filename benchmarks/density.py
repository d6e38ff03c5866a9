"""How many live sessions a core holds, and how late their frames are: a real cluster, stub models, speed of speech.

    python benchmarks/density.py --sessions 300 --seconds 30 [--wav FILE] [--hosts 1] [--links 1] [--tick-ms 5]
                                 [--slope 200,1000] [--profile FOLDER] [--json] [--plot FILE]

Real: Ray, the router, session hosts, links, webrtcvad, heuristic turn detection, every actor in a process of its own.
Stubs behind the ordinary provider interface: ear, agent, voice (one second of audio a turn). Audio comes from one
process with one link, as a gateway would send it, staggered over the 20 ms of a frame; the file loops.

late_*    from the instant a frame was due at the microphone to the entry of the ear's handler, every frame; the
          gateway's own tick (up to `tick_ms`) is in it
turn_*    from the decision that speech stopped to the first audio written, endpointing 0, on the session's clock (that
          of uvloop: it counts whole milliseconds); turn_seen_* the same two events as they arrive at the caller
cpu       sum over /proc/PID/task/*/schedstat; `cpu_per_session` is all our actors (host, stages, router), not Ray's own
          processes, not the sender; `waited` is the share of the time that a process wanted a core and had none

Where the machine is so overloaded that sessions fill in silence for a caller who seems mute, positions no longer tell
when a frame was due. `late_valid` is false then, and the run says only that so many sessions do not fit: the silence
counts as frames handled and what callers dropped was never paid for, so CPU per frame and session look too good.

The keys are those of the peers' harnesses. Busy machines lie: look at `load_1m` and `waited` before a figure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors.formats import FRAME_MS  # after the path is set
from benchmarks import measure, profiles
from benchmarks.board import Board
from benchmarks.rig import Rig, default_wav

OURS = ("host", "vad", "turn", "stt", "agent", "tts", "s2s", "router")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """One measurement, in this process's own cluster."""
    load = measure.machine()
    with Rig(
        args.sessions,
        wav=args.wav,
        hosts=args.hosts,
        tick_ms=args.tick_ms,
        links=args.links,
        placement=args.placement,
        most=args.hosts,
    ) as rig:
        rig.attach(args.sessions)
        profilers = profile(args, rig)
        used, took_s = rig.count(warm_s=args.warm_s, seconds=args.seconds)
        for one in profilers.values():
            one.wait(30)
        by_host = rig.sessions_by_host()
        hosts = rig.statistics("host")  # now: who hangs up is mute until the host has taken leave of all
        told = rig.stop()
        late = lateness(rig.board)
        sent, handled = rig.board.totals()
        early = rig.board.early()
    n = args.sessions
    ours = {name: u for name, u in used.items() if name in OURS}
    cpu_s = sum(u.cpu_s for u in ours.values())
    concealed_ms = sum(host.concealed_ms for host in hosts) if hosts else None
    frames = max(1, handled)
    return {
        "benchmark": "density", "peer": "patchbay", "sessions": n, "cpu_per_session": round(cpu_s / n / took_s, 6),
        "frames": handled, "expected": round(n * args.seconds * 50), "sent": sent, "lost": sent - handled,
        "dropped_ms": told["dropped_ms"], "unaccounted": sent - handled - dropped_frames(told["dropped_ms"]),
        **late, "turns": len(told["turns_ms"]),
        "turn_p50_ms": _round(measure.quantile(told["turns_ms"], 0.5)),
        "turn_p99_ms": _round(measure.quantile(told["turns_ms"], 0.99)),
        "turn_seen_p50_ms": _round(measure.quantile(told["turns_seen_ms"], 0.5)),
        "turn_seen_p99_ms": _round(measure.quantile(told["turns_seen_ms"], 0.99)),
        "rss_mb": round(sum(u.rss_mb for u in ours.values())), "pss_mb": round(sum(u.pss_mb for u in ours.values()), 1),
        "cores": round(cpu_s / took_s, 3), "us_per_frame": round(cpu_s * 1e6 / frames, 2),
        "all_cores": round(sum(u.cpu_s for u in used.values()) / took_s, 3),
        "late_valid": not early and concealed_ms == 0, "early": early,
        "concealed_ms": concealed_ms, "failed": told["failed"], "closed": told["reasons"],
        "sender_late_max_ms": _round(told["late_max_ms"]),
        "hosts": len(by_host), "sessions_by_host": sorted(by_host.values(), reverse=True),
        "links": args.links, "tick_ms": args.tick_ms, "placement": args.placement,
        "seconds": round(took_s, 2), "warm_s": args.warm_s, "wav": Path(args.wav).name,
        "by_class": {
            name: {
                "processes": u.processes, "core": round(u.cpu_s / took_s, 4),
                "us_per_frame": round(u.cpu_s * 1e6 / frames, 2), "waited": round(u.wait_s / took_s, 4),
                "pss_mb": round(u.pss_mb, 1),
            }
            for name, u in used.items()
        },
        "profiled": {name: str(Path(args.profile, f"{name}.folded")) for name in profilers},
        "machine": {**load, "load_1m_after": measure.machine()["load_1m"]},
    }  # fmt: skip


def profile(args: argparse.Namespace, rig: Rig) -> dict[str, subprocess.Popen[bytes]]:
    """Profilers of the busy processes over the warm-up and the counted time; they make everything slower."""
    if not args.profile:
        return {}
    pids = rig.pids()
    wanted = {"host": _pid_of(pids["host"]), "stt": pids["stt"][0]}
    if pids.get("vad"):
        wanted["vad"] = pids["vad"][0]
    return profiles.record(wanted, Path(args.profile), args.warm_s + args.seconds)


def dropped_frames(dropped_ms: Mapping[str, float]) -> int:
    """Of what sessions told of letting go: what is sent is handled, or it is among these.

    >>> dropped_frames({"stt/drop_oldest": 40, "caller/drop_newest": 20})
    3
    """
    return round(sum(dropped_ms.values()) / FRAME_MS)


def _pid_of(pids: list[int]) -> int:
    """The host that worked most so far, where there are several."""
    return max(pids, key=lambda pid: (found := measure.sample(pid)) is not None and found.cpu_ns)


def lateness(board: Board) -> dict[str, float | None]:
    """p50 and p99 of all frames, and p99 of the session that had it worst."""
    whole = [0] * measure.BUCKETS
    worst: float | None = None
    for session in range(board.sessions):
        counts = board.histogram(session)
        p99_ms = measure.histogram_quantile(counts, 0.99)
        worst = max((ms for ms in (worst, p99_ms) if ms is not None), default=None)
        whole = [a + b for a, b in zip(whole, counts, strict=True)]
    return {
        "late_p50_ms": measure.histogram_quantile(whole, 0.5),
        "late_p99_ms": measure.histogram_quantile(whole, 0.99),
        "late_max_ms": measure.histogram_quantile(whole, 1.0),
        "late_worst_session_p99_ms": worst,
    }


def apart(args: argparse.Namespace, sessions: int) -> dict[str, Any]:
    """The same in a process and a cluster of its own."""
    command = [
        sys.executable, __file__, "--json", "--sessions", str(sessions), "--seconds", str(args.seconds),
        "--wav", args.wav, "--hosts", str(args.hosts), "--links", str(args.links), "--tick-ms", str(args.tick_ms),
        "--warm-s", str(args.warm_s), "--placement", args.placement,
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=170 + args.seconds, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def slope_of(args: argparse.Namespace) -> dict[str, Any]:
    """Memory per session: what more sessions of the same kind add, PSS of all our actors."""
    few, many = (apart(args, int(n)) for n in args.slope.split(","))
    per_session = (many["pss_mb"] - few["pss_mb"]) / (many["sessions"] - few["sessions"])
    return {**many, "mb_per_session": round(per_session, 3), "rows": [few, many]}


def human(result: Mapping[str, Any]) -> str:
    rows = result.get("rows", [result])
    names = ["sessions", "cpu_per_session", "us_per_frame", "frames", "expected", "lost", "late_p50_ms", "late_p99_ms",
             "unaccounted", "late_worst_session_p99_ms", "turns", "turn_p50_ms", "turn_p99_ms", "pss_mb",
             "cores"]  # fmt: skip
    classes = [{"class": name, **values} for name, values in result["by_class"].items()]
    text = [
        measure.table(rows, names),
        measure.table(classes, ["class", "processes", "core", "us_per_frame", "waited", "pss_mb"]),
        f"sessions by host {result['sessions_by_host']}, links {result['links']}, gateway tick {result['tick_ms']} ms; "
        f"turn as the caller sees it p50 {result['turn_seen_p50_ms']}, p99 {result['turn_seen_p99_ms']} ms; dropped "
        f"{'' if result['late_valid'] else '(NOT VALID: lateness and CPU are not to be quoted) '}"
        f"{result['dropped_ms']}, concealed {result['concealed_ms']} ms, failed {result['failed']}, ended "
        f"{result['closed']}; machine {result['machine']}",
    ]
    for name in result.get("profiled", ()):
        with Path(result["profiled"][name]).open() as lines:
            cost = result["by_class"][name]["us_per_frame"]
            per_s, spans_s = result["frames"] / result["seconds"], result["warm_s"] + result["seconds"]
            found = profiles.report(profiles.fold(lines), cost, per_s, spans_s)
            text.append(f"{name}: {cost} us per frame\n{found}")
    if "mb_per_session" in result:
        text.append(f"memory per session: {result['mb_per_session']} MB")
    return "\n\n".join(text)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-s", type=float, default=5.0)
    parser.add_argument("--wav", default=default_wav())
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--links", type=int, default=1)
    parser.add_argument("--tick-ms", type=float, default=5.0)
    parser.add_argument("--placement", choices=("inline", "actor", "vad-actor"), default="inline",
                        help="of VAD and turn detection; vad-actor: of VAD alone")  # fmt: skip
    parser.add_argument("--slope", help="N1,N2: two runs, and the memory that a session more takes")
    parser.add_argument("--profile", help="a folder for folded stacks of host, VAD and STT; makes all figures worse")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", help="an SVG of CPU by class of process")
    args = parser.parse_args()
    if args.profile and not profiles.profiler():
        parser.error("--profile wants py-spy: pip install py-spy")
    result = slope_of(args) if args.slope else run(args)
    measure.print_result(result, as_json=args.json, human=human)
    if args.plot:
        from benchmarks.plot import draw

        rows = result.get("rows", [result])
        lines = {
            name: [(row["sessions"], row["by_class"][name]["core"]) for row in rows if name in row["by_class"]]
            for name in result["by_class"]
        }
        draw(args.plot, ("CPU by class of process", "sessions", "cores", lines, False))


if __name__ == "__main__":
    main()
