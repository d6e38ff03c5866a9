"""The picture of a call: what happened is on it, where it happened."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.events import (
    Event,
    SessionClosed,
    SpeechDiscarded,
    SpeechStarted,
    SpeechStopped,
    TranscriptFinal,
    TranscriptPartial,
    TurnEnded,
    TurnLatency,
    VoiceHeld,
    VoiceStarted,
    VoiceStopped,
)
from cli import picture
from cli.calllog import CallLog
from cli.canvas import Png, Svg
from router.errors import AudioError

LATENCY = TurnLatency(turn_id=1, reply_id=1, endpoint=0.5, stt_final=0.52, agent_first=0.53, tts_first=0.58, total=0.6)
STOPPED = VoiceStopped(
    reply_id=1, why="interrupted", said="a long reply", heard="a long", heard_ms=600, estimated=False
)
STORY: list[tuple[float, Event]] = [
    (0.5, SpeechStarted(utterance_id=1, at=0.2)),
    (0.9, TranscriptPartial(utterance_id=1, text="hel")),
    (1.4, SpeechStopped(utterance_id=1, at=1.2)),
    (1.5, TranscriptFinal(utterance_id=1, text="hello <you> & me", start=0.0, end=1.4, provider="ears")),
    (1.7, TurnEnded(turn_id=1, text="hello", why="pause")),
    (1.8, VoiceStarted(reply_id=1, turn_id=1)),
    (1.8, LATENCY),
    (2.4, SpeechStarted(utterance_id=2, at=2.2)),
    (2.4, VoiceHeld(reply_id=1)),
    (2.9, STOPPED),
    (3.0, SpeechStopped(utterance_id=2, at=2.8)),
    (3.0, SpeechDiscarded(utterance_id=2)),
    (3.9, SessionClosed(reason="input_ended", stats={})),
]  # fmt: skip


def log(*, timed: bool = True, seconds: float = 4.0) -> CallLog:
    made = CallLog(8000, title="acme, route <one>", timed=timed)
    story = list(STORY)
    noise = np.random.default_rng(7).integers(-8000, 8000, 160).astype("<i2").tobytes()
    for k in range(int(seconds * 50)):
        while story and story[0][0] <= made.now_s:
            made.add(story.pop(0)[1])
        made.frame(noise, noise if 90 <= k < 120 else bytes(320), held=k > 150)
    return made


def texts(svg: bytes) -> list[str]:
    return [e.text or "" for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_speech_is_where_the_vad_put_it_and_says_when_no_words_came() -> None:
    assert picture.speech_spans(log()) == [(0.2, 1.2, False), (2.2, 2.8, True)]


def test_a_reply_knows_its_span_its_end_and_when_it_was_held() -> None:
    (reply,) = picture.replies(log())
    assert (reply.start_s, reply.end_s, reply.why) == (pytest.approx(1.8), pytest.approx(2.9), "interrupted")
    assert reply.held == ((pytest.approx(2.4), pytest.approx(2.9)),)
    assert (reply.said, reply.heard) == ("a long reply", "a long")


def test_the_svg_is_well_formed_and_tells_the_story() -> None:
    told = texts(picture.draw(log(), Svg))
    for wanted in ("acme, route <one>", "hello <you> & me", "turn 1: pause", "interrupted", "heard: a long", "600 ms"):
        assert wanted in told


def test_everything_stands_over_its_second() -> None:
    page = picture._Page(log())
    svg = picture.draw(log(), Svg).decode()
    x = float(re.search(r'<rect x="([\d.]+)"[^>]*><title>hello', svg)[1])  # type: ignore[index]
    assert x == pytest.approx(page.x(0.0), abs=0.1)
    ticks = [float(m[1]) for m in re.finditer(r'<text x="([\d.]+)"[^>]*>\d+ s<', svg)]
    assert ticks[:3] == [pytest.approx(page.x(k), abs=0.1) for k in (0, 1, 2)]


def test_lock_step_shows_no_latencies() -> None:
    told = texts(picture.draw(log(timed=False), Svg))
    assert "600 ms" not in told
    assert not any("latency" in text for text in told)


def test_the_png_has_the_same_size_and_is_not_empty() -> None:
    root = ET.fromstring(picture.draw(log(), Svg))
    image = Image.open(io.BytesIO(picture.draw(log(), Png)))
    assert image.size == (int(root.attrib["width"]), int(root.attrib["height"]))
    assert len(image.convert("RGB").getcolors(1 << 20) or []) > 50


@pytest.mark.parametrize("seconds", [0.02, 1.0, 600.0], ids=["one frame", "a second", "ten minutes"])
def test_short_and_long_calls_have_a_page_of_sane_width(seconds: float) -> None:
    short = CallLog(8000)
    short._sent = short._heard = bytearray(int(seconds * 16000))
    root = ET.fromstring(picture.draw(short, Svg))
    assert 400 <= int(root.attrib["width"]) <= 2800


def test_the_names_ending_decides_and_another_is_refused(tmp_path: Path) -> None:
    picture.save(tmp_path / "a.svg", log())
    picture.save(tmp_path / "new" / "a.PNG", log())
    assert (tmp_path / "a.svg").read_bytes().startswith(b"<svg")
    assert (tmp_path / "new" / "a.PNG").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(AudioError, match=r"a\.gif"):
        picture.save(tmp_path / "a.gif", log())
