"""Those who wait for the books to change: woken all at once, each looks for itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

from actors.host_book import HostBook
from actors.pool_book import PoolBook

__all__ = ["Asking", "Waiters"]


class Waiters:
    """`wake()` after each change; `wait(timeout_s)` until the next one, or until the time is over."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout_s: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(timeout_s, 0.0)):
                    await waiter
        finally:
            self._waiting.discard(waiter)


class Asking:
    """While inside, these pools and hosts know that one more waits for them, and are scaled for it."""

    def __init__(self, *books: PoolBook | HostBook) -> None:
        self._books = books

    def __enter__(self) -> None:
        for book in self._books:
            book.waiting += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for book in self._books:
            book.waiting -= 1
