"""A vendor's own SDK against our fake of that vendor: what the SDK cannot talk to is no fake of it.

    told = await converse("run_deepgram.py", vendor.ws_url, stdin=pcm)

The script runs in the SDKs' environment (`make sdk`), so it imports the SDK and nothing of ours; it is given the
address and whatever else as arguments, the key as VENDOR_KEY and audio on standard input, and prints one JSON object.
The fake runs here. Without the environment the test skips on a laptop and fails where CI is set.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.vendors.server import KEY

__all__ = ["converse", "needs_sdk"]

_HERE = Path(__file__).parent
_PYTHON = _HERE.parents[2] / ".sdk" / "bin" / "python"
_LIMIT_S = 60.0
"""To import an SDK takes seconds on a busy machine."""


def needs_sdk() -> None:
    """Call it first in a test."""
    if _PYTHON.exists():
        return
    if os.environ.get("CI"):
        pytest.fail("the SDKs' environment is missing: make sdk")
    pytest.skip("needs the vendors' SDKs: make sdk")


async def converse(script: str, *args: str, stdin: bytes = b"", key: str = KEY) -> dict[str, Any]:
    """What the script printed. Fails with its last lines where it fails, and when it takes longer than a minute."""
    process = await asyncio.create_subprocess_exec(
        str(_PYTHON), str(_HERE / script), *args,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/"), "VENDOR_KEY": key},
    )  # fmt: skip
    try:
        async with asyncio.timeout(_LIMIT_S):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{script} failed:\n{err.decode(errors='replace')[-3000:]}"
    told = json.loads(out.decode().strip().splitlines()[-1])
    assert isinstance(told, dict)
    return told
