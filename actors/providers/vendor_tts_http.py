"""A voice that is asked by requests: one for each part of a reply, read as it comes, the next one on its way.

    parts ──► request, request (while the first one is heard) ──► audio in their order ──► Saying

While a part is spoken the next is already asked for, so that a short sentence leaves no gap; what it answers waits.

Bounds   `AHEAD` requests of a reply at once; `WAITING_MAX` bytes of one that is not heard yet, then it is read no more
         until its turn.
Failing  a connection that is lost before any audio of its part has come is replaced, once a part: a connection that was
         kept open may have been closed by the vendor in the moment it was used.
Warm     `HttpTtsProvider` asks something small whenever nothing was asked for `keep_warm_s` and a stream is open: the
         client keeps connections for 55 s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from actors.providers.interface import Emit, StreamSpec, TtsCapabilities
from actors.providers.vendor_http import HttpLimits
from actors.providers.vendor_provider import VendorProvider
from actors.providers.vendor_tts import Part, Saying, TtsLine, TtsSettings, Voice
from actors.task_home import TaskHome
from router.errors import ProviderError

__all__ = ["AHEAD", "Answer", "HttpTtsProvider", "HttpVoice"]

AHEAD = 2
WAITING_MAX = 2 * 1024 * 1024
"""40 s at 24 kHz: no sentence is that long."""

O = TypeVar("O", bound=BaseModel)  # noqa: E741
Fetch = Callable[["Answer"], Awaitable[None]]
"""Asks for `answer.part.text` and gives the audio to `answer.take`. Raises ProviderError."""


@dataclass(slots=True, eq=False)
class Answer:
    """One request and what came of it."""

    saying: Saying
    part: Part
    task: asyncio.Task[None] | None = None
    waiting: bytearray = field(default_factory=bytearray)
    is_heard: bool = False
    """It is its turn: audio is passed on."""
    is_done: bool = False
    is_second: bool = False
    error: ProviderError | None = None
    room: asyncio.Event = field(default_factory=asyncio.Event)
    begun: bytes = b""
    """The first bytes of the audio, as far as they have been looked at."""

    async def take(self, pcm: bytes) -> None:
        """Audio in pieces of any length; waits while too much of it waits."""
        if len(self.begun) < 4:
            self.begun += pcm[: 4 - len(self.begun)]
            if self.begun == b"RIFF":
                raise self.saying.vendor.error("protocol", "a file of audio came, and raw audio was asked for")
        if self.is_heard:
            self.saying.sound(pcm)
            return
        self.saying.alive()
        self.waiting += pcm
        if len(self.waiting) >= WAITING_MAX:
            await self.room.wait()

    def used(self, amounts: Mapping[str, float]) -> None:
        """What the vendor says it counted for this request."""
        self.saying.used(amounts)


class HttpVoice:
    """A `vendor_tts.Voice`."""

    def __init__(self, saying: Saying, home: TaskHome, fetch: Fetch) -> None:
        self._saying, self._home, self._fetch = saying, home, fetch
        self._answers: deque[Answer] = deque()

    def text(self, part: Part, piece: str) -> None:
        """A request has a whole part."""

    def flush(self, part: Part) -> None:
        self._answers.append(Answer(self._saying, part))
        self._go_on()

    def end(self) -> None:
        """Nothing to be told."""

    def close(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Leaving an answer closes it, which is all the cancelling that there is."""
        answers, self._answers = self._answers, deque()
        for answer in answers:
            if answer.task is not None:
                answer.task.cancel()

    def _go_on(self) -> None:
        """Hear the first one; ask for the next ones; say what is over."""
        while self._answers and not self._saying.over:
            head = self._answers[0]
            if not head.is_heard:
                head.is_heard = True
                if head.waiting:
                    self._saying.sound(bytes(head.waiting))
                    head.waiting.clear()
                head.room.set()
            for answer in list(self._answers)[:AHEAD]:
                if answer.task is None:
                    self._ask(answer)
            if not head.is_done:
                return
            if head.error is not None:
                self._saying.failed(head.error)
                return
            self._answers.popleft()
            self._saying.part_done()

    def _ask(self, answer: Answer) -> None:
        self._saying.sent(answer.part, len(answer.part.text))
        answer.task = self._home.spawn(self._run(answer), "ask for speech")

    async def _run(self, answer: Answer) -> None:
        try:
            await self._fetch(answer)
        except ProviderError as error:
            if error.kind == "connect" and not answer.is_second and not answer.begun:
                answer.is_second = True
                self._saying.counts.reconnects += 1
                try:
                    await self._fetch(answer)
                except ProviderError as again:
                    answer.error = again
            else:
                answer.error = error
        answer.is_done = True
        self._go_on()


