"""The process of a worker: a plain host inside, its end, its metrics and its logs around it.

The only thing that Ray calls: `start` once, `describe` and `key` by a router that adopts it, `stop` at the end.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from actors import live_check, logs, observe
from actors.garbage import Garbage
from actors.live_check import LiveLimits, LiveResult
from actors.provider_host import ProviderHost
from actors.wire import ProviderSpec, WorkerInfo
from cluster import metrics, process
from cluster.configuration import load
from router.errors import ClusterError, PatchbayError
from router.readiness import live_checks

__all__ = ["CheckerActor", "HostActor", "ProviderActor"]

_CHECK_S = 20.0


class _WorkerActor:
    """What hosts and provider actors share. `_host` is what does the work."""

    stage = "host"

    def __init__(self, name: str) -> None:
        logs.setup()
        self._name = name
        self._host: Any = None
        self._key: bytes | None = None
        self._region = self._provider = ""
        self._flush = metrics.Flush()
        observe.install(self._flush.aggregate)
        self._garbage = Garbage()
        self._end = process.End(self._beat, metrics.FLUSH_S, self._flush.drain)

    def _serve(self, key: bytes) -> None:
        """It has started."""
        self._key = key
        self._garbage.start(asyncio.get_running_loop().time())

    async def describe(self) -> WorkerInfo:
        """Raises ClusterError while it has not started: a router that finds it so ends it."""
        if self._key is None:
            raise ClusterError(f"{self._name} has not started")
        info: WorkerInfo = await self._host.describe()
        return info

    async def key(self) -> bytes | None:
        """The cluster key, for a router that restarted. Over Ray's own channel only."""
        return self._key

    async def statistics(self) -> Any:
        return self._host.statistics()

    async def stop(self) -> None:
        await self._host.stop()

    def _beat(self) -> None:
        """Every few seconds, without a Ray call: metrics go to the process's own exporter."""
        statistics = getattr(self._host, "statistics", None)
        told = statistics() if statistics and self._key else None
        lag_ms = getattr(told, "lag_p99_ms", None)
        if told is not None and hasattr(told, "ended"):
            self._garbage.beat(asyncio.get_running_loop().time(), told.live, told.ended)
        if lag_ms is not None:
            observe.tell(
                observe.Lag(stage=self.stage, region=self._region, provider=self._provider, p99_ms=float(lag_ms))
            )
        self._flush.flush()


class ProviderActor(_WorkerActor):
    """One provider actor."""

    async def start(self, spec: ProviderSpec, key: bytes, bind_ip: str | None) -> WorkerInfo:
        self._host = ProviderHost(self._name)
        self.stage, self._region, self._provider = spec.stage, spec.region, spec.provider
        info: WorkerInfo = await self._host.start(
            spec, key, bind_ip=process.ip(bind_ip), node=process.node(), leave=self._end.leave
        )
        self._serve(key)
        return info


class HostActor(_WorkerActor):
    """One session host. `host_class` is `module:Class`, so that a test may put a small one in its place."""

    async def start(
        self, host_class: str, region: str, key: bytes, bind_ip: str | None, max_sessions: int, records_path: str | None
    ) -> WorkerInfo:
        module, _, name = host_class.partition(":")
        self._host = getattr(importlib.import_module(module), name)(self._name)
        self._region = region
        info: WorkerInfo = await self._host.start(
            region,
            key,
            bind_ip=process.ip(bind_ip),
            node=process.node(),
            max_sessions=max_sessions,
            leave=self._end.leave,
            records_path=records_path,
        )
        self._serve(key)
        return info


class CheckerActor:
    """Tries providers, one after the other, in one process that is then dropped."""

    async def check(self, specs: tuple[ProviderSpec, ...]) -> dict[str, str | None]:
        """Provider -> None when it warms and answers its probe (with retries for what may pass), else what is wrong."""
        return {spec.provider: await self._one(spec) for spec in specs}

    async def live(self, config_text: str, source: str, base_dir: str) -> tuple[LiveResult, ...]:
        """Every provider of this configuration as a call would use it, tried from here. Raises ConfigError."""
        table = load(config_text, source, base_dir, check_environment=False)
        checks, limits = live_checks(table), LiveLimits.of(table.startup)
        return tuple(await live_check.run(checks, limits, base_dir=base_dir))

    async def _one(self, spec: ProviderSpec) -> str | None:
        host = ProviderHost(f"check-{spec.provider}")
        try:
            async with asyncio.timeout(_CHECK_S):
                await host.start(spec, b"\0" * 32)
                await host.stop()
        except TimeoutError:
            return f"provider {spec.provider}: not ready within {_CHECK_S:g} s"
        except PatchbayError as error:
            return str(error)
        except Exception as error:  # of a provider's own code
            return f"provider {spec.provider}: {type(error).__name__}: {error}"[:500]
        return None
