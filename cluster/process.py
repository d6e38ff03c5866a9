"""What an actor of ours knows of its process: where it runs, its root task, and how it ends.

The root task is the parent of all others in the process: an async Ray actor has no main block, so it is the one task
that is created without one. It beats, and when it is told to leave it ends the process the way Ray takes for a
wanted end (`exit_actor`; `os._exit` counts as a crash).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import ray
import ray.actor
import ray.util

from actors.logs import get_logger

__all__ = ["End", "ip", "node", "root_task"]

log = get_logger("process")


def ip(bind_ip: str | None) -> str:
    """The address to listen on: as said, or the node's own."""
    return bind_ip or str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def node() -> str:
    """The id of this Ray node."""
    return str(ray.get_runtime_context().get_node_id())


def root_task(work: Awaitable[None]) -> asyncio.Future[None]:
    """The one task without a parent; the actor keeps it for life."""
    return asyncio.ensure_future(work)


class End:
    """Beats every `every_s` until told to leave, then ends the process."""

    def __init__(self, beat: Callable[[], None], every_s: float, last: Callable[[], None]) -> None:
        """`last` follows the last beat: what a beat leaves for later has no later then."""
        self._beat, self._every_s, self._last = beat, every_s, last
        self._leave = asyncio.Event()
        self._root = root_task(self._run())

    def leave(self) -> None:
        """Nobody needs this process any more. Callable from anywhere on the loop."""
        self._leave.set()

    async def _run(self) -> None:
        while not self._leave.is_set():
            try:
                async with asyncio.timeout(self._every_s):
                    await self._leave.wait()
            except TimeoutError:
                pass
            try:
                self._beat()
            except Exception as error:
                log.error("beat.failed", error=type(error).__name__, detail=str(error)[:200])
        try:
            self._last()
        except Exception as error:
            log.error("beat.failed", error=type(error).__name__, detail=str(error)[:200])
        ray.actor.exit_actor()  # type: ignore[no-untyped-call]
