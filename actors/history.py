"""What was said in a call, by whom, and what of it was heard: it belongs to the session, never to a provider.

Bounded: the last `MAX_ITEMS` items are given to the agent.
"""

from __future__ import annotations

from msgspec import structs

from actors.providers.interface import Item
from actors.wording import swap

__all__ = ["MAX_ITEMS", "History"]

MAX_ITEMS = 200
_TURNS_KEPT = 16
"""Turns whose words may still be given a nicer text."""


class History:
    """Items in order; the item of a turn that grew is replaced, not repeated."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._turn_at: tuple[int, int] | None = None
        self._turns: dict[int, int] = {}
        self._gone = 0

    def user(self, turn_id: int, text: str) -> None:
        item = Item(role="user", said=text)
        if self._turn_at is not None and self._turn_at[0] == turn_id and self._turn_at[1] >= self._gone:
            self._items[self._turn_at[1] - self._gone] = item
            return
        self._turn_at = (turn_id, self._gone + len(self._items))
        self._turns[turn_id] = self._turn_at[1]
        if len(self._turns) > _TURNS_KEPT:
            del self._turns[next(iter(self._turns))]
        self._add(item)

    def reword(self, turn_id: int, old: str, new: str) -> None:
        """A nicer text of words of this turn."""
        at = self._turns.get(turn_id, -1) - self._gone
        if 0 <= at < len(self._items):
            item = self._items[at]
            self._items[at] = structs.replace(item, said=swap(item.said, old, new))

    def agent(self, said: str, heard: str, interrupted: bool) -> None:
        if said or heard:
            self._add(Item(role="agent", said=said, heard=heard, interrupted=interrupted))

    def tool(self, text: str) -> None:
        self._add(Item(role="tool", said=text))

    def _add(self, item: Item) -> None:
        self._items.append(item)
        if len(self._items) > MAX_ITEMS:
            del self._items[0]
            self._gone += 1

    def items(self) -> tuple[Item, ...]:
        return tuple(self._items)
