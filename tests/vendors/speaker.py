"""A voice for the fakes of text-to-speech vendors: it speaks the tones of `actors.providers.fake_tones`.

What comes out can be read back (`hear`), so a test sees in the audio which words were spoken, lost or spoken twice.
Jobs of one context are done in order, several contexts side by side; audio comes as fast as it is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

from actors.providers.fake_tones import Spoken, say
from tests.vendors.peer import Gone

__all__ = ["Worker", "pieces", "side_by_side", "spoken"]

Job = Callable[[], Awaitable[None]]


def spoken(text: str, rate_hz: int) -> Spoken:
    return say(text, rate_hz)


def pieces(pcm: bytes, rate_hz: int, piece_ms: int = 120) -> Iterator[bytes]:
    """Audio as it is sent: nothing where there is nothing."""
    step = 2 * (rate_hz * piece_ms // 1000)
    for at in range(0, len(pcm), step):
        yield pcm[at : at + step]


@asynccontextmanager
async def side_by_side() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of a connection's tasks: they end together with it, and its end is `Gone`, not a group of them."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
            raise Gone  # the conversation is over: nobody waits for what was still to be said
    except* Gone:
        pass


class Worker:
    """Does the jobs of one context, in order; `stop` drops those that wait, and the present one ends when it looks."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.stopped = False
        self._jobs: asyncio.Queue[Job | None] = asyncio.Queue()
        self._task = group.create_task(self._work())

    def do(self, job: Job) -> None:
        self._jobs.put_nowait(job)

    def finish(self) -> None:
        """After the jobs that wait there are no more."""
        self._jobs.put_nowait(None)

    def stop(self) -> None:
        self.stopped = True
        self._jobs.put_nowait(None)

    def kill(self) -> None:
        self._task.cancel()

    async def _work(self) -> None:
        while (job := await self._jobs.get()) is not None:
            if not self.stopped:
                await job()
