"""A session's ear at a vendor: one socket at a time, and everything that is the same for all streaming recognisers.

    session ──audio──► ledger ──chunks──► socket ──► vendor
            ◄─events── settling ◄─facts── dialect ◄─┘

What differs is a `Dialect`: the address, what audio and control messages look like, and what the vendor's messages say.
The line does the rest: chunks, keep-alive, positions, finals, deadlines, stalls, reconnects.

Lost      a connection that is lost is replaced once, within 0.2 s, and the audio that no final covers is sent again at
          `replay_rate` times real time. Lost again within 10 s, or for a reason that will not pass: `Fault`.
Planned   before `age_max_s`, and when options change that a connection is made with, the next connection is there
          before the old one goes, at a quiet moment if one comes in time. It costs no failure and no word.
Stall     speech is heard and the vendor says nothing at all for `stall_s`. Any result is a sign of life, an empty one
          too; speech shorter than 2 s that nothing was said of is forgiven: a cough is no stall.
Finalize  answered in `finalize_s`, by the vendor or by us (`vendor_settling.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any

from actors.providers.interface import (
    EagerEnd,
    Emit,
    Finalized,
    Formatted,
    Partial,
    ProviderEvent,
    Resumed,
    StreamSpec,
    SttSpeechStarted,
    SttSpeechStopped,
    TimedWord,
    Usage,
    VendorTurnEnded,
)
from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_dialect import Dialect, SttSettings
from actors.providers.vendor_faults import Vendor, fault_of
from actors.providers.vendor_ledger import Ledger
from actors.providers.vendor_meter import Meter
from actors.providers.vendor_settling import ASKS_MAX, Settling
from actors.providers.vendor_socket import Message, SocketRequest, VendorSocket
from actors.providers.vendor_track import Track
from actors.providers.vendor_watch import StallWatch
from actors.task_home import TaskHome
from router.errors import FaultKind, ProviderError

__all__ = ["SttLine"]

_RECONNECT_WITHIN_S = 0.2
_RECONNECT_AGAIN_S = 10.0
_PASSING: frozenset[FaultKind] = frozenset({"connect", "expired", "overload"})
"""What a new connection may mend; `busy` is not among them: a vendor that wants less gets less."""
_REPLAY_CHUNK_MS = 100
_QUIET_LOOK_S = 0.25
_ROLL_AGAIN_S = 5.0
_FORGIVEN_S = 2.0
_USAGE_EVERY_S = 5.0
_SLACK_S = 1.0
"""Beyond the audio sent a vendor's time may lie so far: it rounds, and it pads."""
_DRAIN_S = 1.5
_BYE_S = 0.3
_QUIET_KEPT_S = 2.0
"""While nobody speaks so much audio is kept to be sent again: a VAD takes less to find where speech began."""


class _Wire:
    """One connection and its track."""

    __slots__ = ("done", "socket", "track")

    def __init__(self, socket: VendorSocket, track: Track) -> None:
        self.socket, self.track = socket, track
        self.done = asyncio.Event()


