"""One provider actor: one provider object, and many streams of it for the sessions of many hosts.

    host = ProviderHost("patchbay-stt-ears-eu-1f2e3d4c")
    info = await host.start(spec, key)          # secret resolved here; warm, probed, serving
    ...                                         # hosts dial info.address, role "host"; the router, role "router"
    await host.stop()

A batch of a link is handled in one plain loop: no task, queue or timer per frame. VAD classifies a whole batch in one
pass and answers with one message of verdicts; turn detection gathers the questions of one turn of the loop. What a
stream raises ends that stream alone, with Fault(protocol).

Bounds   `capacity` streams: past it a stream is refused with Fault(busy, retry_after_s). Opening has `OPEN_S`.
Raises   `start`: ConfigError (no such type, no such secret), ProviderError (does not warm, does not answer).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from actors import wire
from actors.lag import LagMonitor
from actors.link import LinkServer, serve
from actors.link_codec import AudioBatch
from actors.link_end import Handler, Link
from actors.logs import get_logger
from actors.provider_end import HostEnd
from actors.provider_stream import HostedStream
from actors.providers.interface import Assess, Capabilities, Fault, Ready
from actors.providers.registry import find
from actors.secrets import resolve
from actors.task_home import TaskHome
from actors.worker import RouterDoor
from router.errors import LinkAuthError, ProviderError

if TYPE_CHECKING:
    from actors.tool_runner import Tools

__all__ = ["ProviderHost", "ProviderHostStatistics"]

WARM_S = 10.0
PROBE_S = 5.0
_PROBE_AGAIN_S = (0.2, 1.0)
"""Waits before the second and the third probe, for what may pass."""
OPEN_S = 5.0
"""A session gives a stage up after so long (conversation model, section 5)."""
_CLOSE_S = 3.0
_STOP_S = 5.0
_TICK_S = 0.05
"""Lag is sampled and the door looked at so often; 20 wake-ups a second cost 0.05 % of a core."""
_BUSY_RETRY_S = 1.0
_QUESTIONS_MAX = 1024

log = get_logger("provider")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderHostStatistics:
    streams: int
    opened: int
    refused_busy: int
    failed_streams: int
    """Ended because the provider raised."""
    frames: int
    stale: int
    """Frames and events of closed streams, older epochs and cancelled replies."""
    dropped: int
    """Frames let go because the provider took too long to open."""
    tasks: int
    """Of asyncio, in this process."""
    lag_p99_ms: float

    @property
    def live(self) -> int:
        return self.streams

    @property
    def ended(self) -> int:
        """Streams that are over."""
        return self.opened - self.streams


class ProviderHost:
    """Made in its own process; all methods on its loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.provider: Any = None
        self._tasks = TaskHome(name)
        self._ends: dict[Link, HostEnd] = {}
        self._server: LinkServer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lag = LagMonitor(_TICK_S)
        self._tools: Tools | None = None
        self._questions: list[tuple[HostedStream, Assess]] = []
        self._next_key = 1
        self._streams: dict[int, HostedStream] = {}
        self.opened = self.refused_busy = self.failed_streams = self.frames = self.stale = self.dropped = 0
        self.stage = ""
        self._info: wire.WorkerInfo
        self._door: RouterDoor

    # -- life

    async def start(
        self,
        spec: wire.ProviderSpec,
        key: bytes,
        *,
        bind_ip: str = "127.0.0.1",
        node: str = "",
        leave: Callable[[], None] | None = None,
    ) -> wire.WorkerInfo:
        """Build, warm and probe the provider, then serve it. Raises ConfigError, ProviderError, LinkError."""
        made = find(spec.type)
        capabilities: Capabilities = made.capabilities(spec.options)
        if capabilities.stage != spec.stage:
            raise ProviderError(spec.provider, "config", f"{spec.type} is {capabilities.stage}, not {spec.stage}")
        secret = resolve(spec.secret)
        if capabilities.needs_secret and secret is None:
            raise ProviderError(spec.provider, "config", f"{spec.type} needs a secret and none is named")
        self.stage = spec.stage
        if spec.stage in ("agent", "s2s"):
            from actors.tool_runner import Tools  # an HTTP client: 100 ms and some MB that no other stage needs

            self._tools = Tools()
        self.provider = made(spec.options, secret, spec.endpoint)
        await self._tasks.open()
        try:
            await self._make_ready(spec.provider)
            self._server = await serve(self._handler, key, bind_ip=bind_ip)
        except BaseException:
            await self.stop()
            raise
        self._info = wire.WorkerInfo(
            actor=self.name, kind="provider", region=spec.region, address=self._server.address, pid=os.getpid(),
            node=node, capacity=spec.streams_per_actor or capabilities.streams_per_actor, spec=spec,
            rate_hz=capabilities.rates_hz[0], silence_bound_s=capabilities.silence_bound_s,
            started_unix_s=datetime.now(UTC).timestamp(),
        )  # fmt: skip
        self._door = RouterDoor(report=self._report, live=lambda: len(self._streams), leave=leave)
        self._tick()
        return self._info

    async def describe(self) -> wire.WorkerInfo:
        """What `start` answered: asked by a router that adopts this worker."""
        return self._info

    def statistics(self) -> ProviderHostStatistics:
        return ProviderHostStatistics(
            streams=len(self._streams), opened=self.opened, refused_busy=self.refused_busy,
            failed_streams=self.failed_streams, frames=self.frames,
            stale=self.stale + sum(s.stale for s in self._streams.values()),
            dropped=self.dropped + sum(s.dropped for s in self._streams.values()), tasks=len(asyncio.all_tasks()),
            lag_p99_ms=self._lag.p99_ms(),
        )  # fmt: skip

    async def stop(self) -> None:
        """Close the links, the streams and the provider; bounded. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            await self._server.close("the provider actor ends")
        await self._tasks.close(timeout_s=_STOP_S)
        if self._tools is not None:
            await self._tools.close()
        provider, self.provider = self.provider, None
        if provider is not None:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await provider.close()
            except Exception as error:
                log.warning("provider.close_failed", provider=self.name, error=type(error).__name__)

    async def _make_ready(self, name: str) -> None:
        await _bounded(self.provider.warm(), WARM_S, name, "warm")
        for wait_s in (*_PROBE_AGAIN_S, None):
            try:
                await _bounded(self.provider.probe(), PROBE_S, name, "probe")
                return
            except ProviderError as error:
                if wait_s is None or not error.retryable:
                    raise
                log.warning("provider.probe_again", provider=name, kind=error.kind, wait_s=wait_s)
                await asyncio.sleep(wait_s)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self._lag.tick(now_s)
        self._door.tick(now_s)
        self._timer = loop.call_later(_TICK_S, self._tick)

    def _report(self, whole: bool) -> wire.WorkerReport:
        leases = tuple(s.lease_id for s in self._streams.values()) if whole else ()
        return wire.WorkerReport(
            actor=self.name, streams=len(self._streams), lag_p99_ms=self._lag.p99_ms(), leases=leases
        )

    def _handler(self, link: Link) -> Handler:
        if link.role == "router":
            return self._door.take(link)
        if link.role != "host":
            link.fail(LinkAuthError(link.peer, f"a provider actor serves no {link.role}"))
        return HostEnd(self)

    # -- streams

    def open_stream(self, link: Link, number: int, op: wire.OpenStream) -> HostedStream | None:
        """A stream that is opening, or None: refused, and the session was told."""
        if len(self._streams) >= self._info.capacity or self._door.retiring:
            self.refused_busy += 1
            full = "is retiring" if self._door.retiring else f"has its {self._info.capacity} streams"
            link.send(number, Fault(kind="busy", detail=f"{self.name} {full}", retry_after_s=_BUSY_RETRY_S))
            return None
        stream = HostedStream(link, number, self._next_key, op)
        self._next_key += 1
        self._streams[stream.key] = stream
        self.opened += 1
        if self.stage in ("vad", "turn"):
            self._attach(stream, op)
        else:
            self._tasks.spawn(self._open(stream, op), f"open {op.session_id}")
        return None if stream.closed else stream

    def _attach(self, stream: HostedStream, op: wire.OpenStream) -> None:
        try:
            self.provider.attach(stream.spec(op))
        except ProviderError as error:
            stream.fault(Fault(kind=error.kind, detail=error.detail, retry_after_s=error.retry_after_s))
            self._forget(stream)
        except Exception as error:
            self.fail(stream, error)
        else:
            stream.emit(Ready())

    async def _open(self, stream: HostedStream, op: wire.OpenStream) -> None:
        try:
            async with asyncio.timeout(OPEN_S):
                provided = await self.provider.open(stream.spec(op), stream.emit)
        except ProviderError as error:
            stream.fault(Fault(kind=error.kind, detail=error.detail, retry_after_s=error.retry_after_s))
            self._forget(stream)
            return
        except TimeoutError:
            stream.fault(Fault(kind="timeout", detail=f"not open in {OPEN_S:g} s"))
            self._forget(stream)
            return
        except Exception as error:
            self.fail(stream, error)
            return
        if stream.closed:
            await self._close_provided(provided, drain=False)
            return
        try:
            stream.opened(provided)
        except Exception as error:
            self.fail(stream, error)
            return
        stream.emit(Ready())

    def run_tool(self, stream: HostedStream, op: wire.ToolRun) -> None:
        """What the model of this stream called; it is run to its end even if the session is over before."""
        self._tasks.spawn(self._run_tool(stream, op), f"tool {op.tool.name}")

    async def _run_tool(self, stream: HostedStream, op: wire.ToolRun) -> None:
        assert self._tools is not None  # asked of agents and models alone
        stream.emit(await self._tools.run(op))

    def fail(self, stream: HostedStream, error: Exception) -> None:
        """What a stream raised ends it alone. Its text stays here: it may hold what the caller said."""
        self.failed_streams += 1
        log.error("stream.failed", provider=self.name, session=stream.session_id, error=type(error).__name__)
        stream.fault(Fault(kind="protocol", detail=f"{type(error).__name__} in the provider"))
        self.close_stream(stream, drain=False)

    def close_stream(self, stream: HostedStream, *, drain: bool) -> None:
        """End it. `drain`: its events still go out until the provider is done with it."""
        if stream.closed:
            return
        provided = stream.provided
        if provided is None or not drain:
            self._forget(stream)
        if self.stage in ("vad", "turn"):
            self._detach(stream)
        elif provided is not None:
            self._tasks.spawn(self._close(stream, provided, drain), f"close {stream.session_id}")

    def _detach(self, stream: HostedStream) -> None:
        try:
            self.provider.detach(stream.key)
        except Exception as error:
            log.warning("stream.close_failed", provider=self.name, error=type(error).__name__)

    async def _close(self, stream: HostedStream, provided: Any, drain: bool) -> None:
        await self._close_provided(provided, drain=drain)
        if drain and not stream.closed:
            if not stream.link.closed:
                stream.link.send_encoded(stream.number, b"")
            self._forget(stream)

    async def _close_provided(self, provided: Any, *, drain: bool) -> None:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await provided.close(drain=drain)
        except Exception as error:
            log.warning("stream.close_failed", provider=self.name, error=type(error).__name__)

    def _forget(self, stream: HostedStream) -> None:
        stream.closed = True
        stream.provided = None  # it holds `emit` and so the stream: a circle that would wait for the collector
        self._streams.pop(stream.key, None)
        self.stale += stream.stale
        self.dropped += stream.dropped
        end = self._ends.get(stream.link)
        if end is not None:
            end.forget(stream)

    # -- whole batches

    def classify(self, link: Link, batch: AudioBatch, known: dict[int, int]) -> None:
        """Every frame of the batch in one pass, and one message of verdicts back; `poss` are the frames' ends.
        `known`: the key of (number of a stream << 32) + its epoch."""
        numbers, gens, _, poss, lens = batch.matrix()
        found = list(map(known.get, ((numbers.astype(np.uint64) << 32) + gens).tolist()))
        ends, frames = poss + (lens >> 1), batch.frames()
        if None in found:
            good = [i for i, key in enumerate(found) if key is not None]
            self.stale += len(found) - len(good)
            numbers, ends, frames = numbers[good], ends[good], [frames[i] for i in good]
        keys = [key for key in found if key is not None]
        if not keys:
            return
        try:
            bits = self.provider.classify(keys, frames)
        except Exception:
            bits, good = self._classify_singly(keys, frames)  # which of them was it?
            numbers, ends = numbers[good], ends[good]
        link.send_bits(numbers, ends, bits)

    def _classify_singly(self, keys: list[int], frames: list[memoryview]) -> tuple[list[bool], list[int]]:
        """Verdicts, and the indices of the frames that they are on."""
        bits, good = [], []
        for i, (key, frame) in enumerate(zip(keys, frames, strict=True)):
            stream = self._streams.get(key)
            if stream is None:
                continue
            try:
                bits.append(bool(self.provider.classify([key], [frame])[0]))
                good.append(i)
            except Exception as error:
                self.fail(stream, error)
        return bits, good

    def ask(self, stream: HostedStream, question: Assess) -> None:
        """A question to the turn detector; all of one turn of the loop are assessed in one pass."""
        if not self._questions:
            asyncio.get_running_loop().call_soon(self._assess)
        self._questions.append((stream, msgspec.structs.replace(question, stream=stream.key)))
        if len(self._questions) >= _QUESTIONS_MAX:
            self._assess()

    def _assess(self) -> None:
        asked, self._questions = [q for q in self._questions if not q[0].closed], []
        if not asked:
            return
        try:
            answers = self.provider.assess([question for _, question in asked])
            for (stream, _), answer in zip(asked, answers, strict=True):
                stream.emit(answer)
        except Exception:
            for stream, question in asked:
                try:
                    stream.emit(self.provider.assess([question])[0])
                except Exception as error:
                    self.fail(stream, error)

    def joined(self, link: Link, end: HostEnd) -> None:
        self._ends[link] = end

    def left(self, link: Link) -> None:
        self._ends.pop(link, None)


async def _bounded(work: Any, timeout_s: float, provider: str, what: str) -> None:
    """Run a provider's coroutine. Raises ProviderError for whatever it raises, and when it takes too long."""
    try:
        async with asyncio.timeout(timeout_s):
            await work
    except ProviderError:
        raise
    except TimeoutError:
        raise ProviderError(provider, "timeout", f"{what} took longer than {timeout_s:g} s") from None
    except Exception as error:
        raise ProviderError(provider, "protocol", f"{what}: {type(error).__name__}") from error
