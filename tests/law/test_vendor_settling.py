"""Positions across connections, audio that is kept, finals that fit together: for any order of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.providers.interface import Final, Finalized, TimedWord
from actors.providers.vendor_ledger import Ledger
from actors.providers.vendor_meter import Meter
from actors.providers.vendor_settling import Settling, rest
from actors.providers.vendor_track import Track

# --------------------------------------------------------------------------------------------------------- track


def test_a_track_knows_shifts_holes_and_silence() -> None:
    track = Track(1000, 5000)  # a connection made when the session was at 5000
    track.sent(5000, 100)
    track.silence(50)  # keep-alive
    track.sent(5100, 100)
    track.sent(6000, 100)  # a hole: audio that was let go
    assert [track.position(at) for at in (0.0, 0.05, 0.1, 0.12, 0.15, 0.2, 0.249, 0.25, 0.3, 9.0)] == [
        5000, 5050, 5100, 5100, 5100, 5150, 5199, 6000, 6050, 6100,
    ]  # fmt: skip
    assert track.end == 6100
    assert track.samples == 350
    assert track.holds(0.35, 0.0)
    assert not track.holds(1.4, 1.0)
    assert not track.holds(-0.1, 1.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 40), st.booleans()), min_size=1, max_size=400))
def test_positions_never_go_back_and_never_beyond_what_was_sent(runs: list[tuple[int, int, bool]]) -> None:
    track, pos = Track(100, 7), 7
    for hole, samples, real in runs:
        if real:
            pos += hole
            track.sent(pos, samples)
            pos += samples
        else:
            track.silence(samples)
    found = [track.position(at / 100) for at in range(track.samples + 3)]
    assert found == sorted(found)
    assert found[-1] == track.end <= pos
    assert found[0] >= 7


# -------------------------------------------------------------------------------------------------------- ledger


def pcm(samples: int, value: int = 1) -> bytes:
    return value.to_bytes(2, "little") * samples


def test_a_ledger_gives_whole_chunks_and_sends_again_what_is_not_settled() -> None:
    ledger = Ledger(100, 1000)
    ledger.add(100, pcm(30))
    assert ledger.take(40) is None
    ledger.add(130, pcm(30))
    assert ledger.take(40) == (100, pcm(40))
    assert ledger.take(40) is None
    assert ledger.take(40, flush=True) == (140, pcm(20))
    ledger.settle(120)
    ledger.rewind(110)  # settled: gone
    assert ledger.take(100, flush=True) == (120, pcm(40))
    ledger.add(150, pcm(20, 2))  # ten of them came twice
    assert (ledger.overlaps, ledger.end, ledger.behind) == (10, 170, 10)
    ledger.add(200, pcm(5))  # a hole
    assert ledger.take(40) == (160, pcm(10, 2))
    assert ledger.next_pos == 200
    assert ledger.take(5) == (200, pcm(5))


def test_a_ledger_is_bounded_and_settles_nothing_that_was_not_sent() -> None:
    ledger = Ledger(0, 50)
    ledger.add(0, pcm(40))
    ledger.settle(40)
    assert ledger.held == 40
    ledger.add(40, pcm(30))
    assert (ledger.held, ledger.begin, ledger.dropped) == (50, 20, 20)
    assert ledger.take(20) == (20, pcm(20))
    with pytest.raises(ValueError, match="whole number"):
        ledger.add(70, b"abc")


def test_what_is_skipped_is_never_sent_and_what_was_sent_before_it_is_sent_again() -> None:
    ledger = Ledger(0, 1000)
    ledger.add(0, pcm(50))
    ledger.take(20)
    ledger.skip(45)
    assert (ledger.held, ledger.behind, ledger.next_pos) == (25, 5, 45)
    ledger.add(50, pcm(5, 2))
    assert ledger.take(10) == (45, pcm(5) + pcm(5, 2))
    ledger.skip(30)  # behind us
    ledger.skip(60)  # no further than there is
    ledger.add(55, pcm(4, 3))
    ledger.rewind(10)
    assert [ledger.take(10), ledger.take(10, flush=True), ledger.take(4)] == [
        (10, pcm(10)), (45, pcm(5) + pcm(5, 2)), (55, pcm(4, 3)),
    ]  # fmt: skip


@given(
    st.lists(st.tuples(st.sampled_from(["add", "hole", "take", "skip"]), st.integers(1, 30)), max_size=80),
)
def test_skipping_loses_nothing_that_was_sent(steps: list[tuple[str, int]]) -> None:
    ledger, end, sent, skipped = Ledger(0, 100_000), 0, [], set[int]()
    for kind, n in steps:
        if kind == "add":
            ledger.add(end, pcm(n))
            end += n
        elif kind == "hole":
            end += n
            ledger.add(end, pcm(1))
            end += 1
        elif kind == "skip":
            skipped |= set(range(ledger.cursor, min(ledger.cursor + n, ledger.end)))
            ledger.skip(ledger.cursor + n)
        elif (piece := ledger.take(n, flush=True)) is not None:
            sent += range(piece[0], piece[0] + len(piece[1]) // 2)
    assert sent == sorted(set(sent))
    assert not skipped & set(sent)
    ledger.rewind(0)
    again = []
    while (piece := ledger.take(7, flush=True)) is not None:
        again += range(piece[0], piece[0] + len(piece[1]) // 2)
    assert again[: len(sent)] == sent
    assert len(again) == ledger.held
    assert not skipped & set(again)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), max_size=60), st.randoms())
def test_every_sample_is_sent_once_in_order_and_again_after_a_rewind(adds: list[tuple[int, int]], rng: object) -> None:
    ledger, pos, given_, sent = Ledger(0, 10_000), 0, [], []
    for hole, samples in adds:
        pos += hole
        ledger.add(pos, pcm(samples, pos % 30000))
        given_ += range(pos, pos + samples)
        pos += samples
        while (piece := ledger.take(7)) is not None:
            sent += range(piece[0], piece[0] + len(piece[1]) // 2)
    while (piece := ledger.take(7, flush=True)) is not None:
        sent += range(piece[0], piece[0] + len(piece[1]) // 2)
    assert sent == given_
    half = pos // 2
    ledger.settle(half)
    ledger.rewind(half)
    again = []
    while (piece := ledger.take(7, flush=True)) is not None:
        again += range(piece[0], piece[0] + len(piece[1]) // 2)
    assert again == [p for p in given_ if p >= half]


# ------------------------------------------------------------------------------------------------------ settling


def test_an_answer_closes_the_gap_and_an_overdue_one_speaks_with_the_interim() -> None:
    settling = Settling(0)
    settling.speech(1)
    assert settling.final(100, "ten of") == Final(utt=1, text="ten of", from_pos=0, to_pos=100)
    assert settling.ask(1, 180)
    settling.asks[0].is_sent = True
    told = settling.final(150, "clubs")
    assert told is not None
    assert (told.from_pos, told.to_pos, told.utt) == (100, 150, 1)
    assert settling.answered(150) == [
        Final(utt=1, text="", from_pos=150, to_pos=180),
        Finalized(utt=1, to_pos=180),
    ]
    assert not settling.ask(2, 180)
    settling.speech(2)
    assert settling.ask(2, 300)
    assert settling.overdue("queen of") == [
        Final(utt=2, text="queen of", from_pos=180, to_pos=300),
        Finalized(utt=2, to_pos=300),
    ]
    assert settling.fresh("queen of hearts and") == "hearts and"  # not told once more, and not to be said once more
    settling.ask(3, 310)
    assert settling.overdue("hearts")[0] == Final(utt=3, text="hearts", from_pos=300, to_pos=310)
    late = settling.final(320, "Queen of hearts and")  # all of it, after all
    assert late is not None
    assert (late.text, late.from_pos, late.to_pos) == ("and", 310, 320)
    assert settling.fresh("queen of hearts") == "queen of hearts"


def test_a_late_final_with_times_tells_only_the_words_after_what_was_told() -> None:
    settling = Settling(0)
    settling.ask(1, 100)
    settling.overdue("ten of")
    words = [TimedWord("ten", 0, 40), TimedWord("of", 50, 90), TimedWord("clubs", 95, 160)]
    late = settling.final(170, "ten of clubs", words)
    assert late is not None
    assert (late.text, late.words) == ("clubs", (TimedWord("clubs", 100, 160),))
    assert settling.final(170, "twice") is None


def test_a_late_final_of_no_more_than_was_answered_tells_its_words_without_a_span() -> None:
    settling = Settling(0)
    settling.ask(1, 100)
    assert settling.overdue("") == [Final(utt=1, text="", from_pos=0, to_pos=100), Finalized(utt=1, to_pos=100)]
    settling.ask(2, 200)
    settling.overdue("queen of")
    settling.ask(3, 300)
    assert settling.final(100, "ten of clubs") == Final(utt=1, text="ten of clubs", from_pos=200, to_pos=200)
    assert settling.final(100, "ten of clubs") is None  # once
    assert settling.final(200, "Queen of hearts") == Final(utt=2, text="hearts", from_pos=200, to_pos=200)
    settling.overdue("yes")
    assert settling.final(300, "Yes.") is None  # nothing new
    third = settling.final(400, "yes", from_pos=300)  # said again, and the vendor says that it is of later audio
    assert third == Final(utt=3, text="yes", from_pos=300, to_pos=400)


def test_words_that_nothing_stood_in_for_are_told_by_the_final_that_covers_them() -> None:
    settling = Settling(0)
    settling.ask(1, 100)
    settling.overdue("")
    told = settling.final(200, "ten clubs", [TimedWord("ten", 10, 50), TimedWord("clubs", 120, 160)])
    assert told is not None
    assert (told.text, told.from_pos, told.to_pos) == ("ten clubs", 100, 200)
    assert told.words == (TimedWord("ten", 100, 100), TimedWord("clubs", 120, 160))


def test_words_of_before_an_answer_that_come_after_it_are_told() -> None:
    """A turn that was ended by force ends on what was transcribed so far; the rest comes with the next turn."""
    settling = Settling(0)
    settling.final(100, "ten of", [TimedWord("ten", 0, 40), TimedWord("of", 50, 100)])
    settling.ask(1, 200)
    settling.asks[0].is_sent = True
    assert settling.answered(200)[-1] == Finalized(utt=1, to_pos=200)
    clubs = [TimedWord("clubs", 110, 150)]
    assert settling.final(150, "clubs", clubs) == Final(utt=1, text="clubs", from_pos=200, to_pos=200)
    more = [TimedWord("and", 160, 190), TimedWord("king", 210, 250)]
    told = settling.final(250, "and king", more)
    assert told is not None
    assert (told.text, told.from_pos, told.to_pos) == ("and king", 200, 250)
    assert settling.final(250, "and king", more) is None


def test_words_of_a_vendor_without_times_are_told_though_no_audio_was_sent_since() -> None:
    settling = Settling(0)
    settling.final(100, "ten of clubs", is_new=True)
    assert settling.final(100, "king", is_new=True) == Final(utt=0, text="king", from_pos=100, to_pos=100)
    assert settling.final(100, "", is_new=True) is None
    assert settling.final(100, "king") is None


# --------------------------------------------------------------------------------------------------------- meter


def test_a_meter_counts_audio_or_connections() -> None:
    audio, connection = Meter("audio"), Meter("connection")
    for meter in (audio, connection):
        meter.opened(10.0)
    assert (audio.take(3.0, 15.0), connection.take(3.0, 15.0)) == (3.0, 5.0)
    for meter in (audio, connection):
        meter.opened(18.0)  # another one, in place of the first
    assert (audio.due(3.5, 20.0), connection.due(3.5, 20.0)) == (0.5, 5.0)
    assert (audio.take(3.5, 20.0), connection.take(3.5, 20.0)) == (0.5, 5.0)
    assert (audio.take(3.5, 20.0), connection.take(3.5, 20.0)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "told", "left"),
    [
        ("Ten of clubs.", "ten of", "clubs."), ("ten", "ten", ""), ("ten of", "queen", "ten of"),
        ("ten of", "ten of clubs", "ten of"), ("Don't go", "dont", "go"), ("", "x", ""),
    ],
)  # fmt: skip
def test_the_rest_of_a_text(text: str, told: str, left: str) -> None:
    assert rest(text, told) == left


ops = st.one_of(
    st.tuples(st.just("final"), st.integers(0, 500), st.text("ab ", max_size=8)),
    st.tuples(st.just("ask"), st.integers(0, 500), st.just("")),
    st.tuples(st.just("sent"), st.just(0), st.just("")),
    st.tuples(st.just("answered"), st.integers(-1, 500), st.just("")),
    st.tuples(st.just("overdue"), st.just(0), st.text("ab ", max_size=8)),
)


@given(st.lists(ops, max_size=60))
def test_finals_are_contiguous_and_every_ask_is_answered_once_in_order(steps: list[tuple[str, int, str]]) -> None:
    settling, told, utt, direct = Settling(10), [], 0, []
    for kind, pos, text in steps:
        if kind == "final":
            told += filter(None, [settling.final(pos, text)])
        elif kind == "ask":
            utt += 1
            if not settling.ask(utt, pos):
                direct.append(utt)
        elif kind == "sent" and (ask := settling.unsent()) is not None:
            ask.is_sent = True
        elif kind == "answered":
            told += settling.answered(pos)
        elif kind == "overdue":
            told += settling.overdue(text)
    while settling.asks:
        told += settling.overdue("")
    begin = 10
    for event in told:
        if isinstance(event, Final):
            assert event.from_pos == begin
            assert begin < event.to_pos or (begin == event.to_pos and event.text)  # the latter: late words
            begin = event.to_pos
        else:
            assert event.to_pos <= begin  # everything up to it was told
    answered = [e.utt for e in told if isinstance(e, Finalized)]
    assert answered == [n for n in range(1, utt + 1) if n not in direct]