class SttLine:
    """An `SttStream`. Made by `open_line`."""

    def __init__(
        self,
        dialect: Dialect,
        spec: StreamSpec,
        emit: Emit,
        vendor: Vendor,
        counts: VendorCounts,
        home: TaskHome,
        dial: Callable[[SocketRequest], Awaitable[VendorSocket]],
        settings: SttSettings,
        rng: Random | None = None,
        ended: Callable[[SttLine], None] = lambda line: None,
    ) -> None:
        self.spec, self.vendor, self.settings = spec, vendor, settings
        self.counts = counts
        self._dialect, self._emit, self._home, self._dial = dialect, emit, home, dial
        self._rng, self._ended = rng or Random(), ended
        self._loop = asyncio.get_running_loop()
        self._ledger = Ledger(spec.pos, round(settings.kept_s * spec.rate_hz))
        self._settling = Settling(spec.pos)
        self._watch = StallWatch(settings.stall_s, self._stalled)
        self._chunk = spec.rate_hz * settings.chunk_ms // 1000
        self._chunk_min = spec.rate_hz * settings.chunk_min_ms // 1000
        self._wire: _Wire
        self._interim = ""
        self._speech_from: int | None = None
        """Where speech began that goes on."""
        self._voiced: tuple[int, int] | None = None
        """The last speech that ended: from and to."""
        self._final_pos = spec.pos
        """Where the vendor's last final ended."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._due: list[asyncio.TimerHandle] = []
        self._requests: deque[int] = deque(maxlen=ASKS_MAX)
        """Positions of the `finalize`s sent on this connection, answered by us meanwhile or not."""
        self._is_pacing = self._is_rolling = self._is_draining = self._is_over = False
        self._is_shut = settings.before_s is not None
        """Audio waits for speech."""
        self._is_held = False
        """Audio waits for the vendor's answer to a finalize."""
        self._reconnected_s = float("-inf")
        self._sent = 0
        """Samples."""
        self._meter = Meter(settings.billed)

    # ------------------------------------------------------------------------------------ what the session says

    def audio(self, pos: int, pcm: bytes) -> None:
        if self._is_over:
            return
        if len(pcm) & 1:
            self.fail(self.vendor.error("protocol", f"{len(pcm)} bytes are no whole number of 16-bit samples"))
            return
        self._ledger.add(pos, pcm)
        self._pump()
        if self._ledger.held > 2 * _QUIET_KEPT_S * self.spec.rate_hz and self._is_quiet:
            self._ledger.settle(self._ledger.cursor - round(_QUIET_KEPT_S * self.spec.rate_hz))

    def speech_start(self, utt: int, pos: int) -> None:
        if not self._is_over:
            self._settling.speech(utt)
            self._speech_from = pos
            if self.settings.answers == "speech":
                self._watch.owe()
            if self._is_shut:
                self._is_shut = False
                self._ledger.skip(pos - round((self.settings.before_s or 0.0) * self.spec.rate_hz))
                self._pump()

    def speech_end(self, utt: int, pos: int) -> None:
        began, self._speech_from = self._speech_from, None
        self._voiced = (pos if began is None else began, pos)
        if began is not None and pos - began < _FORGIVEN_S * self.spec.rate_hz:
            self._watch.settle()

    def finalize(self, utt: int, pos: int) -> None:
        if self._is_over:
            return
        if len(self._settling.asks) >= ASKS_MAX:
            self.fail(self.vendor.error("overload", f"{ASKS_MAX} utterances wait for their finals"))
            return
        if not self._settling.ask(utt, pos):
            self._tell(Finalized(utt=utt, to_pos=pos))
            return
        if self._is_shut:  # nothing was said: no silence is sent to hear that again
            self._ledger.skip(pos - round((self.settings.before_s or 0.0) * self.spec.rate_hz))
        self._due.append(self._loop.call_later(self.settings.finalize_s, self._overdue))
        if self.settings.answers == "finalize":
            self._watch.owe()
        self._pump()

    def pause(self) -> None:
        """No audio will come: what is kept for a whole chunk goes out; the keep-alive does the rest."""
        self._pump(flush=True)

    def resume(self) -> None:
        return

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        if self._is_over:
            return tuple(options)
        updated = self._dialect.update(options)
        for message in updated.messages:
            self._wire.socket.send(message)
        if updated.reconnect:
            self._roll(self._loop.time() + min(1.0, self.settings.grace_s), is_asked=True)
        return updated.refused

    async def close(self, *, drain: bool) -> None:
        if self._is_over:
            return
        if drain:
            await self._drain()
        self._report()
        self._finish()
        await self._part(self._wire.socket)

    async def _drain(self) -> None:
        """Everything given goes out and the vendor says its last; what it does not say in time, its interim says."""
        self._is_draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                wire = None
                while wire is not self._wire and not self._is_over:  # another one, where this one is lost meanwhile
                    wire = self._wire
                    self._paced()
                    self._pump(flush=True)
                    for message in self._dialect.bye():
                        wire.socket.send(message)
                    wire.socket.end()
                    await wire.done.wait()
        while self._settling.asks:
            self._tell_all(self._settling.overdue(self._interim))
            self._interim = ""
        if self._interim:
            self.final(self._interim, self.sent_pos)

    # ------------------------------------------------------------------------------- what the dialect has heard

    def pos(self, at_s: float) -> int:
        """The session's position of a vendor's time. Raises ProviderError where that time cannot be."""
        if not self._wire.track.holds(at_s, _SLACK_S):
            raise self.vendor.error("protocol", f"a time of {at_s:g} s; {self.sent_s:g} s were sent")
        return self._wire.track.position(at_s)

    @property
    def sent_s(self) -> float:
        """Seconds of audio sent on this connection."""
        return self._wire.track.samples / self.spec.rate_hz

    @property
    def sent_pos(self) -> int:
        """Position after the last sample sent."""
        return self._wire.track.end

    def alive(self) -> None:
        """The vendor has said something of the audio."""
        if self._speech_from is None or (self.settings.answers == "finalize" and not self._settling.asks):
            self._watch.settle()
        else:
            self._watch.heard()

    def partial(self, text: str, from_pos: int | None = None) -> None:
        """Text that replaces the interim before it: everything that no final has yet, from `from_pos` if known."""
        self.alive()
        text = self._settling.fresh(text, from_pos)
        if text != self._interim:
            self._interim = text
            self._tell(Partial(utt=self._settling.utt, text=text))

    def final(
        self,
        text: str,
        to_pos: int,
        words: Sequence[TimedWord] | None = None,
        *,
        confidence: float | None = None,
        language: str | None = None,
        from_pos: int | None = None,
        is_new: bool = False,
    ) -> str:
        """Text that is settled, up to `to_pos`, and from `from_pos` where the vendor says so. `is_new`: of a vendor
        without times, who says nothing twice. Returns what was told of it: empty where all of it was told before."""
        self.alive()
        told = self._settling.final(to_pos, text, words, confidence, language, from_pos, is_new)
        if told is None:
            self.counts.stale += bool(text)
            return ""
        if told.to_pos > told.from_pos:  # else it is late: the interim is of what was said after it
            if not told.text:
                self.partial("")  # words that were no words after all
            self._interim = ""
            self._final_pos = told.to_pos
        self._ledger.settle(told.to_pos)
        self._tell(told)
        return told.text

    def finalized(self, to_pos: int | None = None) -> None:
        """The vendor has answered a `finalize`: everything up to `to_pos` was told. None: all that was asked first."""
        self.alive()
        self._tell_all(self._settling.answered(-1 if to_pos is None else to_pos))
        while len(self._due) > len(self._settling.asks):
            self._due.pop(0).cancel()

    @property
    def settled_pos(self) -> int:
        """Finals have been told up to here, the vendor's or ours."""
        return self._settling.pos

    def go_on(self) -> None:
        """The vendor takes audio again (`SttSettings.waits`)."""
        self._is_held = False
        self._pump()

    def send_again(self) -> None:
        """The vendor has let go of what no final covers, and goes on on this connection."""
        self._interim = ""
        self._rewind()
        self.go_on()

    def said_all(self) -> None:
        """After `Dialect.bye`: the vendor has said its last, though it leaves the connection open."""
        self._wire.done.set()

    def asked_pos(self) -> int | None:
        """Up to where the oldest `finalize` goes that the vendor was asked."""
        asks = self._settling.asks
        return asks[0].pos if asks and asks[0].is_sent else None

    @property
    def requests(self) -> int:
        """`finalize`s that the vendor has not answered, for vendors who answer each of them, in order."""
        return len(self._requests)

    def answered_pos(self) -> int | None:
        """For those: the position of the one that this is the answer to, though we may have answered it before."""
        return self._requests.popleft() if self._requests else None

    def used(self, **amounts: float) -> None:
        """Amounts that the vendor tells, beside the audio that was sent."""
        self._tell(Usage(amounts=amounts))

    @property
    def voiced_pos(self) -> int:
        """Where speech ended last: behind it lies silence, up to what was asked for. All that was sent before any."""
        return self.sent_pos if self._voiced is None else self._voiced[1]

    def covers(self, to_pos: int) -> bool:
        """Whether a final up to there has all of the speech that ended last."""
        return to_pos >= self.voiced_pos - round(self.settings.near_s * self.spec.rate_hz)

    def say(self, *messages: Message) -> None:
        """Something to the vendor, on the present connection."""
        for message in messages if not self._is_over else ():
            self._wire.socket.send(message)

    def formatted(self, to_pos: int, text: str) -> None:
        self._tell(Formatted(utt=self._settling.utt, to_pos=to_pos, text=text))

    def speech_started(self, at_s: float) -> None:
        self._tell(SttSpeechStarted(pos=self.pos(at_s)))

    def speech_stopped(self, at_s: float) -> None:
        self._tell(SttSpeechStopped(pos=self.pos(at_s)))

    def eager_end(self, text: str) -> None:
        self._tell(EagerEnd(text=text))

    def resumed(self) -> None:
        self._tell(Resumed())

    def turn_ended(self, text: str) -> None:
        self._tell(VendorTurnEnded(text=text))

    def replace_soon(self) -> None:
        """The vendor said that it will end this connection."""
        self._roll(self._loop.time() + self.settings.grace_s)

    def fail(self, error: ProviderError) -> None:
        """The last word of this stream."""
        if self._is_over:
            return
        self.counts.faults += 1
        self._report()
        self._tell(fault_of(error))
        self._finish()
        self._home.spawn(self._part(self._wire.socket), "close a failed socket")

    # -------------------------------------------------------------------------------------------- connections

    def start(self, socket: VendorSocket) -> None:
        """Begin on an open socket."""
        self._use(socket)
        if self.settings.keepalive_s is not None:
            self._later("keepalive", self.settings.keepalive_s, self._keep_alive)

    def _use(self, socket: VendorSocket) -> None:
        self._meter.opened(socket.opened_s)
        wire = self._wire = _Wire(socket, Track(self.spec.rate_hz, self._ledger.cursor))
        for message in self._dialect.hello():
            socket.send(message)
        self._home.spawn(self._serve(wire), f"listen {self.spec.session_id}")
        if self.settings.age_max_s is not None:
            in_s = self.settings.age_max_s * (0.95 - 0.15 * self._rng.random())
            self._later("age", in_s, lambda: self._roll(self._loop.time() + self.settings.grace_s))

    async def _serve(self, wire: _Wire) -> None:
        def take(message: Message) -> None:
            if wire is self._wire and not self._is_over:
                self._dialect.take(self, message)
            else:
                self.counts.stale += 1

        def sent(mark: tuple[int, int, int]) -> None:
            pos, samples, fill = mark
            if samples:
                wire.track.sent(pos, samples)
            if fill:
                wire.track.silence(fill)

        try:
            await wire.socket.run(take, sent)
        except ProviderError as error:
            if wire is self._wire and not self._is_over:
                await self._lost(error)
        finally:
            wire.done.set()

    async def _lost(self, error: ProviderError) -> None:
        now_s = self._loop.time()
        if error.kind not in _PASSING or now_s - self._reconnected_s < _RECONNECT_AGAIN_S:
            self.fail(error)
            return
        self._reconnected_s = now_s
        await asyncio.sleep(_RECONNECT_WITHIN_S * self._rng.random())
        try:
            socket = await self._dial(self._dialect.request())
        except ProviderError as again:
            self.fail(again)
            return
        if self._is_over:
            await socket.close()
            return
        self.counts.reconnects += 1
        self._switch(socket)

    def _roll(self, due_s: float, *, is_asked: bool = False) -> None:
        """Replace the connection, at a quiet moment before `due_s` or then. `is_asked`: this one is of no more use."""
        if self._is_over or self._is_rolling:
            return
        if self._is_quiet or self._loop.time() >= due_s:
            self._is_rolling = True
            self._home.spawn(self._replace(is_asked), f"replace {self.spec.session_id}")
        else:
            self._later("roll", _QUIET_LOOK_S, lambda: self._roll(due_s, is_asked=is_asked))

    @property
    def _is_quiet(self) -> bool:
        """Nobody speaks, and what was said has its finals."""
        return self._speech_from is None and not self._settling.asks and not self._interim

    async def _part(self, socket: VendorSocket) -> None:
        """Close a connection that is of no more use; tell the vendor first, where it wants that."""
        if self.settings.bye_always and not socket.closed:
            for message in self._dialect.bye():
                socket.send(message)
            socket.end()
            await socket.flush(_BYE_S)
        await socket.close()

    async def _replace(self, is_asked: bool) -> None:
        try:
            socket = await self._dial(self._dialect.request())
        except ProviderError as error:
            self._is_rolling = False
            if error.retryable:
                self._later("roll", _ROLL_AGAIN_S, lambda: self._roll(0.0, is_asked=is_asked))
            elif is_asked:
                self.fail(error)
            return
        self._is_rolling = False
        if self._is_over:
            await socket.close()
            return
        self.counts.rolled_over += 1
        old = self._wire
        self._switch(socket)
        await self._part(old.socket)

    def _switch(self, socket: VendorSocket) -> None:
        """From now on `socket`; what no final covers is sent again."""
        if (timer := self._timers.pop("roll", None)) is not None:
            timer.cancel()
        self._interim, self._is_held = "", False
        self._rewind()
        self._use(socket)
        self._pump()

    def _rewind(self) -> None:
        self._ledger.rewind(self._settling.pos)
        self._settling.ask_again()
        self._requests.clear()
        self.counts.replayed_s += self._ledger.behind / self.spec.rate_hz
        self._is_pacing = self._ledger.behind > self._chunk and not self._is_draining

    # ----------------------------------------------------------------------------------------------- outgoing

    def _pump(self, *, flush: bool = False) -> None:
        """Send what can be sent: whole chunks, at once or paced, and the requests that are due between them."""
        if self._is_over or self._is_held or "pace" in self._timers:
            return
        if self._is_shut and self._settling.unsent() is None:
            return
        while True:
            ask = self._settling.unsent()
            chunk = self._chunk if not self._is_pacing else self.spec.rate_hz * _REPLAY_CHUNK_MS // 1000
            upto = chunk if ask is None else min(chunk, max(0, ask.pos - self._ledger.next_pos))
            piece = self._ledger.take(upto, flush=flush or ask is not None) if upto else None
            if piece is not None:
                pos, pcm = piece
                fill = max(0, self._chunk_min - len(pcm) // 2)
                self._wire.socket.send_audio(self._dialect.audio(pcm + bytes(2 * fill)), (pos, len(pcm) // 2, fill))
                self._sent += len(pcm) // 2
                if self._is_pacing:
                    self._later("pace", len(pcm) / 2 / self.spec.rate_hz / self.settings.replay_rate, self._paced)
                    return
            elif ask is not None:
                ask.is_sent = True
                if self._was_told:
                    self.finalized(ask.pos)
                    continue
                self._requests.append(ask.pos)
                self._is_shut = self.settings.before_s is not None and self._speech_from is None
                for message in self._dialect.finalize():
                    self._wire.socket.send(message)
                if self.settings.waits:
                    self._is_held = True
                    return
            else:
                break
        if self._meter.due(self._heard_s, self._loop.time()) >= _USAGE_EVERY_S:
            self._report()

    @property
    def _was_told(self) -> bool:
        """The vendor has ended the speech before by itself, and would not answer."""
        if self.settings.near_s <= 0 or self._voiced is None or self._interim:
            return False
        return self._final_pos > self._voiced[0] and self.covers(self._final_pos)

    def _paced(self) -> None:
        if (timer := self._timers.pop("pace", None)) is not None:
            timer.cancel()
        self._is_pacing = self._ledger.behind > self._chunk and not self._is_draining
        self._pump()

    def _keep_alive(self) -> None:
        every_s = self.settings.keepalive_s or 0.0
        socket = self._wire.socket
        idle_s = self._loop.time() - socket.last_sent_s
        if idle_s < every_s - 0.001:
            self._later("keepalive", every_s - idle_s, self._keep_alive)
            return
        message = self._dialect.keepalive() if self._wire.track.samples else None
        if self._is_held:
            pass
        elif message is not None:
            socket.send(message)
        else:
            samples = self.spec.rate_hz * self.settings.silence_ms // 1000
            socket.send_audio(self._dialect.audio(bytes(2 * samples)), (-1, 0, samples))
        self._later("keepalive", every_s, self._keep_alive)

    # ------------------------------------------------------------------------------------------------ the rest

    def _overdue(self) -> None:
        """The oldest `finalize` was not answered in time."""
        self._due.pop(0)
        self.counts.late += 1
        self._tell_all(self._settling.overdue(self._interim))
        self._interim = ""
        self._ledger.settle(self._settling.pos)

    def _stalled(self) -> None:
        self.counts.stalls += 1
        self.fail(self.vendor.error("stall", f"speech is heard and nothing came for {self.settings.stall_s:g} s"))

    def _report(self) -> None:
        used_s = self._meter.take(self._heard_s, self._loop.time())
        if used_s > 0:
            self._tell(Usage(amounts={"audio_s": used_s}))

    @property
    def _heard_s(self) -> float:
        return self._sent / self.spec.rate_hz

    def _tell(self, event: ProviderEvent) -> None:
        if self._is_over:
            return
        self._emit(event)
        if isinstance(event, Finalized | VendorTurnEnded):  # nobody listens any more when the stream is closed
            self._report()

    def _tell_all(self, events: Sequence[ProviderEvent]) -> None:
        for event in events:
            self._tell(event)

    def _later(self, name: str, in_s: float, do: Callable[[], None]) -> None:
        if (timer := self._timers.get(name)) is not None:
            timer.cancel()
        self._timers[name] = self._loop.call_later(in_s, do)

    def _finish(self) -> None:
        self._is_over = True
        self._watch.close()
        for timer in (*self._timers.values(), *self._due):
            timer.cancel()
        self._timers.clear()
        self._due.clear()
        self._ended(self)
