"""Sockets that several replies share, of one session or of many: what vendors call contexts.

    carriers.open(context)        a place on a socket that is open, or on the next one; then `context.user.placed`
    context.send([...])           messages of this context
    carriers.leave(context)       its place is free
    await carriers.ready(request) a socket is open, or ProviderError: what the vendor says of key and parameters

A *carrier* is a socket that is in use. It comes from the pool with the first context and goes back there when the last
one has left, so that what keeps idle sockets (prewarming, keep-alive, planned roll-over) is the pool's alone. A
context that was ended or cancelled keeps its place until the vendor says that it is over: it still counts there.

Failing  a socket that is lost tells every context on it; who has lost nothing may open another. A context that the
         vendor does not end within `over_s` makes its socket take no further ones, where the vendor says when contexts
         are over; where it does not say, its place is free then.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_pool import VendorPool
from actors.providers.vendor_socket import Message, SocketRequest, VendorSocket
from actors.task_home import TaskHome
from router.errors import ProviderError

__all__ = ["Carrier", "CarrierLimits", "Carriers", "Context", "ContextUser"]

_REST_S = 0.05
"""A socket without a context waits so long for the next one before the pool has it back: replies follow replies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierLimits:
    contexts_max: int = 1
    """Contexts of one socket, those that are ending included."""
    tells_over: bool = True
    """The vendor says when a context is over, after a cancel too."""
    over_s: float = 2.0
    """So long it may take to say so."""
    flushes_max: int | None = None
    """Flushes of one socket within `window_s`; None: any."""
    chars_max: int | None = None
    """Characters of text, likewise."""
    window_s: float = 60.0


class ContextUser(Protocol):
    """Whose context it is: all of it is called from the socket's reader, and must not wait."""

    def placed(self, context: Context) -> None:
        """It may send now."""
        ...

    def lost(self, context: Context, error: ProviderError) -> None:
        """Its socket is gone, or was not to be had."""
        ...

    def sound(self, context: Context, pcm: bytes) -> None: ...
    def timed(self, context: Context, token: str, start_ms: float, end_ms: float) -> None:
        """Times from the beginning of the context's audio."""
        ...

    def flushed(self, context: Context) -> None:
        """Everything before its oldest flush has been spoken."""
        ...

    def over(self, context: Context) -> None:
        """The vendor has ended it."""
        ...

    def refused(self, context: Context, error: ProviderError) -> None:
        """The vendor's own error for this context."""
        ...


class Context:
    """One stretch of speech at the vendor. `options` is what the vendor is asked for it with."""

    __slots__ = ("carrier", "chars", "id", "options", "request", "samples", "state", "user")

    def __init__(self, request: SocketRequest, options: Any, user: ContextUser) -> None:
        self.id = str(uuid.uuid4())
        self.request, self.options = request, options
        self.user: ContextUser | None = user
        """None: nobody listens any more."""
        self.carrier: Carrier | None = None
        self.chars = 0
        """Of the first text that it will have: its socket must allow them."""
        self.samples = 0
        """Given so far."""
        self.state: Any = None
        """Of the vendor's dialect."""

    def send(self, messages: Sequence[Message]) -> None:
        if self.carrier is not None:
            for message in messages:
                self.carrier.socket.send(message)


