"""OpenAI's `/audio/transcriptions`: strict about form and file, hears the tones of the fake voices.

`whisper-1` answers in one piece, the others write as they go where they are asked to.

Source   protocols sheet 3.1; openai 3.57 (`types/audio`).
"""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from actors.providers.fake_tones import Heard, hear
from tests.vendors.peer import Body
from tests.vendors.server import KEY, FakeVendor, Route

__all__ = ["FakeOpenAiTranscribe"]

_FIELDS = {
    "file", "model", "language", "languages[]", "keywords[]", "prompt", "temperature", "response_format",
    "timestamp_granularities[]", "stream",
}  # fmt: skip
_BYTES_MAX = 25 * 1024 * 1024


class FakeOpenAiTranscribe(FakeVendor):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, list[str]]] = []
        """Of each request, without its file."""
        self.seconds: list[float] = []
        """Of the file of each request."""
        self.withhold_done = False
        """Answers end without their last event."""
        self.mid_error: dict[str, Any] | None = None
        """Said in the middle of an answer."""
        self.instead: str | None = None
        """Text of every answer, whatever was said."""

    def routes(self) -> Iterator[Route]:
        yield "POST", "/v1/audio/transcriptions", self.http(self.transcribe)

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _refusal(401, "invalid_api_key", "Incorrect API key provided.")
        return None

    async def transcribe(self, body: Body) -> None:
        await self.orders.hearing.wait()
        form = await body.request.post()
        fields: dict[str, list[str]] = {}
        for name, value in form.items():
            if name != "file":
                fields.setdefault(name, []).append(str(value))
        self.forms.append(fields)
        self.told()
        if set(form) - _FIELDS:
            self.violation(f"fields {sorted(set(form) - _FIELDS)}")
        model = fields.get("model", [""])[0]
        if model.startswith("no-"):
            await body.answer(404, {"error": {"code": "model_not_found", "message": "The model does not exist."}})
            return
        if "keywords[]" in fields and model != "gpt-transcribe":
            await body.answer(400, {"error": {"code": "unknown_parameter", "message": "keywords"}})
            return
        words, rate_hz, seconds = self._heard(form.get("file"))
        self.seconds.append(seconds)
        if fields.get("stream") == ["true"] and model != "whisper-1":
            await self._write(body, words, seconds)
        else:
            await self._answer(body, words, rate_hz, seconds, fields)

    def _heard(self, file: Any) -> tuple[list[Heard], int, float]:
        if not isinstance(file, web.FileField) or not file.filename.endswith(".wav"):
            self.violation("no file part with the name of a WAV file")
            return [], 16000, 0.0
        data = file.file.read()
        if len(data) > _BYTES_MAX:
            self.violation(f"{len(data)} bytes")
        with wave.open(io.BytesIO(data)) as sound:
            if (sound.getnchannels(), sound.getsampwidth()) != (1, 2):
                self.violation("audio that is not 16-bit mono")
            samples, rate_hz = sound.getnframes(), sound.getframerate()
            pcm = sound.readframes(samples)
        if len(pcm) != 2 * samples:
            self.violation("the header of the file lies about its length")
        return list(hear(pcm, rate_hz)), rate_hz, samples / rate_hz

    async def _answer(
        self, body: Body, words: list[Heard], rate_hz: int, seconds: float, fields: dict[str, list[str]]
    ) -> None:
        text = " ".join(w.text for w in words) if self.instead is None else self.instead
        told: dict[str, Any] = {"text": text, "usage": {"type": "duration", "seconds": round(seconds, 3)}}
        if fields.get("response_format") == ["verbose_json"]:
            told |= {"task": "transcribe", "language": "english", "duration": seconds}
        if fields.get("timestamp_granularities[]") == ["word"]:
            told["words"] = [
                {"word": w.text, "start": w.from_sample / rate_hz, "end": w.to_sample / rate_hz} for w in words
            ]
        await body.start(200, "application/json")
        whole = json.dumps(told)
        await body.write(whole[:10])
        await body.write(whole[10:])

    async def _write(self, body: Body, words: list[Heard], seconds: float) -> None:
        await body.start(200, "text/event-stream; charset=utf-8")
        text = ""
        for word in words:
            delta = f" {word.text}" if text else word.text
            text += delta
            await self._event(body, {"type": "transcript.text.delta", "delta": delta})
            if self.mid_error is not None:
                await self._event(body, {"type": "error", "error": self.mid_error})
                return
        audio = round(seconds * 10)
        usage = {"type": "tokens", "input_tokens": audio + 2, "output_tokens": len(words), "total_tokens": audio + 9,
                 "input_token_details": {"audio_tokens": audio, "text_tokens": 2}}  # fmt: skip
        await self._event(body, {"type": "something.new", "since": "yesterday"})
        if not self.withhold_done:
            done = {"type": "transcript.text.done", "text": text, "languages": [{"code": "en"}], "usage": usage}
            await self._event(body, done)

    async def _event(self, body: Body, event: dict[str, Any]) -> None:
        await body.write(f"data: {json.dumps(event)}\n\n")


def _refusal(status: int, code: str, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status)
