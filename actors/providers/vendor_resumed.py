"""A conversation that outlives its connection: the vendor gives handles by which it takes it up again.

The stream changes its connection by itself, when it is warned (`expires`) or wants to (`another`), at a moment when
nobody speaks and nothing is owed; and when an idle one is lost, once in `_MEND_AGAIN_S`. The old one is closed first,
since a vendor refuses a handle whose connection is open (sip-to-ai#14); audio and messages wait meanwhile. Without a
handle the session is told (`Expiring`), and tells its next stream the history. Lost in the middle of something it is a
fault, and the session has the handle (`Resumable`).

Derived classes say what `hello` is, call `taken_up` when it is answered and `gives` for each handle, tell `is_quiet`,
and call `look` when it may have become so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from actors.providers.interface import Emit, Expiring, Resumable, StreamSpec
from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_s2s import S2sLine, S2sSettings
from actors.providers.vendor_socket import VendorSocket
from actors.task_home import TaskHome
from router.errors import FaultKind, ProviderError

__all__ = ["ResumedLine"]

_QUIET_LOOK_S = 0.25
_MEND_AGAIN_S = 10.0
_MENDS: frozenset[FaultKind] = frozenset({"connect", "expired", "overload"})


class ResumedLine(S2sLine):
    def __init__(
        self, spec: StreamSpec, emit: Emit, vendor: Vendor, counts: VendorCounts, home: TaskHome, settings: S2sSettings,
        rng: Random, ended: Callable[[Any], None], dial: Callable[[], Awaitable[VendorSocket]], setup_s: float,
    ) -> None:  # fmt: skip
        super().__init__(spec, emit, vendor, counts, home, settings, rng, ended)
        self.loop = asyncio.get_running_loop()
        self.handle = spec.resume
        """The newest."""
        self._dial, self._setup_s = dial, setup_s
        self._holds_all = spec.resume is not None
        """The newest handle holds all that was said."""
        self._is_ready = self._wants_other = False
        self._mended_s = float("-inf")
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def is_quiet(self) -> bool:
        """Nobody speaks and nothing is owed."""
        raise NotImplementedError

    def refusal(self, error: ProviderError) -> ProviderError:
        """What an error means that comes instead of the answer to `hello`."""
        return error

    # ----------------------------------------------------------------------------------------- of derived classes

    def taken_up(self) -> None:
        """The vendor has answered `hello`."""
        self._is_ready = True
        self.cancel_timer("setup")
        self.set_up()
        self.release()

    def gives(self, handle: str | None) -> None:
        """A handle, or the word that there is none at present."""
        self._holds_all = bool(handle)
        if handle and handle != self.handle:
            self.handle = handle
            self.tell(Resumable(handle=handle))
        self.look()

    def another(self) -> None:
        """Another connection, as soon as it is quiet."""
        self._wants_other = True
        self.look()

    def look(self) -> None:
        """Is it quiet now?"""
        if not self._wants_other or self.is_over or not self._is_ready:
            return
        if self.is_quiet and self._holds_all:
            self._wants_other = False
            self.cancel_timer("other")
            self.counts.rolled_over += 1
            self.hold()
            self._home.spawn(self.socket.close(), "close a connection")
        else:
            self.timer("other", _QUIET_LOOK_S, self.look)

    def timer(self, name: str, after_s: float, then: Callable[[], None]) -> None:
        self.cancel_timer(name)
        self._timers[name] = self.loop.call_later(after_s, then)

    def cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    # ---------------------------------------------------------------------------------------------- connections

    def expires(self, in_s: float) -> None:
        if self.handle is None:
            self.tell(Expiring(in_s=in_s))
        else:
            self.another()

    async def close(self, *, drain: bool) -> None:
        await super().close(drain=drain)
        if self._task is not None:
            self._task.cancel()  # it may be dialling

    def _finish(self) -> None:
        for name in list(self._timers):
            self.cancel_timer(name)
        super()._finish()

    async def _run(self) -> None:
        try:
            while not self.is_over:
                try:
                    await self.socket.run(self._take, self._sent)
                except ProviderError as error:
                    if not self._can_mend(error):
                        raise
                    self._mended_s = self.loop.time()
                    self.counts.reconnects += 1
                if not self.is_over:
                    await self._connect_again()
        except ProviderError as error:
            self.fail(error if self._is_set_up else self.refusal(error))
        finally:
            await self.socket.close()

    def _can_mend(self, error: ProviderError) -> bool:
        """A connection that was lost while nothing went on: the conversation is at the vendor's still."""
        is_first = self.loop.time() - self._mended_s > _MEND_AGAIN_S
        usable = self._is_ready and self.is_quiet and self._holds_all and not self.is_over
        return usable and is_first and error.kind in _MENDS

    async def _connect_again(self) -> None:
        self.hold()
        self._is_ready = False
        await self.socket.close()
        socket = await self._dial()
        if self.is_over:
            await socket.close()
            return
        self.use(socket)
        self.hello()
        self.timer("setup", self._setup_s, self._setup_is_late)

    def _setup_is_late(self) -> None:
        self.fail(self.vendor.error("timeout", f"the conversation was not taken up in {self._setup_s:g} s"))
