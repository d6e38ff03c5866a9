"""An agent behind `/chat/completions`: OpenAI, and every server that speaks as it does.

    chat: {stage: agent, type: openai-chat, secrets: {"*": env:OPENAI_API_KEY}, options: {model: gpt-x}}
    ours: {stage: agent, type: openai-chat, endpoints: {"*": "http://127.0.0.1:8000/v1"},
           options: {model: qwen, auth: none, max_tokens_name: max_tokens}}

One request for each answer, streamed; text goes out as it comes, calls of tools when they are whole. The endpoint is
the base URL of the vendor's own client, `/v1` and all. Before the first word a request is tried again, within
`first_text_s`; after it never, since the caller has heard the word. What was cancelled closes its connection: HTTP/1.1
has no other way to say stop.

`Usage` comes behind the answer: `tokens_in` (without cached ones), `tokens_cached`, `tokens_out`. None comes of an
answer that was cancelled.

Source   openai-python (`types/chat`, `_streaming.py`), OpenAI's OpenAPI file. Not tried against a live service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import httpx
from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import Field, field_validator

from actors.providers import options as stream_options
from actors.providers.chat_answer import Ask, ChatAnswer, amounts
from actors.providers.chat_messages import as_functions, messages
from actors.providers.interface import (
    AgentCapabilities,
    AgentDone,
    Cause,
    Emit,
    Item,
    Options,
    StreamSpec,
    Tool,
    Usage,
)
from actors.providers.vendor_faults import Vendor, fault_of
from actors.providers.vendor_http import HttpLimits
from actors.providers.vendor_provider import VendorProvider
from actors.providers.vendor_sse import SseDecoder, SseEvent
from router.errors import ProviderError

__all__ = ["OpenAiChatOptions", "Provider"]

Name = Annotated[str, Field(pattern=r"^[\w.:/@+-]{1,200}$")]
_OURS = frozenset({"model", "messages", "stream", "stream_options", "tools", "n"})
"""Fields of the request that `extra` may not set."""
_TAIL_S = 2.0
"""For the usage, after the answer is whole."""
_BACKOFF_S = 0.3
_RETRY_WAIT_MAX_S = 1.0
"""A vendor that asks for more is not waited for: the caller listens."""
_RETRIED = frozenset({"connect", "busy", "overload", "timeout"})
_FILTERED = ("content_filter", "content management policy")
_TOO_LONG = ("context length", "context_length", "context size", "context window")


class OpenAiChatOptions(Options):
    model: Name
    instructions: Annotated[str, MaxLen(65_536)] | None = None
    instructions_role: Literal["system", "developer"] = "system"
    """`system` is what compatible servers know."""
    temperature: Annotated[float, Ge(0), Le(2)] | None = None
    top_p: Annotated[float, Gt(0), Le(1)] | None = None
    max_tokens: Annotated[int, Ge(1), Le(100_000)] | None = None
    max_tokens_name: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """`max_tokens` is the older name, and what many compatible servers know."""
    seed: int | None = None
    stop: Annotated[tuple[Annotated[str, MaxLen(100)], ...], MaxLen(4)] = ()
    reasoning_effort: Annotated[str, Field(pattern=r"^[a-z]{1,16}$")] | None = None
    service_tier: Annotated[str, Field(pattern=r"^[a-z]{1,16}$")] | None = None
    tool_choice: Literal["auto", "required"] | None = None
    parallel_tool_calls: bool | None = None
    strict_tools: bool = False
    include_usage: bool = True
    """False for servers that refuse `stream_options`; then no tokens are counted."""
    extra: Annotated[dict[str, Any], MaxLen(32)] = Field(default_factory=dict)
    """Further fields of the request, for compatible servers."""
    auth: Literal["bearer", "api-key", "none"] = "bearer"
    """How the credential is shown; `api-key` is Azure's header, `none` is for servers of one's own."""
    history_max_chars: Annotated[int, Ge(200), Le(2_000_000)] = 48_000
    """Of the conversation, instructions apart; the oldest items are left out. About 12,000 tokens of English."""
    first_text_s: Annotated[float, Ge(0.1), Le(60)] = 8.0
    """To the first word or piece of a call, retries included."""
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 5.0
    """Between two pieces of an answer that has begun."""
    answer_s: Annotated[float, Ge(1), Le(600)] = 120.0
    retries: Annotated[int, Ge(0), Le(5)] = 1
    probe: Literal["models", "none"] = "models"
    """`GET /models`, with the credential; a server that has no such list (404) is there all the same."""

    @field_validator("extra")
    @classmethod
    def _not_ours(cls, extra: dict[str, Any]) -> dict[str, Any]:
        ours = sorted(_OURS & extra.keys())
        if ours:
            raise ValueError(f"{', '.join(ours)}: not to be set here")
        return extra


class _Stream:
    """One session's: an answer at a time, each a task of the provider's home."""

    def __init__(self, provider: Provider, options: OpenAiChatOptions, spec: StreamSpec, emit: Emit) -> None:
        self._provider, self._options, self._emit = provider, options, emit
        self._tenant = spec.tenant_id
        self._vendor = provider.vendor.of(spec.tenant_id)
        self._work: dict[int, asyncio.Task[None]] = {}
        """By number of the request: the answer under way, and those before it whose usage is still to come."""
        self._asked = self._current = 0
        self._turn: int | None = None
        self._closed = False

    def reply(self, turn: int, revision: int, history: Sequence[Item], tools: Sequence[Tool], cause: Cause) -> None:
        if self._closed:
            return
        self._stop()
        self._asked += 1
        number = self._current = self._asked
        self._turn = turn
        ask = Ask(turn, revision, tuple(history), tuple(tools), cause)
        task = self._provider.home.spawn(self._answer(number, ask), f"answer of turn {turn}")
        self._work[number] = task
        task.add_done_callback(lambda _: self._work.pop(number, None))

    def tool_result(self, turn: int, id: str, result: str, ok: bool) -> None:
        """The history of the next `reply` has it."""

    def cancel(self, turn: int) -> None:
        if turn == self._turn:
            self._stop()

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        self._options, refused = stream_options.changed(self._options, options)
        return refused

    async def close(self, *, drain: bool) -> None:
        self._closed, self._turn = True, None
        self._provider.let_go(self)
        for task in list(self._work.values()):
            task.cancel()
        if self._work:
            await asyncio.wait(list(self._work.values()), timeout=1.0)

    def _stop(self) -> None:
        """Nothing more of the answer under way; one that is whole is left its usage."""
        task = self._work.get(self._current)
        if task is not None and self._turn is not None:
            task.cancel()
        self._turn = None

    async def _answer(self, number: int, ask: Ask) -> None:
        def emit(event: Any) -> None:
            if number == self._current and self._turn is not None and not self._closed:
                self._emit(event)
                if isinstance(event, AgentDone):
                    self._turn = None  # whole: a cancel comes too late for it

        answer = ChatAnswer(ask, self._vendor, emit)
        try:
            async with asyncio.timeout(self._options.answer_s):
                await self._attempts(answer, ask)
        except ProviderError as error:
            self._failed(error, answer, ask, emit)
        except TimeoutError:
            self._failed(self._vendor.error("stall", "the answer has no end"), answer, ask, emit)
        if answer.usage is not None and not self._closed:
            self._emit(Usage(amounts=amounts(answer.usage)))

    def _failed(self, error: ProviderError, answer: ChatAnswer, ask: Ask, emit: Emit) -> None:
        if answer.done:
            return  # only the usage is lost
        if error.kind in ("config", "protocol") and _has(error.detail, _FILTERED):
            emit(AgentDone(turn=ask.turn, revision=ask.revision, why="filtered"))
            return
        self._provider.counts.faults += 1
        emit(fault_of(error))

    async def _attempts(self, answer: ChatAnswer, ask: Ask) -> None:
        """Ask, and ask again while nothing was told. Raises ProviderError."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._options.first_text_s
        max_chars = self._options.history_max_chars
        for left in range(self._options.retries, -1, -1):
            try:
                await self._attempt(answer, ask, due_s, max_chars)
                return
            except ProviderError as error:
                if answer.begun or not left:
                    raise
                if _has(error.detail, _TOO_LONG):
                    max_chars //= 2
                    continue
                wait_s = error.retry_after_s if error.retry_after_s is not None else self._backoff_s(error)
                if error.kind not in _RETRIED or wait_s > _RETRY_WAIT_MAX_S or loop.time() + wait_s >= due_s:
                    raise
            await asyncio.sleep(wait_s)

    def _backoff_s(self, error: ProviderError) -> float:
        """At once for a connection that was lost: one from the pool may have been dead already."""
        return 0.0 if error.kind == "connect" else _BACKOFF_S * (1 - self._provider.rng.random() / 4)

    async def _attempt(self, answer: ChatAnswer, ask: Ask, due_s: float, max_chars: int) -> None:
        provider, vendor = self._provider, self._vendor
        body = _request(self._options, ask, max_chars)
        loop = asyncio.get_running_loop()
        is_answering = False
        try:
            async with asyncio.timeout_at(due_s) as limit:
                url = provider.endpoint.http("/chat/completions")
                headers = provider.headers(self._options.auth)
                async with provider.http.stream(
                    "POST", url, headers=headers, json=body, tenant=self._tenant
                ) as response:
                    is_answering = True
                    _check_type(vendor, response)
                    decoder = SseDecoder(vendor)
                    async for piece in response.aiter_bytes():
                        self._take(answer, decoder.feed(piece))
                        if answer.begun:
                            limit.reschedule(loop.time() + (_TAIL_S if answer.done else self._options.stall_s))
                    self._take(answer, decoder.end())
                    answer.end()
        except TimeoutError:
            if answer.done:
                return  # only the usage is late
            if not is_answering:
                raise vendor.error("timeout", f"no answer within {self._options.first_text_s:g} s") from None
            provider.counts.stalls += 1
            limit_s = self._options.stall_s if answer.begun else self._options.first_text_s
            raise vendor.error("stall", f"no {'more' if answer.begun else 'word'} for {limit_s:g} s") from None

    def _take(self, answer: ChatAnswer, events: list[SseEvent]) -> None:
        for event in events:
            self._provider.counts.unknown += not answer.take(event)


