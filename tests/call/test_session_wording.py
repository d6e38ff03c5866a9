"""Nicer texts of finals: told beside the final, put wherever its words can still be read, and nobody is asked again."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as pi
from actors.wording import swap
from tests.call.scenario import Played, play, providers

TURN_S = 2.54
"""The end of the turn of a caller who is loud from 1 s to 2 s."""


def nicer(at_s: float, text: str, *, final: int = -1) -> tuple[float, Any]:
    """The newest stream's final `final`, counted from the end, gets a nicer text."""

    def act(call: Any, given: dict[str, Any]) -> None:
        utt, pos = given["stt"].handle.calls("finalize")[final]
        given["stt"].handle.emit(pi.Formatted(utt=utt, to_pos=pos, text=text))

    return at_s, act


def asked(call: Played) -> list[str]:
    """What the agent was asked last, as the history has it."""
    history = call.providers["agent"].handle.calls("reply")[-1][2]
    return [item.said for item in history if item.role == "user"]


def test_a_nicer_text_in_time_is_the_text_of_the_turn() -> None:
    call = play([(1.0, 2.0)], 6.0, acts=[nicer(2.3, "Hello, world.")])
    (final,) = call.of("transcript.final")
    (formatted,) = call.of("transcript.formatted")
    assert final.text == "hello world"
    assert (formatted.text, formatted.start, formatted.end) == ("Hello, world.", final.start, final.end)
    assert formatted.utterance_id == final.utterance_id
    assert [turn.text for turn in call.of("turn.ended")] == ["Hello, world."]
    assert asked(call) == ["Hello, world."]


def test_one_that_comes_late_changes_history_and_record_and_asks_nobody() -> None:
    call = play([(1.0, 2.0), (8.0, 9.0)], 14.0, acts=[nicer(3.0, "Hello, world.")])
    assert [turn.text for turn in call.of("turn.ended")] == ["hello world", "hello world"]
    assert len(call.of("transcript.formatted")) == 1
    assert asked(call) == ["Hello, world.", "hello world"]
    assert [turn["text"] for turn in call.record["turns"]] == ["Hello, world.", "hello world"]
    assert len(call.providers["agent"].handle.calls("reply")) == 2


def test_it_is_told_once_and_only_of_a_final_that_was_told() -> None:
    def of_no_final(call: Any, given: dict[str, Any]) -> None:
        given["stt"].handle.emit(pi.Formatted(utt=1, to_pos=123, text="Something else."))

    twice = [nicer(2.3, "Hello, world."), nicer(2.35, "HELLO WORLD!"), (2.4, of_no_final)]
    call = play([(1.0, 2.0)], 6.0, acts=twice)
    assert [e.text for e in call.of("transcript.formatted")] == ["Hello, world."]
    assert asked(call) == ["Hello, world."]


def test_the_same_text_again_and_none_are_not_told() -> None:
    same = play([(1.0, 2.0)], 6.0, acts=[nicer(2.3, "hello world")])
    none = play([(1.0, 2.0)], 6.0, acts=[nicer(2.3, "  ")])
    assert same.of("transcript.formatted") == none.of("transcript.formatted") == []
    assert asked(none) == ["hello world"]


def test_of_two_finals_in_one_turn_the_right_one_is_reworded() -> None:
    given = providers(stt={"partials": False})
    given["stt"].handle.answer("one two", "two three")
    call = play([(1.0, 1.5), (1.9, 2.5)], 6.0, given=given, acts=[nicer(2.8, "One, two.", final=-2)])
    assert [turn.text for turn in call.of("turn.ended")][-1] == "One, two. two three"


@pytest.mark.parametrize(
    ("text", "old", "new", "made"),
    [
        pytest.param("two hundred", "two hundred", "200", "200", id="all of it"),
        pytest.param("no I know", "no", "No,", "No, I know", id="whole words alone"),
        pytest.param("yes yes", "yes", "Yes.", "yes Yes.", id="the last one"),
        pytest.param("yes", "no", "No.", "yes", id="what is not there"),
        pytest.param("yes", "", "No.", "yes", id="nothing"),
        pytest.param("aaa", "aa", "b", "aaa", id="no half words"),
    ],
)
def test_words_are_swapped_whole(text: str, old: str, new: str, made: str) -> None:
    assert swap(text, old, new) == made
