"""What one session says, heard by pocketsphinx: which audio is decoded, when, and what is told of it.

    quiet      audio is held             speech_start(utt, pos)   silence up to pos is settled, decoding begins there
    speaking   20 ms decoded at a time   finalize(utt, pos)       Final of from..pos, then Finalized; quiet again

Spans     the finals of a stream are contiguous. A fresh decoder fed exactly the span of a final with words, in pieces
          of 20 ms from its begin, hears the same words: nothing before it matters.
Silence   between utterances is settled undecoded, by finals with empty text (with the number of the utterance before,
          0 before the first): at `speech_start`, and when more than 5 s are held, but for the last second. To decode
          it costs 5 % of a core per stream on digital silence and 15 % on a noisy line, and quality: after 3 s of
          noise at -61 dBFS 162 of 400 words were wrong instead of 45. A stream that never was told of speech holds
          20 s, and decodes what it holds when `finalize` comes.
Long      speech that does not pause is cut where 150 ms of silence are heard after 12 s, and at 20 s anyway: the last
          pass of an utterance holds the process for 3 % of its length.
Loop      decoding blocks. Each turn of the loop decodes one piece of each stream, so links stay alive. No task and no
          thread: the interpreter's lock is held while it decodes, so a thread would gain nothing.
Deadline  `finalize` is answered in 3 s: if it is not done by then, with a Final of what was decoded. The rest is
          decoded all the same and comes as a Final of its own; no audio is lost.
Bounds    45 s of audio held (more than any replay), 64 orders; beyond that Fault{overload}.
Partials  every 100 ms of audio at most, when the text has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le
from pydantic import Field

from actors.providers import options as stream_options
from actors.providers.interface import Emit, Fault, Final, Finalized, Options, Partial, StreamSpec, TimedWord, Usage
from actors.providers.pocketsphinx_decoder import FRAME_SAMPLES, PIECE_SAMPLES, RATE_HZ, Ear
from router.errors import FaultKind

__all__ = ["FINALIZE_DEADLINE_S", "PocketsphinxOptions", "PocketsphinxStream", "Statistics"]

FINALIZE_DEADLINE_S = 3.0
PARTIAL_PIECES = 5
"""100 ms."""
CUT_AT_REST = 12 * RATE_HZ
CUT_ANYWHERE = 20 * RATE_HZ
QUIET_MAX = 5 * RATE_HZ
"""Held while quiet; far below the 30 s that a session keeps for replay."""
UNTOLD_MAX = 20 * RATE_HZ
"""The same on a stream that never was told of speech: perhaps nobody listens for it."""
QUIET_KEPT = RATE_HZ
"""What stays of it: `speech_start` points 0.4 s back (three frames and the prefix), and may come late by a link."""
HELD_MAX = 45 * RATE_HZ
ORDERS_MAX = 64
DRAIN_S = 2.0


class PocketsphinxOptions(Options):
    language: Annotated[str, Field(pattern=r"(?i)^en([-_].*)?$")] = "en-US"
    """The model that the library brings is US English; any English is taken for it."""
    partials: bool = True
    decoders: Annotated[int, Ge(1), Le(16)] = 2
    """Streams of one actor, 91 MB each."""


@dataclass(slots=True)
class Statistics:
    """Of one stream. Samples, but for the counts."""

    decoded: int = 0
    skipped: int = 0
    """Silence that was settled undecoded."""
    gaps: int = 0
    """Missing audio, taken as silence."""
    overlaps: int = 0
    """Audio that came twice, ignored."""
    late_starts: int = 0
    """Speech that began before what is settled already: its first sound may be missing."""
    missed_deadlines: int = 0
    held_peak: int = 0


@dataclass(slots=True)
class _Order:
    utt: int
    pos: int
    final: bool
    answered: bool = False
    timer: asyncio.TimerHandle | None = None


class PocketsphinxStream:
    """One session's ear. `give_back(ear, whole)` is called once, when the decoder is no longer needed."""

    def __init__(
        self,
        ear: Ear,
        spec: StreamSpec,
        options: PocketsphinxOptions,
        emit: Emit,
        give_back: Callable[[Ear, bool], None],
    ) -> None:
        self.options = options
        self.statistics = Statistics()
        self._ear, self._emit, self._give_back = ear, emit, give_back
        self._loop = asyncio.get_running_loop()
        self._from = self._at = spec.pos
        """Where the span begins that no final covers, and the next sample to decode or settle; equal while quiet."""
        self._held = bytearray()
        """Audio from `_at` on."""
        self._orders: deque[_Order] = deque()
        self._utt: int | None = None
        """The utterance being decoded; None while quiet."""
        self._last_utt = 0
        self._is_told = False
        self._settled_by_age = spec.pos
        self._pieces = 0
        self._partial = ""
        self._turn: asyncio.Handle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_closed = False

    # ------------------------------------------------------------------------------------------- what it is told

    def audio(self, pos: int, pcm: bytes) -> None:
        if self._is_closed:
            return
        if len(pcm) & 1:
            self._fail("protocol", f"{len(pcm)} bytes at {pos} are no whole number of 16-bit samples")
            return
        ahead = pos - self._tail
        if ahead < 0:
            self.statistics.overlaps += min(-ahead, len(pcm) // 2)
            pcm = pcm[-2 * ahead :]
        elif ahead > 0 and not self._jump(pos, ahead):
            return
        if len(self._held) + len(pcm) > 2 * HELD_MAX:
            self._fail("overload", f"{HELD_MAX // RATE_HZ} s of audio wait to be decoded")
            return
        self._held += pcm
        self.statistics.held_peak = max(self.statistics.held_peak, len(self._held) // 2)
        self._wake()

    def speech_start(self, utt: int, pos: int) -> None:
        self._is_told = True
        self._order(_Order(utt, min(pos, self._tail), final=False))

    def speech_end(self, utt: int, pos: int) -> None:
        """Nothing: decoding goes on until `finalize`, since the speech may, too."""

    def finalize(self, utt: int, pos: int) -> None:
        order = _Order(utt, pos, final=True)
        if self._order(order):
            order.timer = self._loop.call_later(FINALIZE_DEADLINE_S, self._answer_late, order)

    def pause(self) -> None:
        """Nothing: it needs no keep-alive."""

    def resume(self) -> None:
        """Nothing: where positions went on meanwhile, `audio` sees it."""

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """`partials` and `language` change; the number of decoders does not."""
        if "decoders" not in options:
            self.options, refused = stream_options.changed(self.options, options)
            return refused
        self.options, refused = stream_options.changed(
            self.options, {name: value for name, value in options.items() if name != "decoders"}
        )
        return (*refused, "decoders")

    async def close(self, *, drain: bool) -> None:
        """End. `drain`: what was given is decoded and told first, for 2 s at most."""
        if self._is_closed:
            return
        if drain:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    await self._idle.wait()
            if self._utt is not None and not self._is_closed:
                self._guard(self._decode_rest)
        if not self._is_closed:
            self._end(whole=True)

    # ------------------------------------------------------------------------------------------------- how it works

    @property
    def _tail(self) -> int:
        return self._at + len(self._held) // 2

    def _jump(self, pos: int, ahead: int) -> bool:
        """Positions went on without audio: silence, of any length where nothing is being said."""
        self.statistics.gaps += ahead
        if ahead <= HELD_MAX - len(self._held) // 2:
            self._held += bytes(2 * ahead)
            return True
        if self._utt is not None or self._orders:
            self._fail("protocol", f"audio jumps by {ahead / RATE_HZ:.1f} s within speech, to {pos}")
            return False
        self._held.clear()
        self._at = pos
        self._emit_final(self._last_utt)
        return True

    def _order(self, order: _Order) -> bool:
        if self._is_closed:
            return False
        if len(self._orders) >= ORDERS_MAX:
            self._fail("overload", f"{ORDERS_MAX} orders wait")
            return False
        self._orders.append(order)
        self._wake()
        return True

    def _wake(self) -> None:
        if self._turn is None and not self._is_closed:
            self._turn = self._loop.call_soon(self._take_turn)
            self._idle.clear()

    def _take_turn(self) -> None:
        self._turn = None
        if self._guard(self._step):
            self._wake()
        else:
            self._idle.set()

    def _guard(self, work: Callable[[], bool]) -> bool:
        """Exceptions of the library end this stream, and go no further."""
        try:
            return work()
        except RuntimeError as error:
            self._fail("protocol", f"the decoder failed: {error}")
            return False

    def _step(self) -> bool:
        """One piece of work; True if there is more."""
        if self._orders:
            order = self._orders[0]
            return self._finalize(order) if order.final else self._start(order)
        if self._utt is not None:
            return self._decode(None)
        if self._tail - self._at > (QUIET_MAX if self._is_told else UNTOLD_MAX):
            self._settle(self._tail - QUIET_KEPT)
            self._settled_by_age = self._at
        return False

    def _start(self, order: _Order) -> bool:
        at = max(order.pos, self._at)
        if self._utt is not None and self._utt != order.utt:  # the end of the one before was never asked for
            if self._decode(at):
                return True
            self._finish()
        if self._utt is None:
            self.statistics.late_starts += order.pos < self._settled_by_age
            self._settle(at)
            self._begin(order.utt)
        self._orders.popleft()
        return True

    def _finalize(self, order: _Order) -> bool:
        at = max(order.pos, self._at)
        if self._utt is None and not self._is_told and at > self._at:
            self._begin(order.utt)
        if self._utt is not None and self._decode(at):
            return True
        if self._at < at and (self._utt is not None or self._tail < at):
            return False  # its audio is still to come
        if self._utt is not None:
            self._finish()
        else:
            self._skip(at)
            self._emit_final(order.utt)
        self._answer(order)
        self._orders.popleft()
        return True

    def _decode(self, limit: int | None) -> bool:
        """Decode one piece, a short one only where `limit` ends it; False if there is none."""
        n = min(PIECE_SAMPLES, len(self._held) // 2, PIECE_SAMPLES if limit is None else limit - self._at)
        if n <= 0 or (n < PIECE_SAMPLES and (limit is None or self._at + n < limit)):
            return False
        self._ear.feed(bytes(self._held[: 2 * n]))
        del self._held[: 2 * n]
        self._at += n
        self._pieces += 1
        self.statistics.decoded += n
        if self._pieces % PARTIAL_PIECES == 0:
            self._tell_partial()
            self._cut_long()
        return True

    def _tell_partial(self) -> None:
        if not self.options.partials or self._utt is None:
            return
        text = self._ear.text()
        if text and text != self._partial:
            self._partial = text
            self._emit(Partial(utt=self._utt, text=text))

    def _cut_long(self) -> None:
        length, utt = self._at - self._from, self._utt
        if utt is not None and length >= CUT_AT_REST and (length >= CUT_ANYWHERE or self._ear.is_at_rest()):
            self._finish()
            self._begin(utt)

    def _begin(self, utt: int) -> None:
        self._ear.begin()
        self._utt, self._pieces, self._partial = utt, 0, ""

    def _finish(self) -> None:
        """The utterance ends at `_at`."""
        if self._utt is None:
            return
        utt, begin = self._utt, self._from
        heard = self._ear.end()
        self._utt = None
        words = tuple(
            TimedWord(word, begin + first * FRAME_SAMPLES, min(begin + (last + 1) * FRAME_SAMPLES, self._at))
            for word, first, last in heard.words
        )
        amounts = {"audio_s": (self._at - begin) / RATE_HZ}
        self._emit_final(utt, heard.text, words, heard.confidence)
        self._emit(Usage(amounts=amounts))

    def _settle(self, to: int) -> None:
        """Silence up to `to`: passed over, with an empty final."""
        if to > self._at:
            self._skip(to)
            self._emit_final(self._last_utt)

    def _skip(self, to: int) -> None:
        self.statistics.skipped += to - self._at
        del self._held[: 2 * (to - self._at)]
        self._at = to

    def _emit_final(
        self, utt: int, text: str = "", words: tuple[TimedWord, ...] = (), confidence: float | None = None
    ) -> None:
        begin, self._from, self._last_utt = self._from, self._at, utt
        self._emit(
            Final(
                utt=utt,
                text=text,
                from_pos=begin,
                to_pos=self._at,
                words=words,
                confidence=confidence,
                language=self.options.language,
            )
        )

    def _answer(self, order: _Order) -> None:
        if order.timer is not None:
            order.timer.cancel()
        if not order.answered:
            order.answered = True
            self._emit(Finalized(utt=order.utt, to_pos=self._at))

    def _answer_late(self, order: _Order) -> None:
        """The deadline of `finalize`: answer with what there is, and go on with the rest."""
        if not self._is_closed and not order.answered:
            self.statistics.missed_deadlines += 1
            order.pos = min(order.pos, self._tail)  # audio that has not come by now is not waited for
            self._guard(lambda: self._tell_what_there_is(order))
            self._wake()

    def _tell_what_there_is(self, order: _Order) -> bool:
        utt = self._utt
        if utt is not None:
            self._finish()
            if self._at < order.pos:
                self._begin(utt)
        self._answer(order)
        if self._at >= order.pos and self._utt is None:
            self._orders.remove(order)
        return True

    def _decode_rest(self) -> bool:
        while self._decode(self._tail):
            pass
        self._finish()
        return True

    def _fail(self, kind: FaultKind, detail: str) -> None:
        self._end(whole=kind == "overload")
        self._emit(Fault(kind=kind, detail=detail))

    def _end(self, *, whole: bool) -> None:
        self._is_closed = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._idle.set()
        for order in self._orders:
            if order.timer is not None:
                order.timer.cancel()
        self._orders.clear()
        self._held.clear()
        self._give_back(self._ear, whole)
