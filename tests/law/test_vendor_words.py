"""Times of words: whatever a vendor says, what comes out are words of the text, in order, none of them twice."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.providers.vendor_words import SpokenWords, Timed


def brief(told: list[Timed]) -> list[tuple[str, float, float]]:
    return [(t.word, round(t.start_ms, 3), round(t.end_ms, 3)) for t in told]


def test_words_without_their_punctuation_are_those_of_the_text() -> None:
    words = SpokenWords()
    words.add("Hello, world! It")
    words.add(" costs 3.50.")
    told = words.take("Hello", 0, 400) + words.take("world", 400, 900)
    assert brief(told) == [("Hello,", 0, 400), ("world!", 400, 900)]
    told = words.take("It", 950, 1000) + words.take("costs", 1000, 1400) + words.take("3.50", 1400, 2000)
    assert brief(told) == [("It", 950, 1000), ("costs", 1000, 1400), ("3.50.", 1400, 2000)]
    assert [(t.char_from, t.char_to) for t in told] == [(14, 16), (17, 22), (23, 28)]
    assert words.finish(28, 2100) == []


def test_letters_in_any_pieces_make_words() -> None:
    words = SpokenWords()
    words.add("Go on.")
    told: list[Timed] = []
    for at, letter in enumerate("Go on."):
        told += words.take(letter, at * 10, at * 10 + 10)
    assert brief(told) == [("Go", 0, 20), ("on.", 30, 50)]


def test_a_word_that_was_left_out_shares_the_time_between_its_neighbours() -> None:
    words = SpokenWords()
    words.add("one two four five")
    told = words.take("one", 0, 100) + words.take("five", 800, 1000)
    assert brief(told) == [("one", 0, 100), ("two", 100, 400), ("four", 400, 800), ("five", 800, 1000)]


def test_the_last_words_end_with_the_audio_and_the_next_text_begins_after_them() -> None:
    words = SpokenWords()
    words.add("one two three")
    assert brief(words.take("one", 0, 100)) == [("one", 0, 100)]
    assert brief(words.finish(13, 900)) == [("two", 100, 400), ("three", 400, 900)]
    words.add(" one")
    assert brief(words.take("one", 950, 1100)) == [("one", 950, 1100)]


def test_a_text_of_which_nothing_was_said_is_not_guessed() -> None:
    words = SpokenWords()
    words.add("one two")
    assert words.finish(7, 900) == []
    words.add(" three")
    assert brief(words.take("three", 900, 1000)) == [("three", 900, 1000)]


@pytest.mark.parametrize(("start_ms", "end_ms"), [(float("nan"), 1.0), (5.0, 4.0), (-1.0, 1.0), (0.0, float("nan"))])
def test_times_that_cannot_be_are_ignored(start_ms: float, end_ms: float) -> None:
    words = SpokenWords()
    words.add("one")
    assert words.take("one", start_ms, end_ms) == []
    assert words.finish(3, 100) == []


TOKENS = st.text(alphabet="abAB .,ß1İ", max_size=6)
MS = st.floats(0, 5000)


@settings(deadline=None, max_examples=300)
@given(
    texts=st.lists(TOKENS, max_size=6),
    told=st.lists(st.one_of(st.tuples(TOKENS, MS, MS), st.tuples(st.integers(0, 40), MS)), max_size=40),
)
def test_whatever_a_vendor_says_the_words_are_those_of_the_text_in_order(texts: list[str], told: list) -> None:
    words = SpokenWords()
    whole, out = "", []
    for text in texts:
        words.add(text)
        whole += text
    for one in told:
        out += words.take(*one) if len(one) == 3 else words.finish(min(one[0], len(whole)), one[1])
    runs = [whole[t.char_from : t.char_to] for t in out]
    assert runs == [t.word for t in out]
    assert all(t.word and not any(c.isspace() for c in t.word) for t in out)
    assert all(0 <= t.start_ms < t.end_ms for t in out)
    assert all(a.end_ms <= b.start_ms and a.char_to <= b.char_from for a, b in pairwise(out))
