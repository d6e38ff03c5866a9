"""Where a caller falls in an experiment: the same place for ever, on every machine.

    bucket(salt, value)            0 ≤ position < 100, uniform over values
    score(salt, arm, value, w)     −w / ln u, u = hash(salt, arm, value) in (0, 1): the arm with the highest score wins

The second is weighted rendezvous hashing: arm i wins with probability w_i / Σw, and when a weight changes, callers
only move towards arms whose share of the whole grew and only from those whose share shrank, each as few as must.
Two salts are independent, and so are a bucket and a split that share one.

Source   Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998) for rendezvous; the
         logarithmic weights after Resch and others, "Weighted rendezvous hashing" (SNIA 2015). BLAKE2b (RFC 7693),
         because Python's own `hash` differs between processes.
"""

from __future__ import annotations

from hashlib import blake2b
from math import log

from router.context import Attribute

__all__ = ["Arm", "Salt", "text_of"]

_SCALE = 2.0**-53
"""A double holds 53 bits exactly."""


def text_of(value: Attribute) -> str:
    """A value as it is hashed: `42` and `"42"` are the same caller; booleans read as in YAML and JSON."""
    if isinstance(value, str):
        return value
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


class Salt:
    """Position of a caller under one salt. Raises nothing: any text is a value."""

    __slots__ = ("_start", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._start = blake2b(b"patchbay bucket\0" + text.encode("utf-8", "surrogatepass") + b"\0", digest_size=8)

    def bucket(self, value: str) -> float:
        """0 ≤ position < 100 of `value`."""
        state = self._start.copy()
        state.update(value.encode("utf-8", "surrogatepass"))
        return (int.from_bytes(state.digest(), "big") >> 11) * _SCALE * 100.0


class Arm:
    """One arm of a split under one salt, with its weight (≥ 0)."""

    __slots__ = ("_start", "name", "weight")

    def __init__(self, salt: str, name: str, weight: float) -> None:
        self.name, self.weight = name, weight
        prefix = f"patchbay split\0{salt}\0{name}\0"
        self._start = blake2b(prefix.encode("utf-8", "surrogatepass"), digest_size=8)

    def score(self, value: str) -> float:
        """Higher wins; 0 for an arm of weight 0, which never does."""
        if not self.weight:
            return 0.0
        state = self._start.copy()
        state.update(value.encode("utf-8", "surrogatepass"))
        u = ((int.from_bytes(state.digest(), "big") >> 11) + 0.5) * _SCALE  # never 0, never 1
        return -self.weight / log(u)
