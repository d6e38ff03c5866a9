"""Whole calls with a vendor's speech-to-speech model, over real links and a real socket, at the speed of speech.

The caller is greeted, says something and hears the answer, then breaks into the next one: what the vendor remembers of
that is what the caller heard. Once for each vendor and each way of finding speech.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from actors import events as ev
from actors.providers.fake_tones import hear, say
from router.settings import SessionSettings
from tests.call.house import House
from tests.vendors.fake_gemini_live import FakeGeminiLive
from tests.vendors.fake_openai_realtime import FakeOpenAiRealtime
from tests.vendors.live import run
from tests.vendors.server import KEY

RATE_HZ = 16_000
MORE = " and now a long story of which nobody will ever hear the end because somebody has something to say"


class Caller:
    """One end of a call."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.told: list[ev.Event] = []
        self._pos = 0

    async def says(self, text: str, silence_s: float = 0.8) -> None:
        pcm = say(text, RATE_HZ).pcm + bytes(2 * round(silence_s * RATE_HZ))
        for at in range(0, len(pcm), RATE_HZ // 5):
            await self._call.send(pcm[at : at + RATE_HZ // 5])
            await asyncio.sleep(0.08)  # a little faster than speech

    async def until(self, holds: Callable[[ev.Event], bool]) -> Any:
        async with asyncio.timeout(10.0):
            async for event in self._call:
                self.told.append(event)
                if holds(event):
                    return event
        raise AssertionError(f"the call is over: {self.told[-5:]}")

    def heard(self, reply: int) -> str:
        pcm = b"".join(e.pcm for e in self.told if isinstance(e, ev.VoiceAudio) and e.reply_id == reply)
        return " ".join(word.text for word in hear(pcm, RATE_HZ))


def is_stopped(event: ev.Event) -> bool:
    return isinstance(event, ev.VoiceStopped)


OPENAI: dict[str, Any] = {"silence_ms": 300}
GEMINI: dict[str, Any] = {"silence_ms": 300, "model": "gemini-2.5-flash-native-audio"}
CALLS = [
    *(pytest.param(FakeOpenAiRealtime, "openai-realtime", "/v1", {**OPENAI, "vad": vad}, id=f"openai-{vad}")
      for vad in ("server", "local", "both")),
    *(pytest.param(partial(FakeGeminiLive, plays=True), "gemini-live", "", {**GEMINI, "vad": vad}, id=f"gemini-{vad}")
      for vad in ("server", "local", "both")),
]  # fmt: skip


@pytest.mark.parametrize(("fake", "kind", "prefix", "options"), CALLS)
def test_a_caller_is_greeted_answered_and_may_break_in(
    fake: Callable[[], Any], kind: str, prefix: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATCHBAY_TEST_CANARY", KEY)

    async def scene() -> None:
        async with (
            fake() as vendor,
            House(
                {"s2s": ("model", kind, options), "vad": ("vad", "energy", {})},
                places={"model": ("env:PATCHBAY_TEST_CANARY", f"{vendor.ws_url}{prefix}")},
            ) as house,
        ):
            handle = house.grant(house.plan(SessionSettings(greeting="Welcome")))
            async with handle.connect(mode="live") as call:
                await _converse(Caller(call), vendor)

    run(scene())


async def _converse(caller: Caller, vendor: Any) -> None:
    greeted = await caller.until(is_stopped)
    assert (greeted.said, greeted.why) == ("Welcome", "finished")
    assert caller.heard(greeted.reply_id) == "welcome"
    await caller.says("ten of clubs")
    answered = await caller.until(is_stopped)
    assert caller.heard(answered.reply_id) == "i heard ten of clubs"
    assert [e.text for e in caller.told if isinstance(e, ev.TurnEnded)] == ["ten of clubs"]
    began = [e for e in caller.told if isinstance(e, ev.SpeechStarted)]
    latencies = [e.total for e in caller.told if isinstance(e, ev.TurnLatency)]
    assert len(latencies) == len(began) <= 1  # who tells of no speech has no latency
    assert all(0.2 < total < 2.0 for total in latencies)
    vendor.say_more = MORE
    await caller.says("tell me more")
    await caller.until(lambda e: isinstance(e, ev.VoiceAudio) and e.offset_ms >= 900)
    vendor.say_more = ""
    await caller.says("stop it and listen to me")
    broken = await caller.until(is_stopped)
    assert broken.why == "interrupted"
    last = await caller.until(is_stopped)
    assert caller.heard(last.reply_id) == "i heard stop it and listen to me"
    assert broken.heard_ms > 0
    if isinstance(vendor, FakeOpenAiRealtime):
        (cut_ms,) = vendor.truncated.values()
        assert abs(cut_ms - broken.heard_ms) < 2.0
