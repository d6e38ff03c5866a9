"""One live call as the application holds it: audio in, events out, over whatever link carries it at the moment.

    async with session.connect() as call:
        await call.send(pcm)                    # any chunking
        async for event in call: ...            # ends after `session.closed`

A broken link is mended behind the application's back: the call attaches again within the session's resume time, asks
for the events after the last one that it has, and sends again what was not accepted. If that fails, the last event is
a `session.closed` with the reason `lost`, which the client itself has made.

Units    `_ms` milliseconds of audio, `_s` seconds on the loop's clock.
Raises   SessionRefused, LinkAuthError, SessionGone where the session does not take the call; AudioError for audio that
         cannot be taken; SessionGone from operations after the call is over.
Bounds   audio: `outbox`; events: `inbox`; operations while the link is away: 256, then SessionGone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from actors import events, wire
from actors.call_facts import CallStatistics, Mode, attach_request, denied
from actors.events import AnyEvent, Event, SessionClosed, VoiceAudio
from actors.formats import AudioFormat
from actors.inbox import Inbox
from actors.outbox import Frame, Outbox
from actors.reattach import reattach
from router.errors import AudioError, LinkClosed, LinkError, LinkProtocolError, PatchbayError, SessionGone

if TYPE_CHECKING:
    from actors.client import Client, HostLink, SessionHandle
    from actors.cohort import Cohort

__all__ = ["Call"]

ATTACH_S = 5.0
"""Answer of a host to Attach: one exchange on one link; more means that the host is stuck."""
STALL_S = 60.0
"""No credit for so long and a sender gives up: longer than any stage's own deadline, and than a session waits."""
CLOSE_S = 5.0
"""After `close`, the last final is delivered; a session that has not closed then is left."""
OPS_MAX = 256


