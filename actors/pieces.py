"""Text in, speakable pieces out: by words for a voice that takes a stream, by sentences for one that does not.

    deltas:  "**Sure", "!** It costs", " 3.50 eu", "ro."       pieces:  "Sure!"*  " It costs"  " 3.50 euro."*

A piece with * ends a sentence. Pieces hold their own spaces: put together as they are, they are the speakable text,
the same however the text is cut. A word is given as soon as the next one begins and no mark is open that could still
swallow it (a link, a table, a fence, a rule); marks and emoji never reach a voice.

Bound    a sentence is at most `sentences.MAX_CHARS`; `fit` cuts for voices that take less at once.
Used by  recital.py
"""

from __future__ import annotations

import re
from typing import NamedTuple

from actors.sentences import LINK, Splitter, speakable

__all__ = ["Piece", "Pieces", "fit"]

_OPEN_LINE = re.compile(r"\s*(?:[`~|]|[-*_=:|\s]*\Z)")
"""A line whose meaning is not known before its end: a fence, a table's row, and what may become a rule."""


class Piece(NamedTuple):
    """Text for the voice, with its spaces."""

    text: str
    ends: bool
    """A sentence ends with it."""


class Pieces:
    """Of one reply."""

    __slots__ = ("_any", "_given", "_splitter", "whole")

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        """Only whole sentences are given; may be changed at any time."""
        self._splitter = Splitter()
        self._given = ""
        """What was given of the sentence that is being written."""
        self._any = False
        """Something was given: sentences are parted by a space."""

    def feed(self, delta: str) -> list[Piece]:
        """The pieces that are sure now."""
        pieces = [self._rest(sentence) for sentence in self._splitter.feed(delta)]
        if not self.whole:
            raw, goes_on, begins_line = self._splitter.rest
            sure = speakable(raw[: _sure(raw, goes_on)], begins_line=begins_line)
            more = len(sure) > len(self._given) and sure.startswith(self._given)
            if more and any(c.isalnum() for c in sure):
                pieces.append(self._give(sure[len(self._given) :], ends=False))
                self._given = sure
        return pieces

    def end(self) -> list[Piece]:
        """The rest."""
        return [self._rest(sentence) for sentence in self._splitter.end()]

    def _rest(self, sentence: str) -> Piece:
        """What of this sentence was not given."""
        if sentence.startswith(self._given):
            piece = self._give(sentence[len(self._given) :], ends=True)
            self._given = ""
            return piece
        if self._given.startswith(sentence):  # one that was too long was cut before the words given last
            self._given = self._given[len(sentence) :].lstrip()
            return Piece("", True)
        same = _common_words(self._given, sentence)
        self._given = self._given[:same]
        return self._rest(sentence)

    def _give(self, text: str, *, ends: bool) -> Piece:
        if self._any and not self._given:
            text = f" {text}"
        self._any = True
        return Piece(text, ends)


def _sure(raw: str, goes_on: int) -> int:
    """How much of an unfinished sentence will not be changed by what follows: up to a space before a word.

    `goes_on`: up to here no sentence ends.
    """
    links, limit = _links(raw) if "[" in raw else ([], len(raw))
    limit = min(limit, goes_on)
    line = raw.rfind("\n") + 1
    if _OPEN_LINE.match(raw, line):
        limit = min(limit, line)
    for at in range(min(limit, len(raw) - 1) - 1, 0, -1):
        if not (raw[at].isspace() and raw[at + 1].isalnum()) or any(a < at < b for a, b in links):
            continue
        if not raw[:at].rstrip().endswith("|"):  # at the end of a text a bar is a mark
            return at
    return 0


def _links(raw: str) -> tuple[list[tuple[int, int]], int]:
    """Where whole links lie, and where a bracket opens that may become one."""
    links = [found.span() for found in LINK.finditer(raw)]
    for at, character in enumerate(raw):
        if character == "[" and not any(a <= at < b for a, b in links):
            close = raw.find("]", at)
            if close < 0 or raw[close + 1 : close + 2] in ("", "("):
                return links, at
    return links, len(raw)


def _common_words(one: str, other: str) -> int:
    """Length of what both begin with, in whole words."""
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return max(one.rfind(" ", 0, same + 1), 0)


def fit(text: str, limit: int | None) -> list[str]:
    """`text` in parts of at most `limit` characters, cut before a space where there is one; together they are the text.

    >>> fit("one two three", 8)
    ['one two', ' three']
    """
    parts = []
    while limit is not None and len(text) > limit:
        at = text.rfind(" ", 1, limit + 1)
        at = at if at > 0 else limit
        parts.append(text[:at])
        text = text[at:]
    return [*parts, text] if text else parts