class Carrier:
    """A socket in use."""

    def __init__(self, carriers: Carriers, socket: VendorSocket) -> None:
        self.socket = socket
        self.contexts: dict[str, Context] = {}
        self.is_worn = False
        """It takes no further context, and is closed when the last has left."""
        self.counts = carriers.counts
        self.state: Any = None
        """Of the vendor's dialect."""
        self.spent: deque[tuple[float, int, int]] = deque()
        """When how many flushes and characters were sent."""
        self.task: asyncio.Task[None]
        self._limits = carriers.limits

    def find(self, context_id: str | None) -> Context | None:
        """The context that a message is for, where somebody listens. Anything else is counted."""
        context = self.contexts.get(context_id or "")
        if context is None or context.user is None:
            self.counts.stale += 1
            return None
        return context

    @property
    def only(self) -> Context | None:
        """The context of a socket that has one at most."""
        return next(iter(self.contexts.values()), None)

    def note(self, *, flushes: int = 0, chars: int = 0) -> None:
        """So much was sent."""
        if self._limits.flushes_max is not None or self._limits.chars_max is not None:
            self.spent.append((asyncio.get_running_loop().time(), flushes, chars))

    def may_speak(self, chars: int = 0) -> bool:
        """The vendor allows another flush, and so much text, now."""
        since_s = asyncio.get_running_loop().time() - self._limits.window_s
        while self.spent and self.spent[0][0] <= since_s:
            self.spent.popleft()
        flushes_max, chars_max = self._limits.flushes_max, self._limits.chars_max
        if flushes_max is not None and sum(flushes for _, flushes, _ in self.spent) >= flushes_max:
            return False
        spent = sum(chars for _, _, chars in self.spent)
        return chars_max is None or not spent or spent + chars <= chars_max

    def takes(self, context: Context) -> bool:
        room = len(self.contexts) < self._limits.contexts_max
        return room and not self.is_worn and not self.socket.closed and self.may_speak(context.chars)


