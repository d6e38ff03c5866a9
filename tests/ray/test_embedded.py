"""From nothing to a session, on one machine, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cluster
from router.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, sys
import ray
import cluster
from router.errors import ClusterError

said = []
config = '''
schema: 1
default:
  use: {vad: webrtc, turn: heuristic, stt: fake-stt, agent: echo, tts: espeak}
'''
router = cluster.start(config, "routes.yaml", progress=said.append, wait_ready=True)
handle = ray.get(router.open.remote({"session_id": "s", "tenant_id": "nobody"}), timeout=30)
again = cluster.connect("auto")
providers = ray.get(router.ready.remote(True), timeout=30)["providers"]
told = {"said": said, "route": handle.route, "ip": handle.address.split(":")[0], "providers": providers,
        "sessions": len(ray.get(again.sessions.remote(), timeout=30))}
cluster.stop(router)
print("TOLD " + json.dumps(told))
"""


@pytest.mark.ray
def test_an_embedded_cluster_starts_checks_its_providers_and_opens_a_session() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    assert lines, done.stderr[-3000:]
    told = json.loads(lines[0].removeprefix("TOLD "))
    steps = [
        "configuration checked",
        "Ray is up",
        "the router is up",
        "a session host serves",
        "the providers are ready",
    ]
    assert [line.rsplit(" (", 1)[0] for line in told["said"]] == steps
    assert told["route"] == "default"
    assert told["ip"] == "127.0.0.1", "an embedded cluster listens on loopback only"
    assert told["providers"] == {"fake-stt": None, "echo": None, "espeak": None}, "the rest runs in the host"
    assert told["sessions"] == 1


def test_a_wrong_configuration_is_told_before_anything_is_started() -> None:
    with pytest.raises(ConfigError, match=r"routes\.yaml:2"):
        cluster.start("schema: 1\nroutez: []\n", "routes.yaml")
