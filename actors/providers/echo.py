"""An agent that says what the caller said: the shortest way to hear a whole call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actors.providers import options as stream_options
from actors.providers.interface import (
    AgentCapabilities,
    AgentDone,
    Cause,
    Emit,
    Item,
    Options,
    StreamSpec,
    TextDelta,
    Tool,
)
from actors.secrets import Secret

__all__ = ["Provider"]


class EchoOptions(Options):
    prefix: str = "You said: "
    """Before what the caller said."""
    greeting: str = ""
    """Said when the session asks for a greeting; empty: nothing."""
    silence: str = ""
    """Said when the session reports that the caller is silent; empty: nothing."""


class _Stream:
    def __init__(self, options: EchoOptions, emit: Emit) -> None:
        self._options, self._emit, self._closed = options, emit, False

    def reply(self, turn: int, revision: int, history: Sequence[Item], tools: Sequence[Tool], cause: Cause) -> None:
        if self._closed:
            return
        text = {"greeting": self._options.greeting, "silence": self._options.silence, "tool": ""}.get(cause)
        if text is None:
            said = next((item.said for item in reversed(history) if item.role == "user"), "")
            text = self._options.prefix + said if said else ""
        if text:
            self._emit(TextDelta(turn=turn, revision=revision, delta=text))
        self._emit(AgentDone(turn=turn, revision=revision))

    def tool_result(self, turn: int, id: str, result: str, ok: bool) -> None:
        """It calls no tools."""

    def cancel(self, turn: int) -> None:
        """Its reply is complete the moment it is asked for."""

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        self._options, refused = stream_options.changed(self._options, options)
        return refused

    async def close(self, *, drain: bool) -> None:
        self._closed = True


class Provider:
    Options = EchoOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> AgentCapabilities:
        return AgentCapabilities(streams_per_actor=500, first_text_p99_s=0.1)

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        self._options = dict(options)
        stream_options.parse(EchoOptions, "echo", self._options)

    async def warm(self) -> None:
        pass

    async def probe(self) -> None:
        pass

    async def open(self, spec: StreamSpec, emit: Emit) -> _Stream:
        return _Stream(stream_options.parse(EchoOptions, "echo", self._options, spec.options), emit)

    async def close(self) -> None:
        pass