class Carriers:
    def __init__(
        self, pool: VendorPool, home: TaskHome, vendor: Vendor, counts: VendorCounts,
        take: Callable[[Carrier, Message], None], limits: CarrierLimits,
    ) -> None:  # fmt: skip
        self.limits, self.counts = limits, counts
        self._pool, self._home, self._vendor, self._take = pool, home, vendor, take
        self._carriers: dict[SocketRequest, list[Carrier]] = {}
        self._waiting: dict[SocketRequest, deque[Context]] = {}
        self._opening: dict[SocketRequest, int] = {}
        """Sockets on their way."""
        self._spent: dict[VendorSocket, deque[tuple[float, int, int]]] = {}
        """Of sockets in the pool: the vendor still counts it."""
        self._locks: dict[SocketRequest, asyncio.Lock] = {}
        self._closed = False

    @property
    def contexts(self) -> int:
        """On sockets, those that are ending included."""
        return sum(len(c.contexts) for some in self._carriers.values() for c in some)

    async def ready(self, request: SocketRequest) -> None:
        """Raises ProviderError where no socket of that kind is to be had. Many who ask at once wait for one."""
        lock = self._locks.setdefault(request, asyncio.Lock())
        try:
            async with lock:
                if not self._carriers.get(request):
                    await self._pool.ready(request)
        finally:
            if not lock.locked():
                self._locks.pop(request, None)

    def open(self, context: Context) -> None:
        """Find it a place: at once where a socket has room, else with the next socket. Never waits."""
        for carrier in self._carriers.get(context.request, ()):
            if carrier.takes(context) and not self._pool.is_old(carrier.socket):
                self._place(carrier, context)
                return
        self._waiting.setdefault(context.request, deque()).append(context)
        self._open_more(context.request)

    def leave(self, context: Context) -> None:
        """Its place is free. Idempotent."""
        context.user = None
        waiting = self._waiting.get(context.request)
        if waiting is not None and context in waiting:
            waiting.remove(context)
        carrier, context.carrier = context.carrier, None
        if carrier is not None and carrier.contexts.pop(context.id, None) is not None:
            self._went(carrier)

    def end(self, context: Context, messages: Sequence[Message]) -> None:
        """Nobody listens to it any more, and the vendor is told so; it leaves when the vendor says that it is over."""
        context.user = None
        carrier = context.carrier
        if carrier is None:
            self.leave(context)
            return
        context.send(messages)
        asyncio.get_running_loop().call_later(self.limits.over_s, self._not_over, context, carrier)

    def over(self, context: Context) -> None:
        """The vendor says that it is."""
        user = context.user
        self.leave(context)
        if user is not None:
            user.over(context)

    async def close(self) -> None:
        """All at once, without a word to their users; the pool closes the sockets."""
        self._closed = True
        carriers = [c for some in self._carriers.values() for c in some]
        self._carriers.clear()
        self._waiting.clear()
        for carrier in carriers:
            carrier.contexts.clear()
            carrier.task.cancel()

    # -- inside

    def _open_more(self, request: SocketRequest) -> None:
        """As many sockets on their way as those who wait need."""
        need = -(-len(self._waiting.get(request, ())) // self.limits.contexts_max)
        while self._opening.get(request, 0) < need and not self._closed:
            self._opening[request] = self._opening.get(request, 0) + 1
            self._home.spawn(self._carry(request), "carry contexts")

    async def _carry(self, request: SocketRequest) -> None:
        """A socket from the pool until its last context has left."""
        error: ProviderError | None = None
        try:
            socket = await self._pool.take(request)
        except ProviderError as failure:
            error = failure
        finally:
            self._opening[request] -= 1
            if not self._opening[request]:
                del self._opening[request]
        waiting = self._waiting.get(request, deque())
        if error is not None:
            for _ in range(min(self.limits.contexts_max, len(waiting))):
                self._tell_lost(waiting.popleft(), error)
            if not waiting:
                self._waiting.pop(request, None)
            return
        carrier = self._carrier(socket)
        while waiting and carrier.takes(waiting[0]):
            self._place(carrier, waiting.popleft())
        carrier.is_worn = bool(waiting) and not carrier.contexts  # kept warm, and of no use to who waits
        if not waiting:
            self._waiting.pop(request, None)
        self._open_more(request)
        if not carrier.contexts:
            self._went(carrier)
        await self._run(carrier)

    def _carrier(self, socket: VendorSocket) -> Carrier:
        carrier = Carrier(self, socket)
        carrier.spent.extend(self._spent.pop(socket, ()))
        task = asyncio.current_task()
        assert task is not None
        carrier.task = task
        self._carriers.setdefault(socket.request, []).append(carrier)
        return carrier

    async def _run(self, carrier: Carrier) -> None:
        socket = carrier.socket
        error = self._vendor.error("connect", "the connection was closed")
        try:
            await socket.run(lambda message: self._take(carrier, message))
        except ProviderError as failure:
            error = failure
        except asyncio.CancelledError:
            if self._closed or carrier.contexts:  # not by us: the last one has not left
                raise
            self._give(carrier)
            return
        self._forget(carrier)
        self._pool.drop(socket)
        lost, carrier.contexts = list(carrier.contexts.values()), {}
        for context in lost:
            context.carrier = None
            self._tell_lost(context, error)

    def _tell_lost(self, context: Context, error: ProviderError) -> None:
        user, context.user = context.user, None
        if user is not None:
            user.lost(context, error)

    def _place(self, carrier: Carrier, context: Context) -> None:
        carrier.contexts[context.id] = context
        context.carrier = carrier
        if context.user is not None:
            context.user.placed(context)

    def _went(self, carrier: Carrier) -> None:
        """A context has left: another may have its place, and the last one leaves the socket to the pool."""
        request = carrier.socket.request
        waiting = self._waiting.get(request)
        while waiting and carrier.takes(waiting[0]) and not self._pool.is_old(carrier.socket):
            self._place(carrier, waiting.popleft())
        if not carrier.contexts:
            asyncio.get_running_loop().call_later(0 if carrier.is_worn else _REST_S, self._rest, carrier)

    def _rest(self, carrier: Carrier) -> None:
        """Nobody has come since: the pool keeps it."""
        if not carrier.contexts and carrier in self._carriers.get(carrier.socket.request, ()):
            self._forget(carrier)
            carrier.task.cancel()

    def _forget(self, carrier: Carrier) -> None:
        some = self._carriers.get(carrier.socket.request, [])
        if carrier in some:
            some.remove(carrier)
        if not some:
            self._carriers.pop(carrier.socket.request, None)

    def _give(self, carrier: Carrier) -> None:
        if carrier.is_worn:
            self._pool.drop(carrier.socket)
            return
        if not carrier.may_speak():  # the next one would have to wait
            self._pool.drop(carrier.socket)
            return
        if carrier.spent:
            for socket in [s for s in self._spent if s.closed]:
                del self._spent[socket]
            self._spent[carrier.socket] = carrier.spent
        self._pool.give(carrier.socket)

    def _not_over(self, context: Context, carrier: Carrier) -> None:
        if carrier.contexts.get(context.id) is not context:
            return
        carrier.is_worn = carrier.is_worn or self.limits.tells_over
        self.counts.late += 1
        self.leave(context)
