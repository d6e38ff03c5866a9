"""A TaskGroup that outlives the call that made it: the parent of an actor's tasks.

An actor's `start()` returns while its work goes on, so there is no block for the group to live in; this is the one
place where a task has no parent, and it is the parent of all others. A child that fails is logged and ends alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from actors.logs import get_logger

__all__ = ["TaskHome"]

log = get_logger("tasks")


class TaskHome:
    """`home = TaskHome("name"); await home.open(); home.spawn(work(), "what"); await home.close(timeout_s=2.0)`"""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failed = 0
        self.group: asyncio.TaskGroup
        """For what wants a TaskGroup; what it starts must not raise."""
        self._over = asyncio.Event()
        self._root: asyncio.Task[None] | None = None

    async def open(self) -> None:
        started = asyncio.get_running_loop().create_future()
        self._root = asyncio.get_running_loop().create_task(self._live(started), name=self.name)
        await started

    def spawn(self, work: Coroutine[Any, Any, Any], what: str) -> asyncio.Task[None]:
        task = self.group.create_task(self._guarded(work, what), name=f"{self.name}: {what}")
        task.add_done_callback(lambda _: work.close())  # one that was cancelled before it began was never awaited
        return task

    async def close(self, *, timeout_s: float) -> None:
        """Wait for the children, cancel what is left after `timeout_s`. Idempotent."""
        self._over.set()
        if self._root is None:
            return
        _, late = await asyncio.wait([self._root], timeout=timeout_s)
        if late:
            self._root.cancel()
            await asyncio.wait([self._root], timeout=timeout_s)

    async def _live(self, started: asyncio.Future[None]) -> None:
        async with asyncio.TaskGroup() as self.group:
            started.set_result(None)
            await self._over.wait()

    async def _guarded(self, work: Coroutine[Any, Any, Any], what: str) -> None:
        try:
            await work
        except Exception as error:
            self.failed += 1
            log.error("task.failed", home=self.name, task=what, error=type(error).__name__, detail=str(error)[:500])
