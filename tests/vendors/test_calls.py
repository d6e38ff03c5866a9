"""The example with a route for every vendor, and what `make vendors-call` takes for a call that is as it should be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from cli import configuration
from tests.vendors.calls import CONFIG, SAID, Route, problems, routeless, routes
from tests.vendors.server import KEY

ROUTE = Route("acme", "stt", "acme", 8301)
REPLIES = [f"You said: {text}." for text in SAID]
HEARD = " ".join(f"you said {text}" for text in SAID)
Change = Callable[[dict[str, Any]], None]


def test_the_example_holds_and_every_adapter_has_a_route_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_KEY", KEY)
    assert [str(problem) for problem in configuration.read(CONFIG).check().problems] == []
    known = routes(CONFIG.read_text())
    assert routeless(known) == [], "an adapter without a provider, a price and a route in examples/vendors.yaml"
    assert len({route.port for route in known}) == len({route.name for route in known}) == len(known)
    assert all(route.name == route.type for route in known)
    assert routeless(known[1:]) == [known[0].type]


def events() -> list[dict[str, Any]]:
    """A call that is as it should be, as far as it is looked at."""
    record = {
        "route": "acme", "providers": {"stt": ["acme"], "tts": ["voice"]},
        "turns": [{"turn_id": n, "text": text.capitalize()} for n, text in enumerate(SAID, 1)],
        "replies": [{"reply_id": n, "said": said} for n, said in enumerate(REPLIES, 1)],
        "cost": {"providers": {"acme": {"cost": 0.001, "currency": "USD", "estimated": False}}},
    }  # fmt: skip
    return [{"type": "session.opened"}, {"type": "session.closed", "reason": "input_ended", "stats": record}]


def test_a_call_that_is_right_has_no_problem() -> None:
    assert problems(ROUTE, events(), HEARD) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda r: r.update(route="other"), "served by", id="another route"),
        pytest.param(lambda r: r["providers"].update(stt=["acme", "spare"]), "served by", id="another took over"),
        pytest.param(lambda r: r["turns"].pop(), "turns", id="a turn is missing"),
        pytest.param(lambda r: r["turns"][0].update(text="ten of hearts"), "turns", id="another word was heard"),
        pytest.param(lambda r: r["replies"][1].update(said="You said: nothing."), "replies", id="another answer"),
        pytest.param(lambda r: r["cost"]["providers"].clear(), "cost", id="no cost"),
        pytest.param(lambda r: r.update(cost=None), "cost", id="no bill"),
        pytest.param(lambda r: r["cost"]["providers"]["acme"].update(estimated=True), "cost", id="use was not told"),
    ],
)
def test_what_is_wrong_in_the_record_is_told(change: Change, says: str) -> None:
    told = copy.deepcopy(events())
    change(told[-1]["stats"])
    assert any(text.startswith(says) for text in problems(ROUTE, told, HEARD))


def test_what_is_wrong_beside_it_is_told() -> None:
    told = events()
    assert problems(ROUTE, told[:1], "") == ["the call did not end"]
    assert problems(ROUTE, [*told[:1], {**told[1], "reason": "error"}], HEARD) == ["ended with error"]
    assert problems(ROUTE, told, HEARD.replace("queen", "")) == [f"heard {HEARD.replace('queen', '')!r}"]
    trouble = {"type": "error", "stage": "stt", "detail": "acme: lost"}
    assert problems(ROUTE, [*told, trouble], HEARD) == ["error: stt acme: lost"]
