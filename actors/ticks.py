"""When a host looks at its sessions: when one has something due, when its caller has fallen mute, and once after all
that its stages said in one turn of the loop.

    ticks = Ticks(alarms, lanes, guard, beat=door.tick)
    ticks.start()           from then on; `stop` ends it
    ticks.add(seat)         whose alarm is looked at; `remove`
    ticks.stir(seat)        its session's `step_owed` follows in this turn of the loop

A tick comes every `TICK_S` for each session. Of many, a part is looked at a time, so that no batch of audio waits for
all of them. `beat(now_s)` is called once in `TICK_S`.

Used by  session_host.py. Its timer is the only one that sessions have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.alarms import Alarms
from actors.formats import FRAME_MS
from actors.lag import LagMonitor

if TYPE_CHECKING:
    from actors.lanes import Lanes
    from actors.session_seat import Seat

__all__ = ["TICK_S", "Ticks"]

TICK_S = FRAME_MS / 1000
_PART = 192
"""Sessions of a part, about: a tick that looks at a thousand holds the loop for ms."""
_PARTS = (1, 2, 4)
_STALL_FADES = 0.9  # a tick: what waited in the sockets meanwhile is read in a fraction of the time that it waited


class Ticks:
    """Of one host. `guard(seat, work)` runs a session's work, whose exceptions end that session alone."""

    def __init__(
        self,
        alarms: Alarms,
        lanes: Lanes,
        guard: Callable[[Seat, Callable[[], None]], None],
        beat: Callable[[float], None],
    ) -> None:
        self._alarms, self._lanes, self._guard, self._beat = alarms, lanes, guard, beat
        self._seats: dict[int, Seat] = {}
        """By the place of their alarm."""
        self._stirred: list[Seat] = []
        self._lag = LagMonitor(TICK_S)
        self._part, self._parts = 0, 1
        self._due_s = self._stalled_s = 0.0
        """The latter: how long this process has lately been kept from reading: nobody is mute who was not listened
        to."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._due_s = asyncio.get_running_loop().time()
        self._tick()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def add(self, seat: Seat) -> None:
        self._seats[seat.alarm.place] = seat

    def remove(self, seat: Seat) -> None:
        self._seats.pop(seat.alarm.place, None)

    def lag_p99_ms(self) -> float:
        """How late ticks came, of the last few seconds."""
        return self._lag.p99_ms()

    def stir(self, seat: Seat) -> None:
        """A stage of this session has said something: it steps when this turn of the loop has been heard."""
        self._stirred.append(seat)
        if len(self._stirred) == 1:
            asyncio.get_running_loop().call_soon(self._step_owed)

    def _step_owed(self) -> None:
        stirred, self._stirred = self._stirred, []
        for seat in stirred:
            self._guard(seat, seat.session.step_owed)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        parts = next((n for n in _PARTS if n * _PART >= len(self._seats)), _PARTS[-1])
        self._part = (self._part + 1) % parts if parts == self._parts else 0
        self._parts = parts
        self._stalled_s = max(now_s - self._due_s, self._stalled_s)
        if self._part == 0:
            self._tick_all(now_s)
        for place in self._alarms.due(now_s + 1e-6, self._part, parts):
            seat = self._seats.get(place)
            if seat is not None:
                self._look_at(seat)
        # from the grid, not from now: a late tick is not added to the next
        self._due_s = max(self._due_s + TICK_S / parts, now_s)
        self._timer = loop.call_at(self._due_s, self._tick)

    def _tick_all(self, now_s: float) -> None:
        """What is looked at once in `TICK_S`: the host itself, and who has fallen mute."""
        self._lag.tick(now_s)
        self._stalled_s = max(now_s - self._due_s, self._stalled_s * _STALL_FADES)
        self._beat(now_s)
        for lane in self._lanes.mute(now_s - self._stalled_s):
            self._look_at(lane.seat)

    def _look_at(self, seat: Seat) -> None:
        seat.session.patience_s = self._stalled_s
        self._guard(seat, seat.session.tick)
