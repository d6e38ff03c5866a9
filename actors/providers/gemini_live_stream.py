"""One conversation with Gemini's Live model: the session's operations and the vendor's messages, one to the other.

    content, none before ──► a response begins ──► ... ──► turnComplete          the vendor numbers nothing
    toolCall ──► the response is over; what follows the results is the next one

A connection lives for ten minutes, the conversation longer (`vendor_resumed.py`); options change with the next one.

Interrupted  the vendor breaks off by itself, at speech that it hears, or at an activity that it is told of. With local
             ears a caller who speaks into an answer under way is told of when the session is sure (`cancel`): a cough
             breaks nothing off. What of an answer that was cancelled still comes is eaten up to its `turnComplete`.
Heard        the vendor keeps of an interrupted answer what it had sent; it cannot be told what was heard.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from actors.providers import gemini_live_wire as wire
from actors.providers import options as stream_options
from actors.providers.gemini_live_text import LiveText
from actors.providers.interface import (
    Emit,
    InputText,
    ModelInterrupted,
    StreamSpec,
    ToolCall,
    Usage,
)
from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode
from actors.providers.vendor_pcm import check_rate, from_base64
from actors.providers.vendor_resumed import ResumedLine
from actors.providers.vendor_s2s import Response, S2sSettings
from actors.providers.vendor_socket import Message, VendorSocket
from actors.task_home import TaskHome
from router.errors import ProviderError

if TYPE_CHECKING:
    from actors.providers.gemini_live import GeminiLiveOptions

__all__ = ["FIXED", "GeminiLiveStream"]

FIXED = frozenset({
    "model", "vad", "api_version", "text_input", "resumption", "input_transcripts", "chunk_ms", "open_s", "stall_s",
    "life_s",
})  # fmt: skip
"""Set when the stream is opened."""
_CALLS_MAX = 256
_EATEN_S = 2.0
"""After an interruption, without the end of that turn: what comes later is another answer."""
_TEXT_SETTLES_S = 0.3
"""With local ears: no more of a transcript has come for so long after the speech."""


class GeminiLiveStream(ResumedLine):
    """An `S2sStream`."""

    def __init__(
        self, options: GeminiLiveOptions, spec: StreamSpec, emit: Emit, vendor: Vendor, counts: VendorCounts,
        home: TaskHome, rng: Random, ended: Callable[[Any], None], dial: Callable[[], Awaitable[VendorSocket]],
    ) -> None:  # fmt: skip
        settings = S2sSettings(
            chunk_ms=options.chunk_ms, stall_s=options.stall_s, gated=options.vad == "local", life_s=options.life_s
        )
        super().__init__(spec, emit, vendor, counts, home, settings, rng, ended, dial, options.open_s)
        self._options = options
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
        self._text = LiveText(only_history=options.takes_text == "realtime", is_begun=spec.resume is not None)
        self._calls: OrderedDict[str, str] = OrderedDict()
        """Name by id, of calls without a result."""

    # ------------------------------------------------------------------------------------ what the session says

    def hello(self) -> None:
        self.socket.send(wire.setup(self._options, self.spec.tools, self.handle))

    def chunk(self, pcm: bytes) -> Message:
        self._text.is_begun = True
        return wire.audio(pcm)

    def before_audio(self) -> None:
        self._tell(self._text.settled())

    def activity_start(self, pos: int) -> None:
        if self.is_over:
            return
        self._speaks = True
        if not self.settings.gated:
            return
        self.cancel_timer("text")
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
            self.timer("text", _TEXT_SETTLES_S, self._final_text)
        self.look()

    def _begin_activity(self, pos: int) -> None:
        self._start_pos, self._in_activity = None, True
        self._tell(self._text.begins())
        self.send(wire.realtime(activityStart={}))
        self.open_gate(pos)

    def respond(self) -> None:
        if self.is_over:
            return
        if self._in_activity and not self._text.is_to_be_spoken:
            self.close_gate()
            self._in_activity = False
            self.send(wire.realtime(activityEnd={}))
        else:
            self._tell(self._text.asked())
        self.watch.owe()

    def inject(self, role: Literal["user", "agent", "system"], text: str) -> None:
        if not self.is_over:
            self._text.inject(role, text)

    def _tell(self, messages: list[str]) -> None:
        for message in messages:
            self.send(message)

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
        takes = {name: value for name, value in options.items() if name not in FIXED and self.handle is not None}
        before = self._options
        self._options, refused = stream_options.changed(before, takes)
        if self._options != before and not self.is_over:
            self.another()
        return (*refused, *(name for name in options if name not in takes))

    @property
    def is_quiet(self) -> bool:
        busy = self.watch.owed or self._now is not None or self._speaks or self._in_activity or bool(self._calls)
        return not busy and self.loop.time() >= self._eaten_until_s

    def refusal(self, error: ProviderError) -> ProviderError:
        """The vendor has no word for a setup that it does not take, nor for a handle that is too old: it closes."""
        if error.kind == "protocol" and ("closed with 1007" in error.detail or "closed with 1008" in error.detail):
            return ProviderError(error.provider, "config" if self.handle is None else "expired", error.detail)
        return error

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
            self.taken_up()
        if (update := told.session_resumption_update) is not None:
            self.gives(update.new_handle if update.resumable else None)
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
            if self.loop.time() < self._eaten_until_s:
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
        self._eaten_until_s = self.loop.time() + _EATEN_S
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
        self.look()

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
            self.timer("text", _TEXT_SETTLES_S, self._final_text)

    def _final_text(self) -> None:
        """What was heard is all of it: the model answers, its turn is over, or nothing more comes."""
        self.cancel_timer("text")
        text, self._heard = self._heard.strip(), ""
        if text:
            self.tell(InputText(text=text, final=True))


_WHOLE = frozenset({None, "", "TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT"})
