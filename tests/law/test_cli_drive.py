"""The file caller and its paper loudspeaker: when the file stands still, and what counts as heard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.events import (
    Event,
    SessionClosed,
    SessionOpened,
    TurnEnded,
    VoiceAudio,
    VoiceClear,
    VoiceStarted,
    VoiceStopped,
)
from actors.formats import AudioFormat
from cli.calllog import CallLog
from cli.drive import GREETING_MS, THINKING_MS, FileCaller
from cli.speaker import Heard, Speaker

RATE = 8000
FRAME = 320  # bytes of 20 ms
GREETING = GREETING_MS // 20
OPENED = SessionOpened(n=1, route="r", version="v", providers={})


def caller(seconds: float = 2.0, *, full_duplex: bool = False) -> FileCaller:
    samples = np.arange(1, int(seconds * RATE) + 1).astype(np.int16)
    return FileCaller(samples, AudioFormat("pcm16", RATE), CallLog(RATE), full_duplex=full_duplex)


def sent(who: FileCaller, frames: int) -> list[bool]:
    """For each of so many steps: was it the file (True) or silence?"""
    return [any(who.step()[0]) for _ in range(frames)]


def audio(reply_id: int, offset_ms: float, frames: int = 1) -> VoiceAudio:
    return VoiceAudio(reply_id=reply_id, offset_ms=offset_ms, pcm=b"\1\1" * 160 * frames)


def test_nothing_of_the_file_goes_before_the_session_is_open() -> None:
    who = caller(full_duplex=True)
    assert sent(who, 5) == [False] * 5
    who.on_event(OPENED)
    assert sent(who, 2) == [True, True]


def test_half_duplex_listens_for_a_greeting_first() -> None:
    who = caller()
    who.on_event(OPENED)
    assert sent(who, GREETING + 1) == [False] * GREETING + [True]


def test_a_greeting_holds_the_file_until_it_has_been_heard() -> None:
    who = caller()
    who.on_event(OPENED)
    who.on_event(VoiceStarted(reply_id=1))
    who.on_event(audio(1, 0, 3))
    who.on_event(VoiceStopped(reply_id=1, why="finished", said="", heard="", heard_ms=60, estimated=False))
    assert sent(who, 4) == [False, False, False, True]


def test_the_file_is_held_from_the_turns_end_to_the_end_of_the_reply() -> None:
    who = caller()
    who.on_event(OPENED)
    sent(who, GREETING + 1)
    who.on_event(TurnEnded(turn_id=1, text="hello", why="pause"))
    assert sent(who, 3) == [False] * 3
    who.on_event(VoiceStarted(reply_id=1, turn_id=1))
    assert sent(who, 3) == [False] * 3, "held while the reply is in progress, even before its audio"
    who.on_event(audio(1, 0, 2))
    who.on_event(VoiceStopped(reply_id=1, why="finished", said="", heard="", heard_ms=40, estimated=False))
    assert sent(who, 3) == [False, False, True]
    assert who.log.held == [(0.0, pytest.approx(0.5)), (pytest.approx(0.52), pytest.approx(0.68))]


def test_an_agent_that_never_answers_holds_the_file_for_ten_seconds() -> None:
    who = caller()
    who.on_event(OPENED)
    sent(who, GREETING)
    who.on_event(TurnEnded(turn_id=1, text="hello", why="pause"))
    assert sent(who, THINKING_MS // 20 + 1) == [False] * (THINKING_MS // 20) + [True]


def test_full_duplex_goes_on_while_the_agent_speaks_and_a_clear_ends_what_is_heard() -> None:
    who = caller(full_duplex=True)
    who.on_event(OPENED)
    who.on_event(VoiceStarted(reply_id=1))
    who.on_event(audio(1, 0, 10))
    assert sent(who, 2) == [True, True]
    who.on_event(VoiceClear(reply_id=1))
    assert sent(who, 2) == [True, True]
    heard = who.log.heard
    assert np.all(heard[: 2 * 160] != 0)
    assert not heard[2 * 160 :].any()


def test_both_sides_of_the_record_are_as_long_as_the_call_and_the_file_is_whole_in_it() -> None:
    who = caller(0.115)  # five frames and three quarters
    who.on_event(OPENED)
    sent(who, GREETING + 8)
    log = who.log
    assert len(log.sent) == len(log.heard) == (GREETING + 8) * 160
    spoken = log.sent[GREETING * 160 :]
    assert spoken[:920].tolist() == list(range(1, 921))
    assert not spoken[920:].any()
    assert who.file_ended
    assert log.input_end_s == pytest.approx(GREETING * 0.02 + 0.12)


def test_the_call_is_over_when_it_is_closed_and_all_has_been_heard() -> None:
    who = caller(0.02, full_duplex=True)
    events: list[Event] = [
        OPENED,
        VoiceStarted(reply_id=1),
        audio(1, 0, 2),
        SessionClosed(reason="input_ended", stats={}),
    ]
    for event in events:
        who.on_event(event)
    assert not who.is_over
    sent(who, 2)
    assert who.is_over


def test_played_is_told_every_100_ms_and_at_the_end_of_what_is_there() -> None:
    speaker = Speaker(RATE)
    speaker.add(3, 0.0, bytes(FRAME * 7))
    told = []
    for _ in range(9):
        speaker.advance(FRAME)
        told += speaker.reports()
    assert told == [Heard(3, 100.0), Heard(3, 140.0)]


def test_a_reply_that_goes_on_from_where_it_was_held_is_heard_from_there() -> None:
    speaker = Speaker(RATE)
    speaker.add(3, 0.0, bytes(FRAME * 10))
    speaker.advance(FRAME * 2)
    speaker.clear(3)
    speaker.add(3, 40.0, bytes(FRAME))
    speaker.advance(FRAME)
    assert speaker.reports() == [Heard(3, 60.0)]


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 900)), max_size=20), st.lists(st.integers(1, 700), max_size=40)
)
def test_what_goes_in_comes_out_once_and_in_order(pieces: list[tuple[int, int]], steps: list[int]) -> None:
    speaker = Speaker(RATE)
    put = bytearray()
    for number, (reply_id, n) in enumerate(pieces):
        pcm = bytes([number % 255 + 1]) * n
        speaker.add(reply_id, 0.0, pcm)
        put += pcm
    out = b"".join(speaker.advance(n) for n in steps)
    assert len(out) == sum(steps)
    assert out == (bytes(put) + bytes(len(out)))[: len(out)]
