"""`make demo`: six calls, offline, that show what Patchbay does, and then a check that it did.

    out/demo/NAME.wav        left what the caller said, right what the caller heard
    out/demo/NAME.svg        the call on one time axis
    out/demo/NAME.jsonl      its events

Exit status 0 if every final equals the shipped text and every recording has the voice it should have; else 1.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from actors.client import SessionHandle
from actors.events import Event, TurnLatency
from cli import audiofile, console, main
from cli.calling import keep, router_of
from cli.calllog import CallLog
from cli.demo_check import Story, problems
from cli.progress import Progress
from cli.run import Style, run
from cli.show import JsonLines, Transcript, route_line
from router.context import RouteContext

__all__ = ["STORIES", "demo"]

_EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
_CALL_S = 120.0
"""The longest story lasts half a minute."""

STORIES = (
    Story(
        name="1-hours", about="tenant acme in Europe asks for the opening hours", file="hours.wav",
        tenant="acme", region="eu-west", route="acme", voice="en-gb",
    ),
    Story(
        name="2-order", about="tenant globex in the United States checks an order", file="order.wav",
        tenant="globex", region="us-east", route="globex", voice="en-us",
    ),
    Story(
        name="3-speech-to-speech", about="the flag s2s takes acme's caller to a speech-to-speech model",
        file="weather.wav", tenant="acme", region="eu-west", features=("s2s",), route="acme-front-desk",
        voice="en-us+f3",
    ),
    Story(
        name="4-barge-in", about="a caller speaks into a long reply and ends it", file="barge-in.wav",
        tenant="acme", region="eu-west", route="acme", voice="en-gb", full_duplex=True, interrupts=True,
    ),
    Story(
        name="5-stranger", about="a tenant that nobody knows takes the default route", file="stranger.wav",
        tenant="initech", region="ap-south", route="default", voice="en-us", default_cause="tenant",
        reason="input_ended",
    ),
    Story(
        name="6-dead-candidate", about="the first candidate is dead, the second serves", file="help.wav",
        tenant="globex", region="us-east", attributes={"line": "trial"}, route="globex-trial", voice="en-us",
        dead="dead-ears",
    ),
)  # fmt: skip


def demo(
    out: Annotated[Path, typer.Option(help="Where recordings and pictures go.")] = Path("out/demo"),
    only: Annotated[str | None, typer.Option(help="Only the calls whose name has this in it.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Lock-step: no waiting, no latencies.")] = False,
) -> None:
    """Make the calls, check them, say what was found."""
    stories = [story for story in STORIES if only is None or only in story.name]
    out.mkdir(parents=True, exist_ok=True)
    failed = asyncio.run(_all(stories, out, fast=fast))
    raise typer.Exit(1 if failed or not stories else 0)


async def _all(stories: list[Story], out: Path, *, fast: bool) -> list[str]:
    people = console.people(console.claim_stdout())
    texts = _shipped_texts()
    found: dict[str, list[str]] = {}
    with Progress(console.notes()) as progress:
        async with router_of(_EXAMPLES / "demo" / "routes.yaml", None, progress) as router:
            progress("calling")
            for story in stories:
                found[story.name] = await _one(story, router, texts[story.file], out, people, progress.done, fast=fast)
    people.rule("what was checked")
    for name, wrong in found.items():
        people.print(f"{name}: " + ("; ".join(wrong) if wrong else "every final, the route, the end, both voices: ok"))
    people.print(f"recordings, pictures and events: {out}", markup=False)
    return [name for name, wrong in found.items() if wrong]


async def _one(
    story: Story, router: Any, texts: list[str], out: Path, people: Console, taken: Callable[[], None], *, fast: bool
) -> list[str]:
    """One call and what is wrong with it. A call that fails is a finding, not the end of the demo."""
    people.rule(f"{story.name}: {story.about}")
    samples, audio = audiofile.read(_EXAMPLES / "speech" / story.file)
    log = CallLog(audio.rate_hz, title=f"{story.about} ({story.tenant}, {story.region})", timed=not fast)
    try:
        async with asyncio.timeout(_CALL_S):
            handle = await router.open.remote(_context(story))
            people.print(route_line(handle), markup=False, soft_wrap=True)
            await _call(story, handle, samples, audio, log, out, people, taken, fast=fast)
        return await problems(
            story, handle, log, texts, samples, out / f"{story.name}.wav", sorted({s.voice for s in STORIES})
        )
    except Exception as error:
        lines = main.explained(error) or traceback.format_exception(error)
        people.print("\n".join(lines), style="red", markup=False)
        return [f"{type(error).__name__}: {lines[0]}"]


async def _call(
    story: Story, handle: SessionHandle, samples: Any, audio: Any, log: CallLog, out: Path, people: Console,
    taken: Callable[[], None], *, fast: bool,
) -> None:  # fmt: skip
    try:
        with (out / f"{story.name}.jsonl").open("wb") as lines, Transcript(people, timed=not fast) as transcript:
            json = JsonLines(lines, timed=not fast)

            def show(at_s: float, event: Event) -> None:
                json(at_s, event)
                transcript(at_s, event)

            await run(handle, samples, audio, Style(story.full_duplex, fast), show, log, taken)
    finally:
        keep(log, out / f"{story.name}.wav", out / f"{story.name}.svg")
    totals = [e.total for _, e in log.of(TurnLatency) if isinstance(e, TurnLatency)]
    if totals and not fast:
        people.print("latency of each turn: " + ", ".join(f"{total:.2f} s" for total in totals), markup=False)


def _context(story: Story) -> RouteContext:
    return RouteContext(
        session_id=f"demo-{main.made_up_id()}",
        tenant_id=story.tenant,
        region=story.region,
        features=dict.fromkeys(story.features, True),
        attributes=dict(story.attributes or {}),
    )


def _shipped_texts() -> dict[str, list[str]]:
    """What each file says, turn by turn, as shipped beside the speech."""
    index = yaml.safe_load((_EXAMPLES / "speech" / "index.yaml").read_text(encoding="utf-8"))
    return {call["file"]: [turn["text"] for turn in call["turns"]] for call in index["calls"]}


if __name__ == "__main__":
    sys.argv[0] = "patchbay-demo"
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.command()(demo)
    main.main(program)
