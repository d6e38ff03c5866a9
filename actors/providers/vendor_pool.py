"""Open sockets of one provider object, kept warm and reused, so that a turn makes no handshake.

    pool = VendorPool(dial, home, settings, rng)
    pool.want(request, 2)                         keep two idle ones for work of that kind, from now on
    await pool.ready(request)                     one is open: ProviderError says why none can be
    socket = await pool.take(request)             a warm one, or a new one: ProviderError
    ...                                           await socket.run(take): it is yours
    pool.give(socket)                             it may serve somebody else: no work of yours is left on it
    pool.drop(socket)                             it may not
    await pool.close()

The key is the whole `SocketRequest`: address with every parameter, headers with the credential, subprotocols. An idle
socket is read all the time, so one that the vendor closed is gone before somebody takes it; it is kept alive with
`keepalive`, and replaced as planned when it has been idle or open too long: the new one is there before the old one
goes, at a time that is drawn, so that a fleet that started together does not knock together.

Bounds   `sockets_max`, idle and in use; past it the oldest idle one of other work goes, then `overload`.
Failing  a prewarming that fails is tried again after 0.5 s, doubling to 30 s; never after auth, config or quota.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from actors.logs import get_logger
from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_socket import Message, SocketRequest, VendorSocket
from actors.task_home import TaskHome
from router.errors import ProviderError

__all__ = ["PoolSettings", "VendorPool"]

_AGAIN_S = (0.5, 30.0)

log = get_logger("vendor.pool")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    sockets_max: int = 256
    age_max_s: float = 3300.0
    """Vendors end sessions after an hour (Deepgram Aura, OpenAI: 60 min); ours end before that."""
    idle_max_s: float = 240.0
    """Unused for so long, a socket that nobody wants kept goes; one that is wanted is replaced."""
    jitter: float = 0.2
    """Both limits are shortened by up to this share."""
    keepalive_s: float = 5.0
    keepalive: Callable[[], Message | None] = lambda: None
    """What an idle socket sends so often; None: nothing."""
    bye: tuple[Message, ...] = ()
    """What the vendor wants to be told before a socket is closed."""


class _Idle:
    __slots__ = ("due_s", "socket", "task")

    def __init__(self, socket: VendorSocket, due_s: float) -> None:
        self.socket, self.due_s = socket, due_s
        self.task: asyncio.Task[None]
        """Reads it; only when that has ended may another read."""


class VendorPool:
    def __init__(
        self,
        dial: Callable[[SocketRequest], Awaitable[VendorSocket]],
        home: TaskHome,
        vendor: Vendor,
        counts: VendorCounts,
        settings: PoolSettings | None = None,
        rng: Random | None = None,
    ) -> None:
        self.settings = settings or PoolSettings()
        self._dial, self._home, self._vendor, self._counts = dial, home, vendor, counts
        self._rng = rng or Random()
        self._idle: dict[SocketRequest, list[_Idle]] = {}
        self._used: dict[VendorSocket, float] = {}
        """In use, and when each is too old."""
        self._wanted: dict[SocketRequest, int] = {}
        self._warming: set[SocketRequest] = set()
        self._dialling = 0
        self._closed = False

    @property
    def idle(self) -> int:
        return sum(map(len, self._idle.values()))

    @property
    def used(self) -> int:
        return len(self._used)

    def want(self, request: SocketRequest, count: int) -> None:
        """Keep `count` idle sockets of that kind; 0: no longer. The first are dialled at once, in the background."""
        if count <= 0:
            self._wanted.pop(request, None)
            return
        self._wanted[request] = count
        self._warm(request)

    async def take(self, request: SocketRequest) -> VendorSocket:
        """Yours alone until `give` or `drop`. Raises ProviderError."""
        while self._idle.get(request):
            idle = self._idle[request][-1]
            self._forget(idle)
            idle.task.cancel()
            await asyncio.wait([idle.task])
            if not idle.socket.closed:
                self._counts.reused += 1
                self._used[idle.socket] = idle.socket.opened_s + self._drawn_s(self.settings.age_max_s)
                self._warm(request)
                return idle.socket
        socket = await self._new(request)
        self._warm(request)
        return socket

    async def ready(self, request: SocketRequest) -> None:
        """One of that kind is open and idle. Raises ProviderError where it cannot be had."""
        if not self._idle.get(request):
            self.give(await self._new(request))

    def is_old(self, socket: VendorSocket) -> bool:
        """It should be given back at the next quiet moment, and will be replaced."""
        return asyncio.get_running_loop().time() >= self._used.get(socket, 0.0)

    def give(self, socket: VendorSocket) -> None:
        """Back, while nobody runs it. Closed where it is of no more use, too old, or not needed."""
        if socket not in self._used:
            return
        if self._closed or socket.closed or self.is_old(socket):
            if not self._closed and not socket.closed:
                self._counts.rolled_over += 1
            self.drop(socket)
            return
        due_s = self._used.pop(socket)
        self._keep(socket, due_s)

    def drop(self, socket: VendorSocket) -> None:
        """Close it, in the background."""
        self._used.pop(socket, None)
        self._home.spawn(self._end(socket), "close a socket")
        self._warm(socket.request)

    async def close(self) -> None:
        """All sockets, idle and in use. Idempotent, bounded."""
        self._closed = True
        self._wanted.clear()
        idle = [one for some in self._idle.values() for one in some]
        self._idle.clear()
        for one in idle:
            one.task.cancel()
        used, self._used = list(self._used), {}
        await asyncio.gather(*(self._end(s) for s in [*(one.socket for one in idle), *used]), return_exceptions=True)

    # -- inside

    async def _end(self, socket: VendorSocket) -> None:
        await socket.close(bye=self.settings.bye)

    def _drawn_s(self, limit_s: float) -> float:
        return limit_s * (1.0 - self.settings.jitter * self._rng.random())

    async def _new(self, request: SocketRequest) -> VendorSocket:
        if self.idle + self.used + self._dialling >= self.settings.sockets_max and not self._evict():
            raise self._vendor.error("overload", f"all {self.settings.sockets_max} sockets are in use")
        self._dialling += 1
        try:
            socket = await self._dial(request)
        finally:
            self._dialling -= 1
        if self._closed:
            await self._end(socket)
            raise self._vendor.error("connect", "the provider is closing")
        self._used[socket] = socket.opened_s + self._drawn_s(self.settings.age_max_s)
        return socket

    def _evict(self) -> bool:
        """Let the idle socket go that has been open longest."""
        oldest = min((one for some in self._idle.values() for one in some), default=None, key=_opened_s)
        if oldest is None:
            return False
        self._forget(oldest)
        oldest.task.cancel()
        self._home.spawn(self._end(oldest.socket), "close an idle socket")
        return True

    def _keep(self, socket: VendorSocket, age_due_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        one = _Idle(socket, min(age_due_s, now_s + self._drawn_s(self.settings.idle_max_s)))
        self._idle.setdefault(socket.request, []).append(one)
        one.task = self._home.spawn(self._tend(one), "an idle socket")

    def _forget(self, one: _Idle) -> None:
        some = self._idle.get(one.socket.request, [])
        if one in some:
            some.remove(one)
        if not some:
            self._idle.pop(one.socket.request, None)

    async def _tend(self, one: _Idle) -> None:
        """Read an idle socket and keep it alive, until it is taken (cancelled), ends, or its time is over."""
        try:
            async with asyncio.timeout_at(one.due_s), asyncio.TaskGroup() as group:
                alive = group.create_task(self._keep_alive(one.socket))
                await _quietly(one.socket)
                alive.cancel()
        except TimeoutError:
            await self._replace(one)
        if one.socket.closed:  # the vendor's doing: no work was on it, so it is no failure
            self._forget(one)
            await one.socket.close()
            self._warm(one.socket.request)

    async def _keep_alive(self, socket: VendorSocket) -> None:
        while True:
            await asyncio.sleep(self.settings.keepalive_s)
            message = self.settings.keepalive()
            if message is not None:
                socket.send(message)

    async def _replace(self, one: _Idle) -> None:
        """Planned: where it is wanted, the next one is there before this one goes."""
        request = one.socket.request
        some = self._idle.get(request, [])
        if len(some) <= self._wanted.get(request, 0):
            try:
                socket = await self._dial(request)
            except ProviderError as error:
                log.warning("vendor.roll_over_failed", provider=self._vendor.name, kind=error.kind)
            else:
                self._keep(socket, socket.opened_s + self._drawn_s(self.settings.age_max_s))
        self._counts.rolled_over += 1
        self._forget(one)
        await self._end(one.socket)

    def _warm(self, request: SocketRequest) -> None:
        if not self._closed and request in self._wanted and request not in self._warming:
            self._warming.add(request)
            self._home.spawn(self._fill(request), "prewarm")

    async def _fill(self, request: SocketRequest) -> None:
        """Dial until as many are idle as are wanted."""
        wait_s = _AGAIN_S[0]
        try:
            while not self._closed and len(self._idle.get(request, [])) < self._wanted.get(request, 0):
                try:
                    self.give(await self._new(request))
                    continue
                except ProviderError as error:
                    if self._closed:
                        return
                    log.warning("vendor.prewarm_failed", provider=self._vendor.name, kind=error.kind)
                    if not error.retryable:
                        self._wanted.pop(request, None)
                        return
                    least_s = error.retry_after_s or 0.0
                await asyncio.sleep(max(least_s, wait_s * (1.0 - self.settings.jitter * self._rng.random())))
                wait_s = min(2 * wait_s, _AGAIN_S[1])
        finally:
            self._warming.discard(request)


async def _quietly(socket: VendorSocket) -> None:
    """Run it with nobody to talk to: what it says is not for anybody."""
    try:
        await socket.run(lambda message: None)
    except ProviderError:
        return


def _opened_s(one: _Idle) -> float:
    return one.socket.opened_s
