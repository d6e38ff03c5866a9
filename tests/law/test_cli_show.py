"""What of a call is shown to people, line by line."""

from __future__ import annotations

import io

from rich.console import Console

from actors import events as ev
from cli.show import Transcript


def lines(*events: ev.Event) -> list[str]:
    out = io.StringIO()
    with Transcript(Console(file=out, width=200), timed=False) as show:
        for number, event in enumerate(events):
            show(float(number), event)
    return [line[9:].strip() for line in out.getvalue().splitlines()]


def text(delta: str) -> ev.AgentText:
    return ev.AgentText(turn_id=1, reply_id=1, delta=delta)


def stopped(said: str) -> ev.VoiceStopped:
    return ev.VoiceStopped(reply_id=1, why="finished", said=said, heard=said, heard_ms=1.0, estimated=False)


def test_what_an_agent_says_after_its_tool_is_shown_too() -> None:
    late = ev.ToolResult(turn_id=1, call_id="c", ok=False, name="status", why="timeout", ms=9)
    assert lines(
        text("Let me see. "), ev.ToolCalled(turn_id=1, call_id="c", name="status", args={}),
        ev.VoiceStarted(reply_id=1), late, text("It comes."), stopped("Let me see. It comes."),
    ) == ["tool status", "agent   Let me see.", "tool status: timeout (9 ms)", "agent   It comes."]  # fmt: skip


def test_a_reply_is_shown_once() -> None:
    assert lines(text("Yes."), ev.VoiceStarted(reply_id=1), stopped("Yes.")) == ["agent   Yes."]


def test_what_is_said_without_an_agent_is_shown_when_it_was_heard() -> None:
    assert lines(ev.VoiceStarted(reply_id=1), stopped("Welcome.")) == ["agent   …", "agent   Welcome."]


def test_actions_are_shown() -> None:
    assert lines(ev.AgentAction(turn_id=1, name="transfer", value="desk 4")) == ["agent asks: transfer desk 4"]
