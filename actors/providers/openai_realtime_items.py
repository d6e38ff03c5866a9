"""What a conversation with OpenAI's Realtime model consists of: stretches of the caller's speech, and answers.

    speech = CallerItems()      speech.begins("item_1", pos) ... speech.ends(...) ... speech.whole("item_1")
    answer.cuts(640.0)          [("item_7", 640), ("item_8", None)]: what of its items the caller did not hear

Pure: no clock, no I/O. Positions in samples of the session; milliseconds of an answer's own audio.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any, TypeVar

from actors.providers.openai_realtime_wire import RATE_HZ
from actors.providers.vendor_s2s import Response

__all__ = ["ASKS_MAX", "Answer", "Ask", "Asks", "CallerItems", "Part", "keep"]

ASKS_MAX = 16

ITEMS_MAX = 64
"""Of either sort: what is asked of one is asked soon."""
_END_SLACK_MS = 100.0
"""The vendor's own count of an item's audio may be so much shorter than what it sent (pipecat#2106)."""
_LEAST_MS = 1.0
_COMMIT_LEAST_S = 0.1
"""The vendor commits no less audio."""

V = TypeVar("V")


def keep(store: OrderedDict[str, V], key: str, value: V) -> None:
    """Into a store that forgets its oldest."""
    store[key] = value
    if len(store) > ITEMS_MAX:
        store.popitem(last=False)


@dataclass(slots=True)
class Ask:
    """For an answer."""

    id: str
    fields: dict[str, Any]
    response: Response | None = None
    """The one that failed, and is asked for again."""


class Asks:
    """What is asked for, one at a time: the vendor makes one answer at once."""

    def __init__(self) -> None:
        self._waiting: deque[Ask] = deque()
        self._sent: Ask | None = None
        """And not begun."""

    def __bool__(self) -> bool:
        return self._sent is not None or bool(self._waiting)

    def add(self, ask: Ask, *, first: bool = False) -> bool:
        """False: too many wait."""
        if len(self._waiting) >= ASKS_MAX:
            return False
        if first:
            self._waiting.appendleft(ask)
        else:
            self._waiting.append(ask)
        return True

    def next(self) -> Ask | None:
        """The one to send now."""
        if self._sent is not None or not self._waiting:
            return None
        self._sent = self._waiting.popleft()
        return self._sent

    def is_sent(self, id: str) -> bool:
        return self._sent is not None and self._sent.id == id

    def begun(self, id: str) -> Ask | None:
        """The vendor answers the one of that id; None: it is none of ours."""
        sent = self._sent
        if sent is None or sent.id != id:
            return None
        self._sent = None
        return sent


@dataclass(slots=True)
class Part:
    """A message of an answer."""

    item_id: str
    samples: int = 0


@dataclass(slots=True)
class Answer:
    """A response at the vendor."""

    id: str
    response: Response
    ask: Ask | None
    """Ours; None: the vendor began it itself."""
    is_live: bool = True
    parts: list[Part] = field(default_factory=list)
    called: bool = False
    heard_ms: float | None = None
    """Told, and not yet to the vendor."""

    def part(self, item_id: str) -> Part:
        found = next((part for part in reversed(self.parts) if part.item_id == item_id), None)
        if found is None:
            self.parts.append(found := Part(item_id))
        return found

    def cuts(self, heard_ms: float) -> list[tuple[str, int | None]]:
        """Items that were not heard to their end, and the milliseconds that were; None: nothing of it."""
        found: list[tuple[str, int | None]] = []
        begin_ms = 0.0
        for part in self.parts:
            length_ms = part.samples * 1000 / RATE_HZ
            left_ms = heard_ms - begin_ms
            begin_ms += length_ms
            if left_ms < max(_LEAST_MS, length_ms - _END_SLACK_MS):
                found.append((part.item_id, None if left_ms < _LEAST_MS else int(left_ms)))
        return found


class CallerItems:
    """Where each stretch of speech lies, and its words as they come."""

    def __init__(self) -> None:
        self._spans: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._commits: deque[tuple[str, int, int]] = deque(maxlen=ITEMS_MAX)
        self._given, self._given_from = 0, 0
        """Samples that were sent and are no item yet, and where they begin."""

    def given(self, samples: int) -> None:
        self._given += samples

    def starts(self, pos: int) -> None:
        """Audio goes out from here, behind what is no item yet."""
        if not self._given:
            self._given_from = pos

    def begins(self, item_id: str, pos: int) -> None:
        keep(self._spans, item_id, (pos, pos))

    def ends(self, item_id: str, pos: int, default: int) -> int:
        """Where it began; `default` where nobody knows."""
        begin, _ = self._spans.get(item_id, (default, 0))
        keep(self._spans, item_id, (begin, pos))
        return begin

    def commit(self, event_id: str, end: int) -> bool:
        """What was given becomes an item; False: it is too little for one."""
        if self._given < _COMMIT_LEAST_S * RATE_HZ:
            return False
        self._commits.append((event_id, self._given_from, end))
        self._given, self._given_from = 0, end
        return True

    def committed(self, item_id: str) -> None:
        if self._commits:
            _, begin, end = self._commits.popleft()
            keep(self._spans, item_id, (begin, end))

    def refused(self, event_id: str) -> None:
        """No item comes of that commit."""
        self._commits = deque((one for one in self._commits if one[0] != event_id), maxlen=ITEMS_MAX)

    def words(self, item_id: str, more: str) -> str:
        """All so far."""
        text = self._texts.get(item_id, "") + more
        keep(self._texts, item_id, text)
        return text.strip()

    def whole(self, item_id: str) -> tuple[int | None, int | None]:
        """Its words are all: where it lies, if anybody knows."""
        self._texts.pop(item_id, None)
        return self._spans.pop(item_id, (None, None))
