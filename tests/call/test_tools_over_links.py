"""A tool that a model calls, over real links: a Python function run in the model's own actor. Real time, bounded."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from actors import events as ev
from actors.providers.interface import Action
from router.tools import ToolSpec
from tests import tool_functions
from tests.call.house import FAKES, House
from tests.call.test_session_host import run, talk
from tests.call.tool_double import calls

MODEL = {"vad": ("vad", "fake-vad", {}), "s2s": ("model", "fake-s2s", {})}


def tool(function: str) -> ToolSpec:
    return ToolSpec(name=function, python=f"tests.tool_functions:{function}", deadline_s=5.0)


@pytest.mark.parametrize(
    ("providers", "who"), [pytest.param(FAKES, "agent", id="an agent"), pytest.param(MODEL, "model", id="a model")]
)
def test_functions_are_run_in_the_actor_and_spoken_about(providers: Any, who: str) -> None:
    tool_functions.seen.clear()

    async def script(house: House) -> None:
        handle = house.hosts[who].provider.handle
        handle.answer([calls("status", "a", order="17"), calls("remember", "b")], "It comes.")
        plan = replace(house.plan(), tools=(tool("status"), tool("remember")))
        events = await talk(house.grant(plan), ((1.0, 2.0),), 4.0)
        results = {e.call_id: (e.name, e.ok) for e in events if isinstance(e, ev.ToolResult)}
        assert results == {"a": ("status", True), "b": ("remember", True)}
        assert [e.said for e in events if isinstance(e, ev.VoiceStopped)] == ["It comes."]
        told = [args if who == "model" else args[1:] for args in handle.calls("tool_result")]
        assert [args[:3] for args in told] == [("a", "Order 17 is on its way.", True), ("b", "none", True)]
        (context,) = tool_functions.seen
        assert (context.session_id, context.tenant_id, context.key) == ("s1", "acme", f"s1:{context.turn}:b")

    run(script, providers=providers)
    assert not [thread for thread in threading.enumerate() if thread.name in ("tool", "tools")]


def test_an_option_that_a_stream_refuses_is_told_over_links_too() -> None:
    stubborn = {**FAKES, "tts": ("voice", "tests.call.tool_double:StubbornVoice", {})}

    async def script(house: House) -> None:
        answer = [Action(turn=0, name="set_language", value="de"), "Gut."]
        house.hosts["agent"].provider.handle.answer(answer)
        events = await talk(house.grant(), ((1.0, 2.0),), 4.0)
        assert [(e.stage, e.detail) for e in events if isinstance(e, ev.Degraded)] == [
            ("tts", "voice does not change language in mid-call")
        ]
        assert [e.name for e in events if isinstance(e, ev.AgentAction)] == ["set_language"]

    run(script, providers=stubborn)
