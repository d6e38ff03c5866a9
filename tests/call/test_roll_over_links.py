"""A roll-over over real links: two streams on one lease, the second goes on where the first ended."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from actors import events as ev
from actors.providers import interface as pi
from tests.call.house import FAKES, House
from tests.call.test_session_host import LOUD, SOFT, run, texts, until


def test_an_ear_is_replaced_in_mid_call_and_the_lease_stays() -> None:
    async def script(house: House) -> None:
        ears = house.hosts["stt"].provider.handle
        events: list[ev.Event] = []
        async with house.grant().connect(mode="live") as call:

            async def listen() -> None:
                async for event in call:
                    events.append(event)

            async def speak(frames: int, frame: bytes) -> None:
                for _ in range(frames):
                    await call.send(frame)
                    await asyncio.sleep(0.02)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(listen())
                await speak(10, SOFT)
                await speak(30, LOUD)
                await speak(40, SOFT)
                before = ears.stream
                ears.emit(pi.Expiring(in_s=60.0))
                await speak(15, SOFT)
                await until(lambda: ears.streams != [] and ears.stream is not before and len(ears.streams) == 1)
                await speak(30, LOUD)
                await speak(40, SOFT)
                await call.end_input()
        assert texts(events) == ["hello world", "hello world"]
        assert ears.opened == 2
        finals = [e for e in events if isinstance(e, ev.TranscriptFinal)]
        assert finals[0].end <= finals[1].start
        assert not [e for e in events if isinstance(e, ev.ProviderChanged | ev.ErrorEvent)]
        closed = events[-1]
        assert isinstance(closed, ev.SessionClosed)
        assert closed.stats["counts"]["rolled_stt"] == 1

    run(script, providers={**FAKES, "stt": ("stt", "fake-stt", {})})


def test_a_full_actor_refuses_the_second_stream_and_the_call_goes_on() -> None:
    async def script(house: House) -> None:
        ears = house.hosts["stt"].provider.handle
        events: list[ev.Event] = []
        async with house.grant().connect(mode="live") as call:

            async def listen() -> None:
                async for event in call:
                    events.append(event)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(listen())
                for n in range(90):
                    if n == 5:
                        ears.emit(pi.Expiring(in_s=60.0))
                    await call.send(LOUD if 20 <= n < 50 else SOFT)
                    await asyncio.sleep(0.02)
                await call.end_input()
        assert texts(events) == ["hello world"]
        assert ears.opened == 1
        assert house.hosts["stt"].refused_busy == 1
        assert not [e for e in events if isinstance(e, ev.ProviderChanged | ev.ErrorEvent)]

    run(script, providers={**FAKES, "stt": ("stt", "fake-stt", {"streams_per_actor": 1})})


def test_many_calls_whose_frames_go_by_the_table_are_replaced_at_once() -> None:
    many = 12  # a batch of eight frames or more moves rows of the table

    async def script(house: House) -> None:
        ears = house.hosts["stt"].provider.handle
        told: list[list[ev.Event]] = [[] for _ in range(many)]
        in_step = [0, 0]  # sessions on the table at once, before and after

        async def listen(call: object, into: list[ev.Event]) -> None:
            async for event in call:  # type: ignore[attr-defined]
                into.append(event)

        async with AsyncExitStack() as stack:
            plan = house.plan()
            here = {"vad": tuple(replace(c, placement="inline") for c in plan.stages["vad"])}
            plan = replace(plan, stages={**plan.stages, **here})
            calls = [await stack.enter_async_context(house.grant(plan).connect(mode="live")) for _ in range(many)]
            async with asyncio.TaskGroup() as tasks:
                for call, into in zip(calls, told, strict=True):
                    tasks.create_task(listen(call, into))
                for n in range(170):
                    on_table = sum(lane is not None for lane in house.session_host.lanes.lanes)
                    in_step[n > 75] = max(in_step[n > 75], on_table)
                    if n == 75:
                        for stream in tuple(ears.streams):
                            stream.say(pi.Expiring(in_s=60.0))
                    for call in calls:
                        await call.send(LOUD if 20 <= n < 45 or 105 <= n < 130 else SOFT)
                    await asyncio.sleep(0.02)
                for call in calls:
                    await call.end_input()
        for events in told:
            assert texts(events) == ["hello world", "hello world"]
            closed = events[-1]
            assert isinstance(closed, ev.SessionClosed)
            assert closed.stats["counts"]["rolled_stt"] == 1
            assert not [e for e in events if isinstance(e, ev.ProviderChanged | ev.ErrorEvent | ev.Dropped)]
        assert ears.opened == 2 * many
        assert min(in_step) > many // 2

    run(script, providers={**FAKES, "stt": ("stt", "fake-stt", {})})
