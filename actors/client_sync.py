"""The same call for programs without asyncio: an event loop in a thread of its own, for as long as the `with` block.

    with session.connect(mode="file") as call:
        call.send(pcm)
        call.end_input()
        for event in call: ...

One thread and one link for each block: many calls at once are a matter for asyncio.

Bounds   every method waits for its asynchronous twin, which has its own deadline; iteration waits for the next event.
Raises   what the asynchronous call raises, in the caller's thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from actors.call import Call
from actors.call_facts import CallStatistics
from actors.events import Event

if TYPE_CHECKING:
    from actors.client import Connection

__all__ = ["SyncCall", "SyncConnection"]

T = TypeVar("T")


class SyncCall:
    """A `Call` whose methods block. Safe to use from several threads: each operation runs on the loop."""

    def __init__(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        self.session_id = call.session_id
        self._call, self._loop = call, loop

    def send(self, pcm: bytes | bytearray | memoryview) -> None:
        """Audio of the caller, any chunking. Live it does not wait; from a file it waits for credit."""
        self._do(self._call.send(pcm))

    def played(self, reply_id: int, ms: float) -> None:
        self._do(self._call.played(reply_id, ms))

    def say(self, text: str | Iterable[str], *, interruptible: bool = True) -> int:
        """Speak `text`, whole or piece by piece. Returns the number of this saying."""
        given = text if isinstance(text, str) else _pieces(text)
        return self._do(self._call.say(given, interruptible=interruptible))

    def interrupt(self) -> None:
        self._do(self._call.interrupt())

    def dtmf(self, digits: str) -> None:
        self._do(self._call.dtmf(digits))

    def end_input(self) -> None:
        self._do(self._call.end_input())

    def close(self) -> None:
        self._do(self._call.close())

    def next_event(self) -> Event | None:
        """The next event, waited for; None after `session.closed`."""
        return self._do(self._call.next_event())

    def statistics(self) -> CallStatistics:
        return self._call.statistics()

    def __iter__(self) -> Iterator[Event]:
        while (event := self.next_event()) is not None:
            yield event

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class SyncConnection:
    """The thread, its loop, and the asynchronous connection that lives in it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ready: Future[SyncCall] = Future()
        self._leave: asyncio.Event | None = None
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="patchbay-call", daemon=True)

    def __enter__(self) -> SyncCall:
        self._thread.start()
        return self._ready.result()  # bounded by the deadlines of connecting and attaching

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._failed = error is not None
        if self._leave is not None:
            self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()  # bounded by `Call.leave`

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        leave = asyncio.Event()
        call = await self._connection.__aenter__()
        self._leave = leave
        self._ready.set_result(SyncCall(call, self._loop))
        await leave.wait()
        failed = RuntimeError("the block was left by an error") if self._failed else None
        await self._connection.__aexit__(type(failed) if failed else None, failed, None)


async def _pieces(text: Iterable[str]) -> AsyncIterator[str]:
    """What a blocking iterable gives, as it gives it: it waits in a thread, not on the call's loop."""
    iterator = iter(text)
    while (piece := await asyncio.to_thread(next, iterator, None)) is not None:
        yield piece
