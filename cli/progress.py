"""What is being waited for, on one line that goes away; on a line each where a line cannot change."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.status import Status

__all__ = ["Progress"]


class Progress:
    """Call it with what happens now; `done` says how long it all took. Safe to call from another thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._since_s = time.monotonic()
        self._status: Status | None = None
        self._over = False

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._status = self._console.status("…")
            self._status.start()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._stop()

    def __call__(self, what: object) -> None:
        if self._over:
            return
        at_s = time.monotonic() - self._since_s
        if self._status is not None:
            self._status.update(f"{what} …")
        else:
            self._console.print(f"[{at_s:5.1f} s] {what}", markup=False)

    def done(self) -> None:
        """The caller's first frame was taken."""
        at_s = time.monotonic() - self._since_s
        self._stop()
        self._console.print(f"first frame taken after {at_s:.1f} s", style="dim")

    def _stop(self) -> None:
        self._over = True
        if self._status is not None:
            self._status.stop()
            self._status = None
