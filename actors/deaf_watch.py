"""Is the ear of the route deaf: the VAD hears speech, an answer was asked for, and no word came, not even an empty one.

    began, ended    speech, as the law has it
    answered        a partial, a final, a response: an empty final too, since noise that a VAD takes for speech has none
    unanswered      the law lets go of this speech, since no words came: True if that makes a deaf ear

A vendor whose decoder hangs keeps its socket open and acknowledges everything; the caller would talk to nobody for
the rest of the call. Speech of `ONCE_S`, or `IN_ALL_S` of shorter words one after the other ("hello? hello?"), is
enough; a cough is shorter than both, and an ear that works answers it with an empty final.

Units    media seconds.
"""

from __future__ import annotations

from actors.providers import interface as pi

__all__ = ["ANSWERS", "IN_ALL_S", "ONCE_S", "DeafWatch"]

ANSWERS = frozenset({
    pi.Partial, pi.Final, pi.EagerEnd, pi.VendorTurnEnded, pi.InputText, pi.ResponseStarted, pi.OutputText, pi.TtsAudio,
    pi.ToolCall,
})  # fmt: skip
"""Events of an ear or a model that show it hears. That speech began is none: a vendor's VAD is not its decoder."""

ONCE_S = 2.0
IN_ALL_S = 4.0


class DeafWatch:
    """Of one session."""

    __slots__ = ("_began_s", "_speech_s", "_unheard_s")

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._speech_s = self._unheard_s = 0.0

    def began(self, at_s: float) -> None:
        self._unheard_s += self._speech_s  # the caller went on before anybody said whether there were words
        self._began_s, self._speech_s = at_s, 0.0

    def ended(self, at_s: float) -> None:
        if self._began_s is not None:
            self._speech_s = at_s - self._began_s

    def answered(self) -> None:
        """Words, or the word that there are none. What is still being said is heard as well."""
        self._began_s, self._speech_s, self._unheard_s = None, 0.0, 0.0

    def unanswered(self) -> bool:
        """Nobody waits for the answer to the last speech any more. Asked twice about one speech, it counts once."""
        speech_s, self._speech_s, self._began_s = self._speech_s, 0.0, None
        self._unheard_s += speech_s
        return speech_s >= ONCE_S - 1e-6 or self._unheard_s >= IN_ALL_S - 1e-6
