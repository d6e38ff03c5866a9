"""Azure's speech protocol, as far as a live call needs it: framed messages, one turn after the other, strict.

It hears the tones of the fake voices, writes hypotheses as audio comes, ends phrases at silence, and at the end of a
stream says what is left and `turn.end`. It closes as Azure does: 1002 for a request id that is missing or was used,
1007 for framing and for messages of more than 65,536 bytes.

Source   protocols sheet 6.2; what azure-cognitiveservices-speech 1.53 sends and waits for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.vendors.listener import Listener
from tests.vendors.peer import Gone, Peer
from tests.vendors.server import KEY, FakeVendor, Route

__all__ = ["FakeAzureStt", "framed"]

_TICKS = 10_000_000
_BYTES_MAX = 65_536
_ID = re.compile(r"^[0-9a-f]{32}$", re.IGNORECASE)


def framed(path: str, request: str, body: dict[str, Any]) -> str:
    head = f"X-RequestId:{request}\r\nPath:{path}\r\nContent-Type:application/json; charset=utf-8"
    return f"{head}\r\n\r\n{json.dumps(body)}"


class FakeAzureStt(FakeVendor):
    unknown = "Path:something.new\r\nX-RequestId:\r\n\r\n{}"

    def __init__(self, *, hypothesis_s: float = 0.2, silence_s: float = 0.65) -> None:
        super().__init__()
        self.hypothesis_s, self.silence_s = hypothesis_s, silence_s
        self.contexts: list[dict[str, Any]] = []
        """Of every turn."""
        self.queries: list[dict[str, str]] = []
        self.stray: list[tuple[str, dict[str, Any]]] = []
        """(request id or "" for the turn's own, phrase): said at the beginning of every turn, before any audio."""
        self.status: str | None = None
        """`RecognitionStatus` of the next phrase, instead of its text."""
        self.end_after_s: float | None = None
        """The vendor ends the next turn by itself, in the middle of its audio."""
        self.received_s = 0.0

    def routes(self) -> Iterator[Route]:
        yield "GET", "/stt/speech/universal/v2", self.socket(self.talk, protocols=("USP",))

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Ocp-Apim-Subscription-Key") != KEY:
            return web.Response(status=401, text="Access denied due to invalid subscription key.")
        if not _ID.match(request.headers.get("X-ConnectionId", "")):
            self.violation("no X-ConnectionId")
        self.queries.append(dict(request.query))
        return None

    async def talk(self, peer: Peer) -> None:
        await _Conversation(self, peer).run()


class _Conversation:
    """One connection."""

    def __init__(self, vendor: FakeAzureStt, peer: Peer) -> None:
        self.vendor, self.peer = vendor, peer
        self.is_configured = False
        self.used: set[str] = set()
        self.turn: _Turn | None = None

    async def run(self) -> None:
        while True:
            message = await self.peer.receive()
            path, request, body = await self._parse(message)
            self.vendor.seen[path] += 1
            if path == "speech.config":
                if self.is_configured or "system" not in json.loads(body).get("context", {}):
                    self.vendor.violation("speech.config")
                self.is_configured = True
            elif path == "speech.context":
                await self._open(request, json.loads(body))
            elif path == "audio":
                await self._audio(request, body)
            elif path != "telemetry":
                self.vendor.violation(f"path {path}")

    async def _parse(self, message: str | bytes) -> tuple[str, str, Any]:
        if len(message) > _BYTES_MAX:
            await self.peer.close(1007, "Websocket message size")
        if isinstance(message, bytes):
            size = int.from_bytes(message[:2], "big")
            if size < 10 or len(message) < 2 + size:
                await self.peer.close(1007, "framing")
            head, body = message[2 : 2 + size].decode("ascii"), message[2 + size :]
        else:
            head, _, text = message.partition("\r\n\r\n")
            body = text  # type: ignore[assignment]
        named = {}
        for line in head.split("\r\n"):
            name, _, value = line.partition(":")
            named[name.strip().lower()] = value.strip()
        path, request = named.get("path", ""), named.get("x-requestid", "")
        if not path or "x-timestamp" not in named or (path != "speech.config" and not _ID.match(request)):
            self.vendor.violation(f"headers {sorted(named)}")
            await self.peer.close(1002, "headers")
        return path, request, body

    async def _open(self, request: str, context: dict[str, Any]) -> None:
        if not self.is_configured:
            self.vendor.violation("a context before the configuration")
        if request in self.used:
            self.vendor.violation("a request id that was used before")
            await self.peer.close(1002, "X-RequestId")
        if self.turn is not None and not self.turn.is_over:
            self.vendor.violation("a turn before the one before it was over")
        if context.get("phraseDetection", {}).get("mode", "").upper() != "CONVERSATION":
            self.vendor.violation(f"context {context}")
        if context["phraseDetection"].get("language") == "xx-XX":
            await self.peer.close(1007, "Unsupported language")
        self.used.add(request)
        self.vendor.contexts.append(context)
        self.turn = _Turn(self.vendor, self.peer, request, context)
        for other, phrase in self.vendor.stray:
            await self.peer.say(framed("speech.phrase", other or request, phrase))

    async def _audio(self, request: str, body: bytes) -> None:
        turn = self.turn
        if turn is None or request != turn.request:
            self.vendor.violation("audio of no turn")
            raise Gone
        if turn.is_over:
            return  # the vendor ended it: what is on its way is not wanted
        await turn.audio(body)


class _Turn:
    def __init__(self, vendor: FakeAzureStt, peer: Peer, request: str, context: dict[str, Any]) -> None:
        self.vendor, self.peer, self.request, self.context = vendor, peer, request, context
        segmentation = context["phraseDetection"].get("CONVERSATION", {}).get("segmentation", {})
        self.silence_s = segmentation.get("segmentationSilenceTimeoutMs", vendor.silence_s * 1000) / 1000
        self.detailed = "WordTimings" in context.get("phraseOutput", {}).get("detailed", {}).get("options", ())
        self.listener: Listener | None = None
        self.looked_s = 0.0
        self.is_started = self.is_speaking = self.is_ending = self.is_over = False

    async def say(self, path: str, body: dict[str, Any]) -> None:
        if path not in self.vendor.orders.ignored:
            await self.peer.send(framed(path, self.request, body))

    async def audio(self, data: bytes) -> None:
        if self.is_ending:
            self.vendor.violation("audio after the end of the stream")
        if not data:
            self.is_ending = True
            await self.end()
            return
        if self.listener is None:
            if data[:4] != b"RIFF" or data[8:16] != b"WAVEfmt " or len(data) != 44:
                self.vendor.violation("the first audio is no WAV header")
                raise Gone
            self.listener = Listener(int.from_bytes(data[24:28], "little"))
            return
        if not self.is_started:
            self.is_started = True
            await self.say("turn.start", {"context": {"serviceTag": "tag"}})
        heard = self.listener
        before = heard.last_loud
        heard.add(data)
        self.vendor.received_s += len(data) / 2 / heard.rate_hz
        if heard.last_loud != before and not self.is_speaking:
            self.is_speaking = True
            await self.say("speech.startDetected", {"Offset": round(heard.settled_s * _TICKS)})
        if heard.speech_waits and heard.silent_s >= self.silence_s:
            await self.phrase()
        elif heard.received_s - self.looked_s >= self.vendor.hypothesis_s:
            self.looked_s = heard.received_s
            await self.hypothesis()
        if self.vendor.end_after_s is not None and heard.received_s >= self.vendor.end_after_s:
            self.vendor.end_after_s = None
            self.is_over = True
            await self.say("turn.end", {})

    async def hypothesis(self) -> None:
        assert self.listener is not None
        words = self.listener.words()
        if words:
            start, end = words[0].start_s, words[-1].end_s
            body = {"Id": self.request, "Text": " ".join(w.text for w in words), "Offset": round(start * _TICKS),
                    "Duration": round((end - start) * _TICKS), "Channel": 0}  # fmt: skip
            await self.say("speech.hypothesis", body)

    async def phrase(self) -> None:
        heard = self.listener
        assert heard is not None
        words = heard.words()
        start_s = words[0].start_s if words else heard.settled_s
        end_s = words[-1].end_s if words else heard.received_s
        heard.settle()
        status, self.vendor.status = self.vendor.status or ("Success" if words else "NoMatch"), None
        offset, text = round(start_s * _TICKS), " ".join(w.text for w in words)
        body: dict[str, Any] = {"Id": self.request, "RecognitionStatus": status, "Offset": offset,
                                "Duration": round(end_s * _TICKS) - offset, "Channel": 0}  # fmt: skip
        if status == "Success":
            body["DisplayText"] = text
            told = [
                {"Word": w.text, "Offset": round(w.start_s * _TICKS), "Duration": round((w.end_s - w.start_s) * _TICKS)}
                for w in words
            ]
            best = {"Confidence": 0.9, "Lexical": text, "ITN": text, "MaskedITN": text, "Display": text}
            body["NBest"] = [{**best, "Words": told} if self.detailed else best]
        await self.say("speech.phrase", body)

    async def end(self) -> None:
        """The client said that this is all."""
        if not self.is_started:
            self.is_started = True
            await self.say("turn.start", {"context": {"serviceTag": "tag"}})
        heard = self.listener
        if heard is not None and heard.received > heard.settled:
            await self.phrase()
        if heard is not None and heard.received:
            await self.say("speech.endDetected", {"Offset": round(heard.received_s * _TICKS)})
        self.is_over = True
        await self.say("turn.end", {})
