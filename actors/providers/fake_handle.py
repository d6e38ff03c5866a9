"""What all fakes share: a handle that a test holds, and a stream that answers when the handle lets it.

    fake = FakeStt({"says": ["hello world"]})
    fake.handle.stall()                     # from now on requests wait
    fake.handle.allow(1)                    # one of them is answered
    fake.handle.fail("overload")            # every open stream faults
    fake.handle.calls("finalize")           # what it was asked, and when

A *request* is whatever wants an answer (`finalize`, `text`, `reply`, `respond`): it takes one permit. Its answer is a
short list of steps, each with a delay, done one after the other on one timer per stream: no task, so a fake costs
nothing while it waits and is exact in virtual time.

Bounds   what was received is kept up to `record_max`, then the oldest goes and is counted; a stream with more than
         `_STEPS_MAX` steps undone faults with `overload`.
Source   the handle after tower-test: the test plays the provider and decides when it is ready.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from actors.providers import options as stream_options
from actors.providers.interface import Emit, Fault, Options, ProviderEvent, StreamSpec
from router.errors import FaultKind, ProviderError

__all__ = ["FAKE_RATES_HZ", "FakeOptions", "FakeProvider", "FakeStream", "Handle", "Received"]

FAKE_RATES_HZ = (16000, 8000, 24000, 48000)
_STEPS_MAX = 20_000
"""Half an hour of audio in steps of 100 ms."""
Delay = Annotated[float, Ge(0), Le(86_400)]


class FakeOptions(Options):
    """Options of every fake: how it opens and how it breaks."""

    open_delay_s: Delay = 0.0
    fail_open: FaultKind | Literal[True] | None = None
    """Opening raises this; true stands for `connect`."""
    fail_probe: FaultKind | Literal[True] | None = None
    fail_warm: FaultKind | Literal[True] | None = None
    answer_delay_s: Delay = 0.0
    """Before each answer."""
    stall_after: Annotated[int, Ge(0)] | None = None
    """So many answers, then requests wait for ever (for `handle.allow`)."""
    fail_after: Annotated[int, Ge(0)] | None = None
    """So many answers; the next request faults every open stream."""
    fail_kind: FaultKind = "connect"
    """Of `fail_after` and `die_after_s`."""
    max_stream_s: Annotated[float, Gt(0)] | None = None
    """A stream lives no longer, and says so in its capability; then it faults with `expired`."""
    die_after_s: Delay | None = None
    """A stream faults so long after it was opened."""
    record_max: Annotated[int, Ge(0), Le(1_000_000)] = 1000


@dataclass(frozen=True, slots=True)
class Received:
    """One call that a fake got."""

    name: str
    args: tuple[Any, ...]
    at_s: float
    """The loop's clock."""
    stream: int


@dataclass(slots=True)
class _Step:
    key: Hashable
    action: Callable[[], None]
    delay_s: float
    request: bool


