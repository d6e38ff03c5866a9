"""Messages of Azure's speech protocol: headers as in HTTP, then a body.

    text_frame("speech.config", None, {...})          "Path:...\\r\\n...\\r\\n\\r\\n{...}"
    audio_frame(request, pcm)                         two bytes of the headers' length, the headers, the audio
    parse(vendor, message) -> Frame("speech.phrase", request_id, '{"Offset": ...}')

Header names are compared without case; a path that is missing, and headers that do not end, are protocol faults.

Source   what azure-cognitiveservices-speech 1.53 sends to a server of one's own; the protocol's page of 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import encode
from actors.providers.vendor_socket import Message

__all__ = ["Frame", "audio_frame", "now_text", "parse", "text_frame"]


@dataclass(frozen=True, slots=True)
class Frame:
    path: str
    request: str
    """Of the turn that it belongs to; empty where it belongs to none."""
    body: str


def now_text() -> str:
    """Wall clock, for the vendor's own records."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_frame(path: str, request: str | None, body: object) -> str:
    return f"{_head(path, request, 'application/json')}\r\n\r\n{encode(body)}"


def audio_frame(request: str, audio: bytes, content_type: str | None = None) -> bytes:
    """Without audio: the end of the stream."""
    head = _head("audio", request, content_type).encode("ascii") + b"\r\n"
    return len(head).to_bytes(2, "big") + head + audio


def parse(vendor: Vendor, message: Message) -> Frame:
    """Raises ProviderError(protocol)."""
    if isinstance(message, bytes):
        raise vendor.error("protocol", "a binary frame from a recogniser")
    head, ends, body = message.partition("\r\n\r\n")
    named: dict[str, str] = {}
    for line in head.split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            named[name.strip().lower()] = value.strip()
    if not ends or not named.get("path"):
        raise vendor.error("protocol", f"{len(message)} characters that are no message")
    return Frame(named["path"], named.get("x-requestid", ""), body)


def _head(path: str, request: str | None, content_type: str | None) -> str:
    lines = [f"X-Timestamp:{now_text()}", f"Path:{path}"]
    if content_type is not None:
        lines.append(f"Content-Type:{content_type}")
    if request is not None:
        lines.append(f"X-RequestId:{request}")
    return "\r\n".join(lines)
