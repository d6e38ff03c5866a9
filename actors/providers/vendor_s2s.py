"""A session's speech-to-speech model at a vendor: one socket, and everything that is the same for all such models.

    session ──audio──► chunks ──► socket ──► vendor
            ◄─events── responses ◄─facts── the vendor's own stream (`take`) ◄─┘

Derived classes say what messages look like; here are chunks, positions, numbered responses, the stall watch, the
warning before the connection is too old, and the end. A conversation lives in its connection: one that is lost is not
mended here, since the vendor has forgotten what was said; the session opens the next stream and tells it the history.

Activity  with `gated`, audio goes out only while the session says that the caller speaks, from the position it names
          (`KEPT_S` before are kept for that); else all of it does, and the vendor finds speech itself.
Stall     the model owes something (it was asked to answer, or is answering) and says nothing at all for `stall_s`.
Expiring  told `warn_s` before the connection is `life_s` old, each at a time of its own.
Late      what comes of a response that is over (cancelled, interrupted) is counted in `stale` and told to nobody.
Held      between two connections of one conversation (vendors that take it up again) audio and messages wait in
          order: `HELD_S` of audio, the oldest goes; past 256 messages the stream ends, `overload`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from actors.providers.interface import (
    Emit,
    Expiring,
    ModelInterrupted,
    OutputText,
    ProviderEvent,
    ResponseDone,
    ResponseStarted,
    StreamSpec,
    TtsAudio,
)
from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor, fault_of
from actors.providers.vendor_held import MESSAGES_MAX, Held
from actors.providers.vendor_pcm import WholeSamples
from actors.providers.vendor_socket import Message, VendorSocket
from actors.providers.vendor_track import Track
from actors.providers.vendor_watch import StallWatch
from actors.task_home import TaskHome
from router.errors import ProviderError

__all__ = ["HELD_S", "KEPT_S", "Response", "S2sLine", "S2sSettings", "warn_after_s"]

KEPT_S = 2.0
"""Audio kept before speech was noticed: a session goes back by its `vad.prefix_s`, 0.3 s, and may be behind itself."""
HELD_S = 3.0
_RESPONSES_MAX = 32
"""Responses that are remembered: what was heard of one is told soon after it."""
_SLACK_S = 1.0
"""Beyond the audio sent a vendor's time may lie so far: it rounds, and it pads."""
_WARN_S, _WARN_SHARE, _WARN_JITTER = 60.0, 0.25, 0.5

