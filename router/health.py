"""When a pool is put aside, and when it is tried again: a circuit breaker with Envoy's outlier ejection.

    closed ──5 failures in a row, or half of ≥ 20 outcomes──► ejected ──30 s × times ejected──► half open
       ▲                                                                                          │ one probe
       └───────────────────────────────── it succeeds ────────────────────────────────────────────┤
                                                                       it fails: ejected, longer ◄┘

A vendor that says when to come back is believed; a credential or configuration that is wrong stays put aside until
the configuration is read again. Never the last one of a stage: that is `admit`'s rule, since a single pool's record
knows of no others. All values, no clock: the caller says what time it is.

Units    `_s` seconds on the caller's clock.
Raises   ValueError from `after` when time runs backwards: a bug of ours.
Source   Envoy, outlier_detection.proto: consecutive_5xx 5, interval 10 s, base_ejection_time 30 s times the number of
         ejections (which falls by one for each interval in health), max_ejection_time 300 s, success_rate_stdev_factor
         1900 (mean − 1.9 σ) over ≥ 5 hosts of ≥ 100 requests, max_ejection_percent 10 but always one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal, TypeVar

from router.errors import FaultKind

__all__ = ["Health", "HealthRules", "Outcome", "eject_outliers"]

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one stream went. `retry_after_s` where the vendor said when to come back."""

    kind: Literal["ok"] | FaultKind
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRules:
    """Envoy's defaults, but for `failure_share`: its failure-percentage rule, at half instead of 85 %, since five
    vendors are no fleet and a caller hears each failure."""

    consecutive_failures: int = 5
    window_s: float = 10.0
    min_outcomes: int = 20
    """Outcomes in a window and the one before, under which a share says nothing."""
    failure_share: float = 0.5
    base_ejection_s: float = 30.0
    max_ejection_s: float = 300.0
    probe_s: float = 15.0
    """A probe that has not ended by then is forgotten, and the next may go."""
    min_peers: int = 5
    peer_outcomes: int = 100
    stdev_factor: float = 1.9
    max_ejected_share: float = 0.1


