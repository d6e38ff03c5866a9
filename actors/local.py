"""A session in this process, from provider objects given by name: no router, no links, no Ray.

    async with LocalCall(plan, {"ears": FakeStt({}), "voice": FakeTts({})}) as call:
        call.session.caller_audio(pcm)
        event = await call.events.get()

For applications that embed one call, for examples and tests. A host does the same for many sessions over links.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from actors import events as ev
from actors.formats import FRAME_MS
from actors.ports import LocalPort
from actors.providers import registry
from actors.providers.interface import Capabilities, Fault, StreamSpec
from actors.session import FALLBACKS, VoiceSession
from actors.stage_slot import StageSlot
from router.errors import ConfigError, ProviderError
from router.plan import Candidate, RoutePlan

if TYPE_CHECKING:
    from actors.tool_runner import ToolRunner

__all__ = ["LocalCall", "LocalConnector"]

_TICK_S = FRAME_MS / 1000
_EVENTS_MAX = 10_000


class LocalConnector:
    """Streams of provider objects in this process; the built-in fallbacks are made when they are needed."""

    def __init__(self, providers: Mapping[str, Any], tasks: asyncio.TaskGroup, tools: ToolRunner | None = None) -> None:
        self._providers = dict(providers)
        self._tasks, self._tools = tasks, tools
        self._streams = 0

    def capabilities(self, candidate: Candidate) -> Capabilities:
        given = self._providers.get(candidate.provider)
        cls = registry.find(candidate.type) if given is None else type(given)
        capabilities: Capabilities = cls.capabilities(candidate.options)
        return capabilities

    def outcome(self, slot: StageSlot, fault: Fault | None) -> None:
        """Nobody to tell: one call has no cluster."""

    def beside(self, slot: StageSlot, candidate: Candidate, spec: StreamSpec) -> None:
        self.request(slot, candidate, slot.index, spec)

    def request(self, slot: StageSlot, candidate: Candidate, index: int, spec: StreamSpec) -> None:
        given = self._providers.get(candidate.provider)
        try:
            if given is None and FALLBACKS.get(candidate.stage) == candidate.type:
                given = registry.find(candidate.type)(candidate.options, None, None)
                self._providers[candidate.provider] = given
            if given is None:
                raise ProviderError(candidate.provider, "config", "no such provider was given")
            self._streams += 1
            spec = replace(spec, stream=self._streams)
            port = LocalPort(candidate.provider, given, candidate.stage, spec, slot, self._tasks, self._tools)
        except (ProviderError, ConfigError) as error:
            kind = error.kind if isinstance(error, ProviderError) else "config"
            # told from the loop, as over a link: a slot that is refused while it opens would open the next inside
            asyncio.get_running_loop().call_soon(slot.refused, spec.epoch, Fault(kind=kind, detail=str(error)))
            return
        slot.take(port, spec.epoch)


class LocalCall:
    """One session, its ticks and its events. `audio` are (loop time, reply, sample, pcm); both bounded.

    `tools` runs what a model calls (`tool_runner.Tools`, which the caller closes); without it every call fails.
    """

    def __init__(
        self, plan: RoutePlan, providers: Mapping[str, Any], tools: ToolRunner | None = None, **session: Any
    ) -> None:
        self._plan, self._providers, self._tools, self._options = plan, providers, tools, session
        self.events: asyncio.Queue[ev.Event] = asyncio.Queue(_EVENTS_MAX)
        self.record: dict[str, Any] | None = None
        self._over = asyncio.Event()

    async def __aenter__(self) -> LocalCall:
        loop = asyncio.get_running_loop()
        self._tasks = asyncio.TaskGroup()
        self._began_s = loop.time()
        await self._tasks.__aenter__()
        connector = LocalConnector(self._providers, self._tasks, self._tools)
        session_id = self._options.pop("session_id", "local")
        self.session = VoiceSession(
            session_id, self._plan, connector, connector.capabilities, self, loop.time, **self._options
        )
        self._tasks.create_task(self._tick())
        self.session.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.close("caller_closed")
        self._over.set()
        await self._tasks.__aexit__(kind, error, trace)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._over.is_set() and not self.session.closed:
            now_s = loop.time()
            if self.session.wake_s <= now_s + 1e-9:
                self.session.tick()
            await asyncio.sleep(_TICK_S)

    # ------------------------------------------------------------------------------------------------- the outlet

    def event(self, event: ev.Event) -> None:
        if self.events.full():
            raise RuntimeError(f"{_EVENTS_MAX} events of {event.session_id} were not read")
        self.events.put_nowait(event)

    def audio_out(self, reply_id: int, pos: int, pcm: bytes) -> None:
        rate_hz = self.session.audio_out.rate_hz
        t = round(self.session.session_s() - self._began_s, 6)
        self.event(ev.VoiceAudio(t=t, reply_id=reply_id, offset_ms=pos * 1000 / rate_hz, pcm=pcm))

    def accept(self) -> None:
        """Nothing is owed in one process: the caller's audio is taken as it comes."""

    def closed(self, record: dict[str, Any]) -> None:
        self.record = record
