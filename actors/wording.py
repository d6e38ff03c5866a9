"""Nicer texts of finals: figures, capitals and full stops that a vendor adds after it has said the words.

    heard(final)         remembered: its words, its span, the turn that they went to
    formatted(to_pos)    which final is meant; the session puts the new text wherever the old one can still be read

A final is never taken back: the caller is told of the nicer text beside it (`transcript.formatted`), the turn, the
history and the call record are reworded, and nobody is asked again because of a full stop.

Units    `to_pos` in samples of the stream, media seconds in `_s`.
Full     more than `KEPT` finals: the oldest is forgotten; vendors format within a second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["KEPT", "Heard", "Wording", "swap"]

KEPT = 16


@dataclass(frozen=True, slots=True)
class Heard:
    """One final with words."""

    epoch: int
    """Of the stream that said it."""
    to_pos: int
    utt: int
    turn: int | None
    text: str
    start_s: float
    end_s: float


class Wording:
    """Of one session."""

    def __init__(self) -> None:
        self._finals: deque[Heard] = deque(maxlen=KEPT)

    def heard(self, final: Heard) -> None:
        self._finals.append(final)

    def formatted(self, epoch: int, to_pos: int, text: str) -> Heard | None:
        """The final that this is a nicer text of, once; None: there is none, or it says nothing else."""
        for final in self._finals:
            if (final.epoch, final.to_pos) == (epoch, to_pos):
                self._finals.remove(final)
                return final if text and text != final.text else None
        return None


def swap(text: str, old: str, new: str) -> str:
    """`text` with the last `old` in it that stands as whole words made `new`; as it is where there is none.

    >>> swap("no I know no one knows", "no", "No,")
    'no I know No, one knows'
    """
    at = len(text)
    while old and (at := text.rfind(old, 0, at)) >= 0:
        end = at + len(old)
        if (at == 0 or text[at - 1].isspace()) and (end == len(text) or text[end].isspace()):
            return text[:at] + new + text[end:]
        at = end - 1
    return text
