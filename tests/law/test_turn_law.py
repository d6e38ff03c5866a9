"""The law alone: every pair has a row or a typed error, and the scenarios as timelines of facts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import turn_table as law
from actors.turn_law import TurnLaw
from actors.turn_table import CALLER, REPLY, CallerState, Heard, ReplyState, Said
from router.errors import LawError
from router.settings import BargeIn, SessionSettings, Silence

S = SessionSettings()


@pytest.mark.parametrize(("state", "event"), list(itertools.product(CallerState, Heard)))
def test_every_pair_of_the_caller_has_a_row_or_a_typed_error(state: CallerState, event: Heard) -> None:
    machine = TurnLaw(S)
    machine.caller = state
    if (state, event) in CALLER:
        machine._caller(event)
        assert machine.caller is CALLER[state, event]
    else:
        with pytest.raises(LawError) as caught:
            machine._caller(event)
        assert (caught.value.state, caught.value.event) == (state, event)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(ReplyState, Said)))
def test_every_pair_of_the_reply_has_a_row_or_a_typed_error(state: ReplyState, event: Said) -> None:
    machine = TurnLaw(S)
    machine.reply = state
    if (state, event) in REPLY:
        machine._reply(event)
        assert machine.reply is REPLY[state, event]
    else:
        with pytest.raises(LawError) as caught:
            machine._reply(event)
        assert (caught.value.state, caught.value.event) == (state, event)


def test_every_state_can_be_reached_and_left() -> None:
    for table, states in ((CALLER, CallerState), (REPLY, ReplyState)):
        assert set(table.values()) == set(states)
        assert {state for state, _ in table} == set(states)


def kinds(out: list[Any]) -> list[tuple[float, str]]:
    return [(at_s, type(order).__name__) for at_s, order in out]


def said(from_s: float, to_s: float, heard_ms: float = 0.0) -> list[tuple[Any, ...]]:
    return [(from_s + 0.06, "start", from_s, heard_ms), (to_s + 0.2, "stop", to_s)]


def run(
    facts: list[tuple[Any, ...]],
    settings: SessionSettings = S,
    authority: law.Authority = "local",
    *,
    local_turns: bool = False,
    words_first: bool = True,
) -> tuple[TurnLaw, list[tuple[float, law.Order]]]:
    """Play facts `(at_s, name, arguments...)`, every due tick before its fact; the orders with their times."""
    machine = TurnLaw(settings, authority=authority)
    machine.local_turns, machine.words_first = local_turns, words_first
    out: list[tuple[float, law.Order]] = []
    for at_s, name, *args in facts:
        while machine.due_s is not None and machine.due_s <= at_s:
            due = machine.due_s
            orders = machine.tick(due)
            out += [(round(due, 3), order) for order in orders]
            assert machine.due_s != due or orders, f"the law wants tick at {due} again and again"
        if name == "start":
            orders = machine.speech_started(at_s, *args)
        elif name == "stop":
            orders = machine.speech_stopped(at_s, *args)
        elif name == "voiced":
            orders = machine.voiced(at_s)
        elif name == "say":
            machine.say(at_s, **(args[0] if args else {}))
            orders = []
        else:
            orders = getattr(machine, name)(*args, at_s)
        out += [(at_s, order) for order in orders]
    return machine, out


def test_a_final_before_the_pause_is_over_ends_the_turn_at_the_pause() -> None:
    _, out = run([*said(1.0, 2.0), (2.25, "final", "hello there", 2.2), (2.25, "finalized", 2.2), (4.0, "tick")])
    assert kinds(out) == [
        (1.06, "SpeechBegan"),
        (2.2, "SpeechEnded"),
        (2.2, "Finalize"),
        (2.2, "Assess"),
        (2.25, "Assess"),  # the whole text is known now
        (2.5, "TurnOver"),
        (2.5, "Ask"),
    ]
    assert out[-2][1] == law.TurnOver(1, 0, "hello there", "pause", False, 2.0)


def test_a_late_final_ends_the_turn_when_it_comes() -> None:
    machine, out = run([*said(1.0, 2.0), (2.6, "tick"), (2.9, "final", "hello", 2.2)])
    assert kinds(out)[-2:] == [(2.9, "TurnOver"), (2.9, "Ask")]
    assert machine.reply is ReplyState.THINKING


def test_no_final_in_the_declared_time_lets_the_last_partial_stand_in() -> None:
    facts = [*said(1.0, 2.0)[:1], (1.8, "partial", "hello"), *said(1.0, 2.0)[1:], (3.2, "final_timeout", 1)]
    _, out = run(facts)
    assert out[-2] == (3.2, law.TurnOver(1, 0, "hello", "timeout", True, 2.0))


def test_the_final_that_comes_after_all_amends_the_turn_while_nothing_was_heard() -> None:
    facts = [*said(1.0, 2.0)[:1], (1.8, "partial", "hell"), *said(1.0, 2.0)[1:], (3.2, "final_timeout", 1)]
    _, out = run([*facts, (3.4, "final", "hello", 2.2)])
    assert [order for _, order in out[-3:]] == [
        law.CancelReply(1, False),
        law.TurnOver(1, 1, "hello", "pause", False, 2.0),
        law.Ask(2, 1, 1, "hello"),
    ]


def test_a_late_final_with_the_words_that_stood_in_changes_nothing() -> None:
    facts = [*said(1.0, 2.0)[:1], (1.8, "partial", "hello"), *said(1.0, 2.0)[1:], (3.2, "final_timeout", 1)]
    before = run(facts)[1]
    assert run([*facts, (3.4, "final", "Hello.", 2.2)])[1] == before


def test_a_late_final_that_goes_on_where_the_partial_ended_opens_the_next_turn_with_the_rest() -> None:
    facts = [*said(1.0, 2.0)[:1], (1.8, "partial", "hello my"), *said(1.0, 2.0)[1:], (3.2, "final_timeout", 1)]
    facts += [(3.3, "reply_audio", 1), (5.0, "reply_done", 1), (6.0, "final", "Hello my friend", 2.2)]
    assert run(facts)[1][-2] == (6.0, law.TurnOver(2, 0, "friend", "pause", False, 2.0))
    facts[-1] = (6.0, "final", "Hello, my!", 2.2)
    assert run(facts)[1][-1][0] < 6.0  # what stood in was all of it


def test_a_late_final_opens_the_next_turn_once_the_reply_is_heard() -> None:
    facts = [*said(1.0, 2.0)[:1], (1.8, "partial", "hell"), *said(1.0, 2.0)[1:], (3.2, "final_timeout", 1)]
    _, out = run([*facts, (3.3, "reply_audio", 1), (3.4, "final", "hello", 2.2), (5.0, "reply_done", 1)])
    assert [order for _, order in out[-2:]] == [
        law.TurnOver(2, 0, "hello", "pause", False, 2.0),
        law.Ask(2, 2, 0, "hello"),
    ]
    assert out[-1][0] == 5.0


def test_no_words_make_no_turn() -> None:
    machine, out = run([*said(1.0, 1.2), (1.45, "finalized", 1.4), (3.0, "tick")])
    assert kinds(out)[-1] == (1.7, "SpeechDropped")
    assert (machine.caller, machine.reply) == (CallerState.QUIET, ReplyState.NONE)


def test_speech_before_the_reply_is_heard_joins_the_same_turn() -> None:
    machine, out = run(
        [
            *said(1.0, 2.0),
            (2.3, "final", "i want", 2.2),
            *said(2.8, 3.5),
            (3.75, "final", "a ticket", 3.7),
            (4.5, "tick"),
        ]
    )
    assert (2.86, law.CancelReply(1, False)) in out
    assert [order for _, order in out[-2:]] == [
        law.TurnOver(1, 1, "i want a ticket", "pause", False, 3.5),
        law.Ask(2, 1, 1, "i want a ticket"),
    ]
    assert machine.current is not None


REPLYING = [*said(1.0, 2.0), (2.3, "final", "tell me", 2.2), (2.6, "reply_audio", 1)]


def test_a_cough_holds_the_reply_and_two_seconds_later_it_goes_on() -> None:
    _, out = run([*REPLYING, *said(4.0, 4.2, 1400.0), (4.45, "finalized", 4.4), (9.0, "tick")])
    assert kinds(out)[-6:] == [
        (4.06, "HoldReply"),
        (4.4, "SpeechEnded"),
        (4.4, "Finalize"),
        (4.4, "Assess"),
        (4.7, "SpeechDropped"),
        (6.06, "ResumeReply"),
    ]


def test_half_a_second_of_speech_confirms_a_barge_in() -> None:
    _, out = run([*REPLYING, (4.06, "start", 4.0, 1400.0), (4.48, "voiced"), (4.5, "voiced"), (6.0, "tick")])
    assert out[-2:] == [(4.06, law.HoldReply(1)), (4.5, law.StopReply(1, True))]


def test_a_short_word_confirms_a_barge_in_when_its_final_comes() -> None:
    _, out = run([*REPLYING, *said(4.0, 4.3, 1400.0), (4.6, "final", "stop", 4.5), (5.5, "tick")])
    assert (4.6, law.StopReply(1, True)) in out
    assert out[-2] == (4.8, law.TurnOver(2, 0, "stop", "pause", False, 4.3))


def test_words_of_a_partial_confirm_where_the_route_says_so() -> None:
    settings = SessionSettings(barge_in=BargeIn(min_words=2))
    _, out = run(
        [
            *REPLYING,
            (4.06, "start", 4.0, 1400.0),
            (
                4.2,
                "partial",
                "no",
            ),
            (4.3, "partial", "no wait"),
        ],
        settings,
    )
    assert out[-1] == (4.3, law.StopReply(1, True))


def test_a_reply_nobody_may_interrupt_goes_on_and_the_turn_waits() -> None:
    _, out = run(
        [
            (0.1, "say", {"interruptible": False}),
            (0.2, "reply_audio", 1),
            *said(1.0, 2.0, 800.0),
            (2.3, "final", "hello", 2.2),
            (5.0, "tick"),
            (6.0, "reply_done", 1),
        ]
    )
    assert "HoldReply" not in [k for _, k in kinds(out)]
    assert out[-2] == (6.0, law.TurnOver(1, 0, "hello", "pause", False, 2.0))


def test_the_pause_is_longer_for_a_turn_that_sounds_unfinished() -> None:
    _, out = run([*said(1.0, 2.0), (2.25, "final", "i want to", 2.2), (2.3, "assessed", 1, 0.1, None), (9.0, "tick")])
    assert out[-2] == (5.0, law.TurnOver(1, 0, "i want to", "pause", False, 2.0))


def test_the_vendors_eager_end_taken_back_leaves_no_trace() -> None:
    machine, out = run(
        [
            (1.06, "start", 1.0, 0.0),
            (2.0, "eager_end", "i want"),
            (2.4, "eager_resumed"),
            (3.5, "provider_turn_ended", "i want a ticket"),
        ],
        authority="stt",
    )
    assert out[1:] == [
        (2.0, law.Ask(1, 1, 0, "i want", True)),
        (2.4, law.CancelReply(1, False)),
        (3.5, law.TurnOver(1, 0, "i want a ticket", "provider", False, 1.0)),
        (3.5, law.Ask(2, 1, 0, "i want a ticket")),
    ]
    assert machine.reply is ReplyState.THINKING


def test_the_vendors_eager_end_that_holds_opens_the_gate() -> None:
    _, out = run(
        [(1.06, "start", 1.0, 0.0), (2.0, "eager_end", "a ticket"), (2.3, "provider_turn_ended", "A ticket.")],
        authority="stt",
    )
    assert [order for _, order in out[-2:]] == [
        law.TurnOver(1, 0, "A ticket.", "provider", False, 1.0),
        law.OpenGate(1),
    ]


def test_silence_is_prompted_and_then_the_call_closes() -> None:
    settings = SessionSettings(silence=Silence(after_s=5.0, prompts=("Are you there?",)))
    _, out = run(
        [(5.0, "tick"), (5.0, "say"), (5.1, "reply_audio", 1), (6.0, "reply_done", 1), (20.0, "tick")], settings
    )
    assert out == [(5.0, law.PromptDue(0)), (11.0, law.Close("silence"))]


def test_a_hang_up_waits_for_the_reply() -> None:
    _, out = run([*REPLYING, (3.0, "hang_up"), (4.0, "reply_done", 1)])
    assert out[-1] == (4.0, law.Close("agent_hung_up"))


def test_a_hang_up_is_off_when_the_caller_has_more_to_say() -> None:
    machine, out = run([*REPLYING, (3.0, "hang_up"), (4.06, "start", 4.0, 1400.0), (4.5, "voiced")])
    assert out[-1] == (4.5, law.StopReply(1, True))
    assert machine.reply is ReplyState.NONE


def test_the_end_of_input_ends_the_turn_without_the_pause() -> None:
    _, out = run([*said(1.0, 2.0), (2.2, "input_ended"), (2.3, "final", "bye", 2.2), (2.5, "reply_done", 1)])
    assert [order for _, order in out[-3:]] == [
        law.TurnOver(1, 0, "bye", "input_ended", False, 2.0),
        law.Ask(1, 1, 0, "bye"),
        law.Close("input_ended"),
    ]


def test_the_end_of_input_with_nothing_open_closes_at_once() -> None:
    assert run([(1.0, "input_ended")])[1] == [(1.0, law.Close("input_ended"))]


def test_the_maximum_duration_closes() -> None:
    assert run([(9.0, "tick")], SessionSettings(max_duration_s=8.0))[1] == [(8.0, law.Close("max_duration"))]


@pytest.mark.parametrize(
    ("speech_s", "final", "order", "at_s"),
    [
        (0.3, "yes", "Respond", 2.2),
        (0.3, "", "SpeechDropped", 2.2),
        (0.3, None, "SpeechDropped", 3.8),
        (0.6, "yes indeed", "Respond", 2.1),
    ],
    ids=["a word", "a cough", "silence of the model too", "speech long enough to count for words"],
)
def test_a_model_whose_turns_are_ours_may_tell_the_words_of_a_short_utterance_late(
    speech_s: float, final: str | None, order: str, at_s: float
) -> None:
    end_s = 1.0 + speech_s
    facts: list[tuple[Any, ...]] = [(1.06, "start", 1.0, 0.0), (end_s + 0.2, "stop", end_s)]
    facts += [] if final is None else [(2.2, "final", final, end_s + 0.2)]
    _, out = run([*facts, (4.0, "tick")], authority="s2s", local_turns=True)
    assert (at_s, order) in kinds(out)
    assert {name for _, name in kinds(out)} & {"Respond", "SpeechDropped"} == {order}


def test_words_that_come_without_speech_and_before_the_answer_are_its_turn() -> None:
    _, out = run([(2.0, "final", "hello there", 2.0), (2.4, "response_started", "")], authority="s2s")
    assert out[0] == (2.4, law.TurnOver(1, 0, "hello there", "provider", False, 0.0))
    assert kinds(out) == [(2.4, "TurnOver"), (2.4, "Ask")]
    _, out = run([(2.0, "final", "hello there", 2.0), (9.0, "tick")], authority="s2s")
    assert out == [(7.0, law.ModelSilent())]  # 3.0 s, the longest pause, and 2.0
    _, out = run([(2.0, "final", "yes", 2.0)], authority="s2s", local_turns=True)
    assert out == [(2.0, law.Respond())]  # of speech that was given up already


def test_a_model_that_tells_words_with_its_answer_only_is_asked_after_the_shortest_speech_but_not_into_a_reply() -> (
    None
):
    facts: list[tuple[Any, ...]] = [(1.06, "start", 1.0, 0.0), (1.5, "stop", 1.3), (2.0, "tick")]
    _, out = run(facts, authority="s2s", local_turns=True, words_first=False)
    assert (1.8, "Respond") in kinds(out)
    said_first = [(0.1, "say"), (0.2, "reply_audio", 1)]
    machine, out = run([*said_first, *facts, (6.0, "tick")], authority="s2s", local_turns=True, words_first=False)
    assert "Respond" not in [name for _, name in kinds(out)]
    assert (3.06, "ResumeReply") in kinds(out)
    assert machine.reply is ReplyState.SPEAKING


def test_a_model_that_answers_before_it_tells_what_it_heard_has_its_turn_told_then() -> None:
    facts = [(1.06, "start", 1.0, 0.0), (2.2, "stop", 2.0), (2.4, "response_started", "")]
    _, out = run([*facts, (2.5, "final", "hello", 2.2), (2.6, "final", "there", 2.3)], authority="s2s")
    assert [order for _, order in out[2:]] == [
        law.Ask(1, 1, 0, ""),
        law.TurnOver(1, 0, "hello", "provider", False, 2.0),
        law.TurnOver(1, 1, "hello there", "provider", False, 2.0),
    ]


def test_a_model_that_does_not_answer_a_cough_is_not_waited_for() -> None:
    machine, out = run([(1.06, "start", 1.0, 0.0), (1.4, "stop", 1.2), (9.0, "tick")], authority="s2s")
    assert out[-1] == (6.2, law.SpeechDropped(1))
    assert machine.caller is CallerState.QUIET


def test_a_model_that_does_not_answer_words_has_stalled() -> None:
    facts = [(1.06, "start", 1.0, 0.0), (2.2, "stop", 2.0), (2.3, "final", "hello", 2.2), (8.0, "tick")]
    assert run(facts, authority="s2s")[1][-1] == (7.0, law.ModelSilent())


def test_a_greeting_without_a_sound_yet_survives_a_cough() -> None:
    facts = [(0.0, "say"), *said(0.2, 0.4), (0.7, "finalized", 0.6), (4.0, "tick"), (4.1, "reply_audio", 1)]
    machine, out = run(facts)
    assert (0.26, law.HoldReply(1)) in out
    assert (2.26, law.ResumeReply(1)) in out
    assert machine.reply is ReplyState.SPEAKING


def test_a_hang_up_is_off_when_the_caller_speaks_before_it_is_heard() -> None:
    facts = [
        *said(1.0, 2.0),
        (2.3, "final", "bye", 2.2),
        (2.6, "hang_up"),
        *said(2.8, 3.5),
        (3.8, "final", "no wait", 3.7),
    ]
    _, out = run([*facts, (4.5, "tick"), (4.6, "reply_audio", 2), (6.0, "reply_done", 2)])
    assert law.Close("agent_hung_up") not in [order for _, order in out]
    assert (4.0, law.TurnOver(1, 1, "bye no wait", "pause", False, 3.5)) in out


def test_words_that_stood_in_are_not_doubled_by_a_turn_that_goes_on() -> None:
    facts = [*said(1.0, 2.0)[:1], (1.8, "partial", "hello my"), *said(1.0, 2.0)[1:], (3.2, "final_timeout", 1)]
    facts += [*said(3.4, 4.0), (4.3, "final", "hello my friend and more", 4.2, 4.3)]
    _, out = run([*[f if len(f) < 5 else f[:4] for f in facts], (6.0, "tick")])
    assert [o.text for _, o in out if isinstance(o, law.TurnOver)] == ["hello my", "hello my friend and more"]


def test_the_ear_dies_and_its_last_partial_stands() -> None:
    facts = [(1.06, "start", 1.0, 0.0), (1.8, "partial", "i would like"), (1.9, "ear_lost"), (3.2, "stop", 3.0)]
    _, out = run([*facts, (3.4, "final", "a ticket", 3.2), (4.0, "tick")])
    assert out[-2][1] == law.TurnOver(1, 0, "i would like a ticket", "pause", True, 3.0)


def test_an_authority_that_goes_back_to_the_session_leaves_nobody_waiting() -> None:
    facts = [
        (1.06, "start", 1.0, 0.0),
        (2.2, "stop", 2.0),
        (2.6, "set_authority", "local"),
        (2.8, "final", "hello", 2.6),
    ]
    _, out = run(facts, authority="stt")
    assert out[-2] == (2.8, law.TurnOver(1, 0, "hello", "pause", False, 2.0))


def test_a_vendor_that_never_ends_the_turn_is_not_waited_for() -> None:
    facts = [(1.06, "start", 1.0, 0.0), (2.2, "stop", 2.0), (2.3, "final", "hello", 2.2), (9.0, "tick")]
    _, out = run(facts, authority="stt")
    assert out[-2] == (7.0, law.TurnOver(1, 0, "hello", "pause", False, 2.0))


FACTS = [
    "start", "stop", "partial", "final", "empty", "finalized", "timeout", "assessed", "audio", "done", "failed",
    "interrupt", "say", "tick", "eager", "resumed", "ended",
]  # fmt: skip


def happen(machine: TurnLaw, fact: str, n: int, at_s: float) -> list[law.Order]:
    """One fact with plausible arguments; `n` makes its words unique."""
    reply = machine.current.id if machine.current else 0
    audible = machine.current is not None and not machine.current.gated
    match fact:
        case "start":
            return machine.speech_started(at_s, at_s - 0.06, 100.0 if n % 2 else 0.0)
        case "stop":
            return machine.speech_stopped(at_s, at_s - 0.2)
        case "partial":
            return machine.partial("uh", at_s)
        case "final":
            return machine.final(f"w{n}", at_s, at_s)
        case "empty":
            return machine.final("", at_s, at_s)
        case "finalized":
            return machine.finalized(at_s, at_s)
        case "timeout":
            return machine.final_timeout(machine.utt, at_s)
        case "assessed":
            return machine.assessed(machine.utt, 0.2, None, at_s)
        case "audio":
            return machine.reply_audio(reply, at_s) if audible else []
        case "done":
            return machine.reply_done(reply, at_s)
        case "failed":
            return machine.reply_failed(reply, at_s)
        case "interrupt":
            return machine.interrupt(at_s)
        case "say":
            machine.say(at_s)
            return []
        case "eager":
            return machine.eager_end("eager words", at_s)
        case "resumed":
            return machine.eager_resumed(at_s)
        case "ended":
            return machine.provider_turn_ended("vendor words", at_s)
        case _:
            return machine.tick(at_s)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(FACTS), st.floats(0.01, 1.5)), max_size=60),
    st.sampled_from(["local", "stt"]),
    st.booleans(),
)
def test_whatever_comes_the_law_stands_and_no_word_is_lost(
    steps: list[tuple[str, float]], authority: law.Authority, interruptible: bool
) -> None:
    """Late and odd facts are counted, never raised; every word of a final is told in some turn or still waits."""
    settings_ = SessionSettings(barge_in=BargeIn(enabled=interruptible), max_duration_s=86_400)
    machine, at_s, words = TurnLaw(settings_, authority=authority), 0.0, []
    told: dict[int, str] = {}
    for n, (fact, dt) in enumerate(steps):
        at_s += dt
        if fact == "final" and authority == "stt":
            continue  # there the vendor's own end of turn carries the words
        if fact == "final":
            words.append(f"w{n}")
        for order in happen(machine, fact, n, at_s):
            if isinstance(order, law.TurnOver):
                told[order.turn] = order.text
        assert (machine.current is None) == (machine.reply in (ReplyState.NONE, ReplyState.AWAITING_FINAL))
    if machine._turn is not None:
        told[machine._turn.id] = machine._turn.text  # open, perhaps again
    for word in words:
        assert " ".join(told.values()).split().count(word) == 1, (word, told)
