"""A caller that talks in real time, in a thread of its own: one second of speech in every three."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType

from actors import events as ev
from actors.call import Call
from actors.client import SessionHandle

LOUD, SOFT = b"\x00\x20" * 320, bytes(640)
_PATIENCE_S = 20.0


class Talker:
    """`with Talker(handle) as call:` talks until the block ends; `events` is what came, `over` says that it ended."""

    def __init__(self, handle: SessionHandle) -> None:
        self.events: list[ev.Event] = []
        self.reattached = 0
        self.failure: BaseException | None = None
        self._handle = handle
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._attached = threading.Event()

    def __enter__(self) -> Talker:
        self._thread.start()
        assert self._attached.wait(_PATIENCE_S), self.failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.over:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive(), "the call did not end"

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    @property
    def turns(self) -> int:
        return sum(isinstance(e, ev.TurnEnded) for e in self.events)

    def undisturbed(self) -> None:
        """Nothing was lost, failed or broke off."""
        assert self.failure is None, self.failure
        assert not self.reattached
        assert not [e for e in self.events if isinstance(e, ev.ErrorEvent | ev.ProviderChanged | ev.Dropped)]

    def _live(self) -> None:
        try:
            asyncio.run(self._talk())
        except BaseException as failure:
            self.failure = failure
        finally:
            self._attached.set()

    async def _talk(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self._handle.connect() as call:
            self._attached.set()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(call))
                began_s, n = self._loop.time(), 0
                while not self._stop.is_set() and not call.is_over:
                    await call.send(LOUD if 25 <= n % 150 < 75 else SOFT)
                    n += 1
                    await asyncio.sleep(began_s + n * 0.02 - self._loop.time())
                self.reattached = call.statistics().reattached
                await call.close()

    async def _listen(self, call: Call) -> None:
        async for event in call:
            if not isinstance(event, ev.VoiceAudio):
                self.events.append(event)
