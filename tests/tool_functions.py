"""Functions that tests offer to models, by `tests.tool_functions:NAME`."""

from __future__ import annotations

import asyncio
import threading
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from actors.tools import ToolContext, ToolError
from tests.canary import KEY

release = threading.Event()
"""What `hang` waits for: set by the test that called it."""
seen: list[ToolContext] = []
"""What `remember` was given."""


class Guest(BaseModel):
    name: str
    age: int = 18


def status(order: Annotated[str, Field(description="as on the receipt")], loud: bool = False) -> str:
    """What became of an order.

    This paragraph is for people.
    """
    return f"Order {order} is on its way{'!' if loud else '.'}"


async def book(
    people: int, day: date, where: Literal["in", "out"] = "in", guest: Guest | None = None
) -> dict[str, Any]:
    """Book a table."""
    await asyncio.sleep(0)
    return {"people": people, "day": day.isoformat(), "where": where, "guest": guest and guest.name}


def remember(context: ToolContext, schema: str = "none") -> str:
    """Keep what this call is."""
    seen.append(context)
    return schema


def refuse(order: str) -> str:
    """Says no."""
    raise ToolError(f"there is no order {order}")


def break_down() -> str:
    """Raises what nobody should read."""
    raise KeyError(KEY)


async def slow() -> str:
    """Never comes to an end by itself."""
    await asyncio.sleep(3600)
    return "never"


def hang() -> str:
    """Comes to an end when the test says so."""
    release.wait(10)
    return "at last"


def odd() -> object:
    """Gives what is no JSON."""
    return object()


def long() -> str:
    """Gives a lot."""
    return "x" * 100_000


def no_hints(order):  # type: ignore[no-untyped-def]
    """Has no type hints."""


def starred(*orders: str) -> str:
    """Takes what has no name."""
    return ""


def unknowable(order: threading.Thread) -> str:
    """Takes what is no JSON."""
    return ""


def undocumented(order: str) -> str:
    return order
