"""From what a vendor says of the times of words, or of letters, to the words of the text that it was given.

    words = SpokenWords()
    words.add("Hello, world! ")                      the text, as it is given
    words.take("Hello", 0.0, 400.0)   -> [Timed("Hello,", 0.0, 400.0, 0, 6)]
    words.finish(14, 900.0)           -> [Timed("world!", 400.0, 900.0, 7, 13)]        all of it is spoken

A word is a run without white space, as a listener counts them. Vendors report words without their punctuation, letters
one by one, in pieces that end anywhere, and now and then leave one out: that one shares the time between its
neighbours, by length. What is reported and is not in the text is ignored.

Pure. Units: milliseconds from the reply's start, characters of the reply's text. What comes out is in order, does not
overlap, and has a length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["SpokenWords", "Timed"]

_RUN = re.compile(r"\S+")
_AHEAD = 80
"""Characters behind the present place in which a reported word is looked for: farther on it would be another one."""


@dataclass(frozen=True, slots=True)
class Timed:
    word: str
    start_ms: float
    end_ms: float
    char_from: int
    char_to: int


class SpokenWords:
    """Of one reply."""

    __slots__ = ("_at", "_end_ms", "_lower", "_next", "_since_ms", "_start_ms", "_text", "reported")

    def __init__(self) -> None:
        self.reported = False
        """The vendor has said anything since the last `finish`."""
        self._text = self._lower = ""
        self._next = 0
        """Where the first word that is not told yet begins to be looked for."""
        self._at = 0
        """Up to here the text has been reported."""
        self._since_ms = 0.0
        """The end of the last word that was told."""
        self._start_ms: float | None = None
        """Of the word that is being reported."""
        self._end_ms = 0.0

    def add(self, text: str) -> None:
        self._text += text
        lower = text.lower()
        self._lower += lower if len(lower) == len(text) else text  # a few letters become two: then as it is

    def take(self, token: str, start_ms: float, end_ms: float) -> list[Timed]:
        """A word, a part of one or a letter was spoken then; the words that are complete with it."""
        token = token.strip().lower()
        if not token or not end_ms >= start_ms >= 0.0:
            return []
        found = self._lower.find(token, self._at, self._at + _AHEAD + len(token))
        if found < 0:
            return []
        self.reported = True
        run = self._run(self._next)
        told: list[Timed] = []
        if run is not None and found >= run[1]:  # of a later word: those before it are over
            told = self._tell_up_to(found, start_ms)
        self._at = found + len(token)
        self._start_ms = start_ms if self._start_ms is None else self._start_ms
        self._end_ms = max(self._end_ms, end_ms)
        run = self._run(self._next)
        if run is not None and not any(c.isalnum() for c in self._text[self._at : run[1]]):
            self._at = run[1]
            told += self._tell(run, self._start_ms, self._end_ms)
        return told

    def finish(self, char_to: int, end_ms: float) -> list[Timed]:
        """All up to `char_to` is spoken, and ended then. Nothing is told of text of which nothing was reported."""
        told = self._tell_up_to(char_to, end_ms) if self.reported else []
        self.reported = False
        self._next = self._at = max(self._next, char_to)
        self._since_ms = max(self._since_ms, end_ms)
        self._start_ms = None
        return told

    def _run(self, at: int) -> tuple[int, int] | None:
        found = _RUN.search(self._text, at)
        return None if found is None else found.span()

    def _tell_up_to(self, char: int, end_ms: float) -> list[Timed]:
        """The words that begin before `char` and end by it, in the time until `end_ms`."""
        runs = []
        at = self._next
        while (run := self._run(at)) is not None and run[1] <= char:
            runs.append(run)
            at = run[1]
        told: list[Timed] = []
        if runs and self._start_ms is not None:  # it was begun: it has a time of its own
            told = self._tell(runs.pop(0), self._start_ms, self._end_ms)
        total = sum(b - a for a, b in runs)
        begin_ms = self._since_ms
        span_ms = max(0.0, end_ms - begin_ms)
        done = 0
        for a, b in runs:
            start_ms = begin_ms + span_ms * done / total
            done += b - a
            told += self._tell((a, b), start_ms, begin_ms + span_ms * done / total)
        return told

    def _tell(self, run: tuple[int, int], start_ms: float, end_ms: float) -> list[Timed]:
        start_ms = max(start_ms, self._since_ms)
        self._next, self._at, self._start_ms = run[1], max(self._at, run[1]), None
        if end_ms <= start_ms:
            return []
        self._since_ms = end_ms
        return [Timed(self._text[run[0] : run[1]], start_ms, end_ms, *run)]
