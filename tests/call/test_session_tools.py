"""Tools in a conversation, in virtual time: what is asked when, what the history has, and who goes on."""

from __future__ import annotations

from typing import Any

import pytest

from actors import events as ev
from actors.providers.fake import FakeAgent, FakeTts
from actors.providers.interface import Action, EagerEnd, Item, Resumed, ToolCall
from router.plan import Candidate
from router.settings import SessionSettings
from tests.call.scenario import Played, op, plan_of, play, providers
from tests.call.test_session_authority import ended, vendor, vendor_says
from tests.call.tool_double import NEVER_S, EnglishEar, FakeTools, StubbornVoice, calls

SPOKEN = (1.0, 2.0)


def agent_of(*answers: Any) -> dict[str, Any]:
    """Providers whose agent answers so, call by call."""
    given = providers()
    given["agent"].handle.answer(*answers)
    return given


def asked(call: Played, agent: str = "agent") -> list[tuple[Any, ...]]:
    """What the agent was asked: turn, revision, history, tools, cause."""
    found: list[tuple[Any, ...]] = call.providers[agent].handle.calls("reply")
    return found


def asked_s(call: Played, agent: str = "agent") -> list[float]:
    return [round(got.at_s, 2) for got in call.providers[agent].handle.received if got.name == "reply"]


def story(items: tuple[Item, ...]) -> list[tuple[str, str]]:
    return [(item.role, item.said) for item in items]


def results(call: Played) -> list[tuple[str, bool, str]]:
    return [(e.call_id, e.ok, e.why) for e in call.of("tool.result")]


def test_the_agent_speaks_on_when_its_tool_has_answered() -> None:
    tools = FakeTools(status=(3.0, "on its way"))
    given = agent_of(["Let me look.", calls("status", order="17")], "It is on its way.")
    call = play([SPOKEN], 9.0, given=given, offers=tools.specs, tools=tools)
    assert call.story(
        "speech.started", "speech.stopped", "transcript.final", "turn.latency", "agent.text", "session.closed"
    ) == [
        (0.0, "session.opened"),
        (2.5, "turn.ended"),
        (2.5, "tool.called"),
        (2.5, "voice.started"),  # what it said before is spoken while the tool runs
        (5.5, "tool.result"),
        (call.of("voice.stopped")[0].t, "voice.stopped"),
    ]
    first, second = asked(call)
    assert (first[4], second[4], asked_s(call)) == ("user", "tool", [2.5, 5.5])
    assert [tool.name for tool in first[3]] == [tool.name for tool in second[3]] == ["status"]
    assert second[2][1:] == (
        Item(
            role="tool", said="on its way", call_id="c1", name="status", args={"order": "17"}, ok=True,
            before="Let me look.",
        ),
    )  # fmt: skip
    called, result = call.of("tool.called")[0], call.of("tool.result")[0]
    assert (called.turn_id, called.call_id, called.name, called.args) == (1, "c1", "status", {"order": "17"})
    assert (result.name, result.ok, result.why, result.ms) == ("status", True, "done", 3000.0)
    assert call.of("voice.stopped")[0].said == "Let me look. It is on its way."
    assert call.record["tools"] == {"status": {"calls": 1, "done": 1, "ms": 3000}}


def test_a_tool_is_told_which_call_it_is() -> None:
    tools = FakeTools(status=(0.1, "yes"))
    given = agent_of(calls("status"), "Yes.", calls("status"), "Yes again.")
    call = play([SPOKEN, (4.0, 5.0)], 8.0, given=given, offers=tools.specs, tools=tools, session_id="s-1")
    assert [(o.key, o.session_id, o.tenant_id, o.turn, o.id) for o in tools.ops] == [
        ("s-1:1:c1", "s-1", "t", 1, "c1"),
        ("s-1:2:c1.2", "s-1", "t", 2, "c1.2"),  # an id that the model uses twice
    ]
    assert len(asked(call)) == 4


def test_an_id_that_no_header_could_hold_is_made_plain_and_the_model_hears_its_own() -> None:
    tools = FakeTools(status=(0.1, "yes"))
    given = agent_of([calls("status", "a\r\nX: ü" + "y" * 100), calls("status", "")], "Yes.")
    call = play([SPOKEN], 5.0, given=given, offers=tools.specs, tools=tools)
    assert [o.key for o in tools.ops] == ["local:1:a__X:__" + "y" * 57, "local:1:call"]
    assert [args[1] for args in given["agent"].handle.calls("tool_result")] == ["a\r\nX: ü" + "y" * 100, ""]
    assert [e.call_id for e in call.of("tool.result")] == ["a__X:__" + "y" * 57, "call"]


