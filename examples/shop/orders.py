"""Tools of a shop, for `examples/tools.yaml`: functions that a model may call in the middle of a call."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from actors.tools import ToolContext, ToolError

_ORDERS = {"17": "on its way, and comes tomorrow", "18": "waiting for its payment"}


async def order_status(
    context: ToolContext, order: Annotated[str, Field(description="the number on the receipt")] = "17"
) -> str:
    """What became of an order. Call it before you say when something arrives."""
    await asyncio.sleep(0.2)  # a warehouse is asked, by context.key only once
    state = _ORDERS.get(order.strip())
    if state is None:
        raise ToolError(f"there is no order {order}")
    return f"Order {order} is {state}."
