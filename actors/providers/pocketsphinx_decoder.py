"""One pocketsphinx decoder, made once and used for one utterance after another, none of which changes the next.

    ear.begin()  feed(20 ms) ...  text()  ...  end() -> Heard

A decoder adapts its cepstral mean to what it hears. `begin` sets it back to the prior below, so that an utterance is
heard the same on a fresh decoder and on one that has served ten tenants.

Numbers  0.3 s and 91 MB to make one; 0.10 to 0.17 s of CPU per second of speech, a second pass of 0.03 s more at
         `end`, all of it with the interpreter's lock held (2-core machine, pocketsphinx 5.1).
Prior    the mean of the model (40,3,-1) made 48 word errors in 400 words of four synthetic voices and 18 in 41 words of
         recorded people; the one below, averaged over utterances of both, 33 and 14.
Used by  pocketsphinx_stt.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from router.errors import ProviderError

__all__ = ["FRAME_SAMPLES", "PIECE_SAMPLES", "RATE_HZ", "Ear", "Heard"]

RATE_HZ = 16_000
PIECE_SAMPLES = RATE_HZ // 50
"""20 ms: the longest that a piece keeps the interpreter's lock is then 25 ms."""
FRAME_SAMPLES = RATE_HZ // 100
"""The decoder's own frame, in which it gives word times."""
CMN_PRIOR = "43.77,2.67,-0.31,5.34,-2.60,1.28,-0.43,-1.57,-0.34,-0.94,1.16,-0.24,0.85"
_VARIANT = re.compile(r"\(\d+\)\Z")  # the dictionary's second pronunciation: and(2)
_REST_FRAMES = 15


@dataclass(frozen=True, slots=True)
class Heard:
    """What one utterance came to."""

    text: str
    words: tuple[tuple[str, int, int], ...]
    """Word, first and last frame of 10 ms (inclusive) from the utterance's begin; fillers left out."""
    confidence: float | None
    """Mean posterior of the words, 0 to 1; None where there are none."""


class Ear:
    """One decoder. Raises ProviderError of kind `config` where it cannot be made."""

    __slots__ = ("_decoder", "is_open")

    def __init__(self) -> None:
        try:
            # Here, so that reading a configuration does not load the library.
            from pocketsphinx import Decoder

            self._decoder: Any = Decoder(samprate=float(RATE_HZ), cmninit=CMN_PRIOR, loglevel="FATAL", logfn=os.devnull)
        except (ImportError, RuntimeError, ValueError) as error:
            raise ProviderError("pocketsphinx", "config", f"no decoder: {error}") from None
        self.is_open = False

    def begin(self) -> None:
        """A new utterance, heard as if it were the first."""
        if self.is_open:
            self.end()
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self.is_open = True

    def feed(self, pcm: bytes) -> None:
        self._decoder.process_raw(pcm, False, False)

    def text(self) -> str:
        """What it is so far; may change in every word."""
        hypothesis = self._decoder.hyp()
        return str(hypothesis.hypstr) if hypothesis is not None else ""

    def is_at_rest(self) -> bool:
        """True if the last 150 ms at least are heard as silence: a place to cut where no word is."""
        segments = list(self._decoder.seg() or ())
        if not segments:
            return False
        last = segments[-1]
        return _is_filler(last.word) and bool(last.end_frame - last.start_frame >= _REST_FRAMES)

    def end(self) -> Heard:
        self.is_open = False
        self._decoder.end_utt()
        spoken = [s for s in self._decoder.seg() or () if not _is_filler(s.word)]
        words = tuple((_VARIANT.sub("", s.word), int(s.start_frame), int(s.end_frame)) for s in spoken)
        confidence = sum(min(1.0, float(s.prob)) for s in spoken) / len(spoken) if spoken else None
        return Heard(self.text(), words, confidence)


def _is_filler(word: str) -> bool:
    """<s>, </s>, <sil>, [NOISE] and ++UM++ are no words."""
    return word[:1] in "<[+"
