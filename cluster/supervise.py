"""Who lives: the workers that a router which restarted takes over, and the key that they have.

A worker is a named actor of our namespace. One that does not answer within its deadline, or never got as far as to
start, belongs to nobody and is ended.

Every Ray call that blocks (`get_actor`, listing, creating, killing) runs in a thread, never on the loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray
import ray.util

from actors.logs import get_logger
from actors.wire import WorkerInfo
from cluster.launch import NAMESPACE, ROUTER

__all__ = ["Living"]

ANSWER_S = 2.0
"""A live worker answers in milliseconds; on a machine that stalls, in a second."""

log = get_logger("supervise")


class Living:
    """Handles of workers by name."""

    def __init__(self) -> None:
        self.handles: dict[str, Any] = {}

    async def find(self) -> None:
        """Look for the named actors of our namespace."""
        self.handles.update(await asyncio.to_thread(_find))

    async def key(self) -> bytes | None:
        """The cluster key, as the first worker that answers has it; None where none does."""
        for handle in tuple(self.handles.values()):
            try:
                key: bytes | None = await asyncio.wait_for(handle.key.remote(), ANSWER_S)
            except (TimeoutError, ray.exceptions.RayError):
                continue
            if key is not None:
                return key
        return None

    async def describe(self) -> tuple[WorkerInfo, ...]:
        """What each says of itself; one that does not is ended."""
        names = sorted(self.handles)
        answers = await asyncio.gather(
            *(asyncio.wait_for(self.handles[n].describe.remote(), ANSWER_S) for n in names), return_exceptions=True
        )
        found: list[WorkerInfo] = []
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, WorkerInfo):
                found.append(answer)
            else:
                log.warning("worker.orphan", actor=name, why=type(answer).__name__)
                await self.kill(name)
        return tuple(found)

    async def kill(self, name: str) -> None:
        """End it, if it is there."""
        handle = self.handles.pop(name, None)
        await asyncio.to_thread(_kill, handle, name)


def _find() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in ray.util.list_named_actors(all_namespaces=True):
        name = entry["name"]
        if entry["namespace"] == NAMESPACE and name.startswith(f"{ROUTER}-"):
            try:
                found[name] = ray.get_actor(name, namespace=NAMESPACE)
            except ValueError:
                continue  # it ended in between
    return found


def _kill(handle: Any, name: str) -> None:
    try:
        ray.kill(handle if handle is not None else ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
    except (ValueError, ray.exceptions.RayError):
        return  # it is not there, which is what was wanted
