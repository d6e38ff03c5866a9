"""A voice over a socket with contexts: a context for each reply, and another one where the first is of no more use.

    text ──► the context of the reply ──► the vendor          audio, times, flushes ──► Saying

A context lasts as long as its reply, with three exceptions that the caller does not hear of: it is ended when the reply
has had no text for `linger_s` after its last audio (vendors drop idle contexts; the next text opens another), it is
left where its socket allows no further flush, and it is replaced once, when it is lost or ended by the vendor while no
audio of the present part has come: then that part is said again from its beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from actors.providers.vendor_contexts import Carrier, Carriers, Context
from actors.providers.vendor_socket import Message
from actors.providers.vendor_tts import Part, Saying
from router.errors import ProviderError

__all__ = ["SocketVoice", "TtsDialect"]

_END_S = 1.0
"""After the last text was reported as spoken, the vendor has so long to say that it was all."""


class TtsDialect(Protocol):
    """How a vendor's messages are written and read. One for all replies of a provider: what belongs to one context is
    in `context.state`."""

    linger_s: float | None
    """A context without text is ended after so long; None: it is kept."""
    ends_itself: bool
    """`end` is answered by the vendor when all is spoken, and is sent with the last text; False: a context that has
    nothing to say is over."""

    tells_flushed: bool
    """The vendor answers a flush after the last audio of it; False: it is concluded from what has been reported, and
    some audio may follow."""

    def begin(self, context: Context) -> Sequence[Message]: ...
    def text(self, context: Context, text: str) -> Sequence[Message]: ...
    def flush(self, context: Context) -> Sequence[Message]: ...
    def end(self, context: Context) -> Sequence[Message]:
        """No more text comes; everything was flushed before."""
        ...

    def cancel(self, context: Context) -> Sequence[Message]: ...
    def take(self, carrier: Carrier, message: Message) -> None:
        """Tell what it says to the users of the contexts, and `carriers.over`. Raises ProviderError for what ends the
        socket."""
        ...


class SocketVoice:
    """A `vendor_tts.Voice`, and the user of its contexts."""

    def __init__(
        self, saying: Saying, carriers: Carriers, dialect: TtsDialect, make: Callable[[SocketVoice], Context]
    ) -> None:
        self._saying, self._carriers, self._dialect, self._make = saying, carriers, dialect, make
        self._loop = asyncio.get_running_loop()
        self._context: Context | None = None
        self._begin = 0
        """Samples of the reply before the present context's."""
        self._is_placed = self._is_ended = self._again = False
        self._linger: asyncio.TimerHandle | None = None

    # -- what the reply wants

    def text(self, part: Part, piece: str) -> None:
        self._stop_lingering()
        if self._context is None:
            self._open()
        elif self._is_placed and self._may_send(part):
            self._send(part, piece)
        else:
            self._move_on()

    def flush(self, part: Part) -> None:
        if self._is_placed and part.sent:
            self._send_flush()

    def end(self) -> None:
        """The vendor is told as soon as it has all: its own end is then the surest sign that all was spoken."""
        voiced = [part for part in self._saying.parts if part.voiced]
        context = self._context
        if not self._dialect.ends_itself or context is None or not self._is_placed or not voiced:
            return
        if all(part.sent for part in voiced):
            self._is_ended = True
            context.send(self._dialect.end(context))

    def close(self) -> None:
        self._leave(self._dialect.end)

    def cancel(self) -> None:
        self._leave(self._dialect.cancel)

    # -- what becomes of its context

    def placed(self, context: Context) -> None:
        self._is_placed = True
        self._begin = self._saying.samples
        context.send(self._dialect.begin(context))
        for part in self._saying.parts:
            if part.voiced and self._may_send(part):
                self._send(part, part.text)
                if part.closed:
                    self._send_flush()
        if self._saying.ended:
            self.end()

    def lost(self, context: Context, error: ProviderError) -> None:
        if context is self._context:
            self._context = None
            self._try_again(error)

    def sound(self, context: Context, pcm: bytes) -> None:
        if context is self._context:
            self._saying.sound(pcm)

    def timed(self, context: Context, token: str, start_ms: float, end_ms: float) -> None:
        if context is self._context:
            base_ms = self._begin * 1000 / self._saying.rate_hz
            self._saying.timed(token, base_ms + start_ms, base_ms + end_ms)

    def flushed(self, context: Context) -> None:
        parts = self._saying.parts
        if context is not self._context or not parts or not (parts[0].sent and parts[0].closed):
            self._saying.counts.stale += 1
            return
        if self._is_ended and len(parts) == 1 and not self._dialect.tells_flushed:
            if self._linger is None:  # the end of the context is surer; it comes at once, or not at all
                self._linger = self._loop.call_later(_END_S, self._saying.part_done)
            return
        self._saying.part_done()
        if self._saying.over or self._context is None:
            return
        self._move_on()
        if not parts and self._dialect.linger_s is not None:
            self._linger = self._loop.call_later(self._dialect.linger_s, self._leave, self._dialect.end)

    def over(self, context: Context) -> None:
        """What has come of it is all there is. Not asked for, it may have been too early."""
        if context is not self._context:
            return
        self._context = None
        self._stop_lingering()
        parts = self._saying.parts
        while parts and not self._saying.over and parts[0].sent and parts[0].closed and parts[0].sounded:
            if self._is_ended and len(parts) > 1:  # without a word between them: it was the audio of all
                parts[1].sounded = True
            self._saying.part_done()
        if not self._saying.over and any(part.sent for part in parts):
            self._try_again(None)

    def refused(self, context: Context, error: ProviderError) -> None:
        if context is self._context:
            self._saying.failed(error)

    # -- inside

    def _open(self) -> None:
        self._is_placed = self._is_ended = False
        for part in self._saying.parts:
            part.sent = False
        self._context = self._make(self)
        self._context.chars = next((len(part.text) for part in self._saying.parts if part.voiced), 0)
        self._carriers.open(self._context)

    def _move_on(self) -> None:
        """To another socket, where this one allows no more and has nothing left to say."""
        voiced = [part for part in self._saying.parts if part.voiced]
        if self._is_placed and voiced and not any(part.sent for part in voiced):
            self._leave(self._dialect.end)
            self._open()

    def _may_send(self, part: Part) -> bool:
        """In order, and as long as the socket allows it."""
        if part.sent:
            return True
        before = [one for one in self._saying.parts if one.voiced and one is not part and not one.sent]
        carrier = self._context.carrier if self._context is not None else None
        is_next = not any(one.char_to < part.char_to for one in before)
        return is_next and carrier is not None and carrier.may_speak(len(part.text))

    def _send(self, part: Part, text: str) -> None:
        if self._context is not None:
            self._saying.sent(part, len(text))
            if self._context.carrier is not None:
                self._context.carrier.note(chars=len(text))
            self._context.send(self._dialect.text(self._context, text))

    def _send_flush(self) -> None:
        if self._context is not None and self._context.carrier is not None:
            self._context.carrier.note(flushes=1)
            self._context.send(self._dialect.flush(self._context))

    def _try_again(self, error: ProviderError | None) -> None:
        """Once, where nothing of the present part was heard."""
        parts = self._saying.parts
        if not any(part.voiced for part in parts):
            return  # nothing was owed: the next text opens another context
        passes = error is None or error.kind in ("connect", "expired")
        if passes and not self._again and not parts[0].sounded:
            self._again = True
            self._saying.counts.reconnects += 1
            self._open()
            return
        self._saying.failed(
            error or self._saying.vendor.error("protocol", "the vendor ended a text before all of it was spoken")
        )

    def _leave(self, how: Callable[[Context], Sequence[Message]]) -> None:
        self._stop_lingering()
        context, self._context = self._context, None
        if context is None:
            return
        if context.carrier is None or (how == self._dialect.end and not self._dialect.ends_itself):
            self._carriers.leave(context)
        else:
            was_told = self._is_ended and how == self._dialect.end
            self._carriers.end(context, () if was_told else how(context))

    def _stop_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