def test_the_history_has_the_whole_reply_once_it_is_over() -> None:
    tools = FakeTools(status=(0.1, "yes"))
    given = agent_of(["One moment.", calls("status")], "Yes.", "Bye.")
    call = play([SPOKEN, (5.0, 6.0)], 8.0, given=given, offers=tools.specs, tools=tools)
    history = asked(call)[-1][2]
    assert story(history) == [
        ("user", "hello world"), ("tool", "yes"), ("agent", "One moment. Yes."), ("user", "hello world"),
    ]  # fmt: skip
    assert history[1].before == ""


def test_calls_of_one_round_run_side_by_side_and_the_agent_is_asked_once() -> None:
    tools = FakeTools(status=(2.0, "late"), book=(1.0, "failed", "no table"))
    given = agent_of([calls("status", "a"), calls("book", "b")], "So.")
    call = play([SPOKEN], 7.0, given=given, offers=tools.specs, tools=tools)
    assert call.times("tool.called") == [2.5, 2.5]
    assert results(call) == [("b", False, "failed"), ("a", True, "done")]
    assert asked_s(call) == [2.5, 4.5]
    assert [(i.name, i.said, i.ok) for i in asked(call)[1][2][1:]] == [
        ("status", "late", True),
        ("book", "no table", False),
    ]
    told = given["agent"].handle.calls("tool_result")
    assert told == [(1, "a", "late", True), (1, "b", "no table", False)]


def test_several_rounds_and_then_no_more() -> None:
    tools = FakeTools(status=(0.5, "again"))
    given = agent_of(*[calls("status", f"c{n}") for n in range(4)])
    settings = SessionSettings(tool_rounds=2)
    call = play([SPOKEN], 8.0, settings=settings, given=given, offers=tools.specs, tools=tools)
    assert asked_s(call) == [2.5, 3.0, 3.5]
    assert [len(ask[3]) for ask in asked(call)] == [1, 1, 0]  # with the last results nothing is offered
    assert [o.id for o in tools.ops] == ["c0", "c1"]
    assert results(call)[2] == ("c2", False, "failed")
    (error,) = call.of("error")
    assert (error.kind, error.detail) == ("overload", "tools were called more than 2 times in one turn")


def test_no_rounds_no_tools() -> None:
    tools = FakeTools(status=(0.5, "again"))
    given = agent_of(calls("status"))
    call = play([SPOKEN], 5.0, settings=SessionSettings(tool_rounds=0), given=given, offers=tools.specs, tools=tools)
    assert (tools.ops, [ask[3] for ask in asked(call)]) == ([], [()])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(calls("stats"), "there is no tool 'stats'; there are: status", id="an unknown tool"),
        pytest.param(calls("status", order="x" * 20_000), "the arguments are longer than 16384 bytes", id="too long"),
        pytest.param([calls("status", f"c{n}") for n in range(17)], "16 calls at once are the most", id="too many"),
    ],
)
def test_a_call_that_is_not_run_is_told_why(answer: Any, says: str) -> None:
    tools = FakeTools(status=(0.1, "yes"))
    call = play([SPOKEN], 5.0, given=agent_of(answer, "Well."), offers=tools.specs, tools=tools)
    last = asked(call)[1][2][-1]
    assert (last.said, last.ok) == (says, False)
    assert results(call)[-1][1] is True or len(results(call)) == 1
    assert call.of("voice.stopped")[0].said == "Well."
    assert all(len(str(e.args)) < 20_000 for e in call.of("tool.called"))


def test_a_tool_whose_actor_says_nothing_is_not_waited_for() -> None:
    tools = FakeTools(status=(NEVER_S, "never"))
    call = play([SPOKEN], 12.0, given=agent_of(calls("status"), "Sorry."), offers=tools.specs, tools=tools)
    assert [round(t, 1) for t in call.times("tool.result")] == [8.5]  # its own 5 s, and one for the way
    assert results(call) == [("c1", False, "timeout")]
    assert call.of("voice.stopped")[0].said == "Sorry."