RULES = HealthRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is known of one pool; every change is a new value."""

    in_a_row: int = 0
    """Failures since the last success."""
    ejections: int = 0
    """Times ejected, less one for each 30 s in health."""
    ejected_until_s: float | None = None
    """None: closed. An instant that has passed: half open."""
    latched: FaultKind | None = None
    """auth or config: no time heals it."""
    probe_until_s: float | None = None
    """A probe is under way, till then at most."""
    returned_s: float = 0.0
    """When it was last found well again."""
    window_from_s: float = 0.0
    n_ok: int = 0
    n_failed: int = 0
    n_ok_before: int = 0
    """In the window before this one."""
    n_failed_before: int = 0
    seen_s: float = 0.0

    def available(self, now_s: float) -> bool:
        """True where a stream may be asked of it: closed, or half open with no probe under way."""
        if self.latched is not None:
            return False
        if self.ejected_until_s is None:
            return True
        if now_s < self.ejected_until_s:
            return False
        return self.probe_until_s is None or now_s >= self.probe_until_s

    def half_open(self, now_s: float) -> bool:
        """True where the next stream is a probe."""
        return self.ejected_until_s is not None and self.latched is None and now_s >= self.ejected_until_s

    def probing(self, now_s: float, rules: HealthRules = RULES) -> Health:
        """This health with a probe under way from `now_s`."""
        return replace(self, probe_until_s=now_s + rules.probe_s)

    def after(self, outcome: Outcome, now_s: float, rules: HealthRules = RULES) -> Health:
        """This health once a stream ended at `now_s` with `outcome`."""
        if now_s < self.seen_s:
            raise ValueError(f"an outcome at {now_s}, after one at {self.seen_s}")
        if outcome.kind == "expired":  # a planned roll-over
            return self
        if outcome.kind in ("auth", "config"):
            return replace(self._counted(False, now_s, rules), latched=outcome.kind, probe_until_s=None)
        counted = self._counted(outcome.kind == "ok", now_s, rules)
        if outcome.kind == "ok":
            return counted._well(now_s)
        if outcome.retry_after_s is not None and outcome.kind in ("busy", "quota", "overload"):
            until_s = now_s + max(0.0, min(outcome.retry_after_s, 3600.0))
            return replace(counted, ejected_until_s=max(until_s, self.ejected_until_s or until_s), probe_until_s=None)
        if self.half_open(now_s) or (self.ejected_until_s is None and counted._is_failing(outcome, rules)):
            return counted.ejected(now_s, rules)
        return counted  # streams that were open before the ejection fail too: it is no longer for them

    def ejected(self, now_s: float, rules: HealthRules = RULES) -> Health:
        """This health put aside, for longer each time."""
        healthy_s = max(0.0, now_s - self.returned_s) if self.ejected_until_s is None else 0.0
        ejections = max(0, self.ejections - int(healthy_s / rules.base_ejection_s)) + 1
        for_s = min(rules.base_ejection_s * ejections, rules.max_ejection_s)
        return replace(self, ejections=ejections, ejected_until_s=now_s + for_s, probe_until_s=None, in_a_row=0)

    def success_share(self) -> tuple[float, int]:
        """Share of successes and number of outcomes, in this window and the one before."""
        n_ok, n_failed = self.n_ok + self.n_ok_before, self.n_failed + self.n_failed_before
        return (n_ok / (n_ok + n_failed) if n_ok + n_failed else 1.0), n_ok + n_failed

    def _is_failing(self, outcome: Outcome, rules: HealthRules) -> bool:
        if outcome.kind == "quota" or self.in_a_row >= rules.consecutive_failures:
            return True
        share, n = self.success_share()
        return n >= rules.min_outcomes and 1 - share >= rules.failure_share

    def _well(self, now_s: float) -> Health:
        if self.ejected_until_s is None:
            return self
        if now_s < self.ejected_until_s:  # a stream from before the ejection; only a probe ends it
            return self
        fresh = replace(self, n_ok=1, n_failed=0, n_ok_before=0, n_failed_before=0)  # what it failed is paid for
        return replace(fresh, ejected_until_s=None, probe_until_s=None, returned_s=now_s)

    def _counted(self, ok: bool, now_s: float, rules: HealthRules) -> Health:
        now = self
        passed = now_s - self.window_from_s
        if passed >= 2 * rules.window_s:
            now = replace(now, window_from_s=now_s, n_ok=0, n_failed=0, n_ok_before=0, n_failed_before=0)
        elif passed >= rules.window_s:
            start_s = self.window_from_s + rules.window_s
            now = replace(
                now, window_from_s=start_s, n_ok=0, n_failed=0, n_ok_before=self.n_ok, n_failed_before=self.n_failed
            )
        if ok:
            return replace(now, n_ok=now.n_ok + 1, in_a_row=0, seen_s=now_s)
        return replace(now, n_failed=now.n_failed + 1, in_a_row=now.in_a_row + 1, seen_s=now_s)


def eject_outliers(healths: Mapping[K, Health], now_s: float, rules: HealthRules = RULES) -> dict[K, Health]:
    """`healths` with those ejected whose success rate lies far under their peers'; to be asked once per window.

    `healths` are equals: pools of one type. At most a tenth of them is put aside, but always one may be, worst first,
    and never the last that is available.
    """
    made = dict(healths)
    rates = {key: h.success_share() for key, h in healths.items()}
    judged = {key: share for key, (share, n) in rates.items() if n >= rules.peer_outcomes}
    if len(judged) < rules.min_peers:
        return made
    mean = sum(judged.values()) / len(judged)
    deviation = sqrt(sum((share - mean) ** 2 for share in judged.values()) / len(judged))
    least = mean - rules.stdev_factor * deviation
    available = sum(h.available(now_s) for h in healths.values())
    allowed = max(1, int(rules.max_ejected_share * len(healths))) - (len(healths) - available)
    # The worst first; equals in the order given, so that the answer does not depend on hashing.
    for key in sorted(judged, key=lambda k: judged[k]):
        if judged[key] >= least or allowed <= 0 or available <= 1:
            break
        if made[key].available(now_s):
            made[key] = made[key].ejected(now_s, rules)
            allowed, available = allowed - 1, available - 1
    return made
