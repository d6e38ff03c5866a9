"""Buckets and splits: the same for ever, fair, and moved only as far as they must."""

from __future__ import annotations

import json
import subprocess
import sys
from math import sqrt
from pathlib import Path

import pytest

from router.bucket import Arm, Salt, text_of
from router.context import RouteContext
from router.match import key_value

GOLDEN = Path(__file__).parent / "golden" / "router_buckets.json"
ROOT = Path(__file__).parents[2]
KEYS = ("u1", "u2", "", "42", "Zoë", "日本", "a b", "x" * 1000)
PROGRAM = """
import json, sys
from router.bucket import Arm, Salt
keys = json.loads(sys.argv[1])
print(json.dumps({salt: {k[:20]: [Salt(salt).bucket(k), Arm(salt, "voice-a", 90).score(k)] for k in keys}
                  for salt in ("exp7", "exp8", "")}))
"""


def positions() -> dict[str, dict[str, list[float]]]:
    return {
        salt: {k[:20]: [Salt(salt).bucket(k), Arm(salt, "voice-a", 90).score(k)] for k in KEYS}
        for salt in ("exp7", "exp8", "")
    }


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_positions_are_those_of_the_golden_file_in_every_process(seed):
    """Scores go through a logarithm, whose last digit is the platform's own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(KEYS)],
        cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found, golden = json.loads(done.stdout), json.loads(GOLDEN.read_text())
    for salt, keys in golden.items():
        assert found[salt] == {k: [bucket, pytest.approx(score, rel=1e-12)] for k, (bucket, score) in keys.items()}
        assert [bucket for bucket, _ in found[salt].values()] == [bucket for bucket, _ in keys.values()]


def winner(arms: list[Arm], key: str) -> str:
    return max(arms, key=lambda arm: arm.score(key)).name


IDS = [f"user-{n}" for n in range(100_000)]


def test_from_90_10_to_80_20_a_tenth_of_the_callers_moves_and_all_one_way():
    before, after = ([Arm("exp", "a", w), Arm("exp", "b", 100 - w)] for w in (90, 80))
    moves = [(x, y) for key in IDS if (x := winner(before, key)) != (y := winner(after, key))]
    assert set(moves) == {("a", "b")}
    assert len(moves) / len(IDS) == pytest.approx(0.10, abs=4 * sqrt(0.1 * 0.9 / len(IDS)))


def test_a_new_arm_takes_from_all_and_gives_to_none_but_itself():
    before = [Arm("exp", "a", 50), Arm("exp", "b", 50)]
    after = [*before, Arm("exp", "c", 25)]
    moves = {(x, y) for key in IDS[:20_000] if (x := winner(before, key)) != (y := winner(after, key))}
    assert moves == {("a", "c"), ("b", "c")}


def test_shares_are_the_weights():
    arms = [Arm("s", "a", 70), Arm("s", "b", 29.5), Arm("s", "c", 0.5), Arm("s", "d", 0)]
    counts = dict.fromkeys("abcd", 0)
    for key in IDS:
        counts[winner(arms, key)] += 1
    for name, share in (("a", 0.70), ("b", 0.295), ("c", 0.005)):
        assert counts[name] / len(IDS) == pytest.approx(share, abs=4 * sqrt(share * (1 - share) / len(IDS)))
    assert counts["d"] == 0


def test_a_bucket_is_uniform_and_two_salts_are_independent():
    one, two = Salt("one"), Salt("two")
    n = 50_000
    both = sum(one.bucket(key) < 50 and two.bucket(key) < 50 for key in IDS[:n])
    assert both / n == pytest.approx(0.25, abs=4 * sqrt(0.25 * 0.75 / n))
    tenths = [0] * 10
    for key in IDS[:n]:
        tenths[int(one.bucket(key) / 10)] += 1
    assert all(count / n == pytest.approx(0.1, abs=4 * sqrt(0.09 / n)) for count in tenths)


def test_a_bucket_and_a_split_of_one_salt_are_independent():
    salt, arms = Salt("exp7"), [Arm("exp7", "a", 50), Arm("exp7", "b", 50)]
    n = 50_000
    both = sum(salt.bucket(key) < 50 and winner(arms, key) == "a" for key in IDS[:n])
    assert both / n == pytest.approx(0.25, abs=4 * sqrt(0.25 * 0.75 / n))


def test_values_are_hashed_by_what_they_say():
    assert [text_of(v) for v in ("42", 42, 4.5, True, False)] == ["42", "42", "4.5", "true", "false"]


def test_an_absent_attribute_is_stood_in_for_by_the_session():
    ctx = RouteContext(session_id="s1", tenant_id="acme", attributes={"user_id": 7})
    keys = [key_value(ctx, by) for by in ("user_id", "name", "session_id", "tenant_id", "region")]
    assert keys == [("7", False), ("s1", True), ("s1", False), ("acme", False), ("default", False)]
