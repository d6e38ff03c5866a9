"""Load of one pool: how long a stream asked of it now would probably take, and whether it has room at all.

    cost_s    = latency_s × (in_flight + 1)
    latency_s ← sample_s                              if sample_s > latency_s   (peak: believe bad news at once)
                latency_s·w + sample_s·(1 − w)        otherwise, w = exp(−Δt_s / decay_s)   (forget it slowly)

Units    seconds on the caller's clock; such instants never leave their process.
Raises   ValueError from `after` when time runs backwards or a sample is negative: a bug of ours.
Source   the peak-EWMA of Finagle, as carried by tower (`load/peak_ewma.rs`).
Used by  router/admit.py, to rank equals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp
from typing import NamedTuple

__all__ = ["Load", "PoolKey"]


class PoolKey(NamedTuple):
    """What a pool is kept by."""

    provider: str
    owner: str
    """A tenant whose own credential it is, or `*`."""
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What we believe about one pool's speed, and how busy it is.

    >>> calm = Load(latency_s=0.2, in_flight=0, seen_s=0.0)
    >>> calm.after(sample_s=1.0, now_s=10.0).latency_s          # a slow answer counts at once
    1.0
    """

    latency_s: float = 0.1
    """Believed time to the first result, > 0; before any sample a guess that is the same for all."""
    in_flight: int = 0
    """Streams reserved or open now."""
    bound: int | None = None
    """Streams that the pool can bear at its largest; None: not known, so never full."""
    seen_s: float = 0.0
    """Instant of the last sample."""

    @property
    def full(self) -> bool:
        return self.bound is not None and self.in_flight >= self.bound

    @property
    def cost_s(self) -> float:
        return self.latency_s * (self.in_flight + 1)

    def after(self, *, sample_s: float, now_s: float, decay_s: float = 10.0) -> Load:
        """This load once a stream took `sample_s` to its first result.

        `decay_s` is the time in which an old estimate loses all but 1/e of its weight.
        """
        if sample_s < 0 or now_s < self.seen_s:
            raise ValueError(f"sample {sample_s} at {now_s}, after one at {self.seen_s}")
        if sample_s > self.latency_s:
            return replace(self, latency_s=sample_s, seen_s=now_s)
        weight = exp(-(now_s - self.seen_s) / decay_s)
        return replace(self, latency_s=self.latency_s * weight + sample_s * (1 - weight), seen_s=now_s)
