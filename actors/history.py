"""What was said in a call, by whom, and what of it was heard: it belongs to the session, never to a provider.

Bounded: the last `MAX_ITEMS` items are kept; as many of them as `MAX_CHARS` hold are given to the agent.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import structs
from msgspec.structs import replace

from actors.providers.interface import Item
from actors.wording import swap

__all__ = ["MAX_CHARS", "MAX_ITEMS", "History", "as_text"]

MAX_ITEMS = 200
MAX_CHARS = 100_000
"""Of the items given to an agent: results of tools are long, and a link carries no message beyond its bound."""
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

    def tool_called(self, call_id: str, name: str, args: dict[str, Any], before: str) -> None:
        """A tool is called; `before` is what the agent said in this reply since the last call."""
        self._add(Item(role="tool", said="", call_id=call_id, name=name, args=args, before=before))

    def tool_done(self, call_id: str, result: str, ok: bool) -> None:
        """What came of it stands where it was called, however late it is."""
        for at in range(len(self._items) - 1, -1, -1):
            item = self._items[at]
            if item.role == "tool" and item.call_id == call_id:
                self._items[at] = replace(item, said=result, ok=ok)
                return

    def reply_over(self) -> None:
        """The reply has an item of its own now, or left no trace: what was said before a call is not told twice."""
        for at in range(len(self._items) - 1, -1, -1):
            if self._items[at].role != "tool":
                return
            if self._items[at].before:
                self._items[at] = replace(self._items[at], before="")

    def _add(self, item: Item) -> None:
        self._items.append(item)
        if len(self._items) > MAX_ITEMS:
            del self._items[0]
            self._gone += 1

    def items(self) -> tuple[Item, ...]:
        """The last of them, as many as `MAX_CHARS` hold; the newest in any case."""
        begin, room = len(self._items), MAX_CHARS
        while begin > 0:
            room -= _size(self._items[begin - 1])
            if room < 0 and begin < len(self._items):
                break
            begin -= 1
        return tuple(self._items[begin:])


def _size(item: Item) -> int:
    arguments = sum(len(name) + len(str(value)) for name, value in item.args.items())
    return len(item.said) + len(item.heard or "") + len(item.before) + arguments


def as_text(item: Item) -> str:
    """An item in words, for a model that takes over: what was heard of it, or a call and what it gave."""
    if item.role != "tool":
        return item.said if item.heard is None else item.heard
    said = item.said if item.ok is not None else "it is not known yet"
    return f"The tool {item.name} was called with {msgspec.json.encode(item.args).decode()}: {said}"
