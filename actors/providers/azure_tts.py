"""Azure's speech over REST, `/cognitiveservices/v1`: SSML per sentence, raw audio read as it comes.

    voice:
      stage: tts
      type: azure-tts
      secret: env:AZURE_SPEECH_KEY
      endpoints: {"*": "https://westeurope.tts.speech.microsoft.com"}
      options: {voice: en-US-AvaNeural}

There is no address without a region, so an endpoint must be named. What the agent says is escaped: it cannot carry SSML
of its own.

Source   learn.microsoft.com: text to speech REST API, SSML, speech service quotas. Not tried against the live service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from xml.sax.saxutils import escape, quoteattr

import msgspec
from annotated_types import Ge, Le
from pydantic import Field

from actors.providers.interface import Options, TtsCapabilities
from actors.providers.vendor_json import decode
from actors.providers.vendor_pcm import check_raw
from actors.providers.vendor_tts import TtsSettings
from actors.providers.vendor_tts_http import Answer, HttpTtsProvider
from router.errors import ProviderError

__all__ = ["AzureTtsOptions", "Provider", "billed", "ssml"]

_FORMATS = {
    24000: "raw-24khz-16bit-mono-pcm",
    16000: "raw-16khz-16bit-mono-pcm",
    8000: "raw-8khz-16bit-mono-pcm",
    22050: "raw-22050hz-16bit-mono-pcm",
    44100: "raw-44100hz-16bit-mono-pcm",
    48000: "raw-48khz-16bit-mono-pcm",
}
_HAN = (("\u4e00", "\u9fff"), ("\u3400", "\u4dbf"), ("\uf900", "\ufaff"), ("\U00020000", "\U000323af"))
_TEXT_MAX = 4000
"""Characters of one request: 10 min of audio are the vendor's bound, which this is far below."""
_PATH = "/cognitiveservices/v1"

Percent = Annotated[int, Ge(-50), Le(100)]


class AzureTtsOptions(Options):
    voice: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}-[A-Za-z0-9:._-]{2,80}$")]
    """Its short name: `en-US-AvaNeural`."""
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = None
    """BCP 47, for voices that speak several. None: that of the voice."""
    style: Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,40}$")] | None = None
    """Where the voice has it: `cheerful`, `customerservice` ..."""
    style_degree: Annotated[float, Ge(0.01), Le(2)] | None = None
    rate_percent: Percent | None = None
    """Faster or slower than the voice's own."""
    pitch_percent: Annotated[int, Ge(-50), Le(50)] | None = None
    volume_percent: Annotated[int, Ge(-100), Le(100)] | None = None
    deployment_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = None
    """Of a voice of one's own."""
    rate_hz: Literal[8000, 16000, 22050, 24000, 44100, 48000] = 24000
    keep_warm_s: Annotated[float, Ge(0), Le(50)] = 45.0
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 5.0


_FIXED = frozenset({"rate_hz", "keep_warm_s", "stall_s"})


class _Voice(msgspec.Struct, frozen=True):
    ShortName: str = ""


class Provider(HttpTtsProvider[AzureTtsOptions]):
    TYPE = "azure-tts"
    DEFAULT_ENDPOINT = ""
    MARKS = {"quota": "quota"}  # noqa: RUF012
    Options = AzureTtsOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TtsCapabilities:
        voice, rate_hz = str(options.get("voice", "")), options.get("rate_hz", 24000)
        speaks_many = "Multilingual" in voice or options.get("language") is not None
        language = voice.partition("-")[0].lower()
        return TtsCapabilities(
            rates_hz=tuple(sorted(_FORMATS, key=lambda known_hz: known_hz != rate_hz)),
            languages=() if speaks_many or not language else (language,),
            takes="sentences",
            alignment=False,
            first_audio_p99_s=2.0,
            text_limit=_TEXT_MAX,
            needs_secret=True,
        )

    def settings(self, options: AzureTtsOptions) -> TtsSettings:
        return TtsSettings(stall_s=options.stall_s, text_max=_TEXT_MAX, fixed=_FIXED)

    async def check(self) -> None:
        """The key is taken, and the voice is one of the region's: the list is half a megabyte, and says so at once."""
        url = self.endpoint.http("/cognitiveservices/voices/list")
        voices = decode(self.vendor, await self.http.fetch("GET", url, headers=self._key()), list[_Voice])
        if self.options.deployment_id is None and self.options.voice not in {voice.ShortName for voice in voices}:
            raise self.vendor.error("config", f"the region has no voice {self.options.voice}")

    async def touch(self) -> None:
        """Any answer keeps the connection: the page is there for POST alone, so this one is a refusal."""
        try:
            await self.http.fetch("GET", self.endpoint.http(_PATH), headers=self._key())
        except ProviderError as error:
            if error.kind != "config":
                raise

    async def fetch(self, options: AzureTtsOptions, rate_hz: int, answer: Answer, tenant: str) -> None:
        query = [("deploymentId", options.deployment_id)] if options.deployment_id else []
        headers = {
            **self._key(), "Content-Type": "application/ssml+xml", "X-Microsoft-OutputFormat": _FORMATS[rate_hz],
        }  # fmt: skip
        content = ssml(options, answer.part.text).encode()
        url = self.endpoint.http(_PATH, query)
        answer.used({"characters": float(billed(options, answer.part.text))})
        async with self.http.stream("POST", url, headers=headers, content=content, tenant=tenant) as response:
            check_raw(answer.saying.vendor, response.headers.get("content-type", ""), rate_hz)
            async for piece in response.aiter_bytes():
                await answer.take(piece)

    def _key(self) -> dict[str, str]:
        return {"Ocp-Apim-Subscription-Key": self.key}


def ssml(options: AzureTtsOptions, text: str) -> str:
    """The document for one text, in which nothing of the text is markup."""
    language = options.language or "-".join(options.voice.split("-")[:2])
    return (
        '<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" xmlns:mstts="https://www.w3.org/2001/mstts"'
        f" xml:lang={quoteattr(language)}><voice name={quoteattr(options.voice)}>"
        f"{_styled(options, escape(_clean(text)))}</voice></speak>"
    )


def billed(options: AzureTtsOptions, text: str) -> int:
    """Characters as the vendor counts them: a Chinese one is two, whatever the language, and markup within the voice
    counts as well (page "What is text to speech?", billable characters)."""
    spoken = _clean(text)
    return len(_styled(options, spoken)) + sum(map(_is_han, spoken))


def _styled(options: AzureTtsOptions, inner: str) -> str:
    named = (("rate", options.rate_percent), ("pitch", options.pitch_percent), ("volume", options.volume_percent))
    prosody = " ".join(f'{name}="{value:+d}%"' for name, value in named if value is not None)
    if prosody:
        inner = f"<prosody {prosody}>{inner}</prosody>"
    if options.language is not None:
        inner = f"<lang xml:lang={quoteattr(options.language)}>{inner}</lang>"
    if options.style is not None:
        degree = "" if options.style_degree is None else f' styledegree="{options.style_degree:g}"'
        inner = f"<mstts:express-as style={quoteattr(options.style)}{degree}>{inner}</mstts:express-as>"
    return inner


def _clean(text: str) -> str:
    return "".join(c for c in text.strip() if _is_xml(c))


def _is_han(c: str) -> bool:
    """Of the ideographs of Unicode: the unified ones, their extensions, the compatibility forms."""
    return any(first <= c <= last for first, last in _HAN)


def _is_xml(c: str) -> bool:
    """XML 1.0 has no place for the others, not even as references."""
    return c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000"
