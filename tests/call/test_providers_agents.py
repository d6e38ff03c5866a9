"""The agents that ship: what they say follows from the history alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.catalog import catalog
from actors.providers import client, echo, script
from actors.providers import interface as i
from router.errors import ProviderError
from tests.simulation import simulate

DESK = """
greeting: Hello, this is Acme.
rules:
  - keywords: [hours, opening hours]
    reply: ["Nine to five.", "As I said: nine to five."]
  - keywords: [order]
    all_of: [status, my]
    reply: On its way.
  - regex: "card (?P<number>[0-9]+) of (\\\\w+)"
    reply: "{number} of {2}: {text}"
  - dtmf: "1"
    reply: One.
  - keywords: [goodbye]
    reply: Goodbye.
    hang_up: true
  - keywords: [human]
    transfer: desk
silence: ["Still there?", "Goodbye then."]
default: ["What?", "Pardon?"]
"""


def _ask(provider: Any, *said: str, cause: i.Cause = "user", before: Sequence[i.Item] = ()) -> list[i.ProviderEvent]:
    told: list[i.ProviderEvent] = []

    async def scene() -> None:
        spec = i.StreamSpec(stream=1, epoch=1, session_id="s", tenant_id="t", rate_hz=16000)
        stream = await provider.open(spec, told.append)
        history = [*before, *(i.Item(role="user", said=text) for text in said)]
        stream.reply(3, 1, tuple(history), (), cause)
        await stream.close(drain=True)

    simulate(scene())
    return told


def _said(*args: Any, **kwargs: Any) -> str:
    return "".join(event.delta for event in _ask(*args, **kwargs) if isinstance(event, i.TextDelta))


DONE = i.AgentDone(turn=3, revision=1)


def test_echo_says_what_was_said() -> None:
    provider = echo.Provider({"prefix": "I heard: "})
    assert _ask(provider, "one", "two") == [i.TextDelta(turn=3, revision=1, delta="I heard: two"), DONE]
    assert _ask(provider, cause="greeting") == [DONE]
    assert _said(echo.Provider({"greeting": "Hi."}), cause="greeting") == "Hi."


def test_the_callers_own_code_is_asked_for_nothing() -> None:
    assert client.Provider.capabilities({}).client
    assert _ask(client.Provider({}), "one") == [DONE]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        pytest.param(["what are your HOURS?"], "Nine to five.", id="a keyword in any case"),
        pytest.param(["the opening hours please"], "Nine to five.", id="a phrase"),
        pytest.param(["ours"], "What?", id="a part of a word is no word"),
        pytest.param(["order"], "What?", id="one of two conditions is not enough"),
        pytest.param(["the status of my order"], "On its way.", id="keywords and all of the others"),
        pytest.param(["Card 7 of Clubs"], "7 of clubs: Card 7 of Clubs", id="groups of a pattern, the text as said"),
        pytest.param(["card 7 of {text}"], "What?", id="what is said is no template"),
        pytest.param(["x", "hours"], "Nine to five.", id="another rule matched before"),
        pytest.param(["hours", "x", "hours"], "As I said: nine to five.", id="the rule's second time"),
        pytest.param(["hours"] * 4, "As I said: nine to five.", id="the last reply again and again"),
        pytest.param(["x", "y"], "Pardon?", id="the default's second time"),
        pytest.param(["1"], "What?", id="a spoken digit is no key"),
        pytest.param([], "", id="nothing was said"),
    ],
)
def test_the_first_rule_that_matches_answers(said: list[str], answer: str) -> None:
    assert _said(script.Provider({"script": DESK}), *said) == answer


def test_the_same_history_gives_the_same_answer_from_another_actor() -> None:
    said = ["hours", "x", "hours"]
    assert _ask(script.Provider({"script": DESK}), *said) == _ask(script.Provider({"script": DESK}), *said)


def test_it_hangs_up_and_transfers() -> None:
    desk = script.Provider({"script": DESK})
    assert _ask(desk, "goodbye then")[1:] == [i.Action(turn=3, name="hang_up"), DONE]
    assert _ask(desk, "a human!") == [i.Action(turn=3, name="transfer", value="desk"), DONE]


def test_keys_silence_and_greeting_have_their_own_answers() -> None:
    desk = script.Provider({"script": DESK})
    assert _said(desk, "1", cause="dtmf") == "One."
    assert _said(desk, cause="greeting") == "Hello, this is Acme."
    assert _said(desk, cause="silence") == "Still there?"
    prompted = [i.Item(role="user", said="hm"), i.Item(role="agent", said="Still there?")]
    assert _said(desk, cause="silence", before=prompted) == "Goodbye then."


def test_a_file_and_a_mapping_are_scripts_too(tmp_path: Path) -> None:
    path = tmp_path / "desk.yaml"
    path.write_text(DESK, encoding="utf-8")
    assert _said(script.Provider({"script": f"file:{path}"}), "hours") == "Nine to five."
    given = {"rules": [{"keywords": "hours", "reply": "All day."}]}
    assert _said(script.Provider({"script": given}), "hours") == "All day."


def test_a_route_may_bring_its_own_script() -> None:
    provider = script.Provider({"script": DESK})
    told: list[i.ProviderEvent] = []

    async def scene() -> None:
        spec = i.StreamSpec(
            stream=1, epoch=1, session_id="s", tenant_id="t", rate_hz=16000, options={"script": {"default": "Mine."}}
        )
        stream = await provider.open(spec, told.append)
        stream.reply(1, 0, (i.Item(role="user", said="hours"),), (), "user")
        assert stream.update({"script": {"default": "Changed."}, "volume": 3}) == ("volume",)
        stream.reply(2, 0, (i.Item(role="user", said="hours"),), (), "user")
        await asyncio.sleep(0)

    simulate(scene())
    assert [event.delta for event in told if isinstance(event, i.TextDelta)] == ["Mine.", "Changed."]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("rules:\n  - reply: x\n", ["desk.yaml:2", "keywords, all_of, regex or dtmf"], id="no condition"),
        pytest.param("rules:\n  - keywords: a\n", ["desk.yaml:2", "needs a reply"], id="no answer"),
        pytest.param(
            "rules:\n  - regex: '('\n    reply: x\n", ["desk.yaml:2", "no regular expression"], id="bad pattern"
        ),
        pytest.param("rules:\n  - keywords: ['?']\n    reply: x\n", ["desk.yaml:2", "word or phrase"], id="no word"),
        pytest.param(
            "rules:\n  - {dtmf: '1', keywords: a, reply: x}\n", ["desk.yaml:2", "not for both"], id="two kinds"
        ),
        pytest.param("rulez: []\n", ["desk.yaml:1", "rulez"], id="unknown key"),
        pytest.param("greeting: a\ndefault: {a: b}\nrules: 3\n", ["desk.yaml:2", "desk.yaml:3"], id="two at once"),
        pytest.param("rules: [\n", ["desk.yaml:"], id="no YAML"),
        pytest.param("", ["empty"], id="nothing"),
        pytest.param("greeting: !!python/object:os.system x\n", ["desk.yaml:1"], id="a tag that builds things"),
    ],
)
def test_a_wrong_script_is_named_with_its_line(tmp_path: Path, text: str, says: list[str]) -> None:
    path = tmp_path / "desk.yaml"
    path.write_text(text, encoding="utf-8")
    kind = catalog("script")
    assert kind is not None
    (problem,) = kind.check_options({"script": f"file:{path}"})
    assert problem.path[0] == "script"
    for part in says:
        assert part in problem.detail
    with pytest.raises(ProviderError) as caught:
        script.Provider({"script": f"file:{path}"})
    assert caught.value.kind == "config"


def test_a_script_that_is_not_there_is_an_error() -> None:
    kind = catalog("script")
    assert kind is not None
    (problem,) = kind.check_options({"script": "file:no/such/desk.yaml"})
    assert "no/such/desk.yaml: No such file" in problem.detail


def test_an_inline_script_is_wrong_at_its_path() -> None:
    kind = catalog("script")
    assert kind is not None
    (problem,) = kind.check_options({"script": {"rules": [{"keywords": "a", "reply": "b"}, {"keyword": "a"}]}})[:1]
    assert problem.path[:3] == ("script", "rules", 1)
