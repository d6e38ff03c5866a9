"""ElevenLabs' `multi-stream-input` and `stream-input`, as far as a live call needs them: strict, on a port of its own.

It speaks in tones, up to five contexts side by side; a flush has no answer but the audio with its letters, the closing
of a context `isFinal`, after everything that was flushed before has been spoken: also when nobody wants it any more. A
context without a message for `inactivity_timeout` is dropped.

Source   protocols sheet 7.1 and 7.2; elevenlabs 2.78.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.vendors.peer import Peer
from tests.vendors.server import KEY, FakeVendor, Route
from tests.vendors.speaker import Worker, pieces, side_by_side, spoken

__all__ = ["FakeElevenLabsTts"]

_QUERY = {
    "model_id", "output_format", "inactivity_timeout", "auto_mode", "sync_alignment", "enable_ssml_parsing",
    "apply_text_normalization", "language_code", "enable_logging", "seed",
}  # fmt: skip
_SETTINGS = {"stability", "similarity_boost", "style", "use_speaker_boost", "speed"}
_FORMATS = {f"pcm_{rate}": rate for rate in (8000, 16000, 22050, 24000, 44100, 48000)}
_CONTEXTS_MAX = 5


class FakeElevenLabsTts(FakeVendor):
    unknown = {"type": "something_new", "since": "yesterday"}  # noqa: RUF012

    def __init__(self, *, idle_s: float | None = None, alignment: bool = True) -> None:
        super().__init__()
        self.idle_s = idle_s
        """Instead of the `inactivity_timeout` that is asked for."""
        self.alignment = alignment
        self.flush_done = False
        """It answers a flush, as it was seen to do."""
        self.swallows = 0
        """Letters of each piece that are missing from what it reports."""
        self.closing_s = 0.0
        """It takes so long to close a context."""
        self.most = 0
        """The most contexts of one socket at once."""
        self.texts: list[str] = []
        self.begun: list[dict[str, Any]] = []
        self.queries: list[dict[str, str]] = []
        self.stray: dict[str, Any] | None = None
        """A message that nobody asked for, before the first audio of each context."""

    def routes(self) -> Iterator[Route]:
        yield "GET", "/v1/text-to-speech/{voice}/multi-stream-input", self.socket(self.many)
        yield "GET", "/v1/text-to-speech/{voice}/stream-input", self.socket(self.one)

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("xi-api-key") != KEY:
            detail = {"status": "invalid_api_key", "message": "Invalid API key"}
            return web.json_response({"detail": detail}, status=401)
        for name in set(request.query) - _QUERY:
            self.violation(f"unknown parameter {name}")
        if request.query.get("output_format") not in _FORMATS:
            return web.json_response({"detail": {"status": "invalid_output_format"}}, status=400)
        if not 1 <= int(request.query.get("inactivity_timeout", "20")) <= 180:
            self.violation("inactivity_timeout")
        return None

    async def many(self, peer: Peer) -> None:
        self.queries.append(dict(peer.query))
        async with side_by_side() as group:
            await _Socket(self, peer, group).run()

    async def one(self, peer: Peer) -> None:
        """One stream of text, ended by an empty one: the SDK's own client."""
        self.queries.append(dict(peer.query))
        text, rate_hz = "", _FORMATS[peer.query["output_format"]]
        while True:
            message = await peer.receive_json(20.0)
            if isinstance(message, bytes) or "text" not in message:
                self.violation("a message without text")
                return
            if not message["text"]:
                break
            text += message["text"]
        sound = spoken(text, rate_hz)
        for piece in pieces(sound.pcm, rate_hz):
            await peer.send({"audio": base64.b64encode(piece).decode(), "isFinal": None})
        await peer.send({"audio": None, "isFinal": True})

    async def refuse(self, peer: Peer, error: str, message: str) -> None:
        await peer.send({"message": message, "error": error, "code": 1008})
        await peer.close(1008, message)


