"""From a stream of text to sentences that a voice can speak: a sentence is given as soon as its end is sure.

    text so far:  "Hello Dr. Who. It costs 3.50 eu"     sentences: "Hello Dr. Who."

Ends      . ! ? before white space, full stops of other scripts anywhere, a blank line, the line of a list or heading.
No ends   abbreviations (Dr., e.g.), initials (J. R. R.), numbers (3.5), list numbers (1.), dots of omission (...), and
          whatever has no white space behind it (URLs, versions, file names).
Stripped  markdown (emphasis, code marks, headings, bullets, quotes, link targets, rules, table bars) and emoji. Nothing
          else is lost: what is spoken is what was written, less the marks.
Bound     a sentence that reaches `max_chars` is split behind its last comma, else at its last space, else where it is.
Waiting   for the one character that decides and no longer; the same text gives the same sentences however it is cut.

Used by   the session, before a voice that takes sentences.
"""

from __future__ import annotations

import re

__all__ = ["LINK", "Splitter", "speakable"]

MAX_CHARS = 300
"""About 20 s of speech: the most a voice should be given at once."""

_HARD_STOPS = "。！？｡।॥"
"""End a sentence with or without a space behind."""
_STOPS = ".!?…؟۔" + _HARD_STOPS
_CLOSERS = "\"'”’»)]}*_~`」』）】"
_CANDIDATE = re.compile(f"[{re.escape(_STOPS)}\n]")
_LIST_NUMBER = re.compile(r"\s*(?:[>*_]+\s*)*\d{1,3}\Z")
_LAST_WORD = re.compile(r"[^\s(\[{\"'“‘«*_`]+\Z")
_MARKED_LINE = re.compile(r"\s*(?:[-+*•>|#]|```|~~~|\d{1,3}[.)](?:\s|\Z))")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_TITLES = _set(
    "dr mr mrs ms mx prof rev hon st ste mt ft gen col capt lt sgt maj cmdr gov sen rep pres "
    "fig figs eq vs cf al ca approx resp incl excl e.g i.e dept ext tel"
)
"""Never end a sentence."""
_BEFORE_NUMBER = _set("no nos nr p pp vol ch sec art par")
"""Abbreviations before a number only: no. 5."""
_MAYBE_LAST = _set(
    "inc ltd co corp jr sr bros etc a.m p.m u.s u.k e.u d.c ph.d b.a m.a jan feb mar apr jun jul aug sep sept oct nov "
    "dec mon tue tues wed thu thur thurs fri sat sun ave blvd rd hr hrs min mins sec secs lb lbs oz"
)
"""End one where a capital letter follows."""

_EMOJI = re.compile(
    "[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\U0001f000-\U0001f2ff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff"
    "\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]\u200d?"
)
LINK = re.compile(r"!?\[([^\[\]]*)\]\((?:[^()\s]|\([^()\s]*\))*(?:\s+\"[^\"]*\")?\)")
_FENCE = re.compile(r"^\s*(?:```|~~~)[\w+#.-]*[ \t]*$", re.MULTILINE)
_RULE = re.compile(r"^\s*(?:[-*_=]\s*){3,}$|^\s*\|?(?:\s*:?-{2,}:?\s*\|)+(?:\s*:?-{2,}:?)?\s*$", re.MULTILINE)
_LINE_MARK = re.compile(r"^[ \t]*(?:>[ \t]*)*(?:#{1,6}[ \t]+|[-+*•][ \t]+(?:\[[ xX]\][ \t]+)?|>[ \t]*)", re.MULTILINE)
_EMPHASIS = re.compile(
    r"(?<!\\)(?:\*\*\*|\*\*|~~|`{1,3}|(?<!\w)_{1,3}(?=\S)|(?<=\S)_{1,3}(?!\w)|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w))"
)
_BAR = re.compile(r"^[ \t]*\||\|[ \t]*$|[ \t]\|[ \t]", re.MULTILINE)
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!>~|])")
_SPACE = re.compile(r"\s+")
_MID_LINE = "\x00"
_LOOK_AHEAD = 64
"""Characters behind the bound in which the one that decides must lie."""


def speakable(text: str, *, begins_line: bool = True) -> str:
    """`text` without markdown and emoji, white space folded. A dash that begins no line is no bullet.

    >>> speakable("**Sure!** See [our page](https://example.com) \U0001f600")
    'Sure! See our page'
    """
    text = text if begins_line else _MID_LINE + text
    text = _RULE.sub(" ", _FENCE.sub(" ", text))
    text = _BAR.sub(" ", _LINE_MARK.sub("", LINK.sub(r"\1", text)))
    text = _ESCAPE.sub(r"\1", _EMPHASIS.sub("", text))
    return _SPACE.sub(" ", _EMOJI.sub("", text).removeprefix(_MID_LINE)).strip()


