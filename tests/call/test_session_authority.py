"""A vendor that ends turns itself: eager ends, ends taken back, ends that do not come, and who decides when it dies.

The fake ear tells its turns through its handle; the clock of a scenario is told in `test_session`.
"""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as pi
from actors.providers.fake import FakeStt
from router.plan import Candidate
from router.settings import SessionSettings
from tests.call.scenario import Played, plan_of, play, providers

VENDOR = {"turn_events": True}


def turns(call: Played) -> list[tuple[int, int, str]]:
    return [(e.turn_id, e.revision, e.text) for e in call.of("turn.ended")]


def vendor(**others: dict[str, Any]) -> dict[str, Any]:
    stages = plan_of(SessionSettings()).stages
    stages["stt"] = (Candidate(stage="stt", provider="stt", type="fake-stt", options=VENDOR),)
    return {"stages": stages, "given": providers(stt={**VENDOR, "partials": False}, **others)}


def vendor_says(at_s: float, *events: pi.ProviderEvent, ear: str = "stt") -> tuple[float, Any]:
    def say_all(_: Any, given: dict[str, Any]) -> None:
        for event in events:
            given[ear].handle.emit(event)

    return at_s, say_all


def ended(text: str, to_s: float) -> tuple[pi.ProviderEvent, ...]:
    """Its final and the end of the turn."""
    final = pi.Final(utt=1, text=text, from_pos=0, to_pos=round(to_s * 16_000))
    return final, pi.VendorTurnEnded(text=text)


def test_the_vendor_ends_the_turn_where_it_has_the_authority() -> None:
    call = play([(1.0, 2.0)], 6.0, acts=[vendor_says(2.3, *ended("hello there", 2.2))], **vendor())
    assert call.story("agent.text", "session.closed") == [
        (0.0, "session.opened"),
        (1.06, "speech.started"),
        (2.2, "speech.stopped"),
        (2.3, "transcript.final"),
        (2.3, "turn.ended"),
        (2.3, "voice.started"),
        (2.3, "turn.latency"),
        (2.78, "voice.stopped"),
    ]
    (turn,) = call.of("turn.ended")
    assert (turn.text, turn.why) == ("hello there", "provider")
    assert not call.providers["stt"].handle.calls("finalize")


def test_a_vendor_that_is_quicker_than_the_vad_is_timed_from_the_last_voiced_frame() -> None:
    call = play([(1.0, 2.0)], 6.0, acts=[vendor_says(2.1, *ended("hello there", 2.1))], **vendor())
    assert (call.times("turn.ended"), call.times("speech.stopped")) == ([2.1], [])
    assert call.of("turn.latency")[0].endpoint == pytest.approx(0.1, abs=0.021)  # to the frame


def test_an_eager_end_that_is_confirmed_has_made_the_reply_meanwhile() -> None:
    acts = [vendor_says(2.2, pi.EagerEnd(text="hello there")), vendor_says(2.6, *ended("Hello there.", 2.2))]
    call = play([(1.0, 2.0)], 6.0, acts=acts, **vendor(tts={"first_audio_s": 0.3}))
    assert [got.at_s for got in call.providers["agent"].handle.received if got.name == "reply"] == [pytest.approx(2.2)]
    assert (call.times("turn.ended"), call.times("voice.started")) == ([2.6], [2.6])  # and not 2.9
    assert turns(call) == [(1, 0, "Hello there.")]


def test_an_eager_end_that_is_taken_back_leaves_no_trace() -> None:
    acts = [
        vendor_says(2.2, pi.EagerEnd(text="i want")),
        vendor_says(2.6, pi.Resumed()),
        vendor_says(3.9, *ended("i want a ticket", 3.8)),
    ]
    call = play([(1.0, 2.0), (2.7, 3.5)], 8.0, acts=acts, **vendor())
    assert [(t, kind) for t, kind in call.story() if 2.0 < t < 3.9] == [
        (2.2, "speech.stopped"),  # and no text of the agent's, though it has answered
        (2.76, "speech.started"),
        (3.7, "speech.stopped"),
    ]
    assert call.providers["agent"].handle.answered == 2
    assert turns(call) == [(1, 0, "i want a ticket")]
    assert (call.times("turn.ended"), call.times("voice.started")) == ([3.9], [3.9])
    history = call.providers["agent"].handle.calls("reply")[-1][2]
    assert [(i.role, i.said) for i in history] == [("user", "i want a ticket")]


def test_an_eager_end_that_was_not_the_whole_turn_is_asked_again() -> None:
    acts = [vendor_says(2.2, pi.EagerEnd(text="i want")), vendor_says(2.6, *ended("i want it", 2.2))]
    call = play([(1.0, 2.0)], 6.0, acts=acts, **vendor(agent={"says": ["Wrong.", "Right."]}))
    assert turns(call) == [(1, 0, "i want it")]
    assert [e.said for e in call.of("voice.stopped")] == ["Right."]


def test_a_vendor_that_does_not_end_the_turn_is_not_waited_for() -> None:
    call = play([(1.0, 2.0)], 12.0, **vendor())
    assert turns(call) == [(1, 0, "hello world")]
    assert call.times("turn.ended") == [pytest.approx(2.0 + 3.0 + 2.0, abs=0.021)]  # longest pause, and 2 s more


def test_words_that_only_the_vendor_noticed_are_one_turn() -> None:
    call = play([], 4.0, acts=[vendor_says(2.0, *ended("soft words", 1.9))], **vendor())
    assert turns(call) == [(1, 0, "soft words")]
    assert len(call.of("voice.stopped")) == 1


@pytest.mark.parametrize("dies_s", [1.5, 2.3], ids=["in speech", "in the pause"])
def test_when_the_vendor_dies_our_own_pause_ends_the_turn_and_those_after(dies_s: float) -> None:
    """The first ear has turn events, the second has none: the authority goes to our own pause in mid-call."""
    stages = plan_of(SessionSettings()).stages
    options: dict[str, dict[str, Any]] = {"first": VENDOR, "second": {"says": ["later words"]}}
    stages["stt"] = tuple(Candidate(stage="stt", provider=n, type="fake-stt", options=o) for n, o in options.items())
    given = {**providers(), **{n: FakeStt(o) for n, o in options.items()}}
    died = (dies_s, lambda _, given: given["first"].handle.fail("connect"))
    call = play([(1.0, 2.0), (5.0, 6.0)], 9.0, stages=stages, given=given, acts=[died])
    first, second = call.of("turn.ended")
    assert first.t < 4.5  # the pause, or at most the declared time of the next ear
    assert first.text.startswith("hello")
    assert (second.t, second.why, second.text) == (6.5, "pause", "later words")
