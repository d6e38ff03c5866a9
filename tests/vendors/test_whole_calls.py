"""A whole call through every adapter, over real links and a real socket, at the speed of speech: all of them at once.

The routes are those of `examples/vendors.yaml`; `make vendors-call` makes the same calls with the command line and Ray.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import yaml

from actors import events as ev
from actors.providers.fake_tones import hear, say
from tests.call.house import House
from tests.vendors.calls import CONFIG, SAID, Route, problems, routes
from tests.vendors.contract import VendorCase, cases
from tests.vendors.live import run
from tests.vendors.server import KEY

RATE_HZ = 16_000
NOT_HERE = ("served by", "cost")
"""What a plan without a router has not: the route's name and prices."""


def case_of(route: Route) -> VendorCase:
    return next(case for case in cases() if case.type == route.type)


def house(route: Route, config: dict[str, Any], url: str) -> House:
    """The route's providers in one process, its vendor's at that address."""
    use = next(one["use"] for one in config["routes"] if one["name"] == route.name)
    stages = {"vad": "energy", **({} if route.stage == "s2s" else {"turn": "heuristic"}), **use}
    providers = {}
    for stage, name in stages.items():
        given = config["providers"].get(name, {})
        providers[stage] = (name, given.get("type", name), given.get("options", {}))
    return House(providers, places={route.name: ("env:PATCHBAY_TEST_CANARY", url)})


async def called(route: Route, config: dict[str, Any]) -> list[str]:
    """What is wrong with a call of two turns."""
    case = case_of(route)
    told: list[ev.Event] = []
    async with case.fake() as vendor:
        url = (vendor.ws_url if case.by == "socket" else vendor.http_url) + case.prefix
        async with house(route, config, url) as home, home.grant().connect(mode="live") as call:
            events = aiter(call)
            for text in SAID:
                pcm = say(text, RATE_HZ).pcm + bytes(2 * RATE_HZ)
                for at in range(0, len(pcm), RATE_HZ // 5):  # 100 ms
                    await call.send(pcm[at : at + RATE_HZ // 5])
                    await asyncio.sleep(0.08)  # a little faster than speech
                async for event in events:
                    told.append(event)
                    if isinstance(event, ev.VoiceStopped | ev.SessionClosed):
                        break
            await call.end_input()
            async for event in events:
                told.append(event)
    heard = b"".join(e.pcm for e in told if isinstance(e, ev.VoiceAudio))
    words = " ".join(word.text for word in hear(heard, RATE_HZ))
    lines = [json.loads(ev.as_json(event)) for event in told]
    wrong = [text for text in problems(route, lines, words) if not text.startswith(NOT_HERE)]
    record = lines[-1].get("stats", {})
    if record.get("providers", {}).get(route.stage) != [route.name] or not record.get("used", {}).get(route.name):
        wrong.append(f"served by {record.get('providers')}, who used {record.get('used')}")
    return wrong


def test_each_serves_a_call_of_two_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHBAY_TEST_CANARY", KEY)
    text = CONFIG.read_text()
    config, every = yaml.safe_load(text), routes(text)

    async def scene() -> dict[str, list[str]]:
        async with asyncio.timeout(40.0):
            wrong = await asyncio.gather(*(called(route, config) for route in every))
        return {route.name: what for route, what in zip(every, wrong, strict=True) if what}

    assert run(scene(), limit_s=60.0) == {}
    assert len(every) >= 16
