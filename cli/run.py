"""A call from a file, from the first frame to `session.closed`: the one loop that ties a caller to a session.

    real time    20 ms of sound every 20 ms of the loop's clock; a loop that fell behind by a second counts anew
    lock-step    the next frame goes when the session is ready for it, whatever that takes: same turns on any machine

Both do the same three things for every frame, in this order: take the events that are here, step the caller, send.
So nothing in a lock-step call depends on how fast anything is.

Raises   SessionGone when nothing at all comes for 60 s; what `Call` raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from actors.call import Call
from actors.call_facts import Mode
from actors.client import SessionHandle
from actors.events import Event, SessionClosed
from actors.formats import FRAME_MS, AudioFormat
from cli.calllog import CallLog, Samples
from cli.drive import FileCaller
from cli.speaker import Heard
from router.errors import LinkClosed, SessionGone

__all__ = ["Show", "Style", "run"]

Show = Callable[[float, Event], None]
"""Told every event with its media time, reply audio included."""
SILENT_S = 60.0
"""Longer than any stage's deadline: then the session is stuck."""
BEHIND_S = 1.0
FRAME_S = FRAME_MS / 1000


@dataclass(frozen=True, slots=True)
class Style:
    """How the file is played."""

    full_duplex: bool = False
    lockstep: bool = False

    @property
    def mode(self) -> Mode:
        return "lockstep" if self.lockstep else "file"


async def run(
    handle: SessionHandle,
    samples: Samples,
    audio: AudioFormat,
    style: Style,
    show: Show,
    log: CallLog,
    taken: Callable[[], None] = lambda: None,
) -> None:
    """Make the call; everything that happens goes into `log`, also when it fails. `taken`: the first frame was."""
    caller = FileCaller(samples, audio, log, full_duplex=style.full_duplex)
    async with handle.connect(audio_in=audio, mode=style.mode) as call:
        leg = _Leg(call, caller, show, taken)
        await (leg.in_lockstep() if style.lockstep else leg.in_real_time())
    if not any(isinstance(event, SessionClosed) for _, event in log.entries):
        raise LinkClosed(handle.address, "the call ended without session.closed")


class _Leg:
    """The caller's leg of one call."""

    def __init__(self, call: Call, caller: FileCaller, show: Show, taken: Callable[[], None]) -> None:
        self._call, self._caller, self._show, self._taken = call, caller, show, taken
        self._ended = self._began = False
        self._heard_at_s = asyncio.get_running_loop().time()

    async def in_real_time(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            self._drain()
            if self._caller.is_over:
                return
            await self._frame()
            due_s += FRAME_S
            wait_s = due_s - loop.time()
            if wait_s < -BEHIND_S:
                due_s = loop.time()
            await asyncio.sleep(max(wait_s, 0.0))

    async def in_lockstep(self) -> None:
        while not self._caller.is_over:
            if self._sends:
                try:
                    await self._call.wait_room()
                except SessionGone:
                    if not self._call.is_over:
                        raise
                self._drain()
            else:
                await self._next()
            if self._sends or not self._caller.hears_nothing:
                await self._frame()

    @property
    def _sends(self) -> bool:
        """There are frames to send still."""
        return not self._ended and not self._call.is_over

    async def _frame(self) -> None:
        """20 ms of call: `end_input` once the file is over, then only listening."""
        if self._sends and self._caller.file_ended:
            self._ended = True
            await self._call.end_input()
        frame, heard = self._caller.step()
        if self._sends:
            try:
                await self._call.send(frame)
            except SessionGone:
                if not self._call.is_over:  # it closed while the frame waited: what came before is still to be heard
                    raise
        await self._report(heard)

    async def _report(self, heard: list[Heard]) -> None:
        for one in heard:
            if not self._call.is_over:
                await self._call.played(one.reply_id, one.ms)

    def _drain(self) -> None:
        """Every event that is here."""
        loop = asyncio.get_running_loop()
        if not self._began and self._call.is_taken:
            self._began = True
            self._taken()
        while (event := self._call.next_event_nowait()) is not None:
            self._heard_at_s = loop.time()
            self._tell(event)
        failure = self._call.failure
        if failure is not None:
            raise failure
        if loop.time() - self._heard_at_s > SILENT_S and self._caller.file_ended:
            raise SessionGone(self._call.session_id, f"nothing came for {SILENT_S:g} s after the file's end")

    async def _next(self) -> None:
        """One more event, waited for, unless the caller has something to listen to."""
        self._drain()
        if self._caller.is_over or not self._caller.hears_nothing:
            return
        try:
            async with asyncio.timeout(SILENT_S):
                event = await self._call.next_event()
        except TimeoutError:
            raise SessionGone(self._call.session_id, f"nothing came for {SILENT_S:g} s after the file's end") from None
        if event is not None:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        self._show(self._caller.log.now_s, event)
        self._caller.on_event(event)
