"""Cancel a coroutine at its n-th await, for every n: what it leaves behind then is what a cancelled session leaves.

n = 1
while await cancelled_at(provider.open(...), n): n += 1
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["cancelled_at"]


async def cancelled_at(work: Coroutine[Any, Any, Any], n: int) -> bool:
    """Run `work` and cancel it at its n-th await. False: it was over before."""
    reached = False

    @types.coroutine
    def counted() -> Generator[Any, Any, Any]:
        nonlocal reached
        count, value = 0, None
        failure: BaseException | None = None
        while True:
            try:
                waits = work.send(value) if failure is None else work.throw(failure)
            except StopIteration as stop:
                return stop.value
            count += 1
            if count == n:
                reached = True
                asyncio.get_running_loop().call_soon(task.cancel)
            failure = None
            try:
                value = yield waits
            except BaseException as error:  # the cancellation among them: it goes where the work waits
                failure = error

    async def run() -> Any:
        return await counted()

    task = asyncio.ensure_future(run())
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        raise task.exception()  # type: ignore[misc]
    return reached
