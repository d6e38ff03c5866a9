"""Cartesia's `/stt/websocket` and `/stt/turns/websocket`, as far as a live call needs them: strict, on a port.

They hear the tones of the fake voices. The first settles nothing by itself: `finalize` is answered by the text, cut in
two in the middle of a word, and `flush_done`; `auto_s` of silence settle it as older models do, without a word. The
second says turns: start, update, eager end, resume, end. Texts after the first begin with the space that parts them.
Models are looked at after the upgrade. A socket that gets nothing for `idle_s` is closed.

Source   protocols sheet 8.2 and 8.3; cartesia SDK 4.2 (`types/stt`); docs.cartesia.ai.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.vendors.listener import Listener
from tests.vendors.peer import Peer
from tests.vendors.server import KEY, FakeVendor, Route

__all__ = ["REQUEST_ID", "FakeCartesiaStt", "transcript"]

_BOTH = {"model", "encoding", "sample_rate", "keyterm", "cartesia_version"}
_TURN = {
    "start_threshold": (0.5, 0.9), "eager_end_threshold": (0.3, 0.6), "end_threshold": (0.05, 0.5),
    "end_timeout_ms": (640, 11200),
}  # fmt: skip
_QUERY = {
    "/stt/websocket": _BOTH | {"language", "min_volume", "max_silence_duration_secs"},
    "/stt/turns/websocket": _BOTH | {f"turn_{name}" for name in _TURN},
}
REQUEST_ID = "2ff8af53-4d38-479d-8287-58940f01c701"


class FakeCartesiaStt(FakeVendor):
    def __init__(
        self, *, end_s: float = 0.4, eager_s: float = 0.15, update_s: float = 0.2, auto_s: float | None = None,
        idle_s: float = 180.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.end_s, self.eager_s, self.update_s, self.auto_s, self.idle_s = end_s, eager_s, update_s, auto_s, idle_s
        self.configured: list[dict[str, Any]] = []
        """The query of each handshake, then each config."""
        self.received_s = 0.0
        """Audio of all connections."""
        self.first: list[dict[str, Any]] = []
        """Said on every connection before any audio came."""

    def routes(self) -> Iterator[Route]:
        yield "GET", "/stt/websocket", self.socket(lambda peer: self.listen(peer, _Manual))
        yield "GET", "/stt/turns/websocket", self.socket(lambda peer: self.listen(peer, _Turns))

    async def check(self, request: web.Request) -> web.Response | None:
        headers = request.headers
        if headers.get("Authorization") != f"Bearer {KEY}" and headers.get("X-API-Key") != KEY:
            return web.json_response({"title": "Unauthorized", "message": "Invalid API key"}, status=401)
        version = headers.get("Cartesia-Version", request.query.get("cartesia_version", ""))
        if not re.fullmatch(r"20\d\d-\d\d-\d\d", version):
            return web.json_response({"title": "Bad request", "message": "no Cartesia-Version"}, status=400)
        for name in set(request.query) - _QUERY[request.path]:
            self.violation(f"unknown parameter {name}")
        if {"model", "encoding", "sample_rate"} - set(request.query):
            return web.json_response({"title": "Bad request", "message": "a parameter is missing"}, status=400)
        terms = request.query.getall("keyterm", [])
        if len(terms) > 100 or sum(map(len, terms)) > 1200:
            return web.json_response({"title": "Bad request", "message": "too many keyterms"}, status=400)
        return None

    async def listen(self, peer: Peer, kind: type[_Session]) -> None:
        self.configured.append({**peer.query, "keyterms": peer.query.getall("keyterm", [])})
        session = kind(self, peer)
        known = ("ink-2", "ink-whisper") if kind is _Manual else ("ink-2",)
        if peer.query["model"] not in known:
            await session.refuse(400, "model_not_found", "Invalid model")
        await session.run()


class _Session:
    """One connection."""

    def __init__(self, vendor: FakeCartesiaStt, peer: Peer) -> None:
        self.vendor, self.peer = vendor, peer
        self.heard = Listener(int(peer.query["sample_rate"]))
        self.updated_s = 0.0
        self.told = False
        """Some text was told before: the next brings a space."""

    async def run(self) -> None:
        await self.begin()
        for told in self.vendor.first:
            await self.peer.say(told)
        while True:
            try:
                message = await self.peer.receive(self.vendor.idle_s)
            except TimeoutError:
                await self.peer.close(1000, "idle")
                return
            if isinstance(message, str):
                await self.command(message)
                continue
            if not message or len(message) % 2:
                self.vendor.violation(f"an audio frame of {len(message)} bytes")
                continue
            loud = self.heard.last_loud
            self.heard.add(message)
            self.vendor.received_s += len(message) / 2 / self.heard.rate_hz
            await self.listened(self.heard.last_loud != loud)

    async def refuse(self, status: int, code: str, title: str) -> None:
        told = {"type": "error", "title": title, "message": "See the documentation.", "error_code": code}
        await self.send({**told, "status_code": status})
        await self.peer.close(1000)

    async def send(self, message: dict[str, Any]) -> None:
        await self.peer.send({**message, "request_id": REQUEST_ID})

    def text(self) -> str:
        """Of everything that is not settled."""
        words = " ".join(w.text for w in self.heard.words())
        return f" {words}" if words and self.told else words

    async def begin(self) -> None:
        return

    async def command(self, message: str) -> None:
        raise NotImplementedError

    async def listened(self, is_loud: bool) -> None:
        raise NotImplementedError


class _Manual(_Session):
    async def command(self, message: str) -> None:
        self.vendor.seen[message] += 1
        if message in self.vendor.orders.ignored:
            return
        if message == "finalize":
            await self.settle()
            await self.send({"type": "flush_done"})
        elif message in ("close", "done"):
            await self.settle()
            await self.send({"type": "done"})
            await self.peer.close(1000)
        else:
            self.vendor.violation(f"unknown command {message[:40]!r}")

    async def listened(self, is_loud: bool) -> None:
        auto_s = self.vendor.auto_s
        if auto_s is not None and self.heard.speech_waits and self.heard.silent_s >= auto_s:
            await self.settle()
        elif self.heard.speech_waits and self.heard.received_s - self.updated_s >= self.vendor.update_s:
            self.updated_s = self.heard.received_s
            if text := self.text():
                await self.send(transcript(text, is_final=False))

    async def settle(self) -> None:
        heard, text = self.heard, self.text() if self.heard.speech_waits else ""
        duration = round(heard.received_s - heard.settled_s, 4)
        heard.settle()
        cut = (len(text) + 1) // 2
        for piece in filter(None, (text[:cut], text[cut:])):
            self.told = True
            await self.send(transcript(piece, is_final=True, duration=duration))


class _Turns(_Session):
    def __init__(self, vendor: FakeCartesiaStt, peer: Peer) -> None:
        super().__init__(vendor, peer)
        self.state = "Idle"

    async def begin(self) -> None:
        await self.send({"type": "connected"})

    async def command(self, message: str) -> None:
        told = json.loads(message)
        kind = told.get("type")
        self.vendor.seen[str(kind)] += 1
        if kind == "close":
            if self.state != "Idle" or (self.heard.speech_waits and self.heard.words()):
                await self.end()
            await self.peer.close(1000)
        elif kind == "config":
            turn = told.get("turn") or {}
            if not all(name in _TURN and _TURN[name][0] <= value <= _TURN[name][1] for name, value in turn.items()):
                self.vendor.violation(f"config of {turn}")
            self.vendor.configured.append(told)
        else:
            self.vendor.violation(f"unknown command {message[:40]!r}")

    async def listened(self, is_loud: bool) -> None:
        silent_s = self.heard.silent_s
        if self.state == "EagerEnded" and is_loud:
            self.state = "Speaking"
            await self.send({"type": "turn.resume"})
        elif self.state != "Idle" and silent_s >= self.vendor.end_s:
            await self.end()
        elif self.state == "Speaking" and not is_loud and silent_s >= self.vendor.eager_s:
            self.state = "EagerEnded"
            await self.send({"type": "turn.eager_end", "transcript": self.text()})
        elif self.heard.received_s - self.updated_s >= self.vendor.update_s:
            self.updated_s = self.heard.received_s
            if self.state == "Idle" and self.heard.speech_waits and self.heard.words():
                self.state = "Speaking"
                await self.send({"type": "turn.start"})
            if self.state == "Speaking":
                await self.send({"type": "turn.update", "transcript": self.text()})

    async def end(self) -> None:
        text = self.text()
        self.heard.settle()
        self.state, self.told = "Idle", self.told or bool(text)
        await self.send({"type": "turn.end", "transcript": text})


def transcript(text: str, *, is_final: bool, duration: float | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "transcript", "text": text, "is_final": is_final, "request_id": REQUEST_ID}
    return {**told, "duration": duration, "language": "en"} if duration is not None else told
