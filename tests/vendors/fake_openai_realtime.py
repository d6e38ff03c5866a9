"""OpenAI's `/v1/realtime`, as far as a call needs it: strict, on a port of its own.

It hears the tones of the fake voices and answers in them: "I heard ten of clubs". Words "call NAME" call the tool NAME;
what the tool gave it says. An instruction with a text behind an empty line is spoken as that text. It keeps the
conversation as the vendor does (items, truncated and deleted ones), so a test sees what the model would remember.

Source   protocols sheet 5; openai-python 3.57 `types/realtime`, with which every message here is validated.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from actors.providers.fake_tones import say
from tests.vendors.listener import Listener
from tests.vendors.peer import Gone, Peer
from tests.vendors.server import KEY, FakeVendor, Route

__all__ = ["RATE_HZ", "FakeOpenAiRealtime", "Known"]

RATE_HZ = 24_000
_SESSION = {
    "type", "output_modalities", "instructions", "audio", "tools", "tool_choice", "parallel_tool_calls", "reasoning",
    "max_output_tokens", "truncation",
}  # fmt: skip
_INPUT = {"format", "noise_reduction", "transcription", "turn_detection"}
_OUTPUT = {"format", "voice", "speed"}
_SERVER_VAD = {
    "type", "threshold", "prefix_padding_ms", "silence_duration_ms", "create_response", "interrupt_response",
}  # fmt: skip
_RESPONSE = {"instructions", "input", "tool_choice", "metadata", "conversation", "output_modalities"}
_CHUNK_MS = 200
_PIECE = "I heard"


@dataclass
class Known:
    """An item of the conversation, as the vendor remembers it."""

    id: str
    type: str
    role: str = ""
    text: str = ""
    call_id: str = ""
    audio_ms: float = 0.0
    """Of an answer: what was made, or what is left of it."""


@dataclass
class _Speaking:
    """The response under way."""

    id: str
    metadata: dict[str, str]
    task: asyncio.Task[None] | None = None
    cancelled: str | None = None
    """Why."""


class FakeOpenAiRealtime(FakeVendor):
    def __init__(self, *, speed: float = 20.0, transcript_s: float = 0.0, life_s: float = 3600.0) -> None:
        super().__init__()
        self.speed, self.transcript_s, self.life_s = speed, transcript_s, life_s
        """Times real time at which it speaks; a transcript comes so long after its audio was committed."""
        self.models: list[str] = []
        """Of each handshake."""
        self.sessions: list[dict[str, Any]] = []
        """Of each `session.update`."""
        self.conversations: list[list[Known]] = []
        """Of each connection."""
        self.created: list[dict[str, Any]] = []
        """The `response` of each `response.create`."""
        self.responses: list[str] = []
        """Their ids."""
        self.truncated: dict[str, int] = {}
        self.audio_ms = 0.0
        """Heard, of all connections."""
        self.fail_next: list[dict[str, str]] = []
        """Errors that the next responses fail with."""
        self.odd = self.wrong_rate = self.stranger = False
        """Audio is cut within samples; the session has another rate; somebody else's response comes first."""
        self.say_more = ""

    def routes(self) -> Iterator[Route]:
        yield "GET", "/v1/realtime", self.socket(self.talk)

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            error = {
                "message": "Incorrect API key provided.",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
            return web.json_response({"error": error}, status=401)
        if not request.query.get("model"):
            return web.json_response({"error": {"message": "model is missing", "code": "missing_model"}}, status=400)
        if set(request.query) - {"model"} or "OpenAI-Beta" in request.headers:
            self.violation(f"query {dict(request.query)}, or a beta header")
        return None

    async def talk(self, peer: Peer) -> None:
        self.models.append(peer.query["model"])
        conversation = _Conversation(self, peer)
        self.conversations.append(conversation.items)
        async with asyncio.TaskGroup() as tasks:
            ends = tasks.create_task(conversation.ends())
            with contextlib.suppress(Gone):
                await conversation.run(tasks)
            ends.cancel()
            conversation.stop()


class _Conversation:
    """One connection."""

    def __init__(self, vendor: FakeOpenAiRealtime, peer: Peer) -> None:
        self.vendor, self.peer = vendor, peer
        self.items: list[Known] = []
        self.session: dict[str, Any] = {}
        self.listener = Listener(RATE_HZ)
        self.numbers = itertools.count(1)
        self.speaking: _Speaking | None = None
        self.spoke = False
        self.hearing: str | None = None
        """Item of the speech that goes on."""
        self.jobs: set[asyncio.Task[None]] = set()
        self.tasks: asyncio.TaskGroup

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        self.tasks = tasks
        await self.send("session.created", session={"type": "realtime", "object": "realtime.session", **self._ids()})
        while True:
            message = await self.peer.receive_json()
            if isinstance(message, bytes):
                self.vendor.violation("a binary message")
                continue
            kind = str(message.get("type"))
            if kind in self.vendor.orders.ignored:
                continue
            handler = _HANDLERS.get(kind)
            if handler is None:
                self.vendor.violation(f"unknown message {kind}")
            else:
                await handler(self, message)

    async def ends(self) -> None:
        await asyncio.sleep(self.vendor.life_s)
        try:
            await self.refuse({}, "session_expired", "Your session hit the maximum duration of 60 minutes.")
            await self.peer.close(1001, "the session is over after 60 minutes")
        except Gone:
            pass

    def stop(self) -> None:
        for job in self.jobs:
            job.cancel()

    def job(self, work: Any) -> asyncio.Task[None]:
        async def guarded() -> None:
            with contextlib.suppress(Gone):
                await work

        task = self.tasks.create_task(guarded())
        self.jobs.add(task)
        task.add_done_callback(self.jobs.discard)
        task.add_done_callback(lambda _: work.close())
        return task

    async def send(self, type: str, **fields: Any) -> None:
        await self.peer.send({"type": type, "event_id": self._id("event"), **fields})

    async def refuse(self, message: dict[str, Any], code: str, text: str, kind: str = "invalid_request_error") -> None:
        error = {"type": kind, "code": code, "message": text, "param": None, "event_id": message.get("event_id")}
        await self.send("error", error=error)

    def _id(self, what: str) -> str:
        return f"{what}_{next(self.numbers)}"

    def _ids(self) -> dict[str, Any]:
        return {"id": "sess_1", "model": self.peer.query["model"], "expires_at": 1_790_000_000}

    # -- the session

    async def update(self, message: dict[str, Any]) -> None:
        new = message.get("session") or {}
        audio = new.get("audio") or {}
        into, out = audio.get("input") or {}, audio.get("output") or {}
        unknown = (
            (set(new) - _SESSION) | (set(into) - _INPUT) | (set(out) - _OUTPUT) | (set(audio) - {"input", "output"})
        )
        detection = into.get("turn_detection") or {}
        if detection.get("type") == "server_vad":
            unknown |= set(detection) - _SERVER_VAD
        if unknown or new.get("type") != "realtime":
            await self.refuse(message, "unknown_parameter", f"Unknown parameter: {sorted(unknown)}")
            return
        for way in (into, out):
            if way.get("format", {"type": "audio/pcm", "rate": RATE_HZ}) != {"type": "audio/pcm", "rate": RATE_HZ}:
                self.vendor.violation(f"format {way['format']}")
        voice = out.get("voice")
        if voice is not None and self.spoke and voice != self.session["audio"]["output"].get("voice"):
            await self.refuse(message, "cannot_update_voice", "Cannot update a conversation's voice.")
            return
        if voice == "nobody":
            await self.refuse(message, "invalid_value", "Invalid value: 'nobody'.")
            return
        self.vendor.sessions.append(new)
        before = self.session.get("audio", {}).get("output", {})
        self.session = {**self.session, **new, "audio": {"input": into, "output": {**before, **out}}}
        told = dict(self.session)
        if self.vendor.wrong_rate:
            told["audio"] = {**told["audio"], "output": {**told["audio"]["output"], "format": {"type": "audio/pcmu"}}}
        await self.send("session.updated", session={**told, "object": "realtime.session", **self._ids()})

    @property
    def detection(self) -> dict[str, Any]:
        return self.session.get("audio", {}).get("input", {}).get("turn_detection") or {}

    # -- what the caller says

    async def append(self, message: dict[str, Any]) -> None:
        if not self.session:
            self.vendor.violation("audio before the session was set up")
        try:
            pcm = base64.b64decode(message.get("audio", ""), validate=True)
        except binascii.Error:
            pcm = b""
        if not pcm or len(pcm) % 2:
            await self.refuse(message, "invalid_value", "Invalid audio.")
            return
        self.vendor.audio_ms += len(pcm) / 2 / RATE_HZ * 1000
        heard = self.listener
        before = heard.last_loud
        heard.add(pcm)
        if self.detection:
            await self._detect(heard.last_loud != before)

    async def _detect(self, is_loud: bool) -> None:
        heard = self.listener
        silence_s = self.detection.get("silence_duration_ms", 500) / 1000
        if is_loud and self.hearing is None:
            self.hearing = self._id("item")
            padding_ms = self.detection.get("prefix_padding_ms", 300)
            start_ms = max(0, round((heard.last_loud or 0) / RATE_HZ * 1000) - 40 - padding_ms)
            await self.send("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=self.hearing)
            if self.detection.get("interrupt_response") and self.speaking is not None:
                await self._cut_off("turn_detected")
        elif self.hearing is not None and heard.silent_s >= silence_s:
            item_id, self.hearing = self.hearing, None
            end_ms = round(heard.received_s * 1000)
            await self.send("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=item_id)
            await self._commit(item_id)
            if self.detection.get("create_response"):
                await self._begin({}, None)

    async def commit(self, message: dict[str, Any]) -> None:
        if self.listener.received - self.listener.settled < RATE_HZ // 10:
            await self.refuse(message, "input_audio_buffer_commit_empty", "buffer too small")
            return
        await self._commit(self._id("item"))

    async def _commit(self, item_id: str) -> None:
        text = " ".join(word.text for word in self.listener.words())
        self.listener.settle()
        before = self.items[-1].id if self.items else None
        await self.send("input_audio_buffer.committed", item_id=item_id, previous_item_id=before)
        await self._add(Known(item_id, "message", "user", text), [{"type": "input_audio", "transcript": None}])
        if self.session["audio"]["input"].get("transcription"):
            self.job(self._transcribe(item_id, text))

    async def _transcribe(self, item_id: str, text: str) -> None:
        await asyncio.sleep(self.vendor.transcript_s)
        kind, at = "conversation.item.input_audio_transcription", {"item_id": item_id, "content_index": 0}
        for number, word in enumerate(text.split()):
            await self.send(f"{kind}.delta", **at, delta=f" {word}" if number else word)
        usage = {"type": "duration", "seconds": 1.0}
        await self.send(f"{kind}.completed", **at, transcript=text, usage=usage)

    async def _add(self, known: Known, content: list[dict[str, Any]], previous: str | None = None) -> None:
        item: dict[str, Any] = {"id": known.id, "object": "realtime.item", "type": known.type, "status": "completed"}
        if known.type == "message":
            item |= {"role": known.role, "content": content}
        else:
            item |= {"call_id": known.call_id, "output": known.text}
        before = self.items[-1].id if self.items else None
        self.items.append(known)
        await self.send("conversation.item.added", previous_item_id=before, item=item)
        await self.send("conversation.item.done", previous_item_id=before, item=item)

    # -- items of the client

    async def create_item(self, message: dict[str, Any]) -> None:
        item = message.get("item") or {}
        content, role = item.get("content") or [{}], item.get("role", "")
        if item.get("type") == "function_call_output":
            call = next((k for k in self.items if k.type == "function_call" and k.call_id == item.get("call_id")), None)
            if call is None:
                await self.refuse(message, "invalid_tool_call_id", "Tool call ID not found in conversation.")
                return
            known = Known(self._id("item"), "function_call_output", text=item["output"], call_id=item["call_id"])
        else:
            wanted = "output_text" if role == "assistant" else "input_text"
            if item.get("type") != "message" or content[0].get("type") != wanted or not content[0].get("text"):
                await self.refuse(message, "invalid_value", f"Invalid item: {item}")
                return
            known = Known(self._id("item"), "message", role, content[0]["text"])
        await self._add(known, content)

    async def truncate(self, message: dict[str, Any]) -> None:
        known = self._find(message)
        end_ms = message.get("audio_end_ms", -1)
        if known is None:
            await self.refuse(message, "item_truncate_invalid_item_id", "Item not found.")
        elif known.role != "assistant" or not known.audio_ms or end_ms <= 0:
            text = "Only model output audio messages can be truncated"
            await self.refuse(message, "unsupported_content_type", text)
        elif end_ms > known.audio_ms:
            await self.refuse(message, "invalid_value", f"Audio content of {known.audio_ms}ms is already shorter")
        else:
            known.text, known.audio_ms = "", end_ms
            self.vendor.truncated[known.id] = end_ms
            await self.send("conversation.item.truncated", item_id=known.id, content_index=0, audio_end_ms=end_ms)

    async def delete(self, message: dict[str, Any]) -> None:
        known = self._find(message)
        if known is None:
            await self.refuse(message, "item_delete_invalid_item_id", "Item not found.")
            return
        self.items.remove(known)
        await self.send("conversation.item.deleted", item_id=known.id)

    def _find(self, message: dict[str, Any]) -> Known | None:
        return next((known for known in self.items if known.id == message.get("item_id")), None)

    # -- responses

    async def create_response(self, message: dict[str, Any]) -> None:
        asked = message.get("response") or {}
        if set(asked) - _RESPONSE:
            self.vendor.violation(f"response.create with {sorted(asked)}")
        self.vendor.created.append(asked)
        await self._begin(asked, message)

    async def _begin(self, asked: dict[str, Any], message: dict[str, Any] | None) -> None:
        if self.speaking is not None:
            text = "Conversation already has an active response in progress"
            await self.refuse(message or {}, "conversation_already_has_active_response", text)
            return
        if self.vendor.stranger:
            at = {"response_id": "resp_stranger", "item_id": "item_stranger", "output_index": 0, "content_index": 0}
            await self.send("response.output_audio.delta", **at, delta=base64.b64encode(bytes(9600)).decode())
            await self.send("response.done", response=self._response("resp_stranger", "completed", {}))
        now = self.speaking = _Speaking(self._id("resp"), asked.get("metadata") or {})
        self.vendor.responses.append(now.id)
        await self.send("response.created", response=self._response(now.id, "in_progress", now.metadata))
        now.task = self.job(self._respond(now, asked))

    async def cancel(self, message: dict[str, Any]) -> None:
        now = self.speaking
        if now is None or message.get("response_id") not in (None, now.id):
            await self.refuse(message, "response_cancel_not_active", "Cancellation failed: no active response found")
            return
        await self._cut_off("client_cancelled")

    async def _cut_off(self, why: str) -> None:
        """It stops; a frame or two of it are on their way."""
        assert self.speaking is not None
        self.speaking.cancelled = why

    async def _respond(self, now: _Speaking, asked: dict[str, Any]) -> None:
        if self.vendor.fail_next:
            details = {"type": "failed", "error": self.vendor.fail_next.pop(0)}
            await self._end(now, "failed", details)
            return
        words, calls = self._answer(asked)
        if words:
            await self._speak(now, words)
        for index, name in enumerate(calls if now.cancelled is None else ()):
            await self._call(now, name, index + bool(words))
        if now.cancelled is not None:
            await self._end(now, "cancelled", {"type": "cancelled", "reason": now.cancelled})
        else:
            await self._end(now, "completed", None)

    def _answer(self, asked: dict[str, Any]) -> tuple[str, list[str]]:
        """What it says, and which tools it calls."""
        if "\n\n" in asked.get("instructions", ""):
            return asked["instructions"].split("\n\n", 1)[1], []
        last = self.items[-1] if self.items else None
        if last is None:
            return "Hello.", []
        if last.type == "function_call_output":
            return f"The tool says {last.text}", []
        words = last.text.split()
        tools = {tool["name"] for tool in self.session.get("tools", ())}
        calls = [word for before, word in itertools.pairwise(words) if before == "call" and word in tools]
        if calls and asked.get("tool_choice") != "none":
            return "", calls
        return f"{_PIECE} {last.text}{self.vendor.say_more}", []

    async def _speak(self, now: _Speaking, words: str) -> None:
        known = Known(self._id("item"), "message", "assistant")
        item: dict[str, Any] = {
            "id": known.id, "object": "realtime.item", "type": "message", "role": "assistant", "content": []
        }  # fmt: skip
        before = self.items[-1].id if self.items else None
        self.items.append(known)
        at = {"response_id": now.id, "item_id": known.id, "output_index": 0, "content_index": 0}
        going = {**item, "status": "in_progress"}
        await self.send("response.output_item.added", response_id=now.id, output_index=0, item=going)
        await self.send("conversation.item.added", previous_item_id=before, item=going)
        await self.send("response.content_part.added", **at, part={"type": "audio", "transcript": ""})
        pcm, told = say(words, RATE_HZ).pcm, words.split(" ")
        step = RATE_HZ * _CHUNK_MS // 1000 * 2 - (301 if self.vendor.odd else 0)
        late = 1
        for start in range(0, len(pcm), step):
            if now.cancelled is not None and (late := late - 1) < 0:
                break
            if told and now.cancelled is None:
                delta = told.pop(0) + (" " if told else "")
                known.text += delta
                await self.send("response.output_audio_transcript.delta", **at, delta=delta)
            piece = pcm[start : start + step]
            known.audio_ms += len(piece) / 2 / RATE_HZ * 1000
            self.spoke = True
            await self.send("response.output_audio.delta", **at, delta=base64.b64encode(piece).decode())
            await asyncio.sleep(_CHUNK_MS / 1000 / self.vendor.speed)
        if told and now.cancelled is None:
            known.text += " ".join(told)
            await self.send("response.output_audio_transcript.delta", **at, delta=" ".join(told))
        await self._spoken(now, known, item, at)

    async def _spoken(self, now: _Speaking, known: Known, item: dict[str, Any], at: dict[str, Any]) -> None:
        part = {"type": "audio", "transcript": known.text}
        done = {
            **item, "status": "completed" if now.cancelled is None else "incomplete",
            "content": [{"type": "output_audio", "transcript": known.text}],
        }  # fmt: skip
        await self.send("response.output_audio.done", **at)
        await self.send("response.output_audio_transcript.done", **at, transcript=known.text)
        await self.send("response.content_part.done", **at, part=part)
        await self.send("response.output_item.done", response_id=now.id, output_index=0, item=done)
        await self.send("conversation.item.done", previous_item_id=None, item=done)

    async def _call(self, now: _Speaking, name: str, index: int) -> None:
        known = Known(self._id("item"), "function_call", text=name, call_id=self._id("call"))
        item = {
            "id": known.id, "object": "realtime.item", "type": "function_call", "call_id": known.call_id, "name": name,
        }  # fmt: skip
        self.items.append(known)
        at = {"response_id": now.id, "item_id": known.id, "output_index": index, "call_id": known.call_id}
        going = {**item, "status": "in_progress", "arguments": ""}
        await self.send("response.output_item.added", response_id=now.id, output_index=index, item=going)
        for piece in ("{", "}"):
            await self.send("response.function_call_arguments.delta", **at, delta=piece)
        await self.send("response.function_call_arguments.done", **at, name=name, arguments="{}")
        done = {**item, "status": "completed", "arguments": "{}"}
        await self.send("response.output_item.done", response_id=now.id, output_index=index, item=done)

    async def _end(self, now: _Speaking, status: str, details: dict[str, Any] | None) -> None:
        self.speaking = None
        body = self._response(now.id, status, now.metadata)
        body["status_details"] = details
        if status != "failed":
            body["usage"] = _usage()
        await self.send("response.done", response=body)
        limits = [{"name": "tokens", "limit": 40_000, "remaining": 39_820, "reset_seconds": 0.27}]
        await self.send("rate_limits.updated", rate_limits=limits)

    def _response(self, id: str, status: str, metadata: dict[str, str]) -> dict[str, Any]:
        return {
            "object": "realtime.response", "id": id, "status": status, "output": [], "metadata": metadata or None,
            "output_modalities": ["audio"], "conversation_id": "conv_1",
        }  # fmt: skip


def _usage() -> dict[str, Any]:
    return {
        "total_tokens": 180, "input_tokens": 120, "output_tokens": 60,
        "input_token_details": {
            "text_tokens": 70, "audio_tokens": 50, "cached_tokens": 64,
            "cached_tokens_details": {"text_tokens": 40, "audio_tokens": 24},
        },
        "output_token_details": {"text_tokens": 20, "audio_tokens": 40},
    }  # fmt: skip


_HANDLERS = {
    "session.update": _Conversation.update,
    "input_audio_buffer.append": _Conversation.append,
    "input_audio_buffer.commit": _Conversation.commit,
    "conversation.item.create": _Conversation.create_item,
    "conversation.item.truncate": _Conversation.truncate,
    "conversation.item.delete": _Conversation.delete,
    "response.create": _Conversation.create_response,
    "response.cancel": _Conversation.cancel,
}
