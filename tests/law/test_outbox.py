"""Caller audio under credit: whatever is put comes out once, in order, or is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.events import TranscriptFinal, VoiceAudio
from actors.formats import AudioFormat
from actors.inbox import Inbox
from actors.outbox import LIVE_WAIT_MS, Outbox
from router.errors import AudioError, SessionGone

AUDIO = AudioFormat("pcm16", 8000)


def outbox(*, live: bool = False, window_ms: float = 100.0) -> Outbox:
    box = Outbox(AUDIO, live=live)
    box.window_ms = window_ms
    return box


@given(st.lists(st.integers(0, 2000), max_size=30), st.integers(1, 6), st.randoms(use_true_random=False))
def test_every_sample_leaves_once_in_order_within_the_window(chunks: list[int], window: int, random) -> None:  # type: ignore[no-untyped-def]
    box = outbox(window_ms=window * 20)
    total = sum(chunks)
    source = bytes(k * 7 % 251 for k in range(total))
    out: list[bytes] = []
    at = 0
    for n in chunks:
        box.put(source[at : at + n])
        at += n
        for frame in box.due():
            assert frame.pos == len(b"".join(out)) // 2
            assert frame.seq == len(out)
            out.append(frame.pcm)
        assert box.in_flight_ms <= window * 20
        if random.random() < 0.5:
            box.accepted(random.randint(0, len(out)))
    box.pad()
    box.accepted(len(out))
    while frames := box.due():
        out += [f.pcm for f in frames]
        box.accepted(len(out))
    whole = b"".join(out)
    assert whole[:total] == source
    assert len(whole) == -(-total // 320) * 320
    assert not any(whole[total:])


@given(st.integers(0, 300), st.integers(0, 10))
def test_live_input_keeps_two_seconds_and_counts_what_it_lets_go(frames: int, window: int) -> None:
    box = outbox(live=True, window_ms=window * 20)
    for _ in range(frames):
        box.put(bytes(320))
        box.due()
    sent = min(frames, window)
    assert box.waiting_ms == min((frames - sent) * 20, LIVE_WAIT_MS)
    assert box.dropped_ms == (frames - sent) * 20 - box.waiting_ms


def test_on_a_new_connection_what_was_not_taken_goes_again() -> None:
    box = outbox(window_ms=80)
    box.put(bytes(320 * 6))
    assert [f.pos for f in box.due()] == [0, 160, 320, 480]
    box.accepted(1)
    assert box.next_sample == 160
    box.rewind(320)
    assert [(f.seq, f.pos) for f in box.due()] == [(0, 320), (1, 480), (2, 640), (3, 800)]


def test_credit_that_is_older_or_too_great_is_harmless() -> None:
    box = outbox(window_ms=40)
    box.put(bytes(320 * 3))
    box.due()
    box.accepted(99)
    assert box.accepted_seq == 2
    box.accepted(1)
    assert box.accepted_seq == 2


@pytest.mark.parametrize("wrong", ["text", 7, None, [1, 2]], ids=repr)
def test_what_is_no_bytes_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(AudioError, match="pcm"):
        outbox().put(wrong)  # type: ignore[arg-type]


def test_unread_audio_gives_way_and_words_do_not() -> None:
    box = Inbox(AUDIO, events_max=3, audio_max_ms=40)
    for n in range(1, 4):
        box.put(VoiceAudio(reply_id=1, offset_ms=n * 20.0, pcm=bytes(320)))
        box.put(TranscriptFinal(n=n, utterance_id=n, text="word", start=0, end=1, provider="ears"))
    assert box.dropped_audio_ms == 20
    with pytest.raises(SessionGone, match="3 events were not read"):
        box.put(TranscriptFinal(n=4, utterance_id=4, text="word", start=0, end=1, provider="ears"))
    read = []
    while (event := box.pop()) is not None:
        read.append(event.n)
    assert read == [1, 0, 2, 0, 3]
