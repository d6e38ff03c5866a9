"""What an agent may ask of the call itself, whether it says so or calls it as a tool.

    hang_up         the call closes when the reply has been heard
    set_language    every stage that knows the language goes on in it; who does not is told to the model and the caller
    transfer        told to the application, which has the telephone line
    send_dtmf       the same

All are told as `agent.action`.

Raises   ToolError, in words for the model.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from actors import events as ev
from actors.reply import Reply
from actors.tools import ToolError
from actors.turn_law import TurnLaw
from actors.turn_table import Order

__all__ = ["ActionOwner", "Actions"]

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,4}\Z")
"""BCP 47, as far as looks go."""
_DIGITS = re.compile(r"[0-9*#A-D]{1,32}\Z")
_WHERE_MAX = 256


class ActionOwner(Protocol):
    """The session, as actions see it."""

    def emit(self, event: type[ev.Event], /, **fields: Any) -> None: ...
    def obey(self, orders: list[Order]) -> None: ...
    def at_s(self) -> float: ...
    def set_language(self, language: str) -> tuple[str, ...]:
        """Names of the providers that go on in their own."""
        ...


class Actions:
    """Owned by `Speaking`."""

    def __init__(self, owner: ActionOwner, turns: TurnLaw) -> None:
        self._owner, self._law = owner, turns

    def do(self, name: str, value: str, reply: Reply | None) -> str:
        """Do it; what the model is told of it. Raises ToolError."""
        told = self._check(name, value)
        turn_id = reply.turn_id or 0 if reply is not None else 0
        reply_id = reply.id if reply is not None and reply.id > 0 else None
        self._owner.emit(ev.AgentAction, turn_id=turn_id, reply_id=reply_id, name=name, value=value)
        if name == "hang_up":
            self._owner.obey(self._law.hang_up(self._owner.at_s()))
        elif name == "set_language":
            staying = self._owner.set_language(value)
            if staying:
                told = f"{told}, but {', '.join(staying)} cannot"
        return told

    def _check(self, name: str, value: str) -> str:
        if name == "set_language":
            if not _LANGUAGE.match(value):
                raise ToolError("language is no BCP 47 tag such as de or pt-BR")
            return f"the call goes on in {value}"
        if name == "send_dtmf":
            if not _DIGITS.match(value):
                raise ToolError("digits are 1 to 32 of 0-9 * # A-D")
            return "the application was told to press the keys"
        if name == "transfer":
            if not value.strip() or len(value) > _WHERE_MAX:
                raise ToolError(f"to is 1 to {_WHERE_MAX} characters")
            return "the application was told to transfer the caller"
        return "the call ends when this reply has been heard"
