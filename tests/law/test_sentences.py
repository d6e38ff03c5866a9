"""Text to sentences: where they end, where they do not, and that nothing but marks is lost."""

from __future__ import annotations

import doctest
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors import sentences
from actors.sentences import Splitter, speakable


def split(text: str, **kwargs: int) -> list[str]:
    splitter = Splitter(**kwargs)
    return splitter.feed(text) + splitter.end()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"], id="the plain case"),
        pytest.param("Dr. Smith is in. Call him.", ["Dr. Smith is in.", "Call him."], id="a title"),
        pytest.param("Ask Mr. and Mrs. Jones. Now.", ["Ask Mr. and Mrs. Jones.", "Now."], id="two titles"),
        pytest.param("It costs 3.5 euros. Fine.", ["It costs 3.5 euros.", "Fine."], id="a number"),
        pytest.param("Well... I think so. Yes.", ["Well... I think so.", "Yes."], id="dots of omission"),
        pytest.param("Well… maybe. Yes.", ["Well… maybe.", "Yes."], id="one character of omission"),
        pytest.param("J. R. R. Tolkien wrote it. Yes.", ["J. R. R. Tolkien wrote it.", "Yes."], id="initials"),
        pytest.param("It was I. He left.", ["It was I.", "He left."], id="I is no initial"),
        pytest.param("See www.example.com/a.b?c=d. Bye.", ["See www.example.com/a.b?c=d.", "Bye."], id="a URL"),
        pytest.param("Use e.g. a pen. Go.", ["Use e.g. a pen.", "Go."], id="for example"),
        pytest.param("Open at 9 a.m. on Monday. Ok.", ["Open at 9 a.m. on Monday.", "Ok."], id="a.m. goes on"),
        pytest.param("We close at 5 p.m. Come early.", ["We close at 5 p.m.", "Come early."], id="p.m. ends"),
        pytest.param("Acme Inc. makes it. Yes.", ["Acme Inc. makes it.", "Yes."], id="Inc. goes on"),
        pytest.param("It is no. 5. I said no. Really.", ["It is no. 5.", "I said no.", "Really."], id="no. and no"),
        pytest.param('"Stop!" he said. Then left.', ['"Stop!" he said.', "Then left."], id="speech within"),
        pytest.param(
            'He said "Stop." Then left.', ['He said "Stop."', "Then left."], id="the quote belongs to its end"
        ),
        pytest.param("What?! No!! Yes.", ["What?!", "No!!", "Yes."], id="several stops"),
        pytest.param("version 2.0.1 is out. Get it.", ["version 2.0.1 is out.", "Get it."], id="a version"),
        pytest.param("今日は。元気？はい！終", ["今日は。", "元気？", "はい！", "終"], id="Chinese and Japanese stops"),
        pytest.param("नमस्ते। आप कैसे हैं।", ["नमस्ते।", "आप कैसे हैं।"], id="danda"),
        pytest.param("مرحبا؟ نعم۔ طيب", ["مرحبا؟", "نعم۔", "طيب"], id="Arabic and Urdu stops"),
        pytest.param("First line\nsame sentence. Next.", ["First line same sentence.", "Next."], id="a folded line"),
        pytest.param("A title\n\nA text", ["A title", "A text"], id="a blank line ends"),
        pytest.param("We have:\n- red\n- blue", ["We have:", "red", "blue"], id="a list"),
        pytest.param("1. Buy milk\n2. Go home", ["1. Buy milk", "2. Go home"], id="a numbered list"),
        pytest.param("# Hello\nThis is it.", ["Hello", "This is it."], id="a heading"),
        pytest.param("**Yes.** *No.* `ok`.", ["Yes.", "No.", "ok."], id="emphasis around a sentence"),
        pytest.param("[See Dr. Who. Now](http://a.b/c). Ok.", ["See Dr. Who. Now.", "Ok."], id="a link is whole"),
        pytest.param("Hello! 😀 How are you? 👍🏽", ["Hello!", "How are you?"], id="emoji"),
        pytest.param("🙂 👍", [], id="nothing to say"),
        pytest.param("", [], id="empty"),
        pytest.param("  \n\n ", [], id="white space"),
        pytest.param("...", [], id="only dots"),
        pytest.param("---\nDone.", ["Done."], id="a rule"),
        pytest.param("```python\nprint(1)\n```\nOk.", ["print(1)", "Ok."], id="a fence"),
        pytest.param("snake_case and 2*3 and 4 * 5.", ["snake_case and 2*3 and 4 * 5."], id="marks that are none"),
        pytest.param("Take 7. - 3 is 4.", ["Take 7.", "- 3 is 4."], id="a dash within a line is no bullet"),
        pytest.param("I paid $5. that was it", ["I paid $5.", "that was it"], id="lower case goes on after a stop"),
    ],
)
def test_where_sentences_end(text, expected):
    assert split(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**bold** and _it_ and ~~gone~~", "bold and it and gone"),
        ("> quoted\n> more", "quoted more"),
        ("- [x] done", "done"),
        ('a ![picture](x.png "t") here', "a picture here"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a b 1 2"),
        (r"5 \* 3 \# 4", "5 * 3 # 4"),
        ("flag 🇩🇪 family 👨‍👩‍👧 heart ❤️ key 1️⃣", "flag family heart key 1"),
        ("20° © 2024 € 5 → 6", "20° © 2024 € 5 → 6"),
    ],
)
def test_marks_are_stripped_and_nothing_else(text, expected):
    assert speakable(text) == expected


