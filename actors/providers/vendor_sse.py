"""Server-sent events, from bytes in whatever pieces they come.

    decoder = SseDecoder(vendor)
    for event in decoder.feed(piece): ...        SseEvent(event="", data='{"id": ...}')

Lines end with LF, CR LF or CR; lines and characters may be cut anywhere. Comments (`: keep-alive`) are no events; `id`
and `retry` are not used. An event that no blank line ends is given at `end()`, as vendors' own clients do.

Bounds   an event of `EVENT_MAX` bytes.
Raises   ProviderError(protocol) for more than that and for what is no UTF-8.
Source   WHATWG HTML, 9.2.6 (interpreting an event stream).
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.providers.vendor_faults import Vendor

__all__ = ["EVENT_MAX", "SseDecoder", "SseEvent"]

EVENT_MAX = 1_048_576


@dataclass(frozen=True, slots=True)
class SseEvent:
    event: str
    data: str


class SseDecoder:
    """Of one answer."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._rest = b""
        self._after_cr = False
        self._event, self._data, self._size = "", list[str](), 0

    def feed(self, piece: bytes) -> list[SseEvent]:
        """The events that are complete now."""
        if self._after_cr and piece[:1] == b"\n":  # the second half of a CR LF that was cut
            piece = piece[1:]
        self._after_cr = self._after_cr and not piece
        self._rest += piece
        if len(self._rest) + self._size > EVENT_MAX:
            raise self._vendor.error("protocol", f"an event of more than {EVENT_MAX} bytes")
        events = []
        while (line := self._next_line()) is not None:
            event = self._take(line)
            if event is not None:
                events.append(event)
        return events

    def end(self) -> list[SseEvent]:
        """The answer is over: what no blank line has ended."""
        rest, self._rest = self._rest, b""
        if rest:
            self._take(rest)
        event = self._take(b"")
        return [] if event is None else [event]

    def _next_line(self) -> bytes | None:
        ends = [at for at in (self._rest.find(b"\n"), self._rest.find(b"\r")) if at >= 0]
        if not ends:
            return None
        at = min(ends)
        past = at + 1
        if self._rest[at : at + 1] == b"\r":
            if self._rest[past : past + 1] == b"\n":
                past += 1
            self._after_cr = past == len(self._rest) and self._rest[-1:] == b"\r"
        line, self._rest = self._rest[:at], self._rest[past:]
        return line

    def _take(self, line: bytes) -> SseEvent | None:
        if not line:
            done = SseEvent(self._event, "\n".join(self._data)) if self._data else None
            self._event, self._data, self._size = "", [], 0
            return done
        try:
            name, _, value = line.decode("utf-8").partition(":")
        except UnicodeDecodeError:
            raise self._vendor.error("protocol", "an event that is no UTF-8") from None
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(line)
        elif name == "event":
            self._event = value
        return None