def test_nobody_says_that_an_agent_is_silent_while_its_tool_runs() -> None:
    tools = FakeTools(status=(4.9, "late"))
    call = play([SPOKEN], 12.0, given=agent_of(calls("status"), "Now."), offers=tools.specs, tools=tools)
    assert not call.of("provider.changed")
    assert not call.of("error")
    assert asked_s(call) == [2.5, 7.4]


def test_after_an_interruption_the_tool_finishes_and_nobody_is_asked_to_go_on() -> None:
    tools = FakeTools(status=(4.0, "on its way"))
    tale = "This takes a while and I tell you so at some length, since you wait."
    given = agent_of([tale, calls("status")], "I am here.", "Yes?")
    call = play([SPOKEN, (3.0, 4.2), (8.0, 9.0)], 11.0, given=given, offers=tools.specs, tools=tools)
    assert call.of("voice.stopped")[0].why == "interrupted"
    assert call.times("tool.result") == [6.5]
    assert [ask[4] for ask in asked(call)] == ["user", "user", "user"]
    second, third = asked(call)[1][2], asked(call)[2][2]
    assert (second[1].role, second[1].said, second[1].ok) == ("tool", "", None)  # it runs still
    assert (third[1].said, third[1].ok) == ("on its way", True)


def test_words_before_the_reply_was_heard_join_the_turn_and_the_call_is_in_the_history() -> None:
    tools = FakeTools(status=(3.0, "on its way"))
    given = agent_of(calls("status"), "I see.")
    call = play([SPOKEN, (2.8, 3.6)], 8.0, given=given, offers=tools.specs, tools=tools)
    assert [(ask[0], ask[1], ask[4]) for ask in asked(call)] == [(1, 0, "user"), (1, 1, "user")]
    assert story(asked(call)[1][2]) == [("user", "hello world hello world"), ("tool", "")]
    assert results(call) == [("c1", True, "done")]


def test_a_call_does_not_close_before_the_tool_was_spoken_about() -> None:
    tools = FakeTools(status=(3.0, "yes"))
    given = agent_of(calls("status"), "Yes.")
    acts = [op(2.4, ev.EndInput())]
    call = play([SPOKEN], 20.0, given=given, offers=tools.specs, tools=tools, acts=acts, mode="file")
    assert call.of("voice.stopped")[0].said == "Yes."
    assert call.closed.reason == "input_ended"


def test_in_lockstep_time_stands_still_while_a_tool_runs() -> None:
    tools = FakeTools(status=(3.0, "yes"))
    given, acts = agent_of(calls("status"), "Yes."), [op(2.4, ev.EndInput())]
    call = play([SPOKEN], 9.0, given=given, offers=tools.specs, tools=tools, mode="lockstep", acts=acts)
    called, result = call.of("tool.called")[0], call.of("tool.result")[0]
    assert result.t - called.t < 0.1
    assert call.of("voice.stopped")[0].said == "Yes."


@pytest.mark.parametrize("answer", [calls("status"), Action(turn=0, name="transfer", value="desk")])
@pytest.mark.parametrize("is_taken_back", [True, False])
def test_for_what_may_be_taken_back_nothing_is_done(answer: Any, is_taken_back: bool) -> None:
    """The vendor's eager end: the agent thinks; what it wants done waits for the gate."""
    tools = FakeTools(status=(0.1, "yes"))
    scene = vendor()
    scene["given"]["agent"].handle.answer([answer], "Yes.", "Yes.")
    then: tuple[Any, ...] = (Resumed(),) if is_taken_back else ended("i want it", 2.2)
    acts = [vendor_says(2.2, EagerEnd(text="i want it")), vendor_says(2.6, *then)]
    call = play([SPOKEN], 4.0, offers=tools.specs, tools=tools, acts=acts, **scene)
    done = [*call.times("tool.called"), *call.times("agent.action")]
    assert done == ([] if is_taken_back else [2.6])
    assert len(tools.ops) == (isinstance(answer, ToolCall) and not is_taken_back)


# -------------------------------------------------------------------------------------------------- who runs it dies


