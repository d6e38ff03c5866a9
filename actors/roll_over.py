"""Planned roll-overs: a stream that must end soon is replaced by another of the same candidate, and nobody notices.

    waiting ──begin──► opening ──ready──► ready ──quiet, or hushed, or the deadline──► switched
                          ▲  └──not ready in time──┐
                          └──────── again ◄────────┘

The vendor says so (`Expiring`), or its capability does (`max_stream_s`). The second stream is opened beside the first,
well before, at an instant of the session's own, so that a hundred calls that began together do not roll together. It
takes over at a quiet moment; near the deadline the stage is hushed (an ear is asked for its final, a voice ends its
context at a sentence), and at the deadline it takes over whatever goes on. No failure is counted; a first stream that
ends before that is `expired` and replaced (`StageSlot`).

Units    loop time.
Source   conversation model, section 4: `expiring` costs no failure. Vendors: 10 to 60 minutes, warnings 50 s to none.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from actors.stage_slot import OPEN_S, StageSlot

__all__ = ["RollOver", "Stages"]

_MARGIN_S, _MARGIN_SHARE = 5.0, 0.1  # before a declared age: clocks differ, and a final takes a second
_LEAD_S, _LEAD_SHARE = 60.0, 0.25  # from the first try to the deadline
_HUSH_S = 4.0  # before the deadline
_AGAIN_S = 5.0
_LOOK_S = 0.1


class Stages(Protocol):
    """What is different from stage to stage."""

    def life_s(self, slot: StageSlot) -> float | None:
        """How long a stream of the present candidate may live; None: for ever."""
        ...

    def prepare(self, slot: StageSlot) -> bool:
        """Open the second stream; False: not now, it must be a quiet moment."""
        ...

    def is_quiet(self, slot: StageSlot) -> bool: ...
    def hush(self, slot: StageSlot, *, now: bool) -> None:
        """Work towards quiet; `now`: the deadline is near. May be called again and again."""
        ...

    def unhush(self, slot: StageSlot) -> None:
        """It comes to nothing after all."""
        ...

    def switch(self, slot: StageSlot, *, quiet: bool) -> None: ...


@dataclass(slots=True)
class _Plan:
    deadline_s: float
    begin_s: float
    state: Literal["waiting", "opening", "ready"] = "waiting"
    open_by_s: float = 0.0

    @property
    def due_s(self) -> float:
        return {"waiting": self.begin_s, "opening": self.open_by_s, "ready": self.begin_s}[self.state]


class RollOver:
    """Of one session."""

    def __init__(self, session_id: str, stages: Stages, clock: Callable[[], float]) -> None:
        self._id, self._stages, self._clock = session_id, stages, clock
        self._plans: dict[StageSlot, _Plan] = {}

    @property
    def due_s(self) -> float | None:
        return min((plan.due_s for plan in self._plans.values()), default=None)

    def serves(self, slot: StageSlot, *, since_s: float | None = None) -> None:
        """A stream of this slot serves now; it lives since `since_s`, or since now."""
        self._plans.pop(slot, None)
        life_s = self._stages.life_s(slot)
        if life_s is not None:
            born_s = self._clock() if since_s is None else since_s
            deadline_s = born_s + life_s - min(_MARGIN_S, life_s * _MARGIN_SHARE)
            lead_s = min(_LEAD_S, life_s * _LEAD_SHARE)
            self._plans[slot] = _Plan(deadline_s, deadline_s - lead_s * (0.5 + 0.5 * self._spread(slot)))

    def expiring(self, slot: StageSlot, in_s: float) -> None:
        """The vendor ends this stream in `in_s`."""
        now_s = self._clock()
        deadline_s = now_s + max(0.0, in_s - min(1.0, in_s * _MARGIN_SHARE))
        plan = self._plans.get(slot)
        if plan is None:
            self._plans[slot] = _Plan(deadline_s, now_s)
            return
        plan.deadline_s = min(plan.deadline_s, deadline_s)
        if plan.state == "waiting":
            plan.begin_s = min(plan.begin_s, now_s)

    def prepared(self, slot: StageSlot) -> None:
        """The stream beside is ready."""
        plan = self._plans.get(slot)
        if plan is not None and plan.state == "opening":
            plan.state, plan.begin_s = "ready", self._clock()

    def gone(self, slot: StageSlot) -> None:
        """The stream that served has failed: what follows is another story."""
        self._plans.pop(slot, None)

    def tick(self, now_s: float) -> None:
        for slot, plan in tuple(self._plans.items()):
            if now_s < plan.due_s - 1e-9:
                continue
            if plan.state == "waiting":
                self._begin(slot, plan, now_s)
            elif plan.state == "opening" or not slot.beside_ready:
                slot.drop_beside()
                self._stages.unhush(slot)
                plan.state, plan.begin_s = "waiting", now_s + _AGAIN_S
            else:
                self._look(slot, plan, now_s)

    def _begin(self, slot: StageSlot, plan: _Plan, now_s: float) -> None:
        if now_s >= plan.deadline_s:
            del self._plans[slot]  # it lives on borrowed time; when it ends it is `expired`
        elif self._stages.prepare(slot):
            plan.state, plan.open_by_s = "opening", now_s + OPEN_S
        else:
            plan.begin_s = now_s + _LOOK_S

    def _look(self, slot: StageSlot, plan: _Plan, now_s: float) -> None:
        quiet = self._stages.is_quiet(slot)
        if quiet or now_s >= plan.deadline_s:
            del self._plans[slot]
            self._stages.switch(slot, quiet=quiet)
            self.serves(slot, since_s=plan.open_by_s - OPEN_S)
            return
        self._stages.hush(slot, now=now_s >= plan.deadline_s - _HUSH_S)
        plan.begin_s = now_s + _LOOK_S

    def _spread(self, slot: StageSlot) -> float:
        """0 to 1, the session's own: no random source, so that a call can be played again."""
        return zlib.crc32(f"{self._id}/{slot.stage}".encode()) / 2**32
