"""What bad neighbours do to the others: memory stays flat, the declared policy acts and is counted, the rest go on.

    python benchmarks/pressure.py [--sessions 60] [--seconds 8] [--only NAME ...] [--json] [--plot FILE]

slow-ear      five sessions whose ear takes audio at half the speed of speech
stopped-ear   five sessions whose ear hangs after two seconds
deaf          forty callers behind one link who never read what comes to them, and are spoken to all the time
pours         five callers who send ten times real time and do not ask for credit
full-host     twice the sessions that a host may have
links         a thousand callers with a link each; `--talking` of them talk, the others are on hold

Each begins with a cluster of its own, well-behaved callers behind one link, and the actors that the others will want.
The lateness of the well-behaved is counted three times: before the others are there, while they come (`coming`: told,
not judged; a host or actor that must start for them takes the machine for a second), and after that. The bad ones come
over links of their own, and where the scenario is about an ear or a voice, to an actor of their own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure  # after the path is set
from benchmarks.rig import Rig

_SETTLE_S = 6.0
"""A host's measure of its lag is of 5 s: the burst of opens has left it."""
_FLAT_MB = 8.0
"""A class of processes may take so much more while the others press, and a link's backlog alone may take as much
(4 MB of audio, 4 of events): what has no bound takes more within seconds."""
_OURS = ("host", "stt", "tts", "agent", "router")


@dataclass(frozen=True, slots=True)
class Scenario:
    bad: int
    """Sessions that come later."""
    manners: str = "apart"
    ear: str = ""
    """Options of the ear of the bad sessions; empty: they have that of all."""
    voice: str = ""
    """The same of their voice."""
    crowd: bool = False
    """The good ones are three fifths of what the host may have, and the bad ones make it twice that."""


SCENARIOS = {
    "slow-ear": Scenario(bad=5, ear="{read_s: 0.008}"),  # 5 x 50 frames/s x 8 ms = twice what there is
    "stopped-ear": Scenario(bad=5, ear="{stops_after: 100}"),
    "deaf": Scenario(bad=40, manners="apart deaf", voice="{seconds: 15}"),
    "pours": Scenario(bad=5, manners="apart pours"),
    "full-host": Scenario(bad=0, crowd=True),
    "links": Scenario(bad=1000, manners="each"),
}


_ACTED: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "slow-ear": lambda row: _told(row, "stt/drop_oldest") > 0,
    "stopped-ear": lambda row: (
        sum(n for why, n in (row["failed"] or {}).items() if why.startswith("bad ")) > 0
        or any(why.startswith("bad ") and why != "bad caller_closed" for why in row["ended"] or ())
    ),
    "deaf": lambda row: sum(host["unread_frames"] for host in row["hosts"]) > 0,
    "pours": lambda row: _told(row, "caller/drop_newest") > 0,
    "full-host": lambda row: len(row["sessions_by_host"]) > 1,
    "links": lambda row: (row["concealed_ms"] or 0) > 0,
}
"""Did what is declared for it happen, and was it counted? A hold of a caller is silence that is filled in."""


def _told(row: Mapping[str, Any], what: str) -> float:
    """Milliseconds of audio of the bad ones that were let go of in this way."""
    return sum(ms for key, ms in (row["dropped_ms"] or {}).items() if key.endswith(what))


