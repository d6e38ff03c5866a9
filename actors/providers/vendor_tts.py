"""A stream of a network voice: replies in, audio out, with the promises that every voice makes kept in one place.

    session ──begin, text, flush, end, cancel──► TtsLine ──parts──► Voice, one for each reply, the adapter's
    session ◄──TtsAudio, Align, Flushed, Done, Cancelled── Saying ◄──sound, timed, part_done, failed──┘

A *part* is the text between two flushes. A voice speaks the parts of its reply in order and says when the first of them
is spoken. Everything that reaches the session goes through `Saying`: samples are whole and contiguous, nothing
follows `Cancelled` or a fault, each flush is answered once, a reply that is complete is done.

Bounds   `_PARTS_MAX` parts of a reply wait; past it the stream faults with `overload`: text is never dropped.
Stall    text was sent, and neither audio nor anything else of this reply came for `stall_s`.
Usage    characters that were sent to the vendor (again, where they were sent again) and seconds of audio: at the end of
         a reply, and before `Cancelled`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from actors.providers import options as stream_options
from actors.providers.interface import (
    Align,
    Cancelled,
    Done,
    Emit,
    Flushed,
    ProviderEvent,
    StreamSpec,
    TtsAudio,
    Usage,
)
from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor, fault_of
from actors.providers.vendor_pcm import WholeSamples
from actors.providers.vendor_watch import StallWatch
from actors.providers.vendor_words import SpokenWords
from router.errors import ProviderError

__all__ = ["Part", "Saying", "TtsLine", "TtsSettings", "Voice"]

_PARTS_MAX = 512
_CLOSE_S = 2.0

O = TypeVar("O", bound=BaseModel)  # noqa: E741


@dataclass(frozen=True, slots=True, kw_only=True)
class TtsSettings:
    stall_s: float = 5.0
    text_max: int = 2000
    """Characters that the vendor takes at once; longer text is cut at a space."""
    fixed: frozenset[str] = frozenset()
    """Options that an open stream cannot change."""


@dataclass(slots=True)
class Part:
    """Text between two flushes."""

    text: str = ""
    char_to: int = 0
    """Its end in the reply's text."""
    closed: bool = False
    """Nothing is added to it any more."""
    wanted: bool = False
    """Its end is told by `Flushed`."""
    sent: bool = False
    """For the voice: it is with the vendor."""
    sounded: bool = False
    """Audio of it has come."""

    @property
    def voiced(self) -> bool:
        """There is something to be spoken."""
        return any(c.isalnum() for c in self.text)


class Voice(Protocol):
    """What an adapter makes for each reply. Its methods must not wait."""

    def text(self, part: Part, piece: str) -> None:
        """`piece` was added to the last part, which has something to be spoken."""
        ...

    def flush(self, part: Part) -> None:
        """The last part is complete."""
        ...

    def end(self) -> None:
        """No more text comes; every part is complete."""
        ...

    def close(self) -> None:
        """The reply is done."""
        ...

    def cancel(self) -> None:
        """Nobody wants to hear the rest."""
        ...


