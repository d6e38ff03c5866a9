"""Standard output belongs to what was asked for; everything else goes to standard error.

Ray's own processes write `(raylet)` lines to descriptor 1, whatever Python thinks of `sys.stdout`. So the real standard
output is kept under a new number, and number 1 is pointed at standard error, before Ray is started.
"""

from __future__ import annotations

import io
import os
import sys
from typing import IO

from rich.console import Console

__all__ = ["claim_stdout", "notes", "people", "plain"]


def claim_stdout() -> IO[bytes]:
    """The real standard output as an unbuffered binary stream; descriptor 1 is standard error from now on."""
    sys.stdout.flush()
    ours = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return ours


def people(stream: IO[bytes]) -> Console:
    """A console for people on the real standard output."""
    return Console(file=io.TextIOWrapper(stream, encoding="utf-8", write_through=True), highlight=False)


def notes() -> Console:
    """Where progress and errors go."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def plain() -> Console:
    """What was asked for, where nothing else writes: a command without Ray. Wide enough for a table in a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)
