"""A server of chat completions as OpenAI's, streamed: strict about requests, and a model that is easily led.

    vendor.answers.append(["Let me look. ", Call("book", {"people": 2})])      the next answer: text, calls, Finish(...)

Without an answer in store the model says what it was told: "You said: ...", "The tool says: ...", and it calls a tool
of whose name it hears a word. Its tokens are four characters long; the instructions are cached.

Source   OpenAI's OpenAPI file (`CreateChatCompletionRequest`, `CreateChatCompletionStreamResponse`, error bodies).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.vendors.peer import Body
from tests.vendors.server import KEY, FakeVendor, Route

__all__ = ["Call", "FakeOpenAiChat", "Finish", "Raw"]

_KNOWN = frozenset({
    "model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls", "temperature",
    "top_p", "seed", "stop", "max_tokens", "max_completion_tokens", "reasoning_effort", "service_tier",
})  # fmt: skip
_STORY_CHARS = 1000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


@dataclass(frozen=True)
class Call:
    """A call of a tool; its arguments are streamed in pieces of `piece` characters."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)
    id: str = "call_1"
    piece: int = 4


@dataclass(frozen=True)
class Finish:
    """How the answer ends, in place of `stop` or `tool_calls`."""

    reason: str


@dataclass(frozen=True)
class Raw:
    """A delta just as it is (a mapping), or bytes of the stream (text)."""

    delta: dict[str, Any] | str


class FakeOpenAiChat(FakeVendor):
    unknown = None

    def __init__(self) -> None:
        super().__init__()
        self.answers: deque[Sequence[Any]] = deque()
        self.asked: list[dict[str, Any]] = []
        self.gone = 0
        """Answers whose client left before the end."""
        self.allows = _KNOWN
        self.word_s = 0.0
        """Between two words; a story is told at 5 ms a word in any case."""

    @property
    def base_url(self) -> str:
        """As the vendor's client takes it."""
        return f"{self.http_url}/v1"

    def routes(self) -> Iterator[Route]:
        yield "POST", "/v1/chat/completions", self.http(self._complete)
        yield "GET", "/v1/models", self.http(self._models)

    async def check(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {KEY}":
            return None
        return _refusal(401, "Incorrect API key provided: sk-...", "invalid_request_error", "invalid_api_key")

    async def _models(self, body: Body) -> None:
        await body.answer(200, {"object": "list", "data": [{"id": "test-1", "object": "model"}]})

    async def _complete(self, body: Body) -> None:
        asked = await body.json()
        self.asked.append(asked)
        self._judge(asked)
        parts = self.answers.popleft() if self.answers else _own(asked)
        await body.start(content_type="text/event-stream; charset=utf-8", Cache_Control="no-cache")
        try:
            await self._stream(body, asked, parts)
        except BaseException:
            self.gone += 1
            raise

    async def _stream(self, body: Body, asked: dict[str, Any], parts: Sequence[Any]) -> None:
        reason, calls, said = "stop", 0, 0
        await body.write(": keep-alive\n\n")
        await body.write(_chunk({"role": "assistant", "content": ""}))
        for part in parts:
            if isinstance(part, Finish):
                reason = part.reason
            elif isinstance(part, Raw):
                await body.write(part.delta if isinstance(part.delta, str) else _chunk(part.delta))
                calls += isinstance(part.delta, dict) and "tool_calls" in part.delta
            elif isinstance(part, Call):
                reason = "tool_calls"
                for delta in _call(part, calls):
                    await body.write(_chunk(delta))
                calls += 1
            else:
                said += len(part)
                for word in re.findall(r"\S+\s*|\s+", part):
                    await body.write(_chunk({"content": word}))
                    await asyncio.sleep(0.005 if len(part) > _STORY_CHARS else self.word_s)
        if reason:
            await body.write(_chunk({}, reason))
        if asked.get("stream_options", {}).get("include_usage"):
            await body.write(_event({**_HEAD, "choices": [], "usage": _usage(asked, said)}))
        await body.write("data: [DONE]\n\n")

    # -- what it would not take

    def _judge(self, asked: dict[str, Any]) -> None:
        for name in sorted(asked.keys() - self.allows):
            self.violation(f"unknown field {name}")
        if asked.get("stream") is not True or not isinstance(asked.get("model"), str):
            self.violation("model and stream: true are wanted")
        for tool in asked.get("tools", []):
            function = tool.get("function", {})
            if tool.get("type") != "function" or not _NAME.match(function.get("name", "")):
                self.violation(f"this is no tool: {tool}")
            if function.get("parameters", {}).get("type") != "object":
                self.violation(f"parameters of {function.get('name')} are no object")
        if not asked.get("tools") and ("tool_choice" in asked or "parallel_tool_calls" in asked):
            self.violation("tool_choice without tools")
        self._judge_messages(asked.get("messages"))

    def _judge_messages(self, messages: Any) -> None:
        if not isinstance(messages, list) or not messages:
            self.violation("messages are wanted")
            return
        owed: list[str] = []
        for message in messages:
            role, content = message.get("role"), message.get("content")
            if role == "tool":
                if message.get("tool_call_id") not in owed:
                    self.violation("a tool's message that answers to no call")
                else:
                    owed.remove(message["tool_call_id"])
            elif owed:
                self.violation(f"calls without results: {owed}")
                owed = []
            if role not in ("system", "developer", "user", "assistant", "tool"):
                self.violation(f"role {role!r}")
            calls = message.get("tool_calls", [])
            if not isinstance(content, str) and not (role == "assistant" and calls):
                self.violation(f"a message of {role} without content")
            for call in calls:
                json.loads(call["function"]["arguments"])
                owed.append(call["id"])
        if owed:
            self.violation(f"calls without results: {owed}")


_HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1790000000, "model": "test-1",
         "system_fingerprint": "fp_1"}  # fmt: skip


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _chunk(delta: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _event({**_HEAD, "choices": [choice], "usage": None, "obfuscation": "xxxxxx", "novelty": {"a": 1}})


def _call(call: Call, index: int) -> Iterator[dict[str, Any]]:
    head = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
    yield {"tool_calls": [head]}
    arguments = json.dumps(call.args)
    for at in range(0, len(arguments), call.piece):
        yield {"tool_calls": [{"index": index, "function": {"arguments": arguments[at : at + call.piece]}}]}


def _usage(asked: dict[str, Any], said: int) -> dict[str, Any]:
    sizes = {m["role"]: 0 for m in asked["messages"]}
    for message in asked["messages"]:
        sizes[message["role"]] += len(message.get("content") or "")
    prompt, made = sum(sizes.values()) // 4, said // 4
    return {
        "prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made,
        "prompt_tokens_details": {"cached_tokens": sizes.get("system", 0) // 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip


def _own(asked: dict[str, Any]) -> list[Any]:
    last = asked["messages"][-1]
    if last["role"] == "tool":
        return [f"The tool says: {last['content']}"]
    words = set(re.findall(r"\w{4,}", (last["content"] or "").lower()))
    for tool in asked.get("tools", []):
        if words & set(tool["function"]["name"].split("_")):
            return ["Let me see. ", Call(tool["function"]["name"])]
    if "story" in (last["content"] or ""):
        return ["Once upon a time there was a telephone. " * 40]
    return [f"You said: {last['content']}."]


def _refusal(status: int, message: str, kind: str, code: str | None) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind, "param": None, "code": code}}, status=status)
