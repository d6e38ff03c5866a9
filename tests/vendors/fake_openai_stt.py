"""OpenAI's realtime transcription sessions, as far as a live call needs them: strict, on a port of its own.

It hears the tones of the fake voices. A live model writes deltas while it hears and is committed by the client;
another one writes after the commit, and may have the vendor's turn detection commit. It refuses what OpenAI refuses: a
model in the address, a turn detection that the model does not have, a commit of less than 100 ms, broken audio.

Source   protocols sheet 3.2; openai 3.57 (`types/realtime`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.vendors.listener import Listener
from tests.vendors.peer import Gone, Peer
from tests.vendors.server import KEY, FakeVendor, Route

__all__ = ["FakeOpenAiStt"]

RATE_HZ = 24000
_COMMIT_LEAST_S = 0.1
_INPUT = {"format", "transcription", "noise_reduction", "turn_detection"}
_HINTS = {"model", "language", "languages", "keywords", "prompt", "delay"}
_PREFIX = "conversation.item.input_audio_transcription"


class FakeOpenAiStt(FakeVendor):
    def __init__(self, *, delta_s: float = 0.2) -> None:
        super().__init__()
        self.delta_s = delta_s
        self.sessions: list[dict[str, Any]] = []
        """`audio.input` of every session.update, of all connections."""
        self.first: list[dict[str, Any]] = []
        """Said on every connection before any audio came."""
        self.failures: list[dict[str, Any]] = []
        """Errors of the next items, instead of a text."""
        self.withheld: list[dict[str, Any]] | None = None
        """Where it is a list, what items are completed with waits here; `release` says it."""
        self.received_s = 0.0

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
        if dict(request.query) != {"intent": "transcription"}:
            self.violation(f"query {dict(request.query)}")
        return None

    async def talk(self, peer: Peer) -> None:
        await _Session(self, peer).run()

    async def release(self, order: list[int] | None = None) -> None:
        """Say what was withheld, in this order; withhold no more."""
        held, self.withheld = self.withheld or [], None
        for at in order or range(len(held)):
            await self.peers[0].send(held[at])


class _Session:
    """One connection."""

    def __init__(self, vendor: FakeOpenAiStt, peer: Peer) -> None:
        self.vendor, self.peer = vendor, peer
        self.listener = Listener(RATE_HZ)
        self.input: dict[str, Any] = {}
        self.items = 0
        self.previous: str | None = None
        self.written = 0
        """Words of the open item that were written as deltas."""
        self.looked_s = 0.0
        self.is_speaking = False
        self.events = 0

    @property
    def is_live(self) -> bool:
        model = str(self.input.get("transcription", {}).get("model", ""))
        return model.startswith(("gpt-live-transcribe", "gpt-realtime-whisper"))

    @property
    def item(self) -> str:
        """The item that audio goes to now."""
        return f"item_{id(self.peer) % 10000}_{self.items}"

    async def run(self) -> None:
        await self.say(
            "session.created", session={"type": "transcription", "id": "sess_1", "object": "realtime.session"}
        )
        for told in self.vendor.first:
            await self.peer.say(told)
        while True:
            message = await self.peer.receive_json()
            if isinstance(message, bytes):
                self.vendor.violation("a binary frame")
                raise Gone
            kind = message.get("type")
            if kind == "session.update":
                await self.update(message)
            elif kind == "input_audio_buffer.append":
                await self.append(message)
            elif kind == "input_audio_buffer.commit":
                if "input_audio_buffer.commit" not in self.vendor.orders.ignored:
                    await self.commit(message)
            else:
                self.vendor.violation(f"unknown message {kind}")

    async def say(self, kind: str, **fields: Any) -> None:
        self.events += 1
        await self.peer.send({"type": kind, "event_id": f"event_{self.events}", **fields})

    async def error(self, message: dict[str, Any], code: str, text: str) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": text, "param": None,
                 "event_id": message.get("event_id")}  # fmt: skip
        await self.say("error", error=error)

    async def update(self, message: dict[str, Any]) -> None:
        session = message.get("session", {})
        heard = session.get("audio", {}).get("input", {})
        if (
            session.get("type") != "transcription"
            or set(heard) - _INPUT
            or set(heard.get("transcription", {})) - _HINTS
        ):
            self.vendor.violation(f"session.update {session}")
        if heard.get("format") != {"type": "audio/pcm", "rate": RATE_HZ}:
            self.vendor.violation(f"format {heard.get('format')}")
        model = heard.get("transcription", {}).get("model", "")
        self.vendor.sessions.append(heard)
        if model.startswith("no-"):
            await self.error(message, "model_not_found", "The model does not exist.")
            return
        self.input = heard
        if self.is_live and heard.get("turn_detection") is not None:
            await self.error(message, "invalid_value", "Turn detection is not supported by this model.")
            return
        await self.say("session.updated", session={"type": "transcription", "id": "sess_1", "audio": {"input": heard}})

    async def append(self, message: dict[str, Any]) -> None:
        if not self.input:
            self.vendor.violation("audio before the session was configured")
        try:
            pcm = base64.b64decode(message.get("audio", ""), validate=True)
        except (binascii.Error, TypeError):
            pcm = b"x"
        if not pcm or len(pcm) % 2:
            self.vendor.violation(f"audio of {len(pcm)} bytes")
            return
        heard = self.listener
        before = heard.last_loud
        heard.add(pcm)
        self.vendor.received_s += len(pcm) / 2 / RATE_HZ
        if self.is_live:
            if heard.received_s - self.looked_s >= self.vendor.delta_s:
                self.looked_s = heard.received_s
                await self.write(heard.words()[:-1])
        elif (detection := self.input.get("turn_detection")) is not None:
            await self.detect(detection, heard.last_loud != before)

    async def detect(self, detection: dict[str, Any], is_loud: bool) -> None:
        heard = self.listener
        if is_loud and not self.is_speaking:
            self.is_speaking = True
            start_ms = max(0, round(heard.settled_s * 1000))
            await self.say("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=self.item)
        silence_s = detection.get("silence_duration_ms", 500) / 1000
        if self.is_speaking and heard.silent_s >= silence_s:
            end_ms = round(heard.received_s * 1000)
            await self.say("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=self.item)
            await self.commit({})

    async def commit(self, message: dict[str, Any]) -> None:
        heard = self.listener
        waits_s = heard.received_s - heard.settled_s
        if waits_s < _COMMIT_LEAST_S:
            text = f"Expected at least 100ms of audio, but buffer only has {waits_s * 1000:.2f}ms of audio."
            await self.error(message, "input_audio_buffer_commit_empty", text)
            return
        item, words = self.item, heard.words()
        heard.settle()
        self.is_speaking = False
        await self.say("input_audio_buffer.committed", item_id=item, previous_item_id=self.previous)
        shape = {"id": item, "type": "message", "role": "user", "status": "completed",
                 "content": [{"type": "input_audio", "transcript": None}]}  # fmt: skip
        await self.say("conversation.item.added", item=shape, previous_item_id=self.previous)
        await self.say("conversation.item.done", item=shape, previous_item_id=self.previous)
        self.previous = item
        if self.vendor.failures:
            await self.say(f"{_PREFIX}.failed", item_id=item, content_index=0, error=self.vendor.failures.pop(0))
        else:
            await self.write(words)
            await self.complete(item, " ".join(w.text for w in words), waits_s)
        self.items, self.written = self.items + 1, 0

    async def complete(self, item: str, text: str, seconds: float) -> None:
        usage: dict[str, Any] = {"type": "duration", "seconds": round(seconds, 3)}
        if not self.is_live:
            audio = round(seconds * 10)
            usage = {"type": "tokens", "input_tokens": audio + 3, "output_tokens": 5, "total_tokens": audio + 8,
                     "input_token_details": {"audio_tokens": audio, "text_tokens": 3}}  # fmt: skip
        told = {"type": f"{_PREFIX}.completed", "event_id": f"event_c{self.items}", "item_id": item, "content_index": 0,
                "transcript": text, "usage": usage}  # fmt: skip
        if self.vendor.withheld is not None:
            self.vendor.withheld.append(told)
            self.vendor.told()
        else:
            await self.peer.send(told)

    async def write(self, words: list[Any]) -> None:
        for word in words[self.written :]:
            delta = f" {word.text}" if self.written else word.text
            self.written += 1
            await self.say(f"{_PREFIX}.delta", item_id=self.item, content_index=0, delta=delta)
