"""A caller that is away or mute: the ear of the route is told, and wakes for the next frame without losing a word."""

from __future__ import annotations

from typing import Any

import pytest

from actors import events as ev
from router.settings import SessionSettings, Silence
from tests.call.scenario import LOUD, Candidate, FakeStt, Played, models, op, play, providers, say


def stages(ear: dict[str, Any], *others: Candidate) -> dict[Any, tuple[Candidate, ...]]:
    names: tuple[Any, ...] = ("vad", "turn", "stt", "agent", "tts")
    made = {n: (Candidate(stage=n, provider=n, type=f"fake-{n}"),) for n in names}
    return {**made, "stt": (Candidate(stage="stt", provider="stt", type="fake-stt", options=ear), *others)}


def rests(call: Played) -> list[tuple[str, float]]:
    """What the ear was told of rest, and when."""
    told = call.providers["stt"].handle.received
    return [(got.name, round(got.at_s, 2)) for got in told if got.name in ("pause", "resume")]


def speaks(at_s: float, seconds: float) -> list[tuple[float, Any]]:
    """The caller is back and loud, then mute again."""
    frames = round(seconds / 0.02)
    return [(at_s + i * 0.02, lambda call, _: call.session.caller_audio(LOUD)) for i in range(frames)]


def test_a_mute_caller_is_no_stream_of_silence_and_is_heard_when_it_speaks() -> None:
    call = play([(1.0, 2.0)], 13.0, mute_after_s=4.0, acts=speaks(10.0, 1.0))
    told = rests(call)
    assert [name for name, _ in told] == ["pause", "resume"]
    assert told[0][1] == pytest.approx(6.2, abs=0.05)  # 200 ms to notice, 2 s to be sure
    assert told[1][1] == pytest.approx(10.0, abs=0.03)
    assert [e.text for e in call.of("transcript.final")] == ["hello world", "hello world"]
    assert [turn.text for turn in call.of("turn.ended")] == ["hello world", "hello world"]


def test_the_silence_passed_over_is_a_hole_for_the_ear_and_not_counted_as_heard_or_dropped() -> None:
    seen: list[list[int]] = []
    call = play(
        [(1.0, 2.0)], 13.0, mute_after_s=4.0,
        acts=[*speaks(10.0, 1.0), (12.9, lambda call, given: seen.extend(given["stt"].handle.stream.spans))],
    )  # fmt: skip
    (first, second) = [(a / 16_000, b / 16_000) for a, b in seen]
    assert first[0] == 0
    assert first[1] == pytest.approx(6.2, abs=0.1)
    assert second[0] == pytest.approx(10.0, abs=0.1)
    passed_s = second[0] - first[1]
    assert call.record["used"]["stt"]["input_s"] == pytest.approx(call.record["media_s"] - passed_s, abs=0.05)
    assert call.of("dropped") == []


def test_a_caller_whose_connection_broke_lets_the_ear_rest_at_once() -> None:
    def leaves(call: Any, _: Any) -> None:
        call.session.detach()

    call = play([], 6.0, mute_after_s=3.0, acts=[(3.0, leaves)], settings=SessionSettings(resume_s=2.0))
    (pause,) = rests(call)
    assert pause[0] == "pause"
    assert pause[1] == pytest.approx(3.2, abs=0.06)
    assert call.closed.reason == "lost"


def test_who_falls_mute_in_mid_word_is_answered_first() -> None:
    call = play([(1.0, 9.0)], 8.0, mute_after_s=3.0)
    (turn,) = call.of("turn.ended")
    (pause,) = rests(call)
    assert turn.t < pause[1]
    finalized = [got.at_s for got in call.providers["stt"].handle.received if got.name == "finalize"]
    assert max(finalized) < pause[1]


def test_a_vendor_that_owes_a_final_is_not_told_to_rest() -> None:
    slow = {"answer_delay_s": 4.0, "partials": False, "final_p99_s": 5.0}
    call = play([(1.0, 2.0)], 9.0, mute_after_s=2.5, given=providers(stt=slow), stages=stages(slow))
    (pause,) = rests(call)
    assert pause[1] >= 6.2  # the final came then
    assert [e.text for e in call.of("transcript.final")] == ["hello world"]


def test_the_end_of_the_input_wakes_the_ear_for_its_last_question() -> None:
    call = play([], 8.0, mute_after_s=1.0, acts=[op(5.0, ev.EndInput())])
    assert [name for name, _ in rests(call)] == ["pause", "resume"]
    story = [got.name for got in call.providers["stt"].handle.received]
    assert story.index("resume") < story.index("finalize")
    assert call.closed.reason == "input_ended"


