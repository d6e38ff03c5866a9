"""Tools of a speech-to-speech model, in virtual time: who answers when the results are there, and who does not.

The fake model hears 1.0 to 2.0 s and responds at 2.3; it goes on at once when it is told to answer.
"""

from __future__ import annotations

from typing import Any

import pytest

from actors import events as ev
from actors.providers.interface import ResponseDone, ToolCall, ToolCancelled
from actors.speaking_model import MODEL_S
from router.settings import SessionSettings, Silence
from tests.call.scenario import Played, models, op, play, say
from tests.call.tool_double import NEVER_S, FakeTools, calls

SPOKEN = (1.0, 2.0)


def scene(*answers: Any, second: tuple[Any, ...] | None = None, **options: Any) -> dict[str, Any]:
    chain = {"model": {}} if second is None else {"model": {}, "second": {}}
    made = models(**chain, **options)
    made["given"]["model"].handle.answer(*answers)
    if second:
        made["given"]["second"].handle.answer(*second)
    return made


def told(call: Played, name: str = "tool_result", model: str = "model") -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = call.providers[model].handle.calls(name)
    return found


def said(call: Played) -> list[str]:
    return [e.said for e in call.of("voice.stopped")]


def test_the_model_is_offered_the_tools_and_speaks_on_from_the_result() -> None:
    tools = FakeTools(status=(1.0, "on its way"))
    made = scene(["Let me look.", calls("status", order="17")], "It is on its way.")
    specs: list[Any] = []
    looks = (0.5, lambda _, given: specs.append(given["model"].handle.stream.spec.tools))
    call = play([SPOKEN], 8.0, offers=tools.specs, tools=tools, acts=[looks], **made)
    assert [tool.name for tool in specs[0]] == ["status"]
    assert call.times("tool.called") == [2.3]
    assert call.times("tool.result") == [3.3]
    assert told(call) == [("c1", "on its way", True, True)]
    assert said(call) == ["Let me look.", "It is on its way."]
    assert [(o.key, o.turn) for o in tools.ops] == [("local:1:c1", 1)]
    assert call.record["tools"] == {"status": {"calls": 1, "done": 1, "ms": 1000}}


def test_it_answers_once_for_the_calls_of_one_response() -> None:
    tools = FakeTools(status=(1.0, "late"), book=(0.2, "failed", "no table"))
    made = scene([calls("status", "a"), calls("book", "b")], "So.")
    call = play([SPOKEN], 7.0, offers=tools.specs, tools=tools, **made)
    assert told(call) == [("a", "late", True, False), ("b", "no table", False, True)]
    assert said(call) == ["So."]


def test_a_caller_who_speaks_meanwhile_is_answered_and_the_result_only_told() -> None:
    tools = FakeTools(status=(3.0, "on its way"))
    made = scene(calls("status"), "Yes, I am still here.")
    call = play([SPOKEN, (4.5, 5.8)], 9.0, offers=tools.specs, tools=tools, **made)
    assert told(call) == [("c1", "on its way", True, False)]  # the caller speaks just then
    assert said(call) == ["Yes, I am still here."]


def test_a_model_that_has_gone_on_is_only_told_the_result() -> None:
    tools = FakeTools(status=(6.0, "on its way"))
    made = scene(calls("status"), "Yes.", "wrong")
    call = play([SPOKEN, (4.0, 5.0)], 12.0, offers=tools.specs, tools=tools, **made)
    assert told(call) == [("c1", "on its way", True, False)]
    assert said(call) == ["Yes."]


def test_an_interrupted_response_goes_on_no_more() -> None:
    tools = FakeTools(status=(4.0, "on its way"))
    tale = "This takes a while and I tell you so at some length, since you wait for it to come."
    made = scene([tale, calls("status")], "What is it?", "wrong")
    call = play([SPOKEN, (4.0, 5.0)], 11.0, offers=tools.specs, tools=tools, **made)
    assert call.of("voice.stopped")[0].why == "interrupted"
    assert told(call) == [("c1", "on its way", True, False)]
    assert said(call)[1:] == ["What is it?"]


def test_a_call_waits_for_its_tool_and_for_what_the_model_says_to_it() -> None:
    tools = FakeTools(status=(4.0, "yes"))
    made = scene(calls("status"), "Yes.")
    call = play([SPOKEN], 20.0, offers=tools.specs, tools=tools, acts=[op(2.1, ev.EndInput())], mode="file", **made)
    assert said(call) == ["Yes."]
    assert call.closed.reason == "input_ended"


def test_a_call_does_not_wait_for_a_model_that_has_nothing_to_add() -> None:
    made = scene(["Goodbye.", calls("hang_up")])
    call = play([SPOKEN], 20.0, offers=FakeTools().with_actions(), tools=FakeTools(), **made)
    assert (call.closed.reason, said(call)) == ("agent_hung_up", ["Goodbye."])
    assert told(call) == [("c1", "the call ends when this reply has been heard", True, False)]


def test_in_lockstep_time_stands_still_while_the_tool_runs() -> None:
    tools = FakeTools(status=(3.0, "yes"))
    made = scene(calls("status"), "Yes.")
    acts = [op(2.8, ev.EndInput())]
    call = play([SPOKEN], 9.0, offers=tools.specs, tools=tools, mode="lockstep", acts=acts, **made)
    called, result = call.of("tool.called")[0], call.of("tool.result")[0]
    assert result.t - called.t < 0.5
    assert said(call) == ["Yes."]


