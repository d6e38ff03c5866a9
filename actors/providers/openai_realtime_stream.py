"""One conversation with OpenAI's Realtime model: the session's operations and the vendor's events, one to the other.

    respond ──► ask ──when none is under way──► response.create ──► response.created ──► ... ──► response.done
    vendor's VAD: speech_started, speech_stopped, committed ──────────────┘

At most one response is under way at the vendor: what is asked meanwhile waits here. A response that failed there
before anything of it was heard is asked once more, under the same number.

Heard     `conversation.item.truncate`, as far as the caller heard the item; an item of which nothing was heard is
          deleted, since the vendor truncates none to nothing (livekit#6157). Never beyond the audio that came.
Text      of the agent that is injected stands as its words, unless `respond` comes next: then just this is spoken.
Errors    most leave the session open. Those that answer what we can do without are counted in `refused`; those of an
          answer that is owed end the stream.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from actors.logs import get_logger
from actors.providers import openai_realtime_wire as wire
from actors.providers import options as stream_options
from actors.providers.chat_calls import arguments
from actors.providers.interface import (
    Emit,
    InputText,
    StreamSpec,
    SttSpeechStarted,
    SttSpeechStopped,
    ToolCall,
    Usage,
)
from actors.providers.openai_realtime_items import ASKS_MAX, Answer, Ask, Asks, CallerItems, keep
from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode, encode, kind_of
from actors.providers.vendor_pcm import from_base64
from actors.providers.vendor_s2s import Response, S2sLine, S2sSettings
from actors.providers.vendor_socket import Message
from actors.task_home import TaskHome
from router.errors import FaultKind

if TYPE_CHECKING:
    from actors.providers.openai_realtime import OpenAiRealtimeOptions

__all__ = ["FIXED", "OpenAiRealtimeStream"]

log = get_logger("openai-realtime")

FIXED = frozenset({"model", "vad", "chunk_ms", "stall_s", "open_s", "life_s", "prewarm"})
"""Set when the stream is opened."""
_IS_ANSWERING = "conversation_already_has_active_response"
_ENDS: frozenset[FaultKind] = frozenset({"auth", "quota", "expired"})
"""Errors after which nothing more is to be had, whatever they answer."""


class OpenAiRealtimeStream(S2sLine):
    """An `S2sStream`."""

    def __init__(
        self, options: OpenAiRealtimeOptions, spec: StreamSpec, emit: Emit, vendor: Vendor, counts: VendorCounts,
        home: TaskHome, rng: Random, ended: Callable[[Any], None],
    ) -> None:  # fmt: skip
        settings = S2sSettings(
            chunk_ms=options.chunk_ms, stall_s=options.stall_s, gated=options.vad == "local", life_s=options.life_s
        )
        super().__init__(spec, emit, vendor, counts, home, settings, rng, ended)
        self._options = options
        self._numbers = itertools.count(1)
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._live: Answer | None = None
        self._asks = Asks()
        self._vad_owes = False
        """The vendor heard the end of a turn and will answer."""
        self._pending: str | None = None
        """A text of the agent: said before, or to be spoken."""
        self._caller = CallerItems()
        self._spoke = False
        self._setup_id = ""

    # ------------------------------------------------------------------------------------ what the session says

    def hello(self) -> None:
        self._setup_id = self._update_session()

    def chunk(self, pcm: bytes) -> Message:
        self._caller.given(len(pcm) // 2)
        return wire.append(pcm)

    def before_audio(self) -> None:
        self._settle()

    def activity_start(self, pos: int) -> None:
        if self.settings.gated and not self.is_over:
            self._caller.starts(max(pos, self.given_end))
            self.open_gate(pos)

    def activity_end(self, pos: int) -> None:
        if self.settings.gated and not self.is_over:
            self.close_gate()
            self._commit()

    def respond(self) -> None:
        if self.is_over:
            return
        text, self._pending = self._pending, None
        if self.settings.gated and text is None:
            self.flush()
            self._commit()
        self._ask(wire.verbatim(text) if text is not None else {})

    def inject(self, role: Literal["user", "agent", "system"], text: str) -> None:
        if self.is_over:
            return
        self._settle()
        if role == "agent":
            self._pending = text
        elif text:
            self.send(wire.create_message(role, text, self._id("item")))

    def tool_result(self, id: str, result: str, ok: bool, answer: bool) -> None:
        if self.is_over:
            return
        self._settle()
        self.send(wire.tool_output(id, result if ok else encode({"error": result}), self._id("item")))
        if answer:
            self._ask({})

    def heard(self, response: int, ms: float) -> None:
        answer = self._answer_of(response)
        if answer is not None and not self.is_over:
            answer.heard_ms = ms
            if not answer.is_live:
                self._cut(answer)

    def cancel(self, response: int) -> None:
        known = self.responses.get(response)
        if known is None or self.is_over:
            return
        answer = self._answer_of(response)
        if answer is not None and answer.is_live and not known.is_over:
            self.send(wire.event("response.cancel", event_id=self._id("cut"), response_id=answer.id))
        self.done(known, "cancelled")
        if answer is not None:
            self._cut(answer)
        self._owe()

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        fixed = FIXED | {"voice"} if self._spoke else FIXED
        takes = {name: value for name, value in options.items() if name not in fixed}
        before = self._options
        self._options, refused = stream_options.changed(before, takes)
        if self._options != before and not self.is_over:
            self._update_session()
        return (*refused, *(name for name in options if name in fixed))

    def _update_session(self) -> str:
        id = self._id("session")
        session = wire.session(self._options, self.spec.tools, spoke=self._spoke)
        self.send(wire.event("session.update", event_id=id, session=session))
        return id

    def _settle(self) -> None:
        """A text of the agent's that was not asked to be spoken is something said before."""
        if self._pending is not None:
            text, self._pending = self._pending, None
            if text:
                self.send(wire.create_message("assistant", text, self._id("item")))

    def _commit(self) -> None:
        """The audio so far is an item of the caller's: it is transcribed, and there when a response is asked for."""
        id = self._id("commit")
        if self._caller.commit(id, self.given_end):
            self.send(wire.event("input_audio_buffer.commit", event_id=id))

    def _id(self, what: str) -> str:
        return f"{what}-{next(self._numbers)}"

    # ----------------------------------------------------------------------------------------------------- asking

    def _ask(self, fields: dict[str, Any], response: Response | None = None) -> None:
        if not self._asks.add(Ask(self._id("ask"), fields, response), first=response is not None):
            self.fail(self.vendor.error("overload", f"{ASKS_MAX} responses wait for the one before them"))
            return
        self._next()

    def _next(self) -> None:
        """Ask for the one that waited longest, if none is under way."""
        ask = self._asks.next() if self._live is None and not self.is_over else None
        if ask is not None:
            fields = {**ask.fields, "metadata": {"patchbay": ask.id}}
            self.send(wire.event("response.create", event_id=ask.id, response=fields))
        self._owe()

    def _owe(self) -> None:
        if self._live is not None or self._asks or self._vad_owes:
            self.watch.owe()
        else:
            self.watch.settle()

    def _answer_of(self, number: int) -> Answer | None:
        return next((a for a in reversed(self._answers.values()) if a.response.number == number), None)

    def _cut(self, answer: Answer) -> None:
        """Tell the vendor how much of its answer was heard; it forgets the rest."""
        heard_ms, answer.heard_ms = answer.heard_ms, None
        if heard_ms is None:
            return
        for item_id, end_ms in answer.cuts(heard_ms):
            at = {"event_id": self._id("cut"), "item_id": item_id}
            if end_ms is None:
                self.send(wire.event("conversation.item.delete", **at))
            else:
                self.send(wire.event("conversation.item.truncate", **at, content_index=0, audio_end_ms=end_ms))

    # ------------------------------------------------------------------------------------- what the vendor says

    def take(self, message: Message) -> None:
        kind = kind_of(self.vendor, message)
        handler = _HANDLERS.get(kind)
        if handler is None:
            self.counts.unknown += kind not in wire.UNREAD
            return
        self.watch.heard()
        handler(self, message)

    def _session_updated(self, message: Message) -> None:
        audio = decode(self.vendor, message, wire.SessionEvent).session.audio
        for way in (audio.input, audio.output) if audio is not None else ():
            told = way.format if way is not None else None
            if told is not None and (told.type, told.rate or wire.RATE_HZ) != ("audio/pcm", wire.RATE_HZ):
                raise self.vendor.error("protocol", f"audio as {told.type} at {told.rate} Hz, asked for {wire.RATE_HZ}")
        self.set_up()

    def _speech_started(self, message: Message) -> None:
        told = decode(self.vendor, message, wire.Spoke)
        self._caller.begins(told.item_id, self.pos(told.audio_start_ms))
        self._vad_owes = False
        self._owe()
        self.tell(SttSpeechStarted(pos=self.pos(told.audio_start_ms + self._padding_ms("prefix_padding_ms"))))

    def _speech_stopped(self, message: Message) -> None:
        told = decode(self.vendor, message, wire.Spoke)
        begin = self._caller.ends(told.item_id, self.pos(told.audio_end_ms), self.spec.pos)
        self._vad_owes = True
        self._owe()
        voiced_ms = told.audio_end_ms - self._padding_ms("silence_ms")
        self.tell(SttSpeechStopped(pos=max(begin, self.pos(max(0, voiced_ms)))))

    def _padding_ms(self, name: str) -> int:
        """What the vendor's times have of silence around speech; of its semantic detection it says nothing."""
        return getattr(self._options, name) if self._options.turn_detection == "server_vad" else 0

    def _committed(self, message: Message) -> None:
        told = decode(self.vendor, message, wire.Spoke)
        if self.settings.gated:
            self._caller.committed(told.item_id)

    def _transcript_delta(self, message: Message) -> None:
        told = decode(self.vendor, message, wire.Transcribed)
        text = self._caller.words(told.item_id, told.delta or "")
        if text:
            self.tell(InputText(text=text, final=False))

    def _transcript(self, message: Message) -> None:
        """Whole; or none, because it failed: that too is an answer."""
        told = decode(self.vendor, message, wire.Transcribed)
        begin, end = self._caller.whole(told.item_id)
        self.tell(InputText(text=(told.transcript or "").strip(), final=True, from_pos=begin, to_pos=end))

    def _created(self, message: Message) -> None:
        body = decode(self.vendor, message, wire.ResponseEvent).response
        if body.id in self._answers:
            self.counts.stale += 1
            return
        asked = self._asks.begun((body.metadata or {}).get("patchbay", ""))
        self._vad_owes = self._vad_owes and asked is not None
        again = asked.response if asked is not None else None
        answer = Answer(body.id, again or self.begins(), asked)
        self._live = answer
        keep(self._answers, body.id, answer)
        self._owe()
        if answer.response.is_over:  # cancelled while it was asked for again
            self.send(wire.event("response.cancel", event_id=self._id("cut"), response_id=body.id))

    def _item_added(self, message: Message) -> None:
        told = decode(self.vendor, message, wire.ItemEvent)
        answer = self._answers.get(told.response_id)
        if answer is None:
            self.counts.stale += 1
        elif told.item.type == "message" and told.item.id:
            answer.part(told.item.id)

    def _item_done(self, message: Message) -> None:
        """A call is told when it is whole."""
        told = decode(self.vendor, message, wire.ItemEvent)
        answer, item = self._answers.get(told.response_id), told.item
        if answer is None or item.type != "function_call" or answer.response.is_over or item.status == "incomplete":
            self.counts.stale += answer is None
            return
        if not item.call_id or not item.name:
            raise self.vendor.error("protocol", "a call of a tool without id or name")
        args, problem = arguments(item.arguments or "")
        answer.called = True
        self.tell(
            ToolCall(turn=answer.response.number, id=item.call_id, name=item.name, args=args, problem=problem)
        )  # fmt: skip

    def _audio_delta(self, message: Message) -> None:
        told = decode(self.vendor, message, wire.Delta)
        answer = self._answers.get(told.response_id)
        if answer is None:
            self.counts.stale += 1
            return
        pcm = from_base64(self.vendor, told.delta)
        before = answer.response.samples
        self.sounds(answer.response, pcm)
        self._spoke = True
        answer.part(told.item_id).samples += answer.response.samples - before

    def _text_delta(self, message: Message) -> None:
        told = decode(self.vendor, message, wire.Delta)
        answer = self._answers.get(told.response_id)
        if answer is None:
            self.counts.stale += 1
        elif told.delta:
            self.says(answer.response, told.delta)

    def _arguments_delta(self, message: Message) -> None:
        answer = self._answers.get(decode(self.vendor, message, wire.Delta).response_id)
        if answer is not None and not answer.response.is_over:
            self.says(answer.response, "")

    def _response_done(self, message: Message) -> None:
        body = decode(self.vendor, message, wire.ResponseEvent).response
        answer = self._answers.get(body.id)
        if answer is None or not answer.is_live:
            self.counts.stale += 1
            return
        answer.is_live = False
        if self._live is answer:
            self._live = None
        if body.usage is not None:
            self.tell(Usage(amounts=wire.amounts(body.usage)))
        details = body.status_details or wire.StatusDetails()
        match body.status:
            case "completed" | "incomplete":
                self.done(answer.response, "completed" if body.status == "completed" else "incomplete")
            case "cancelled":
                self.done(answer.response, "cancelled", by_model=details.reason == "turn_detected")
            case "failed":
                self._failed(answer, details.error or wire.Error())
            case _:
                raise self.vendor.error("protocol", "a response that is done has no such status")
        self._cut(answer)
        self._next()

    def _failed(self, answer: Answer, why: wire.Error) -> None:
        error = self.vendor.from_message(" ".join(filter(None, (why.code, why.type, why.message))), "overload")
        if answer.response.is_over and error.kind not in _ENDS:
            return
        ask, was_told = answer.ask, answer.response.samples or answer.called
        if error.kind != "overload" or was_told or (ask is not None and ask.response is not None):
            self.fail(error)
            return
        log.warning("openai-realtime.response_failed", code=self.vendor.text(why.code or "", 60))
        self._ask(ask.fields if ask is not None else {}, answer.response)

    def _error(self, message: Message) -> None:
        told = decode(self.vendor, message, wire.ErrorEvent).error
        id, code = told.event_id or "", told.code or ""
        is_ask = self._asks.is_sent(id)
        if code == _IS_ANSWERING and (is_ask or not id):
            self._vad_owes = False
            self._asks.add(self._asks.begun(id) or Ask(self._id("ask"), {}), first=True)
            self._next()
            return
        usual: FaultKind = "overload" if told.type == "server_error" else "config"
        error = self.vendor.from_message(" ".join(filter(None, (code, told.type, told.message))), usual)
        if is_ask or id == self._setup_id or error.kind in _ENDS:
            self.fail(error)
            return
        self._caller.refused(id)
        self.counts.refused += 1
        log.warning("openai-realtime.refused", what=id.partition("-")[0], code=self.vendor.text(code, 60))


_STREAM = OpenAiRealtimeStream
_HANDLERS: dict[str, Callable[[OpenAiRealtimeStream, Message], None]] = {
    "session.updated": _STREAM._session_updated,
    "input_audio_buffer.speech_started": _STREAM._speech_started,
    "input_audio_buffer.speech_stopped": _STREAM._speech_stopped,
    "input_audio_buffer.committed": _STREAM._committed,
    "conversation.item.input_audio_transcription.delta": _STREAM._transcript_delta,
    "conversation.item.input_audio_transcription.completed": _STREAM._transcript,
    "conversation.item.input_audio_transcription.failed": _STREAM._transcript,
    "response.created": _STREAM._created,
    "response.output_item.added": _STREAM._item_added,
    "response.output_item.done": _STREAM._item_done,
    "response.output_audio.delta": _STREAM._audio_delta,
    "response.output_audio_transcript.delta": _STREAM._text_delta,
    "response.function_call_arguments.delta": _STREAM._arguments_delta,
    "response.done": _STREAM._response_done,
    "error": _STREAM._error,
}
