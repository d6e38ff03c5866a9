"""Streams that must end are replaced before they do: no word lost or said twice, no failure, nobody told of it."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as pi
from actors.roll_over import RollOver
from tests.call.scenario import Candidate, Played, models, play, providers
from tests.call.test_session_stream_voice import TALE, audible, plain


def staged(**options: dict[str, Any]) -> dict[str, Any]:
    """`stages` and `given` of a cascade whose stages have these options, in the plan as well."""
    names: tuple[Any, ...] = ("vad", "turn", "stt", "agent", "tts")
    chain = {n: (Candidate(stage=n, provider=n, type=f"fake-{n}", options=options.get(n, {})),) for n in names}
    return {"stages": chain, "given": providers(**options)}


def expiring(stage: str, at_s: float, in_s: float) -> tuple[float, Any]:
    return at_s, lambda call, given: given[stage].handle.emit(pi.Expiring(in_s=in_s))


def ops(call: Played, stage: str) -> list[tuple[int, str, float]]:
    """What the streams of a stage were told: stream, operation, when."""
    return [(got.stream, got.name, round(got.at_s, 2)) for got in call.providers[stage].handle.received]


def rolled(call: Played, stage: str) -> int:
    """How often; and nothing else may be seen of it."""
    handle = call.providers[stage].handle
    count: int = call.record["counts"].get(f"rolled_{stage}", 0)
    assert handle.opened == count + 1
    assert call.of("provider.changed") == call.of("error") == call.of("degraded") == []
    assert len(call.record["providers"][stage]) == 1
    return count


# ------------------------------------------------------------------------------------------------------------ ear


def test_an_ear_is_replaced_while_nobody_speaks() -> None:
    call = play([(1.0, 2.0), (6.0, 7.0)], 10.0, acts=[expiring("stt", 4.5, 30.0)], **staged())
    assert rolled(call, "stt") == 1
    first, second = dict.fromkeys(stream for stream, _, _ in ops(call, "stt"))
    told = [(name, at_s) for stream, name, at_s in ops(call, "stt") if stream == second]
    assert [name for name, _ in told][:2] == ["pause", "resume"]  # until it takes over it hears nothing
    assert told[1][1] < 5.0
    assert not [name for stream, name, at_s in ops(call, "stt") if stream == first and at_s > 5.0]
    assert [e.text for e in call.of("transcript.final")] == ["hello world", "hello world"]


def test_it_waits_until_the_turn_is_over() -> None:
    call = play([(1.0, 4.0)], 8.0, acts=[expiring("stt", 2.0, 60.0)], **staged())
    assert rolled(call, "stt") == 1
    (resume,) = [at_s for _, name, at_s in ops(call, "stt") if name == "resume"]
    assert resume > call.times("turn.ended")[0] - 0.5
    assert [turn.text for turn in call.of("turn.ended")] == ["hello world"]


def test_near_its_deadline_it_is_asked_for_its_final_and_the_next_goes_on_from_there() -> None:
    seen: list[Any] = []
    call = play(
        [(1.0, 14.0)], 18.0, acts=[expiring("stt", 3.0, 8.0), (17.5, lambda _, g: seen.append(g["stt"].handle.stream))],
        **staged(stt={"says": ("one two three", "four five")}),
    )  # fmt: skip
    assert rolled(call, "stt") == 1
    first, second = call.of("transcript.final")
    assert (first.text, second.text) == ("one two three", "four five")
    assert 6.0 < first.end < 8.0  # four seconds before the deadline
    assert second.start == first.end
    begins = [a / 16_000 for a, _ in seen[0].spans]
    assert begins == [pytest.approx(first.end, abs=0.03)]  # not a frame lost, not a frame twice
    assert [turn.text for turn in call.of("turn.ended")] == ["one two three four five"]


def test_an_ear_that_gives_no_final_even_then_is_left_with_what_it_said() -> None:
    def stalls(call: Any, given: dict[str, Any]) -> None:
        given["stt"].handle.stall()

    def allows(call: Any, given: dict[str, Any]) -> None:
        given["stt"].handle.allow()

    call = play(
        [(1.0, 12.0)], 17.0, acts=[expiring("stt", 3.0, 5.0), (3.5, stalls), (9.0, allows)],
        **staged(stt={"says": ("one two three", "four five")}),
    )  # fmt: skip
    assert rolled(call, "stt") == 1
    (turn,) = call.of("turn.ended")
    assert turn.text == "one two three four five"
    assert turn.provisional


def test_a_declared_age_is_enough() -> None:
    call = play([(1.0, 2.0), (25.0, 26.0)], 45.0, **staged(stt={"max_stream_s": 20.0}))
    assert rolled(call, "stt") == 3  # each at two thirds of its age or later
    assert len(call.of("transcript.final")) == 2


def test_one_that_expires_before_it_is_replaced_costs_no_failure() -> None:
    def expires(call: Any, given: dict[str, Any]) -> None:
        given["stt"].handle.fail("expired")

    call = play([(1.0, 2.0), (15.0, 16.0)], 19.0, acts=[(12.0, expires)], **staged())
    assert call.of("provider.changed") == call.of("error") == []
    assert len(call.of("transcript.final")) == 2


def test_one_that_always_expires_at_once_is_a_failure() -> None:
    def expires(call: Any, given: dict[str, Any]) -> None:
        given["stt"].handle.fail("expired")

    call = play([], 9.0, acts=[(at_s, expires) for at_s in (1.0, 2.0, 3.0)], **staged())
    (error,) = call.of("error")
    assert (error.stage, error.kind, error.fatal) == ("stt", "expired", True)
    assert call.closed.t == pytest.approx(3.0, abs=0.05)


def test_what_the_first_stream_used_is_told_though_it_is_gone() -> None:
    def closes_with_usage(call: Any, given: dict[str, Any]) -> None:
        stream = given["stt"].handle.stream
        close = stream.close

        async def last_word(*, drain: bool) -> None:
            stream.say(pi.Usage(amounts={"audio_s": 4.0}))
            await close(drain=drain)

        stream.close = last_word

    call = play([], 6.0, acts=[(1.0, closes_with_usage), expiring("stt", 2.0, 30.0)], **staged())
    assert rolled(call, "stt") == 1
    assert call.record["used"]["stt"] == {"input_s": 4.0}


def test_a_second_stream_that_does_not_open_is_tried_again_and_harms_nobody() -> None:
    def refuses(kind: Any) -> Any:
        return lambda call, given: given["stt"].handle.refuse_open(kind)

    acts = [(0.5, refuses("busy")), expiring("stt", 1.0, 60.0), (3.0, refuses(None))]
    call = play([(4.0, 5.0)], 16.0, acts=acts, **staged())
    assert rolled(call, "stt") == 1
    assert [e.text for e in call.of("transcript.final")] == ["hello world"]


# ---------------------------------------------------------------------------------------------------------- voice


@pytest.mark.parametrize("takes", ["sentences", "stream"])
def test_a_voice_ends_its_sentence_and_the_next_stream_says_the_rest(takes: str) -> None:
    voice = {"takes": takes, "speed": 1.2}
    agent = {"says": (TALE,), "word_delay_s": 0.15}
    call = play([(1.0, 2.0)], 20.0, acts=[expiring("tts", 4.0, 30.0)], **staged(tts=voice, agent=agent))
    assert rolled(call, "tts") == 1
    assert audible(call) == plain(TALE)
    streams = dict.fromkeys(stream for stream, name, _ in ops(call, "tts") if name == "text")
    assert len(streams) == 2
    (stopped,) = call.of("voice.stopped")
    assert (stopped.why, stopped.heard) == ("finished", TALE)
    assert not call.providers["tts"].handle.calls("cancel")


def test_a_voice_that_says_nothing_is_replaced_at_once() -> None:
    call = play([(4.0, 5.0)], 8.0, acts=[expiring("tts", 2.0, 30.0)], **staged())
    assert rolled(call, "tts") == 1
    assert {stream for stream, name, _ in ops(call, "tts") if name == "text"} != set()
    assert audible(call) == "i heard you"


def test_a_voice_at_its_deadline_in_mid_sentence_is_followed_as_one_that_died() -> None:
    stuck = {"takes": "sentences", "first_audio_s": 9.0, "first_audio_p99_s": 20.0}
    call = play([(1.0, 2.0)], 26.0, acts=[expiring("tts", 3.0, 4.0)], **staged(tts=stuck))
    assert rolled(call, "tts") == 1
    assert audible(call) == "i heard you"


# ---------------------------------------------------------------------------------------------------------- agent


def test_an_agent_that_is_asked_answers_first() -> None:
    agent = {"says": ("One two three four five.",), "word_delay_s": 0.3}
    call = play([(1.0, 2.0)], 8.0, acts=[expiring("agent", 2.8, 30.0)], **staged(agent=agent))
    assert rolled(call, "agent") == 1
    assert len(call.providers["agent"].handle.calls("reply")) == 1
    assert not call.providers["agent"].handle.calls("cancel")
    assert audible(call) == "one two three four five"


# ---------------------------------------------------------------------------------------------------------- model


def test_a_model_is_replaced_in_a_quiet_moment_and_told_the_history() -> None:
    call = play([(1.0, 2.0), (8.0, 9.0)], 13.0, acts=[expiring("first", 1.5, 60.0)], **models(first={}))
    handle = call.providers["first"].handle
    assert call.of("provider.changed") == call.of("error") == []
    assert handle.opened == 2
    told = list(handle.calls("inject"))
    assert told == [("user", "hello world"), ("agent", "I heard you.")]
    assert len(call.of("voice.started")) == 2


def resumable(at_s: float, handle: str) -> tuple[float, Any]:
    return at_s, lambda call, given: given["first"].handle.emit(pi.Resumable(handle=handle))


def resuming(**more: Any) -> dict[str, Any]:
    return models(first={"resume": True, **more})


def test_one_that_can_come_back_by_a_handle_is_not_told_the_history_again() -> None:
    specs: list[pi.StreamSpec] = []
    acts = [
        resumable(4.5, "old"), resumable(5.0, "new"), expiring("first", 5.5, 60.0),
        (7.0, lambda call, given: specs.extend(s.spec for s in given["first"].handle.streams)),
    ]  # fmt: skip
    call = play([(1.0, 2.0), (8.0, 9.0)], 13.0, acts=acts, **resuming())
    assert [spec.resume for spec in specs] == ["new"]
    assert call.providers["first"].handle.calls("inject") == []
    assert len(call.of("voice.started")) == 2


def test_what_was_said_while_it_was_opening_is_not_lost_another_is_opened() -> None:
    acts = [resumable(4.5, "a"), expiring("first", 4.8, 60.0), resumable(9.5, "b")]
    specs: list[Any] = []
    acts.append((18.5, lambda call, given: specs.extend(s.spec.resume for s in given["first"].handle.streams)))
    slow = resuming(open_delay_s=1.5)
    call = play([(1.0, 2.0), (5.0, 6.5)], 19.0, acts=acts, **slow)
    assert specs == ["b"]
    assert call.providers["first"].handle.calls("inject") == []
    assert call.of("error") == []


def test_a_model_that_never_pauses_expires_and_comes_back_by_its_handle() -> None:
    def expires(call: Any, given: dict[str, Any]) -> None:
        given["first"].handle.fail("expired")

    specs: list[Any] = []
    acts = [resumable(13.0, "kept"), (14.0, expires)]
    acts.append((16.0, lambda call, given: specs.extend(s.spec.resume for s in given["first"].handle.streams)))
    call = play([(1.0, 2.0), (17.0, 18.0)], 21.0, acts=acts, **resuming())
    assert specs == ["kept"]
    assert call.of("provider.changed") == call.of("error") == []
    assert call.providers["first"].handle.calls("inject") == []


def test_a_model_in_mid_sentence_at_its_deadline_is_told_what_was_said_and_answers() -> None:
    call = play([(1.0, 9.0)], 14.0, acts=[expiring("first", 2.0, 5.0)], **models(first={}))
    assert call.providers["first"].handle.opened == 2
    assert call.of("error") == []
    assert len(call.of("voice.started")) == 1


# ----------------------------------------------------------------------------------------------------------- time


class _Ages:
    """A stage whose streams live for ten minutes; nothing else is asked of it."""

    def life_s(self, slot: Any) -> float:
        return 600.0


class _Slot:
    def __init__(self, stage: str) -> None:
        self.stage = stage


def due_s(call: str, stage: str = "stt") -> float:
    roll = RollOver(call, _Ages(), lambda: 0.0)  # type: ignore[arg-type]
    roll.serves(_Slot(stage))  # type: ignore[arg-type]
    assert roll.due_s is not None
    return roll.due_s


def test_calls_that_began_together_do_not_roll_together() -> None:
    dues = {round(due_s(f"call-{number}"), 1) for number in range(50)}
    assert len(dues) > 40
    assert 595 - 60 <= min(dues) < max(dues) <= 595 - 30
    assert due_s("call", "tts") != due_s("call")


def test_the_same_call_rolls_at_the_same_time() -> None:
    assert due_s("call") == due_s("call")


def test_a_second_language_set_in_mid_call_reaches_the_stream_beside() -> None:
    def asks(call: Any, given: dict[str, Any]) -> None:
        call.session.set_language("de")

    opened: list[Any] = []
    acts = [expiring("tts", 1.0, 60.0), (1.0, asks), (3.0, lambda _, g: opened.append(g["tts"].handle.stream.options))]
    play([], 4.0, acts=acts, **staged(tts={"open_delay_s": 0.5}))
    assert opened[0].language == "de"
