"""A whole call through every recogniser and its fake: what was said is a turn once, and is answered once.

All of them at once, each in a session of its own, at the speed of speech. The cases are those of the contract.
"""

from __future__ import annotations

import asyncio
from typing import Any

from actors import events as ev
from actors.formats import AudioFormat
from actors.local import LocalCall
from actors.providers import registry
from actors.providers.fake_tones import say
from actors.secrets import Secret
from router.plan import Candidate, RoutePlan, Stage
from router.settings import SessionSettings
from tests.vendors.contract import VendorCase, cases
from tests.vendors.live import run
from tests.vendors.server import KEY

RATE_HZ = 16000
SAID = "ten of clubs"
AROUND: dict[Stage, str] = {"vad": "energy", "turn": "silence", "agent": "echo", "tts": "fake-tts"}
EARS = [case for case in cases() if case.stage == "stt"]


def plan(case: VendorCase) -> RoutePlan:
    stages = {stage: (Candidate(stage=stage, provider=type, type=type),) for stage, type in AROUND.items()}
    ear = Candidate(stage="stt", provider=case.type, type=case.type, options=dict(case.options))
    return RoutePlan(
        route="test", version="1", tenant_id="acme", region="default", pool_region="default",
        stages={**stages, "stt": (ear,)}, settings=SessionSettings(),
    )  # fmt: skip


async def speak(call: LocalCall) -> None:
    """0.4 s of silence, the words, 1.5 s of silence, no more."""
    pcm = bytes(2 * RATE_HZ * 4 // 10) + say(SAID, RATE_HZ).pcm + bytes(3 * RATE_HZ)
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    for at in range(0, len(pcm), 640):
        call.session.caller_audio(pcm[at : at + 640])
        due_s += 0.02
        await asyncio.sleep(max(0.0, due_s - loop.time()))
    call.session.caller_op(ev.EndInput())


async def called(case: VendorCase) -> dict[str, Any]:
    """What a caller is told in one call."""
    async with case.fake() as vendor:
        url = (vendor.ws_url if case.by == "socket" else vendor.http_url) + case.prefix
        providers = {type: registry.find(type)({}, None, None) for type in AROUND.values()}
        providers[case.type] = registry.find(case.type)(dict(case.options), Secret(KEY, "env:VENDOR_KEY"), url)
        for provider in providers.values():
            await provider.warm()
        told: list[ev.Event] = []
        async with LocalCall(plan(case), providers, audio_in=AudioFormat("pcm16", RATE_HZ)) as call, \
                asyncio.TaskGroup() as tasks:  # fmt: skip
            tasks.create_task(speak(call))
            while not (told and isinstance(told[-1], ev.SessionClosed)):
                told.append(await asyncio.wait_for(call.events.get(), 20.0))
        for provider in providers.values():
            await provider.close()
    return {
        "finals": [e.text for e in told if isinstance(e, ev.TranscriptFinal) and e.text],
        "turns": [e.text for e in told if isinstance(e, ev.TurnEnded)],
        "answers": "".join(e.delta for e in told if isinstance(e, ev.AgentText)),
        "wrong": [e for e in told if isinstance(e, ev.ErrorEvent | ev.Degraded | ev.ProviderChanged | ev.Dropped)],
    }


def test_what_is_said_is_a_turn_once_and_answered_once_whoever_hears_it() -> None:
    async def scene() -> dict[str, dict[str, Any]]:
        told = await asyncio.gather(*map(called, EARS))
        return {case.name: one for case, one in zip(EARS, told, strict=True)}

    right = {"finals": [SAID], "turns": [SAID], "answers": f"You said: {SAID}", "wrong": []}
    told = run(scene(), limit_s=60.0)
    assert told == {case.name: right for case in EARS}
    assert len(told) >= 6
