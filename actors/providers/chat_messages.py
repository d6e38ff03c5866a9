"""A history of a call as messages of a chat: what was heard, calls with their results, and no more than a bound.

    messages(history, "You are ...", cause="user", max_chars=48_000)

What the agent said counts as far as it was heard: nothing that the caller did not hear may be taken for granted. Calls
of one round are one message of the assistant, each with its result behind it; a tool that still runs says so.

Trimmed from the oldest on, to whole items; the last thing that the caller said stays, with all that came after it.

Units    characters: four are about a token of English, two or fewer of other scripts.
Pure. Source   OpenAI chat completions: an assistant's message with `tool_calls` is followed by one message for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.providers.interface import Cause, Item, Tool

__all__ = ["as_functions", "messages"]

_RUNNING = "It runs still; what it gives is not known yet."
_CAUSES: dict[Cause, str] = {
    "greeting": "The call has just begun. Greet the caller.",
    "silence": "The caller has said nothing for a while. Ask, in one short sentence, whether they are still there.",
}
"""What a model is told when it shall speak without having been spoken to."""
Message = dict[str, Any]


def messages(
    history: Sequence[Item],
    instructions: str | None,
    *,
    cause: Cause,
    max_chars: int,
    role: str = "system",
) -> list[Message]:
    """Instructions first, then as much of the end of the history as `max_chars` hold, then what `cause` asks for."""
    made: list[Message] = [{"role": role, "content": instructions}] if instructions else []
    kept = _kept(history, max_chars)
    for at, item in enumerate(kept):
        if item.role == "tool":
            _call(made, item, joins=at > 0 and kept[at - 1].role == "tool" and not item.before)
            continue
        text = item.said if item.role != "agent" or item.heard is None else item.heard
        if item.role == "user" and cause == "dtmf" and not any(i.role == "user" for i in kept[at + 1 :]):
            text = f"(presses keys: {text})"
        if text.strip():
            made.append({"role": "assistant" if item.role == "agent" else item.role, "content": text[-max_chars:]})
    if cause in _CAUSES:
        made.append({"role": role, "content": _CAUSES[cause]})
    return made


def as_functions(tools: Sequence[Tool], *, strict: bool = False) -> list[Message]:
    """Tools as the API has them."""
    extra = {"strict": True} if strict else {}
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.schema or {"type": "object", "properties": {}},
                **extra,
            },
        }
        for tool in tools
    ]


def _call(made: list[Message], item: Item, *, joins: bool) -> None:
    arguments = msgspec.json.encode(item.args).decode()
    call = {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": arguments}}
    last = next((m for m in reversed(made) if m["role"] != "tool"), None) if joins else None
    if last is not None and "tool_calls" in last:
        last["tool_calls"].append(call)
    else:
        made.append({"role": "assistant", "content": item.before or None, "tool_calls": [call]})
    made.append({"role": "tool", "tool_call_id": item.call_id, "content": _RUNNING if item.ok is None else item.said})


def _kept(history: Sequence[Item], max_chars: int) -> list[Item]:
    """The end of the history that fits; from the caller's last words on in any case."""
    must = max((at for at, item in enumerate(history) if item.role == "user"), default=0)
    begin, size = len(history), 0
    while begin > 0:
        size += _size(history[begin - 1])
        if size > max_chars and begin <= must:
            break
        begin -= 1
    return list(history[begin:])


def _size(item: Item) -> int:
    said = item.said if item.heard is None else item.heard
    return len(said) + len(item.before) + (len(msgspec.json.encode(item.args)) if item.args else 0)
