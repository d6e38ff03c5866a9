"""`patchbay check --live` as a user types it: table, JSON, exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.canary import KEY

ROOT = Path(__file__).resolve().parents[2]
GOOD = """\
schema: 1
providers:
  british: {stage: tts, type: espeak, options: {voice: en-gb}}
  desk: {stage: agent, type: fake-agent, secrets: {"*": "file:desk.key"}}
default:
  use: {vad: webrtc, turn: heuristic, stt: fake-stt, agent: desk, tts: british}
"""


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(GOOD)
    (tmp_path / "desk.key").write_text(KEY)
    return path


def patchbay(*words: object) -> subprocess.CompletedProcess[str]:
    """Without a cluster and from another folder than the file's."""
    program = [sys.executable, "-m", "cli.main", *map(str, words)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert KEY not in done.stdout + done.stderr
    return done


def test_a_row_for_each_provider_and_status_0_where_all_serve(routes: Path) -> None:
    done = patchbay("check", routes, "--live")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    served = [(row[0], row[1]) for row in rows[1:-1] if "serves" in row]
    assert served == [("vad", "webrtc"), ("turn", "heuristic"), ("stt", "fake-stt"), ("agent", "desk"),
                      ("tts", "british")]  # fmt: skip
    assert done.stdout.endswith("5 of 5 serve\n")


def test_one_that_refuses_ends_with_1_and_is_named_with_its_step(routes: Path) -> None:
    routes.write_text(GOOD.replace("type: fake-agent,", "type: fake-agent, options: {fail_open: auth},"))
    done = patchbay("check", routes, "--live", "--json", "--provider", "desk")
    assert done.returncode == 1
    (row,) = json.loads(done.stdout)
    assert (row["provider"], row["serves"], row["kind"], row["step"]) == ("desk", False, "auth", "open")
    assert row["attempts"] == 1


def test_a_configuration_with_an_error_is_not_tried(routes: Path) -> None:
    routes.write_text(GOOD.replace("tts: british", "tts: britisch"))
    done = patchbay("check", routes, "--live")
    assert (done.returncode, done.stdout) == (2, "")
    assert "britisch" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--live", "--provider", "nobody"), "no provider nobody is configured"), (("--json",), "go with --live")],
)
def test_options_that_do_not_hold_are_told(routes: Path, words: tuple[str, ...], said: str) -> None:
    done = patchbay("check", routes, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
