"""AssemblyAI's `/v3/ws`, as far as a live call needs it: strict, on a port of its own.

It hears the tones of the fake voices. A turn is told again as its words come, the last of them unsettled; it ends after
`end_s` of silence or by `ForceEndpoint`, and Universal-Streaming tells it once more with capitals and a full stop. A
message of less than 50 or more than 1000 ms, a pace of more than `ahead_s` ahead of real time, and a session that is
older than `session_s` end it, with an `Error` and a close of the same code. Keys are looked at after the upgrade.

Source   protocols sheet 9; assemblyai SDK 1.8.2; assemblyai.com/docs/streaming.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from tests.vendors.listener import Listener, Word
from tests.vendors.peer import Peer
from tests.vendors.server import KEY, FakeVendor, Route

__all__ = ["FakeAssemblyAi", "turn"]

_SESSION = {
    "end_of_turn_confidence_threshold", "min_turn_silence", "max_turn_silence", "vad_threshold", "format_turns",
    "keyterms_prompt", "filter_profanity", "prompt", "language_codes", "mode",
}  # fmt: skip
_QUERY = _SESSION | {"sample_rate", "encoding", "speech_model", "language_detection", "inactivity_timeout"}
_MODELS = {
    "universal-streaming-english", "universal-streaming-multilingual", "u3-rt-pro", "universal-3-5-pro",
    "universal-3-6-pro", "whisper-rt",
}  # fmt: skip
_REASON_BYTES_MAX = 123


class FakeAssemblyAi(FakeVendor):
    def __init__(
        self, *, end_s: float = 0.4, utterance_s: float = 0.15, partial_s: float = 0.2, session_s: float = 10800.0
    ) -> None:
        super().__init__()
        self.end_s, self.utterance_s, self.partial_s = end_s, utterance_s, partial_s
        self.session_s = session_s
        self.ahead_s = 300.0
        self.configured: list[dict[str, Any]] = []
        """The query of each handshake, then each UpdateConfiguration."""
        self.received_s = 0.0
        """Audio of all connections."""
        self.first: list[dict[str, Any]] = []
        """Said on every connection before any audio came."""
        self.terminated = 0
        """Sessions that were ended by their client, as they should be."""

    def routes(self) -> Iterator[Route]:
        yield "GET", "/v3/ws", self.socket(self.listen)

    async def listen(self, peer: Peer) -> None:
        wrong = _wrong_handshake(self, peer)
        if wrong is not None:
            await _fail(peer, *wrong)
        self.configured.append(dict(peer.query))
        await _Session(self, peer).run()


def _wrong_handshake(vendor: FakeAssemblyAi, peer: Peer) -> tuple[int, str] | None:
    if peer.request.headers.get("Authorization") != KEY:
        return 1008, "Unauthorized Connection: Invalid API key"
    query = peer.query
    for name in set(query) - _QUERY:
        vendor.violation(f"unknown parameter {name}")  # the vendor ignores it: nobody would find out
    if "sample_rate" not in query or query.get("encoding", "pcm_s16le") != "pcm_s16le":
        return 3006, "Invalid connection parameters: sample_rate is required"
    if query.get("speech_model") not in _MODELS:
        return 3006, "Invalid connection parameters: speech_model is not one of the models"
    for name in ("keyterms_prompt", "language_codes"):
        if name in query and not isinstance(json.loads(query[name]), list):
            return 3006, f"Invalid connection parameters: {name} is no list"
    return None


async def _fail(peer: Peer, code: int, text: str) -> None:
    await peer.send({"type": "Error", "error_code": code, "error": text})
    await peer.close(code, text.encode()[:_REASON_BYTES_MAX].decode())


class _Session:
    """One connection."""

    def __init__(self, vendor: FakeAssemblyAi, peer: Peer) -> None:
        self.vendor, self.peer = vendor, peer
        query = peer.query
        self.heard = Listener(int(query["sample_rate"]))
        self.is_universal_3 = query["speech_model"].startswith(("u3-", "universal-3"))
        self.is_formatted = query.get("format_turns", "").lower() == "true"  # its own SDK writes True
        self.detects = query.get("language_detection") == "true"
        self.order = 0
        self.told_s = 0.0
        self.is_started = self.has_paused = False
        self.began_s = asyncio.get_running_loop().time()

    async def run(self) -> None:
        model = self.peer.query["speech_model"]
        await self.peer.send(
            {"type": "Begin", "id": "b1", "expires_at": 1790000000, "configuration": {"model": model}}
        )  # fmt: skip
        for told in self.vendor.first:
            await self.peer.say(told)
        loop = asyncio.get_running_loop()
        while True:
            try:
                message = await self.peer.receive_json(self.began_s + self.vendor.session_s - loop.time())
            except TimeoutError:
                await _fail(self.peer, 3008, "Session Expired: Maximum session duration exceeded")
                return
            if isinstance(message, bytes):
                await self._audio(message)
            else:
                await self._control(message)

    async def _control(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind in self.vendor.orders.ignored:
            return
        if kind == "ForceEndpoint":
            if self.heard.speech_waits:
                await self._end()
        elif kind == "KeepAlive":
            pass
        elif kind == "UpdateConfiguration":
            if set(message) - _SESSION - {"type"} or len(message) < 2:
                self.vendor.violation(f"UpdateConfiguration with {sorted(message)}")
            self.vendor.configured.append(message)
            self.is_formatted = message.get("format_turns", self.is_formatted)
        elif kind == "Terminate":
            self.vendor.terminated += 1
            if self.heard.speech_waits:
                await self._end()
            past_s = round(asyncio.get_running_loop().time() - self.began_s)
            heard_s = round(self.heard.received_s)
            told = {"type": "Termination", "audio_duration_seconds": heard_s, "session_duration_seconds": past_s}
            await self.peer.send(told)
            await self.peer.close(1000)
        else:
            self.vendor.violation(f"unknown message {kind}")

    async def _audio(self, pcm: bytes) -> None:
        heard, vendor = self.heard, self.vendor
        ms = len(pcm) / 2 / heard.rate_hz * 1000
        if len(pcm) % 2 or not 50 <= ms <= 1000:
            vendor.violation(f"a message of {ms:g} ms")
            await _fail(self.peer, 3007, f"Input Duration Error: {ms:g} ms. Expected between 50 and 1000 ms")
        loud = heard.last_loud
        heard.add(pcm)
        vendor.received_s += ms / 1000
        past_s = asyncio.get_running_loop().time() - self.began_s
        if heard.received_s > past_s + vendor.ahead_s:
            text = f"Audio Transmission Rate Exceeded: Received {heard.received_s:g} sec. audio in {past_s:g} sec"
            await _fail(self.peer, 3007, text)
        if heard.last_loud != loud and not self.is_started:
            self.is_started = True
            await self.peer.send({"type": "SpeechStarted", "timestamp": round((heard.received_s - ms / 1000) * 1000)})
        if heard.speech_waits and heard.silent_s >= vendor.end_s:
            await self._end()
        elif heard.speech_waits:
            await self._go_on(heard.last_loud == loud)

    async def _go_on(self, is_silent: bool) -> None:
        heard = self.heard
        pauses = is_silent and heard.silent_s >= self.vendor.utterance_s
        if pauses and not self.has_paused and not self.is_universal_3:
            self.has_paused = True
            await self._turn(settled=True, utterance=True)
        elif heard.received_s - self.told_s >= self.vendor.partial_s:
            self.has_paused = self.has_paused and pauses
            await self._turn(settled=pauses)

    async def _turn(self, *, settled: bool, utterance: bool = False) -> None:
        self.told_s = self.heard.received_s
        words = self.heard.words()
        if words:
            await self.peer.send(turn(words, self.order, settled=settled, utterance=utterance))

    async def _end(self) -> None:
        words = self.heard.words()
        self.heard.settle()
        self.told_s, self.is_started, self.has_paused = self.heard.received_s, False, False
        told = turn(words, self.order, settled=True, end=True, formatted=self.is_universal_3)
        if self.detects:
            told |= {"language_code": "en", "language_confidence": 0.98}
        await self.peer.send(told)
        if self.is_formatted and not self.is_universal_3:
            await self.peer.send(turn(words, self.order, settled=True, end=True, formatted=True))
        self.order += 1


def turn(
    words: list[Word], order: int, *, settled: bool, utterance: bool = False, end: bool = False, formatted: bool = False
) -> dict[str, Any]:
    """A `Turn` message. Not settled: the last word may still change."""
    texts = [w.text for w in words]
    if formatted and texts:
        texts = (
            [texts[0].capitalize(), *texts[1:-1], texts[-1] + "."] if len(texts) > 1 else [texts[0].capitalize() + "."]
        )
    known = len(words) if settled else max(0, len(words) - 1)
    told = [
        {"text": text, "start": round(w.start_s * 1000), "end": round(w.end_s * 1000), "confidence": 0.98,
         "word_is_final": n < known}
        for n, (w, text) in enumerate(zip(words, texts, strict=True))
    ]  # fmt: skip
    transcript = " ".join(texts[:known])
    return {
        "type": "Turn", "turn_order": order, "turn_is_formatted": formatted, "end_of_turn": end,
        "transcript": transcript, "end_of_turn_confidence": 0.8 if end else 0.1, "words": told,
        "utterance": transcript if utterance else "",
    }  # fmt: skip
