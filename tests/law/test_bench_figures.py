"""What the benchmarks make of what they read: lateness on the board, profiles, who fell behind, slopes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import compare, measure, pressure, soak
from benchmarks import open as opening
from benchmarks.board import FRAME_NS, SAMPLE_NS, Board
from benchmarks.profiles import fold, report
from benchmarks.rig import config_of
from benchmarks.sender import share_ns
from cluster.configuration import load
from router.choose import choose
from router.context import RouteContext
from router.plan import RoutePlan
from router.scaling import AHEAD


def test_a_frame_is_as_late_as_the_time_since_its_position_was_due(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", 3)
    other = Board(tmp_path / "board")
    board.count(0, 10**12)
    board.begin(1, 5_000_000)
    other.handled([1, 320, 5_000_000 + 320 * SAMPLE_NS + 7_000_000])
    counts = board.histogram(1)
    assert sum(counts) == 1
    late_ms = measure.histogram_quantile(counts, 1.0)
    assert late_ms is not None
    assert 7.0 <= late_ms < 7.3
    assert board.totals() == (0, 1)
    assert sum(board.histogram(0)) == sum(board.histogram(2)) == 0


def test_only_what_was_due_in_the_counted_time_counts_at_both_ends(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", 1)
    board.sent(np.array([0]), np.array([500]))  # before anybody said what is counted
    board.count(1000, 2000)
    for due_ns in (999, 1000, 1999, 2000):
        board.sent(np.array([0]), np.array([due_ns]))
        board.begin(0, due_ns)
        board.handled([0, 0, 10**9])  # when it is handled does not matter
    assert board.totals() == (2, 2)
    board.clear()
    assert board.totals() == (0, 0)
    assert sum(board.histogram(0)) == 0


def test_a_frame_before_its_time_shows_that_positions_have_moved(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", 2)
    board.count(0, 10**12)
    board.begin(1, 1_000_000)
    board.handled([1, 0, 1_000_000])
    assert board.early() == 0
    board.handled([1, 3200, 2_000_000])  # 200 ms of silence were filled in: due at 201 ms by its position
    assert (board.early(1), board.early()) == (0, 1)
    board.clear()
    assert board.early() == 0


def test_totals_are_of_the_first_sessions_where_asked(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", 2)
    board.count(0, 10)
    board.sent(np.array([0, 1]), np.array([15, 5]))
    assert (board.totals(1), board.totals()) == ((0, 0), (1, 0))


def test_a_recursive_function_counts_once_a_sample() -> None:
    own, everywhere, total = fold(["run (/x/a.py:1);walk (b.py:7);walk (b.py:9) 3", "run (a.py:2) 1", "", "odd"])
    assert total == 4
    assert own == {"walk (b.py)": 3, "run (a.py)": 1}
    assert everywhere == {"run (a.py)": 4, "walk (b.py)": 3}


def test_a_profile_is_told_per_frame_and_the_rest_is_outside() -> None:
    text = report(fold(["f (a.py:1) 100"]), 30.0, 1000, 50)  # 1 s in 50,000 frames
    assert "   10.00           outside" in text
    assert "   20.00    20.00  f (a.py)" in text


def _run(**over: Any) -> dict[str, Any]:
    return {"peer": "p", "sessions": 1, "cpu_per_session": 0.5, "frames": 100, "expected": 100, "late_p99_ms": 3} | over


def test_who_falls_behind_is_said() -> None:
    assert not compare.is_behind(_run())
    assert compare.is_behind(_run(frames=97))
    assert compare.is_behind(_run(late_p99_ms=1500))
    assert compare.is_behind(_run(late_valid=False))


def test_rows_are_medians_and_a_run_without_a_result_counts_as_behind() -> None:
    runs = [_run(cpu_per_session=c) for c in (1, 9, 2)]
    failed = {"peer": "q", "sessions": 5, "failed": "x"}
    rows = compare.medians(
        [*runs, failed, failed, _run(peer="q", sessions=5), _run(peer="r", frames=1), _run(peer="r")]
    )
    assert [(r["peer"], r["runs"], r["valid"], r["cpu_per_session"], r["behind"]) for r in rows] == [
        ("p", 3, 3, 2, False),
        ("q", 3, 1, 0.5, True),
        ("r", 2, 2, 0.5, False),
    ]


def test_a_run_whose_figures_are_not_to_be_quoted_is_in_no_median() -> None:
    classes = {"host": {"core": 0.1, "waited": 0.01}}
    runs = [_run(cpu_per_session=c, by_class=classes) for c in (1, 2, 3)]
    (row,) = compare.medians([*runs, _run(cpu_per_session=90, late_valid=False, by_class={})])
    assert (row["runs"], row["valid"], row["cpu_per_session"], row["behind"]) == (4, 3, 2, False)
    assert row["by_class"] == classes


@given(st.integers(1, 5000), st.lists(st.integers(1, 200), min_size=1, max_size=3))
def test_the_search_ends_and_knows_within_a_tenth_where_a_system_falls_behind(most: int, first: list[int]) -> None:
    tried = {n: n > most for n in first}
    for _ in range(40):
        size = compare.next_size(tried)
        if size is None:
            break
        assert size not in tried
        tried[size] = size > most
    rows = [{"peer": "p", "sessions": n, "behind": behind} for n, behind in tried.items()]
    found = compare.limits(rows)["p"]
    assert found["behind"] is not None
    held = found["holds"] or 0
    assert held <= most < found["behind"]
    assert found["behind"] - held <= max(1, found["behind"] // 10)


def test_ours_are_told_as_a_part_of_a_peer_at_its_best_that_keeps_up() -> None:
    def row(peer: str, sessions: int, core: float, behind: bool = False) -> dict[str, Any]:
        return {"peer": peer, "sessions": sessions, "cpu_per_session": core, "behind": behind}

    peers = [row("livekit", 10, 0.02), row("livekit", 80, 0.01), row("livekit", 120, 0.008, behind=True)]
    told = compare.ratios([row("patchbay", 300, 0.002), row("vad-actor", 1000, 0.001), *peers])
    assert told == [
        "patchbay at 300: 5.0 times less than livekit at 80",
        "vad-actor at 1000: 10.0 times less than livekit at 80",
    ]


def test_a_system_that_fell_behind_once_at_fewer_is_not_said_to_hold_more() -> None:
    rows = [{"peer": "p", "sessions": n, "behind": n == 40} for n in (10, 40, 80)]
    assert compare.limits(rows) == {"p": {"holds": 10, "behind": 40}}


def test_opens_are_told_as_medians_of_the_runs_and_refusals_of_all_of_them() -> None:
    row = {"isolation": "packed", "how": "at once", "openers": 10, "opens": 9, "refused": {"capacity": 1},
           "per_s": 100.0, "p50_ms": 1.0, "p99_ms": 5.0, "max_ms": 9.0, "load_1m": 0.5}  # fmt: skip
    rows = opening.medians([row, row | {"p99_ms": 50.0}, row | {"p99_ms": 6.0, "refused": {}}, row | {"openers": 1}])
    assert [(r["openers"], r["runs"], r["opens"], r["refused"], r["p99_ms"]) for r in rows] == [
        (10, 3, 27, {"capacity": 2}, 6.0),
        (1, 1, 9, {"capacity": 1}, 5.0),
    ]


def test_neighbours_hold_within_a_fifth_or_two_milliseconds() -> None:
    assert pressure._holds(4.0, 6.0)
    assert not pressure._holds(4.0, 6.1)
    assert pressure._holds(20.0, 24.0)
    assert not pressure._holds(20.0, 24.5)
    assert not pressure._holds(None, 1.0)


def _pressed(**over: Any) -> dict[str, Any]:
    fine = {"p99_ms": 5.0, "sent": 10, "frames": 10, "early": 0}
    row = {"scenario": "pours", "before": fine, "coming": fine, "after": fine, "grown_mb": 1.0, "hosts_before": 1,
           "ended": {}, "failed": {}, "dropped_ms": {}, "hosts": [], "sessions_by_host": [1],
           "concealed_ms": 0}  # fmt: skip
    return pressure.judged(row | over)


def test_the_declared_policy_acted_or_the_scenario_shows_nothing() -> None:
    assert not any(_pressed(scenario=name)["acted"] for name in pressure.SCENARIOS)
    acts: dict[str, dict[str, Any]] = {
        "slow-ear": {"dropped_ms": {"bad stt/drop_oldest": 400}},
        "stopped-ear": {"failed": {"bad SessionGone": 5}},
        "deaf": {"hosts": [{"unread_frames": 3}]},
        "pours": {"dropped_ms": {"bad caller/drop_newest": 20}},
        "full-host": {"sessions_by_host": [100, 100]},
        "links": {"concealed_ms": 1000},
    }
    for name, row in acts.items():
        assert _pressed(scenario=name, **row)["acted"], name


def test_a_run_under_pressure_is_judged_only_if_it_is_valid() -> None:
    late = {"p99_ms": 90.0, "sent": 10, "frames": 10, "early": 0}
    assert _pressed()["holds"] is True
    assert _pressed(after=late)["holds"] is False
    assert _pressed(coming=late)["holds"] is True, "while the others come a process may start"
    assert _pressed(before=late | {"early": 1})["holds"] is None
    assert _pressed(hosts_before=2)["holds"] is None
    assert _pressed(grown_mb=50.0)["flat"] is False


def test_the_others_hold_only_if_they_lost_no_frame_and_no_session() -> None:
    assert _pressed(coming={"p99_ms": 5.0, "sent": 10, "frames": 9, "early": 0})["holds"] is False
    assert _pressed(failed={"SessionGone": 60})["holds"] is False
    assert _pressed(ended={"lost": 1})["holds"] is False
    ended = {"bad SessionGone": 5, "bad lost": 1, "caller_closed": 60}
    assert _pressed(ended=ended, failed={"bad SessionGone": 5})["holds"] is True


def test_bad_sessions_have_an_ear_of_their_own_where_the_scenario_is_about_ears() -> None:
    for name, wanted in pressure.SCENARIOS.items():
        providers, routes = pressure.routes_of(wanted)
        table = load(config_of("/x", 10, providers=providers, more=routes), "x.yaml", "/", check_environment=False)
        bad = choose(RouteContext(session_id="a", tenant_id="bad"), table)
        good = choose(RouteContext(session_id="b", tenant_id="bench"), table)
        assert isinstance(bad, RoutePlan)
        assert isinstance(good, RoutePlan)
        apart = {stage for stage in good.stages if good.stages[stage][0].provider != bad.stages[stage][0].provider}
        assert apart == {"slow-ear": {"stt"}, "stopped-ear": {"stt"}, "deaf": {"tts"}}.get(name, set()), name


def test_before_a_host_is_crowded_it_is_not_at_its_limit() -> None:
    for good in (1, 7, 60, 300):
        most, more = pressure.crowd_of(good)
        assert good < AHEAD * most
        assert good + more == 2 * most


def test_callers_are_spread_over_the_time_of_a_frame_whichever_of_them_are_there() -> None:
    for first, n in ((0, 60), (0, 1000), (9_000, 200), (140, 61)):
        slots = Counter(share_ns(number) * 4 // FRAME_NS for number in range(first, first + n))
        assert set(slots) == {0, 1, 2, 3}
        assert max(slots.values()) - min(slots.values()) <= 4


def test_what_grows_for_certain_does_not_hold_and_what_scatters_does() -> None:
    hours = [n / 100 for n in range(100)]
    series = {
        "host 1": {
            "pss_mb": [(h, 100 + 50 * h) for h in hours],
            "descriptors": [(h, 10.0 + (-1) ** i) for i, h in enumerate(hours)],
            "threads": [(h, 5 + 10 * h) for h in hours],
            "tasks": [(h, 3.0) for h in hours],
            "references": [(0.0, 1.0), (0.5, 2.0), (1.0, 7.0)],
        },
        "host 2": {"pss_mb": [(h, 100 + 0.5 * h) for h in hours], "threads": [(0.0, 1.0)]},
    }
    holds = {(row["process"], row["what"]): row["holds"] for row in soak.slopes(series)}
    assert holds == {
        ("host 1", "pss_mb"): False,
        ("host 1", "descriptors"): True,
        ("host 1", "threads"): False,
        ("host 1", "tasks"): True,
        ("host 1", "references"): False,
        ("host 2", "pss_mb"): True,
    }