def two_agents(tools: FakeTools, *answers: Any) -> Played:
    given = {**providers(), "agent": FakeAgent({}), "second": FakeAgent({})}
    given["agent"].handle.answer(*answers)
    given["second"].handle.answer("Sorry for that.")
    stages = plan_of(SessionSettings()).stages
    stages["agent"] = tuple(Candidate(stage="agent", provider=n, type="fake-agent") for n in ("agent", "second"))
    dies = (3.0, lambda _, given: given["agent"].handle.fail("connect"))
    return play([SPOKEN], 9.0, given=given, stages=stages, offers=tools.specs, tools=tools, acts=[dies])


def test_the_next_agent_is_told_that_nobody_knows_what_came_of_a_call() -> None:
    tools = FakeTools(status=(2.0, "on its way"))
    call = two_agents(tools, calls("status"))
    assert results(call) == [("c1", False, "failed")]
    ((_, _, history, _, cause),) = asked(call, "second")
    assert (cause, history[-1].said) == ("tool", "nobody knows what came of it: it may have been done")
    assert len(tools.ops) == 1
    assert call.of("voice.stopped")[0].said == "Sorry for that."


def test_an_idempotent_tool_is_run_again_with_the_same_key() -> None:
    tools = FakeTools(idempotent=True, status=(2.0, "on its way"))
    call = two_agents(tools, calls("status"))
    assert [o.key for o in tools.ops] == ["local:1:c1", "local:1:c1"]
    assert results(call) == [("c1", True, "done")]
    assert asked_s(call, "second") == [5.0]
    assert asked(call, "second")[0][2][-1].said == "on its way"


def test_an_agent_that_dies_after_its_tools_leaves_the_next_one_the_results() -> None:
    tools = FakeTools(status=(0.3, "on its way"))
    given = {**providers(), "agent": FakeAgent({"stall_after": 1}), "second": FakeAgent({})}
    given["agent"].handle.answer(["I look.", calls("status")])
    given["second"].handle.answer("It comes.")
    stages = plan_of(SessionSettings()).stages
    stages["agent"] = tuple(Candidate(stage="agent", provider=n, type="fake-agent") for n in ("agent", "second"))
    dies = (4.0, lambda _, given: given["agent"].handle.fail("connect"))
    call = play([SPOKEN], 9.0, given=given, stages=stages, offers=tools.specs, tools=tools, acts=[dies])
    ((_, _, history, _, cause),) = asked(call, "second")
    assert (cause, history[-1].said, history[-1].before) == ("tool", "on its way", "I look.")
    assert call.of("voice.stopped")[0].said == "I look. It comes."


# --------------------------------------------------------------------------------------------------------- actions


@pytest.mark.parametrize("says", ["Goodbye then.", ""])
def test_a_model_hangs_up_with_a_tool_and_is_not_asked_for_more(says: str) -> None:
    answer = [says, calls("hang_up")] if says else [calls("hang_up")]
    call = play([SPOKEN], 9.0, given=agent_of(answer), offers=FakeTools().with_actions(), tools=FakeTools())
    assert call.closed.reason == "agent_hung_up"
    assert [e.heard for e in call.of("voice.stopped")] == ([says] if says else [])
    assert len(asked(call)) == 1
    assert results(call) == [("c1", True, "done")]
    assert [(e.name, e.turn_id, e.reply_id) for e in call.of("agent.action")] == [("hang_up", 1, 1)]


@pytest.mark.parametrize(("says", "asks"), [("One moment.", 1), ("", 2)])
def test_a_transfer_is_the_applications_to_do(says: str, asks: int) -> None:
    answer = [says, calls("transfer", to="desk 4")] if says else [calls("transfer", to="desk 4")]
    given = agent_of(answer, "You are being put through.")
    call = play([SPOKEN], 6.0, given=given, offers=FakeTools().with_actions(), tools=FakeTools())
    (action,) = call.of("agent.action")
    assert (action.name, action.value, action.reply_id) == ("transfer", "desk 4", 1)
    assert len(asked(call)) == asks
    assert not call.of("error")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (calls("send_dtmf", digits="12x"), "digits are 1 to 32 of 0-9 * # A-D"),
        (calls("send_dtmf"), "digits are 1 to 32 of 0-9 * # A-D"),
        (calls("set_language", language="speak German!"), "language is no BCP 47 tag such as de or pt-BR"),
        (calls("transfer", to=" "), "to is 1 to 256 characters"),
    ],
)
def test_an_action_that_makes_no_sense_is_told_to_the_model(answer: Any, says: str) -> None:
    call = play([SPOKEN], 5.0, given=agent_of(answer, "Oh."), offers=FakeTools().with_actions(), tools=FakeTools())
    assert (asked(call)[1][2][-1].said, call.of("agent.action")) == (says, [])


