"""When each session of a host wants a tick: one column, so that nobody who sleeps is looked at.

    alarm = alarms.take()           a session's own; `alarm.at_s` is read and set like an attribute
    alarms.due(now_s, part, parts)  whose time has come, of every so-manieth place
    alarms.give_back(alarm)

Bounds   `places`: one for each session that the host takes.
Units    loop time in seconds; infinity for a place that nobody has.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

from actors.column import Column

__all__ = ["Alarm", "Alarms"]


class Alarm:
    """A place in a column; without one, of its own."""

    __slots__ = ("cells", "place")

    def __init__(self, cells: array[Any] | None = None, place: int = 0) -> None:
        self.cells: array[Any] = array("d", [0.0]) if cells is None else cells
        self.place = place

    @property
    def at_s(self) -> float:
        at_s: float = self.cells[self.place]
        return at_s

    @at_s.setter
    def at_s(self, at_s: float) -> None:
        self.cells[self.place] = at_s


class Alarms:
    """Of one host.

    >>> alarms = Alarms(2)
    >>> first, second = alarms.take(), alarms.take()
    >>> first.at_s, second.at_s = 1.0, 2.0
    >>> alarms.due(1.5), alarms.due(2.0), alarms.due(2.0, part=1, parts=2)
    ([0], [0, 1], [1])
    """

    def __init__(self, places: int) -> None:
        self._column = Column("d", places)
        self._column.of[:] = math.inf
        self._spare = list(range(places - 1, -1, -1))

    def take(self) -> Alarm:
        """A place of its own, and at once due. Raises IndexError where more are taken than there are places."""
        alarm = Alarm(self._column.cells, self._spare.pop())
        alarm.at_s = 0.0
        return alarm

    def give_back(self, alarm: Alarm) -> None:
        alarm.at_s = math.inf
        self._spare.append(alarm.place)
        alarm.cells, alarm.place = array("d", [math.inf]), 0  # whoever still sets it sets nobody's

    def due(self, now_s: float, part: int = 0, parts: int = 1) -> list[int]:
        """Places whose time has come, of those that are `part` modulo `parts`."""
        (found,) = (self._column.of[part::parts] <= now_s).nonzero()
        return [place * parts + part for place in found.tolist()]
