"""What a model may call: tools of the application, as functions or webhooks, and the four actions of a session.

A `ToolSpec` says what the model is told (name, description, schema) and where the call goes: a Python function, a
webhook, or neither, which is an action that the session itself carries out. It holds a reference to a secret, never a
secret. A plan carries those of its route to the session host, which sends one with each call to the actor that runs it.

Units    `_s` seconds; results are counted in characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ACTIONS", "DEADLINE_S", "RESULT_MAX_CHARS", "ToolSpec"]

DEADLINE_S = 10.0
"""The caller hears nothing meanwhile; more is asked for by name."""
RESULT_MAX_CHARS = 8_000
"""About 2,000 tokens: what a model reads with profit in the middle of a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """One tool, ready to be offered and run."""

    name: str
    description: str = ""
    schema: dict[str, Any] = field(default_factory=dict)
    """JSON schema of the arguments, an object."""
    python: str | None = None
    """`module:function`, on the Python path of the nodes."""
    url: str | None = None
    secret: str | None = None
    """Reference of the key that signs a webhook's requests, resolved where the tool is run."""
    private: bool = False
    """The webhook's host may be one of ours: an address that is not public is not refused."""
    deadline_s: float = DEADLINE_S
    result_max_chars: int = RESULT_MAX_CHARS
    idempotent: bool = False
    """The same key twice is the same call: it may be tried again when nobody knows what came of the first."""

    @property
    def is_action(self) -> bool:
        """The session itself does it."""
        return self.python is None and self.url is None


def _action(name: str, description: str, argument: str = "", meaning: str = "") -> ToolSpec:
    properties: Mapping[str, Any] = {argument: {"type": "string", "description": meaning}} if argument else {}
    schema: dict[str, Any] = {"type": "object", "properties": dict(properties), "required": list(properties)}
    return ToolSpec(name=name, description=description, schema={**schema, "additionalProperties": False})


ACTIONS: Mapping[str, ToolSpec] = {
    spec.name: spec
    for spec in (
        _action("hang_up", "End the call, after what you say now has been heard."),
        _action("transfer", "Hand the caller over to somebody else.", "to", "Who or which desk takes over."),
        _action("send_dtmf", "Press keys of the telephone.", "digits", "The keys, of 0-9 * # A-D."),
        _action(
            "set_language",
            "Go on in another language: what the caller says is heard, and what you say is spoken, in that language.",
            "language",
            "BCP 47, such as de or pt-BR.",
        ),
    )
}
"""What a route may offer by name besides its own tools. Each has one argument at most."""
