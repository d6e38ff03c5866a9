"""One answer of a chat completion, as its chunks come: text at once, calls and the end when they are whole.

    answer = ChatAnswer(ask, vendor, emit)
    answer.take(event)         TextDelta, ..., ToolCall, ..., AgentDone; answer.usage comes behind
    answer.end()               the answer is over, whatever it said

It is whole at its `finish_reason`, and does not wait for `[DONE]`. Whether tools were called is decided by whether
there are calls: servers end such an answer with `stop` too. An answer that ends without a reason broke off.

Raises   ProviderError for garbage, for an error inside, and for an answer that broke off.
Source   openai-python `types/chat/chat_completion_chunk.py`, `_streaming.py` (errors inside a stream).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from actors.providers.chat_calls import ChatCalls
from actors.providers.interface import AgentDone, Cause, Emit, Item, TextDelta, Tool
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode
from actors.providers.vendor_sse import SseEvent

__all__ = ["Ask", "ChatAnswer", "ChatUsage", "amounts"]

_WHY: Mapping[str, Literal["complete", "length", "filtered"]] = {"length": "length", "content_filter": "filtered"}


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None
    tool_calls: tuple[_Call, ...] | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Cached(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class ChatUsage(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Cached | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...] | None = None
    usage: ChatUsage | None = None
    error: Any = None


class Ask(msgspec.Struct, frozen=True):
    """What one answer is an answer to."""

    turn: int
    revision: int
    history: tuple[Item, ...]
    tools: tuple[Tool, ...]
    cause: Cause


class ChatAnswer:
    """One streamed answer: told as it comes."""

    def __init__(self, ask: Ask, vendor: Vendor, emit: Emit) -> None:
        self.begun = False
        """Something of it went out, or is on its way: it is not asked for again."""
        self.done = False
        self.usage: ChatUsage | None = None
        self._ask, self._vendor, self._emit = ask, vendor, emit
        self._calls = ChatCalls(vendor)
        self._why: str | None = None

    def take(self, event: SseEvent) -> bool:
        """Raises ProviderError for garbage and for an error inside. False: this was none of its messages."""
        if event.data.startswith("[DONE]"):
            self.end()
            return True
        chunk = decode(self._vendor, event.data, _Chunk)
        if chunk.error is not None or event.event == "error":
            raise self._vendor.from_message(_said(chunk.error or event.data), "overload")
        if chunk.usage is not None:
            self.usage = chunk.usage
        for choice in chunk.choices or ():
            if choice.index == 0 and not self.done:
                self._take(choice)
        return chunk.choices is not None or chunk.usage is not None

    def _take(self, choice: _Choice) -> None:
        delta = choice.delta or _Delta()
        for text in (delta.content, delta.refusal):
            if text:
                self.begun = True
                self._tell(text)
        for call in delta.tool_calls or ():
            if not self.begun:
                self.begun = True
                self._tell("")
            function = call.function or _Function()
            self._calls.take(call.index, call.id, function.name, function.arguments)
        if choice.finish_reason:
            self._why = choice.finish_reason
            self.end()

    def end(self) -> None:
        """The answer is whole: its calls, and that it is done. Raises ProviderError where it broke off."""
        if self.done:
            return
        if self._why is None:
            raise self._vendor.error("connect", "the answer broke off")
        ask, calls = self._ask, self._calls.whole(self._ask.turn, self._ask.revision)
        self.begun = self.done = True
        for call in calls:
            self._emit(call)
        why = "tools" if calls else _WHY.get(self._why, "complete")
        self._emit(AgentDone(turn=ask.turn, revision=ask.revision, why=why))

    def _tell(self, text: str) -> None:
        self._emit(TextDelta(turn=self._ask.turn, revision=self._ask.revision, delta=text))


def amounts(usage: ChatUsage) -> dict[str, float]:
    """As `Usage` has them: kinds of tokens are disjoint."""
    cached = (usage.prompt_tokens_details.cached_tokens or 0) if usage.prompt_tokens_details is not None else 0
    cached = min(cached, usage.prompt_tokens)
    return {
        "tokens_in": float(usage.prompt_tokens - cached),
        "tokens_cached": float(cached),
        "tokens_out": float(usage.completion_tokens),
    }


def _said(error: object) -> str:
    """The words of an error inside an answer."""
    if isinstance(error, dict):
        return " ".join(str(error[name]) for name in ("code", "type", "message") if error.get(name))
    return str(error)
