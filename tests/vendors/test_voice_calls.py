"""Whole calls with each network voice, over real links and real sockets, at the speed of speech.

The caller is greeted in two sentences, says something, hears the answer, then breaks into the next one and is answered
again. What the caller heard is read back from the audio.
"""

from __future__ import annotations

import pytest

from actors import events as ev
from router.settings import SessionSettings
from tests.call.house import House
from tests.vendors.contract import VendorCase, cases
from tests.vendors.live import run
from tests.vendors.server import KEY
from tests.vendors.test_model_calls import Caller, is_stopped

VOICES = [case for case in cases() if case.stage == "tts"]
STORY = "all work and no play makes jack a dull boy and then there was more of it to say"


@pytest.mark.parametrize("case", VOICES, ids=lambda case: case.name)
def test_a_caller_is_greeted_answered_and_may_break_in(case: VendorCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHBAY_TEST_CANARY", KEY)

    async def scene() -> None:
        async with case.fake() as vendor:
            url = (vendor.ws_url if case.by == "socket" else vendor.http_url) + case.prefix
            stages = {
                "vad": ("vad", "energy", {}),
                "turn": ("turn", "silence", {}),
                "stt": ("ears", "fake-stt", {"decode": True}),
                "agent": ("desk", "echo", {}),
                "tts": ("voice", case.type, dict(case.options)),
            }
            async with House(stages, places={"voice": ("env:PATCHBAY_TEST_CANARY", url)}) as house:
                handle = house.grant(house.plan(SessionSettings(greeting="Welcome to the shop. One moment please.")))
                async with handle.connect(mode="live") as call:
                    await _converse(Caller(call), case)

    run(scene())


async def _converse(caller: Caller, case: VendorCase) -> None:
    greeted = await caller.until(is_stopped)
    assert (greeted.said, greeted.why) == ("Welcome to the shop. One moment please.", "finished")
    assert greeted.heard == greeted.said
    assert caller.heard(greeted.reply_id) == "welcome to the shop one moment please"
    await caller.says("ten of clubs", 1.2)
    answered = await caller.until(is_stopped)
    assert caller.heard(answered.reply_id) == "you said ten of clubs"
    (latency,) = [e for e in caller.told if isinstance(e, ev.TurnLatency)]
    assert latency.tts_first - latency.agent_first < 1.0
    await caller.says(STORY, 1.2)
    await caller.until(lambda e: isinstance(e, ev.VoiceAudio) and e.offset_ms >= 900)
    await caller.says("stop it and listen to me", 1.2)
    broken = await caller.until(is_stopped)
    assert broken.why == "interrupted"
    assert "You said" in broken.heard
    assert len(broken.heard) < len(STORY)
    last = await caller.until(is_stopped)
    assert caller.heard(last.reply_id) == "you said stop it and listen to me"
    assert not [e for e in caller.told if isinstance(e, (ev.ErrorEvent, ev.ProviderChanged))]
