"""The process of the session router: the plain router inside, its life, its metrics and its logs around it.

Ray restarts it for ever; its constructor is then run again with the same arguments (text and settings, references to
secrets only) and the new router adopts the workers that live.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from actors import logs, observe
from actors.attempt import OpenLimits
from actors.client import SessionHandle
from actors.dialling import dial
from actors.lag import LagMonitor
from actors.session_router import SessionRouter
from actors.table_rules import TableRules
from cluster import metrics, process
from cluster.configuration import load
from cluster.pools import RayFleet
from cluster.settings import ClusterSettings
from router.context import RouteContext
from router.errors import PatchbayError

__all__ = ["RouterActor"]

_LAG_TICK_S = 0.1

log = logs.get_logger("router")


class RouterActor:
    """What `open`, `close`, `explain`, `sessions`, `pools` and `scale` are asked of.

    Raises ConfigError from the constructor for a configuration that does not hold; whoever starts a cluster has
    checked it before.
    """

    def __init__(self, config_text: str, source: str, settings: ClusterSettings) -> None:
        logs.setup()
        table = load(config_text, source, settings.base_dir, check_environment=False)
        rules = TableRules(table, settings.base_dir)
        self._flush = metrics.Flush()
        observe.install(self._flush.aggregate)
        fleet = RayFleet(settings, max_sessions=table.hosts.max_sessions, records_path=table.records.path)
        self._router = SessionRouter(
            rules,
            fleet,
            dial,
            unix_s=lambda: datetime.now(UTC).timestamp(),
            limits=OpenLimits(),
            observer=self._flush.aggregate,
            prewarm=settings.prewarm,
        )
        self._lag = LagMonitor(_LAG_TICK_S)
        self._life = process.root_task(self._live())

    async def _live(self) -> None:
        try:
            async with self._router.running():
                await self._beat()
        except BaseException as error:
            log.error("router.failed", error=type(error).__name__, detail=str(error)[:500])
            os._exit(1)  # a crash, so that Ray starts the next one

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        flushed_s = loop.time()
        while True:
            await asyncio.sleep(_LAG_TICK_S)
            now_s = loop.time()
            self._lag.tick(now_s)
            if now_s - flushed_s >= metrics.FLUSH_S:
                flushed_s = now_s
                observe.tell(observe.Lag(stage="router", region="", provider="", p99_ms=self._lag.p99_ms()))
                self._flush.flush()

    # -- what callers ask, over Ray

    async def open(self, ctx: RouteContext | Mapping[str, object]) -> SessionHandle:
        """Plan and place a session; idempotent in `session_id`. Raises SessionRefused."""
        return await self._router.open(ctx)

    async def close(self, session_id: str, timeout_s: float = 5.0) -> None:
        """End a session as its caller would. Raises SessionGone."""
        await self._router.close(session_id, timeout_s)

    async def explain(self, ctx: RouteContext | Mapping[str, object]) -> dict[str, Any]:
        """Which route this context gets, and why the others lost."""
        return self._router.explain(ctx)

    async def sessions(self) -> list[dict[str, Any]]:
        return self._router.sessions()

    async def pools(self) -> list[dict[str, Any]]:
        return self._router.pools()

    async def scale(self, region: str, provider: str, replicas: int, owner: str = "*") -> dict[str, Any]:
        """Keep at least so many actors in that pool. Raises ClusterError."""
        return self._router.scale(region, provider, replicas, owner)

    async def ready(self, providers: bool = False, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until a session host serves; see SessionRouter.ready."""
        return await self._router.ready(providers=providers, timeout_s=timeout_s)

    async def statistics(self) -> dict[str, Any]:
        try:
            return self._router.statistics()
        except PatchbayError:
            return {}  # it has not started yet

    async def info(self) -> dict[str, Any]:
        """Whom one talks to: the version of the route table, the process."""
        return {"version": self._router.rules.version, "pid": os.getpid(), "node": process.node()}

    async def stop(self) -> None:
        """End every worker; live calls end with them."""
        await self._router.stop()
