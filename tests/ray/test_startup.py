"""A cluster that tries its providers before it says that it is up. A process of its own, so that Ray is its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.canary import KEY

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parents[2]
CONFIG = """\
schema: 1
startup: {check: live, on_failure: STOP_OR_WARN, attempts: 1}
providers:
  voice: {stage: tts, type: fake-tts, secrets: {"*": "env:PATCHBAY_TEST_STARTUP"}}
  gone: {stage: tts, type: fake-tts, options: {fail_probe: auth}, secrets: {"*": "file:gone.key"}}
default:
  use: {vad: fake-vad, turn: fake-turn, stt: fake-stt, agent: fake-agent, tts: [voice, gone]}
"""


def up(folder: Path, on_failure: str) -> subprocess.Popen[str]:
    (folder / "routes.yaml").write_text(CONFIG.replace("STOP_OR_WARN", on_failure))
    (folder / "gone.key").write_text(KEY)
    program = [sys.executable, "-X", "faulthandler", "-m", "cli.main", "up", "--config", str(folder / "routes.yaml")]
    environment = {**os.environ, "PATCHBAY_TEST_STARTUP": KEY, "COLUMNS": "200"}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        program, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_provider_that_does_not_serve_stops_the_start(tmp_path: Path) -> None:
    process = up(tmp_path, "stop")
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2, err
    assert "providers that do not serve: gone (*, *): auth" in err.replace("\n", " ")
    assert "a session host serves" not in err
    assert KEY not in out + err


def test_or_is_told_and_the_cluster_is_up(tmp_path: Path) -> None:
    process = up(tmp_path, "warn")
    said: list[str] = []
    assert process.stderr is not None
    fuse = threading.Timer(90, process.kill)
    fuse.start()
    try:
        for line in process.stderr:
            said.append(line)
            if line.startswith("up;"):
                break
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # it says where each of its threads is
            pytest.fail(f"it does not end: {process.communicate(timeout=10)[1]}")
    finally:
        fuse.cancel()
        process.kill()
    told = "".join(said)
    assert said[-1].startswith("up;"), told
    assert "5 of 6 providers serve" in told
    row = next(line for line in said if " gone " in line and "auth" in line)
    assert "probe" in row
    assert KEY not in told
    assert process.returncode == 130
