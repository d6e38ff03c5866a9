"""Runs the tools that a model calls, for the sessions of one actor: a function elsewhere, a webhook, and a deadline.

    outcome = await runner.run(op)          # always an outcome, by the tool's deadline; never raises

Here and not in the session host: that one carries the audio of some hundred calls, and what an application does in a
tool is not ours to answer for. The actor of the agent (or of the model) is there already, has the stream that the
outcome travels on, and its death costs a call nothing but the next candidate.

Bound    `CALLS_MAX` calls under way; more are refused as `overload`. Results beyond the tool's `result_max_chars` are
         cut, and say so.
Again    a tool that is `idempotent` is tried once more, with the same key, if it broke down and there is time; a no
         that was meant (`ToolError`, 4xx) is one.
Log      the tool's name, what came of it and how long it took; never arguments or results.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

from pydantic_core import PydanticSerializationError, to_json

from actors import wire
from actors.logs import get_logger
from actors.providers.interface import ToolOutcome
from actors.secrets import Secret, resolve
from actors.tool_functions import find
from actors.tool_threads import ToolsBusy, ToolThreads
from actors.tool_webhook import Unavailable, Webhooks
from actors.tools import ToolContext, ToolError
from router.errors import ConfigError

__all__ = ["CALLS_MAX", "ToolRunner", "Tools"]

CALLS_MAX = 256
_AGAIN_S = 0.2
"""Before an idempotent tool is tried again: long enough for a listener that is being restarted, short for a caller."""
Why = Literal["done", "failed", "timeout", "overload"]

log = get_logger("tools")


class ToolRunner(Protocol):
    """Whoever runs tools for a session."""

    async def run(self, op: wire.ToolRun) -> ToolOutcome:
        """The outcome, by the tool's deadline. Never raises but for being cancelled."""
        ...


class Tools:
    """The `ToolRunner` of an actor. `close` ends what it holds; calls under way are their tasks' business."""

    def __init__(self, calls_max: int = CALLS_MAX, webhooks: Webhooks | None = None) -> None:
        self.calls = 0
        self._max = calls_max
        self._threads = ToolThreads()
        self._webhooks = webhooks if webhooks is not None else Webhooks()
        self._secrets: dict[str, Secret] = {}

    async def run(self, op: wire.ToolRun) -> ToolOutcome:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        why: Why = "overload"
        result = f"{self._max} tools are being called already; try again later"
        if self.calls < self._max:
            self.calls += 1
            try:
                why, result = await self._bounded(op)
            finally:
                self.calls -= 1
        ms = round((loop.time() - began_s) * 1000, 3)
        log.info("tool.called", tool=op.tool.name, session=op.session_id, tenant=op.tenant_id, outcome=why, ms=ms)
        return ToolOutcome(id=op.id, why=why, result=_cut(result, op.tool.result_max_chars), ms=ms)

    async def close(self) -> None:
        await self._threads.close()
        await self._webhooks.close()

    async def _bounded(self, op: wire.ToolRun) -> tuple[Why, str]:
        due_s = asyncio.get_running_loop().time() + op.tool.deadline_s
        try:
            async with asyncio.timeout_at(due_s):
                why, result, may_pass = await self._attempt(op)
                if may_pass and op.tool.idempotent:
                    await asyncio.sleep(_AGAIN_S)
                    why, result, _ = await self._attempt(op)
                return why, result
        except TimeoutError:
            return "timeout", f"the tool did not answer within {op.tool.deadline_s:g} s; it may still have been done"

    async def _attempt(self, op: wire.ToolRun) -> tuple[Why, str, bool]:
        """What came of it, and whether another time something else may: not of a no that was meant."""
        try:
            if op.tool.url is not None:
                return "done", await self._webhooks.call(op, self._secret(op.tool.secret)), False
            return "done", await self._function(op), False
        except ToolError as error:
            return "failed", str(error), isinstance(error, Unavailable)
        except ToolsBusy as error:
            return "overload", str(error), False
        except ConfigError as error:  # on this node alone: the configuration was checked on another
            log.error("tool.unusable", tool=op.tool.name, problems=error.problems)
            return "failed", "the tool cannot be used at present", False
        except Exception as error:  # a TimeoutError too: of its own, since ours is raised by the block around
            log.warning("tool.failed", tool=op.tool.name, session=op.session_id, error=type(error).__name__)
            return "failed", f"the tool failed ({type(error).__name__})", True

    async def _function(self, op: wire.ToolRun) -> str:
        assert op.tool.python is not None
        function = await self._threads.run(find, {"where": op.tool.python}, is_async=False)  # may import for seconds
        context = ToolContext(
            session_id=op.session_id, tenant_id=op.tenant_id, turn=op.turn, call_id=op.id, key=op.key,
            deadline_s=op.tool.deadline_s,
        )  # fmt: skip
        result = await self._threads.run(
            function.call, function.arguments(op.args, context), is_async=function.is_async
        )
        if isinstance(result, str):
            return result
        try:
            return to_json(result).decode()
        except (PydanticSerializationError, ValueError):
            raise ToolError("the tool gave a result that is neither text nor JSON") from None

    def _secret(self, reference: str | None) -> Secret:
        """Resolved at the first call and kept: a changed secret is a new actor, as with a provider's."""
        secret = self._secrets.get(reference or "")
        if secret is None:
            found = resolve(reference)
            if found is None:
                raise ConfigError(("a webhook needs a secret that signs its requests",))
            secret = self._secrets[reference or ""] = found
        return secret


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… (cut: the result has {len(text)} characters)"
