"""Real sockets, bounded: run a scene, and fail it if it hangs or leaves a task or a thread behind.

Used by  every test of a network adapter. Deadlines in tenths of a second; `LIMIT_S` is for a machine that is busy.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from actors.providers import interface as i

__all__ = ["LIMIT_S", "Ear", "run", "spec"]

LIMIT_S = 30.0
_WAIT_S = 5.0

T = TypeVar("T")


def run(scene: Coroutine[Any, Any, T], limit_s: float = LIMIT_S) -> T:
    """The scene's result. Fails on tasks and threads left behind."""
    before = set(threading.enumerate())

    async def whole() -> T:
        async with asyncio.timeout(limit_s):
            result = await scene
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if left:  # a transport that was aborted says so in the next turns of the loop
                await asyncio.wait(left, timeout=0.5)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        await asyncio.get_running_loop().shutdown_default_executor()
        return result

    result = asyncio.run(whole())
    for thread in set(threading.enumerate()) - before:  # one that waited for a process to end needs a moment
        thread.join(1.0)
    assert set(threading.enumerate()) <= before, "threads left behind"
    return result


def spec(stream: int = 1, *, rate_hz: int = 16000, pos: int = 0, **options: Any) -> i.StreamSpec:
    """What a session opens a stream with; `options` are the stream's."""
    return i.StreamSpec(
        stream=stream, epoch=1, session_id=f"s{stream}", tenant_id="acme", rate_hz=rate_hz, pos=pos, options=options
    )


class Ear:
    """What a stream said, in order, with a bounded wait for what it should say."""

    def __init__(self, wait_s: float = _WAIT_S) -> None:
        self.wait_s = wait_s
        self.told: list[i.ProviderEvent] = []
        self.at_s: list[float] = []
        """When, in the loop's time."""
        self._news = asyncio.Event()

    def __call__(self, event: i.ProviderEvent) -> None:
        self.told.append(event)
        self.at_s.append(asyncio.get_running_loop().time())
        self._news.set()

    async def wait(self, kind: type[i.ProviderEvent], count: int = 1, timeout_s: float | None = None) -> Any:
        """The `count`-th event of that kind."""
        await self.until(lambda: len(self.all(kind)) >= count, timeout_s)
        return self.all(kind)[count - 1]

    async def until(self, holds: Callable[[], bool], timeout_s: float | None = None) -> None:
        timeout_s = self.wait_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not told in {timeout_s:g} s; told: {list(map(_brief, self.told[-12:]))}") from None

    def all(self, kind: type[i.ProviderEvent]) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]

    def pcm(self, reply: int) -> bytes:
        """The audio of a reply; fails unless it is contiguous from 0 and whole samples."""
        sound = b""
        for event in self.all(i.TtsAudio):
            if event.reply == reply:
                assert event.pos * 2 == len(sound), f"audio at {event.pos}, expected {len(sound) // 2}"
                assert len(event.pcm) % 2 == 0
                sound += event.pcm
        return sound


def _brief(event: i.ProviderEvent) -> str:
    """Audio by its length: a failure is to be read."""
    if isinstance(event, i.TtsAudio):
        return f"TtsAudio(reply={event.reply}, pos={event.pos}, {len(event.pcm)} bytes)"
    return repr(event)
