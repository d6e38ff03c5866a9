"""ElevenLabs' `/v1/speech-to-text/realtime`: strict, hears tones, commits when asked or by itself.

It refuses a commit of less than 0.3 s (`commit_throttled`, which ends nothing), commits by itself what has waited for
`by_itself_s`, and ends a session that gets no audio for `idle_s`.

Source   protocols sheet 7.4; elevenlabs 2.78 (`realtime/`, `types/scribe_*`).
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

__all__ = ["FakeElevenLabsStt"]

_QUERY = {
    "model_id", "audio_format", "commit_strategy", "vad_silence_threshold_secs", "vad_threshold",
    "min_speech_duration_ms", "min_silence_duration_ms", "language_code", "secondary_languages", "include_timestamps",
    "include_language_detection", "keyterms", "no_verbatim",
}  # fmt: skip
_CHUNK = {"message_type", "audio_base_64", "commit", "sample_rate", "previous_text"}
_COMMIT_LEAST_S = 0.3


class FakeElevenLabsStt(FakeVendor):
    unknown = {"message_type": "something_new", "since": "yesterday"}  # noqa: RUF012

    def __init__(self, *, partial_s: float = 0.2, by_itself_s: float = 90.0, idle_s: float = 15.0) -> None:
        super().__init__()
        self.partial_s, self.by_itself_s, self.idle_s = partial_s, by_itself_s, idle_s
        self.queries: list[list[tuple[str, str]]] = []
        self.first: list[dict[str, Any]] = []
        """Said on every connection before the session has begun."""
        self.refusal: dict[str, Any] | None = None
        """Said instead of the greeting."""
        self.received_s = 0.0

    def routes(self) -> Iterator[Route]:
        yield "GET", "/v1/speech-to-text/realtime", self.socket(self.talk)

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("xi-api-key") != KEY:
            detail = {"status": "invalid_api_key", "message": "Invalid API key"}
            return web.json_response({"detail": detail}, status=401)
        query = request.query
        self.queries.append(list(query.items()))
        if set(query) - _QUERY or not query.get("audio_format", "").startswith("pcm_"):
            self.violation(f"query {dict(query)}")
        if query.get("commit_strategy") not in ("manual", "vad", "turn_prediction"):
            self.violation(f"commit_strategy {query.get('commit_strategy')}")
        if "vad_silence_threshold_secs" in query and not 0.3 <= float(query["vad_silence_threshold_secs"]) <= 3:
            self.violation("vad_silence_threshold_secs")
        return None

    async def talk(self, peer: Peer) -> None:
        for told in self.first:
            await peer.say(told)
        if self.refusal is not None:
            await peer.say(self.refusal)
            await peer.close(1008, str(self.refusal.get("error", "")))
        if peer.query.get("language_code") == "xx":
            await peer.say({"message_type": "invalid_request", "error": "Unsupported language."})
            await peer.close(1008, "invalid_request")
        await _Session(self, peer).run()


class _Session:
    """One connection."""

    def __init__(self, vendor: FakeElevenLabsStt, peer: Peer) -> None:
        self.vendor, self.peer = vendor, peer
        query = peer.query
        self.rate_hz = int(query["audio_format"].removeprefix("pcm_"))
        self.listener = Listener(self.rate_hz)
        self.vad = query["commit_strategy"] != "manual"
        self.silence_s = float(query.get("vad_silence_threshold_secs", "1.5"))
        self.timestamps = query.get("include_timestamps") == "true"
        self.looked_s = 0.0

    async def run(self) -> None:
        query = self.peer.query
        config = {
            "sample_rate": self.rate_hz, "audio_format": query["audio_format"], "model_id": query["model_id"],
            "language_code": query.get("language_code"), "commit_strategy": query["commit_strategy"],
        }  # fmt: skip
        await self.peer.send({"message_type": "session_started", "session_id": "e1", "config": config})
        while True:
            try:
                message = await self.peer.receive_json(self.vendor.idle_s)
            except TimeoutError:
                await self.peer.close(1000)
                return
            if isinstance(message, bytes) or message.get("message_type") not in ("input_audio_chunk", "commit"):
                self.vendor.violation(f"message {str(message)[:80]}")
                raise Gone
            if message["message_type"] == "input_audio_chunk":
                await self._chunk(message)
            if message.get("commit") or message["message_type"] == "commit":
                self.vendor.seen["commit"] += 1
                if "commit" not in self.vendor.orders.ignored:
                    await self._commit()

    async def _chunk(self, message: dict[str, Any]) -> None:
        if set(message) - _CHUNK or message.get("sample_rate") != self.rate_hz:
            self.vendor.violation(f"chunk {sorted(message)} at {message.get('sample_rate')}")
        try:
            pcm = base64.b64decode(message["audio_base_64"], validate=True)
        except (binascii.Error, KeyError):
            pcm = b"x"
        if len(pcm) % 2:
            self.vendor.violation(f"audio of {len(pcm)} bytes")
            return
        heard = self.listener
        heard.add(pcm)
        self.vendor.received_s += len(pcm) / 2 / self.rate_hz
        waits_s = heard.received_s - heard.settled_s
        if (self.vad and heard.speech_waits and heard.silent_s >= self.silence_s) or waits_s >= self.vendor.by_itself_s:
            await self._transcript()
        elif heard.received_s - self.looked_s >= self.vendor.partial_s:
            self.looked_s = heard.received_s
            if words := heard.words():
                text = " ".join(w.text for w in words)
                await self.peer.send({"message_type": "partial_transcript", "text": text})

    async def _commit(self) -> None:
        waits_s = self.listener.received_s - self.listener.settled_s
        if waits_s < _COMMIT_LEAST_S:
            text = f"Commit request ignored: only {waits_s:.2f}s of uncommitted audio."
            await self.peer.send({"message_type": "commit_throttled", "error": text})
        else:
            await self._transcript()

    async def _transcript(self) -> None:
        words = self.listener.words()
        self.listener.settle()
        text = " ".join(w.text for w in words)
        await self.peer.send({"message_type": "committed_transcript", "text": text})
        if self.timestamps:
            told = [
                {"text": w.text, "start": w.start_s, "end": w.end_s, "type": "word", "logprob": -0.1} for w in words
            ]
            message = {"message_type": "committed_transcript_with_timestamps", "text": text, "language_code": "en"}
            await self.peer.send({**message, "words": told})