def test_rounds_are_counted_from_the_callers_last_words() -> None:
    tools = FakeTools(status=(0.2, "again"))
    settings = SessionSettings(tool_rounds=2)
    answers = [calls("status", f"c{n}") for n in range(3)]
    made = scene(*answers, calls("status", "c3"), "At last.")
    call = play([SPOKEN, (6.0, 7.0)], 10.0, settings=settings, offers=tools.specs, tools=tools, **made)
    assert [(t[0], t[2], t[3]) for t in told(call)] == [
        ("c0", True, True), ("c1", True, True), ("c2", False, False), ("c3", True, True),
    ]  # fmt: skip
    assert said(call) == ["At last."]


def test_the_next_model_is_told_what_was_called_and_answers() -> None:
    tools = FakeTools(status=(3.0, "on its way"))
    made = scene(calls("status", order="17"), second=("It is on its way, I hear.",))
    dies = (3.0, lambda _, given: given["model"].handle.fail("connect"))
    call = play([SPOKEN], 9.0, offers=tools.specs, tools=tools, acts=[dies], **made)
    assert told(call, "inject", "second")[-1] == (
        "system",
        'The tool status was called with {"order":"17"}: nobody knows what came of it: it may have been done',
    )
    assert said(call) == ["It is on its way, I hear."]
    assert [(e.ok, e.why) for e in call.of("tool.result")] == [(False, "failed")]


def test_a_model_that_says_nothing_to_the_result_has_stalled() -> None:
    tools = FakeTools(status=(0.5, "yes"))
    made = scene(calls("status"), second=("Yes, says the next.",))
    made["given"]["model"].handle._permits = 1  # the first response, and no other
    call = play([SPOKEN], 14.0, offers=tools.specs, tools=tools, **made)
    (changed,) = call.of("provider.changed")
    assert (changed.why, round(changed.t, 1)) == ("stall", round(2.3 + 0.5 + MODEL_S, 1))
    assert said(call) == ["Yes, says the next."]


@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete"])
def test_a_response_that_did_not_complete_is_not_gone_on_from(status: Any) -> None:
    tools = FakeTools(status=(1.0, "yes"))
    made = scene([ToolCall(turn=0, id="c1", name="status", args={}), ResponseDone(response=1, status=status)], "wrong")
    call = play([SPOKEN], 6.0, offers=tools.specs, tools=tools, **made)
    assert told(call) == [("c1", "yes", True, False)]
    assert said(call) == []


def test_a_silent_caller_is_asked_although_a_tool_was_never_answered() -> None:
    tools = FakeTools(status=(NEVER_S, "never"))
    settings = SessionSettings(silence=Silence(after_s=9.0, prompts=("Still there?",)))
    made = scene(calls("status"), "Sorry, that failed.", "Still there?")
    call = play([SPOKEN], 26.0, settings=settings, offers=tools.specs, tools=tools, **made)
    assert told(call)[0][2:] == (False, True)
    assert said(call) == ["Sorry, that failed.", "Still there?"]


def test_a_call_that_the_model_takes_back_gets_no_result_and_is_not_gone_on_from() -> None:
    tools = FakeTools(status=(1.0, "late"), book=(0.2, "done", "booked"))
    made = scene([calls("status", "a"), calls("book", "b")], "wrong")
    takes_back = (2.8, lambda _, given: [given["model"].handle.emit(ToolCancelled(id=id)) for id in ("a", "b", "x")])
    call = play([SPOKEN], 7.0, offers=tools.specs, tools=tools, acts=[takes_back], **made)
    assert told(call) == []
    assert sorted(tools.done) == ["a", "b"]  # both finish all the same
    assert [e.ok for e in call.of("tool.result")] == [True, True]
    assert said(call) == []


def test_of_two_calls_the_one_that_is_not_taken_back_is_answered() -> None:
    tools = FakeTools(status=(1.0, "late"), book=(0.2, "done", "booked"))
    made = scene([calls("status", "a"), calls("book", "b")], "So.")
    takes_back = (2.8, lambda _, given: given["model"].handle.emit(ToolCancelled(id="b")))
    call = play([SPOKEN], 7.0, offers=tools.specs, tools=tools, acts=[takes_back], **made)
    assert told(call) == [("a", "late", True, True)]
    assert said(call) == ["So."]


@pytest.mark.parametrize("tool_s", [0.5, 3.0], ids=["while it is said", "after it was said"])
def test_what_the_application_says_meanwhile_is_no_answer_to_the_tool(tool_s: float) -> None:
    tools = FakeTools(status=(tool_s, "on its way"))
    made = models(model={"speed": 1.2})
    made["given"]["model"].handle.answer(calls("status"), "It is on its way.")
    wait = "One moment please, I am looking for it in the books."
    call = play([SPOKEN], 12.0, offers=tools.specs, tools=tools, acts=[say(wait, 2.5)], **made)
    assert said(call) == [wait, "It is on its way."]
    assert told(call) == [("c1", "on its way", True, True)]
    order = [got.name for got in call.providers["model"].handle.received if got.name in ("respond", "tool_result")]
    assert order == ["respond", "tool_result"]  # and not in the middle of the response to the first


def test_results_that_wait_for_a_response_are_only_told_when_the_caller_speaks_into_it() -> None:
    tools = FakeTools(status=(0.5, "on its way"))
    made = models(model={"speed": 1.2})
    made["given"]["model"].handle.answer(calls("status"), "What is it?", "wrong")
    tale = "One moment please, I am looking for it in the books, and there are many books."
    call = play([SPOKEN, (4.0, 5.2)], 12.0, offers=tools.specs, tools=tools, acts=[say(tale, 2.5)], **made)
    assert call.of("voice.stopped")[0].why == "interrupted"
    assert told(call) == [("c1", "on its way", True, False)]
    assert said(call)[1:] == ["What is it?"]
