"""A loop whose clock jumps: an hour of call takes no time, and a deadlock is an error instead of a hang.

    simulate(coro())      runs it at virtual times; `asyncio.get_running_loop().time()` starts at 0

No threads and no sockets inside a simulation.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jump(selectors.DefaultSelector):
    loop: SimLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("deadlock: every task waits and no timer is set")
        self.loop.now_s += timeout
        return []


class SimLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, from 0."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = _Jump()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        return self.now_s


def simulate(coro: Coroutine[Any, Any, T]) -> T:
    """Run `coro` in virtual time and fail if it leaves a task behind."""
    with asyncio.Runner(loop_factory=SimLoop) as runner:

        async def whole() -> T:
            result = await coro
            left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            assert not left, f"tasks left behind: {left}"
            return result

        return runner.run(whole())
