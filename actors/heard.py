"""What the caller heard of a reply: the text up to where the sound had come.

With alignment from the voice it is exact to the word; without, the share of the sentence that was played decides,
cut at a word, and the answer is marked as estimated.

Units    `_ms` of reply audio from the reply's start; characters count over the whole text given to the voice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Spoken"]

_SLACK_MS = 1.0  # word ends are rounded to milliseconds by some voices


@dataclass(slots=True)
class Spoken:
    """The text of one reply as it was given to the voice, and where each part of it lies in the audio."""

    text: str = ""
    words: list[tuple[float, int]] = field(default_factory=list)
    """(end_ms, char_to), ascending."""
    sentences: list[tuple[int, float]] = field(default_factory=list)
    """(char_to, end_ms) of each sentence whose audio is complete."""

    def heard(self, heard_ms: float, total_ms: float | None) -> tuple[str, bool]:
        """The text heard by `heard_ms`, and whether that is exact. `total_ms`: length of the whole, once known."""
        if total_ms is not None and heard_ms >= total_ms - _SLACK_MS:
            return self.text, True
        if self.words:
            ends = [char_to for end_ms, char_to in self.words if end_ms <= heard_ms + _SLACK_MS]
            return self.text[: max(ends, default=0)], True
        return self._by_duration(heard_ms, total_ms), False

    def _by_duration(self, heard_ms: float, total_ms: float | None) -> str:
        from_char, from_ms = 0, 0.0
        for char_to, end_ms in self.sentences:
            if end_ms > heard_ms:
                return self._cut(from_char, char_to, (heard_ms - from_ms) / max(end_ms - from_ms, 1.0))
            from_char, from_ms = char_to, end_ms
        if from_char >= len(self.text) or heard_ms <= from_ms:
            return self.text[:from_char]
        # the last sentence is still being made: 15 characters a second is the usual pace of speech
        length_ms = (len(self.text) - from_char) / 15 * 1000 if total_ms is None else total_ms - from_ms
        return self._cut(from_char, len(self.text), (heard_ms - from_ms) / max(length_ms, 1.0))

    def _cut(self, begin: int, end: int, share: float) -> str:
        at = begin + int((end - begin) * min(max(share, 0.0), 1.0))
        if at >= end:
            return self.text[:end]
        space = self.text.rfind(" ", begin, at + 1)
        return self.text[: max(space, begin)]