class Provider(VendorProvider[OpenAiChatOptions]):
    TYPE = "openai-chat"
    DEFAULT_ENDPOINT = "https://api.openai.com/v1"
    NEEDS_SECRET = False  # `auth: none` needs none; see `__init__`
    HTTP = HttpLimits(read_s=65.0)  # beyond `first_text_s` and `stall_s`, which say more
    MARKS: ClassVar = {
        "context_length_exceeded": "protocol", "content_filter": "protocol", "content management policy": "protocol",
        "insufficient_quota": "quota", "credit": "quota", "overloaded": "overload",
    }  # fmt: skip
    """A conversation that is too long, or offends, says nothing against the vendor's configuration."""
    Options = OpenAiChatOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> AgentCapabilities:
        first_s = options.get("first_text_s", 8.0)
        return AgentCapabilities(
            tools=True,
            first_text_p99_s=float(first_s) if isinstance(first_s, int | float) else 8.0,
            needs_secret=options.get("auth", "bearer") != "none",
        )

    def __init__(self, options: Mapping[str, Any], secret: Any, endpoint: str | None) -> None:
        super().__init__(options, secret, endpoint)
        if self.options.auth != "none" and secret is None:
            raise self.vendor.error("config", "needs a secret and none is named; `auth: none` needs none")

    def headers(self, auth: str) -> dict[str, str]:
        shown = {"bearer": {"Authorization": f"Bearer {self.key}"}, "api-key": {"api-key": self.key}}
        return {"Accept": "text/event-stream", **shown.get(auth, {})}

    async def probe(self) -> None:
        if self.options.probe == "models":
            try:
                await self.http.fetch("GET", self.endpoint.http("/models"), headers=self.headers(self.options.auth))
            except ProviderError as error:
                if "HTTP 404" not in error.detail:
                    raise

    async def open(self, spec: StreamSpec, emit: Emit) -> _Stream:
        await self.warm()
        stream = _Stream(self, self.parsed(spec), spec, emit)
        self.keep(stream)
        return stream


