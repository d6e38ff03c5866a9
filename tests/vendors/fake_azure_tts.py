"""Azure's speech over REST, `/cognitiveservices/v1`: strict about headers and SSML, on a port of its own.

The vendor's SDK does not speak REST, only the protocol of its WebSocket. So that is here too, as far as the SDK needs
it to have a text spoken: the SSML that the SDK writes is held to the same rules as ours.

Source   protocols sheet 6.1, 6.4 and 6.5; learn.microsoft.com on SSML; what azure-cognitiveservices-speech 1.53 sends.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from aiohttp import web

from tests.vendors.peer import Body, Peer
from tests.vendors.server import KEY, FakeVendor, Route
from tests.vendors.speaker import pieces, spoken

__all__ = ["FakeAzureTts"]

_FORMATS = {
    f"raw-{name}-16bit-mono-pcm": rate
    for name, rate in (
        ("8khz", 8000), ("16khz", 16000), ("22050hz", 22050), ("24khz", 24000), ("44100hz", 44100), ("48khz", 48000),
    )
}  # fmt: skip
_VOICES = ("en-US-AvaNeural", "de-DE-KatjaNeural", "en-US-AvaMultilingualNeural")
_SSML = "{http://www.w3.org/2001/10/synthesis}"
_MSTTS = "{https://www.w3.org/2001/mstts}"
_XML = "{http://www.w3.org/XML/1998/namespace}"
_INNER = {f"{_SSML}prosody", f"{_SSML}lang", f"{_MSTTS}express-as"}


class FakeAzureTts(FakeVendor):
    unknown = None

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.documents: list[ElementTree.Element] = []
        self.lists = self.touches = 0
        self.content_type = "audio/x-wav"
        """What it is said to name raw audio, too."""

    def routes(self) -> Iterator[Route]:
        yield "POST", "/cognitiveservices/v1", self.http(self.speak)
        yield "GET", "/cognitiveservices/v1", self.http(self.touch)
        yield "GET", "/cognitiveservices/voices/list", self.http(self.voices)
        yield "GET", "/tts/cognitiveservices/websocket/v1", self.socket(self.talk, protocols=("USP",))

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Ocp-Apim-Subscription-Key") != KEY:
            return web.Response(status=401)
        if not 0 < len(request.headers.get("User-Agent", "")) < 255:
            self.violation("User-Agent")
        return None

    async def voices(self, body: Body) -> None:
        self.lists += 1
        found = [{"ShortName": name, "Locale": name[:5], "VoiceType": "Neural", "Status": "GA"} for name in _VOICES]
        await body.answer(200, json.dumps(found))

    async def touch(self, body: Body) -> None:
        self.touches += 1
        await body.answer(405, "")

    async def speak(self, body: Body) -> None:
        headers = body.request.headers
        if headers.get("Content-Type", "").partition(";")[0] != "application/ssml+xml":
            await body.answer(415, "")
            return
        rate_hz = _FORMATS.get(headers.get("X-Microsoft-OutputFormat", ""))
        if rate_hz is None:
            await body.answer(400, "unsupported output format")
            return
        text = self._text(await body.request.text())
        if text is None:
            await body.answer(400, "SSML is not valid")
            return
        self.texts.append(text)
        await body.start(200, self.content_type)
        for piece in pieces(spoken(text, rate_hz).pcm, rate_hz):
            await body.write(piece)

    async def talk(self, peer: Peer) -> None:
        """One text after the other: configuration, context, SSML; then audio in frames with headers."""
        rate_hz = 0
        while True:
            message = await peer.receive()
            head, _, body = str(message).partition("\r\n\r\n")
            named = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head.split("\r\n"))}
            self.seen[named["path"]] += 1
            if named["path"] == "synthesis.context":
                rate_hz = _FORMATS[json.loads(body)["synthesis"]["audio"]["outputFormat"]]
            elif named["path"] == "ssml":
                await self._turn(peer, named["x-requestid"], body, rate_hz)

    async def _turn(self, peer: Peer, request: str, document: str, rate_hz: int) -> None:
        text = self._text(document)
        if text is None:
            await peer.close(1007, "SSML is not valid")
            return
        self.texts.append(text)
        stream = uuid.uuid4().hex
        await peer.send(_framed("turn.start", request, {"context": {"serviceTag": stream}}))
        spoken_as = {"context": {"serviceTag": stream}, "audio": {"type": "inline", "streamId": stream}}
        await peer.send(_framed("response", request, spoken_as))
        head = f"X-RequestId:{request}\r\nContent-Type:audio/x-wav\r\nX-StreamId:{stream}\r\nPath:audio\r\n".encode()
        for piece in (*pieces(spoken(text, rate_hz).pcm, rate_hz), b""):
            await peer.send(len(head).to_bytes(2, "big") + head + piece)
        await peer.send(_framed("turn.end", request, {}))

    def _text(self, document: str) -> str | None:
        """What is to be spoken. None: the vendor would not take it."""
        try:
            root = ElementTree.fromstring(document)
        except ElementTree.ParseError:
            return None
        voices = list(root)
        if root.tag != f"{_SSML}speak" or root.get("version") != "1.0" or not root.get(f"{_XML}lang"):
            return None
        if len(voices) != 1 or voices[0].tag != f"{_SSML}voice" or voices[0].get("name") not in _VOICES:
            return None
        if {element.tag for element in voices[0].iter()} - _INNER - {f"{_SSML}voice"}:
            return None
        self.documents.append(root)
        return "".join(voices[0].itertext())


def _framed(path: str, request: str, body: dict[str, Any]) -> str:
    head = f"X-RequestId:{request}\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}"
    return f"{head}\r\n\r\n{json.dumps(body)}"
