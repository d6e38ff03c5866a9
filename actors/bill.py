"""What a call's providers were given and gave, and what that costs: two counts beside each other, and the bill.

    count(provider, input_s=0.02)         the session saw it go by
    report("stt", provider, {...})        the adapter says what its vendor counts
    used()   what the record holds: the adapter's word where it has spoken of an amount, else our own count
    bill()   in money, for the providers that have a price

The adapter's word goes first because the vendor bills by it: files are billed by utterance, sockets by the time they
are open. Our own count stands in and is marked, since an adapter may have died before it could say anything.

Units    amounts and rounding as in `router.price`; seconds and characters in the record rounded to a thousandth.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from router.plan import RoutePlan, Stage
from router.price import AMOUNTS, Price, cost, goes_by, unknown

__all__ = ["Bill", "bill", "prices_of"]


class Bill:
    """The counts of one call, by provider."""

    def __init__(self) -> None:
        self._counted: dict[str, Counter[str]] = {}
        self._reported: dict[str, Counter[str]] = {}

    def count(self, provider: str, amounts: Mapping[str, float]) -> None:
        self._counted.setdefault(provider, Counter()).update(amounts)

    def report(self, stage: Stage, provider: str, amounts: Mapping[str, float]) -> None:
        """An adapter's `Usage`. What has no name of ours or is no amount is not counted: it came from outside."""
        mine = self._reported.setdefault(provider, Counter())
        for name, value in amounts.items():
            if name == "audio_s" and stage == "stt":
                name = "input_s"  # of an ear, audio can only be what it heard
            if name in AMOUNTS and math.isfinite(value) and value >= 0:
                mine[name] += value  # type: ignore[assignment]

    def used(self) -> dict[str, dict[str, float]]:
        names = dict.fromkeys((*self._counted, *self._reported))
        merged = {name: {**self._of(self._counted, name), **self._of(self._reported, name)} for name in names}
        return {name: {k: round(v, 3) for k, v in amounts.items()} for name, amounts in merged.items()}

    def standing_in(self) -> dict[str, list[str]]:
        """By provider, the amounts of `used` that are our own count, because its adapter said nothing of them."""
        own = {n: [k for k in counted if k not in self._of(self._reported, n)] for n, counted in self._counted.items()}
        return {name: amounts for name, amounts in own.items() if amounts}

    @staticmethod
    def _of(counts: Mapping[str, Counter[str]], name: str) -> Mapping[str, float]:
        return counts.get(name, Counter())


def prices_of(plan: RoutePlan) -> dict[str, Price]:
    """The prices of a plan's candidates, by provider."""
    every = (candidate for candidates in plan.stages.values() for candidate in candidates)
    return {c.provider: c.price for c in every if c.price is not None}


def bill(counts: Bill, prices: Mapping[str, Price], served: Iterable[str]) -> dict[str, Any] | None:
    """Cost by provider and in all by currency; None where nobody who served has a price.

    A provider without a price, and one whose amounts are not known, is in no sum: `unknown` says which amounts.
    """
    used, own = counts.used(), counts.standing_in()
    lines: dict[str, dict[str, Any]] = {}
    lacking: dict[str, list[str]] = {}
    total: dict[str, Decimal] = {}
    for name in dict.fromkeys((*served, *used)):
        price = prices.get(name)
        if price is None:
            continue
        amounts = used.get(name, {})
        money = cost(price, amounts)
        if money is None:
            lacking[name] = list(unknown(price, amounts))
            continue
        is_estimated = not goes_by(price).isdisjoint(own.get(name, ()))
        lines[name] = {"cost": float(money), "currency": price.currency, "estimated": is_estimated}
        total[price.currency] = total.get(price.currency, Decimal(0)) + money
    if not lines and not lacking:
        return None
    sums = {currency: float(money) for currency, money in total.items()}
    return {"providers": lines, "total": sums, "unknown": lacking}