class Splitter:
    """Text in, sentences out; each is speakable and none is empty.

    >>> splitter = Splitter()
    >>> splitter.feed("Hello Dr. Who. How are")
    ['Hello Dr. Who.']
    >>> splitter.feed(" you?"), splitter.end()
    ([], ['How are you?'])
    """

    __slots__ = ("_at", "_begins_line", "_max_chars", "_pending", "_scan", "spans")

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        if max_chars < 20:
            raise ValueError(f"max_chars is {max_chars}; 20 is the least")
        self.spans: list[tuple[int, int]] = []
        """Where the sentences of the last `feed` or `end` lie in all the text given: (from, to) in characters."""
        self._max_chars = max_chars
        self._pending = ""
        self._at = 0
        """Offset of `_pending` in all the text."""
        self._scan = 0
        """Up to here `_pending` holds no end."""
        self._begins_line = True

    @property
    def rest(self) -> tuple[str, int, bool]:
        """The sentence that is being written: its text as it was given, up to where it surely does not end, and whether
        it begins a line."""
        return self._pending, self._scan, self._begins_line

    def feed(self, delta: str) -> list[str]:
        """The sentences that are complete now."""
        self._pending += delta
        return self._take(is_last=False)

    def end(self) -> list[str]:
        """The rest. The splitter is ready for another text, from offset 0."""
        sentences = self._take(is_last=True)
        self._pending, self._at, self._scan, self._begins_line = "", 0, 0, True
        return sentences

    def _take(self, *, is_last: bool) -> list[str]:
        sentences: list[str] = []
        self.spans = []
        while (end := self._next_end(is_last)) is not None:
            raw, self._pending = self._pending[:end], self._pending[end:]
            text = speakable(raw, begins_line=self._begins_line)
            if any(c.isalnum() for c in text):
                lead, tail = len(raw) - len(raw.lstrip()), len(raw.rstrip())
                sentences.append(text)
                self.spans.append((self._at + lead, self._at + tail))
            self._begins_line = raw.endswith("\n")
            self._at += end
            self._scan = 0
        return sentences

    def _next_end(self, is_last: bool) -> int | None:
        """Length of the next sentence in `_pending`; None where it cannot be told yet."""
        text = self._pending[: self._max_chars + _LOOK_AHEAD]
        is_last = is_last or len(text) == self._max_chars + _LOOK_AHEAD
        while (found := _CANDIDATE.search(text, self._scan, self._max_chars)) is not None:
            is_end, past = _judge(text, found.start(), is_last)
            if is_end is None:
                self._scan = found.start()
                return None
            if is_end:
                return min(past, self._max_chars)
            self._scan = past
        if len(text) > self._max_chars:
            return self._cut()
        self._scan = len(text)
        return len(text) if is_last and text else None

    def _cut(self) -> int:
        """Behind the last comma of a sentence that is too long, else its last space, in its second half."""
        head, half = self._pending[: self._max_chars], self._max_chars // 2
        for marks in (",;:，、；：،", " \t\n"):
            at = max(head.rfind(mark, half) for mark in marks)
            if at >= 0:
                return at + 1
        return self._max_chars


def _judge(text: str, at: int, is_last: bool) -> tuple[bool | None, int]:
    """Is the candidate at `at` an end (None: not known before more text comes), and where to go on behind it."""
    if text[at] == "\n":
        return _judge_newline(text, at, is_last)
    stop = at
    while stop < len(text) and text[stop] in _STOPS:
        stop += 1
    past = stop
    while past < len(text) and text[past] in _CLOSERS:
        past += 1
    if past == len(text) and not is_last:
        return None, past  # more stops or closers may come
    if any(c in _HARD_STOPS for c in text[at:stop]):
        return True, past
    if past < len(text) and not text[past].isspace():
        return False, past
    following = next((c for c in text[past:] if not c.isspace()), "")
    if not following and not is_last:
        return None, past
    return _is_end(text, at, stop, past, following), past


def _is_end(text: str, at: int, stop: int, past: int, following: str) -> bool:
    if not following:
        return True
    stops = text[at:stop]
    if "…" in stops or (len(stops) > 1 and set(stops) == {"."}):
        return False
    if _is_in_link(text[:at]):
        return False
    if "." not in stops:  # "Stop!" he said: goes on
        return not (past > stop and following.islower())
    return len(stops) > 1 or not _is_abbreviation(text[:at], following)


def _is_abbreviation(before: str, following: str) -> bool:
    if _LIST_NUMBER.match(before[before.rfind("\n") + 1 :]) and not before[: before.rfind("\n") + 1].strip():
        return True  # the number of a list's entry, at the begin of its line
    found = _LAST_WORD.search(before)
    if found is None:
        return False
    word = found.group()
    bare = word.lower()
    if len(word) == 1 and word.isalpha() and word.isupper():
        return word != "I" and (following.isupper() or not following.isalpha())
    if bare in _TITLES:
        return True
    if bare in _BEFORE_NUMBER:
        return following.isdigit()
    return bare in _MAYBE_LAST and not following.isupper()


def _is_in_link(before: str) -> bool:
    """Within the text of a link that has not been closed: [see Dr. Who. and](...)."""
    opened = before.rfind("[")
    return opened >= 0 and "]" not in before[opened:]


def _judge_newline(text: str, at: int, is_last: bool) -> tuple[bool | None, int]:
    """A line ends a sentence if a blank line or a marked one follows, or if it is marked itself."""
    line_begin = text.rfind("\n", 0, at) + 1
    if _MARKED_LINE.match(text[line_begin:at]):
        return True, at + 1
    rest = text[at + 1 :]
    head = rest.lstrip(" \t")
    if not head:
        return (True if is_last else None), at + 1
    if head[0] == "\n" or head[0] in "-+*•>|#`~":
        return True, at + 1
    if not head[0].isdigit():
        return False, at + 1
    if len(head) < 5 and "\n" not in head and not is_last:
        return None, at + 1
    return bool(_MARKED_LINE.match(head)), at + 1
