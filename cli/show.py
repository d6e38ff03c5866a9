"""What a call says, to people and to programs.

    Transcript   a live transcript in a terminal: partials on a line that changes, finals and replies as they come
    JsonLines    one JSON event per line, fields as in the events themselves; audio as its length

With `timed=False` (lock-step) latencies are left out of both: they would be numbers without meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from actors.client import SessionHandle
from actors.events import (
    AgentAction,
    AgentText,
    Degraded,
    Dropped,
    ErrorEvent,
    Event,
    ProviderChanged,
    SessionClosed,
    SessionOpened,
    ToolCalled,
    ToolResult,
    TranscriptFinal,
    TranscriptPartial,
    TurnEnded,
    TurnLatency,
    VoiceHeld,
    VoiceResumed,
    VoiceStarted,
    VoiceStopped,
    as_json,
)

__all__ = ["JsonLines", "Transcript", "cost_line", "latency_line", "route_line"]


class JsonLines:
    """Events to a stream, each as one line, flushed: a program reads them as they come."""

    def __init__(self, stream: IO[bytes], *, timed: bool) -> None:
        self._stream, self._timed = stream, timed

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stream.flush()

    def __call__(self, at_s: float, event: Event) -> None:
        if isinstance(event, TurnLatency) and not self._timed:
            return
        self._stream.write(as_json(event) + b"\n")
        self._stream.flush()


class Transcript:
    """Events to a terminal or a file. Partials show only where a line can change."""

    def __init__(self, console: Console, *, timed: bool) -> None:
        self._console, self._timed = console, timed
        self._live = Live(Text(), console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._replies: dict[int, str] = {}
        self._shown: dict[int, str] = {}
        """What a line has said of a reply: an agent that calls tools says more after its voice has begun."""

    def __enter__(self) -> Transcript:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def __call__(self, at_s: float, event: Event) -> None:
        if isinstance(event, TranscriptPartial):
            self._partial(at_s, event.text)
            return
        if isinstance(event, AgentText):
            self._replies[event.reply_id] = self._replies.get(event.reply_id, "") + event.delta
            return
        line = self._line(event)
        if line is not None:
            self._partial(at_s, "")
            self._console.print(Text.assemble((f"{at_s:7.2f}  ", "dim"), line), soft_wrap=True)

    def _partial(self, at_s: float, text: str) -> None:
        if self._live is not None:
            self._live.update(Text(f"{at_s:7.2f}  caller  {text} …" if text else "", style="dim"), refresh=True)

    def _line(self, event: Event) -> Text | None:
        match event:
            case SessionOpened(providers=providers):
                return Text(f"opened  {_pairs(providers)}", style="dim")
            case TranscriptFinal(text=text) if text:
                return Text.assemble(("caller  ", "bold blue"), text)
            case TurnEnded(turn_id=turn, why=why, revision=revision):
                return Text(f"turn {turn} ended: {why}" + (f", revision {revision}" if revision else ""), style="dim")
            case VoiceStarted(reply_id=reply_id):
                self._shown[reply_id] = self._replies.get(reply_id, "…")
                return Text.assemble(("agent   ", "bold green"), self._shown[reply_id])
            case VoiceStopped(why="interrupted", heard=heard):
                return Text.assemble(("agent interrupted", "bold red"), f", heard: {heard or 'nothing'}")
            case VoiceStopped(why="failed"):
                return Text("the reply failed", style="bold red")
            case VoiceStopped(said=said, reply_id=reply_id) if rest := _rest(said, self._shown.get(reply_id, "")):
                return Text.assemble(("agent   ", "bold green"), rest)
            case VoiceHeld():
                return Text("agent holds", style="dim")
            case VoiceResumed():
                return Text("agent goes on", style="dim")
            case TurnLatency() if self._timed:
                return Text(latency_line(event), style="cyan")
            case ToolCalled(name=name):
                return Text(f"tool {name}", style="dim")
            case ToolResult(name=name, why=why, ms=ms):
                return Text(f"tool {name}: {why} ({ms:.0f} ms)", style="dim" if why == "done" else "yellow")
            case AgentAction(name=name, value=value):
                return Text(f"agent asks: {name} {value}".rstrip(), style="dim")
            case _:
                return self._trouble(event)

    def _trouble(self, event: Event) -> Text | None:
        match event:
            case ProviderChanged(stage=stage, before=before, after=after, why=why):
                return Text(f"{stage}: {before} to {after} ({why})", style="yellow")
            case Degraded(stage=stage, detail=detail):
                return Text(f"{stage} degraded: {detail}", style="yellow")
            case Dropped(stage=stage, ms=ms, policy=policy):
                return Text(f"{stage}: {ms:.0f} ms dropped ({policy})", style="yellow")
            case ErrorEvent(stage=stage, provider=provider, kind=kind, detail=detail, fatal=fatal):
                style = "bold red" if fatal else "yellow"
                return Text(f"{stage}: {provider}: {kind}: {detail}", style=style)
            case SessionClosed(reason=reason, stats=stats):
                cost = cost_line(stats)
                return Text(f"closed: {reason.replace('_', ' ')}" + (f", {cost}" if cost else ""), style="dim")
            case _:
                return None


def _rest(said: str, shown: str) -> str:
    """What of a reply no line has said yet; all of it where the line said something else (an ellipsis, markdown)."""
    shown = " ".join(shown.split())
    return said[len(shown) :].strip() if said.startswith(shown) else said


def latency_line(event: TurnLatency) -> str:
    """`latency 0.74 s (endpoint 0.50, stt 0.55, agent 0.58, voice 0.70)`, each from the last voiced frame."""
    parts = [
        ("endpoint", event.endpoint),
        ("stt", event.stt_final),
        ("agent", event.agent_first),
        ("voice", event.tts_first),
    ]
    told = ", ".join(f"{name} {value:.2f}" for name, value in parts if value is not None)
    return f"latency {event.total:.2f} s" + (f" ({told})" if told else "")


def cost_line(record: Mapping[str, Any]) -> str:
    """`cost 0.0042 USD, estimated; unknown of desk`, from a call record; empty where nobody has a price."""
    cost = record.get("cost")
    if not cost:
        return ""
    sums = " + ".join(f"{money:.4f} {currency}" for currency, money in cost["total"].items())
    estimated = any(line["estimated"] for line in cost["providers"].values())
    known = f"cost {sums}{', estimated' if estimated else ''}" if sums else "cost"
    return known + (f"; unknown of {', '.join(cost['unknown'])}" if cost["unknown"] else "")


def route_line(handle: SessionHandle) -> str:
    """`route acme (why): stt=ears>pocketsphinx agent=support ...`"""
    stages = " ".join(f"{stage}={'>'.join(names)}" for stage, names in handle.providers.items())
    return f"route {handle.route} ({handle.reason}): {stages}"


def _pairs(providers: Mapping[str, str]) -> str:
    return " ".join(f"{stage}={name}" for stage, name in providers.items())