class _Socket:
    def __init__(self, vendor: FakeElevenLabsTts, peer: Peer, group: asyncio.TaskGroup) -> None:
        self.vendor, self.peer, self.group = vendor, peer, group
        self.contexts: dict[str, _Context] = {}
        self.rate_hz = _FORMATS[peer.query["output_format"]]
        asked_s = float(peer.query.get("inactivity_timeout", "20"))
        self.idle_s = asked_s if vendor.idle_s is None else vendor.idle_s

    async def run(self) -> None:
        while True:
            try:
                message = await self.peer.receive_json(self.idle_s)
            except TimeoutError:
                await self.vendor.refuse(self.peer, "input_timeout_exceeded", "No new text arrived in time.")
                return
            if isinstance(message, bytes):
                self.vendor.violation("a binary frame")
            elif message.get("close_socket"):
                return
            else:
                await self._take(message)

    async def _take(self, message: dict[str, Any]) -> None:
        vendor, name = self.vendor, message.get("context_id")
        if not isinstance(name, str):
            vendor.violation("no context_id")
            return
        context = self.contexts.get(name)
        if context is None:
            if message.get("text") != " ":
                vendor.violation(f"a context begins with one space, not with {sorted(message)}")
                return
            await self._begin(name, message)
        elif message.get("close_context"):
            vendor.seen["close"] += 1
            context.close()
        else:
            if set(message) - {"text", "context_id", "flush"}:
                vendor.violation(f"a message with {sorted(message)}")
            context.take(message)

    async def _begin(self, name: str, message: dict[str, Any]) -> None:
        vendor = self.vendor
        if set(message) - {"text", "context_id", "voice_settings", "generation_config"}:
            vendor.violation(f"a first message with {sorted(message)}")
        if set(message.get("voice_settings", {})) - _SETTINGS:
            vendor.violation("voice settings that it does not know")
        voice = self.peer.request.match_info["voice"]
        if voice.startswith("no-such"):
            await vendor.refuse(self.peer, "voice_id_does_not_exist", f"A voice with voice_id {voice} does not exist.")
        if self.peer.query.get("model_id", "").startswith("no-such"):
            await vendor.refuse(self.peer, "model_not_found", "A model with that id does not exist.")
        if self.peer.query.get("language_code") == "xx":
            await vendor.refuse(self.peer, "unsupported_language", "The model does not speak it.")
        if len(self.contexts) >= _CONTEXTS_MAX:
            await vendor.refuse(self.peer, "max_active_conversations", "Maximum simultaneous contexts exceeded (5).")
        self.contexts[name] = _Context(self, name)
        vendor.begun.append(message)
        vendor.most = max(vendor.most, len(self.contexts))


class _Context:
    def __init__(self, socket: _Socket, name: str) -> None:
        self.socket, self.name = socket, name
        self.worker = Worker(socket.group)
        self.buffer = ""
        self.is_first = True

    def take(self, message: dict[str, Any]) -> None:
        vendor, text = self.socket.vendor, message.get("text") or ""
        if text:
            vendor.seen["text"] += 1
            if not text.endswith(" "):
                vendor.violation(f"text that does not end with a space: {text!r}")
            vendor.texts.append(text)
            self.buffer += text
        if message.get("flush"):
            vendor.seen["flush"] += 1
            text, self.buffer = self.buffer, ""
            self.worker.do(lambda: self._say(text))

    def close(self) -> None:
        self.worker.do(self._final)

    async def _say(self, text: str) -> None:
        vendor, rate_hz = self.socket.vendor, self.socket.rate_hz
        sound = spoken(text, rate_hz)
        if vendor.stray is not None and self.is_first:
            await self.socket.peer.send(vendor.stray)
        self.is_first = False
        begin = 0
        letters = _letters(text, sound, rate_hz)
        for piece in pieces(sound.pcm, rate_hz):
            end = begin + len(piece) // 2
            mine = [(c, at, to) for c, at, to in letters if begin <= at < end]
            await self._audio(piece, [(c, at - begin, to - begin) for c, at, to in mine[vendor.swallows :]])
            begin = end
        if vendor.flush_done:
            await self.socket.peer.send({"type": "flush_done", "contextId": self.name})

    async def _audio(self, pcm: bytes, letters: list[tuple[str, int, int]]) -> None:
        to_ms = 1000 / self.socket.rate_hz
        alignment = {
            "chars": [c for c, _, _ in letters],
            "charStartTimesMs": [round(at * to_ms) for _, at, _ in letters],
            "charDurationsMs": [round(to * to_ms) - round(at * to_ms) for _, at, to in letters],
        }
        await self.socket.peer.send(
            {"audio": base64.b64encode(pcm).decode(), "contextId": self.name, "normalizedAlignment": None,
             "alignment": alignment if self.socket.vendor.alignment and letters else None}
        )  # fmt: skip

    async def _final(self) -> None:
        if "close" in self.socket.vendor.orders.ignored:
            return
        await asyncio.sleep(self.socket.vendor.closing_s)
        self.socket.contexts.pop(self.name, None)
        self.worker.finish()
        await self.socket.peer.send({"isFinal": True, "contextId": self.name})


def _letters(text: str, sound: Any, rate_hz: int) -> list[tuple[str, int, int]]:
    """Each character of the text and where it lies, in samples."""
    found: list[tuple[str, int, int]] = []
    at = 0
    for mark in sound.marks:
        length = mark.char_to - mark.char_from
        each = (mark.to_sample - mark.from_sample) / length
        found += [(c, at, at) for c in text[len(found) : mark.char_from]]
        for n in range(length):
            begin = mark.from_sample + round(n * each)
            at = mark.from_sample + round((n + 1) * each)
            found.append((text[mark.char_from + n], begin, at))
    return [*found, *((c, max(0, at - 1), at) for c in text[len(found) :])]
