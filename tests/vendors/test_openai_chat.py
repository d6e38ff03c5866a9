"""Chat completions against their fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from actors import events as ev
from actors.local import LocalCall
from actors.providers import interface as i
from actors.providers.fake import FakeStt, FakeTts, FakeTurn, FakeVad
from actors.providers.openai_chat import Provider
from actors.secrets import Secret
from actors.tool_runner import Tools
from router.errors import ProviderError
from router.plan import Candidate, RoutePlan
from router.settings import SessionSettings
from router.tools import ToolSpec
from tests.vendors.fake_openai_chat import Call, FakeOpenAiChat, Finish, Raw
from tests.vendors.live import Ear, run, spec
from tests.vendors.orders import bad_json
from tests.vendors.server import KEY

BOOK = i.Tool(name="book", description="Book a table.", schema={"type": "object", "properties": {"people": {}}})
IDS = ("a", "b")
HELLO = (i.Item(role="user", said="hello"),)
Scene = Callable[[FakeOpenAiChat, Provider, Any, Ear], Awaitable[None]]


def provider(vendor: FakeOpenAiChat, key: str = KEY, **options: Any) -> Provider:
    quick = {"model": "test-1", "first_text_s": 1.0, "stall_s": 0.3, **options}
    return Provider(quick, Secret(key, "env:OPENAI_KEY"), vendor.base_url)


def scene(body: Scene, key: str = KEY, **options: Any) -> None:
    async def whole() -> None:
        async with FakeOpenAiChat() as vendor:
            chat, ear = provider(vendor, key, **options), Ear()
            try:
                await chat.warm()
                await body(vendor, chat, await chat.open(spec(), ear), ear)
            finally:
                await chat.close()

    run(whole())


def said(ear: Ear, turn: int = 1) -> str:
    return "".join(e.delta for e in ear.all(i.TextDelta) if e.turn == turn)


def test_an_answer_comes_word_by_word_and_then_what_it_used() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        stream.reply(1, 0, HELLO, (), "user")
        usage = await ear.wait(i.Usage)
        assert [e.delta for e in ear.all(i.TextDelta)] == ["You ", "said: ", "hello."]
        assert ear.told[-2:] == [i.AgentDone(turn=1, revision=0), usage]
        assert usage.amounts == {"tokens_in": 1.0, "tokens_cached": 5.0, "tokens_out": 4.0}
        (asked,) = vendor.asked
        assert asked["messages"] == [
            {"role": "system", "content": "You are a telephone."}, {"role": "user", "content": "hello"},
        ]  # fmt: skip
        assert asked["stream_options"] == {"include_usage": True}

    scene(body, instructions="You are a telephone.")


def test_options_are_fields_of_the_request() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.allows = vendor.allows | {"chat_template_kwargs"}
        stream.reply(1, 0, HELLO, (BOOK,), "user")
        await ear.wait(i.AgentDone)
        (asked,) = vendor.asked
        named = ("temperature", "top_p", "seed", "max_tokens", "stop", "chat_template_kwargs", "parallel_tool_calls")
        assert [asked[name] for name in named] == [0.2, 0.9, 7, 50, ["END"], {"enable_thinking": False}, False]
        assert "stream_options" not in asked
        assert asked["tools"][0]["function"]["strict"] is True
        assert stream.update({"temperature": 1.5, "model": "", "language": "de"}) == ("model", "language")
        stream.reply(2, 0, HELLO, (), "user")
        await ear.wait(i.AgentDone, 2)
        assert vendor.asked[1]["temperature"] == 1.5

    scene(
        body, temperature=0.2, top_p=0.9, seed=7, max_tokens=50, max_tokens_name="max_tokens", stop=["END"],
        extra={"chat_template_kwargs": {"enable_thinking": False}}, include_usage=False, strict_tools=True,
        parallel_tool_calls=False,
    )  # fmt: skip


def test_calls_are_whole_and_the_answer_goes_on_from_their_results() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.answers.append(
            ["Let me look. ", Call("book", {"people": 2, "name": "Zoë"}, "a"), Call("book", {"people": 3}, "b")]
        )
        stream.reply(1, 0, HELLO, (BOOK,), "user")
        done = await ear.wait(i.AgentDone)
        assert (said(ear), done.why) == ("Let me look. ", "tools")
        assert [(c.id, c.name, c.args, c.turn, c.revision) for c in ear.all(i.ToolCall)] == [
            ("a", "book", {"people": 2, "name": "Zoë"}, 1, 0), ("b", "book", {"people": 3}, 1, 0),
        ]  # fmt: skip
        results = tuple(
            i.Item(role="tool", said=f"table {n}", call_id=n, name="book", args={"people": 2}, ok=True, before=before)
            for n, before in (("a", "Let me look. "), ("b", ""))
        )
        stream.reply(1, 0, (*HELLO, *results), (BOOK,), "tool")
        await ear.wait(i.AgentDone, 2)
        assert said(ear) == "Let me look. The tool says: table b"
        assert [m["role"] for m in vendor.asked[1]["messages"]] == ["user", "assistant", "tool", "tool"]
        assert vendor.asked[1]["messages"][1]["content"] == "Let me look. "

    scene(body)


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param([{"index": 0, "id": "a", "function": {"name": "book", "arguments": '{"n": 1}'}}], id="at once"),
        pytest.param([{"id": "a", "function": {"name": "book", "arguments": '{"n": 1}'}}], id="without an index"),
        pytest.param([{"index": 0, "function": {"name": "book", "arguments": '{"n": 1}'}}], id="without an id"),
        pytest.param([{"index": 0, "id": "a", "function": {"name": "book", "arguments": {"n": 1}}}], id="an object"),
        pytest.param(
            [{"index": 0, "id": "a", "function": {"name": "book", "arguments": '{"n"'}},
             {"index": 0, "id": "a", "function": {"name": "book", "arguments": ": 1}"}}], id="id and name repeated",
        ),
    ],
)  # fmt: skip
def test_calls_of_compatible_servers(deltas: list[Any]) -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.answers.append([*(Raw({"tool_calls": [delta]}) for delta in deltas), Finish("stop")])
        stream.reply(1, 0, HELLO, (BOOK,), "user")
        assert (await ear.wait(i.AgentDone)).why == "tools"
        (call,) = ear.all(i.ToolCall)
        assert (call.id in ("a", "call_0"), call.name, call.args, call.problem) == (True, "book", {"n": 1}, "")

    scene(body)


def test_calls_that_all_have_index_zero_are_several() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.answers.append(
            [
                Raw({"tool_calls": [{"index": 0, "id": n, "function": {"name": "book", "arguments": "{}"}}]})
                for n in "ab"
            ]
        )
        stream.reply(1, 0, HELLO, (BOOK,), "user")
        await ear.wait(i.AgentDone)
        assert [call.id for call in ear.all(i.ToolCall)] == ["a", "b"]

    scene(body)


def test_arguments_that_are_no_object_are_the_models_mistake() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        for turn, arguments in ((1, '{"people": '), (2, "[1]")):
            delta = {"index": 0, "id": "a", "function": {"name": "book", "arguments": arguments}}
            vendor.answers.append([Raw({"tool_calls": [delta]})])
            stream.reply(turn, 0, HELLO, (BOOK,), "user")
            await ear.wait(i.AgentDone, turn)
        problems = [c.problem for c in ear.all(i.ToolCall)]
        assert problems == ["the arguments are no JSON", "the arguments are no JSON object"]
        assert not ear.all(i.Fault)

    scene(body)


@pytest.mark.parametrize(
    ("reason", "why"), [("length", "length"), ("content_filter", "filtered"), ("stop", "complete")]
)
def test_how_an_answer_ended(reason: str, why: str) -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.answers.append(["It is", Finish(reason)])
        stream.reply(1, 0, HELLO, (), "user")
        assert (await ear.wait(i.AgentDone)).why == why

    scene(body)


def test_a_question_that_the_vendor_will_not_answer_is_no_fault() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        said = "Filtered, due to our content management policy. " * 9
        text = json.dumps({"error": {"message": said, "code": "content_filter"}})
        vendor.orders.refuse(400, text)
        stream.reply(1, 0, HELLO, (), "user")
        assert (await ear.wait(i.AgentDone)).why == "filtered"
        assert (ear.all(i.Fault), vendor.requests) == ([], 1)

    scene(body)


def test_a_conversation_that_is_too_long_is_asked_again_with_half_of_it() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        said = "This model's maximum context length is 10 tokens."
        vendor.orders.refuse(400, json.dumps({"error": {"message": said, "code": "context_length_exceeded"}}))
        history = tuple(i.Item(role="user", said=f"{n:03} " * 20) for n in range(8))
        stream.reply(1, 0, history, (), "user")
        await ear.wait(i.AgentDone)
        assert (vendor.requests, len(vendor.asked[0]["messages"])) == (2, 3)

    scene(body, history_max_chars=500)


def test_before_the_first_word_it_is_tried_again() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.orders.refuse(503, "overloaded")
        stream.reply(1, 0, HELLO, (), "user")
        await ear.wait(i.AgentDone)
        vendor.orders.refuse(429, "slow down", {"Retry-After": "0.1"})
        stream.reply(2, 0, HELLO, (), "user")
        await ear.wait(i.AgentDone, 2)
        assert (vendor.requests, said(ear, 2), ear.all(i.Fault)) == (4, "You said: hello.", [])

    scene(body)


def test_a_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.orders.cut_after(0)
        stream.reply(1, 0, HELLO, (), "user")
        await vendor.until(lambda: vendor.requests == 1)
        vendor.orders.left = None
        await ear.wait(i.AgentDone)
        assert said(ear) == "You said: hello."

    scene(body)


@pytest.mark.parametrize(
    ("status", "headers", "text", "kind", "retry_s"),
    [
        (401, {}, "", "auth", None),
        (404, {}, "no such model", "config", None),
        (429, {"Retry-After": "30"}, "rate limit", "busy", 30.0),
        (429, {}, json.dumps({"message": "You have no money. " * 20, "code": "insufficient_quota"}), "quota", None),
        (302, {"Location": "http://169.254.169.254/"}, "", "config", None),
    ],
)  # fmt: skip
def test_what_will_not_pass_is_told_at_once(
    status: int, headers: dict[str, str], text: str, kind: str, retry_s: float | None
) -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.orders.refuse(status, text or f"no {KEY}", headers)
        stream.reply(1, 0, HELLO, (), "user")
        fault = await ear.wait(i.Fault)
        assert (fault.kind, fault.retry_after_s, vendor.requests) == (kind, retry_s, 1)
        assert "openai-chat for tenant acme" in fault.detail
        assert KEY not in fault.detail

    scene(body)


def test_after_the_first_word_it_is_never_asked_again() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.orders.cut_after(4)  # a comment, the role, two words
        stream.reply(1, 0, HELLO, (), "user")
        fault = await ear.wait(i.Fault)
        assert (fault.kind, said(ear), vendor.requests) == ("connect", "You said: ", 1)

    scene(body, retries=5)


def test_no_answer_and_an_answer_that_stops_are_two_things() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.orders.accept_delay_s = 0.6
        stream.reply(1, 0, HELLO, (), "user")
        assert (await ear.wait(i.Fault)).kind == "timeout"
        vendor.orders.accept_delay_s = 0.0

        def third(message: Any) -> list[Any]:
            if "said" in str(message):
                vendor.orders.stall()
            return [message]

        vendor.orders.mangle(third)
        stream.reply(2, 0, HELLO, (), "user")
        fault = await ear.wait(i.Fault, 2)
        assert (fault.kind, said(ear, 2)[:4]) == ("stall", "You ")

    scene(body, first_text_s=0.3, retries=0)


def test_what_is_cancelled_closes_its_connection_and_says_nothing_more() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.orders.delay_s = 0.05
        vendor.answers.append(["word " * 100])
        stream.reply(1, 0, HELLO, (), "user")
        await ear.wait(i.TextDelta, 2)
        stream.cancel(1)
        told = len(ear.told)
        await vendor.until(lambda: vendor.gone == 1)
        vendor.orders.delay_s = 0.0
        stream.reply(2, 0, HELLO, (), "user")
        await ear.wait(i.AgentDone)
        assert {e.turn for e in ear.told[told:] if isinstance(e, i.TextDelta)} == {2}
        assert not ear.all(i.Fault)

    scene(body)


def test_a_turn_that_is_asked_again_takes_the_place_of_the_one_before() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.orders.delay_s = 0.02
        for revision in range(3):
            stream.reply(1, revision, HELLO, (), "user")
            await asyncio.sleep(0.05)
        done = await ear.wait(i.AgentDone)
        assert done.revision == 2
        assert len(ear.all(i.AgentDone)) == 1

    scene(body)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ('data: {"error": {"message": "The server is overloaded.", "type": "server_error"}}\n\n', "overload"),
        ('event: error\ndata: {"message": "Rate limit reached", "code": "rate_limit_exceeded"}\n\n', "busy"),
        ('data: {"error": {"code": "insufficient_quota"}}\n\n', "quota"),
        ("data: {no json\n\n", "protocol"),
        ('data: {"choices": [{"delta": {"content": 7}}]}\n\n', "protocol"),
        ('data: {"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": NaN}}\n\n', "protocol"),
    ],
)
def test_what_comes_inside_an_answer_is_named(raw: str, kind: str) -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.answers.append(["Well, ", Raw(raw), "never mind"])
        stream.reply(1, 0, HELLO, (), "user")
        fault = await ear.wait(i.Fault)
        assert (fault.kind, said(ear)) == (kind, "Well, ")
        assert "never" not in str(ear.told)

    scene(body)


def test_garbage_and_what_is_no_stream_never_reach_the_caller() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.orders.mangle(bad_json)
        stream.reply(1, 0, HELLO, (), "user")
        assert (await ear.wait(i.Fault)).kind in ("protocol", "connect")
        assert vendor.orders.mangled
        vendor.orders.mangle(None)
        vendor.orders.refuse(
            200, '{"choices": [{"message": {"content": "whole"}}]}', {"Content-Type": "application/json"}
        )
        stream.reply(2, 0, HELLO, (), "user")
        fault = await ear.wait(i.Fault, 2)
        assert (fault.kind, "application/json came" in fault.detail) == ("protocol", True)
        assert ear.all(i.TextDelta) == []

    scene(body, retries=0)


def test_an_answer_may_come_byte_by_byte() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        vendor.orders.drip(1)
        vendor.answers.append(["Füße", Call("book", {"people": 2}), Raw(": comment\r\n\r\n")])
        stream.reply(1, 0, HELLO, (BOOK,), "user")
        await ear.wait(i.AgentDone)
        assert (said(ear), ear.all(i.ToolCall)[0].args) == ("Füße", {"people": 2})

    scene(body, first_text_s=10.0, stall_s=5.0)


def test_answers_share_a_connection() -> None:
    async def body(vendor: FakeOpenAiChat, chat: Provider, stream: Any, ear: Ear) -> None:
        for turn in range(1, 6):
            stream.reply(turn, 0, HELLO, (), "user")
            await ear.wait(i.Usage, turn)
        assert (vendor.requests, vendor.connections, chat.counts.handshakes) == (5, 1, 1)

    scene(body)


def test_two_hundred_streams_at_once() -> None:
    async def whole() -> None:
        async with FakeOpenAiChat() as vendor:
            chat = provider(vendor, first_text_s=20.0, stall_s=10.0)
            await chat.warm()
            ears = [Ear() for _ in range(200)]
            streams = [await chat.open(spec(n), ear) for n, ear in enumerate(ears)]
            for n, stream in enumerate(streams):
                stream.reply(1, 0, (i.Item(role="user", said=f"number {n}"),), (), "user")
            for n, ear in enumerate(ears):
                await ear.wait(i.AgentDone, timeout_s=20.0)
                assert said(ear) == f"You said: number {n}."
            await chat.close()

    run(whole(), limit_s=60.0)


@pytest.mark.parametrize(
    ("options", "secret", "endpoint", "says"),
    [
        ({}, KEY, None, "model: Field required"),
        ({"model": "m", "extra": {"stream": False}}, KEY, None, "stream: not to be set here"),
        ({"model": "m", "temprature": 1}, KEY, None, "did you mean temperature?"),
        ({"model": "m"}, None, None, "needs a secret"),
        ({"model": "m"}, KEY, "http://example.com/v1", "for loopback only"),
        ({"model": "m"}, KEY, f"https://me:{KEY}@example.com/v1", "no user info"),
    ],
)
def test_a_configuration_that_does_not_hold(options: Any, secret: Any, endpoint: Any, says: str) -> None:
    with pytest.raises(ProviderError) as caught:
        Provider(options, Secret(secret, "env:K") if secret else None, endpoint)
    assert (caught.value.kind, says in str(caught.value), KEY in str(caught.value)) == ("config", True, False)


def test_the_probe_shows_the_credential_and_takes_a_server_without_a_list() -> None:
    async def whole() -> None:
        async with FakeOpenAiChat() as vendor:
            chat = provider(vendor)
            await chat.probe()
            vendor.orders.refuse(404, "no such page")
            await chat.probe()
            await chat.close()
            wrong = provider(vendor, "wrong-key")
            with pytest.raises(ProviderError) as caught:
                await wrong.probe()
            assert caught.value.kind == "auth"
            await wrong.close()

    run(whole())


def test_a_whole_call_with_a_tool() -> None:
    """Session, agent and tool together; ears and voice are fakes. Real time."""

    async def whole() -> None:
        async with FakeOpenAiChat() as vendor:
            chat, tools = provider(vendor, first_text_s=5.0, instructions="You are a telephone."), Tools()
            await chat.warm()
            given = {"vad": FakeVad({}), "turn": FakeTurn({}), "stt": FakeStt({"says": ["call status"]}),
                     "agent": chat, "tts": FakeTts({})}  # fmt: skip
            kinds: dict[Any, str] = {"vad": "fake-vad", "turn": "fake-turn", "stt": "fake-stt", "tts": "fake-tts"}
            stages = {s: (Candidate(stage=s, provider=s, type=k),) for s, k in kinds.items()}
            stages["agent"] = (Candidate(stage="agent", provider="agent", type="openai-chat"),)
            status = ToolSpec(
                name="status", python="tests.tool_functions:remember", description="What became of it.",
                schema={"type": "object", "properties": {}},
            )  # fmt: skip
            plan = RoutePlan(
                route="r", version="v", tenant_id="acme", region="eu", pool_region="eu", settings=SessionSettings(),
                stages=stages, tools=(status,),
            )  # fmt: skip
            told: list[ev.Event] = []
            async with LocalCall(plan, given, tools, mode="lockstep") as call:
                for n in range(150):
                    call.session.caller_audio((b"\x00\x20" if 50 <= n < 100 else b"\0\0") * 320)
                    await asyncio.sleep(0.001)
                call.session.caller_op(ev.EndInput())
                async with asyncio.timeout(15):
                    while not told or not isinstance(told[-1], ev.SessionClosed):
                        told.append(await call.events.get())
            await tools.close()
            await chat.close()
            stopped = [e for e in told if isinstance(e, ev.VoiceStopped)]
            assert [e.said for e in stopped] == ["Let me see. The tool says: none"]
            assert [e.name for e in told if isinstance(e, ev.ToolCalled)] == ["status"]
            assert call.record is not None
            assert call.record["used"]["agent"]["tokens_in"] > 0

    run(whole())