def test_an_action_that_an_agent_says_is_the_same_without_a_result() -> None:
    given = agent_of(["Wait.", Action(turn=0, name="send_dtmf", value="1#")])
    call = play([SPOKEN], 5.0, given=given)
    (action,) = call.of("agent.action")
    assert (action.name, action.value) == ("send_dtmf", "1#")
    assert not call.of("tool.called")


# -------------------------------------------------------------------------------------------------------- language


def test_another_language_reaches_who_knows_it_now_and_later() -> None:
    given = {**providers(), "second": FakeTts({})}
    given["agent"].handle.answer([calls("set_language", language="de")], "Guten Tag.", "Noch etwas.")
    stages = plan_of(SessionSettings()).stages
    stages["tts"] = tuple(Candidate(stage="tts", provider=n, type="fake-tts") for n in ("tts", "second"))
    brought: list[Any] = []
    fails = (4.0, lambda _, given: given["tts"].handle.fail("connect"))
    looks = (4.5, lambda _, given: brought.append(given["second"].handle.stream.spec.options))
    call = play(
        [SPOKEN, (5.0, 6.0)], 9.0, given=given, stages=stages, acts=[fails, looks], offers=FakeTools().with_actions(),
        tools=FakeTools(),
    )  # fmt: skip
    assert given["tts"].handle.calls("update") == [({"language": "de"},)]
    assert brought == [{"language": "de"}]
    assert [e.said for e in call.of("voice.stopped")] == ["Guten Tag.", "Noch etwas."]
    assert asked(call)[1][2][-1].said.startswith("the call goes on in de")


def test_who_cannot_change_is_told_to_the_model() -> None:
    given = {**agent_of(calls("set_language", language="de"), "Gut."), "stt": EnglishEar({})}
    stages = plan_of(SessionSettings()).stages
    stages["stt"] = (Candidate(stage="stt", provider="stt", type="tests.call.tool_double:EnglishEar"),)
    call = play([SPOKEN], 6.0, given=given, stages=stages, offers=FakeTools().with_actions(), tools=FakeTools())
    assert asked(call)[1][2][-1].said == "the call goes on in de, but stt cannot"
    assert not given["stt"].handle.calls("update")


def test_an_option_that_a_stream_refuses_is_told() -> None:
    given = {**agent_of([calls("set_language", language="de")], "Gut."), "tts": StubbornVoice({})}
    stages = plan_of(SessionSettings()).stages
    stages["tts"] = (Candidate(stage="tts", provider="tts", type="tests.call.tool_double:StubbornVoice"),)
    call = play([SPOKEN], 6.0, given=given, stages=stages, offers=FakeTools().with_actions(), tools=FakeTools())
    (degraded,) = call.of("degraded")
    assert (degraded.stage, degraded.detail) == ("tts", "tts does not change language in mid-call")


@pytest.mark.parametrize(
    ("voice", "contexts"),
    [
        pytest.param({"takes": "sentences"}, 1, id="sentences"),
        pytest.param({"takes": "stream"}, 1, id="a stream"),
        pytest.param({"takes": "stream", "context_idle_s": 1.0}, 2, id="a stream, and contexts may not wait"),
    ],
)
def test_what_is_said_before_and_after_a_tool_is_one_reply(voice: dict[str, Any], contexts: int) -> None:
    tools = FakeTools(status=(4.0, "on its way"))
    given = providers(tts=voice)
    given["agent"].handle.answer(["Let me look", calls("status")], "It is on its way.")
    stages = plan_of(SessionSettings()).stages
    stages["tts"] = (Candidate(stage="tts", provider="tts", type="fake-tts", options=voice),)
    call = play([SPOKEN], 12.0, given=given, stages=stages, offers=tools.specs, tools=tools)
    (stopped,) = call.of("voice.stopped")
    assert (stopped.said, stopped.heard) == ("Let me look It is on its way.", "Let me look It is on its way.")
    told = " ".join(args[1] for args in given["tts"].handle.calls("text"))
    assert " ".join(told.split()) == "Let me look It is on its way."
    assert len(given["tts"].handle.calls("begin")) == contexts
