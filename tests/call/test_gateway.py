"""A gateway's batch is the same as its calls one after the other: to the byte, in the same order on the link."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import pytest

from actors.call import Call
from actors.call_facts import CallStatistics
from actors.events import SessionClosed
from actors.formats import AudioFormat
from actors.gateway import send_many
from router.errors import AudioError, LinkClosed, SessionGone
from tests.call.host_double import Host, with_host
from tests.call.wires import Wires, call_on, chunk, encode


async def play(seed: int, *, batch: bool) -> tuple[list[Any], list[str], list[CallStatistics]]:
    """A script of ticks, credit, links that break and come back, calls that end: what left, failed, is held."""
    random, wires, told = Random(seed), Wires(), []
    calls = [call_on(wires, n) for n in range(8)]
    for call in calls[:7]:
        await call.attach()  # the last one is not there yet
    for _ in range(150):
        rows = [n for n in range(8) if random.random() < 0.8] + random.choices(range(8), k=random.randrange(3))
        chunks = [chunk(random, calls[n].audio_in.frame_bytes, odd=n % 4 == 1) for n in rows]
        told += await sent([calls[n] for n in rows], chunks, batch=batch)
        for call in calls:
            if random.random() < 0.5:
                call.on_credit(call._box.accepted_seq + random.randrange(5))
        victim = calls[random.randrange(8)]
        what = random.random()
        if what < 0.03 and victim.way is not None:
            victim.on_link_closed(LinkClosed("host:1", "cut"))
        elif what < 0.15 and victim.way is None and not victim.is_over:
            await victim.attach()
        elif what < 0.16:
            victim.on_control(encode(SessionClosed(n=1, reason="agent_hung_up", stats={})))
    return [link.rows for link in wires.links], told, [call.statistics() for call in calls]


async def sent(calls: list[Call], chunks: list[Any], *, batch: bool) -> list[str]:
    if batch:
        return [f"{row} {error!r}" for row, error in send_many(calls, chunks)]
    told = []
    for row, (call, pcm) in enumerate(zip(calls, chunks, strict=True)):
        try:
            await call.send(pcm)
        except (AudioError, SessionGone) as error:
            told.append(f"{row} {error!r}")
    return told


@pytest.mark.parametrize("seed", range(30))
def test_a_batch_is_its_calls_one_after_the_other(seed: int) -> None:
    one_by_one = asyncio.run(play(seed, batch=False))
    assert asyncio.run(play(seed, batch=True)) == one_by_one


def test_the_scripts_reach_what_they_are_for() -> None:
    """Calls that are over, no bytes, audio let go of, both links: else the comparison says nothing."""
    played = [asyncio.run(play(seed, batch=True)) for seed in range(30)]
    told = [line for _, lines, _ in played for line in lines]
    assert any("SessionGone" in line for line in told)
    assert any("AudioError" in line for line in told)
    assert any(stats.dropped_input_ms for _, _, all_stats in played for stats in all_stats)
    assert all(sum(len(rows) for rows in links) > 150 for links, _, _ in played)
    assert sum(len(links[0]) > 100 and len(links[1]) > 100 for links, _, _ in played) > 20


def test_a_call_that_waits_for_credit_is_told_and_the_others_are_sent() -> None:
    async def body() -> None:
        wires = Wires()
        file, live = call_on(wires, 0, "file"), call_on(wires, 3)
        await file.attach()
        await live.attach()
        (failed,) = send_many([file, live], [bytes(640), bytes(640)])
        assert failed[0] == 0
        assert isinstance(failed[1], AudioError)
        assert [len(link.rows) for link in wires.links] == [1, 0]
        with pytest.raises(ValueError, match="2 calls and 1 frames"):
            send_many([file, live], [bytes(640)])

    asyncio.run(body())


def test_a_batch_longer_than_a_message_reaches_the_host_and_goes_again_after_a_break() -> None:
    async def body(host: Host) -> None:
        host.generous = False
        audio = AudioFormat("pcm16", 48000)
        async with AsyncExitStack() as stack:
            calls = [
                await stack.enter_async_context(host.handle(f"s{n}").connect(audio_in=audio)) for n in range(150)
            ]  # 288 KB a tick: the host takes messages of 256
            assert len(host.links) == 1
            ticks = [[bytes([n, k]) * 960 for n in range(150)] for k in range(3)]
            for frames in ticks:
                assert send_many(calls, frames) == []
            await host.until(lambda: sum(len(leg.frames) for leg in host.legs) == 450)
            expected = {f"s{n}".encode(): [(k, 960 * k, ticks[k][n]) for k in range(3)] for n in range(150)}
            assert {leg.attach.token: leg.frames for leg in host.legs} == expected
            host.legs.clear()
            host.cut()
            await host.until(lambda: sum(len(leg.frames) for leg in host.legs) == 450)
            assert {leg.attach.token: leg.frames for leg in host.legs} == expected

    with_host(body)
