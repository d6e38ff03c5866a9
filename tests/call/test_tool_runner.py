"""Tools are run: a function off the loop, its deadline, its errors in words that a model may read. Real time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from actors import wire
from actors.tool_runner import Tools
from actors.tool_threads import ToolsBusy, ToolThreads
from router.tools import ToolSpec
from tests import tool_functions
from tests.canary import KEY


def call(
    function: str, *, deadline_s: float = 5.0, most: int = 8_000, again: bool = False, **args: Any
) -> wire.ToolRun:
    tool = ToolSpec(
        name=function, python=f"tests.tool_functions:{function}", deadline_s=deadline_s, result_max_chars=most,
        idempotent=again,
    )  # fmt: skip
    return wire.ToolRun(turn=3, id="call_9", key="s:3:call_9", session_id="s", tenant_id="acme", tool=tool, args=args)


def with_tools(scene: Callable[[Tools], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        tools = Tools(**options)
        async with asyncio.timeout(20):
            try:
                await scene(tools)
            finally:
                await tools.close()

    asyncio.run(whole())


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    tool_functions.release.clear()
    tool_functions.seen.clear()
    yield
    tool_functions.release.set()


@pytest.mark.parametrize(
    ("op", "why", "result"),
    [
        pytest.param(call("status", order="17"), "done", "Order 17 is on its way.", id="text"),
        pytest.param(
            call("book", people=2, day="2026-12-24"), "done",
            '{"people":2,"day":"2026-12-24","where":"in","guest":null}', id="an async function, and JSON",
        ),
        pytest.param(call("refuse", order="17"), "failed", "there is no order 17", id="a no in its own words"),
        pytest.param(call("break_down"), "failed", "the tool failed (KeyError)", id="an error by its name alone"),
        pytest.param(
            call("status"), "failed", "the arguments do not fit: order: Field required", id="arguments that do not fit"
        ),
        pytest.param(
            call("odd"), "failed", "the tool gave a result that is neither text nor JSON", id="a result that is no JSON"
        ),
        pytest.param(
            call("long", most=20), "done", "x" * 20 + "… (cut: the result has 100000 characters)", id="a long result"
        ),
        pytest.param(
            call("slow", deadline_s=0.1), "timeout",
            "the tool did not answer within 0.1 s; it may still have been done", id="an async function is late",
        ),
        pytest.param(
            call("hang", deadline_s=0.1), "timeout",
            "the tool did not answer within 0.1 s; it may still have been done", id="another function is late",
        ),
        pytest.param(call("gone"), "failed", "the tool cannot be used at present", id="a function of another node"),
    ],
)  # fmt: skip
def test_every_call_has_an_outcome(op: wire.ToolRun, why: str, result: str) -> None:
    async def scene(tools: Tools) -> None:
        outcome = await tools.run(op)
        assert (outcome.id, outcome.why, outcome.result) == ("call_9", why, result)
        assert KEY not in repr(outcome)

    with_tools(scene)


def test_a_function_is_told_which_call_it_is() -> None:
    async def scene(tools: Tools) -> None:
        await tools.run(call("remember"))
        (context,) = tool_functions.seen
        assert (context.session_id, context.tenant_id, context.turn) == ("s", "acme", 3)
        assert (context.call_id, context.key, context.deadline_s) == ("call_9", "s:3:call_9", 5.0)

    with_tools(scene)


def test_functions_run_side_by_side_and_never_on_this_loop() -> None:
    async def scene(tools: Tools) -> None:
        hanging = [asyncio.ensure_future(tools.run(call("hang"))) for _ in range(3)]
        assert (await tools.run(call("status", order="1"))).why == "done"  # while three wait
        tool_functions.release.set()
        assert [o.result for o in await asyncio.gather(*hanging)] == ["at last"] * 3

    with_tools(scene)


def test_calls_beyond_the_bound_are_refused() -> None:
    async def scene(tools: Tools) -> None:
        first = asyncio.ensure_future(tools.run(call("hang")))
        await asyncio.sleep(0)
        assert (await tools.run(call("status", order="1"))).why == "overload"
        tool_functions.release.set()
        assert (await first).why == "done"
        assert (await tools.run(call("status", order="1"))).why == "done"

    with_tools(scene, calls_max=1)


def test_a_function_that_hangs_keeps_its_place_until_it_returns() -> None:
    async def scene() -> None:
        threads = ToolThreads(running_max=1)
        late = asyncio.ensure_future(threads.run(tool_functions.hang, {}, is_async=False))
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        with pytest.raises(ToolsBusy):
            await threads.run(tool_functions.status, {"order": "1"}, is_async=False)
        tool_functions.release.set()
        for _ in range(1000):
            if not threads.running:
                break
            await asyncio.sleep(0.005)
        assert await threads.run(tool_functions.status, {"order": "1"}, is_async=False) == "Order 1 is on its way."

    asyncio.run(scene())


def test_async_functions_share_one_loop_that_ends_with_them() -> None:
    async def where() -> int:
        return threading.get_ident()

    async def scene() -> None:
        threads = ToolThreads()
        first, second = await threads.run(where, {}, is_async=True), await threads.run(where, {}, is_async=True)
        assert first == second != threading.get_ident()
        cut = asyncio.ensure_future(threads.run(tool_functions.slow, {}, is_async=True))
        await asyncio.sleep(0.01)
        await threads.close()
        with pytest.raises(RuntimeError, match="CancelledError"):
            await cut
        assert not [t for t in threading.enumerate() if t.name == "tools"]

    asyncio.run(scene())


def test_what_ends_a_process_ends_only_the_function() -> None:
    def leave() -> None:
        raise SystemExit(3)

    async def scene() -> None:
        with pytest.raises(RuntimeError, match="SystemExit"):
            await ToolThreads().run(leave, {}, is_async=False)

    asyncio.run(scene())