class Call:
    """See the module. Made by `SessionHandle.connect`, never by hand; belongs to one event loop."""

    def __init__(
        self, handle: SessionHandle, client: Client, audio_in: AudioFormat, audio_out: AudioFormat, mode: Mode
    ) -> None:
        self.session_id, self.mode = handle.session_id, mode
        self.audio_in, self.audio_out = audio_in, audio_out
        self._handle, self._client = handle, client
        self._box = Outbox(audio_in, live=mode == "live")
        self.seat: tuple[Cohort, int] | None = None
        """What sends this call's audio for it, and its row there: see `outbox`."""
        self._inbox = Inbox(audio_out)
        self.way: tuple[HostLink, int] | None = None
        """Link and stream; None while the link is away."""
        self._answer: asyncio.Future[wire.Attached] | None = None
        self._ops: deque[events.Op] = deque()
        self._ending: events.Op | None = None
        self._says = self._reattached = self._last_n = 0
        self._last_t = 0.0
        self._failure: PatchbayError | None = None
        self._closed: SessionClosed | None = None
        self._news, self._room, self._broken = asyncio.Event(), asyncio.Event(), asyncio.Event()

    # ------------------------------------------------------------------------------------------ what one can do

    async def send(self, pcm: bytes | bytearray | memoryview) -> None:
        """Audio of the caller, any chunking. Live it never waits; from a file it waits for credit."""
        self._check()
        if self.mode == "live":
            self.outbox.put(pcm)
            self._pump()
            return
        size = self.audio_in.frame_bytes
        for start in range(0, len(pcm), size):
            await self.wait_room()
            self.outbox.put(pcm[start : start + size])
            self._pump()

    def offer(self, pcm: bytes) -> list[Frame]:
        """Takes live audio as `send` does, and leaves the sending of these to who asks (`gateway`)."""
        self._check()
        if self.mode != "live":
            raise AudioError("mode", f"{self.mode}: it waits for credit, with `send`")
        self.outbox.put(pcm)
        return self.outbox.due()

    async def wait_room(self) -> None:
        """Wait until a frame that is sent now would go out at once. Raises SessionGone when the call is over."""
        while True:
            self._check()
            if self.outbox.has_room:
                return
            self._room.clear()
            try:
                async with asyncio.timeout(STALL_S):
                    await self._room.wait()
            except TimeoutError:
                raise SessionGone(self.session_id, f"no audio was accepted for {STALL_S:g} s") from None

    async def played(self, reply_id: int, ms: float) -> None:
        """The caller has heard so much of this reply, from its start."""
        self._operate(events.Played(reply_id=reply_id, ms=ms))

    async def say(self, text: str | AsyncIterator[str], *, interruptible: bool = True) -> int:
        """Speak `text`, whole or as it comes. Returns the number of this saying, from 1."""
        self._says += 1
        say_id = self._says
        if isinstance(text, str):
            self._operate(events.Say(say_id=say_id, text=text, interruptible=interruptible))
            return say_id
        self._operate(events.Say(say_id=say_id, text="", interruptible=interruptible, more=True))
        try:
            async for piece in text:
                self._operate(events.SayText(say_id=say_id, text=piece))
        finally:  # what was begun is ended, whatever becomes of the iterator: else nothing else could be said
            if not self.is_over:
                self._operate(events.SayEnd(say_id=say_id))
        return say_id

    async def interrupt(self) -> None:
        """Stop the present reply as a barge-in would."""
        self._operate(events.Interrupt())

    async def dtmf(self, digits: str) -> None:
        self._operate(events.Dtmf(digits=digits))

    async def end_input(self) -> None:
        """No more audio: the open turn ends, its reply is spoken, then the call closes.

        Waits until all audio has been sent, so that nothing of a file is cut off.
        """
        self.outbox.pad()
        self._pump()
        while self.outbox.waiting_ms and not self.is_over:
            self._room.clear()
            async with asyncio.timeout(STALL_S):
                await self._room.wait()
        if not self.is_over:
            self._ending = events.EndInput()
            self._operate(self._ending)

    async def close(self) -> None:
        """Hang up: the last final is delivered, no reply; `session.closed` is the last event. Idempotent."""
        if not self.is_over and not isinstance(self._ending, events.CallerClose):
            self._ending = events.CallerClose()
            self._operate(self._ending)

    def __aiter__(self) -> Call:
        return self

    async def __anext__(self) -> Event:
        event = await self.next_event()
        if event is None:
            raise StopAsyncIteration
        return event

    async def next_event(self) -> Event | None:
        """The next event, waited for; None after `session.closed`. Raises the error that ended the call, if one did."""
        while True:
            event = self._inbox.pop()
            if event is not None:
                return event
            if self._failure is not None:
                raise self._failure
            if self.is_over:
                return None
            self._news.clear()
            await self._news.wait()  # bounded by the link's liveness, then by `reattach`

    def next_event_nowait(self) -> Event | None:
        """An event that is already here, or None."""
        return self._inbox.pop()

    @property
    def outbox(self) -> Outbox:
        """Who touches it has it for himself: a cohort that sends for this call gives it back before."""
        if self.seat is not None:
            self.seat[0].leave(self.seat[1])
        return self._box

    @property
    def is_over(self) -> bool:
        """Nothing more will be sent or come (unread events may still wait)."""
        return self._closed is not None or self._failure is not None

    @property
    def is_taken(self) -> bool:
        """The session has taken a first frame of audio."""
        return self.outbox.is_taken

    @property
    def is_attached(self) -> bool:
        """A host has this call now; False while the link is away."""
        return self.way is not None and self._box.window_ms > 0

    @property
    def failure(self) -> PatchbayError | None:
        """The error that ended the call, where one did."""
        return self._failure

    def statistics(self) -> CallStatistics:
        box, inbox = self.outbox, self._inbox
        return CallStatistics(
            box.waiting_ms, box.in_flight_ms, len(inbox), box.dropped_ms, inbox.dropped_audio_ms, self._reattached
        )

    # ---------------------------------------------------------------------------------- attaching, again and again

    async def attach(self) -> None:
        """Take a stream on a link to the host and open the session on it, or come back to it."""
        link, stream = await self._client.acquire(self._handle.address, self)
        self.way, self._answer = (link, stream), asyncio.get_running_loop().create_future()
        try:
            formats, pos = (self.audio_in, self.audio_out), self.outbox.next_sample
            link.send(stream, attach_request(self._handle.token, *formats, self.mode, self._last_n, pos))
            async with asyncio.timeout(ATTACH_S):
                attached = await self._answer
        except TimeoutError:
            self.detach()
            raise LinkClosed(self._handle.address, f"no answer to Attach in {ATTACH_S:g} s") from None
        except BaseException:
            self.detach()
            raise
        self.outbox.rewind(attached.pos)
        self.outbox.window_ms = max(attached.credit_ms, 20.0)
        self._pump()
        while self._ops:
            link.send(stream, self._ops.popleft())
        self._room.set()

    async def keep_attached(self) -> None:
        """Attach again whenever the link breaks, until the call is over: the one task of a call."""
        while not self.is_over:
            await self._broken.wait()
            self._broken.clear()
            if self.is_over:
                return
            if await reattach(self.attach, lambda: self.is_over):
                self._reattached += 1
                await self._end_again()
            else:
                self._lost()

    def detach(self) -> None:
        """Give the stream back. Idempotent."""
        way, self.way = self.way, None
        self.outbox.window_ms = 0.0
        if way is not None:
            self._client.release(*way)

    async def leave(self, *, in_peace: bool) -> None:
        """End of the `with` block: hang up, and wait for the last event only where nothing went wrong."""
        try:
            await self.close()
            async with asyncio.timeout(CLOSE_S if in_peace else 0):
                while not self.is_over:
                    self._news.clear()
                    await self._news.wait()
        except (TimeoutError, PatchbayError):
            self._closed = SessionClosed(session_id=self.session_id, n=self._last_n + 1, reason="lost", stats={})
            self._wake()
        finally:
            self.detach()

    async def _end_again(self) -> None:
        """`end_input` and `close` may have been lost with the link: said again after the audio; they are idempotent."""
        while self._ending is not None and self.outbox.waiting_ms and not self._broken.is_set():
            self._room.clear()
            await self._room.wait()  # bounded by the link's liveness: a link that breaks sets it
        if self._ending is not None and not self._broken.is_set() and not self.is_over:
            self._operate(self._ending)

    # ------------------------------------------------------------------------------------- what the link tells us

    def on_control(self, body: bytes | memoryview) -> None:
        """One record of the host. Raises LinkProtocolError for what does not decode: the link closes."""
        if not body:  # the host let go of this stream
            self.detach()
            self.on_link_closed(LinkClosed(self._handle.address, "the host ended the stream"))
            return
        try:
            record: wire.Attached | wire.Denied | AnyEvent = wire.caller_decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise LinkProtocolError(self._handle.address, f"what the host sent does not decode: {error}") from None
        if isinstance(record, wire.Attached):
            self._settle(record)
        elif isinstance(record, wire.Denied):
            self._settle(denied(record, self._handle.address, self.session_id))
        else:
            self._take(record)

    def on_audio(self, reply_id: int, pos: int, pcm: bytes) -> None:
        """Reply audio, from sample `pos` of the reply on."""
        offset_ms = pos * 1000 / self.audio_out.rate_hz
        self._put(
            VoiceAudio(session_id=self.session_id, t=self._last_t, reply_id=reply_id, offset_ms=offset_ms, pcm=pcm)
        )

    def on_credit(self, seq: int) -> None:
        """Frames below `seq` were accepted."""
        self.outbox.accepted(seq)
        self._pump()
        self._room.set()

    def on_link_closed(self, error: LinkError) -> None:
        """The link is gone; `keep_attached` takes it from here."""
        self.way = None
        self.outbox.window_ms = 0.0
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)  # the attempt to attach that waits for it goes on from there
        else:
            self._broken.set()
            self._room.set()

    # ------------------------------------------------------------------------------------------------------ inside

    def _take(self, event: Event) -> None:
        if event.n and event.n <= self._last_n:
            return  # told again after we came back
        if event.n > self._last_n + 1:
            self._fail(LinkProtocolError(self._handle.address, f"event {event.n} came after event {self._last_n}"))
            return
        self._last_n, self._last_t = max(self._last_n, event.n), event.t
        if isinstance(event, SessionClosed):
            self._closed = event
        self._put(event)
        if self.is_over:
            self._wake()

    def _put(self, event: Event) -> None:
        if self._failure is not None:
            return
        try:
            self._inbox.put(event)
        except SessionGone as error:
            self._operate(events.CallerClose())
            self._fail(error)
        self._news.set()

    def _fail(self, error: PatchbayError) -> None:
        self._failure = error
        self._wake()

    def _lost(self) -> None:
        n, t = self._last_n + 1, self._last_t
        self._closed = SessionClosed(session_id=self.session_id, n=n, t=t, reason="lost", stats={})
        self._put(self._closed)
        self._wake()

    def _wake(self) -> None:
        """All who wait look again: the call is over."""
        _ = self.outbox  # no cohort sends for it any more
        self._news.set()
        self._room.set()
        self._broken.set()

    def _settle(self, answer: wire.Attached | PatchbayError) -> None:
        if self._answer is None or self._answer.done():
            if isinstance(answer, PatchbayError) and not self.is_over:
                self._fail(answer)  # another connection has the session now
            return
        if isinstance(answer, wire.Attached):
            self._answer.set_result(answer)
        else:
            self._answer.set_exception(answer)

    def _operate(self, op: events.Op) -> None:
        self._check()
        if self.way is not None and self.is_attached:
            link, stream = self.way
            link.send(stream, op)
        elif len(self._ops) >= OPS_MAX:
            raise SessionGone(self.session_id, f"{OPS_MAX} operations wait for the link to come back")
        else:
            self._ops.append(op)

    def _pump(self) -> None:
        if self.way is None:
            return
        link, stream = self.way
        for frame in self.outbox.due():
            link.send_audio(stream, frame.seq, frame.pos, frame.pcm)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed is not None:
            raise SessionGone(self.session_id, f"the call is over: {self._closed.reason}")
