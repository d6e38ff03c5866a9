"""Calls of tools, put together from the pieces that a streamed chat completion gives them in.

    calls = ChatCalls(vendor)
    calls.take(index=0, id="call_1", name="book", arguments='{"peo')
    calls.take(index=0, id=None, name=None, arguments='ple": 2}')
    calls.whole(turn=3, revision=0)          [ToolCall(id="call_1", name="book", args={"people": 2})]

A piece belongs to the call of its `index`. Servers that are compatible in name leave the index out, give every call the
same one, repeat the id, leave it out, or send the arguments as an object: a new id, or a name after a name, begins a
new call; what has neither goes on with the last.

Bounds   `CALLS_MAX` calls, `ARGUMENTS_MAX` characters of arguments in all.
Raises   ProviderError(protocol) for more than that, and for a call without a name. Arguments that are no JSON object
         are the model's mistake and not the vendor's: the call carries the problem, for the model to read.
Source   OpenAI `ChatCompletionChunk`; ollama#7881, openai-python#3246, continue#13225 for what others send.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors.providers.interface import ToolCall
from actors.providers.vendor_faults import Vendor

__all__ = ["ARGUMENTS_MAX", "CALLS_MAX", "ChatCalls", "arguments"]

CALLS_MAX = 64
ARGUMENTS_MAX = 262_144


@dataclass(slots=True)
class _Slot:
    index: int | None
    id: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class ChatCalls:
    """Of one answer."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._slots: list[_Slot] = []
        self._chars = 0

    def __bool__(self) -> bool:
        return bool(self._slots)

    def take(self, index: int | None, id: str | None, name: str | None, arguments: str | dict[str, Any] | None) -> None:
        """A piece of a call."""
        slot = self._slot(index, id or None, name or None)
        slot.id = slot.id or id or None
        slot.name = slot.name or name or ""
        if arguments:
            text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
            self._chars += len(text)
            slot.arguments.append(text)
        if len(self._slots) > CALLS_MAX or self._chars > ARGUMENTS_MAX:
            raise self._vendor.error("protocol", f"more than {CALLS_MAX} calls, or {ARGUMENTS_MAX} characters of them")

    def whole(self, turn: int, revision: int) -> list[ToolCall]:
        """The calls, in the order in which they began."""
        made = []
        for number, slot in enumerate(self._slots):
            if not slot.name:
                raise self._vendor.error("protocol", "a call of a tool without a name")
            args, problem = arguments("".join(slot.arguments))
            id = slot.id or f"call_{number}"
            made.append(
                ToolCall(turn=turn, revision=revision, id=id, name=slot.name, args=args, problem=problem)
            )  # fmt: skip
        return made

    def _slot(self, index: int | None, id: str | None, name: str | None) -> _Slot:
        found = next((s for s in reversed(self._slots) if s.index == index), None)
        if index is None and self._slots:
            found = next((s for s in self._slots if id is not None and s.id == id), self._slots[-1])
        is_other = found is not None and (
            (id is not None and found.id is not None and id != found.id)
            or (id is None and index is None and name is not None and bool(found.name))
        )
        if found is None or is_other:
            found = _Slot(index)
            self._slots.append(found)
        return found


def arguments(text: str) -> tuple[dict[str, Any], str]:
    """The arguments of a call, and what is wrong with them."""
    if not text.strip():
        return {}, ""
    try:
        args = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return {}, "the arguments are no JSON"
    return (args, "") if isinstance(args, dict) else ({}, "the arguments are no JSON object")
