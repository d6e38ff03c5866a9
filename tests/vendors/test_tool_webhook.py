"""A webhook as a tool, against a real server that computes the signature itself."""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from actors import tool_webhook, wire
from actors.providers.interface import ToolOutcome
from actors.secrets import Secret
from actors.tool_runner import Tools
from actors.tool_webhook import Webhooks, is_public
from actors.tools import ToolError
from router.tools import ToolSpec
from tests.vendors.fake_webhook import FakeWebhook
from tests.vendors.live import run
from tests.vendors.server import KEY

NOW_S = 1_790_000_000.0
SECRET = Secret(KEY, "env:TOOL_KEY")


def op(url: str, *, private: bool = True, deadline_s: float = 5.0, again: bool = False, **args: Any) -> wire.ToolRun:
    tool = ToolSpec(
        name="book", url=url, secret="env:TOOL_KEY", private=private, deadline_s=deadline_s, idempotent=again
    )
    return wire.ToolRun(turn=3, id="call_9", key="s:3:call_9", session_id="s", tenant_id="acme", tool=tool, args=args)


def scene(body: Callable[[FakeWebhook, Webhooks], Awaitable[None]]) -> None:
    async def whole() -> None:
        webhooks = Webhooks(lambda: NOW_S)
        try:
            async with FakeWebhook(NOW_S) as vendor:
                await body(vendor, webhooks)
        finally:
            await webhooks.close()

    run(whole())


def run_tool(path: str, **options: Any) -> tuple[ToolOutcome, FakeWebhook]:
    """One call through the runner, whose clock is the machine's."""

    async def whole() -> tuple[ToolOutcome, FakeWebhook]:
        tools = Tools(webhooks=Webhooks(lambda: NOW_S))
        async with FakeWebhook(NOW_S) as vendor:
            prepare = options.pop("prepare", None)
            if prepare is not None:
                prepare(vendor)
            outcome = await tools.run(op(f"{vendor.http_url}{path}", **options))
            await tools.close()
            return outcome, vendor

    return run(whole())


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_KEY", KEY)


def test_a_call_is_signed_named_and_answered() -> None:
    async def body(vendor: FakeWebhook, webhooks: Webhooks) -> None:
        answer = await webhooks.call(op(f"{vendor.http_url}/echo", people=2, name="Zoë"), SECRET)
        assert answer == '{"args": {"people": 2, "name": "Zo\\u00eb"}, "call": "call_9"}'
        assert (vendor.keys, vendor.hosts) == (["s:3:call_9"], [f"127.0.0.1:{vendor.port}"])

    scene(body)


def test_any_key_fits_into_its_header() -> None:
    async def body(vendor: FakeWebhook, webhooks: Webhooks) -> None:
        odd = msgspec.structs.replace(op(f"{vendor.http_url}/echo"), key="Zoë\r\nX-Other: 1:3:call_9")
        await webhooks.call(odd, SECRET)
        assert vendor.keys == ["Zo%C3%AB%0D%0AX-Other:%201:3:call_9"]

    scene(body)


def test_calls_share_a_connection() -> None:
    async def body(vendor: FakeWebhook, webhooks: Webhooks) -> None:
        for _ in range(3):
            await webhooks.call(op(f"{vendor.http_url}/echo"), SECRET)
        assert (vendor.requests, vendor.connections) == (3, 1)

    scene(body)


def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def body(vendor: FakeWebhook, webhooks: Webhooks) -> None:
        async def resolve(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        await webhooks.call(op(f"http://tools.test:{vendor.port}/echo"), SECRET)
        assert (asked, vendor.hosts) == (["tools.test"], [f"tools.test:{vendor.port}"])
        with pytest.raises(ToolError, match="no public one"):
            await webhooks.call(op(f"http://tools.test:{vendor.port}/echo", private=False), SECRET)
        assert vendor.requests == 1

    scene(body)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost"])
def test_no_spelling_of_this_machine_passes_for_a_public_host(host: str) -> None:
    async def body(vendor: FakeWebhook, webhooks: Webhooks) -> None:
        with pytest.raises(ToolError, match=r"no public one|no address"):
            await webhooks.call(op(f"http://{host}:{vendor.port}/echo", private=False), SECRET)
        assert vendor.connections == 0

    scene(body)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.1.1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


@pytest.mark.parametrize(
    ("path", "says"),
    [
        pytest.param("/refuse", "the tool refused (status 404): there is no such table", id="4xx is told"),
        pytest.param("/fail", "the tool failed (status 500)", id="5xx is not"),
        pytest.param("/redirect", "the tool answered with a redirect, which is not followed", id="a redirect"),
    ],
)
def test_what_is_no_answer_is_a_failure_that_a_model_may_read(path: str, says: str) -> None:
    outcome, vendor = run_tool(path)
    assert (outcome.why, outcome.result, vendor.requests) == ("failed", says, 1)


def test_a_long_answer_is_read_to_a_bound_and_cut() -> None:
    outcome, _ = run_tool("/endless")
    assert outcome.why == "done"
    assert outcome.result.startswith("x" * 8_000 + "… (cut: the result has 262144")


def test_a_silent_webhook_ends_at_the_deadline() -> None:
    outcome, _ = run_tool("/echo", deadline_s=0.2, prepare=lambda vendor: vendor.orders.stall())
    assert (outcome.why, round(outcome.ms, -2)) == ("timeout", 200)


def test_an_idempotent_tool_is_tried_again_with_the_same_key() -> None:
    outcome, vendor = run_tool("/echo", again=True, prepare=lambda vendor: vendor.orders.refuse(503))
    assert (outcome.why, vendor.requests, vendor.keys) == ("done", 2, ["s:3:call_9"])
    outcome, vendor = run_tool("/echo", prepare=lambda vendor: vendor.orders.refuse(503))
    assert (outcome.why, vendor.requests) == ("failed", 1)
    outcome, vendor = run_tool("/refuse", again=True)
    assert (outcome.why, vendor.requests) == ("failed", 1)  # a no is a no


def test_a_host_that_is_not_there_is_told_without_its_address() -> None:
    async def whole() -> ToolOutcome:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        tools = Tools()
        outcome = await tools.run(op(f"http://127.0.0.1:{port}/echo"))
        await tools.close()
        return outcome

    outcome = run(whole())
    assert (outcome.why, outcome.result) == ("failed", "the tool cannot be reached (ConnectError)")


def test_the_key_is_in_nothing_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    outcome, _ = run_tool("/fail")
    with pytest.raises(TypeError):
        pickle.dumps(SECRET)
    printed = capsys.readouterr()
    assert KEY not in repr(outcome) + printed.out + printed.err
    assert "canary" not in outcome.result
    assert tool_webhook.signature(SECRET, "1", b"{}") != tool_webhook.signature(SECRET, "2", b"{}")
