"""Callers who come in one burst are seated a few in each turn of the loop, in the order in which they came.

Seating one takes a millisecond or two: a session is made and its streams are opened. Sixty at once held the loop for a
tenth of a second, in which no frame of anybody moved; five a second, which is a busy host's day, were enough for its
lag to pass for that of a full host, and another host was started. Between two of them the loop does whatever is due.

Bounds   `ARRIVALS_MAX` wait; who comes beyond it is told `capacity`.
Used by  session_host.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors import wire
    from actors.caller_end import CallerEnd
    from actors.link_end import Link

__all__ = ["ARRIVALS_MAX", "Arrivals"]

ARRIVALS_MAX = 4_096
"""Twice the streams that one caller's link may have: seating them takes some seconds, as long as a caller waits."""

SEATING_S = 0.003
"""Of one turn of the loop: two or three callers. A full host's turn takes tens of milliseconds, and one caller a turn
would let those at the end of a burst wait for longer than they do."""

Arrival = tuple["Link", "CallerEnd", int, "wire.Attach"]


class Arrivals:
    """`seat(link, end, stream, attach)` is called for each whose link is still there; it raises nothing."""

    def __init__(self, seat: Callable[[Link, CallerEnd, int, wire.Attach], None]) -> None:
        self._seat = seat
        self._waiting: deque[Arrival] = deque()
        self._busy = False
        """One was seated in this turn of the loop."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, link: Link, end: CallerEnd, stream: int, attach: wire.Attach) -> bool:
        """False: too many wait. Who comes alone is seated at once."""
        if len(self._waiting) >= ARRIVALS_MAX:
            return False
        self._waiting.append((link, end, stream, attach))
        if not self._busy:
            self._next()
        return True

    def _next(self) -> None:
        """Seat one, or as many as `SEATING_S` allows. The turn after it is asked for even if nobody waits: more may
        come in what is left of this one."""
        self._busy = bool(self._waiting)
        if not self._busy:
            return
        loop = asyncio.get_running_loop()
        loop.call_soon(self._next)
        until_s = loop.time() + SEATING_S
        while self._waiting:
            link, end, stream, attach = self._waiting.popleft()
            if not link.closed:
                self._seat(link, end, stream, attach)
            if loop.time() >= until_s:
                return
