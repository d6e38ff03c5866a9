"""The command that starts fakes: by name and port, or those that a configuration wants."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vendors.contract import cases
from tests.vendors.serve import of_file

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "examples" / "vendors.yaml"


def test_every_adapter_of_the_file_has_a_fake_at_a_port_of_its_own() -> None:
    served = of_file(str(FILE))
    assert {case.type for case, _ in served} == {case.type for case in cases()}
    assert len({port for _, port in served}) == len(served)


@pytest.mark.parametrize("arguments", [["deepgram"], [], ["nobody=8001"]])
def test_the_command_says_what_it_wants(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.vendors.serve", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "NAME=PORT" in done.stderr


def test_the_command_serves_until_it_is_told_to_end() -> None:
    async def scene() -> int | None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.vendors.serve", "deepgram-tts=0", cwd=ROOT, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
            assert line.startswith(b"deepgram-tts  ws://127.0.0.1:")
            process.send_signal(signal.SIGTERM)
            return await process.wait()

    assert asyncio.run(scene()) == 0