def test_the_next_ear_is_told_that_nothing_comes() -> None:
    def breaks(call: Any, given: Any) -> None:
        given["stt"].handle.fail("connect")

    chain = stages({}, Candidate(stage="stt", provider="next", type="fake-stt"))
    given = {**providers(), "next": FakeStt({})}
    call = play([], 9.0, mute_after_s=1.0, stages=chain, given=given, acts=[(5.0, breaks)])
    assert [e.after for e in call.of("provider.changed")] == ["next"]
    assert len(given["next"].handle.calls("pause")) == 1


def test_a_caller_who_sends_silence_is_not_away() -> None:
    assert rests(play([(1.0, 2.0)], 12.0)) == []


def test_a_model_hears_silence_too() -> None:
    call = play([(1.0, 2.0)], 9.0, mute_after_s=3.0, **models(first={}))
    assert call.providers["first"].handle.calls("pause") == []


def test_a_file_that_waits_for_its_sender_rests_too() -> None:
    call = play([(1.0, 2.0)], 9.0, mute_after_s=3.0, mode="file", acts=speaks(7.0, 0.5))
    told = rests(call)
    assert told[0] == ("pause", pytest.approx(5.2, abs=0.6))
    assert told[1] == ("resume", pytest.approx(7.0, abs=0.03))


def test_in_lock_step_time_stands_still_and_nobody_rests() -> None:
    assert rests(play([(1.0, 2.0)], 9.0, mute_after_s=3.0, mode="lockstep")) == []


def test_nobody_is_given_the_silence_of_one_who_rests_and_its_clock_goes_on() -> None:
    call = play([(1.0, 2.0)], 32.0, mute_after_s=4.0, acts=speaks(30.03, 1.0))
    vad = call.providers["vad"]
    given_s = vad.frames / 50
    assert given_s == pytest.approx(4.0 + 2.2 + 1.0 + 0.8, abs=0.3)  # talk, until it rests, talk again, until mute
    assert call.record["media_s"] == pytest.approx(32.0, abs=0.25)
    assert call.record["concealed_ms"] == pytest.approx(27_000, abs=150)
    first, second = call.of("turn.ended")
    assert (first.text, second.text) == ("hello world", "hello world")
    assert second.t == pytest.approx(31.03, abs=1.2)
    final = call.of("transcript.final")[1]
    assert final.end == pytest.approx(31.0, abs=1.2)


def test_a_caller_who_rests_is_hung_up_on_when_its_time_is_over() -> None:
    call = play([], 30.0, mute_after_s=1.0, settings=SessionSettings(max_duration_s=12.37))
    assert call.closed.reason == "max_duration"
    assert call.closed.t == pytest.approx(12.37, abs=0.06)


def test_a_caller_who_rests_is_asked_whether_it_is_there() -> None:
    settings = SessionSettings(silence=Silence(after_s=7.37, prompts=("Are you there?",)))
    call = play([], 30.0, mute_after_s=1.0, settings=settings)
    (voice,) = call.of("voice.started")
    assert voice.t == pytest.approx(7.37, abs=0.08)
    assert call.closed.reason == "silence"


def test_what_a_detector_has_not_judged_is_no_silence_though_its_caller_is_gone() -> None:
    """The ear rests as soon as the connection is lost; the word before it was not yet looked at."""

    def behind(held: bool) -> Any:
        def act(call: Any, _: Any) -> None:
            call.session.listening.vad.held = held
            call.session.listening.pump()

        return act

    gone = (3.0, lambda call, _: call.session.detach())
    call = play(
        [(2.6, 3.0)], 12.0, mute_after_s=3.0, acts=[(2.5, behind(True)), gone, (4.0, behind(False))],
        settings=SessionSettings(resume_s=8.0),
    )  # fmt: skip
    assert len(call.of("speech.started")) == 1
    assert [turn.text for turn in call.of("turn.ended")] == ["hello world"]


def test_a_text_to_one_who_rests_is_spoken() -> None:
    call = play([], 12.0, mute_after_s=1.0, acts=[say("Still there?", 8.3)])
    (voice,) = call.of("voice.started")
    assert voice.t == pytest.approx(8.3, abs=0.2)
    assert [e.why for e in call.of("voice.stopped")] == ["finished"]
