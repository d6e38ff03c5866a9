"""OpenAI's `/v1/audio/speech`: strict, on a port of its own. It speaks in tones, raw or as events, in odd pieces.

Source   protocols sheet 4; openai-openapi `CreateSpeechRequest`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.vendors.peer import Body
from tests.vendors.server import KEY, FakeVendor, Route
from tests.vendors.speaker import pieces, spoken

__all__ = ["FakeOpenAiTts"]

_FIELDS = {"model", "input", "voice", "instructions", "response_format", "speed", "stream_format"}
_VOICES = {
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
}  # fmt: skip
_OLD = ("tts-1", "tts-1-hd")
_RATE_HZ = 24000


class FakeOpenAiTts(FakeVendor):
    unknown = None

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []
        self.checks = 0
        self.content_type: str | None = None
        """Instead of the usual."""
        self.prefix = b""
        """Before the audio of each answer."""
        self.heeds_format = True
        """False, as some compatible servers: `stream_format` is ignored."""

    def routes(self) -> Iterator[Route]:
        yield "POST", "/v1/audio/speech", self.http(self.speech)
        yield "GET", "/v1/models/{model}", self.http(self.model)

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response(_error("Incorrect API key provided.", None, "invalid_api_key"), status=401)
        return None

    async def model(self, body: Body) -> None:
        self.checks += 1
        name = body.request.match_info["model"]
        if name.startswith("no-such"):
            await body.answer(404, _error(f"The model '{name}' does not exist", "model", "model_not_found"))
        else:
            await body.answer(200, {"id": name, "object": "model", "created": 1, "owned_by": "system"})

    async def speech(self, body: Body) -> None:
        asked = await body.json()
        for name in set(asked) - _FIELDS:
            self.violation(f"unknown field {name}")
        wrong = self._wrong(asked)
        if wrong is not None:
            await body.answer(400, _error(*wrong, None))
            return
        self.asked.append(asked)
        sound = spoken(asked["input"], _RATE_HZ).pcm
        if asked.get("stream_format") == "sse" and self.heeds_format:
            await self._events(body, asked, sound)
            return
        await body.start(200, self.content_type or "application/octet-stream")
        for piece in pieces(self.prefix + sound, _RATE_HZ):
            await body.write(piece)

    async def _events(self, body: Body, asked: dict[str, Any], sound: bytes) -> None:
        await body.start(200, "text/event-stream")
        for piece in pieces(sound, _RATE_HZ):
            await body.write(_event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()}))
        tokens = {"input_tokens": len(asked["input"]) // 4, "output_tokens": len(sound) // 2400}
        usage = {**tokens, "total_tokens": sum(tokens.values())}
        await body.write(_event({"type": "speech.audio.done", "usage": usage}))

    def _wrong(self, asked: dict[str, Any]) -> tuple[str, str] | None:
        voice, model = asked.get("voice"), asked.get("model", "")
        if not asked.get("input") or len(asked["input"]) > 4096:
            return "input: 1 to 4096 characters", "input"
        if model.startswith("no-such"):
            return "no such model", "model"
        if not (set(voice) == {"id"} if isinstance(voice, dict) else voice in _VOICES):
            return "no such voice", "voice"
        if asked.get("response_format") != "pcm":
            self.violation(f"response_format {asked.get('response_format')}")
        if model in _OLD and ("instructions" in asked or asked.get("stream_format") == "sse"):
            return "not with this model", "instructions"
        return None


def _event(told: dict[str, Any]) -> str:
    return f"data: {json.dumps(told)}\n\n"


def _error(message: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
