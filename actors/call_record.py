"""What one call was: collected while it runs, written once when it ends. No text longer than it was, no secret.

Units    seconds and characters per provider; latencies as the events gave them. Bounded: the first `MAX_TURNS` turns
         and replies are kept whole, the rest only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from actors.bill import Bill, bill, prices_of
from actors.events import (
    Dropped,
    Event,
    ProviderChanged,
    SessionOpened,
    ToolResult,
    TranscriptFinal,
    TurnEnded,
    TurnLatency,
    VoiceStopped,
)
from actors.wording import swap
from router.plan import RoutePlan, Stage

__all__ = ["MAX_TURNS", "CallRecord"]

MAX_TURNS = 500
MAX_TOOLS = 100
"""A model may make names up; those of a route are 64 at most."""
_LATENCIES = ("turn_id", "endpoint", "stt_final", "agent_first", "tts_first", "total")


class CallRecord:
    """Fed with every event; `stats` is what `session.closed` carries and the record holds."""

    def __init__(self, session_id: str, plan: RoutePlan, trace: str | None) -> None:
        self._head = {
            "session_id": session_id,
            "tenant": plan.tenant_id,
            "region": plan.region,
            "route": plan.route,
            "version": plan.version,
            "trace": trace,
        }
        self.served: dict[str, list[str]] = {}
        self.turns: dict[int, str] = {}
        self.replies: list[dict[str, Any]] = []
        self.latencies: list[dict[str, Any]] = []
        self.dropped_ms: Counter[str] = Counter()
        self._bill, self._prices = Bill(), prices_of(plan)
        self.counts: Counter[str] = Counter()
        self.tools: dict[str, Counter[str]] = {}

    def use(self, provider: str, **amounts: float) -> None:
        """Seconds of audio and characters that the session saw go to a provider or come from it."""
        self._bill.count(provider, amounts)

    def report(self, stage: Stage, provider: str, amounts: Mapping[str, float]) -> None:
        """What a provider says of itself."""
        self._bill.report(stage, provider, amounts)

    def see(self, event: Event) -> None:
        note = _NOTES.get(type(event))
        if note is not None:
            note(self, event)

    def reword(self, turn_id: int, old: str, new: str) -> None:
        """A nicer text of words of this turn."""
        if turn_id in self.turns:
            self.turns[turn_id] = swap(self.turns[turn_id], old, new)

    def _opened(self, event: SessionOpened) -> None:
        self.served = {stage: [name] for stage, name in event.providers.items()}

    def _changed(self, event: ProviderChanged) -> None:
        self.served.setdefault(event.stage, [event.before]).append(event.after)

    def _final(self, event: TranscriptFinal) -> None:
        self.counts["finals"] += 1

    def _turn(self, event: TurnEnded) -> None:
        self.counts["turns"] += not event.revision
        if len(self.turns) < MAX_TURNS or event.turn_id in self.turns:
            self.turns[event.turn_id] = event.text

    def _latency(self, event: TurnLatency) -> None:
        if len(self.latencies) < MAX_TURNS:
            self.latencies.append({k: getattr(event, k) for k in _LATENCIES})

    def _tool(self, event: ToolResult) -> None:
        name = event.name if event.name in self.tools or len(self.tools) < MAX_TOOLS else "other"
        tool = self.tools.setdefault(name, Counter())
        tool["calls"] += 1
        tool[event.why] += 1
        tool["ms"] += round(event.ms)

    def _dropped(self, event: Dropped) -> None:
        self.dropped_ms[f"{event.stage}/{event.policy}"] += round(event.ms)

    def _reply(self, event: VoiceStopped) -> None:
        self.counts["replies"] += 1
        self.counts[f"replies_{event.why}"] += 1
        if len(self.replies) < MAX_TURNS:
            self.replies.append(
                {"reply_id": event.reply_id, "said": event.said, "heard": event.heard, "why": event.why,
                 "estimated": event.estimated}
            )  # fmt: skip

    def stats(self, **more: Any) -> dict[str, Any]:
        return {
            **self._head,
            "providers": self.served,
            "counts": dict(self.counts),
            "turns": [{"turn_id": k, "text": v} for k, v in self.turns.items()],
            "replies": self.replies,
            "latencies": self.latencies,
            "used": self._bill.used(),
            "counted": self._bill.standing_in(),
            "cost": bill(self._bill, self._prices, (name for names in self.served.values() for name in names)),
            "tools": {name: dict(counts) for name, counts in self.tools.items()},
            "dropped_ms": dict(self.dropped_ms),
            **more,
        }


_NOTES: dict[type, Callable[[CallRecord, Any], None]] = {
    SessionOpened: CallRecord._opened,
    ProviderChanged: CallRecord._changed,
    TranscriptFinal: CallRecord._final,
    TurnEnded: CallRecord._turn,
    VoiceStopped: CallRecord._reply,
    TurnLatency: CallRecord._latency,
    ToolResult: CallRecord._tool,
    Dropped: CallRecord._dropped,
}
