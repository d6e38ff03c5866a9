"""Deepgram's `/v2/listen` (Flux), as far as a live call needs it: strict, on a port of its own.

It hears the tones of the fake voices and keeps Flux's state machine: a turn starts with its first words, may be over
after `eager_s` of silence and is over after `end_s`, by force, or when the time is out. What it has transcribed lies
`lag_s` behind what it was sent, as with a real model: a turn is forced to its end on what is transcribed so far.

Source   protocols sheet 1.6; developers.deepgram.com/docs/flux/{state,force-end-turn,configure}.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from aiohttp import WSMsgType, web

from tests.vendors.listener import Listener, Word
from tests.vendors.peer import Gone, Peer
from tests.vendors.server import KEY, FakeVendor, Route

__all__ = ["REQUEST_ID", "FakeFlux", "turn_info"]

_QUERY = {
    "model", "encoding", "sample_rate", "eot_threshold", "eager_eot_threshold", "eot_timeout_ms", "keyterm",
    "language_hint", "profanity_filter", "numerals", "redact", "mip_opt_out", "tag",
}  # fmt: skip
_RANGES = {"eot_threshold": (0.5, 1.0), "eager_eot_threshold": (0.3, 0.9), "eot_timeout_ms": (500, 60000)}
_LANGUAGES = {"en", "es", "fr", "de", "hi", "ru", "pt", "ja", "it", "nl"}
REQUEST_ID = "7d3c0a54-0000-4000-8000-0000000000f1"


class FakeFlux(FakeVendor):
    def __init__(
        self, *, end_s: float = 0.4, eager_s: float = 0.15, update_s: float = 0.25, lag_s: float = 0.0
    ) -> None:
        super().__init__()
        self.end_s, self.eager_s, self.update_s, self.lag_s = end_s, eager_s, update_s, lag_s
        self.configured: list[dict[str, Any]] = []
        """The query of each handshake, then each Configure."""
        self.received_s = 0.0
        """Audio of all connections."""
        self.first: list[dict[str, Any]] = []
        """Said on every connection before any audio came."""

    def routes(self) -> Iterator[Route]:
        yield "GET", "/v2/listen", self.socket(self.listen)

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Token {KEY}":
            return _refusal(401, "INVALID_AUTH", "The key was refused.")
        query = request.query
        for name in set(query) - _QUERY:
            self.violation(f"unknown parameter {name}")
        wrong = _wrong_query(query)
        return _refusal(400, "INVALID_QUERY_PARAMETER", wrong) if wrong else None

    async def listen(self, peer: Peer) -> None:
        hints, terms = peer.query.getall("language_hint", []), peer.query.getall("keyterm", [])
        self.configured.append({**peer.query, "language_hints": hints, "keyterms": terms})
        await _Conversation(self, peer).run()


def _wrong_query(query: Any) -> str:
    if not query.get("model", "").startswith("flux-"):
        return "No such model."
    if ("encoding" in query) != ("sample_rate" in query):
        return "encoding and sample_rate go together"
    for name, (low, high) in _RANGES.items():
        if name in query and not low <= float(query[name]) <= high:
            return f"{name} is out of range"
    hints = query.getall("language_hint", [])
    if hints and query["model"] != "flux-general-multi":
        return "language_hint needs flux-general-multi"
    if any(hint.split("-")[0] not in _LANGUAGES for hint in hints):
        return "language_hint is not supported"
    return ""


class _Conversation:
    """One connection."""

    def __init__(self, vendor: FakeFlux, peer: Peer) -> None:
        self.vendor, self.peer = vendor, peer
        query = peer.query
        self.rate_hz = int(query.get("sample_rate", "16000"))
        self.heard = Listener(self.rate_hz)
        self.waiting: deque[bytes] = deque()
        """Audio that is not transcribed yet."""
        self.waiting_bytes = 0
        self.thresholds = {name: float(query[name]) for name in _RANGES if name in query}
        self.is_multi = query["model"] == "flux-general-multi"
        self.hints = query.getall("language_hint", [])
        self.keyterms = query.getall("keyterm", [])
        self.state = "Initial"
        self.turn = self.sequence = 0
        self.updated_s = 0.0

    async def run(self) -> None:
        await self._send({"type": "Connected"})
        for told in self.vendor.first:
            await self.peer.say(told)
        while True:
            message = await self.peer.receive_json()
            if isinstance(message, bytes):
                await self._audio(message)
            else:
                await self._control(message)

    async def _control(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind in self.vendor.orders.ignored:
            return
        if kind == "ForceEndTurn":
            if self.state != "Initial":
                await self._end("manual")
        elif kind == "CloseStream":
            await self._transcribe(0.0)
            await self._info("Update")
            writer = self.peer.ws._writer
            assert writer is not None
            await writer.send_frame(b"", WSMsgType.CLOSE)  # without a status code
            raise Gone
        elif kind == "Configure":
            await self._configure(message)
        else:
            self.vendor.violation(f"unknown message {kind}")

    async def _configure(self, message: dict[str, Any]) -> None:
        if set(message) - {"type", "thresholds", "keyterms", "language_hints", "numerals"}:
            self.vendor.violation(f"Configure with {sorted(message)}")
        thresholds = message.get("thresholds") or {}
        if not all(name in _RANGES and low_high(name, value) for name, value in thresholds.items()):
            self.vendor.violation(f"Configure with {thresholds}")
        if message.get("language_hints") and not self.is_multi:
            code = "CONFIGURE_LANGUAGE_HINTS_NOT_SUPPORTED"
            await self._send({"type": "ConfigureFailure", "code": code, "description": "No hints for this model."})
            return
        self.vendor.configured.append(message)
        self.thresholds.update(thresholds)
        self.keyterms = message.get("keyterms", self.keyterms) or []
        self.hints = message.get("language_hints", self.hints)
        told = {"type": "ConfigureSuccess", "thresholds": self.thresholds, "keyterms": self.keyterms}
        await self._send({**told, "language_hints": self.hints} if self.is_multi else told)

    async def _audio(self, pcm: bytes) -> None:
        if not pcm or len(pcm) % 2:
            self.vendor.violation(f"an audio frame of {len(pcm)} bytes")
            return
        self.waiting.append(pcm)
        self.waiting_bytes += len(pcm)
        self.vendor.received_s += len(pcm) / 2 / self.rate_hz
        await self._transcribe(self.vendor.lag_s)

    async def _transcribe(self, lag_s: float) -> None:
        while self.waiting and (self.waiting_bytes - len(self.waiting[0])) / 2 / self.rate_hz >= lag_s:
            pcm = self.waiting.popleft()
            self.waiting_bytes -= len(pcm)
            loud = self.heard.last_loud
            self.heard.add(pcm)
            await self._step(self.heard.last_loud != loud)

    async def _step(self, is_loud: bool) -> None:
        silent_s, timeout_s = self.heard.silent_s, self.thresholds.get("eot_timeout_ms", 5000) / 1000
        if self.state == "Eager" and is_loud:
            self.state = "Ongoing"
            await self._info("TurnResumed")
        elif self.state == "Eager" and silent_s >= self.vendor.end_s:
            await self._end("model")
        elif self.state == "Ongoing":
            if self.thresholds.get("eot_threshold", 0.7) < 1.0 and silent_s >= self.vendor.end_s:
                await self._end("model")
            elif silent_s >= timeout_s:
                await self._end("timeout")
            elif "eager_eot_threshold" in self.thresholds and not is_loud and silent_s >= self.vendor.eager_s:
                self.state = "Eager"
                await self._info("EagerEndOfTurn")
        if self.heard.received_s - self.updated_s >= self.vendor.update_s:
            if self.state == "Initial" and self.heard.speech_waits and self.heard.words():
                self.state = "Ongoing"
                await self._info("StartOfTurn")
            else:
                await self._info("Update")

    async def _end(self, trigger: str) -> None:
        await self._info("EndOfTurn", trigger)
        self.heard.settle()
        self.state = "Initial"
        self.turn += 1

    async def _info(self, event: str, trigger: str | None = None) -> None:
        heard = self.heard
        self.updated_s = heard.received_s
        words = heard.words() if heard.speech_waits else []
        if self.state == "Initial" and event == "Update":
            words = []
        told = turn_info(words, heard.settled_s, heard.received_s, event, self.turn)
        if trigger is not None:
            told["trigger"] = trigger
        if self.is_multi and words:
            told["languages"] = [self.hints[0] if self.hints else "en"]
        await self._send(told)

    async def _send(self, message: dict[str, Any]) -> None:
        told = {"request_id": REQUEST_ID, **message, "sequence_id": self.sequence}
        self.sequence += 1
        await self.peer.send(told)


def low_high(name: str, value: float) -> bool:
    low, high = _RANGES[name]
    return low <= value <= high


def turn_info(words: list[Word], start_s: float, end_s: float, event: str, turn: int) -> dict[str, Any]:
    """A `TurnInfo` message."""
    told = [{"word": w.text, "confidence": 0.97, "start": round(w.start_s, 4), "end": round(w.end_s, 4)} for w in words]
    return {
        "type": "TurnInfo", "request_id": REQUEST_ID, "sequence_id": 0, "event": event, "turn_index": turn,
        "audio_window_start": round(start_s, 4), "audio_window_end": round(end_s, 4),
        "transcript": " ".join(w.text for w in words), "words": told,
        "end_of_turn_confidence": 0.82 if event == "EndOfTurn" else 0.05,
    }  # fmt: skip


def _refusal(status: int, code: str, text: str) -> web.Response:
    return web.json_response(
        {"err_code": code, "err_msg": text, "request_id": REQUEST_ID},
        status=status, headers={"dg-error": text, "dg-request-id": REQUEST_ID},
    )  # fmt: skip
