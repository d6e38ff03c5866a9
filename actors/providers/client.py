"""The agent is the caller's own code: `turn.ended` goes out to it, `say(...)` comes back.

The session sees `client=True` in the capabilities and asks this provider for nothing; it stands in the route so that
the route says who answers. Asked all the same, it answers at once with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actors.providers import options as stream_options
from actors.providers.interface import AgentCapabilities, AgentDone, Cause, Emit, Item, Options, StreamSpec, Tool
from actors.secrets import Secret

__all__ = ["Provider"]


class ClientOptions(Options):
    """None: the caller's code decides everything."""


class _Stream:
    def __init__(self, emit: Emit) -> None:
        self._emit, self._closed = emit, False

    def reply(self, turn: int, revision: int, history: Sequence[Item], tools: Sequence[Tool], cause: Cause) -> None:
        if not self._closed:
            self._emit(AgentDone(turn=turn, revision=revision))

    def tool_result(self, turn: int, id: str, result: str, ok: bool) -> None:
        """It calls no tools."""

    def cancel(self, turn: int) -> None:
        """Nothing is under way."""

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(options)

    async def close(self, *, drain: bool) -> None:
        self._closed = True


class Provider:
    Options = ClientOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> AgentCapabilities:
        return AgentCapabilities(streams_per_actor=1000, client=True)

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        self._options = dict(options)
        stream_options.parse(ClientOptions, "client", self._options)

    async def warm(self) -> None:
        pass

    async def probe(self) -> None:
        pass

    async def open(self, spec: StreamSpec, emit: Emit) -> _Stream:
        stream_options.parse(ClientOptions, "client", self._options, spec.options)
        return _Stream(emit)

    async def close(self) -> None:
        pass
