"""Cartesia's `/tts/websocket`, as far as a live call needs it: strict, on a port of its own.

It speaks in tones, many contexts side by side, one after another within a context; a flush is answered by `flush_done`,
the end of a context by `done`, a cancel by nothing but late audio. A context is dropped `context_s` after its last
audio, a socket on which nothing was generated for `idle_s` is closed.

Source   protocols sheet 8.1; docs.cartesia.ai on contexts and flushing.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.vendors.peer import Peer
from tests.vendors.server import KEY, FakeVendor, Route
from tests.vendors.speaker import Worker, pieces, side_by_side, spoken

__all__ = ["FakeCartesiaTts"]

_FIELDS = {
    "model_id", "transcript", "voice", "output_format", "context_id", "continue", "flush", "max_buffer_delay_ms",
    "language", "add_timestamps", "add_phoneme_timestamps", "use_normalized_timestamps", "generation_config",
    "pronunciation_dict_id",
}  # fmt: skip
_NEEDED = {"model_id", "transcript", "voice", "output_format", "context_id"}
_RATES = {8000, 16000, 22050, 24000, 44100, 48000}


class FakeCartesiaTts(FakeVendor):
    def __init__(self, *, context_s: float = 1.0, idle_s: float = 300.0, concurrency: int = 1000) -> None:
        super().__init__()
        self.context_s, self.idle_s, self.concurrency = context_s, idle_s, concurrency
        self.active = 0
        """Contexts of all sockets."""
        self.most = 0
        """The most contexts of one socket at once."""
        self.transcripts: list[str] = []
        """What was asked to be spoken, in order."""
        self.asked: list[dict[str, Any]] = []
        """The first message of each context."""
        self.cancelled = self.expired = self.acknowledged = 0
        self.stray: dict[str, Any] | None = None
        """A message that nobody asked for, before the first audio of each context."""

    def routes(self) -> Iterator[Route]:
        yield "GET", "/tts/websocket", self.socket(self.speak)

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {KEY}" and request.headers.get("X-API-Key") != KEY:
            return web.json_response({"title": "Unauthorized", "message": "Invalid API key"}, status=401)
        if not re.fullmatch(r"20\d\d-\d\d-\d\d", request.headers.get("Cartesia-Version", "")):
            return web.json_response({"title": "Bad request", "message": "no Cartesia-Version"}, status=400)
        if set(request.query) - {"cartesia_version"}:
            self.violation(f"query {sorted(request.query)}")
        return None

    async def speak(self, peer: Peer) -> None:
        async with side_by_side() as group:
            await _Socket(self, peer, group).run()


class _Socket:
    def __init__(self, vendor: FakeCartesiaTts, peer: Peer, group: asyncio.TaskGroup) -> None:
        self.vendor, self.peer, self.group = vendor, peer, group
        self.contexts: dict[str, _Context] = {}
        self.past: set[str] = set()

    async def run(self) -> None:
        try:
            while True:
                try:
                    message = await self.peer.receive_json(self.vendor.idle_s)
                except TimeoutError:
                    await self.peer.close(1000, "idle")
                    return
                if isinstance(message, bytes):
                    self.vendor.violation("a binary frame")
                elif message.get("cancel"):
                    self._cancel(message)
                else:
                    await self._generate(message)
        finally:
            for context in list(self.contexts.values()):
                context.gone()

    def _cancel(self, message: dict[str, Any]) -> None:
        if set(message) != {"context_id", "cancel"}:
            self.vendor.violation(f"cancel with {sorted(message)}")
        self.vendor.seen["cancel"] += 1
        context = self.contexts.get(message["context_id"])
        if context is not None:
            self.vendor.cancelled += 1
            context.cancel()

    async def _generate(self, message: dict[str, Any]) -> None:
        vendor = self.vendor
        if set(message) - _FIELDS or not set(message) >= _NEEDED:
            vendor.violation(f"a request with {sorted(message)}")
            return
        vendor.seen["request"] += 1
        name = message["context_id"]
        wrong = self._wrong(message)
        if wrong is not None:
            await self.error(name, *wrong)
            return
        context = self.contexts.get(name)
        if context is None:
            if name in self.past:
                vendor.violation("input for a context that is over")
                await self.error(name, 400, "context_closed", "The context has expired or was closed.")
                return
            if vendor.active >= vendor.concurrency:
                await self.error(name, 429, "concurrency_limited", "Too many concurrent requests.")
                return
            context = self.contexts[name] = _Context(self, name, message)
            vendor.active += 1
            vendor.most = max(vendor.most, len(self.contexts))
            vendor.asked.append(message)
        context.take(message)

    def _wrong(self, message: dict[str, Any]) -> tuple[int, str, str] | None:
        audio = message["output_format"]
        if audio.get("container") != "raw" or audio.get("encoding") != "pcm_s16le":
            return 400, "output_format_invalid", "raw pcm_s16le is what this one speaks"
        if audio.get("sample_rate") not in _RATES:
            return 400, "sample_rate_invalid", "no such sample rate"
        if message["model_id"].startswith("no-such"):
            return 400, "model_not_found", "The model is not valid, make sure it is a valid model ID."
        if message["voice"].get("mode") != "id" or message["voice"].get("id", "no-such").startswith("no-such"):
            return 404, "voice_not_found", "Voice not found."
        if message.get("language") == "xx":
            return 400, "language_not_supported", "The language is not supported."
        if not 0 <= message.get("max_buffer_delay_ms", 3000) <= 5000:
            return 400, "max_buffer_delay_invalid", "0 to 5000"
        return None

    async def error(self, name: str, status: int, code: str, text: str) -> None:
        await self.peer.send(
            {"type": "error", "done": True, "title": "Refused", "message": text, "error_code": code,
             "status_code": status, "context_id": name, "request_id": "r-1"}
        )  # fmt: skip

    def forget(self, context: _Context) -> None:
        if self.contexts.pop(context.name, None) is not None:
            self.vendor.active -= 1
            self.past.add(context.name)


class _Context:
    def __init__(self, socket: _Socket, name: str, first: dict[str, Any]) -> None:
        self.socket, self.name = socket, name
        self.first = {k: v for k, v in first.items() if k not in ("transcript", "continue", "flush")}
        self.rate_hz: int = first["output_format"]["sample_rate"]
        self.worker = Worker(socket.group)
        self.text = ""
        self.samples = 0
        self.flush_id = 1
        self.expiry: asyncio.TimerHandle | None = None
        self.delay: asyncio.TimerHandle | None = None

    def take(self, message: dict[str, Any]) -> None:
        vendor = self.socket.vendor
        same = {k: v for k, v in message.items() if k not in ("transcript", "continue", "flush")}
        if same != self.first:
            vendor.violation("other fields than the context began with")
        self._rest()
        text, goes_on = message["transcript"], message.get("continue", False)
        if text:
            vendor.transcripts.append(text)
        self.text += text
        if message.get("flush"):
            if text or not goes_on:
                vendor.violation("a manual flush has no transcript, and goes on")
            vendor.seen["flush"] += 1
            self._speak()
            number = self.flush_id
            self.flush_id += 1
            self.worker.do(lambda: self._flushed(number))
        elif not goes_on:
            vendor.seen["end"] += 1
            self._speak()
            self.worker.do(self._done)
        elif self.delay is None:
            loop = asyncio.get_running_loop()
            self.delay = loop.call_later(message.get("max_buffer_delay_ms", 3000) / 1000, self._speak)

    def cancel(self) -> None:
        self._rest()
        self.worker.stop()
        self.socket.forget(self)
        self.socket.group.create_task(self._late())

    def gone(self) -> None:
        self._rest()
        self.socket.forget(self)
        self.worker.kill()

    def _rest(self) -> None:
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None

    def _speak(self) -> None:
        if self.delay is not None:
            self.delay.cancel()
            self.delay = None
        text, self.text = self.text, ""
        if text:
            number = self.flush_id
            self.worker.do(lambda: self._say(text, number))

    async def _say(self, text: str, flush_id: int) -> None:
        sound = spoken(text, self.rate_hz)
        begin_s = self.samples / self.rate_hz
        self.samples += len(sound.pcm) // 2
        is_first = True
        stray = self.socket.vendor.stray
        if stray is not None and not begin_s:
            await self.socket.peer.send(stray)
        for piece in pieces(sound.pcm, self.rate_hz):
            if self.worker.stopped:
                return
            await self._chunk(piece, flush_id)
            if is_first and self.first.get("add_timestamps"):
                words = [mark.word.strip(".,!?") for mark in sound.marks]
                await self._send(
                    type="timestamps", done=False, status_code=206, flush_id=flush_id,
                    word_timestamps={
                        "words": words,
                        "start": [begin_s + mark.from_sample / self.rate_hz for mark in sound.marks],
                        "end": [begin_s + mark.to_sample / self.rate_hz for mark in sound.marks],
                    },
                )  # fmt: skip
            is_first = False
        self._rest()
        if not self.worker.stopped:
            self.expiry = asyncio.get_running_loop().call_later(self.socket.vendor.context_s, self._expire)

    async def _chunk(self, pcm: bytes, flush_id: int) -> None:
        await self._send(
            type="chunk", data=base64.b64encode(pcm).decode(), done=False, status_code=206, step_time=12.5,
            flush_id=flush_id,
        )  # fmt: skip

    async def _flushed(self, flush_id: int) -> None:
        if "flush" not in self.socket.vendor.orders.ignored:
            self.socket.vendor.acknowledged += 1
            await self._send(type="flush_done", done=False, flush_done=True, flush_id=flush_id, status_code=206)

    async def _done(self) -> None:
        self._rest()
        self.socket.forget(self)
        self.worker.finish()
        await self._send(type="done", done=True, status_code=206)

    def _expire(self) -> None:
        """Nothing more was said to it in time."""
        self.socket.vendor.expired += 1
        self.worker.do(self._done)

    async def _late(self) -> None:
        """Audio that was on its way when the cancel came."""
        for _ in range(2):
            await self._chunk(b"\x10\x00" * (self.rate_hz // 50), self.flush_id)

    async def _send(self, **message: Any) -> None:
        await self.socket.peer.send({**message, "context_id": self.name})