def _request(options: OpenAiChatOptions, ask: Ask, max_chars: int) -> dict[str, Any]:
    body: dict[str, Any] = {
        **options.extra,
        "model": options.model,
        "messages": messages(
            ask.history, options.instructions, cause=ask.cause, max_chars=max_chars, role=options.instructions_role
        ),
        "stream": True,
    }
    if options.include_usage:
        body["stream_options"] = {"include_usage": True}
    if ask.tools:
        body["tools"] = as_functions(ask.tools, strict=options.strict_tools)
        for name in ("tool_choice", "parallel_tool_calls"):
            if getattr(options, name) is not None:
                body[name] = getattr(options, name)
    for name in ("temperature", "top_p", "seed", "reasoning_effort", "service_tier"):
        if getattr(options, name) is not None:
            body[name] = getattr(options, name)
    if options.max_tokens is not None:
        body[options.max_tokens_name] = options.max_tokens
    if options.stop:
        body["stop"] = list(options.stop)
    return body


def _check_type(vendor: Vendor, response: httpx.Response) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise vendor.error("protocol", f"a stream was asked for, and {vendor.text(kind, 60) or 'nothing named'} came")


def _has(text: str, marks: Sequence[str]) -> bool:
    return any(mark in text.lower() for mark in marks)
