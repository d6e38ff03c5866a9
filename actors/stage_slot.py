"""One stage of one session: which candidate serves it now, and what happens when it does not.

    idle ──open──► opening ──ready──► ready ──fault──► opening (next candidate) ── … ──► exhausted

A candidate that is not ready in `READY_S` makes way for the next, while there is one; a stage with none in `OPEN_S`
is exhausted. Every stream has an epoch; what an older one still says is counted in `stale` and dropped.

Renewal, which is no failure: `prepare` opens a second stream of the candidate that serves, beside the first, and
`switch` puts it in its place. A stream that ends as `expired` before that is replaced by another of the same candidate.

Units    `now_s` loop time: providers keep real time even where the session's clock is the media position.
Source   conversation model, section 5 (2 s, 5 s).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from actors import wire
from actors.ports import Port
from actors.providers.interface import Fault, ProviderEvent, Ready, StreamSpec, Usage
from router.plan import Candidate, Stage

__all__ = ["EXPIRED_MAX", "LIFE_S", "OPEN_S", "READY_S", "Connector", "SlotOwner", "StageSlot"]

READY_S = 2.0
OPEN_S = 5.0
LIFE_S = 10.0
"""A stream that expires sooner has not served; `EXPIRED_MAX` of them in a row are a failure."""
EXPIRED_MAX = 3
_WAITING_MAX = 512
"""Ops that wait for a stream: the history given to a new model is 200 items. More are counted in `unsent`."""
SlotState = Literal["idle", "opening", "ready", "exhausted"]


class Connector(Protocol):
    """Who finds a stream for a slot: a lease and a link on a host, an object in the same process in a test."""

    def request(self, slot: StageSlot, candidate: Candidate, index: int, spec: StreamSpec) -> None:
        """Answer with `slot.take(port, epoch)` or `slot.refused(epoch, detail)`, now or later."""
        ...

    def beside(self, slot: StageSlot, candidate: Candidate, spec: StreamSpec) -> None:
        """A second stream of the candidate that serves now; answered like `request`."""
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

    def stage_prepared(self, slot: StageSlot) -> None:
        """The stream beside is ready."""
        ...

    def stage_exhausted(self, slot: StageSlot, fault: Fault) -> None: ...


class StageSlot:
    """Implements `ports.PortSink`."""

    __slots__ = (
        "_candidates", "_clock", "_connector", "_due_s", "_epochs", "_expired", "_last_fault", "_open_by_s", "_owner",
        "_ready_s", "_spec", "_waiting", "beside", "beside_epoch", "beside_ready", "epoch", "index", "port", "stage",
        "stale", "state", "unsent",
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
        self.beside: Port | None = None
        """A second stream, which is to take over."""
        self.beside_epoch: int | None = None
        self.beside_ready = False
        self._epochs = self._expired = 0
        self._ready_s = 0.0
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
        self.drop_beside()
        self.index, self.epoch, self.state = index, self.next_epoch(), "opening"
        if self._open_by_s is None:
            self._open_by_s = now_s + OPEN_S
        more = index + 1 < len(self._candidates)
        self._due_s = min(now_s + READY_S, self._open_by_s) if more else self._open_by_s
        self.port = None
        self._connector.request(self, self.candidate, index, self._spec(self, self.candidate))

    def next_epoch(self) -> int:
        """A number that no stream of this slot had."""
        self._epochs += 1
        return self._epochs

    def prepare(self, spec: StreamSpec) -> None:
        """Open a second stream of the present candidate, beside the one that serves; `stage_prepared` may follow."""
        self.drop_beside()
        self.beside_epoch = spec.epoch
        self._connector.beside(self, self.candidate, spec)

    def switch(self) -> None:
        """The stream beside, which is ready, takes over."""
        assert self.beside is not None
        assert self.beside_epoch is not None
        old, self.port, self.epoch = self.port, self.beside, self.beside_epoch
        self.beside, self.beside_epoch, self.beside_ready = None, None, False
        self.state, self._due_s, self._ready_s = "ready", None, self._clock()
        if old is not None:
            old.close(drain=True)  # what it used is still told

    def drop_beside(self) -> None:
        port, self.beside = self.beside, None
        self.beside_epoch, self.beside_ready = None, False
        if port is not None:
            port.close()

    def take(self, port: Port, epoch: int) -> None:
        """The stream that was asked for; it says `Ready` when it takes work."""
        if epoch == self.beside_epoch and self.state == "ready":
            self.beside = port
            return
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
        elif epoch == self.beside_epoch:
            self.drop_beside()
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
        if self.beside is not None:
            self.beside.send(wire.UpdateStream(options=dict(options)))

    def close(self, *, drain: bool = False) -> None:
        self.state, self._due_s = "exhausted", None
        self.drop_beside()
        if self.port is not None:
            self.port.close(drain=drain)
            self.port = None

    # ---------------------------------------------------------------------------------------------- PortSink

    def on_event(self, port: Port, event: ProviderEvent) -> None:
        if port is not self.port:
            if type(event) is Usage:
                self._owner.stage_event(self, event)
            elif port is not self.beside or not self._beside_says(event):
                self.stale += 1
        elif type(event) is Fault:
            self._fail(event)
        elif type(event) is Ready:
            self._ready()
        else:
            self._owner.stage_event(self, event)

    def _beside_says(self, event: ProviderEvent) -> bool:
        if type(event) is Fault:
            self.drop_beside()  # it costs nothing: the one that serves serves on
        elif type(event) is Ready:
            self.beside_ready = True
            self._owner.stage_prepared(self)
        else:
            return False
        return True

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
            self._ready_s = self._clock()
            self._connector.outcome(self, None)
            self._owner.stage_ready(self)

    def _is_spent(self, fault: Fault) -> bool:
        """A stream that served its time: another of the same candidate follows. One that never lives is a failure."""
        return fault.kind == "expired" and self._lived()

    def _is_cut_off(self, fault: Fault) -> bool:
        """The way to its actor broke and nobody stands behind it: its pool has another actor, or the way mends."""
        return fault.kind == "connect" and self.index + 1 == len(self._candidates) and self._lived()

    def _lived(self) -> bool:
        """It served, and not for the third time in a row only for a moment."""
        if self.state != "ready":
            return False
        self._expired = self._expired + 1 if self._clock() - self._ready_s < LIFE_S else 0
        return self._expired < EXPIRED_MAX

    def _fail(self, fault: Fault) -> None:
        before, spent = self.provider, self._is_spent(fault)
        if not spent:
            self._connector.outcome(self, fault)
            spent = self._is_cut_off(fault)
        if self.port is not None:
            self.port.close()
            self.port = None
        self._waiting.clear()
        if spent:
            self.open(self.index)
            self._owner.stage_changed(self, before, fault.kind)
            return
        if self.index + 1 < len(self._candidates):
            self.open(self.index + 1)
            self._owner.stage_changed(self, before, fault.kind)
        else:
            self.state, self._due_s = "exhausted", None
            self._owner.stage_exhausted(self, fault)