Status = Literal["completed", "cancelled", "failed", "incomplete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class S2sSettings:
    chunk_ms: int
    stall_s: float
    gated: bool
    life_s: float | None = None
    """Age at which the vendor ends a connection."""


def warn_after_s(life_s: float, age_s: float, rng: Random) -> tuple[float, float]:
    """When to tell `Expiring`, from now, and what it then says: a quarter of a life ahead, 60 s at most, or up to half
    of that later, so that calls that began together do not roll over together."""
    lead_s = min(_WARN_S, life_s * _WARN_SHARE) * (1.0 - _WARN_JITTER * rng.random())
    left_s = max(0.0, life_s - age_s)
    return max(0.0, left_s - lead_s), min(lead_s, left_s)


class Response:
    """One answer of the model, as the session numbers it."""

    __slots__ = ("is_over", "number", "samples", "whole")

    def __init__(self, number: int, counts: VendorCounts) -> None:
        self.number = number
        self.samples = 0
        """Told to the session."""
        self.is_over = False
        """The session was told that it is done: nothing of it follows."""
        self.whole = WholeSamples(counts)


class S2sLine:
    """An `S2sStream` without its words. Derived classes give `take`, `chunk` and the operations."""

    def __init__(
        self, spec: StreamSpec, emit: Emit, vendor: Vendor, counts: VendorCounts, home: TaskHome, settings: S2sSettings,
        rng: Random, ended: Callable[[Any], None],
    ) -> None:  # fmt: skip
        self.spec, self.vendor, self.counts, self.settings = spec, vendor, counts, settings
        self.socket: VendorSocket
        self.watch = StallWatch(settings.stall_s, self._stalled)
        self.responses: OrderedDict[int, Response] = OrderedDict()
        """By number, the newest last."""
        self.is_over = False
        self.is_active = False
        """The session says that the caller speaks (`gated`)."""
        self._emit, self._home, self._rng, self._ended = emit, home, rng, ended
        self._track = Track(spec.rate_hz, spec.pos)
        self._rest = bytearray()
        self._rest_pos = spec.pos
        self._kept = bytearray()
        self._kept_end = spec.pos
        self._count = 0
        self._chunk_bytes = spec.rate_hz * settings.chunk_ms // 1000 * 2
        self._warning: asyncio.TimerHandle | None = None
        self._held: Held | None = None
        """None: there is a connection."""
        self._task: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        """The vendor took the setup, or refused it."""
        self._is_set_up = False
        self._refusal: ProviderError | None = None

    async def open(self, socket: VendorSocket, within_s: float) -> None:
        """Say `hello` on a new connection, and wait until the vendor takes it. Raises ProviderError, closed."""
        self._start(socket)
        try:
            self.hello()
            async with asyncio.timeout(within_s):
                await self._answered.wait()
        except TimeoutError:
            self._refusal = self.vendor.error("timeout", f"the setup was not answered in {within_s:g} s")
        except BaseException:
            await self.close(drain=False)
            raise
        if self._refusal is not None:
            await self.close(drain=False)
            raise self._refusal from None

    def set_up(self) -> None:
        """The vendor took it."""
        self._is_set_up = True
        self._answered.set()

    def _start(self, socket: VendorSocket) -> None:
        self.use(socket)
        self._task = self._home.spawn(self._run(), "a conversation")

    def use(self, socket: VendorSocket) -> None:
        """The conversation goes on over this connection."""
        self.socket = socket
        if self._warning is not None:
            self._warning.cancel()
        if self.settings.life_s is not None:
            loop = asyncio.get_running_loop()
            age_s = loop.time() - socket.opened_s
            after_s, in_s = warn_after_s(self.settings.life_s, age_s, self._rng)
            self._warning = loop.call_later(after_s, self.expires, in_s)

    # ----------------------------------------------------------------------------------- what derived classes say

    def hello(self) -> None:
        """Send what a conversation begins with; `take` calls `set_up` at the answer."""
        raise NotImplementedError

    def take(self, message: Message) -> None:
        """A message of the vendor. Raises ProviderError."""
        raise NotImplementedError

    def chunk(self, pcm: bytes) -> Message:
        """The message that carries this audio."""
        raise NotImplementedError

    def before_audio(self) -> None:
        """Audio of the session came."""

    # ------------------------------------------------------------------------------------------------------ audio

    def audio(self, pos: int, pcm: bytes) -> None:
        if self.is_over:
            return
        if len(pcm) & 1:
            self.fail(self.vendor.error("protocol", f"{len(pcm)} bytes are no whole number of 16-bit samples"))
            return
        self.before_audio()
        if not self.settings.gated:
            self._send(pos, pcm)
            return
        if pos != self._kept_end:
            self._kept.clear()
        self._kept += pcm
        self._kept_end = pos + len(pcm) // 2
        del self._kept[: max(0, len(self._kept) - 2 * round(KEPT_S * self.spec.rate_hz))]
        if self.is_active:
            self._send(pos, pcm)

    def open_gate(self, pos: int) -> None:
        """The caller speaks, since `pos`: what is kept of that goes out, and what follows."""
        if self.is_active or self.is_over:
            return
        self.is_active = True
        first = max(pos, self._kept_end - len(self._kept) // 2, self.given_end)
        if first < self._kept_end:
            self._send(first, bytes(self._kept[-2 * (self._kept_end - first) :]))

    def close_gate(self) -> None:
        """The caller speaks no more: the last piece goes out."""
        if self.is_active:
            self.is_active = False
            self.flush()

    def flush(self) -> None:
        """What waits for a whole chunk goes out as it is."""
        if self._rest:
            self._put(len(self._rest))

    @property
    def given_end(self) -> int:
        """Position after the last sample that is on its way, or waits for a whole chunk."""
        return self._rest_pos + len(self._rest) // 2

    def _send(self, pos: int, pcm: bytes) -> None:
        if pos != self.given_end:
            self.flush()
            self._rest_pos = pos
        self._rest += pcm
        while len(self._rest) >= self._chunk_bytes:
            self._put(self._chunk_bytes)

    def _put(self, size: int) -> None:
        pos, piece = self._rest_pos, bytes(self._rest[:size])
        del self._rest[:size]
        self._rest_pos += size // 2
        if self._held is None:
            self.socket.send_audio(self.chunk(piece), (pos, size // 2))
        else:
            self.counts.dropped_bytes += self._held.audio(pos, piece)

    def send(self, message: Message) -> None:
        """A message that must arrive, in order with the audio."""
        if self._held is None:
            self.socket.send(message)
        elif not self._held.message(message):
            self.fail(self.vendor.error("overload", f"{MESSAGES_MAX} messages wait for a connection"))

    def hold(self) -> None:
        """There is no connection for a moment."""
        if self._held is None:
            self._held = Held(2 * round(HELD_S * self.spec.rate_hz))

    def release(self) -> None:
        """There is one: what waited goes out."""
        held, self._held = self._held, None
        for thing, pos in held.items() if held is not None else ():
            if pos is None:
                self.socket.send(thing)
            else:
                assert isinstance(thing, bytes)
                self.socket.send_audio(self.chunk(thing), (pos, len(thing) // 2))

    def pos(self, at_ms: float) -> int:
        """The session's position of a time of the vendor, in audio sent on this connection. Raises ProviderError."""
        if not self._track.holds(at_ms / 1000, _SLACK_S):
            sent_s = self._track.samples / self.spec.rate_hz
            raise self.vendor.error("protocol", f"a time of {at_ms / 1000:g} s; {sent_s:g} s were sent")
        return self._track.position(at_ms / 1000)

    @property
    def sent_pos(self) -> int:
        """Position after the last sample that went out."""
        return self._track.end

    @property
    def sent_samples(self) -> int:
        """On this connection."""
        return self._track.samples

    # -------------------------------------------------------------------------------------------------- responses

    def begins(self) -> Response:
        """The model begins to answer."""
        self._count += 1
        response = self.responses[self._count] = Response(self._count, self.counts)
        if len(self.responses) > _RESPONSES_MAX:
            self.responses.popitem(last=False)
        self.tell(ResponseStarted(response=response.number))
        return response

    def sounds(self, response: Response, pcm: bytes) -> None:
        """Audio of it, in pieces of any length."""
        whole = response.whole.take(pcm)
        if response.is_over:
            self.counts.stale += 1
        elif whole:
            self.tell(TtsAudio(reply=response.number, pos=response.samples, pcm=whole))
            response.samples += len(whole) // 2

    def says(self, response: Response, text: str) -> None:
        """Words of it; empty: a sign of life."""
        if response.is_over:
            self.counts.stale += 1
        else:
            self.tell(OutputText(response=response.number, delta=text))

    def done(self, response: Response, status: Status, *, by_model: bool = False) -> bool:
        """It is over. `by_model`: the model broke it off itself. False: that was told before."""
        if response.is_over:
            return False
        response.is_over = True
        if by_model:
            self.tell(ModelInterrupted(response=response.number))
        self.tell(ResponseDone(response=response.number, status=status))
        return True

    # -------------------------------------------------------------------------------------------------------- end

    def tell(self, event: ProviderEvent) -> None:
        if not self.is_over:
            self._emit(event)

    def expires(self, in_s: float) -> None:
        self.tell(Expiring(in_s=in_s))

    def fail(self, error: ProviderError) -> None:
        """The stream is of no more use: `Fault`, and nothing after it."""
        if self.is_over:
            return
        if self._is_set_up:
            self.counts.faults += 1
            self.tell(fault_of(error))
        else:
            self._refusal = error
            self._answered.set()
        self._finish()
        self.socket.fail(error)

    async def close(self, *, drain: bool) -> None:
        """A conversation has nothing to drain: what the model has not said yet nobody will hear."""
        if not self.is_over:
            self._finish()
        await self.socket.close()

    def _finish(self) -> None:
        self.is_over = True
        self.watch.close()
        if self._warning is not None:
            self._warning.cancel()
        self._ended(self)

    async def _run(self) -> None:
        try:
            await self.socket.run(self._take, self._sent)
        except ProviderError as error:
            self.fail(error)
        finally:
            await self.socket.close()

    def _take(self, message: Message) -> None:
        if not self.is_over:
            self.take(message)

    def _sent(self, mark: tuple[int, int]) -> None:
        self._track.sent(*mark)

    def _stalled(self) -> None:
        self.counts.stalls += 1
        limit_s = self.settings.stall_s
        self.fail(self.vendor.error("stall", f"the model owes an answer and is silent for {limit_s:g} s"))
