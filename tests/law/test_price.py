"""What a call costs: exact, rounded once, and never zero for what is not known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.bill import Bill, bill, prices_of
from cli.show import cost_line
from router.config import load
from router.plan import Candidate, RoutePlan
from router.price import Price, cost, unknown, wrong
from router.settings import SessionSettings
from tests.law.router_catalog import catalog

TABLE = """\
schema: 1
providers:
  ears: {stage: stt, type: pocketsphinx}
routes: []
default:
  use: {stt: ears, agent: echo, tts: espeak}
prices:
  ears: {per_hour_in: 0.462, currency: EUR}
  espeak: {per_1m_characters: 15}
"""


@pytest.mark.parametrize(
    ("price", "amounts", "money"),
    [
        pytest.param({"per_minute_in": 0.0077}, {"input_s": 90.0}, "0.011550", id="audio by the minute"),
        pytest.param({"per_hour_out": 0.9}, {"audio_s": 2.0}, "0.000500", id="audio by the hour"),
        pytest.param({"per_1k_characters": 0.03}, {"characters": 1234}, "0.037020", id="characters"),
        pytest.param(
            {"per_1m_tokens_in": 0.15, "per_1m_tokens_out": 0.6},
            {"tokens_in": 1000, "tokens_out": 100},
            "0.000210",
            id="tokens",
        ),
        pytest.param({"per_1m_tokens_in": 0.15}, {"tokens_out": 5}, "0.000000", id="who tells of some tokens, of all"),
        pytest.param(
            {"per_1m_tokens_in": 1.0, "per_1m_tokens_cached": 0.1},
            {"tokens_in": 10, "tokens_cached": 10},
            "0.000011",
            id="cached tokens are cheaper where it is said",
        ),
        pytest.param(
            {"per_1m_tokens_in": 1.0}, {"tokens_in": 10, "tokens_cached": 10}, "0.000020", id="and dear where it is not"
        ),
        pytest.param({"per_hour_in": 0.0}, {"input_s": 9.0}, "0.000000", id="a price of nothing is a price"),
        pytest.param({"per_1m_characters": 0.5}, {"characters": 1}, "0.000001", id="half a millionth is rounded up"),
        pytest.param({"per_1m_characters": 0.4}, {"characters": 1}, "0.000000", id="less than half is not"),
        pytest.param({"per_1k_characters": 0.1}, {"characters": 3000}, "0.300000", id="no binary fractions"),
        pytest.param({"per_minute_in": 1.0}, {"characters": 5}, None, id="an amount that is not known is not zero"),
        pytest.param({"per_minute_in": 1.0, "per_1m_tokens_in": 1.0}, {"input_s": 5}, None, id="nor is one of two"),
    ],
)
def test_amounts_become_money(price: dict[str, float], amounts: dict[str, float], money: str | None) -> None:
    made = cost(Price(**price), amounts)
    assert (None if made is None else str(made)) == money


def test_what_is_not_known_is_named_by_family() -> None:
    price = Price(per_minute_in=1, per_1m_tokens_in=1, per_1m_audio_tokens_out=1)
    assert unknown(price, {"audio_s": 3}) == ("input_s", "tokens")


@pytest.mark.parametrize(
    ("price", "stage", "says"),
    [
        pytest.param({}, "stt", "says no price", id="none at all"),
        pytest.param({"per_minute_out": 1.0}, "stt", "not counted of stt", id="an ear gives no audio"),
        pytest.param({"per_hour_in": 1.0}, "tts", "not counted of tts", id="a voice hears none"),
        pytest.param({"per_hour_in": 1.0}, "vad", "nothing of vad is counted", id="a voice detector costs nothing"),
        pytest.param({"per_hour_in": 1.0, "per_minute_in": 1.0}, "stt", "the same twice", id="twice"),
        pytest.param({"per_minute_in": 1.0, "per_minute_out": 2.0}, "s2s", None, id="a model does both"),
        pytest.param({"per_1m_tokens_in": 1.0}, "tts", None, id="some voices count tokens"),
    ],
)
def test_a_price_fits_its_stage(price: dict[str, float], stage: str, says: str | None) -> None:
    found = wrong(Price(**price), stage)  # type: ignore[arg-type]
    assert found is None if says is None else found is not None and says in found


def test_prices_are_read_checked_and_part_of_the_version() -> None:
    table = load(TABLE, "r.yaml", catalog).required()
    assert table.providers["ears"].price == Price(per_hour_in=0.462, currency="EUR")
    assert table.providers["espeak"].price == Price(per_1m_characters=15)
    assert table.providers["echo"].price is None
    assert table.default is not None
    stages, _ = table.default.stages_for("t", "r", ())
    assert stages["stt"][0].price == Price(per_hour_in=0.462, currency="EUR")
    dearer = load(TABLE.replace("15}", "16}"), "r.yaml", catalog).required()
    assert dearer.version != table.version


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param("  espeak:", "  espaek:", "r.yaml:9: prices.espaek: unknown provider `espaek`", id="nobody"),
        pytest.param("per_hour_in: 0.462", "per_hour_in: -1", "r.yaml:8: prices.ears.per_hour_in:", id="less than 0"),
        pytest.param("EUR", "Euro", "r.yaml:8: prices.ears.currency:", id="no currency"),
        pytest.param("per_1m_characters", "per_1m_character", "did you mean `per_1m_characters`", id="unknown rate"),
        pytest.param("per_1m_characters", "per_hour_in", "goes by what is not counted of tts", id="of another stage"),
        pytest.param("{per_1m_characters: 15}", "{currency: EUR}", "says no price", id="a currency alone"),
    ],
)
def test_a_wrong_price_is_told_with_its_line(old: str, new: str, says: str) -> None:
    loaded = load(TABLE.replace(old, new), "r.yaml", catalog)
    assert any(says in str(problem) for problem in loaded.errors), [str(p) for p in loaded.errors]


def plan(**prices: Price) -> RoutePlan:
    stages = {"ears": "stt", "desk": "agent", "voice": "tts"}
    return RoutePlan(
        route="r", version="v", tenant_id="t", region="e", pool_region="e", settings=SessionSettings(),
        stages={
            stage: (Candidate(stage=stage, provider=name, type=name, price=prices.get(name)),)  # type: ignore[arg-type,misc]
            for name, stage in stages.items()
        },
    )  # fmt: skip


def test_an_adapters_word_goes_before_our_own_count_which_is_marked() -> None:
    counts = Bill()
    counts.count("ears", {"input_s": 61.0})
    counts.report("stt", "ears", {"audio_s": 30.0})
    counts.report("stt", "ears", {"audio_s": 2.5})
    counts.count("voice", {"characters": 11, "audio_s": 1.0})
    counts.report("tts", "voice", {"characters": 12})
    assert counts.used() == {"ears": {"input_s": 32.5}, "voice": {"characters": 12, "audio_s": 1.0}}
    assert counts.standing_in() == {"voice": ["audio_s"]}


def test_amounts_from_outside_that_are_none_are_not_counted() -> None:
    counts = Bill()
    counts.report("agent", "desk", {"tokens_in": float("nan"), "tokens_out": -5, "gold": 7, "tokens_cached": 0})
    assert counts.used() == {"desk": {"tokens_cached": 0}}


def test_a_bill_adds_up_by_currency_and_names_what_it_cannot_say() -> None:
    prices = prices_of(
        plan(ears=Price(per_minute_in=0.006), desk=Price(per_1m_tokens_in=1), voice=Price(per_1k_characters=1))
    )
    counts = Bill()
    counts.report("stt", "ears", {"input_s": 60})
    counts.count("voice", {"characters": 20, "audio_s": 2.0})
    made = bill(counts, prices, ["ears", "desk", "voice"])
    assert made == {
        "providers": {
            "ears": {"cost": 0.006, "currency": "USD", "estimated": False},
            "voice": {"cost": 0.02, "currency": "USD", "estimated": True},
        },
        "total": {"USD": 0.026},
        "unknown": {"desk": ["tokens"]},
    }


@pytest.mark.parametrize(
    ("cost", "line"),
    [
        pytest.param(None, "", id="no prices"),
        pytest.param(
            {"providers": {"a": {"estimated": False}}, "total": {"USD": 0.00424}, "unknown": {}},
            "cost 0.0042 USD",
            id="known",
        ),
        pytest.param(
            {
                "providers": {"a": {"estimated": True}},
                "total": {"USD": 1.5, "EUR": 2.0},
                "unknown": {"desk": ["tokens"]},
            },
            "cost 1.5000 USD + 2.0000 EUR, estimated; unknown of desk",
            id="two currencies, and an agent that says nothing",
        ),
        pytest.param(
            {"providers": {}, "total": {}, "unknown": {"desk": ["tokens"]}}, "cost; unknown of desk", id="none"
        ),
    ],
)
def test_a_call_says_what_it_cost(cost: dict[str, object] | None, line: str) -> None:
    assert cost_line({"cost": cost}) == line


def test_our_own_count_marks_a_cost_only_where_the_price_goes_by_it() -> None:
    counts = Bill()
    counts.count("model", {"input_s": 8.0, "audio_s": 2.0})
    counts.report("s2s", "model", {"audio_tokens_out": 500_000})
    by_tokens = bill(counts, {"model": Price(per_1m_audio_tokens_out=64)}, ["model"])
    assert by_tokens is not None
    assert by_tokens["providers"]["model"] == {"cost": 32.0, "currency": "USD", "estimated": False}
    by_both = bill(counts, {"model": Price(per_1m_audio_tokens_out=64, per_minute_out=1)}, ["model"])
    assert by_both is not None
    assert by_both["providers"]["model"]["estimated"]


def test_without_prices_there_is_no_bill_and_no_zero() -> None:
    counts = Bill()
    counts.count("ears", {"input_s": 60})
    assert bill(counts, {}, ["ears"]) is None


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=20), st.floats(0, 100).map(lambda x: round(x, 6)))
def test_a_total_is_the_sum_of_its_lines(seconds: list[float], rate: float) -> None:
    counts = Bill()
    prices = {f"p{i}": Price(per_hour_in=rate) for i in range(len(seconds))}
    for number, value in enumerate(seconds):
        counts.report("stt", f"p{number}", {"input_s": value})
    made = bill(counts, prices, [])
    assert made is not None
    assert sum(round(line["cost"] * 1_000_000) for line in made["providers"].values()) == round(
        made["total"]["USD"] * 1_000_000
    )
