"""Where an application's functions run: never on the loop that carries calls.

    async functions    on one loop in a thread of its own, so that what they keep (a client, a pool) has one loop
    other functions    each in a thread of its own

The threads are daemons: one that hangs holds up no exit. Python's one interpreter lock is shared all the same; what
computes for long belongs behind a webhook.

Bound    `RUNNING_MAX` functions that have not returned, also those that nobody waits for any more: past it a call is
         refused. A thread cannot be stopped, so a function that hangs keeps its place until it returns.
Raises   `ToolsBusy`; whatever the function raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["RUNNING_MAX", "ToolThreads", "ToolsBusy"]

RUNNING_MAX = 64
"""Tools wait for networks; 64 threads that wait cost some MB."""
_CLOSE_S, _JOIN_S = 1.0, 0.1


class ToolsBusy(Exception):
    """So many functions run already."""


class ToolThreads:
    """Used from one loop. `running` counts what has not returned."""

    def __init__(self, running_max: int = RUNNING_MAX) -> None:
        self.running = 0
        self._max = running_max
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._over = asyncio.Event()

    async def run(self, call: Callable[..., Any], arguments: dict[str, Any], *, is_async: bool) -> Any:
        """What the function gives. Cancelled: an async function is cancelled too, another is left to itself."""
        if self.running >= self._max:
            raise ToolsBusy(f"{self._max} functions run already")
        self.running += 1
        job = _Job(asyncio.get_running_loop(), self._returned)
        if not is_async:
            threading.Thread(target=job.work, args=(call, arguments), name="tool", daemon=True).start()
            return await job.answer
        loop = self._started()
        asyncio.run_coroutine_threadsafe(job.work_async(call, arguments), loop)
        try:
            return await job.answer
        except asyncio.CancelledError:
            loop.call_soon_threadsafe(job.stop)
            raise

    async def close(self) -> None:
        """Cancel what runs on the loop and end it, bounded: a function that holds the loop is left to itself."""
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        loop.call_soon_threadsafe(_end, loop)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._over.wait()
                self._thread.join(_JOIN_S)

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            ended = partial(asyncio.get_running_loop().call_soon_threadsafe, self._over.set)
            self._thread = threading.Thread(target=_live, args=(self._loop, ended), name="tools", daemon=True)
            self._thread.start()
        return self._loop

    def _returned(self) -> None:
        self.running -= 1


class _Job:
    """One function under way: it works elsewhere and answers here."""

    def __init__(self, here: asyncio.AbstractEventLoop, returned: Callable[[], None]) -> None:
        self.answer: asyncio.Future[Any] = here.create_future()
        self._here, self._returned = here, returned
        self._task: asyncio.Task[Any] | None = None
        self._unwanted = False

    def work(self, call: Callable[..., Any], arguments: dict[str, Any]) -> None:
        """In a thread of its own."""
        result, failure = None, None
        try:
            result = call(**arguments)
        except BaseException as error:  # SystemExit and its like end this function, not the actor
            failure = error
        self._tell(result, failure)

    async def work_async(self, call: Callable[..., Any], arguments: dict[str, Any]) -> None:
        """On the loop of the async functions, which goes on whatever they raise."""
        result: Any = None
        failure: BaseException | None = None
        self._task = asyncio.current_task()
        try:
            if not self._unwanted:
                result = await call(**arguments)
        except asyncio.CancelledError as error:
            failure = error
            raise
        except Exception as error:
            failure = error
        finally:
            self._tell(result, failure)

    def stop(self) -> None:
        """On that loop too: nobody waits any more."""
        self._unwanted = True
        if self._task is not None:
            self._task.cancel()

    def _tell(self, result: Any, failure: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the actor has ended
            self._here.call_soon_threadsafe(self._settle, result, failure)

    def _settle(self, result: Any, failure: BaseException | None) -> None:
        self._returned()
        if self.answer.done():
            return
        if failure is None:
            self.answer.set_result(result)
        elif isinstance(failure, Exception) and not isinstance(failure, StopIteration):
            self.answer.set_exception(failure)
        else:
            self.answer.set_exception(RuntimeError(type(failure).__name__))


def _live(loop: asyncio.AbstractEventLoop, ended: Callable[[], object]) -> None:
    loop.run_forever()
    loop.close()
    with contextlib.suppress(RuntimeError):
        ended()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.call_soon(loop.call_soon, loop.stop)  # behind the turn in which they end
