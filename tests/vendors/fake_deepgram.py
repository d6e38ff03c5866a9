"""Deepgram's `/v1/listen`, as far as a live call needs it: strict, on a port of its own.

It hears the tones of the fake voices, sends interim results as audio comes, settles spans by endpointing, by length and
by `Finalize`, keeps Deepgram's clocks (a connection without a frame for `idle_s` is closed with 1011 NET-0001) and
refuses what Deepgram refuses.

Source   protocols sheet 1.1 to 1.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.vendors.listener import Listener, Word
from tests.vendors.peer import Peer
from tests.vendors.server import KEY, FakeVendor, Route

__all__ = ["FakeDeepgram"]

_QUERY = {
    "model", "language", "encoding", "sample_rate", "channels", "interim_results", "endpointing", "utterance_end_ms",
    "vad_events", "punctuate", "smart_format", "numerals", "profanity_filter", "keyterm", "redact", "tag",
    "mip_opt_out",
}  # fmt: skip
_BOOLEANS = {
    "interim_results",
    "vad_events",
    "punctuate",
    "smart_format",
    "numerals",
    "profanity_filter",
    "mip_opt_out",
}
_REQUEST_ID = "7d3c0a54-0000-4000-8000-000000000001"


class FakeDeepgram(FakeVendor):
    def __init__(self, *, idle_s: float = 10.0, interim_s: float = 0.2, span_s: float = 5.0) -> None:
        super().__init__()
        self.idle_s, self.interim_s, self.span_s = idle_s, interim_s, span_s
        self.keyterms: list[list[str]] = []
        """Of each handshake, then of each Configure."""
        self.languages: list[str] = []
        """Of each handshake."""
        self.received_s = 0.0
        """Audio of all connections."""
        self.first: dict[str, Any] | None = None
        """Said on every connection before any audio came."""
        self.beside: dict[str, Any] | None = None
        """Said before each of its results."""

    def routes(self) -> Iterator[Route]:
        yield "GET", "/v1/listen", self.socket(self.listen)

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Token {KEY}":
            return _refusal(401, "INVALID_AUTH", "The key was refused.")
        query = request.query
        for name in set(query) - _QUERY:
            self.violation(f"unknown parameter {name}")
        for name in _BOOLEANS & set(query):
            if query[name] not in ("true", "false"):
                self.violation(f"{name}={query[name]}")
        if "model" not in query:
            return _refusal(400, "INVALID_QUERY_PARAMETER", "no model")
        if query.get("language") == "xx":
            return _refusal(400, "INVALID_QUERY_PARAMETER", "No such model/language combination found.")
        if ("encoding" in query) != ("sample_rate" in query):
            return _refusal(400, "INVALID_QUERY_PARAMETER", "encoding and sample_rate go together")
        if "utterance_end_ms" in query and query.get("interim_results") != "true":
            return _refusal(400, "INVALID_QUERY_PARAMETER", "utterance_end_ms needs interim_results")
        if "keyterm" in query and not query["model"].startswith("nova-3"):
            return _refusal(400, "INVALID_QUERY_PARAMETER", "keyterm needs nova-3")
        return None

    async def listen(self, peer: Peer) -> None:
        self.keyterms.append(peer.query.getall("keyterm", []))
        self.languages.append(peer.query.get("language", "en"))
        if self.first is not None:
            await peer.say(self.first)
        await _Conversation(self, peer).run()


class _Conversation:
    """One connection."""

    def __init__(self, vendor: FakeDeepgram, peer: Peer) -> None:
        self.vendor, self.peer = vendor, peer
        query = peer.query
        self.listener = Listener(int(query.get("sample_rate", "16000")))
        self.interims = query.get("interim_results") == "true"
        self.endpointing_s = 0.0 if query.get("endpointing") == "false" else int(query.get("endpointing", "10")) / 1000
        self.utterance_end_s = int(query.get("utterance_end_ms", "0")) / 1000
        self.vad_events = query.get("vad_events") == "true"
        self.interim_at_s = 0.0
        self.last_word_end_s: float | None = None
        """Of words that no UtteranceEnd told yet."""
        self.is_speaking = False

    async def run(self) -> None:
        while True:
            try:
                message = await self.peer.receive_json(self.vendor.idle_s)
            except TimeoutError:
                await self.peer.close(1011, "NET-0001: no audio or text was received in time")
                return
            if isinstance(message, bytes):
                await self._audio(message)
            else:
                await self._control(message)

    async def _control(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind in self.vendor.orders.ignored:
            return
        if kind == "KeepAlive":
            if not self.listener.received:  # it does not hold a stream that never carried audio
                self.vendor.violation("KeepAlive before any audio")
        elif kind == "Finalize":
            if self.listener.received > self.listener.settled:
                await self._results(is_final=True, speech_final=False, from_finalize=True)
        elif kind == "CloseStream":
            if self.listener.received > self.listener.settled:
                await self._results(is_final=True, speech_final=False)
            await self.peer.send(
                {"type": "Metadata", "transaction_key": "deprecated", "request_id": _REQUEST_ID, "sha256": "9b1c",
                 "created": "2026-08-01T10:00:00.000Z", "duration": self.listener.received_s, "channels": 1}
            )  # fmt: skip
            await self.peer.close(1000)
        elif kind == "Configure":
            await self._configure(message)
        else:
            self.vendor.violation(f"unknown message {kind}")

    async def _configure(self, message: dict[str, Any]) -> None:
        if set(message) - {"type", "keyterms", "features"}:
            self.vendor.violation(f"Configure with {sorted(message)}")
        if not self.peer.query["model"].startswith("nova-3"):
            code = "CONFIGURE_KEYTERMS_NOT_SUPPORTED"
            await self.peer.send({"type": "ConfigureFailure", "request_id": _REQUEST_ID, "code": code})
            return
        keyterms = message.get("keyterms") or []
        self.vendor.keyterms.append(keyterms)
        await self.peer.send({"type": "ConfigureSuccess", "request_id": _REQUEST_ID, "keyterms": keyterms})

    async def _audio(self, pcm: bytes) -> None:
        if not pcm:
            self.vendor.violation("an empty audio frame")
            return
        if len(pcm) % 2:
            await self.peer.close(1008, "DATA-0000: audio that cannot be decoded as declared")
        heard = self.listener
        began_at = heard.last_loud
        heard.add(pcm)
        self.vendor.received_s += len(pcm) / 2 / heard.rate_hz
        if self.vad_events and not self.is_speaking and heard.last_loud != began_at:
            self.is_speaking = True
            await self.peer.send({"type": "SpeechStarted", "channel": [0, 1], "timestamp": heard.settled_s})
        if heard.speech_waits and self.endpointing_s and heard.silent_s >= self.endpointing_s:
            await self._results(is_final=True, speech_final=True)
        elif heard.received_s - heard.settled_s >= self.vendor.span_s:
            await self._results(is_final=True, speech_final=False)
        elif self.interims and heard.received_s - self.interim_at_s >= self.vendor.interim_s:
            await self._results(is_final=False, speech_final=False)
        if self.utterance_end_s and self.last_word_end_s is not None and heard.silent_s >= self.utterance_end_s:
            end_s, self.last_word_end_s = self.last_word_end_s, None
            await self.peer.send({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": end_s})

    async def _results(self, *, is_final: bool, speech_final: bool, from_finalize: bool = False) -> None:
        heard = self.listener
        words, start_s, end_s = heard.words(), heard.settled_s, heard.received_s
        self.interim_at_s = end_s
        if is_final:
            heard.settle()
            self.is_speaking = False
            if words:
                self.last_word_end_s = words[-1].end_s
        if self.vendor.beside is not None:
            await self.peer.say(self.vendor.beside)
        await self.peer.send(results(words, start_s, end_s, is_final, speech_final, from_finalize))


def results(
    words: list[Word], start_s: float, end_s: float, is_final: bool, speech_final: bool, from_finalize: bool
) -> dict[str, Any]:
    """A `Results` message."""
    told = [{"word": w.text, "start": round(w.start_s, 4), "end": round(w.end_s, 4), "confidence": 0.99} for w in words]
    return {
        "type": "Results", "channel_index": [0, 1], "start": round(start_s, 4), "duration": round(end_s - start_s, 4),
        "is_final": is_final, "speech_final": speech_final, "from_finalize": from_finalize,
        "channel": {"alternatives": [
            {"transcript": " ".join(w.text for w in words), "confidence": 0.98 if words else 0.0, "words": told}
        ]},
        "metadata": {
            "request_id": _REQUEST_ID, "model_uuid": "40bd3654-0000-4000-8000-000000000002",
            "model_info": {"name": "general-nova-3", "version": "2025-01-09.0", "arch": "nova-3"},
        },
    }  # fmt: skip


def _refusal(status: int, code: str, text: str) -> web.Response:
    return web.json_response(
        {"err_code": code, "err_msg": text, "request_id": _REQUEST_ID},
        status=status, headers={"dg-error": text, "dg-request-id": _REQUEST_ID},
    )  # fmt: skip
