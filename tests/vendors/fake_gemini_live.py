"""Gemini's Live API (BidiGenerateContent), as far as a call needs it: strict, on a port of its own, in binary frames.

It hears the tones of the fake voices and answers in them: "I heard ten of clubs". Words "call NAME" call the tool NAME;
what the tool gave it says. A text behind an empty line is spoken as it is. It keeps conversations, gives handles for
them, and takes one up again by its handle; not while the connection that the handle came from is open.

Source   protocols sheet 10; python-genai 3.6 `types.py`, `live.py`; sip-to-ai#14 for the handle that is in use.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import itertools
import re
from collections.abc import Iterator
from typing import Any, ClassVar

from aiohttp import web

from actors.providers.fake_tones import say
from tests.vendors.listener import Listener
from tests.vendors.peer import Gone, Peer
from tests.vendors.server import KEY, FakeVendor, Route

__all__ = ["FakeGeminiLive"]

IN_HZ, OUT_HZ = 16_000, 24_000
_SETUP = {
    "model", "generationConfig", "systemInstruction", "tools", "realtimeInputConfig", "sessionResumption",
    "contextWindowCompression", "inputAudioTranscription", "outputAudioTranscription", "historyConfig",
}  # fmt: skip
_GENERATION = {
    "responseModalities", "speechConfig", "temperature", "topP", "maxOutputTokens", "thinkingConfig",
}  # fmt: skip
_INPUT = {"audio", "text", "activityStart", "activityEnd", "audioStreamEnd"}
_STANDARD = str.maketrans("-_", "+/")  # either alphabet is taken, as of all protocol buffers in JSON
_CHUNK_MS = 200
_SILENCE_MS = 500

Turn = tuple[str, str]
"""Role and text."""


class FakeGeminiLive(FakeVendor):
    unknown: ClassVar[dict[str, Any] | None] = {"somethingNew": {"since": "yesterday"}}
    binary: ClassVar[bool] = True

    def __init__(
        self, *, speed: float = 20.0, life_s: float = 600.0, gives_handles: bool = True, plays: bool = False
    ) -> None:
        """`plays`: it takes what it has sent to be played in real time, and until then its turn goes on."""
        super().__init__()
        self.plays = plays
        self.speed, self.life_s, self.gives_handles = speed, life_s, gives_handles
        self.setups: list[dict[str, Any]] = []
        self.conversations: list[list[Turn]] = []
        """Of each connection."""
        self.handles: dict[str, tuple[list[Turn], Peer]] = {}
        self.cancelled: list[str] = []
        """Calls that were taken back."""
        self.audio_ms = 0.0
        self.odd = self.wrong_rate = False
        """Audio is cut within samples; is said to have another rate."""
        self.say_more = ""

    def routes(self) -> Iterator[Route]:
        for version in ("v1", "v1beta", "v1alpha"):
            path = f"/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"
            yield "GET", path, self.socket(self.talk)

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("x-goog-api-key", request.query.get("key")) != KEY:
            error = {"code": 403, "message": "API key not valid.", "status": "PERMISSION_DENIED"}
            return web.json_response({"error": error}, status=403)
        return None

    async def talk(self, peer: Peer) -> None:
        conversation = _Conversation(self, peer)
        async with asyncio.TaskGroup() as tasks:
            conversation.tasks = tasks
            ends = tasks.create_task(conversation.ends())
            with contextlib.suppress(Gone):
                await conversation.run()
            ends.cancel()
            conversation.stop()


class _Conversation:
    """One connection."""

    tasks: asyncio.TaskGroup

    def __init__(self, vendor: FakeGeminiLive, peer: Peer) -> None:
        self.vendor, self.peer = vendor, peer
        self.turns: list[Turn] = []
        self.setup: dict[str, Any] = {}
        self.listener = Listener(IN_HZ)
        self.numbers = itertools.count(1)
        self.answering: asyncio.Task[None] | None = None
        self.is_speaking = self.in_activity = self.is_begun = False
        self.calls: dict[str, str] = {}
        self.results: list[str] = []

    async def run(self) -> None:
        first = await self._next()
        if set(first) != {"setup"}:
            self.vendor.violation(f"the first message is {sorted(first)}")
            await self.peer.close(1007, "setup must be first")
        await self._set_up(first["setup"])
        while True:
            message = await self._next()
            if len(message) != 1:
                self.vendor.violation(f"a message with {sorted(message)}")
            kind, body = next(iter(message.items()))
            self.vendor.seen[kind] += 1
            if kind in self.vendor.orders.ignored:
                continue
            match kind:
                case "realtimeInput":
                    await self._realtime(body)
                case "clientContent":
                    await self._client_content(body)
                case "toolResponse":
                    await self._tool_response(body)
                case _:
                    self.vendor.violation(f"unknown message {kind}")

    async def _next(self) -> dict[str, Any]:
        message = await self.peer.receive_json()
        if isinstance(message, bytes):
            self.vendor.violation("a binary message")
            raise Gone
        return _camel(message)

    async def ends(self) -> None:
        warn_s = min(60.0, self.vendor.life_s / 4)
        with contextlib.suppress(Gone):
            await asyncio.sleep(self.vendor.life_s - warn_s)
            await self.peer.send({"goAway": {"timeLeft": f"{warn_s:g}s"}})
            await asyncio.sleep(warn_s)
            await self.peer.close(1011, "Deadline expired before operation could complete.")

    def stop(self) -> None:
        if self.answering is not None:
            self.answering.cancel()

    # -- the setup

    async def _set_up(self, setup: dict[str, Any]) -> None:
        unknown = (set(setup) - _SETUP) | (set(setup.get("generationConfig", {})) - _GENERATION)
        if unknown or not str(setup.get("model", "")).startswith("models/"):
            await self.peer.close(1007, f"Request contains an invalid argument: {sorted(unknown)}")
        if setup["generationConfig"].get("responseModalities") != ["AUDIO"]:
            self.vendor.violation(f"modalities {setup['generationConfig']}")
        if setup["model"].endswith("/nobody"):
            await self.peer.close(1008, f"{setup['model']} is not found for API version v1beta")
        handle = setup.get("sessionResumption", {}).get("handle", "")
        if handle is None:
            await self.peer.close(1008, "Request contains an invalid argument.")
        if handle:
            if handle not in self.vendor.handles:
                await self.peer.close(1008, "BidiGenerateContent session not found")
            self.turns, before = self.vendor.handles[handle]
            if not before.closed:
                await self.peer.close(1011, "the session is in use")
        self.setup = setup
        self.vendor.setups.append(setup)
        self.vendor.conversations.append(self.turns)
        if "setup" not in self.vendor.orders.ignored:
            await self.peer.send({"setupComplete": {}})
            await self._give_handle()

    @property
    def detection(self) -> dict[str, Any]:
        return self.setup.get("realtimeInputConfig", {}).get("automaticActivityDetection", {})

    @property
    def only_typed(self) -> bool:
        return "gemini-2" not in self.setup["model"]

    async def _give_handle(self, *, resumable: bool = True) -> None:
        if "sessionResumption" not in self.setup or not self.vendor.gives_handles:
            return
        update: dict[str, Any] = {"resumable": resumable}
        if resumable:
            update["newHandle"] = handle = f"handle-{len(self.vendor.handles) + 1}"
            self.vendor.handles[handle] = (list(self.turns), self.peer)
        await self.peer.send({"sessionResumptionUpdate": update})

    # -- what the caller says and types

    async def _realtime(self, body: dict[str, Any]) -> None:
        if len(body) != 1 or set(body) - _INPUT:
            self.vendor.violation(f"realtimeInput with {sorted(body)}")
        self.is_begun = True
        if "audio" in body:
            await self._audio(body["audio"])
        elif "activityStart" in body:
            self._expect(self.detection.get("disabled"), "activityStart with automatic detection")
            self._expect(not self.in_activity, "two activityStart")
            self.in_activity = True
            await self._interrupt()
        elif "activityEnd" in body:
            self._expect(self.in_activity, "activityEnd without its start")
            self.in_activity = False
            await self._heard()
        elif "text" in body:
            await self._interrupt()
            if body["text"].strip():
                self.turns.append(("user", body["text"]))
            self._answer()

    def _expect(self, holds: Any, what: str) -> None:
        if not holds:
            self.vendor.violation(what)

    async def _audio(self, blob: dict[str, str]) -> None:
        self._expect(blob.get("mimeType") == f"audio/pcm;rate={IN_HZ}", f"audio of type {blob.get('mimeType')}")
        try:
            pcm = base64.b64decode(blob["data"].translate(_STANDARD), validate=True)
        except binascii.Error:
            pcm = b""
        if not pcm or len(pcm) % 2:
            await self.peer.close(1007, "Request contains an invalid argument.")
        self.vendor.audio_ms += len(pcm) / 2 / IN_HZ * 1000
        heard, before = self.listener, self.listener.last_loud
        if self.detection.get("disabled"):
            if self.in_activity:
                heard.add(pcm)
            return
        heard.add(pcm)
        silence_s = self.detection.get("silenceDurationMs", _SILENCE_MS) / 1000
        if heard.last_loud != before and not self.is_speaking:
            self.is_speaking = True
            await self._interrupt()
        elif self.is_speaking and heard.silent_s >= silence_s:
            self.is_speaking = False
            await self._heard()

    async def _heard(self) -> None:
        """The caller's turn is over."""
        words = [word.text for word in self.listener.words()]
        self.listener.settle()
        if "inputAudioTranscription" in self.setup:
            for number, word in enumerate(words):
                text = word if not number else f" {word}"
                await self.peer.send({"serverContent": {"inputTranscription": {"text": text}}})
        self.turns.append(("user", " ".join(words)))
        self._answer()

    async def _client_content(self, body: dict[str, Any]) -> None:
        self._expect(set(body) <= {"turns", "turnComplete"}, f"clientContent with {sorted(body)}")
        turns = [(turn["role"], turn["parts"][0]["text"]) for turn in body.get("turns", ())]
        is_history = self.setup.get("historyConfig", {}).get("initialHistoryInClientContent") and not self.is_begun
        if self.only_typed and not is_history:
            await self.peer.close(1007, "Request contains an invalid argument.")
        if not self.only_typed and turns and turns[-1][0] != "user":
            await self.peer.close(1007, "Request contains an invalid argument.")
        await self._interrupt()
        self.turns += [turn for turn in turns if turn[1].strip()]
        if body.get("turnComplete") and not self.only_typed:
            self._answer()

    async def _tool_response(self, body: dict[str, Any]) -> None:
        for response in body["functionResponses"]:
            if self.calls.pop(response["id"], None) != response["name"]:
                self.vendor.violation(f"a result of {response['id']}, {response['name']}")
            self._expect(len(response["response"]) == 1, f"response {response['response']}")
            self.results.append(str(next(iter(response["response"].values()))))
        if not self.calls:
            text, self.results = " and ".join(self.results), []
            self.turns.append(("tool", text))
            self._answer()

    # -- answers

    def _answer(self) -> None:
        self.answering = self.tasks.create_task(self._guarded())

    async def _guarded(self) -> None:
        with contextlib.suppress(Gone):
            await self._respond()

    async def _interrupt(self) -> None:
        if self.calls:
            self.vendor.cancelled += self.calls
            ids, self.calls = list(self.calls), {}
            await self.peer.send({"toolCallCancellation": {"ids": ids}})
        if self.answering is None or self.answering.done():
            return
        self.answering.cancel()
        await asyncio.wait([self.answering])
        await self.peer.send({"serverContent": {"interrupted": True}})
        await self.peer.send({"serverContent": {"turnComplete": True}, "usageMetadata": _usage()})
        await self._give_handle()

    async def _respond(self) -> None:
        role, text = self.turns[-1] if self.turns else ("user", "")
        await self._give_handle(resumable=False)
        declared = [d for tool in self.setup.get("tools", ()) for d in tool["functionDeclarations"]]
        words, names = text.split(), {one["name"] for one in declared}
        calls = [word for before, word in itertools.pairwise(words) if before == "call" and word in names]
        if calls and role == "user":
            made = [{"id": f"call-{next(self.numbers)}", "name": name, "args": {"of": "it"}} for name in calls]
            self.calls = {str(call["id"]): str(call["name"]) for call in made}
            await self.peer.send({"toolCall": {"functionCalls": made}})
            return
        if role == "tool":
            said = f"The tool says {text}"
        elif "\n\n" in text:
            said = text.split("\n\n", 1)[1]
        else:
            said = f"I heard {text}{self.vendor.say_more}" if text else "Hello."
        began_s = asyncio.get_running_loop().time()
        spoken_s = await self._speak(said)
        self.turns.append(("model", said))
        await self.peer.send({"serverContent": {"generationComplete": True}})
        if self.vendor.plays:
            await asyncio.sleep(max(0.0, began_s + spoken_s - asyncio.get_running_loop().time()))
        await self.peer.send({"serverContent": {"turnComplete": True}, "usageMetadata": _usage()})
        await self._give_handle()

    async def _speak(self, said: str) -> float:
        """Seconds of it."""
        rate = 16_000 if self.vendor.wrong_rate else OUT_HZ
        pcm, words = say(said, OUT_HZ).pcm, said.split(" ")
        step = OUT_HZ * _CHUNK_MS // 1000 * 2 - (301 if self.vendor.odd else 0)
        for at in range(0, len(pcm), step):
            data = base64.b64encode(pcm[at : at + step]).decode()
            part = {"inlineData": {"mimeType": f"audio/pcm;rate={rate}", "data": data}}
            await self.peer.send({"serverContent": {"modelTurn": {"parts": [part]}}})
            if words:
                text = words.pop(0) + (" " if words else "")
                await self.peer.send({"serverContent": {"outputTranscription": {"text": text}}})
            await asyncio.sleep(_CHUNK_MS / 1000 / self.vendor.speed)
        if words:
            await self.peer.send({"serverContent": {"outputTranscription": {"text": " ".join(words)}}})
        return len(pcm) / 2 / OUT_HZ


def _camel(value: Any, depth: int = 3) -> Any:
    """Names as in JSON: the vendor takes snake_case as well, and its SDK writes both."""
    if isinstance(value, list):
        return [_camel(one, depth) for one in value]
    if not isinstance(value, dict) or not depth:
        return value
    return {re.sub(r"_([a-z])", lambda m: m[1].upper(), k): _camel(v, depth - 1) for k, v in value.items()}


def _usage() -> dict[str, Any]:
    return {
        "promptTokenCount": 120, "cachedContentTokenCount": 30, "responseTokenCount": 60, "thoughtsTokenCount": 5,
        "totalTokenCount": 185,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 70}, {"modality": "AUDIO", "tokenCount": 50}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 30}],
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 60}],
    }  # fmt: skip
