"""The session's half of tools: which call is under way, what it is to the history, and when the model goes on.

    model: ToolCall ... done ──► round ──ToolRun──► the actor that serves the model
                                   ▲                          │
    history, tool.result ◄── ToolOutcome ─────────────────────┘        last of a round: the model is asked again

A *round* is all that a model calls before it waits for results: of an agent's answer, or of one response of a
speech-to-speech model. Calls of a round run side by side. A round is *wanted* until its reply is over: then its tools
still finish and their results still go into the history, but nobody is asked to go on.

Rounds     at most `tool_rounds` in one turn; then nothing is offered, and what is called all the same is refused.
Actions    `hang_up` and its like are done at once; with nothing else in its round, a model that has spoken is done.
Again      a call whose actor died is run once more, with the same key, if the tool is idempotent; else the model is
           told that nobody knows what came of it.
Key        session, turn and call: `c-1:3:call_9`. An id that the model uses twice gets a number behind it.

Units      loop time: tools keep real time even where the session's clock is the media position.
Source     conversation model, section 4.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import msgspec

from actors import events as ev
from actors import wire
from actors.history import History
from actors.providers import interface as pi
from actors.reply import Reply
from actors.tools import ToolError
from router.plan import RoutePlan
from router.tools import ToolSpec

__all__ = ["ARGS_MAX_BYTES", "CALLS_MAX", "Call", "Round", "ToolDesk", "ToolOwner", "offered"]

CALLS_MAX = 16
"""Of one round: more is a model that has lost its way."""
ARGS_MAX_BYTES = 16_384
_SLACK_S = 1.0  # beyond the tool's own deadline: its actor may be dead
_LAST_WORDS = frozenset({"hang_up", "transfer", "send_dtmf"})
"""A model that has spoken and does only this has nothing to add."""
_NAME_MAX = 64
_ODD = re.compile(r"[^A-Za-z0-9_.:-]")
"""What a model may write into an id, and a header may not hold."""
_PENDING_MAX = 64
"""Of a session: rounds whose replies were interrupted run on."""
_IDS_MAX = 1024


def offered(plan: RoutePlan) -> tuple[pi.Tool, ...]:
    """What the model is told of a route's tools."""
    if not plan.settings.tool_rounds:
        return ()
    return tuple(pi.Tool(name=t.name, description=t.description, schema=t.schema) for t in plan.tools)


@dataclass(slots=True, eq=False)
class Round:
    """What one answer calls before it waits."""

    turn: int
    """As the model numbers it: an agent's turn, a response."""
    reply: Reply | None
    refused: bool = False
    """One more than a turn may have."""
    wanted: bool = True
    closed: bool = False
    """The model has called all that it will."""
    spoke: bool = False
    calls: list[Call] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        return self.closed and all(call.outcome is not None for call in self.calls)

    @property
    def goes_on(self) -> bool:
        """The model has something to say to the results."""
        names = {call.name for call in self.calls if not call.cancelled}
        if self.refused or "hang_up" in names or not names:
            return False
        return not (self.spoke and names <= _LAST_WORDS)


@dataclass(slots=True, eq=False)
class Call:
    """One call of a tool."""

    id: str
    model_id: str
    """As the model calls it."""
    name: str
    args: dict[str, Any]
    turn_id: int
    began_s: float
    round: Round
    spec: ToolSpec | None = None
    due_s: float = 0.0
    runs: int = 0
    cancelled: bool = False
    """The model wants no result of it."""
    outcome: pi.ToolOutcome | None = None


class ToolOwner(Protocol):
    """The session, as its tools see it."""

    session_id: str
    plan: RoutePlan

    def emit(self, event: type[ev.Event], /, **fields: Any) -> None: ...
    def tool_done(self, tool: str, outcome: str, latency_s: float) -> None: ...


