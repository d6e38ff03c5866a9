"""What a provider costs: the `prices:` block of the configuration, and amounts of a call made into money.

    cost(price, {"input_s": 90.0}) -> Decimal, or None where an amount that the price goes by is not known

A price names what the vendor bills by; amounts that it does not name cost nothing. An amount that is not known is
never taken for zero: then there is no cost. Cached tokens without a price of their own cost what others do.

Units    amounts: `input_s`, `audio_s` seconds of audio heard and given; characters; tokens. Money in `currency`.
Rounding half up, to a millionth of the currency, once for each provider: a record's lines add up to its total.
Pure. Exact: prices are taken as they are written, not as binary fractions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Annotated, Final

from annotated_types import Ge, Le
from pydantic import ConfigDict, StringConstraints

if TYPE_CHECKING:
    from router.plan import Stage

__all__ = ["AMOUNTS", "Price", "cost", "goes_by", "unknown", "wrong"]

_Money = Annotated[float, Ge(0), Le(1_000_000)]

AMOUNTS: Final = (
    "input_s", "audio_s", "characters", "tokens_in", "tokens_cached", "tokens_out", "audio_tokens_in",
    "audio_tokens_out",
)  # fmt: skip
"""All that is counted of a provider. The kinds of tokens are disjoint: a cached one is not in `tokens_in`."""
_MILLIONTH = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One provider's price; at least one of the rates is given."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] = "USD"
    """ISO 4217."""
    per_minute_in: _Money | None = None
    """Of audio that it hears."""
    per_hour_in: _Money | None = None
    per_minute_out: _Money | None = None
    """Of audio that it gives."""
    per_hour_out: _Money | None = None
    per_1k_characters: _Money | None = None
    per_1m_characters: _Money | None = None
    per_1m_tokens_in: _Money | None = None
    per_1m_tokens_cached: _Money | None = None
    per_1m_tokens_out: _Money | None = None
    per_1m_audio_tokens_in: _Money | None = None
    per_1m_audio_tokens_out: _Money | None = None


_RATES: Final[Mapping[str, tuple[str, int]]] = {
    "per_minute_in": ("input_s", 60),
    "per_hour_in": ("input_s", 3600),
    "per_minute_out": ("audio_s", 60),
    "per_hour_out": ("audio_s", 3600),
    "per_1k_characters": ("characters", 1000),
    "per_1m_characters": ("characters", 1_000_000),
    "per_1m_tokens_in": ("tokens_in", 1_000_000),
    "per_1m_tokens_cached": ("tokens_cached", 1_000_000),
    "per_1m_tokens_out": ("tokens_out", 1_000_000),
    "per_1m_audio_tokens_in": ("audio_tokens_in", 1_000_000),
    "per_1m_audio_tokens_out": ("audio_tokens_out", 1_000_000),
}
"""Rate -> the amount that it goes by, and how much of it the rate is for."""
_HAS: Final[Mapping[Stage, frozenset[str]]] = {
    "vad": frozenset(),
    "turn": frozenset(),
    "stt": frozenset({"input_s", "tokens"}),
    "agent": frozenset({"tokens"}),
    "tts": frozenset({"audio_s", "characters", "tokens"}),
    "s2s": frozenset({"input_s", "audio_s", "tokens"}),
}
"""What of a stage is ever counted, by family: the tokens are one, since who tells of some tells of all."""


def _family(amount: str) -> str:
    return "tokens" if "tokens" in amount else amount


def _rates(price: Price) -> dict[str, float]:
    return {name: rate for name in _RATES if (rate := getattr(price, name)) is not None}


def wrong(price: Price, stage: Stage) -> str | None:
    """Why this cannot be the price of a provider of `stage`; None where it can."""
    rates = _rates(price)
    if not rates:
        return f"says no price; one of {', '.join(_RATES)} is needed"
    seen: dict[str, str] = {}
    for name in rates:
        amount = _RATES[name][0]
        if _family(amount) not in _HAS[stage]:
            known = [n for n, (a, _) in _RATES.items() if _family(a) in _HAS[stage]]
            right = f"of {stage} may be said: {', '.join(known)}" if known else f"nothing of {stage} is counted"
            return f"{name} goes by what is not counted of {stage}; {right}"
        if amount in seen:
            return f"{seen[amount]} and {name} say the same twice; leave one out"
        seen[amount] = name
    return None


def unknown(price: Price, amounts: Mapping[str, float]) -> tuple[str, ...]:
    """The families of amounts that the price goes by and that are not known, in the order of `AMOUNTS`."""
    known = {_family(name) for name in amounts}
    wanted = dict.fromkeys(_family(_RATES[name][0]) for name in _rates(price))
    return tuple(family for family in wanted if family not in known)


def goes_by(price: Price) -> frozenset[str]:
    """The amounts that make the cost."""
    return frozenset(_RATES[name][0] for name in _rates(price))


def cost(price: Price, amounts: Mapping[str, float]) -> Decimal | None:
    """What these amounts cost, rounded; None where one that the price goes by is not known."""
    if unknown(price, amounts):
        return None
    rates = {_RATES[name][0]: (Decimal(repr(rate)), _RATES[name][1]) for name, rate in _rates(price).items()}
    if "tokens_cached" not in rates and "tokens_in" in rates:
        rates["tokens_cached"] = rates["tokens_in"]
    total = sum(
        (rate * Decimal(repr(amounts.get(amount, 0))) / per for amount, (rate, per) in rates.items()), Decimal(0)
    )
    return total.quantize(_MILLIONTH, ROUND_HALF_UP)
