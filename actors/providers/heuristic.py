"""Is the turn over? Silence, plus what the text looks like.

    text ends with                                p_complete   wait_s
    nothing heard yet                             0.5          the session's min_s
    . ! ?  and other scripts' full stops          0.95         the session's min_s
    a filler (um, uh, er)                         0.05         3.0   the speaker is looking for words
    a word that wants another (and, to, my, the)  0.1          2.0
    , ; : - or an ellipsis                        0.2          1.5
    a number being read out (one two three)       0.4          1.0   digits come in groups
    anything else                                 0.7          the session's min_s

Fillers and joining words are looked at under a full stop, too: recognisers that punctuate put one after "and". A
question may end with a preposition (where are you from). Where the recogniser gives no punctuation (pocketsphinx), the
last row is all that can be said of an ordinary sentence, and the pause decides. The word lists are English; of other
languages only the punctuation is looked at. Waits are asked of the session, which holds them within its own bounds.

Source   the trailing-word lists follow what live captions show: function words hardly ever end an English sentence.
         The waits are choices, not measurements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Le

from actors.providers import options as stream_options
from actors.providers.interface import Assess, Assessment, Options, StreamSpec, TurnCapabilities
from actors.secrets import Secret

__all__ = ["HeuristicOptions", "Provider", "judge"]

TYPE = "heuristic"
_FULL_STOPS = frozenset(".!?。！？｡।॥؟۔…")
_OPEN_ENDS = (",", ";", ":", "-", "–", "—", "、", "，", "،", "...", "…")
_CLOSERS = "\"'”’»)]}」』）"
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FILLERS = _set("um umm uh uhh er erm hm hmm ah eh")
JOINERS = _set(
    """
    a an the and or but nor because since although though while if unless until whenever whereas whether who whose than
    as of to from with without for by at into onto upon against among between during except toward towards via per
    my your his its our their i we they he she i'm you're he's she's it's we're they're i'd i'll i've we'll we've let's
    be been being very really quite wanna gonna want
    """
)
"""Words that hardly ever end what an English speaker says; those that often do (in, on, that, is, so) are left out."""
DIGITS = _set("zero oh one two three four five six seven eight nine double")
_ASKING = _set("who whom what where when which how")
_STRANDED = _set("of to from with for by at")


def judge(text: str) -> tuple[float, float | None]:
    """(p_complete, wait_s) of what was said so far; wait_s None leaves it to the session.

    >>> judge("What time do you open?")
    (0.95, None)
    >>> judge("i would like to order a")
    (0.1, 2.0)
    """
    bare = text.rstrip().rstrip(_CLOSERS).rstrip()
    words = _WORD.findall(bare.lower().replace("’", "'"))
    if not words:
        return 0.5, None
    last = words[-1]
    if last in FILLERS and len(words) > 1:
        return 0.05, 3.0
    asks = bare[-1:] in "?？؟"
    if bare.endswith(_OPEN_ENDS):
        return 0.2, 1.5
    if last in JOINERS and not asks and not _may_end(words):
        return 0.1, 2.0
    if bare[-1] in _FULL_STOPS:
        return 0.95, None
    if last in DIGITS and len(words) > 1 and words[-2] in DIGITS:
        return 0.4, 1.0
    return 0.7, None


def _may_end(words: list[str]) -> bool:
    """A preposition ends a question that begins with its question word: what are you looking for."""
    return len(words) > 1 and words[0] in _ASKING and words[-1] in _STRANDED


class HeuristicOptions(Options):
    language: str | None = None
    """BCP 47; anything but English leaves the word lists out. None: English."""
    max_wait_s: Annotated[float, Ge(0), Le(30)] = 3.0
    """No wait is asked for that is longer."""


class Provider:
    Options = HeuristicOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TurnCapabilities:
        stream_options.parse(HeuristicOptions, TYPE, options)
        return TurnCapabilities(streams_per_actor=1000, needs_text=True, inline=True)

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        self.options = stream_options.parse(HeuristicOptions, TYPE, options)
        self._known: dict[int, HeuristicOptions] = {}

    async def warm(self) -> None:
        """Nothing."""

    async def probe(self) -> None:
        """Nothing: it runs in this process."""

    async def close(self) -> None:
        self._known.clear()

    def attach(self, spec: StreamSpec) -> None:
        self._known[spec.stream] = stream_options.parse(HeuristicOptions, TYPE, dict(self.options), spec.options)

    def detach(self, stream: int) -> None:
        self._known.pop(stream, None)

    def assess(self, questions: Sequence[Assess]) -> Sequence[Assessment]:
        return [self._assess(question) for question in questions]

    def _assess(self, question: Assess) -> Assessment:
        known = self._known.get(question.stream, self.options)
        english = known.language is None or known.language.lower().startswith("en")
        p_complete, wait_s = judge(question.text) if english else _by_punctuation(question.text)
        return Assessment(
            utt=question.utt, p_complete=p_complete, wait_s=None if wait_s is None else min(wait_s, known.max_wait_s)
        )


def _by_punctuation(text: str) -> tuple[float, float | None]:
    bare = text.rstrip().rstrip(_CLOSERS).rstrip()
    if not bare:
        return 0.5, None
    if bare.endswith(_OPEN_ENDS):
        return 0.2, 1.5
    return (0.95, None) if bare[-1] in _FULL_STOPS else (0.7, None)
