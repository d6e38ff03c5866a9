"""From a sampling profiler's folded stacks to microseconds per frame, function by function.

    py-spy record --format raw --gil ...    ->   "main (a.py:1);step (b.py:7) 12"   ->   step  self 3.1  all 3.1

`python benchmarks/density.py --profile FOLDER` records the host and the VAD and STT actors and prints this.
Only samples that hold the interpreter's lock are counted: the others are threads that wait. A sample is 1 / rate of a
second, so the times are absolute; what is left of the process's CPU is the kernel, the loop's poll and Ray's threads.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["Folded", "fold", "record", "report"]

_FRAME = re.compile(r"(.+) \((.+?)(?::\d+)?\)$")
RATE_HZ = 100
"""Without pausing the process, 100 a second cost it nothing that shows."""

Folded = tuple[Counter[str], Counter[str], int]
"""Samples by function: with it on top, with it anywhere; and all samples."""


def fold(lines: Iterable[str]) -> Folded:
    """Count functions as `name (file)`. A function that calls itself counts once a sample.

    >>> own, all, n = fold(["run (a.py:1);step (b.py:7) 3", "run (a.py:2) 1"])
    >>> own["run (a.py)"], all["run (a.py)"], n
    (1, 4, 4)
    """
    own: Counter[str] = Counter()
    everywhere: Counter[str] = Counter()
    total = 0
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        if not stack or not count.isdigit():
            continue
        names = [_name(frame) for frame in stack.split(";")]
        n = int(count)
        total += n
        own[names[-1]] += n
        everywhere.update(dict.fromkeys(names, n))
    return own, everywhere, total


def profiler() -> str | None:
    """py-spy, wherever it is: an instrument of whoever profiles, not a dependency."""
    return shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))


def record(pids: Mapping[str, int], folder: Path, seconds: float) -> dict[str, subprocess.Popen[bytes]]:
    """Start recording each process; wait for them, then `fold` FOLDER/NAME.folded."""
    folder.mkdir(parents=True, exist_ok=True)
    spy = profiler()
    assert spy is not None  # asked before anything was started
    how = ["--format", "raw", "--gil", "--nonblocking", "--rate", str(RATE_HZ), "--duration", str(round(seconds))]
    return {
        name: subprocess.Popen(
            [spy, "record", *how, "--pid", str(pid), "--output", str(folder / f"{name}.folded")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for name, pid in pids.items()
    }  # fmt: skip


def report(folded: Folded, cpu_us: float, frames_per_s: float, seconds: float, *, lines: int = 30) -> str:
    """The functions that cost most by themselves, in microseconds per frame; `cpu_us` is all of the process."""
    own, everywhere, total = folded
    each = 1e6 / RATE_HZ / max(frames_per_s * seconds, 1)
    rows = [
        f"{'self us':>8} {'all us':>8}  function",
        f"{cpu_us - total * each:8.2f} {'':8}  outside the interpreter: kernel, poll, Ray's threads",
    ]
    rows += [f"{n * each:8.2f} {everywhere[name] * each:8.2f}  {name}" for name, n in own.most_common(lines)]
    return "\n".join(rows)


def _name(frame: str) -> str:
    found = _FRAME.match(frame.strip())
    return f"{found[1]} ({Path(found[2]).name})" if found else frame.strip()
