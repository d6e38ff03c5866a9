"""The history of a call: calls of tools stand where they were made, and no more is given away than a link carries."""

from __future__ import annotations

import msgspec
import pytest

from actors.history import MAX_CHARS, MAX_ITEMS, History, as_text
from actors.providers.interface import Item


def test_a_result_stands_where_the_tool_was_called_however_late_it_is() -> None:
    history = History()
    history.user(1, "book it")
    history.tool_called("a", "book", {"people": 2}, "One moment.")
    history.agent("One moment.", "One", True)
    history.user(2, "and?")
    history.tool_done("a", "table 4", True)
    assert [(i.role, i.said, i.ok) for i in history.items()] == [
        ("user", "book it", None), ("tool", "table 4", True), ("agent", "One moment.", None), ("user", "and?", None),
    ]  # fmt: skip


def test_what_was_said_before_a_call_is_told_until_the_reply_has_an_item() -> None:
    history = History()
    history.user(1, "book it")
    history.tool_called("a", "book", {}, "One moment.")
    history.tool_called("b", "book", {}, "")
    assert [i.before for i in history.items()] == ["", "One moment.", ""]
    history.reply_over()
    assert [i.before for i in history.items()] == ["", "", ""]


def test_a_result_of_what_was_forgotten_is_nothing() -> None:
    history = History()
    history.tool_called("a", "book", {}, "")
    for turn in range(MAX_ITEMS):
        history.user(turn, "x")
    history.tool_done("a", "late", True)
    assert all(i.role == "user" for i in history.items())


@pytest.mark.parametrize("long", [MAX_CHARS // 4, MAX_CHARS * 2])
def test_an_agent_is_given_no_more_than_a_link_carries_and_the_newest_always(long: int) -> None:
    history = History()
    for turn in range(20):
        history.user(turn, "ö" * long)
    given = history.items()
    assert len(given) == max(1, MAX_CHARS // long)
    assert len(msgspec.msgpack.encode(given)) < 1_000_000


def test_an_item_in_words() -> None:
    tool = Item(role="tool", said="table 4", name="book", args={"people": 2}, ok=True)
    assert as_text(tool) == 'The tool book was called with {"people":2}: table 4'
    assert as_text(msgspec.structs.replace(tool, said="", ok=None)).endswith("it is not known yet")
    assert as_text(Item(role="agent", said="One moment.", heard="One")) == "One"
