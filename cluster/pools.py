"""The router's fleet, as Ray actors: `actors.fleet.Fleet`.

Region labels place them (regions.py), launch.py makes them; their creation is waited for by who asks, with a
deadline, and what did not come in time is killed by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from actors.wire import ProviderSpec, WorkerInfo
from cluster.launch import launch_checker, launch_worker
from cluster.regions import live_regions, selector
from cluster.settings import ClusterSettings
from cluster.supervise import Living
from cluster.worker_actor import CheckerActor, HostActor, ProviderActor
from router.errors import ClusterError, PatchbayError

__all__ = ["RayFleet"]

_CHECK_S = 60.0
T = TypeVar("T")


class RayFleet:
    """Starts and ends workers on Ray."""

    def __init__(self, settings: ClusterSettings, *, max_sessions: int, records_path: str | None) -> None:
        self._settings, self._max_sessions, self._records_path = settings, max_sessions, records_path
        self._living = Living()

    async def start_host(self, name: str, region: str, key: bytes) -> WorkerInfo:
        labels = selector(region, await self.regions())
        handle = await asyncio.to_thread(
            launch_worker, HostActor, name, (), num_cpus=self._settings.host_cpus, labels=labels
        )
        self._living.handles[name] = handle
        start = handle.start.remote(
            self._settings.host_class, region, key, self._settings.bind_ip, self._max_sessions, self._records_path
        )
        return await _answer(start, name)

    async def start_provider(self, name: str, spec: ProviderSpec, key: bytes) -> WorkerInfo:
        labels = selector(spec.region, await self.regions())
        handle = await asyncio.to_thread(
            launch_worker, ProviderActor, name, (), num_cpus=self._settings.provider_cpus, labels=labels
        )
        self._living.handles[name] = handle
        return await _answer(handle.start.remote(spec, key, self._settings.bind_ip), name)

    async def kill(self, name: str) -> None:
        await self._living.kill(name)

    async def living(self) -> tuple[WorkerInfo, ...]:
        return await self._living.describe()

    async def key(self) -> bytes | None:
        await self._living.find()
        return await self._living.key()

    async def regions(self) -> frozenset[str]:
        return live_regions(await asyncio.to_thread(ray.nodes))

    async def check(self, specs: tuple[ProviderSpec, ...]) -> dict[str, str | None]:
        handle = await asyncio.to_thread(launch_checker, CheckerActor)
        try:
            async with asyncio.timeout(_CHECK_S):
                return await _answer(handle.check.remote(specs), "checker")
        except (TimeoutError, ClusterError) as error:
            return {spec.provider: f"it could not be checked: {error or 'no answer'}" for spec in specs}
        finally:
            await asyncio.to_thread(ray.kill, handle)


async def _answer(call: Awaitable[T], name: str) -> T:
    """A worker's answer; what it raised as itself, what Ray raises as a ClusterError."""
    try:
        return await call
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, PatchbayError):
            raise cause from None
        raise ClusterError(f"{name}: {type(cause).__name__}: {cause}"[:500]) from None
    except RayError as error:
        raise ClusterError(f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:300]}") from None