def crowd_of(good: int) -> tuple[int, int]:
    """(what a host may have, how many come later) of the scenario with too many.

    Below four fifths no host is opened ahead of need, so that there is one before and it is not at its limit.

    >>> crowd_of(60)
    (100, 140)
    """
    most = -(-good * 5 // 3)
    return most, 2 * most - good


def routes_of(wanted: Scenario) -> tuple[str, str]:
    """(providers, routes) of the configuration that the bad ones need besides that of all."""
    providers, use = "", {"vad": "vad", "turn": "turn", "stt": "ears", "agent": "answer", "tts": "voice"}
    for stage, kind, options in (("stt", "Stt", wanted.ear), ("tts", "Tts", wanted.voice)):
        if options:
            use[stage] = f"bad-{stage}"
            providers += f'  bad-{stage}: {{stage: {stage}, type: "benchmarks.stubs:{kind}", options: {options}}}\n'
    if not providers:
        return "", ""
    return providers, f"routes:\n  - {{name: bad, when: {{tenant: bad}}, use: {json.dumps(use)}}}\n"


def run(name: str, n: int, seconds: float, warm_s: float, talking: int) -> dict[str, Any]:
    wanted = SCENARIOS[name]
    most, bad = crowd_of(n) if wanted.crowd else (None, wanted.bad)
    providers, routes = routes_of(wanted)
    tenant = "bad" if routes else "bench"
    with Rig(n + bad, providers=providers, more=routes, max_sessions=most) as rig:
        rig.attach(n)
        rig.warm(tenant)
        before, _ = rig.count(warm_s=warm_s + _SETTLE_S, seconds=seconds)
        was, hosts_before = _late(rig, n), len(rig.sessions_by_host())
        rig.clear()
        rig.board.count(time.monotonic_ns(), 2**62)
        arrive(rig, name, bad, tenant, wanted.manners, talking)
        time.sleep(warm_s)
        rig.board.count(rig.board.cells[0], time.monotonic_ns())
        time.sleep(2.5)  # what was due until then is handled by then and told of, or lost
        coming = _late(rig, n)
        rig.board.clear()
        memory = rig.memory_mb()
        after, _ = rig.count(warm_s=1.0, seconds=seconds)
        now = _late(rig, n)
        hosts = [
            {"sessions": s.sessions, "frames": s.frames, "failed_sessions": s.failed_sessions, "denied": s.denied,
             "stale_frames": s.stale_frames, "unread_frames": s.unread_frames, "lag_p99_ms": round(s.lag_p99_ms, 1)}
            for s in rig.statistics("host")
        ]  # fmt: skip
        by_host = sorted(rig.sessions_by_host().values(), reverse=True)
        told = rig.stop()
    grown = {key: after[key].pss_mb - memory[key] for key in _OURS if key in after and key in memory}
    return judged({
        "scenario": name, "good": n, "bad": bad, "before": was, "coming": coming, "after": now,
        "pss_mb": {key: [round(before[key].pss_mb, 1), round(memory[key], 1), round(after[key].pss_mb, 1)]
                   for key in grown if key in before},
        "grown_mb": round(max(grown.values()), 1), "hosts_before": hosts_before,
        "hosts": hosts, "sessions_by_host": by_host, "dropped_ms": told.get("dropped_ms"),
        "ended": told.get("reasons"), "failed": told.get("failed"), "concealed_ms": told.get("concealed_ms"),
        "links": rig.links, "tick_ms": rig.tick_ms,
        "machine": {**measure.machine(), "waited_s": [round(sum(u.wait_s for u in some.values()), 2)
                                                      for some in (before, after)]},
    })  # fmt: skip


def arrive(rig: Rig, name: str, bad: int, tenant: str, manners: str, talking: int) -> None:
    """The bad ones come, as their scenario says."""
    if name == "links":
        rig.attach(talking, tenant=tenant, manners=manners)
        rig.attach(bad - talking, tenant=tenant, manners=f"{manners} mute")
    else:
        rig.attach(bad, tenant=tenant, manners=manners)


def judged(row: dict[str, Any]) -> dict[str, Any]:
    """With what the figures say: `late_valid`, and of a valid run whether the others hold; is memory flat, and did the
    declared policy act?

    A session that has filled in silence has moved its positions: no lateness that is read from them is true then.
    """
    was, now = row["before"], row["after"]
    valid = not was["early"] and not now["early"] and row["hosts_before"] == 1 and was["sent"] > 0
    lost = sum(row[when]["sent"] - row[when]["frames"] for when in ("before", "coming", "after"))
    ended = [*(row["ended"] or ()), *(row["failed"] or ())]
    acted = _ACTED[row["scenario"]](row)
    broken = [why for why in ended if not why.startswith("bad ") and why != "caller_closed"]
    return {
        **row, "late_valid": valid, "lost": lost, "flat": row["grown_mb"] <= _FLAT_MB, "acted": acted,
        "holds": _holds(was["p99_ms"], now["p99_ms"]) and not (lost or broken) if valid else None,
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
         "coming": r["coming"]["p99_ms"], "after": r["after"]["p99_ms"], "lost": r["lost"], "valid": r["late_valid"],
         "holds": r["holds"], "flat": r["flat"], "acted": r["acted"], "grown MB": r["grown_mb"],
         "hosts": r["sessions_by_host"],
         "waited s": r["machine"]["waited_s"], "load": r["machine"]["load_1m"]}
        for r in result["rows"]
    ]  # fmt: skip
    did = [
        f"{r['scenario']}: dropped ms {r['dropped_ms']}, frames unread {sum(h['unread_frames'] for h in r['hosts'])}, "
        f"ended {r['ended']}, failed {r['failed']}"
        for r in result["rows"]
    ]
    how = (
        f"the others: one sender, {result['rows'][0]['links']} link, a tick of {result['rows'][0]['tick_ms']} ms; "
        "waited: run-queue wait of all classes, before and after"
    )
    return "\n".join([how, measure.table(rows, list(rows[0])), "What the policies did:", *did])


def plot(path: str, rows: list[dict[str, Any]]) -> None:
    from benchmarks.plot import draw

    lines = {
        when: [(i + 1.0, row[when]["p99_ms"] or 0.0) for i, row in enumerate(rows)]
        for when in ("before", "coming", "after")
    }
    names = ", ".join(f"{i + 1} {row['scenario']}" for i, row in enumerate(rows))
    draw(path, ("p99 lateness of the others", names, "ms", lines, False))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--warm-s", type=float, default=3.0)
    parser.add_argument("--talking", type=int, default=20, help="callers with a link each who talk")
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot")
    args = parser.parse_args()
    rows = []
    for name in args.only:
        rows.append(run(name, args.sessions, args.seconds, args.warm_s, args.talking))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)  # half a minute each: what is done is not lost
    result = {"benchmark": "pressure", "machine": measure.machine(), "rows": rows}
    measure.print_result(result, as_json=args.json, human=human)
    if args.plot:
        plot(args.plot, rows)


if __name__ == "__main__":
    main()
