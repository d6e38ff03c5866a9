"""What the router needs of the outside: actors that start and end, and a link to each.

`Fleet` is Ray (cluster/pools.py) or a fake in a test; `dial` is a real link or a fake. The router's own code is the
same on both, so it is tested in one process in virtual time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from actors.wire import AnyRouterOp, AnyWorkerOp, ProviderSpec, WorkerInfo
from router.errors import ClusterError

__all__ = ["Dial", "Fleet", "NoNode", "WorkerLink", "WorkerSink"]


class NoNode(ClusterError):
    """No live node serves this region: an actor for it would wait for ever."""


class Fleet(Protocol):
    """Starts and ends workers. Every method may take long and is bounded by its caller."""

    async def start_host(self, name: str, region: str, key: bytes) -> WorkerInfo:
        """A session host of that name, serving. Raises ClusterError, NoNode."""
        ...

    async def start_provider(self, name: str, spec: ProviderSpec, key: bytes) -> WorkerInfo:
        """A provider actor of that name, warm and probed. Raises ProviderError, ConfigError, ClusterError, NoNode."""
        ...

    async def kill(self, name: str) -> None:
        """End it at once, if it is there. Never raises."""
        ...

    async def living(self) -> tuple[WorkerInfo, ...]:
        """Workers that live and answer: what a restarted router adopts."""
        ...

    async def key(self) -> bytes | None:
        """The cluster key as a living worker has it; None where none lives."""
        ...

    async def regions(self) -> frozenset[str]:
        """Regions that live nodes are labelled with; empty where no node is labelled."""
        ...

    async def check(self, specs: tuple[ProviderSpec, ...]) -> dict[str, str | None]:
        """Provider name -> None when it is ready to serve, else what is wrong with it, for people."""
        ...


class WorkerLink(Protocol):
    """The router's end of its link to one worker."""

    def send(self, op: AnyRouterOp) -> None:
        """Never waits; what is sent into a closed link is lost, and `on_closed` has told."""
        ...

    async def close(self) -> None: ...


class WorkerSink(Protocol):
    """Who hears what a worker says."""

    def on_op(self, actor: str, op: AnyWorkerOp) -> None: ...

    def on_closed(self, actor: str, detail: str) -> None: ...


Dial = Callable[[WorkerInfo, bytes, WorkerSink], Awaitable[WorkerLink]]
"""Open a link to a worker with the cluster key. Raises LinkError."""
