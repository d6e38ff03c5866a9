"""Chat completions without a network: events from bytes, calls from pieces, messages from a history."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.providers.chat_calls import ARGUMENTS_MAX, CALLS_MAX, ChatCalls
from actors.providers.chat_messages import as_functions, messages
from actors.providers.interface import Item, Tool
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_sse import EVENT_MAX, SseDecoder, SseEvent
from router.errors import ProviderError

VENDOR = Vendor(name="chat")
STREAM = (
    b": hello\r\n\r\ndata: {\"a\": 1}\r\n\r\nevent: error\rdata:x\r\rid: 7\nretry: 5\ndata: F\xc3\xbc\xc3\x9fe\n"
    b"data: and more\n\n\n\ndata\n\ndata: last"
)  # fmt: skip
EVENTS = [
    SseEvent("", '{"a": 1}'), SseEvent("error", "x"), SseEvent("", "Füße\nand more"), SseEvent("", ""),
    SseEvent("", "last"),
]  # fmt: skip


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_do_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    decoder, events = SseDecoder(VENDOR), []
    edges = [0, *sorted(cuts), len(STREAM)]
    for begin, end in itertools.pairwise(edges):
        events += decoder.feed(STREAM[begin:end])
    assert [*events, *decoder.end()] == EVENTS


@pytest.mark.parametrize("piece", [b"data: \xff\n", b"x" * (EVENT_MAX + 1)])
def test_what_is_no_event_is_a_protocol_error(piece: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        SseDecoder(VENDOR).feed(piece)
    assert caught.value.kind == "protocol"


def test_many_lines_of_one_event_are_bounded_too() -> None:
    decoder, lines = SseDecoder(VENDOR), itertools.repeat(b"data: " + b"x" * 1000 + b"\n", EVENT_MAX // 1000 + 2)
    with pytest.raises(ProviderError, match="more than"):
        list(map(decoder.feed, lines))


@given(st.dictionaries(st.text(min_size=1), st.integers() | st.text()), st.integers(1, 9))
def test_arguments_do_not_depend_on_their_pieces(args: dict[str, Any], size: int) -> None:
    calls, text = ChatCalls(VENDOR), json.dumps(args)
    calls.take(0, "a", "book", "")
    for at in range(0, len(text), size):
        calls.take(0, None, None, text[at : at + size])
    (call,) = calls.whole(3, 1)
    assert (call.turn, call.revision, call.id, call.name, call.args, call.problem) == (3, 1, "a", "book", args, "")


def test_calls_whose_pieces_come_in_turn_are_kept_apart_by_their_index() -> None:
    calls = ChatCalls(VENDOR)
    for index, id in ((0, "a"), (1, "b")):
        calls.take(index, id, "book", "")
    for piece in ('{"n"', ": 1", "}"):
        for index in (0, 1):
            calls.take(index, None, None, piece)
    assert [(c.id, c.args) for c in calls.whole(1, 0)] == [("a", {"n": 1}), ("b", {"n": 1})]


def test_calls_without_an_index_go_by_their_ids_and_names() -> None:
    calls = ChatCalls(VENDOR)
    calls.take(None, "a", "book", '{"n"')
    calls.take(None, None, None, ": 1}")
    calls.take(None, "b", "book", "{}")
    calls.take(None, "a", None, "  ")
    calls.take(None, None, "status", None)
    made = calls.whole(1, 0)
    assert [(c.id, c.name) for c in made] == [("a", "book"), ("b", "book"), ("call_2", "status")]
    assert made[0].args == {"n": 1}


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([(n, f"c{n}", "f", "") for n in range(CALLS_MAX + 1)], id="too many calls"),
        pytest.param([(0, "a", "f", "x" * (ARGUMENTS_MAX + 1))], id="arguments without an end"),
        pytest.param([(0, "a", None, "{}")], id="a call without a name"),
    ],
)
def test_calls_that_no_model_makes_are_a_protocol_error(pieces: list[Any]) -> None:
    def put_together() -> None:
        calls = ChatCalls(VENDOR)
        for piece in pieces:
            calls.take(*piece)
        calls.whole(1, 0)

    with pytest.raises(ProviderError) as caught:
        put_together()
    assert caught.value.kind == "protocol"


def user(text: str) -> Item:
    return Item(role="user", said=text)


def tool(id: str, result: str = "yes", before: str = "", ok: bool | None = True) -> Item:
    return Item(role="tool", said=result, call_id=id, name="book", args={"n": 1}, ok=ok, before=before)


def shown(history: list[Item], max_chars: int = 1000, **more: Any) -> list[tuple[Any, ...]]:
    made = messages(history, None, **{"cause": "user", "max_chars": max_chars, **more})
    return [
        (m["role"], m["content"], *(c["id"] for c in m.get("tool_calls", [])), *filter(None, [m.get("tool_call_id")]))
        for m in made
    ]


def test_of_the_agent_only_what_was_heard_counts() -> None:
    history = [
        user("hi"), Item(role="agent", said="Hello there. How are you?", heard="Hello there.", interrupted=True),
        user("stop"), Item(role="agent", said="Never heard.", heard="", interrupted=True), user("again"),
    ]  # fmt: skip
    assert shown(history) == [
        ("user", "hi"), ("assistant", "Hello there."), ("user", "stop"), ("user", "again"),
    ]  # fmt: skip


def test_calls_of_one_round_are_one_message_with_each_result_behind_it() -> None:
    history = [user("hi"), tool("a", before="One moment."), tool("b", "", ok=None), tool("c", before="And now.")]
    assert shown(history) == [
        ("user", "hi"),
        ("assistant", "One moment.", "a", "b"),
        ("tool", "yes", "a"),
        ("tool", "It runs still; what it gives is not known yet.", "b"),
        ("assistant", "And now.", "c"),
        ("tool", "yes", "c"),
    ]


def test_the_oldest_items_are_left_out_and_the_callers_last_words_never() -> None:
    history = [user("a" * 40), Item(role="agent", said="b" * 40), user("c" * 40), tool("x", "d" * 40), tool("y")]
    assert shown(history, 140)[0] == ("assistant", "b" * 40)
    assert shown(history, 60) == [
        ("user", "c" * 40), ("assistant", None, "x", "y"), ("tool", "d" * 40, "x"), ("tool", "yes", "y"),
    ]  # fmt: skip
    assert shown([user("z" * 500)], 100) == [("user", "z" * 100)]


@given(st.lists(st.sampled_from(["user", "agent", "tool"]), max_size=30), st.integers(1, 400))
def test_every_call_has_its_result_however_the_history_is_cut(roles: list[str], max_chars: int) -> None:
    history = [
        tool(f"c{n}", before="x" * (n % 3)) if role == "tool" else Item(role=role, said="word " * (n % 7))  # type: ignore[arg-type]
        for n, role in enumerate(roles)
    ]
    owed: list[str] = []
    for message in messages(history, "Be kind.", cause="user", max_chars=max_chars):
        if message["role"] == "tool":
            owed.remove(message["tool_call_id"])
        else:
            assert not owed
            owed = [call["id"] for call in message.get("tool_calls", [])]
    assert not owed


def test_why_it_shall_speak_is_told_where_nobody_has_spoken() -> None:
    assert [m["content"] for m in messages([], "Be kind.", cause="greeting", max_chars=100)] == [
        "Be kind.", "The call has just begun. Greet the caller.",
    ]  # fmt: skip
    assert shown([user("12#")], cause="dtmf") == [("user", "(presses keys: 12#)")]
    assert shown([user("hi")], cause="silence")[-1][0] == "system"
    assert messages([], "x", cause="user", max_chars=9, role="developer") == [{"role": "developer", "content": "x"}]


def test_tools_are_functions() -> None:
    (made,) = as_functions([Tool(name="book", description="Book a table.")])
    assert made == {
        "type": "function",
        "function": {
            "name": "book", "description": "Book a table.", "parameters": {"type": "object", "properties": {}},
        },
    }  # fmt: skip
