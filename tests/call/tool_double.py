"""Runs tools in virtual time: each takes as long as it is told and gives what it is told.

tools = FakeTools(status=(1.0, "on its way"), book=(0.5, "failed", "no table"))
play(..., tools=tools, offers=tools.specs)           tools.ops, tools.done
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from actors import wire
from actors.providers.fake import FakeStt, FakeTts
from actors.providers.fake_tts import FakeTtsStream
from actors.providers.interface import Emit, StreamSpec, SttCapabilities, ToolCall, ToolOutcome
from router.tools import ACTIONS, ToolSpec

NEVER_S = 1e6


class FakeTools:
    """Fulfils `tool_runner.ToolRunner`. `never`: seconds that nobody waits."""

    def __init__(self, idempotent: bool = False, **gives: tuple[Any, ...]) -> None:
        self._gives = gives
        self.ops: list[wire.ToolRun] = []
        self.done: list[str] = []
        self.specs = tuple(
            ToolSpec(name=name, python=f"m:{name}", description=name, deadline_s=5.0, idempotent=idempotent)
            for name in gives
        )

    def with_actions(self) -> tuple[ToolSpec, ...]:
        return (*self.specs, *ACTIONS.values())

    async def run(self, op: wire.ToolRun) -> ToolOutcome:
        self.ops.append(op)
        took_s, *rest = self._gives[op.tool.name]
        why, result = rest if len(rest) == 2 else ("done", rest[0])
        await asyncio.sleep(took_s)
        self.done.append(op.id)
        return ToolOutcome(id=op.id, why=why, result=result, ms=took_s * 1000)


def calls(name: str, id: str = "c1", **args: Any) -> ToolCall:
    """What a fake model answers with, to call a tool."""
    return ToolCall(turn=0, id=id, name=name, args=args)


class EnglishEar(FakeStt):
    """Has the option, and knows one language."""

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        return replace(FakeStt.capabilities(options), languages=("en",))


class StubbornVoice(FakeTts):
    """Has the option, and takes no change of it."""

    async def open(self, spec: StreamSpec, emit: Emit) -> FakeTtsStream:
        stream = await super().open(spec, emit)
        stream.update = lambda options: tuple(options)  # type: ignore[method-assign]
        return stream