class Saying:
    """One reply, as its voice sees it."""

    def __init__(self, line: TtsLine[Any], reply: int) -> None:
        self.reply = reply
        self.parts: deque[Part] = deque()
        """What is not spoken yet, in order."""
        self.ended = False
        self.over = False
        """Done, cancelled or failed: the voice shall not say any more."""
        self.samples = 0
        self.sent_chars = 0
        self.voice: Voice
        self.rate_hz = line.rate_hz
        self.vendor, self.counts = line.vendor, line.counts
        self._line = line
        self._words = SpokenWords()
        self._whole = WholeSamples(line.counts)
        self._chars = 0
        self._amounts: dict[str, float] = {}
        self._watch = StallWatch(line.settings.stall_s, self._stalled)

    # -- the session's side

    def add(self, text: str) -> None:
        if self.ended:
            return
        if not self.parts or self.parts[-1].closed:
            if len(self.parts) >= _PARTS_MAX:
                self.failed(self.vendor.error("overload", f"more than {_PARTS_MAX} texts wait to be spoken", 1.0))
                return
            self.parts.append(Part())
        part = self.parts[-1]
        was_voiced, held = part.voiced, part.text
        part.text += text
        self._chars += len(text)
        part.char_to = self._chars
        self._words.add(text)
        if part.voiced:
            self.voice.text(part, text if was_voiced else held + text)

    def flush(self) -> None:
        if not self.ended:
            self._close_part(wanted=True)

    def end(self) -> None:
        if self.ended:
            return
        if self.parts and not self.parts[-1].closed:
            self._close_part(wanted=False)
        self.ended = True
        if self.parts and not self.over:
            self.voice.end()
        self._go_on()

    def cancel(self) -> None:
        self._finish()
        self.voice.cancel()
        self._say_usage()
        self._line.say(Cancelled(reply=self.reply))

    def stop(self) -> None:
        """The stream is over."""
        if not self.over:
            self._finish()
            self.voice.cancel()

    # -- the voice's side

    def sent(self, part: Part, chars: int) -> None:
        """`chars` of `part` went to the vendor: audio is owed from now on."""
        part.sent = True
        self.sent_chars += chars
        self._watch.owe()

    def used(self, amounts: Mapping[str, float]) -> None:
        """Amounts that the vendor itself has told, told on with the reply's own."""
        for name, value in amounts.items():
            self._amounts[name] = self._amounts.get(name, 0.0) + value

    def alive(self) -> None:
        """The vendor works on this reply."""
        self._watch.heard()

    def sound(self, pcm: bytes) -> None:
        """Audio of the first part, in pieces of any length."""
        if self.over:
            self.counts.stale += 1
            return
        self._watch.heard()
        whole = self._whole.take(pcm)
        if not whole:
            return
        if self.parts:
            self.parts[0].sounded = True
        pos, self.samples = self.samples, self.samples + len(whole) // 2
        self._line.say(TtsAudio(reply=self.reply, pos=pos, pcm=whole))

    def timed(self, token: str, start_ms: float, end_ms: float) -> None:
        """A word or a letter of the text is spoken then, in time of the reply."""
        if not self.over:
            self._tell(self._words.take(token, start_ms, end_ms))

    @property
    def at_ms(self) -> float:
        """How much audio there is."""
        return self.samples * 1000 / self.rate_hz

    def part_done(self) -> None:
        """All audio of the first part has been given."""
        if self.over or not self.parts:
            self.counts.stale += 1
            return
        self._watch.heard()
        part = self.parts[0]
        if part.voiced and not part.sounded:
            self.failed(self.vendor.error("protocol", "a text is said to be spoken, and there was no audio"))
            return
        self._pop()
        self._go_on()

    def failed(self, error: ProviderError) -> None:
        """Nothing more will come: the stream is of no more use."""
        if not self.over:
            self._line.fail(error)

    # -- inside

    def _close_part(self, *, wanted: bool) -> None:
        if not self.parts or self.parts[-1].closed:
            self.parts.append(Part(char_to=self._chars))
        part = self.parts[-1]
        part.closed, part.wanted = True, wanted
        if part.voiced:
            self.voice.flush(part)
        self._go_on()

    def _go_on(self) -> None:
        """What needs no speaking is done when its turn comes; the reply is, when nothing is left."""
        while self.parts and self.parts[0].closed and not self.parts[0].voiced and not self.over:
            self._pop()
        if not any(part.sent for part in self.parts):
            self._watch.settle()
        if self.ended and not self.parts and not self.over:
            self._finish()
            self.voice.close()
            self._say_usage()
            self._line.say(Done(reply=self.reply))

    def _pop(self) -> None:
        part = self.parts.popleft()
        self._whole = WholeSamples(self.counts)  # half a sample at its end belongs to nothing
        self._tell(self._words.finish(part.char_to, self.at_ms))
        if part.wanted:
            self._line.say(Flushed(reply=self.reply))

    def _tell(self, words: list[Any]) -> None:
        for w in words:
            self._line.say(
                Align(reply=self.reply, word=w.word, start_ms=w.start_ms, end_ms=w.end_ms,
                      char_from=w.char_from, char_to=w.char_to)
            )  # fmt: skip

    def _finish(self) -> None:
        self.over = True
        self._watch.close()
        self._line.forget(self)

    def _say_usage(self) -> None:
        if self.sent_chars or self.samples:
            amounts = {"characters": float(self.sent_chars), "audio_s": self.samples / self.rate_hz}
            self._line.say(Usage(amounts={**amounts, **self._amounts}))

    def _stalled(self) -> None:
        self.counts.stalls += 1
        limit_s = self._line.settings.stall_s
        self.failed(self.vendor.error("stall", f"text was sent and no audio came for {limit_s:g} s"))


