"""What OpenAI says of the items of a transcription session, made into finals in the order of the items.

An item is a stretch of audio that was committed: by us at a `finalize`, or by the vendor's turn detection. It has
deltas, which are its interim, and in the end one `completed` or `failed`. Live models write deltas of the item to come
before it is committed. The vendor does not promise that items are completed in their order.

An item that fails because the vendor has trouble ends the connection with `overload`: the line makes another one and
sends the audio again. One without words in it is an empty final.

Source   openai 3.57 (`types/realtime`). Used by actors/providers/openai_stt.py, one `Items` per connection.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_stt import SttLine
from router.errors import FaultKind, ProviderError

__all__ = ["Error", "Items", "Told", "refusal"]

_ITEMS_MAX = 256
_EARLY_MAX = 8
_EMPTY = "input_audio_buffer_commit_empty"
_KINDS: dict[str, FaultKind] = {
    "invalid_request_error": "config", "authentication_error": "auth", "permission_error": "auth",
    "rate_limit_error": "busy", "rate_limit_exceeded": "busy", "server_error": "overload",
}  # fmt: skip
"""Of `error.type`; the provider's MARKS go first."""


class Error(msgspec.Struct, frozen=True):
    type: str | None = None
    code: str | None = None
    message: str | None = None
    event_id: str | None = None

    @property
    def said(self) -> str:
        return ": ".join(filter(None, (self.code or self.type, self.message)))


class _TokenDetails(msgspec.Struct, frozen=True):
    audio_tokens: int | None = None
    text_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    type: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    input_token_details: _TokenDetails | None = None


class _Language(msgspec.Struct, frozen=True):
    code: str = ""


class Told(msgspec.Struct, frozen=True):
    """All that is read of any message."""

    type: str = ""
    item_id: str = ""
    audio_start_ms: int = 0
    audio_end_ms: int = 0
    delta: str | None = None
    transcript: str = ""
    languages: tuple[_Language, ...] | None = None
    usage: _Usage | None = None
    error: Error | None = None


@dataclass(slots=True)
class _Item:
    """A stretch of audio that was committed, on its way to be text."""

    to_s: float
    """Its end, in seconds of the connection."""
    is_asked: bool
    """Committed by us."""
    text: str = ""
    is_done: bool = False
    language: str | None = None


def refusal(vendor: Vendor, error: Error) -> ProviderError:
    """An `error` message as ours."""
    return vendor.from_message(error.said, _KINDS.get(error.type or "", "overload"))


class Items:
    """Of one connection."""

    def __init__(self, vendor: Vendor, *, writes_early: bool) -> None:
        self._vendor, self._writes_early = vendor, writes_early
        self._commits: dict[str, float] = {}
        """Ours that the vendor has not answered: event id, and where each ends. Times in seconds of the connection."""
        self._items: dict[str, _Item] = {}
        """In the order in which they were committed."""
        self._early: dict[str, str] = {}
        """What live models write of an item before it is committed."""
        self._stops: dict[str, float] = {}
        """Where the vendor heard speech stop, of items that it has not committed yet."""
        self._told_to_s = 0.0
        """Finals were told up to here."""
        self._count = 0

    @property
    def is_all_told(self) -> bool:
        """Nothing that was committed waits for its text."""
        return not self._commits and not self._items

    def commit(self, at_s: float) -> str:
        """We commit, all audio up to there. Returns the event's id. Raises ProviderError(overload) past the bound."""
        if len(self._commits) + len(self._items) >= _ITEMS_MAX:
            raise self._vendor.error("overload", f"{_ITEMS_MAX} items wait for their text")
        self._count += 1
        name = f"commit-{self._count}"
        self._commits[name] = at_s
        return name

    def stopped(self, told: Told) -> None:
        """The vendor heard speech stop: it will commit this item."""
        if len(self._stops) < _ITEMS_MAX:
            self._stops[told.item_id] = told.audio_end_ms / 1000

    def committed(self, line: SttLine, told: Told) -> None:
        line.alive()
        stopped_s = self._stops.pop(told.item_id, None)
        if stopped_s is None and not self._commits:
            line.counts.stale += 1
            return
        to_s = self._commits.pop(next(iter(self._commits))) if stopped_s is None else stopped_s
        text = self._early.pop(told.item_id, "")
        self._items[told.item_id] = _Item(min(to_s, line.sent_s), is_asked=stopped_s is None, text=text)

    def delta(self, line: SttLine, told: Told) -> None:
        delta = told.delta or ""
        if (item := self._items.get(told.item_id)) is not None:
            item.text += delta
        elif self._writes_early and line.sent_s > 0 and len(self._early) < _EARLY_MAX:
            self._early[told.item_id] = self._early.get(told.item_id, "") + delta
        else:
            line.counts.stale += 1
            return
        texts = [*(item.text for item in self._items.values()), *self._early.values()]
        line.partial(" ".join(filter(None, map(str.strip, texts))), line.pos(self._told_to_s))

    def completed(self, line: SttLine, told: Told) -> None:
        item = self._items.get(told.item_id)
        if item is None or item.is_done:
            line.counts.stale += 1
            return
        item.text, item.is_done = told.transcript, True
        item.language = told.languages[0].code or None if told.languages else None
        if told.usage is not None and told.usage.type == "tokens":
            _count_tokens(line, told.usage)
        self._settle(line)

    def failed(self, line: SttLine, told: Told) -> None:
        item, error = self._items.get(told.item_id), told.error or Error()
        if item is None:
            line.counts.stale += 1
        elif error.code == "audio_unintelligible":
            item.text, item.is_done = "", True
            self._settle(line)
        else:
            raise self._vendor.from_message(error.said, "overload")

    def refused(self, line: SttLine, told: Told) -> None:
        """An `error`: of a commit, which then is an item without words, or of the connection. Raises ProviderError."""
        error = told.error or Error()
        name = error.event_id
        if name not in self._commits and error.code == _EMPTY:
            name = next(iter(self._commits), None)
        if name not in self._commits or (error.code != _EMPTY and error.type != "invalid_request_error"):
            raise refusal(self._vendor, error)
        to_s = self._commits.pop(name)  # too little audio, or the vendor committed it a moment before
        self._items[name] = _Item(min(to_s, line.sent_s), is_asked=True, is_done=True)
        self._settle(line)

    def _settle(self, line: SttLine) -> None:
        """Tell what is done, in the order of the items. One that we have answered for does not hold up the others."""
        while self._items:
            name, item = next(iter(self._items.items()))
            to_pos = line.pos(item.to_s)
            is_answered = to_pos <= line.settled_pos and any(i.is_done for i in self._items.values())
            if not item.is_done and not is_answered:
                return
            self._items.pop(name)
            from_pos, self._told_to_s = line.pos(self._told_to_s), max(self._told_to_s, item.to_s)
            if item.is_done:
                self._tell(line, item, from_pos, to_pos)
            else:
                line.counts.stale += 1

    def _tell(self, line: SttLine, item: _Item, from_pos: int, to_pos: int) -> None:
        text = line.final(item.text.strip(), to_pos, language=item.language, from_pos=from_pos)
        asked = line.asked_pos()
        if asked is not None and to_pos >= asked:
            line.finalized(to_pos)
        if text and not item.is_asked:
            line.turn_ended(text)


def _count_tokens(line: SttLine, usage: _Usage) -> None:
    details = usage.input_token_details
    audio = details.audio_tokens or 0 if details is not None else 0
    line.used(
        audio_tokens_in=float(audio), tokens_in=float(max(0, usage.input_tokens - audio)),
        tokens_out=float(usage.output_tokens),
    )  # fmt: skip
