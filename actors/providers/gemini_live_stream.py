"""One conversation with Gemini's Live model: the session's operations and the vendor's messages, one to the other.

    content, none before ──► a response begins ──► ... ──► turnComplete          the vendor numbers nothing
    toolCall ──► the response is over; what follows the results is the next one

A connection lives for ten minutes, the conversation longer: the vendor gives handles by which it takes it up again. So
the stream changes its connection by itself (`goAway`, its age, changed options) at a moment when nobody speaks and
nothing is owed, and when an idle one is lost. The old one is closed first, since the vendor refuses a handle that is
in use; audio waits meanwhile. Without a handle the session is told (`Expiring`), and tells the next stream the history.

Interrupted  the vendor breaks off by itself, at speech that it hears, or at an activity that it is told of. With local
             ears a caller who speaks into an answer under way is told of when the session is sure (`cancel`): a cough
             breaks nothing off. What of an answer that was cancelled still comes is eaten up to its `turnComplete`.
Heard        the vendor keeps of an interrupted answer what it had sent; it cannot be told what was heard.
Text         before the first audio it is history. Then models of the third generation take it only as if the caller had
             typed it: what is injected waits for the next `respond`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from actors.providers import gemini_live_wire as wire
from actors.providers import options as stream_options
from actors.providers.interface import (
    Emit,
    Expiring,
    InputText,
    ModelInterrupted,
    Resumable,
    StreamSpec,
    ToolCall,
    Usage,
)
from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode
from actors.providers.vendor_pcm import check_rate, from_base64
from actors.providers.vendor_s2s import Response, S2sLine, S2sSettings
from actors.providers.vendor_socket import Message, VendorSocket
from actors.task_home import TaskHome
from router.errors import FaultKind, ProviderError

if TYPE_CHECKING:
    from actors.providers.gemini_live import GeminiLiveOptions

__all__ = ["FIXED", "GeminiLiveStream"]

FIXED = frozenset({
    "model", "vad", "api_version", "text_input", "resumption", "input_transcripts", "chunk_ms", "open_s", "stall_s",
    "life_s",
})  # fmt: skip
"""Set when the stream is opened."""
_CALLS_MAX = 256
_QUIET_LOOK_S = 0.25
_MEND_AGAIN_S = 10.0
_EATEN_S = 2.0
"""After an interruption, without the end of that turn: what comes later is another answer."""
_TEXT_SETTLES_S = 0.3
"""With local ears: no more of a transcript has come for so long after the speech."""
_MENDS: frozenset[FaultKind] = frozenset({"connect", "expired", "overload"})


class GeminiLiveStream(S2sLine):
    """An `S2sStream`."""

    def __init__(
        self, options: GeminiLiveOptions, spec: StreamSpec, emit: Emit, vendor: Vendor, counts: VendorCounts,
        home: TaskHome, rng: Random, ended: Callable[[Any], None], dial: Callable[[], Awaitable[VendorSocket]],
    ) -> None:  # fmt: skip
        settings = S2sSettings(
            chunk_ms=options.chunk_ms, stall_s=options.stall_s, gated=options.vad == "local", life_s=options.life_s
        )
        super().__init__(spec, emit, vendor, counts, home, settings, rng, ended)
        self._options, self._dial = options, dial
        self._loop = asyncio.get_running_loop()
        self._handle = spec.resume
        self._is_resumable = spec.resume is not None
        """The newest handle holds all that was said."""
        self._is_ready = self._wants_other = False
        self._mended_s = float("-inf")
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._now: Response | None = None
        """The answer under way."""
        self._last: Response | None = None
        self._is_made = False
        """All of it was sent; its turn goes on."""
        self._eaten_until_s = float("-inf")
        self._speaks = False
        self._in_activity = False
        self._start_pos: int | None = None
        """Of speech into an answer under way, which the vendor was not told of yet."""
        self._heard = ""
        """Of the caller, since the last final."""
        self._pending: str | None = None
        """A text of the agent: said before, or to be spoken."""
        self._turns: list[dict[str, Any]] = []
        self._is_begun = spec.resume is not None
        """The vendor was given something as it happened: what comes now is no history."""
        self._calls: OrderedDict[str, str] = OrderedDict()
        """Name by id, of calls without a result."""

    # ------------------------------------------------------------------------------------ what the session says

    def hello(self) -> None:
        self.socket.send(wire.setup(self._options, self.spec.tools, self._handle))

    def chunk(self, pcm: bytes) -> Message:
        self._is_begun = True
        return wire.audio(pcm)

    def before_audio(self) -> None:
        self._settle()
        if self._turns and not self._only_typed:
            self._tell_turns()

    @property
    def _only_typed(self) -> bool:
        """Text can only be given as if the caller had typed it."""
        return self._options.takes_text == "realtime" and self._is_begun

    def activity_start(self, pos: int) -> None:
        if self.is_over:
            return
        self._speaks = True
        if not self.settings.gated:
            return
        self._cancel_timer("text")
        if self._in_activity:
            self.open_gate(pos)
        elif self._now is not None and not self._now.is_over and not self._is_made:
            self._start_pos = pos
        else:
            self._begin_activity(pos)

    def activity_end(self, pos: int) -> None:
        if self.is_over:
            return
        self._speaks, self._start_pos = False, None
        if self.settings.gated:
            self.close_gate()
            self._timer("text", _TEXT_SETTLES_S, self._final_text)
        self._try_other()

    def _begin_activity(self, pos: int) -> None:
        self._start_pos, self._in_activity = None, True
        self._is_begun = True
        self.send(wire.realtime(activityStart={}))
        self.open_gate(pos)

    def respond(self) -> None:
        if self.is_over:
            return
        text, self._pending = self._pending, None
        if self._in_activity and text is None:
            self.close_gate()
            self._in_activity = False
            self.send(wire.realtime(activityEnd={}))
        else:
            self._ask(None if text is None else wire.verbatim(text))
        self.watch.owe()

    def _ask(self, text: str | None) -> None:
        """Have it answer `text`, or what was injected last."""
        if self._options.takes_text == "content":
            if text is not None:
                self._turns.append(wire.turn("user", text))
            self._tell_turns(complete=True)
            return
        if not self._is_begun:
            self._tell_turns()
        typed = [_as_typed(turn) for turn in self._turns]
        self._turns.clear()
        self._is_begun = True
        self.send(wire.realtime(text="\n\n".join([*typed, text] if text is not None else typed) or " "))

    def inject(self, role: Literal["user", "agent", "system"], text: str) -> None:
        if self.is_over:
            return
        self._settle()
        if role == "agent":
            self._pending = text
        elif text:
            self._turns.append(wire.turn("user", text if role == "user" else f"(The caller did not say this: {text})"))

    def _settle(self) -> None:
        """A text of the agent's that was not asked to be spoken is something said before."""
        text, self._pending = self._pending, None
        if text:
            self._turns.append(wire.turn("model", text))

    def _tell_turns(self, *, complete: bool = False) -> None:
        turns, self._turns = self._turns, []
        if not turns and not complete:
            return
        if self._options.takes_text == "content":
            if turns and turns[-1]["role"] != "user":
                turns.append(wire.turn("user", " "))  # the second generation wants a turn of the caller last (pipecat)
            self.send(wire.client_content(turns, complete))
        elif turns:
            self.send(wire.client_content(turns, True))  # the end of the history; it is not answered

    def tool_result(self, id: str, result: str, ok: bool, answer: bool) -> None:
        if self.is_over:
            return
        name = self._calls.pop(id, None)
        if name is not None:
            self.send(wire.tool_response(id, name, result, ok))
            if not self._calls:
                self.watch.owe()
        elif answer:  # the vendor has taken the call back, and will not go on from it
            self.done(self.begins(), "cancelled")

    def heard(self, response: int, ms: float) -> None:
        """It cannot be told."""

    def cancel(self, response: int) -> None:
        known = self.responses.get(response)
        if known is None or self.is_over:
            return
        self.done(known, "cancelled")
        if known is self._last:
            self._last = None
        if known is self._now:
            self.watch.settle()
        if self._start_pos is not None:
            self._begin_activity(self._start_pos)

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Taken with the next connection, if there is a handle for one."""
        takes = {name: value for name, value in options.items() if name not in FIXED and self._handle is not None}
        before = self._options
        self._options, refused = stream_options.changed(before, takes)
        if self._options != before and not self.is_over:
            self._other()
        return (*refused, *(name for name in options if name not in takes))

    async def close(self, *, drain: bool) -> None:
        await super().close(drain=drain)
        if self._task is not None:
            self._task.cancel()  # it may be dialling

    def _finish(self) -> None:
        for name in list(self._timers):
            self._cancel_timer(name)
        super()._finish()

    # ---------------------------------------------------------------------------------------------- connections

    def expires(self, in_s: float) -> None:
        if self._handle is None:
            self.tell(Expiring(in_s=in_s))
        else:
            self._other()

    def _other(self) -> None:
        """Another connection, as soon as it is quiet."""
        self._wants_other = True
        self._try_other()

    @property
    def _is_quiet(self) -> bool:
        busy = self.watch.owed or self._now is not None or self._speaks or self._in_activity or bool(self._calls)
        return not busy and self._loop.time() >= self._eaten_until_s

    def _try_other(self) -> None:
        if not self._wants_other or self.is_over or not self._is_ready:
            return
        if self._is_quiet and self._is_resumable:
            self._wants_other = False
            self._cancel_timer("other")
            self.counts.rolled_over += 1
            self.hold()
            self._home.spawn(self.socket.close(), "close a connection")
        else:
            self._timer("other", _QUIET_LOOK_S, self._try_other)

    async def _run(self) -> None:
        try:
            while not self.is_over:
                try:
                    await self.socket.run(self._take, self._sent)
                except ProviderError as error:
                    if not self._can_mend(error):
                        raise
                    self._mended_s = self._loop.time()
                    self.counts.reconnects += 1
                if not self.is_over:
                    await self._connect_again()
        except ProviderError as error:
            self.fail(error if self._is_set_up else self._as_refused(error))
        finally:
            await self.socket.close()

    def _can_mend(self, error: ProviderError) -> bool:
        """A connection that was lost while nothing went on: the conversation is at the vendor's still."""
        is_first = self._loop.time() - self._mended_s > _MEND_AGAIN_S
        usable = self._is_ready and self._is_quiet and self._is_resumable and not self.is_over
        return usable and is_first and error.kind in _MENDS

    def _as_refused(self, error: ProviderError) -> ProviderError:
        """The vendor has no word for a setup that it does not take, nor for a handle that is too old: it closes."""
        if error.kind == "protocol" and ("closed with 1007" in error.detail or "closed with 1008" in error.detail):
            return ProviderError(error.provider, "config" if self._handle is None else "expired", error.detail)
        return error

    async def _connect_again(self) -> None:
        self.hold()
        self._is_ready = False
        await self.socket.close()  # a handle is refused while the connection that it came from is open
        socket = await self._dial()
        if self.is_over:
            await socket.close()
            return
        self.use(socket)
        self.hello()
        self._timer("setup", self._options.open_s, self._setup_is_late)

    def _setup_is_late(self) -> None:
        self.fail(self.vendor.error("timeout", f"the conversation was not taken up in {self._options.open_s:g} s"))

    def _timer(self, name: str, after_s: float, then: Callable[[], None]) -> None:
        self._cancel_timer(name)
        self._timers[name] = self._loop.call_later(after_s, then)

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    # ------------------------------------------------------------------------------------- what the vendor says

    def take(self, message: Message) -> None:
        told = decode(self.vendor, message, wire.ServerMessage)
        if not told.is_known:
            self.counts.unknown += 1
            return
        self.watch.heard()
        if told.error is not None:
            said = f"{told.error.code} {told.error.status} {told.error.message}"
            raise self.vendor.from_message(said, "overload" if told.error.code >= 500 else "protocol")
        if told.setup_complete is not None:
            self._ready()
        if told.session_resumption_update is not None:
            self._resumption(told.session_resumption_update)
        if told.usage_metadata is not None:
            self.tell(Usage(amounts=wire.amounts(told.usage_metadata)))
        if told.server_content is not None:
            self._content(told.server_content)
        if told.tool_call is not None:
            self._called(told.tool_call.function_calls)
        if told.tool_call_cancellation is not None:
            for id in told.tool_call_cancellation.ids:
                self._calls.pop(id, None)
        if told.go_away is not None:
            self.expires(wire.seconds(told.go_away.time_left) or 0.0)

    def _ready(self) -> None:
        self._is_ready = True
        self._cancel_timer("setup")
        self.set_up()
        self.release()

    def _resumption(self, update: wire.ResumptionUpdate) -> None:
        self._is_resumable = update.resumable and bool(update.new_handle)
        if self._is_resumable and update.new_handle != self._handle:
            self._handle = update.new_handle
            self.tell(Resumable(handle=str(update.new_handle)))
        self._try_other()

    def _content(self, content: wire.ServerContent) -> None:
        if content.interrupted:
            self._interrupted()
        self._hears(content.input_transcription, content.interim_input_transcription)
        for part in content.model_turn.parts if content.model_turn is not None else ():
            if part.inline_data is not None:
                check_rate(self.vendor, part.inline_data.mime_type, wire.OUT_HZ)
                pcm = from_base64(self.vendor, part.inline_data.data)
                if (answer := self._answer()) is not None:
                    self.sounds(answer, pcm)
        words = content.output_transcription.text if content.output_transcription is not None else None
        if words and (answer := self._answer()) is not None:
            self.says(answer, words)
        if content.generation_complete:
            self._is_made = True
            self.watch.settle()
        if content.turn_complete:
            self._turn_over(content.turn_complete_reason)

    def _answer(self) -> Response | None:
        """The one that content belongs to; None: to one that was broken off."""
        if self._now is None:
            if self._loop.time() < self._eaten_until_s:
                self.counts.stale += 1
                return None
            self._final_text()
            self._now = self._last = self.begins()
            self._is_made = False
            self.watch.owe()
        return self._now

    def _interrupted(self) -> None:
        """It heard the caller. Of an answer that was sent whole, too, while it takes it to be playing."""
        last, self._now = self._last, None
        self._eaten_until_s = self._loop.time() + _EATEN_S
        self.watch.settle()
        if last is not None and not self.done(last, "cancelled", by_model=True):
            self.tell(ModelInterrupted(response=last.number))
        self._last = None

    def _turn_over(self, reason: str | None) -> None:
        answer, self._now = self._now, None
        self._eaten_until_s = float("-inf")
        self._final_text()
        if answer is not None:
            self.done(answer, "completed" if reason in _WHOLE else "incomplete")
        if not self._calls:
            self.watch.settle()
        self._try_other()

    def _called(self, calls: tuple[wire.FunctionCall, ...]) -> None:
        answer = self._answer()
        if answer is None or answer.is_over:
            self.counts.stale += 1
            return
        for call in calls:
            if not call.name:
                raise self.vendor.error("protocol", "a call of a tool without a name")
            id = call.id or f"call_{answer.number}_{len(self._calls)}"
            self._calls[id] = call.name
            if len(self._calls) > _CALLS_MAX:
                raise self.vendor.error("protocol", f"more than {_CALLS_MAX} calls wait for their results")
            self.tell(ToolCall(turn=answer.number, id=id, name=call.name, args=call.args or {}))
        self._now = None
        self.done(answer, "completed")
        self.watch.settle()

    # --------------------------------------------------------------------------------------- words of the caller

    def _hears(self, told: wire.Transcription | None, interim: wire.Transcription | None) -> None:
        """Pieces are put together: the vendor says seldom when they are all."""
        if told is not None and told.text:
            self._heard += told.text
        shown = self._heard + (interim.text or "" if interim is not None else "")
        if (told is not None or interim is not None) and shown.strip():
            self.tell(InputText(text=shown.strip(), final=False))
        if told is not None and told.finished:
            self._final_text()
        elif told is not None and self.settings.gated and not self.is_active:
            self._timer("text", _TEXT_SETTLES_S, self._final_text)

    def _final_text(self) -> None:
        """What was heard is all of it: the model answers, its turn is over, or nothing more comes."""
        self._cancel_timer("text")
        text, self._heard = self._heard.strip(), ""
        if text:
            self.tell(InputText(text=text, final=True))


def _as_typed(turn: dict[str, Any]) -> str:
    text = str(turn["parts"][0]["text"])
    return text if turn["role"] == "user" else f"(You said: {text})"


_WHOLE = frozenset({None, "", "TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT"})
