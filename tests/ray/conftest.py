"""One Ray cluster for all tests here: a head without a region and two nodes with one."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.canary import ACME_KEY, SHARED_KEY

ROOT = str(Path(__file__).resolve().parents[2])
LABEL = "ray.io/availability-region"

CONFIG = """
schema: 1
providers:
  ears:   {stage: stt, type: fake-stt, secrets: {acme: "env:PATCHBAY_TEST_ACME", "*": "env:PATCHBAY_TEST_SHARED"}}
  broken: {stage: stt, type: fake-stt, secrets: {"*": "env:PATCHBAY_TEST_NOT_SET"}}
  voice:  {stage: tts, type: fake-tts}
pools:
  default: {min: 0, max: 3}
routes:
  - name: acme
    when: {tenant: acme}
    use: {vad: fake-vad, turn: fake-turn, stt: ears, agent: fake-agent, tts: voice}
  - name: globex
    when: {tenant: globex}
    use: {vad: fake-vad, turn: fake-turn, stt: ears, agent: fake-agent, tts: voice}
  - name: initech
    when: {tenant: initech}
    use: {vad: fake-vad, turn: fake-turn, stt: [broken, ears], agent: fake-agent, tts: voice}
  - name: umbrella
    when: {tenant: umbrella}
    use: {vad: fake-vad, turn: fake-turn, stt: ears, agent: client, tts: voice}
  - name: hooli
    when: {tenant: hooli}
    use: {vad: fake-vad, turn: fake-turn, stt: broken, agent: fake-agent, tts: voice}
"""


@pytest.fixture(scope="session")
def router() -> Iterator[Any]:
    """The router of a cluster whose providers are fakes and whose session hosts are real."""
    os.environ.update(
        RAY_worker_niceness="0", RAY_ENABLE_UV_RUN_RUNTIME_ENV="0", RAY_USAGE_STATS_ENABLED="0",
        PATCHBAY_TEST_ACME=ACME_KEY, PATCHBAY_TEST_SHARED=SHARED_KEY,
        RAY_metrics_report_interval_ms="1000", PYTHONPATH=ROOT,
    )  # fmt: skip
    sys.path.insert(0, ROOT)
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    import cluster
    from cluster.settings import ClusterSettings

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 << 20},
    )
    try:
        for region in ("eu", "us"):
            made.add_node(num_cpus=2, object_store_memory=80 << 20, labels={LABEL: region})
        ray.init(address=made.address, namespace="tests", log_to_driver=False)
        settings = ClusterSettings(bind_ip="127.0.0.1", prewarm=False)
        handle = cluster.start(CONFIG, str(Path(ROOT, "routes.yaml")), address=made.address, settings=settings)
        yield handle
        with contextlib.suppress(Exception):
            cluster.stop(handle)
    finally:
        ray.shutdown()
        made.shutdown()
