"""What bad neighbours do to the others: memory stays flat, the declared policy acts and is counted, the rest go on.

    python benchmarks/pressure.py [--sessions 60] [--seconds 8] [--only NAME ...] [--json] [--plot FILE]

slow-ear      five sessions whose ear takes audio at half the speed of speech
stopped-ear   five sessions whose ear hangs after two seconds
deaf          five callers who never read what comes to them
pours         two callers who send ten times real time and do not ask for credit
full-host     twice the sessions that a host may have
links         every caller with a link of its own

Each begins with a cluster of its own and well-behaved sessions: their lateness is counted before and after the others
come, and so is the memory of all our processes. The first ones' positions do not change: who is late is who was there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure  # after the path is set
from benchmarks.rig import Rig

_SETTLE_S = 6.0


@dataclass(frozen=True, slots=True)
class Scenario:
    bad: int = 0
    """Sessions that come later."""
    manners: str = ""
    options: str = ""
    """Of the ear of the bad sessions; empty: that of all."""
    link_each: bool = False
    crowd: float = 0.0
    """Share of the good sessions that a host may have."""


SCENARIOS = {
    "slow-ear": Scenario(bad=5, options="{read_s: 0.008}"),  # 5 x 50 frames/s x 8 ms = twice what there is
    "stopped-ear": Scenario(bad=5, options="{stops_after: 100}"),
    "deaf": Scenario(bad=5, manners="deaf"),
    "pours": Scenario(bad=2, manners="pours"),
    "full-host": Scenario(bad=0, crowd=0.5),
    "links": Scenario(bad=0, link_each=True),
}


def run(name: str, n: int, seconds: float, warm_s: float) -> dict[str, Any]:
    wanted = SCENARIOS[name]
    bad = wanted.bad or n  # those without bad ones double the good ones
    providers = more = ""
    if wanted.options:
        providers = f'  bad-ears: {{stage: stt, type: "benchmarks.stubs:Stt", options: {wanted.options}}}'
        use = "{vad: vad, turn: turn, stt: bad-ears, agent: answer, tts: voice}"
        more = f"routes:\n  - {{name: bad, when: {{tenant: bad}}, use: {use}}}\n"
    with Rig(
        n + bad, providers=providers, more=more, links=(n + bad) if wanted.link_each else 1,
        max_sessions=n if wanted.crowd else None,
    ) as rig:  # fmt: skip
        rig.attach(n)
        # a burst of opens has the router start another host, which disturbs everybody for seconds: not what is asked
        before, _ = rig.count(warm_s=warm_s + _SETTLE_S, seconds=seconds)
        was = _late(rig, n)
        rig.board.clear()
        rig.attach(bad, tenant="bad" if wanted.options else "bench", manners=wanted.manners)
        after, _ = rig.count(warm_s=warm_s, seconds=seconds)
        now = _late(rig, n)
        hosts = [
            {"sessions": s.sessions, "frames": s.frames, "failed_sessions": s.failed_sessions,
             "stale_frames": s.stale_frames,
             "lag_p99_ms": round(s.lag_p99_ms, 1)} for s in rig.statistics("host")
        ]  # fmt: skip
        by_host = sorted(rig.sessions_by_host().values(), reverse=True)
        told = rig.stop()
    valid = not was["early"] and not now["early"]  # else positions moved, and neither p99 is true
    return {
        "scenario": name, "late_valid": valid, "good": n, "bad": bad, "before": was, "after": now,
        "holds": _holds(was["p99_ms"], now["p99_ms"]) and now["frames"] == now["sent"] if valid else None,
        "pss_mb": {name: [round(before[name].pss_mb, 1), round(u.pss_mb, 1)] for name, u in after.items()
                   if name in before and name in ("host", "stt", "vad", "tts", "agent")},
        "hosts": hosts, "sessions_by_host": by_host, "dropped_ms": told.get("dropped_ms"),
        "ended": told.get("reasons"), "failed": told.get("failed"), "concealed_ms": told.get("concealed_ms"),
        "machine": {**measure.machine(), "waited_s": round(sum(u.wait_s for u in after.values()), 2)},
    }  # fmt: skip


def _late(rig: Rig, n: int) -> dict[str, Any]:
    """Of the first `n` sessions alone."""
    whole = [0] * measure.BUCKETS
    for session in range(n):
        whole = [a + b for a, b in zip(whole, rig.board.histogram(session), strict=True)]
    sent, handled = rig.board.totals(n)
    return {
        "p50_ms": measure.histogram_quantile(whole, 0.5), "p99_ms": measure.histogram_quantile(whole, 0.99),
        "frames": handled, "sent": sent, "early": rig.board.early(n),
    }  # fmt: skip


def _holds(before_ms: float | None, after_ms: float | None) -> bool:
    """The goal: p99 moves by at most a fifth or 2 ms, whichever is more."""
    if before_ms is None or after_ms is None:
        return False
    return after_ms - before_ms <= max(before_ms / 5, 2.0)


def human(result: Mapping[str, Any]) -> str:
    rows = [
        {"scenario": r["scenario"], "good": r["good"], "bad": r["bad"], "p99 before": r["before"]["p99_ms"],
         "p99 after": r["after"]["p99_ms"], "lost": r["after"]["sent"] - r["after"]["frames"], "valid": r["late_valid"],
         "holds": r["holds"],
         "host MB": r["pss_mb"].get("host"), "stt MB": r["pss_mb"].get("stt"), "hosts": r["sessions_by_host"],
         "dropped ms": r["dropped_ms"], "ended": r["ended"], "load": r["machine"]["load_1m"]}
        for r in result["rows"]
    ]  # fmt: skip
    return measure.table(rows, list(rows[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--warm-s", type=float, default=3.0)
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot")
    args = parser.parse_args()
    rows = []
    for name in args.only:
        rows.append(run(name, args.sessions, args.seconds, args.warm_s))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)  # half a minute each: what is done is not lost
    result = {"benchmark": "pressure", "machine": measure.machine(), "rows": rows}
    measure.print_result(result, as_json=args.json, human=human)
    if args.plot:
        from benchmarks.plot import draw

        lines = {
            which: [(i + 1.0, row[which]["p99_ms"] or 0.0) for i, row in enumerate(rows)]
            for which in ("before", "after")
        }
        title = "p99 lateness of the others: " + ", ".join(f"{i + 1} {row['scenario']}" for i, row in enumerate(rows))
        draw(args.plot, (title, "scenario", "ms", lines, False))


if __name__ == "__main__":
    main()
