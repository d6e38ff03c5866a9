"""The demo's check can fail: a recording, a transcript or a route that is not as claimed is found."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.catalog import catalog
from actors.client import SessionHandle
from actors.events import Event, SessionClosed, SessionOpened, TranscriptFinal, VoiceStarted, VoiceStopped
from cli import audiofile
from cli.calllog import CallLog, Samples
from cli.demo import STORIES, _shipped_texts
from cli.demo_check import Story, problems
from cli.voiceprint import speak
from router.choose import choose
from router.config import load
from router.context import RouteContext
from router.plan import RoutePlan

RATE = 16000
REPLY = "We are open from nine to five."
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STORY = Story(
    name="x", about="", file="", tenant="acme", region="eu", route="acme", voice="en-gb"
)  # fmt: skip
HANDLE = SessionHandle(
    session_id="s", tenant_id="acme", route="acme", version="v", reason="", default_cause=None,
    providers={"stt": ("pocketsphinx",)}, address="127.0.0.1:1", token=b"",
)  # fmt: skip


def call(voice: str = "en-gb", text: str = "hello") -> tuple[CallLog, Samples]:
    """A call of one turn, and the file that was played in it."""
    file = np.arange(RATE, dtype=np.int16)
    reply = asyncio.run(speak({"voice": voice}, REPLY, RATE))
    heard_ms = len(reply) / RATE * 1000
    log = CallLog(RATE)
    left = np.concatenate([file, np.zeros(RATE + len(reply), np.int16)])
    right = np.concatenate([np.zeros(RATE, np.int16), reply, np.zeros(RATE, np.int16)])
    events: list[tuple[float, Event]] = [
        (0.0, SessionOpened(route="acme", version="v", providers={"stt": "pocketsphinx"})),
        (0.9, TranscriptFinal(utterance_id=1, text=text, start=0, end=0.9, provider="pocketsphinx")),
        (1.0, VoiceStarted(reply_id=1)),
        (2.5, VoiceStopped(
            reply_id=1, why="finished", said=REPLY, heard=REPLY, heard_ms=heard_ms, estimated=False
        )),
        (2.5, SessionClosed(reason="agent_hung_up", stats={})),
    ]  # fmt: skip
    for k in range(0, len(left) - 319, 320):
        while events and events[0][0] <= log.now_s:
            log.add(events.pop(0)[1])
        log.frame(left[k : k + 320].tobytes(), right[k : k + 320].tobytes(), held=False)
    return log, file


def found(tmp_path: Path, log: CallLog, file: Samples, story: Story = STORY, handle: SessionHandle = HANDLE) -> str:
    path = tmp_path / "x.wav"
    audiofile.write_stereo(path, log)
    return "; ".join(asyncio.run(problems(story, handle, log, ["hello"], file, path, ["en-gb", "en-us"])))


def test_a_call_that_is_as_claimed_has_no_problems(tmp_path: Path) -> None:
    assert found(tmp_path, *call()) == ""


def test_another_voice_is_found(tmp_path: Path) -> None:
    assert "is not in the voice en-gb" in found(tmp_path, *call(voice="en-us"))


def test_a_wrong_word_is_found(tmp_path: Path) -> None:
    assert "finals ['hallo']" in found(tmp_path, *call(text="hallo"))


def test_a_recording_without_the_callers_file_is_found(tmp_path: Path) -> None:
    log, file = call()
    assert "left side" in found(tmp_path, log, file[::-1].copy())


@pytest.mark.parametrize(
    ("story", "what"),
    [
        (replace(STORY, route="globex"), "route acme"),
        (replace(STORY, default_cause="tenant"), "not acme (tenant)"),
        (replace(STORY, interrupts=True), "no reply was interrupted"),
        (replace(STORY, reason="input_ended"), "closed ['agent_hung_up']"),
        (replace(STORY, dead="dead-ears"), "the first candidate is"),
    ],
    ids=["route", "cause", "interruption", "end", "dead candidate"],
)
def test_a_claim_that_does_not_hold_is_found(tmp_path: Path, story: Story, what: str) -> None:
    assert what in found(tmp_path, *call(), story=story)


def test_the_shipped_routes_send_every_story_where_it_says() -> None:
    path = EXAMPLES / "demo" / "routes.yaml"
    loaded = load(path.read_text(), str(path), catalog)
    assert loaded.problems == ()
    for story in STORIES:
        ctx = RouteContext(
            session_id="s", tenant_id=story.tenant, region=story.region,
            features=dict.fromkeys(story.features, True), attributes=dict(story.attributes or {}),
        )  # fmt: skip
        plan = choose(ctx, loaded.required())
        assert isinstance(plan, RoutePlan)
        assert (plan.route, plan.default_cause) == (story.route, story.default_cause)


def test_every_story_has_its_speech_and_its_texts() -> None:
    texts = _shipped_texts()
    for story in STORIES:
        samples, _ = audiofile.read(EXAMPLES / "speech" / story.file)
        assert len(samples) > RATE
        assert texts[story.file]
