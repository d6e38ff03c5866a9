"""Calls as rows of a cohort: each of them says on its link what it would have said alone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import pytest

import actors.cohort
from actors.call import Call
from actors.cohort import Cohort
from actors.events import SessionClosed
from router.errors import LinkClosed, PatchbayError
from tests.call.host_double import Host, with_host
from tests.call.wires import Wires, call_on, chunk, encode

CALLS = 8


class Played:
    """One seeded script, with or without a cohort."""

    def __init__(self, seed: int, *, together: bool) -> None:
        self.random, self.wires, self.together = Random(seed), Wires(), together
        self.calls = [call_on(self.wires, n) for n in range(CALLS)]
        self.cohort = Cohort(self.calls)
        self.told: list[str] = []
        self.seated = self.alone = 0

    async def play(self) -> Played:
        for call in self.calls[:-1]:
            await call.attach()  # the last one is not there yet
        for tick in range(200):
            who = list(range(CALLS)) if tick % 40 < 30 else [0, 2, 4, 6]
            if tick % 40 in (0, 30):
                self.cohort = Cohort([self.calls[n] for n in who])
            await self._send(who)
            for link in self.wires.links:
                self._credit(link)
            await self._befall(self.calls[self.random.randrange(CALLS)])
        return self

    async def _send(self, who: list[int]) -> None:
        frames: list[Any] = [chunk(self.random, self.calls[n].audio_in.frame_bytes, odd=n == 1) for n in who]
        if self.together:
            self.told += [f"{who[row]} {error!r}" for row, error in self.cohort.send(frames)]
            self.seated += sum(self.calls[n].seat is not None for n in who)
            self.alone += sum(self.calls[n].seat is None for n in who)
            return
        for n, pcm in zip(who, frames, strict=True):
            await self._alone(n, pcm)

    async def _alone(self, n: int, pcm: Any) -> None:
        try:
            await self.calls[n].send(pcm)
        except PatchbayError as error:
            self.told.append(f"{n} {error!r}")

    def _credit(self, link: Any) -> None:
        sent = {stream: max((row[1] for row in link.rows if row[0] == stream), default=0) for stream in link.calls}
        streams = [stream for stream in sent if self.random.random() < 0.6]
        link.on_credit(None, streams, [max(0, sent[s] + 1 - self.random.randrange(4)) for s in streams])

    async def _befall(self, call: Call) -> None:
        what = self.random.random()
        if what < 0.03 and call.way is not None:
            call.on_link_closed(LinkClosed("host:1", "cut"))
            if what < 0.02:  # back before its frames from before are forgotten
                await call.attach()
        elif what < 0.15 and call.way is None and not call.is_over:
            await call.attach()
        elif what < 0.155:
            call.on_control(encode(SessionClosed(n=1, reason="agent_hung_up", stats={})))
        elif what < 0.2:
            await self._alone(self.calls.index(call), bytes(call.audio_in.frame_bytes))
        elif what < 0.25:
            self.told.append(f"{call.statistics()}")

    def seen(self) -> Any:
        """Order is kept within a call, and nothing is said of the order between calls."""
        return [sorted(link.rows, key=lambda row: row[0]) for link in self.wires.links], self.told, self.held()

    def held(self) -> Any:
        return [(call.statistics(), call.outbox.next_sample, call.is_taken) for call in self.calls]


def played(seed: int, *, together: bool) -> Played:
    return asyncio.run(Played(seed, together=together).play())


@pytest.mark.parametrize("ticks_max", [actors.cohort.TICKS_MAX, 2], ids=["usual", "few ticks kept"])
@pytest.mark.parametrize("seed", range(30))
def test_together_is_each_alone(seed: int, ticks_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors.cohort, "TICKS_MAX", ticks_max)
    assert played(seed, together=True).seen() == played(seed, together=False).seen()


def test_the_scripts_reach_both_ways() -> None:
    """Rows and calls of their own, sessions that are over, audio let go of: else the comparison says nothing."""
    all_played = [played(seed, together=True) for seed in range(30)]
    assert sum(p.seated for p in all_played) > 5_000
    assert sum(p.alone for p in all_played) > 5_000
    assert any("SessionGone" in line for p in all_played for line in p.told)
    assert any(call.statistics().dropped_input_ms for p in all_played for call in p.calls)


async def attached_on(wires: Wires) -> list[Call]:
    calls = [call_on(wires, n) for n in (0, 3)]
    for call in calls:
        await call.attach()
    return calls


def test_a_cohort_keeps_no_frame_that_was_accepted() -> None:
    async def body() -> None:
        calls = await attached_on(Wires())
        cohort = Cohort(calls)
        for k in range(50):
            assert cohort.send([bytes(640)] * 2) == []
            for call in calls:
                assert call.way is not None
                call.way[0].on_credit(None, [call.way[1]], [k])  # type: ignore[arg-type]
        assert len(cohort._kept) == 2

    asyncio.run(body())


def test_a_call_that_comes_back_has_nothing_of_its_stream_before() -> None:
    async def body() -> None:
        wires = Wires()
        calls = await attached_on(wires)
        cohort = Cohort(calls)
        for k in range(12):
            assert cohort.send([bytes(640)] * 2) == []
            for call in calls:
                credit(call, min(k + 1, 10))
        calls[0].on_link_closed(LinkClosed("host:1", "cut"))
        await calls[0].attach()  # frames 10 and 11 go again, as 0 and 1
        credit(calls[0], 1)
        assert cohort.send([bytes(640)] * 2) == []
        assert calls[0].seat is not None
        calls[0].on_link_closed(LinkClosed("host:1", "cut"))
        wires.links[0].rows.clear()
        wires.links[1].rows.clear()
        await calls[0].attach()
        again = [row[1:3] for link in wires.links for row in link.rows]
        assert again == [(0, 11 * 320), (1, 12 * 320)]
        assert calls[1].statistics().in_flight_ms == 60

    def credit(call: Call, seq: int) -> None:
        assert call.way is not None
        call.way[0].on_credit(None, [call.way[1]], [seq])  # type: ignore[arg-type]

    asyncio.run(body())


def test_a_cohort_is_of_calls_that_differ_and_takes_a_frame_of_each() -> None:
    call = call_on(Wires(), 0)
    with pytest.raises(ValueError, match="twice"):
        Cohort([call, call])
    with pytest.raises(ValueError, match="1 calls and 2 frames"):
        Cohort([call]).send([b"", b""])


def test_what_a_cohort_sent_goes_again_after_a_break() -> None:
    async def body(host: Host) -> None:
        host.generous = False
        async with AsyncExitStack() as stack:
            calls = [await stack.enter_async_context(host.handle(f"s{n}").connect()) for n in range(3)]
            cohort = Cohort(calls)
            for k in range(4):
                assert cohort.send([bytes([k]) * 640] * 3) == []
            await host.until(lambda: sum(len(leg.frames) for leg in host.legs) == 12)
            host.legs.clear()
            host.pos = 640  # the host has the first two
            host.cut()
            await host.until(lambda: sum(len(leg.frames) for leg in host.legs) == 6)
            assert [leg.frames for leg in host.legs] == [[(k - 2, 320 * k, bytes([k]) * 640) for k in (2, 3)]] * 3

    with_host(body)
