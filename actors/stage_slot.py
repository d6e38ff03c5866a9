"""One stage of one session: which candidate serves it now, and what happens when it does not.

    idle ──open──► opening ──ready──► ready ──fault──► opening (next candidate) ── … ──► exhausted

A candidate that is not ready in `READY_S` makes way for the next, while there is one; a stage with none in `OPEN_S`
is exhausted. Every stream has an epoch; what an older one still says is counted in `stale` and dropped.

Units    `now_s` loop time: providers keep real time even where the session's clock is the media position.
Source   conversation model, section 5 (2 s, 5 s).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from actors import wire
from actors.ports import Port
from actors.providers.interface import Fault, ProviderEvent, Ready, StreamSpec
from router.plan import Candidate, Stage

__all__ = ["OPEN_S", "READY_S", "Connector", "SlotOwner", "StageSlot"]

READY_S = 2.0
OPEN_S = 5.0
_WAITING_MAX = 512
"""Ops that wait for a stream: the history given to a new model is 200 items. More are counted in `unsent`."""
SlotState = Literal["idle", "opening", "ready", "exhausted"]


class Connector(Protocol):
    """Who finds a stream for a slot: a lease and a link on a host, an object in the same process in a test."""

    def request(self, slot: StageSlot, candidate: Candidate, index: int, spec: StreamSpec) -> None:
        """Answer with `slot.take(port, epoch)` or `slot.refused(epoch, detail)`, now or later."""
        ...

    def outcome(self, slot: StageSlot, fault: Fault | None) -> None:
        """The slot's present candidate is ready (None), or failed: what the cluster's health is made of."""
        ...


class SlotOwner(Protocol):
    """The session, as its slots see it."""

    def stage_event(self, slot: StageSlot, event: ProviderEvent) -> None: ...
    def stage_voiced(self, pos: int, voiced: bool) -> None: ...
    def stage_accepted(self, slot: StageSlot) -> None: ...
    def stage_ready(self, slot: StageSlot) -> None: ...
    def stage_changed(self, slot: StageSlot, before: str, why: str) -> None:
        """The candidate before failed; the next is being opened."""
        ...

    def stage_exhausted(self, slot: StageSlot, fault: Fault) -> None: ...


class StageSlot:
    """Implements `ports.PortSink`."""

    __slots__ = (
        "_candidates", "_clock", "_connector", "_due_s", "_last_fault", "_open_by_s", "_owner", "_spec", "_waiting",
        "epoch", "index", "port", "stage", "stale", "state", "unsent",
    )  # fmt: skip

    def __init__(
        self,
        stage: Stage,
        candidates: tuple[Candidate, ...],
        connector: Connector,
        owner: SlotOwner,
        spec: Callable[[StageSlot, Candidate], StreamSpec],
        clock: Callable[[], float],
    ) -> None:
        self.stage = stage
        self._candidates, self._connector, self._owner, self._spec, self._clock = (
            candidates, connector, owner, spec, clock,
        )  # fmt: skip
        self.index = self.epoch = self.stale = self.unsent = 0
        self.port: Port | None = None
        self.state: SlotState = "idle"
        self._waiting: list[wire.StageOp] = []
        self._due_s: float | None = None
        self._open_by_s: float | None = None
        self._last_fault = Fault(kind="timeout", detail="was not ready in time")

    @property
    def provider(self) -> str:
        return self._candidates[self.index].provider

    @property
    def candidate(self) -> Candidate:
        return self._candidates[self.index]

    def open(self, index: int = 0) -> None:
        """Begin with candidate `index`."""
        now_s = self._clock()
        self.index, self.epoch, self.state = index, self.epoch + 1, "opening"
        if self._open_by_s is None:
            self._open_by_s = now_s + OPEN_S
        more = index + 1 < len(self._candidates)
        self._due_s = min(now_s + READY_S, self._open_by_s) if more else self._open_by_s
        self.port = None
        self._connector.request(self, self.candidate, index, self._spec(self, self.candidate))

    def take(self, port: Port, epoch: int) -> None:
        """The stream that was asked for; it says `Ready` when it takes work."""
        if epoch != self.epoch or self.state == "exhausted":
            self.stale += 1
            port.close()
            return
        self.port = port
        waiting, self._waiting = self._waiting, []
        for op in waiting:
            port.send(op)

    def refused(self, epoch: int, fault: Fault) -> None:
        """No stream is to be had of this candidate."""
        if epoch == self.epoch and self.state == "opening":
            self._fail(fault)
        else:
            self.stale += 1

    def send(self, op: wire.StageOp) -> None:
        """To the stream; while it is being opened the op waits (few do: audio waits in the ring)."""
        if self.port is not None:
            self.port.send(op)
        elif self.state == "opening" and len(self._waiting) < _WAITING_MAX:
            self._waiting.append(op)
        else:
            self.unsent += 1

    def update(self, options: Mapping[str, Any]) -> None:
        self.send(wire.UpdateStream(options=dict(options)))

    def close(self, *, drain: bool = False) -> None:
        self.state, self._due_s = "exhausted", None
        if self.port is not None:
            self.port.close(drain=drain)
            self.port = None

    # ---------------------------------------------------------------------------------------------- PortSink

    def on_event(self, port: Port, event: ProviderEvent) -> None:
        if port is not self.port:
            self.stale += 1
        elif type(event) is Fault:
            self._fail(event)
        elif type(event) is Ready:
            self._ready()
        else:
            self._owner.stage_event(self, event)

    def on_voiced(self, port: Port, pos: int, voiced: bool) -> None:
        if port is self.port:
            self._owner.stage_voiced(pos, voiced)
        else:
            self.stale += 1

    def on_accepted(self, port: Port) -> None:
        if port is self.port:
            self._owner.stage_accepted(self)

    # ------------------------------------------------------------------------------------------------ deadlines

    @property
    def due_s(self) -> float | None:
        return self._due_s

    def tick(self, now_s: float) -> None:
        if self._due_s is not None and now_s >= self._due_s:
            self._fail(Fault(kind="timeout", detail=f"was not ready in {READY_S:g} s"))

    def fail(self, fault: Fault) -> None:
        """The session found it wanting (it stalled, say): as if it had said so itself."""
        if self.state in ("opening", "ready"):
            self._fail(fault)

    def _ready(self) -> None:
        if self.state == "opening":
            self.state, self._due_s, self._open_by_s = "ready", None, None
            self._connector.outcome(self, None)
            self._owner.stage_ready(self)

    def _fail(self, fault: Fault) -> None:
        before = self.provider
        self._connector.outcome(self, fault)
        if self.port is not None:
            self.port.close()
            self.port = None
        self._waiting.clear()
        if self.index + 1 < len(self._candidates):
            self.open(self.index + 1)
            self._owner.stage_changed(self, before, fault.kind)
        else:
            self.state, self._due_s = "exhausted", None
            self._owner.stage_exhausted(self, fault)
