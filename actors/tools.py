"""What a function that a model may call is given, and how it says no.

    from actors.tools import ToolContext, ToolError

    async def status(order: Annotated[str, Field(description="as on the receipt")], context: ToolContext) -> dict:
        \"""What became of an order. Call it before you say when something arrives.\"""
        found = await look_up(order)
        if found is None:
            raise ToolError(f"there is no order {order}")
        return {"state": found.state, "due": found.due}

The docstring and the parameters are what the model is told; a parameter of type `ToolContext` is not part of that. What
is returned is text, or becomes JSON. `ToolError` is told to the model in its own words; of any other exception only the
name is, since its text may hold what is nobody's business.

Used by  applications; actors/tool_functions.py.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ToolContext", "ToolError"]


class ToolError(Exception):
    """The tool cannot do what it was asked; the text is for the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """Which call this is."""

    session_id: str
    tenant_id: str
    turn: int
    """Of the conversation: the caller's turn that it answers."""
    call_id: str
    key: str
    """Of idempotency: the same key is the same call, and must not be done twice."""
    deadline_s: float
    """From the begin of the call; nobody waits longer."""