class ToolDesk:
    """Owned by `Speaking`. `due_s` is when it wants `tick`; `wanted` while a model will be asked to go on."""

    def __init__(
        self,
        owner: ToolOwner,
        history: History,
        send: Callable[[wire.StageOp], None],
        act: Callable[[str, dict[str, Any], Reply | None], str],
        settled: Callable[[Round], None],
        clock: Callable[[], float],
    ) -> None:
        self.offered = offered(owner.plan)
        self.stale = 0
        """Outcomes of calls that were over."""
        self._owner, self._history, self._send, self._act, self._settled = owner, history, send, act, settled
        self._clock = clock
        self._specs = {spec.name: spec for spec in owner.plan.tools}
        self._rounds: dict[int, Round] = {}
        self._pending: dict[str, Call] = {}
        self._used: dict[str, int] = {}

    @property
    def wanted(self) -> bool:
        return any(round.wanted for round in self._rounds.values())

    @property
    def is_busy(self) -> bool:
        """Tools are at work, whoever still wants what comes of them."""
        return bool(self._pending)

    @property
    def due_s(self) -> float | None:
        return min((call.due_s for call in self._pending.values()), default=None)

    # ------------------------------------------------------------------------------------------- from the model

    def called(self, event: pi.ToolCall, reply: Reply | None, rounds: int, before: str) -> None:
        """A call, of `reply`, after so many rounds of its turn; `before` is what was said since the last of them."""
        round = self._rounds.get(event.turn)
        if round is None:
            refused = rounds >= self._owner.plan.settings.tool_rounds
            round = self._rounds[event.turn] = Round(event.turn, reply, refused)
        elif round.calls:
            before = ""
        turn_id = reply.turn_id or 0 if reply is not None else 0
        is_long = len(msgspec.json.encode(event.args)) > ARGS_MAX_BYTES
        args = {} if is_long else event.args  # nobody is told what nobody carries
        call = Call(
            self._unique(event.id), event.id, event.name[:_NAME_MAX], args, turn_id, self._clock(), round,
            self._specs.get(event.name),
        )  # fmt: skip
        round.calls.append(call)
        self._owner.emit(ev.ToolCalled, turn_id=turn_id, call_id=call.id, name=call.name, args=call.args)
        self._history.tool_called(call.id, call.name, call.args, before)
        too_long = f"the arguments are longer than {ARGS_MAX_BYTES} bytes" if is_long else ""
        problem = self._problem(call, event.problem or too_long)
        if problem:
            self._over(call, "failed", problem)
        elif call.spec is not None and call.spec.is_action:
            try:
                self._over(call, "done", self._act(call.name, call.args, reply))
            except ToolError as error:
                self._over(call, "failed", str(error))
        else:
            self._run(call)

    def _problem(self, call: Call, told: str) -> str:
        """Why this call is not run; empty: it is."""
        if call.round.refused:
            return "no more calls in this turn: answer with what there is"
        if call.spec is None:
            names = ", ".join(sorted(self._specs)) or "none"
            return f"there is no tool {call.name!r}; there are: {names}"
        if told:
            return told
        if len(call.round.calls) > CALLS_MAX or len(self._pending) >= _PENDING_MAX:
            return f"{CALLS_MAX} calls at once are the most"
        return ""

    def round_over(self, turn: int, *, spoke: bool) -> bool:
        """The model waits for results, if it called anything: True, and `settled` comes when all are there."""
        round = self._rounds.get(turn)
        if round is None:
            return False
        round.closed, round.spoke = True, spoke
        self._settle(round)
        return True

    def dropped(self, turn: int) -> None:
        """The reply of this answer is over before its tools are: nobody goes on from them."""
        round = self._rounds.pop(turn, None)
        if round is not None:
            round.wanted, round.closed = False, True
            self._settled(replace(round, calls=[call for call in round.calls if call.outcome is not None]))

    def cancelled(self, id: str) -> None:
        """The model wants no result of this call, as it calls it; the newest of that id is meant."""
        for round in reversed(self._rounds.values()):
            for call in reversed(round.calls):
                if call.model_id == id:
                    call.cancelled = True
                    return
        self.stale += 1

    def superseded(self, response: int) -> None:
        """Another response has begun: the model has gone on without the results."""
        for turn in [t for t in self._rounds if t != response]:
            self.dropped(turn)

    # ---------------------------------------------------------------------------------------- what comes of them

    def outcome(self, event: pi.ToolOutcome) -> None:
        call = self._pending.get(event.id)
        if call is None:
            self.stale += 1
        else:
            self._over(call, event.why, event.result)

    def tick(self, now_s: float) -> None:
        for call in [c for c in self._pending.values() if now_s >= c.due_s]:
            self._over(call, "timeout", "the tool did not answer in time; it may still have been done")

    def changed(self, turn: int | None) -> bool:
        """Who served the model is gone, and what ran there with it. True: `turn` waits for results, or went on."""
        round = None if turn is None else self._rounds.get(turn)
        if round is not None:
            round.closed = True  # nothing more is called
        for call in list(self._pending.values()):
            if call.spec is not None and call.spec.idempotent and call.runs < 2:
                self._run(call)
            else:
                self._over(call, "failed", "nobody knows what came of it: it may have been done")
        if round is not None:
            self._settle(round)
        return round is not None

    def _run(self, call: Call) -> None:
        assert call.spec is not None
        call.runs += 1
        call.due_s = self._clock() + call.spec.deadline_s + _SLACK_S
        self._pending[call.id] = call
        session_id = self._owner.session_id
        bare = replace(call.spec, description="", schema={})
        self._send(
            wire.ToolRun(
                turn=call.turn_id, id=call.id, key=f"{session_id}:{call.turn_id}:{call.id}", session_id=session_id,
                tenant_id=self._owner.plan.tenant_id, tool=bare, args=call.args,
            )
        )  # fmt: skip

    def _over(self, call: Call, why: Literal["done", "failed", "timeout", "overload"], result: str) -> None:
        self._pending.pop(call.id, None)
        took_s = self._clock() - call.began_s
        call.outcome = pi.ToolOutcome(id=call.id, why=why, result=result, ms=took_s * 1000)
        self._history.tool_done(call.id, result, why == "done")
        self._owner.emit(
            ev.ToolResult, turn_id=call.turn_id, call_id=call.id, ok=why == "done", name=call.name, why=why,
            ms=round(took_s * 1000, 3),
        )  # fmt: skip
        self._owner.tool_done(call.name if call.spec is not None else "unknown", why, took_s)
        if call.round.wanted:
            self._settle(call.round)
        else:
            self._settled(replace(call.round, calls=[call]))

    def _settle(self, round: Round) -> None:
        if round.is_settled and self._rounds.get(round.turn) is round:
            del self._rounds[round.turn]
            self._settled(round)

    def _unique(self, id: str) -> str:
        """`id` in plain characters, with a number behind it where the model used it in this call before."""
        id = _ODD.sub("_", id)[:_NAME_MAX] or "call"
        count = self._used.pop(id, 0) + 1
        self._used[id] = count
        if len(self._used) > _IDS_MAX:
            del self._used[next(iter(self._used))]
        return id if count == 1 else f"{id}.{count}"
