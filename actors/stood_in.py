"""The partial that stood in for a final: what the final still adds when it comes after all.

    told "hello my dear" (provisional), final "hello my dear friend"  ->  "friend"
    told "hello my dear",               final "Hello, my dear!"        ->  ""
    told "hello my dear",               final "yellow pages"           ->  all of it: what stood in was something else

Only a final that covers the audio of what stood in can be its final: a caller may say the same words twice.
Pure. Units: media seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["StoodIn", "same_words"]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def same_words(a: str, b: str) -> bool:
    """Alike but for case and punctuation."""
    return _words(a) == _words(b)


@dataclass(slots=True)
class StoodIn:
    """What was told in place of a final, where that speech was, and where the words stand in their turn."""

    text: str
    began_s: float
    until_s: float
    turn: Any
    index: int | None = None
    """Among the pieces of the turn; None: they are its tail still."""

    def rest(self, final: str) -> str | None:
        """What `final` says beyond it; None: it says something else."""
        told, said = _words(self.text), final.split()
        if not told or _words(final)[: len(told)] != told:
            return None
        taken: list[str] = []
        while said and len(taken) < len(told):
            taken += _words(said.pop(0))
        return " ".join(said)
