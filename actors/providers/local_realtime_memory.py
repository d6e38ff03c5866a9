"""What a conversation of `local-realtime` remembers: the response on its way, and what was said before.

The session's own history is the one that counts; this one is the model's, as a vendor's would be, corrected to what was
heard. Bounded to `ITEMS_MAX` items, the oldest goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.heard import Spoken
from actors.providers.interface import Item

__all__ = ["ITEMS_MAX", "Memory", "Response"]

ITEMS_MAX = 200


@dataclass(slots=True)
class Response:
    """The one on its way; over when its last sample was played, by the media clock."""

    id: int
    turn: int
    revision: int
    rate_hz: int
    spoken: Spoken = field(default_factory=Spoken)
    samples: int = 0
    begun_s: float | None = None
    """Media position when its first audio went out, moved by the time it was held."""
    held_s: float | None = None
    told_ms: float | None = None
    """What the session says was heard."""
    is_made: bool = False

    def heard_ms(self, at_s: float) -> float:
        if self.told_ms is not None:
            return self.told_ms
        if self.begun_s is None:
            return 0.0
        until_s = at_s if self.held_s is None else self.held_s
        return min(max(until_s - self.begun_s, 0.0), self.samples / self.rate_hz) * 1000

    def is_played(self, at_s: float) -> bool:
        return self.is_made and self.begun_s is not None and at_s >= self.begun_s + self.samples / self.rate_hz

    def resume(self, at_s: float) -> None:
        if self.held_s is not None and self.begun_s is not None:
            self.begun_s += at_s - self.held_s
            self.held_s = None

    def interrupted(self, at_s: float) -> Item:
        heard, _ = self.spoken.heard(self.heard_ms(at_s), None)
        return Item(role="agent", said=self.spoken.text, heard=heard, interrupted=True)


class Memory:
    """Items in order; the item of a turn that grew is replaced."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._turn_item: tuple[int, Item] | None = None
        self._stopped: tuple[Response, Item] | None = None

    def items(self) -> tuple[Item, ...]:
        return tuple(self._items)

    def add(self, item: Item) -> None:
        self._items.append(item)
        if len(self._items) > ITEMS_MAX:
            del self._items[0]

    def user(self, turn: int, text: str) -> None:
        before = self._turn_item
        item = Item(role="user", said=text)
        self._turn_item = (turn, item)
        if before is None or before[0] != turn or not self._replace(before[1], item):
            self.add(item)

    def interrupted(self, response: Response, at_s: float) -> None:
        """`response` was broken off here."""
        self._stopped = (response, response.interrupted(at_s))
        self.add(self._stopped[1])

    def heard(self, response: int, ms: float, at_s: float) -> None:
        """The session tells, after the interruption, what of the last response was heard."""
        if self._stopped is None or self._stopped[0].id != response:
            return
        stopped, item = self._stopped
        stopped.told_ms = ms
        corrected = stopped.interrupted(at_s)
        if self._replace(item, corrected):
            self._stopped = (stopped, corrected)

    def _replace(self, item: Item, by: Item) -> bool:
        """By identity: the same words may have been said before."""
        for at in range(len(self._items) - 1, -1, -1):
            if self._items[at] is item:
                self._items[at] = by
                return True
        return False