class HttpTtsProvider(VendorProvider[O]):
    """Derive it; give `settings`, `fetch`, `check`, `capabilities`. `Options` has a field `keep_warm_s` (0: never)."""

    HTTP = HttpLimits(connections_max=2 * 200, idle_max=64)

    def __init__(self, options: Mapping[str, Any], secret: Any, endpoint: str | None) -> None:
        super().__init__(options, secret, endpoint)
        self._asked_s: float | None = None
        self._warming: asyncio.Task[None] | None = None

    # -- what an adapter says

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TtsCapabilities:
        raise NotImplementedError

    def settings(self, options: O) -> TtsSettings:
        raise NotImplementedError

    async def fetch(self, options: O, rate_hz: int, answer: Answer, tenant: str) -> None:
        """Ask for `answer.part.text`; audio goes to `answer.take`. Raises ProviderError."""
        raise NotImplementedError

    async def check(self) -> None:
        """Ask something small that needs the key. Raises ProviderError."""
        raise NotImplementedError

    async def touch(self) -> None:
        """Ask the least that keeps a connection open. Raises ProviderError."""
        await self.check()

    # -- what it is then

    async def warm(self) -> None:
        """A connection is made in the background; what the vendor says of it is the probe's to tell."""
        await super().warm()
        if self._warming is None and self._keep_warm_s:
            self._warming = self.home.spawn(self._keep_warm(), "keep a connection warm")

    async def probe(self) -> None:
        self._note()
        await self.check()

    async def open(self, spec: StreamSpec, emit: Emit) -> TtsLine[O]:
        options, vendor = self.parsed(spec), self.vendor.of(spec.tenant_id)
        rates = self.capabilities(self._given).rates_hz
        if spec.rate_hz not in rates:
            raise vendor.error("config", f"rate_hz {spec.rate_hz}; it gives {', '.join(map(str, rates))}")
        await self.warm()
        line: TtsLine[O] = TtsLine(
            lambda saying, chosen: self._voice(saying, chosen, spec), options, spec, emit, vendor, self.counts,
            self.settings(options), self.let_go,
        )  # fmt: skip
        self.keep(line)
        return line

    async def close(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
        await super().close()

    # -- inside

    def _voice(self, saying: Saying, options: O, spec: StreamSpec) -> Voice:
        async def fetch(answer: Answer) -> None:
            self._note()
            await self.fetch(options, spec.rate_hz, answer, spec.tenant_id)

        return HttpVoice(saying, self.home, fetch)

    @property
    def _keep_warm_s(self) -> float:
        return float(getattr(self.options, "keep_warm_s", 0))

    def _note(self) -> None:
        self._asked_s = asyncio.get_running_loop().time()

    async def _keep_warm(self) -> None:
        """Until the provider closes."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() if self._asked_s is None else self._asked_s + self._keep_warm_s
            if loop.time() < due_s:
                await asyncio.sleep(due_s - loop.time())
                continue
            is_first = self._asked_s is None
            self._note()
            if self.streams or is_first:
                try:
                    await self.touch()
                except ProviderError as error:
                    if not error.retryable:
                        return  # the first text will be told the same