class Handle:
    """The test's end of a fake: `streams`, `received` and the counters are read, the methods steer."""

    def __init__(self, options: FakeOptions) -> None:
        self.received: deque[Received] = deque(maxlen=options.record_max)
        self.received_dropped = 0
        self.streams: list[FakeStream] = []
        """Open ones, oldest first."""
        self.opened = self.closed = self.answered = 0
        self._permits = options.stall_after
        self._fail_after, self._fail_kind = options.fail_after, options.fail_kind
        self._refusal: FaultKind | None = None
        self._raise_on: set[str] = set()
        self.answers: deque[Any] = deque()
        self.rounds = 0
        """How often a list of the options was gone to for an answer."""

    @property
    def stream(self) -> FakeStream:
        """The newest open stream."""
        return self.streams[-1]

    @property
    def waiting(self) -> int:
        """Streams whose next step waits for `allow`."""
        return sum(1 for stream in self.streams if stream.is_waiting)

    def answer(self, *answers: Any) -> None:
        """What the next requests are answered with, in order; what an answer is, the fake of the stage says."""
        self.answers.extend(answers)

    def stall(self) -> None:
        """Requests wait from now on."""
        self._permits = 0

    def allow(self, requests: int | None = None) -> None:
        """Let so many waiting or coming requests be answered; None: all."""
        self._permits = None if requests is None else (self._permits or 0) + requests
        for stream in tuple(self.streams):
            stream.go_on()

    def fail(
        self, kind: FaultKind = "connect", detail: str = "as the test says", retry_after_s: float | None = None
    ) -> None:
        """Every open stream faults, and says nothing after that."""
        for stream in tuple(self.streams):
            stream.fault(kind, detail, retry_after_s)

    def refuse_open(self, kind: FaultKind | None = "connect") -> None:
        """Opening raises from now on; None: it succeeds again."""
        self._refusal = kind

    def raise_on(self, *names: str) -> None:
        """These methods raise RuntimeError, as a bug in a provider would."""
        self._raise_on = set(names)

    def emit(self, event: ProviderEvent) -> None:
        """Say this on the newest stream, now."""
        self.stream.say(event)

    def calls(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of `name` on record, oldest first."""
        return [got.args for got in self.received if got.name == name]

    def note(self, name: str, args: tuple[Any, ...], stream: int) -> None:
        """Used by the fakes: put a call on record, and break where the test said so."""
        if self.received.maxlen is not None and len(self.received) == self.received.maxlen:
            self.received_dropped += 1
        self.received.append(Received(name, args, _now_s(), stream))
        if name in self._raise_on:
            raise RuntimeError(f"{name} raises, as the test says")

    def is_raising(self, name: str) -> bool:
        """Used by the fakes: does the test want `name` to break."""
        return name in self._raise_on

    def take_permit(self) -> bool:
        """Used by the fakes: may one more request be answered."""
        if self._fail_after is not None and self.answered >= self._fail_after:
            self._fail_after = None
            self.fail(self._fail_kind, "after so many answers")
            return False
        if self._permits is not None:
            if self._permits == 0:
                return False
            self._permits -= 1
        self.answered += 1
        return True

    def check_open(self) -> FaultKind | None:
        return self._refusal


class FakeStream:
    """Base of the streams of all fakes. Steps run in order, one timer at most."""

    def __init__(self, handle: Handle, options: FakeOptions, spec: StreamSpec, emit: Emit) -> None:
        self.handle, self.options, self.spec = handle, options, spec
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._steps: deque[_Step] = deque()
        self._timer: asyncio.Handle | None = None
        self._granted = False
        """The head of the steps has its permit."""
        self._running = False
        self._dead = False
        self._death: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        if options.die_after_s is not None:
            self._death = self._loop.call_later(options.die_after_s, self.fault, options.fail_kind, "died as told")
        elif options.max_stream_s is not None:
            self._death = self._loop.call_later(options.max_stream_s, self.fault, "expired", "its time is up")

    @property
    def is_waiting(self) -> bool:
        return bool(self._steps) and self._timer is None and not self._granted

    def note(self, name: str, *args: Any) -> None:
        self.handle.note(name, args, self.spec.stream)

    def say(self, event: ProviderEvent) -> None:
        if not self._dead:
            self._emit(event)

    def fault(self, kind: FaultKind, detail: str, retry_after_s: float | None = None) -> None:
        self.say(Fault(kind=kind, detail=detail, retry_after_s=retry_after_s))
        self._end()

    def step(
        self, action: Callable[[], None], *, key: Hashable = None, delay_s: float = 0.0, request: bool = False
    ) -> None:
        """Do `action` after the steps before it and `delay_s`; a request also waits for its permit."""
        if self._dead:
            return
        if len(self._steps) >= _STEPS_MAX:
            self.fault("overload", f"more than {_STEPS_MAX} steps undone")
            return
        self._steps.append(_Step(key, action, delay_s, request))
        self._idle.clear()
        if len(self._steps) == 1:
            self.go_on()

    def forget(self, key: Hashable) -> None:
        """Drop every step with this key, the present one included."""
        if self._steps and self._steps[0].key == key:
            self._stop_timer()
        self._steps = deque(step for step in self._steps if step.key != key)
        self._settle()
        self.go_on()

    def go_on(self) -> None:
        """Start the head of the steps if nothing holds it."""
        if self._dead or self._running or self._timer is not None or not self._steps:
            return
        head = self._steps[0]
        if head.request and not self._granted:
            if not self.handle.take_permit():
                return
            self._granted = True
        self._timer = (
            self._loop.call_later(head.delay_s, self._run) if head.delay_s else self._loop.call_soon(self._run)
        )

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        self.note("update", dict(options))
        self.options, refused = stream_options.changed(self.options, options)
        return refused

    async def close(self, *, drain: bool) -> None:
        if drain and not self._dead and not self.is_waiting:
            try:
                async with asyncio.timeout(1.0):
                    await self._idle.wait()
            except TimeoutError:
                pass  # a stalled fake: closing is bounded, what is undone is dropped
        self._end()

    def _run(self) -> None:
        """The head's time has come; with it go all the steps behind it that have no delay.

        An event may come back as a call (`cancel` upon `audio`): `_running` keeps the second pump out of the first.
        """
        self._timer, self._running = None, True
        while self._steps and not self._dead:
            head = self._steps.popleft()
            self._granted = False
            try:
                head.action()
            except BaseException:
                self._running = False
                raise
            if self._steps and (self._steps[0].delay_s or self._steps[0].request):
                break
        self._running = False
        self._settle()
        self.go_on()

    def _settle(self) -> None:
        if not self._steps:
            self._idle.set()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._granted = None, False

    def _end(self) -> None:
        self._stop_timer()
        if self._death is not None:
            self._death.cancel()
        self._steps.clear()
        self._idle.set()
        if not self._dead:
            self._dead = True
            self.handle.closed += 1
            self.handle.streams.remove(self)


class FakeProvider:
    """Base of the fakes that have streams; `handle` is the test's."""

    TYPE = "fake"

    def __init__(self, options: FakeOptions) -> None:
        self.options = options
        self.handle = Handle(options)

    async def warm(self) -> None:
        self._fail(self.options.fail_warm, "warm")

    async def probe(self) -> None:
        self._fail(self.options.fail_probe, "probe")

    async def opening(self, spec: StreamSpec, options: FakeOptions) -> None:
        """Before a stream is made: wait and break as told."""
        if options.open_delay_s:
            await asyncio.sleep(options.open_delay_s)
        self._fail(self.handle.check_open() or options.fail_open, "open")
        if spec.rate_hz not in FAKE_RATES_HZ:
            raise ProviderError(self.TYPE, "config", f"rate_hz {spec.rate_hz}; it takes {FAKE_RATES_HZ}")

    def opened(self, stream: FakeStream) -> None:
        self.handle.opened += 1
        self.handle.streams.append(stream)

    async def close(self) -> None:
        for stream in tuple(self.handle.streams):
            await stream.close(drain=False)

    def _fail(self, kind: FaultKind | Literal[True] | None, what: str) -> None:
        if kind is not None:
            raise ProviderError(self.TYPE, "connect" if kind is True else kind, f"{what} fails as told")


def _now_s() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return 0.0  # VAD and turn detectors are plain functions and may be asked where no loop runs