class TtsLine(Generic[O]):
    """A `TtsStream` of one session. `make(saying, options)` gives the voice of a reply."""

    def __init__(
        self, make: Callable[[Saying, O], Voice], options: O, spec: StreamSpec, emit: Emit, vendor: Vendor,
        counts: VendorCounts, settings: TtsSettings, gone: Callable[[Any], None],
        changed: Callable[[O, O], None] = lambda before, after: None,
    ) -> None:  # fmt: skip
        self.options, self.rate_hz, self.settings = options, spec.rate_hz, settings
        self.vendor, self.counts = vendor, counts
        self._make, self._emit, self._gone, self._changed = make, emit, gone, changed
        self._replies: dict[int, Saying] = {}
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self, reply: int, options: Mapping[str, Any]) -> None:
        if self._closed:
            return
        before = self._replies.get(reply)
        if before is not None:
            before.stop()
        chosen, _ = stream_options.changed(self.options, self._open_to_change(options))
        saying = Saying(self, reply)
        saying.voice = self._make(saying, chosen)
        self._replies[reply] = saying
        self._idle.clear()

    def text(self, reply: int, text: str) -> None:
        for piece in _pieces(text, self.settings.text_max):
            saying = self._replies.get(reply)
            if saying is None:
                return  # ended or cancelled: late is normal
            saying.add(piece)

    def flush(self, reply: int) -> None:
        if reply in self._replies:
            self._replies[reply].flush()

    def end(self, reply: int) -> None:
        if reply in self._replies:
            self._replies[reply].end()

    def cancel(self, reply: int) -> None:
        if reply in self._replies:
            self._replies[reply].cancel()
        else:
            self.say(Cancelled(reply=reply))

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        takes = self._open_to_change(options)
        before = self.options
        self.options, refused = stream_options.changed(before, takes)
        if self.options != before:
            self._changed(before, self.options)
        return refused + tuple(name for name in options if name not in takes)

    async def close(self, *, drain: bool) -> None:
        if drain and not self._closed:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await self._idle.wait()
            except TimeoutError:
                pass  # what is left is dropped: closing is bounded
        self._stop()

    # -- for its replies

    def say(self, event: ProviderEvent) -> None:
        if not self._closed:
            self._emit(event)

    def forget(self, saying: Saying) -> None:
        if self._replies.get(saying.reply) is saying:
            del self._replies[saying.reply]
        if not self._replies:
            self._idle.set()

    def fail(self, error: ProviderError) -> None:
        if not self._closed:
            self.counts.faults += 1
            self.say(fault_of(self.vendor.named(error)))
            self._stop()

    def _open_to_change(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name not in self.settings.fixed}

    def _stop(self) -> None:
        if not self._closed:
            self._closed = True
            for saying in list(self._replies.values()):
                saying.stop()
            self._gone(self)
        self._idle.set()


def _pieces(text: str, limit: int) -> list[str]:
    """`text` in pieces of at most `limit` characters, cut behind a space where there is one in the second half."""
    pieces = []
    while len(text) > limit:
        cut = text.rfind(" ", limit // 2, limit) + 1 or limit
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text] if text else pieces
