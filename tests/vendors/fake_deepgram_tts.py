"""Deepgram's `/v1/speak` over WebSocket, as far as a live call needs it: strict, on a port of its own.

It gathers text until a `Flush` and speaks it in tones, answers `Flush` with `Flushed` and `Clear` with `Cleared`, after
audio that was on its way; numbers both. It counts flushes and characters of a socket: past the first bound it warns and
flushes no more, past the second it closes with 1008.

Source   protocols sheet 2.2.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.vendors.peer import Peer
from tests.vendors.server import KEY, FakeVendor, Route
from tests.vendors.speaker import Worker, pieces, side_by_side, spoken

__all__ = ["FakeDeepgramTts"]

_QUERY = {"model", "encoding", "sample_rate", "speed", "mip_opt_out"}
_RATES = {"8000", "16000", "24000", "32000", "48000"}
_TEXT_MAX = 2000
_MINUTE_S = 60.0


class FakeDeepgramTts(FakeVendor):
    def __init__(self, *, flushes_max: int = 20, chars_max: int = 2400) -> None:
        super().__init__()
        self.flushes_max, self.chars_max = flushes_max, chars_max
        self.texts: list[list[str]] = []
        """Of each socket that was spoken on, in the order of their handshakes."""
        self.warnings = 0
        self.stray: list[dict[str, Any] | bytes] = []
        """What nobody asked for: sent after the first `Flushed`."""

    def routes(self) -> Iterator[Route]:
        yield "GET", "/v1/speak", self.socket(self.speak)

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Token {KEY}":
            return _refusal(401, "INVALID_AUTH", "The key was refused.")
        for name in set(request.query) - _QUERY:
            self.violation(f"unknown parameter {name}")
        model = request.query.get("model", "")
        if not model.startswith("aura-") or "no-such" in model:
            return _refusal(400, "INVALID_QUERY_PARAMETER", "No such model/version combination found.")
        if request.query.get("encoding") != "linear16" or request.query.get("sample_rate") not in _RATES:
            return _refusal(400, "INVALID_QUERY_PARAMETER", "encoding and sample_rate")
        if not 0.7 <= float(request.query.get("speed", "1")) <= 1.5:
            return _refusal(400, "INVALID_QUERY_PARAMETER", "speed")
        return None

    async def speak(self, peer: Peer) -> None:
        async with side_by_side() as group:
            await _Socket(self, peer, group).run()


class _Socket:
    def __init__(self, vendor: FakeDeepgramTts, peer: Peer, group: asyncio.TaskGroup) -> None:
        self.vendor, self.peer, self.group = vendor, peer, group
        self.rate_hz = int(peer.query["sample_rate"])
        self.worker = Worker(group)
        self.buffer = ""
        self.sequence = 0
        self.flushes: deque[float] = deque()
        self.chars: deque[tuple[float, int]] = deque()
        self.texts: list[str] = []
        vendor.texts.append(self.texts)

    async def run(self) -> None:
        model = self.peer.query["model"]
        await self.peer.send(
            {"type": "Metadata", "request_id": "s-1", "model_name": model, "model_version": "2025-04-07.0",
             "model_uuid": "ecb76e9d-0000-4000-8000-000000000001"}
        )  # fmt: skip
        while True:
            message = await self.peer.receive_json()
            if isinstance(message, bytes):
                self.vendor.violation("a binary frame")
                continue
            match message.get("type"):
                case "Speak":
                    await self._speak(message)
                case "Flush":
                    await self._flush()
                case "Clear":
                    self._clear()
                case "Close":
                    return
                case kind:
                    self.vendor.violation(f"unknown message {kind}")
                    await self.peer.close(1008, "DATA-0000: a command that is not known")

    async def _speak(self, message: dict[str, Any]) -> None:
        text = message.get("text")
        if set(message) != {"type", "text"} or not isinstance(text, str) or not text:
            self.vendor.violation(f"Speak with {sorted(message)}")
            return
        if len(text) > _TEXT_MAX:
            await self.peer.close(1009, "BIG-0001: too much text at once")
        now_s = asyncio.get_running_loop().time()
        self.chars.append((now_s, len(text)))
        while self.chars[0][0] <= now_s - _MINUTE_S:
            self.chars.popleft()
        if sum(count for _, count in self.chars) > self.vendor.chars_max:
            await self.peer.close(1008, "DATA-0001: too many characters in the last minute")
        self.texts.append(text)
        self.buffer += text

    async def _flush(self) -> None:
        now_s = asyncio.get_running_loop().time()
        while self.flushes and self.flushes[0] <= now_s - _MINUTE_S:
            self.flushes.popleft()
        if len(self.flushes) >= self.vendor.flushes_max:
            self.vendor.warnings += 1
            await self.peer.send({"type": "Warning", "code": "EXCEEDED", "description": "Too many flush messages."})
            return
        self.flushes.append(now_s)
        text, self.buffer = self.buffer, ""
        worker = self.worker
        worker.do(lambda: self._say(worker, text))

    def _clear(self) -> None:
        self.buffer = ""
        self.worker.stop()
        self.worker = Worker(self.group)
        self.worker.do(self._cleared)

    async def _say(self, worker: Worker, text: str) -> None:
        for piece in pieces(spoken(text, self.rate_hz).pcm, self.rate_hz):
            if worker.stopped:
                return
            await self.peer.send(piece)
        if not worker.stopped and "Flush" not in self.vendor.orders.ignored:
            await self.peer.send({"type": "Flushed", "sequence_id": self._next()})
            strays, self.vendor.stray = self.vendor.stray, []
            for stray in strays:
                await self.peer.send(stray)

    async def _cleared(self) -> None:
        if "Clear" in self.vendor.orders.ignored:
            return
        for _ in range(2):  # it was on its way
            await self.peer.send(b"\x10\x00" * (self.rate_hz // 50))
        await self.peer.send({"type": "Cleared", "sequence_id": self._next()})

    def _next(self) -> int:
        number = self.sequence
        self.sequence += 1
        return number


def _refusal(status: int, code: str, text: str) -> web.Response:
    return web.json_response(
        {"err_code": code, "err_msg": text, "request_id": "s-0"}, status=status, headers={"dg-error": text}
    )
