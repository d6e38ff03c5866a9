"""OpenAI's speech, `/v1/audio/speech`, and servers that speak as it does: a request per sentence, read as it comes.

    voice: {stage: tts, type: openai-tts, secret: env:OPENAI_API_KEY, options: {voice: marin}}

Audio is 24 kHz, raw, in pieces that end anywhere. With `stream_format: sse` it comes as events, and the tokens of each
request are reported; the answer's own content type says which it is, for compatible servers do not always heed what
was asked.

Source   openai 3.57 (`types/audio/speech_create_params.py`), openai-openapi (`SpeechAudioDeltaEvent`,
         `SpeechAudioDoneEvent`). Not tried against the live service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import httpx
import msgspec
from annotated_types import Ge, Le, MaxLen
from pydantic import Field

from actors.providers.interface import Options, TtsCapabilities
from actors.providers.vendor_json import decode
from actors.providers.vendor_pcm import check_raw, from_base64
from actors.providers.vendor_sse import SseDecoder
from actors.providers.vendor_tts import TtsSettings
from actors.providers.vendor_tts_http import Answer, HttpTtsProvider
from router.errors import ProviderError

__all__ = ["OpenAiTtsOptions", "Provider"]

_RATE_HZ = 24000
_TEXT_MAX = 4096
"""Characters of one request."""


class OpenAiTtsOptions(Options):
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")] = "gpt-4o-mini-tts"
    voice: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "alloy"
    """A name, or the id of a voice of one's own (`voice_...`)."""
    instructions: Annotated[str, MaxLen(4096)] | None = None
    """How it is to speak; not with `tts-1` and `tts-1-hd`."""
    speed: Annotated[float, Ge(0.25), Le(4.0)] | None = None
    stream_format: Literal["audio", "sse"] = "audio"
    """`sse`: tokens are reported; not with `tts-1` and `tts-1-hd`."""
    auth: Literal["bearer", "api-key", "none"] = "bearer"
    probe: Literal["models", "none"] = "models"
    """What is asked to see whether the key is taken, and to keep a connection open."""
    keep_warm_s: Annotated[float, Ge(0), Le(50)] = 45.0
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 8.0


_FIXED = frozenset({"auth", "probe", "keep_warm_s", "stall_s"})


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int = 0
    output_tokens: int = 0


class _Event(msgspec.Struct, frozen=True):
    type: str = ""
    audio: str | None = None
    delta: str | None = None
    """What compatible servers call it."""
    usage: _Usage | None = None


class Provider(HttpTtsProvider[OpenAiTtsOptions]):
    TYPE = "openai-tts"
    DEFAULT_ENDPOINT = "https://api.openai.com/v1"
    NEEDS_SECRET = False  # `auth: none` needs none; see `__init__`
    MARKS: ClassVar = {"insufficient_quota": "quota", "credit": "quota", "overloaded": "overload"}
    Options = OpenAiTtsOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TtsCapabilities:
        return TtsCapabilities(
            rates_hz=(_RATE_HZ,),
            takes="sentences",
            alignment=False,
            first_audio_p99_s=4.0,
            text_limit=_TEXT_MAX,
            needs_secret=options.get("auth", "bearer") != "none",
        )

    def __init__(self, options: Mapping[str, Any], secret: Any, endpoint: str | None) -> None:
        super().__init__(options, secret, endpoint)
        if self.options.auth != "none" and secret is None:
            raise self.vendor.error("config", "needs a secret and none is named; `auth: none` needs none")

    def settings(self, options: OpenAiTtsOptions) -> TtsSettings:
        return TtsSettings(stall_s=options.stall_s, text_max=_TEXT_MAX, fixed=_FIXED)

    async def check(self) -> None:
        """The model is known and the key is taken. A compatible server that has no such page is none the worse."""
        if self.options.probe == "none":
            return
        try:
            url = self.endpoint.http(f"/models/{self.options.model}")
            await self.http.fetch("GET", url, headers=self._headers())
        except ProviderError as error:
            if "HTTP 404" not in error.detail or "model" in error.detail.partition("HTTP 404")[2].lower():
                raise

    async def fetch(self, options: OpenAiTtsOptions, rate_hz: int, answer: Answer, tenant: str) -> None:
        url, body = self.endpoint.http("/audio/speech"), _body(options, answer.part.text)
        async with self.http.stream("POST", url, headers=self._headers(), json=body, tenant=tenant) as response:
            kind = response.headers.get("content-type", "")
            if kind.partition(";")[0].strip().lower() == "text/event-stream":
                await self._events(response, answer)
                return
            check_raw(answer.saying.vendor, kind, rate_hz)
            async for piece in response.aiter_bytes():
                await answer.take(piece)

    async def _events(self, response: httpx.Response, answer: Answer) -> None:
        decoder = SseDecoder(answer.saying.vendor)
        async for piece in response.aiter_bytes():
            for event in decoder.feed(piece):
                await self._event(event.data, answer)
        for event in decoder.end():
            await self._event(event.data, answer)

    async def _event(self, data: str, answer: Answer) -> None:
        if data == "[DONE]":
            return
        vendor = answer.saying.vendor
        told = decode(vendor, data, _Event)
        if told.type == "speech.audio.delta":
            await answer.take(from_base64(vendor, told.audio or told.delta or ""))
        elif told.type == "speech.audio.done":
            if told.usage is not None:
                used = {"tokens_in": told.usage.input_tokens, "audio_tokens_out": told.usage.output_tokens}
                answer.used({name: float(count) for name, count in used.items()})
        elif told.type == "error":
            raise vendor.from_status(500, {}, data)
        else:
            self.counts.unknown += 1

    def _headers(self) -> dict[str, str]:
        if self.options.auth == "none":
            return {}
        return {"Authorization": f"Bearer {self.key}"} if self.options.auth == "bearer" else {"api-key": self.key}


def _body(options: OpenAiTtsOptions, text: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": options.model,
        "input": text.strip(),
        "voice": {"id": options.voice} if options.voice.startswith("voice_") else options.voice,
        "response_format": "pcm",
    }
    for name in ("instructions", "speed"):
        if getattr(options, name) is not None:
            body[name] = getattr(options, name)
    if options.stream_format == "sse":
        body["stream_format"] = "sse"
    return body
