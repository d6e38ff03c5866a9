"""A stream of words for a voice: nothing lost, nothing doubled, no marks, the same text however it is cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from actors.pieces import Piece, Pieces, fit
from actors.sentences import Splitter

MARKS = st.sampled_from([
    "**", "*", "_", "`", "```", "~~", "# ", "- ", "> ", "| ", " | ", "[", "](http://x.y/z)", "]", "(", ")", "---",
    "\n", "\n\n", ". ", "! ", "? ", "... ", ", ", "1. ", "Dr. ", "3.50", "\U0001f600", "\\*", "。", "a", "I ", "été ",
])  # fmt: skip
TEXTS = st.lists(st.one_of(MARKS, st.text("abc de\n.", max_size=6)), max_size=30).map("".join)


def given_for(chunks: list[str], *, whole: bool = False) -> list[Piece]:
    pieces = Pieces(whole=whole)
    return [p for chunk in chunks for p in pieces.feed(chunk)] + pieces.end()


def sentences_of(text: str) -> list[str]:
    splitter = Splitter()
    return [*splitter.feed(text), *splitter.end()]


def chunks_of(text: str, cuts: list[int]) -> list[str]:
    at = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(at)]


@given(TEXTS, st.lists(st.integers(0, 400), max_size=40))
def test_pieces_put_together_are_the_sentences_put_together(text: str, cuts: list[int]) -> None:
    pieces = given_for(chunks_of(text, cuts))
    assert "".join(p.text for p in pieces) == " ".join(sentences_of(text))


@given(TEXTS)
def test_letter_by_letter_is_the_same_as_at_once(text: str) -> None:
    letters, at_once = given_for(list(text)), given_for([text])
    assert "".join(p.text for p in letters) == "".join(p.text for p in at_once)


@given(TEXTS, st.lists(st.integers(0, 400), max_size=40))
def test_a_voice_that_takes_sentences_gets_each_whole(text: str, cuts: list[int]) -> None:
    pieces = given_for(chunks_of(text, cuts), whole=True)
    assert [p.text.strip() for p in pieces] == sentences_of(text)
    assert all(p.ends for p in pieces)


@given(TEXTS, st.lists(st.integers(0, 400), max_size=40))
def test_sentences_end_where_they_end(text: str, cuts: list[int]) -> None:
    assume(len(text) < 300)  # one that is too long ends where it is cut, and words behind the cut were given
    said: list[str] = [""]
    for piece in given_for(chunks_of(text, cuts)):
        said[-1] += piece.text
        if piece.ends:
            said.append("")
    assert said[-1] == ""
    assert [s.strip() for s in said[:-1]] == sentences_of(text)


@pytest.mark.parametrize(
    ("chunks", "pieces"),
    [
        pytest.param(["Hello th", "ere, how"], ["Hello", " there,", " how"], id="a word when the next begins"),
        pytest.param(["It is **ve", "ry** good"], ["It", " is very", " good"], id="emphasis is no word's part"),
        pytest.param(["See [our pa", "ge](http://x.y) now"], ["See our page", " now"], id="a link is waited for"),
        pytest.param(["A \U0001f600 b", " c"], ["A", " b", " c"], id="emoji are no words"),
        pytest.param(["Yes. It", " is."], ["Yes.", " It", " is."], id="a sentence is parted from the next"),
        pytest.param(["--- \n", "one tw", "o"], ["one", " two"], id="a rule is waited for and not said"),
        pytest.param(["```py\n", "x"], ["x"], id="a fence is not said"),
    ],
)
def test_what_is_given_when(chunks: list[str], pieces: list[str]) -> None:
    assert [p.text for p in given_for(chunks)] == pieces


def test_a_switch_in_mid_sentence_loses_nothing() -> None:
    pieces = Pieces(whole=False)
    said = pieces.feed("One two three ")
    pieces.whole = True
    said += pieces.feed("four five. Six")
    pieces.whole = False
    said += pieces.feed(" seven eight") + pieces.end()
    assert "".join(p.text for p in said) == "One two three four five. Six seven eight"


@given(st.text("ab ", max_size=80), st.integers(1, 20))
def test_parts_fit_and_are_the_text(text: str, limit: int) -> None:
    parts = fit(text, limit)
    assert "".join(parts) == text
    assert all(0 < len(part) <= limit for part in parts)


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        pytest.param("one two three", 8, ["one two", " three"], id="between words"),
        pytest.param("overlong", 3, ["ove", "rlo", "ng"], id="within one where there is no other way"),
        pytest.param("one two", None, ["one two"], id="no limit"),
        pytest.param("", 3, [], id="nothing"),
    ],
)
def test_a_text_is_cut_between_words(text: str, limit: int | None, parts: list[str]) -> None:
    assert fit(text, limit) == parts
