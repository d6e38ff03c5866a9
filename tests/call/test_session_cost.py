"""The call record of a whole call: what each provider was given, what it says of itself, and what that costs."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as pi
from router.price import Price
from tests.call.scenario import Candidate, play

PRICES = {"stt": Price(per_minute_in=0.006), "tts": Price(per_1k_characters=0.1), "agent": Price(per_1m_tokens_out=1)}


def stages() -> dict[Any, tuple[Candidate, ...]]:
    names: tuple[Any, ...] = ("vad", "turn", "stt", "agent", "tts")
    return {n: (Candidate(stage=n, provider=n, type=f"fake-{n}", price=PRICES.get(n)),) for n in names}


def test_our_own_count_stands_in_and_is_marked_and_an_agent_without_usage_has_no_cost() -> None:
    call = play([(1.0, 2.0)], 6.0, stages=stages())
    record = call.closed.stats
    assert record["counted"] == {"stt": ["input_s"], "tts": ["characters", "audio_s"]}
    heard = record["used"]["stt"]["input_s"]
    assert record["cost"]["providers"]["stt"] == {
        "cost": round(heard / 60 * 0.006, 6), "currency": "USD", "estimated": True,
    }  # fmt: skip
    assert record["cost"]["providers"]["tts"]["cost"] == round(len("I heard you.") * 0.0001, 6)
    assert record["cost"]["unknown"] == {"agent": ["tokens"]}
    lines = record["cost"]["providers"].values()
    assert record["cost"]["total"] == {"USD": pytest.approx(sum(line["cost"] for line in lines))}


def test_what_the_adapters_say_goes_first() -> None:
    def report(call: Any, given: dict[str, Any]) -> None:
        given["stt"].handle.emit(pi.Usage(amounts={"audio_s": 30.0}))
        given["agent"].handle.emit(pi.Usage(amounts={"tokens_in": 50, "tokens_out": 2000}))

    call = play([(1.0, 2.0)], 6.0, stages=stages(), acts=[(3.0, report)])
    record = call.closed.stats
    assert record["used"]["stt"] == {"input_s": 30.0}
    assert record["counted"] == {"tts": ["characters", "audio_s"]}
    assert record["cost"]["providers"]["stt"] == {"cost": 0.003, "currency": "USD", "estimated": False}
    assert record["cost"]["providers"]["agent"]["cost"] == 0.002
    assert record["cost"]["unknown"] == {}


def test_without_prices_the_record_says_no_cost() -> None:
    assert play([(1.0, 2.0)], 6.0).closed.stats["cost"] is None