PIECES = st.lists(
    st.sampled_from(
        [
            "Hello",
            "world",
            "Dr",
            "3",
            ".",
            "...",
            "!",
            "?",
            " ",
            " ",
            "\n",
            "\n\n",
            ",",
            "**",
            "*",
            "- ",
            "1. ",
            "# ",
            "e.g",
            "p.m",
            "A",
            "[x",
            "](u)",
            '"',
            "。",
            "😀",
            "`",
            "www.a.b",
            "_",
            "(",
            ")",
            "no",
            "|",
            "\\",
        ]
    ),
    max_size=40,
).map("".join)


@given(
    st.one_of(PIECES, st.text(max_size=80)), st.lists(st.integers(1, 9), max_size=60), st.sampled_from([20, 40, 300])
)
@example("Hello." + " " * 400 + "Dr. X", [1] * 60, 20)
def test_any_cutting_gives_the_same_sentences(text, sizes, max_chars):
    splitter, at, out = Splitter(max_chars), 0, []
    for size in sizes:
        out += splitter.feed(text[at : at + size])
        at += size
    out += splitter.feed(text[at:])
    out += splitter.end()
    assert out == split(text, max_chars=max_chars)


@given(PIECES, st.sampled_from([20, 300]))
def test_no_letter_is_lost(text, max_chars):
    """Letters and digits are never markup (but for a link's target and a fence's language, left out here)."""
    text = text.replace("](u)", "]")
    spoken = "".join(c for sentence in split(text, max_chars=max_chars) for c in sentence if c.isalnum())
    assert spoken == "".join(c for c in text if c.isalnum())


@given(st.lists(st.sampled_from(["alpha", "beta", "gamma,", "3.5", "Dr.", "delta.", "omega!", "why?"]), max_size=60))
def test_plain_text_is_lost_nowhere_and_spans_point_at_it(words):
    text = " ".join(words)
    splitter = Splitter(60)
    told = list(zip(splitter.feed(text), splitter.spans, strict=True))
    told += list(zip(splitter.end(), splitter.spans, strict=True))
    assert " ".join(sentence for sentence, _ in told) == text
    for sentence, (begin, end) in told:
        assert text[begin:end] == sentence


@given(st.text(max_size=400))
def test_a_sentence_is_never_longer_than_the_bound(text):
    assert all(0 < len(sentence) <= 50 for sentence in split(text, max_chars=50))


def test_a_long_sentence_is_split_behind_its_last_comma_or_space():
    text = "one two three four, five six seven eight nine ten"
    assert split(text, max_chars=30) == ["one two three four,", "five six seven eight nine ten"]
    assert split("one two three four five six seven", max_chars=20) == ["one two three four", "five six seven"]
    assert split("x" * 45, max_chars=20) == ["x" * 20, "x" * 20, "x" * 5]


def test_a_sentence_is_given_with_the_character_that_decides():
    splitter = Splitter()
    assert splitter.feed("It is done.") == []
    assert splitter.feed(" ") == []
    assert splitter.feed("N") == ["It is done."]


def test_the_splitter_is_ready_for_another_text():
    splitter = Splitter()
    assert splitter.feed("Half a") + splitter.end() == ["Half a"]
    assert splitter.feed("New. Text") == ["New."]
    assert splitter.spans == [(0, 4)]


def test_a_bound_that_is_none_is_refused():
    with pytest.raises(ValueError, match="max_chars is 5"):
        Splitter(5)


def test_the_examples_hold():
    result = doctest.testmod(sentences)
    assert result.attempted > 0
    assert result.failed == 0


def test_no_white_space_is_left_around_or_doubled():
    for sentence in split("  A   b.\n\n  C \t d.  "):
        assert sentence == re.sub(r"\s+", " ", sentence).strip()
