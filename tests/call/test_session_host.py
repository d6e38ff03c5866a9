"""A session host with real links on loopback: callers, provider actors and a router dial in; every wait is bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors import events as ev
from actors import wire
from actors.audio import Encoder
from actors.client import Client, SessionHandle
from actors.formats import AudioFormat
from actors.link import connect
from actors.link_codec import AudioBatch
from router.errors import LinkAuthError, LinkError, SessionGone
from router.settings import SessionSettings
from tests.call.house import FAKES, KEY, House

LOUD, SOFT = b"\x00\x20" * 320, bytes(640)
PATIENCE_S = 20.0


def run(script: Callable[[House], Awaitable[None]], **house: Any) -> None:
    async def whole() -> None:
        async with asyncio.timeout(PATIENCE_S), House(**house) as there:
            await script(there)

    asyncio.run(whole())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what nothing tells of; bounded by the script's own patience."""
    while not condition():  # noqa: ASYNC110 - the host has no reason to signal this to anyone
        await asyncio.sleep(0.005)


async def talk(
    handle: SessionHandle, speech: tuple[tuple[float, float], ...], length_s: float, **connect: Any
) -> list[ev.Event]:
    """A lock-step call; the caller is loud in `speech`. All events, audio too."""
    events: list[ev.Event] = []
    audio_in = connect.get("audio_in", AudioFormat())
    encode = Encoder(audio_in, 16_000)
    async with handle.connect(mode=connect.pop("mode", "lockstep"), **connect) as call:

        async def listen() -> None:
            async for event in call:
                events.append(event)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listen())
            for n in range(int(length_s * 50)):
                loud = any(a <= n * 0.02 < b for a, b in speech)
                await call.send(encode.feed(LOUD if loud else SOFT))
            await call.end_input()
    return events


def texts(events: list[ev.Event], kind: type[Any] = ev.TurnEnded) -> list[str]:
    return [e.text for e in events if isinstance(e, kind)]


def test_a_call_over_links_from_speech_to_reply() -> None:
    async def script(house: House) -> None:
        events = await talk(house.grant(), ((1.0, 2.0),), 4.0)
        assert texts(events) == ["hello world"]
        stopped = [e for e in events if isinstance(e, ev.VoiceStopped)]
        assert [(s.why, s.heard) for s in stopped] == [("finished", "I heard you.")]
        audio_ms = sum(len(e.pcm) for e in events if isinstance(e, ev.VoiceAudio)) / 32
        assert audio_ms == pytest.approx(stopped[0].heard_ms, abs=1)
        assert isinstance(events[-1], ev.SessionClosed)
        assert events[-1].stats["turns"] == [{"turn_id": 1, "text": "hello world"}]
        assert house.session_host.statistics().sessions == 0

    run(script)


@pytest.mark.parametrize(
    "audio_in",
    [AudioFormat("pcm16", 8000), AudioFormat("pcm16", 24000), AudioFormat("pcm16", 48000), AudioFormat("mulaw", 8000),
     AudioFormat("alaw", 8000)],
    ids=str,
)  # fmt: skip
def test_a_caller_brings_its_own_format(audio_in: AudioFormat) -> None:
    async def script(house: House) -> None:
        events = await talk(house.grant(), ((1.0, 2.0),), 4.0, audio_in=audio_in)
        assert texts(events) == ["hello world"]
        started = next(e for e in events if isinstance(e, ev.SpeechStarted))
        assert started.at == pytest.approx(0.7, abs=0.041)  # a resampler may smear the edge over a frame
        audio = b"".join(e.pcm for e in events if isinstance(e, ev.VoiceAudio))
        stopped = next(e for e in events if isinstance(e, ev.VoiceStopped))
        assert len(audio) / audio_in.frame_bytes * 20 == pytest.approx(stopped.heard_ms, abs=1)

    run(script)


def test_lock_step_twice_gives_the_same_events() -> None:
    async def script(house: House) -> None:
        def plain(events: list[ev.Event]) -> list[Any]:
            return [
                (type(e).__name__, e.t, getattr(e, "text", "")) for e in events if not isinstance(e, ev.SessionClosed)
            ]

        # the fake's list of texts goes round, so every call gets a fake of its own
        first = plain(await talk(house.grant(), ((1.0, 2.0), (3.5, 4.5)), 7.0))
        second = plain(await talk(house.grant(), ((1.0, 2.0), (3.5, 4.5)), 7.0))
        assert first == second
        assert len([e for e in first if e[0] == "TurnEnded"]) == 2

    run(script, providers={**FAKES, "stt": ("stt", "fake-stt", {"says": ["same words"]})})


def test_a_caller_whose_link_breaks_comes_back_and_has_missed_nothing() -> None:
    async def script(house: House) -> None:
        async with house.grant().connect(mode="file") as call:
            seen: list[ev.Event] = []
            for n in range(150):
                await call.send(LOUD if 50 <= n < 100 else SOFT)
                if n == 75:
                    for link in list(house.session_host._ends):
                        link.fail(LinkError("test", "cut"))
            await call.end_input()
            async for event in call:
                seen.append(event)
            numbers = [e.n for e in seen if not isinstance(e, ev.VoiceAudio)]
            assert numbers == list(range(1, len(numbers) + 1))
            assert texts(seen) == ["hello world"]
            assert call.statistics().reattached == 1

    run(script)


def test_a_session_whose_caller_stays_away_closes_as_lost() -> None:
    async def script(house: House) -> None:
        plan = house.plan(SessionSettings(resume_s=0.3))
        async with house.grant(plan).connect():
            for link in list(house.session_host._ends):
                link.fail(LinkError("test", "cut"))
            house.session_host._key = b"x" * 32  # nobody gets back in
            house.session_host._by_token.clear()
            await until(lambda: not house.session_host.statistics().sessions)

    run(script)


@pytest.mark.parametrize(
    ("over", "detail"),
    [
        ({"host": "another-host"}, "for host another-host"),
        ({"issued_unix_s": 1000.0}, "s old"),
    ],
    ids=["of another host", "of yesterday"],
)
def test_a_grant_that_does_not_hold_is_denied(over: dict[str, Any], detail: str) -> None:
    async def script(house: House) -> None:
        with pytest.raises(LinkAuthError, match=detail):
            async with house.grant(**over).connect():
                pass
        assert house.session_host.statistics().denied == 1

    run(script)


def test_a_grant_is_good_once() -> None:
    async def script(house: House) -> None:
        handle = house.grant()
        await talk(handle, (), 0.2)
        with pytest.raises(SessionGone, match="has ended"):
            async with handle.connect():
                pass

    run(script)


def test_the_last_to_come_with_the_token_has_the_session() -> None:
    async def script(house: House) -> None:
        handle = house.grant()
        async with handle.connect(client=Client()) as first, handle.connect(client=Client()) as second:
            with pytest.raises(SessionGone, match="another connection"):
                async for _ in first:
                    pass
            await second.send(SOFT)
            assert house.session_host.statistics().sessions == 1
            assert not second.is_over

    run(script)


def test_a_session_that_raises_ends_alone() -> None:
    async def script(house: House) -> None:
        bad, good = house.grant(session_id="bad"), house.grant(session_id="good")
        async with bad.connect(mode="file") as broken, good.connect(mode="file") as whole:
            await asyncio.sleep(0)

            def burst(chunk: Any) -> None:
                raise RuntimeError("a bug of ours")

            await until(lambda: "bad" in house.session_host._seats)
            house.session_host._seats["bad"].session.caller_audio = burst  # type: ignore[method-assign]
            await broken.send(SOFT)
            events = [event async for event in broken]
            assert isinstance(events[-1], ev.SessionClosed)
            assert events[-1].reason == "error"
            for n in range(150):
                await whole.send(LOUD if 50 <= n < 100 else SOFT)
            await whole.end_input()
            assert texts([event async for event in whole]) == ["hello world"]
        assert house.session_host.statistics().failed_sessions == 1

    run(script)


class _Router:
    """The router's end of a link to the host."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.news = asyncio.Event()

    def on_control(self, link: Any, stream: int, body: memoryview) -> None:
        self.told.append(wire.router_decoder.decode(body))
        self.news.set()

    def on_closed(self, link: Any, error: LinkError | None) -> None: ...
    def on_audio(self, link: Any, batch: AudioBatch) -> None: ...
    def on_bits(self, link: Any, streams: memoryview, poss: memoryview, bits: bytes) -> None: ...
    def on_credit(self, link: Any, streams: list[int], seqs: list[int]) -> None: ...

    async def until(self, kind: type[Any], **fields: Any) -> Any:
        while True:
            for told in self.told:
                if isinstance(told, kind) and all(getattr(told, k) == v for k, v in fields.items()):
                    return told
            self.news.clear()
            await self.news.wait()


def test_the_router_hears_of_sessions_and_may_close_them() -> None:
    async def script(house: House) -> None:
        router = _Router()
        link = await connect(house.info.address, router, key=KEY, role="router", timeout_s=2.0)
        link.send(0, wire.Hello(router="r1"))
        await router.until(wire.WorkerReport)
        async with house.grant(session_id="s9").connect() as call:
            opened = await router.until(wire.SessionChange, session_id="s9", state="opened")
            assert (opened.tenant_id, opened.route, len(opened.leases)) == ("acme", "test", 5)
            link.send(0, wire.CloseSession(session_id="s9"))
            events = [event async for event in call]
        assert isinstance(events[-1], ev.SessionClosed)
        assert events[-1].reason == "caller_closed"
        await router.until(wire.SessionChange, session_id="s9", state="closed")
        await link.close()

    run(script)


def test_a_fallback_is_leased_from_the_router() -> None:
    async def script(house: House) -> None:
        router = _Router()
        link = await connect(house.info.address, router, key=KEY, role="router", timeout_s=2.0)
        link.send(0, wire.Hello(router="r1"))
        await router.until(wire.WorkerReport)
        handle = house.grant(session_id="s1", leases=_without(house, "second"))
        async with handle.connect(mode="lockstep") as call:
            asked = await router.until(wire.LeaseRequest)
            assert (asked.stage, asked.candidate, asked.gives_back) == ("stt", 1, "s1-stt-0")
            info = house.infos["second"]
            lease = wire.Lease(
                lease_id="new", stage="stt", candidate=1, address=info.address, actor=info.actor, silence_bound_s=3.0
            )
            link.send(0, wire.LeaseAnswer(session_id="s1", stage="stt", candidate=1, lease=lease))
            async for event in call:
                if isinstance(event, ev.SessionOpened):
                    assert event.providers["stt"] == "second"
                    break
        await link.close()

    dead = ("first", "fake-stt", {"fail_open": True})
    run(script, providers={**FAKES, "stt": [dead, ("second", "fake-stt", {})]})


def _without(house: House, provider: str) -> tuple[wire.Lease, ...]:
    leases = []
    for stage, candidates in house.plan().stages.items():
        for index, candidate in enumerate(candidates):
            if candidate.provider != provider:
                info = house.infos[candidate.provider]
                leases.append(
                    wire.Lease(
                        lease_id=f"s1-{stage}-{index}", stage=stage, candidate=index, address=info.address,
                        actor=info.actor, silence_bound_s=3.0,
                    )
                )  # fmt: skip
    return tuple(leases)


def test_every_call_leaves_one_record(tmp_path: Path) -> None:
    path = tmp_path / "calls" / "records.jsonl"

    async def script(house: House) -> None:
        await talk(house.grant(session_id="r1"), ((1.0, 2.0),), 3.0)
        await talk(house.grant(session_id="r2"), (), 0.2)
        await until(lambda: path.exists() and path.read_bytes().count(b"\n") == 2)

    run(script, records_path=str(path))
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["session_id"] for r in records] == ["r1", "r2"]
    assert records[0]["replies"][0]["heard"] == "I heard you."


def test_the_router_is_told_how_each_stream_went() -> None:
    async def script(house: House) -> None:
        router = _Router()
        link = await connect(house.info.address, router, key=KEY, role="router", timeout_s=2.0)
        link.send(0, wire.Hello(router="r1"))
        await router.until(wire.WorkerReport)
        async with house.grant().connect():
            bad = await router.until(wire.Outcome, ok=False)
            assert (bad.actor, bad.kind) == ("actor-first", "connect")
            assert (await router.until(wire.Outcome, ok=True, provider="second")).actor == "actor-second"
        await link.close()

    dead = ("first", "fake-stt", {"fail_open": True})
    run(script, providers={**FAKES, "stt": [dead, ("second", "fake-stt", {})]})


def test_a_live_caller_far_ahead_of_real_time_is_let_go_of_and_told() -> None:
    async def script(house: House) -> None:
        async with house.grant(session_id="fast").connect() as call:
            await until(lambda: "fast" in house.session_host._seats and house.session_host._seats["fast"].opened)
            seat = house.session_host._seats["fast"]
            for n in range(1000):  # 20 s at once, as a client of somebody else's might that knows no credit
                seat.audio(n, n * 320, memoryview(SOFT))
            assert seat.session.ear.at_s < 4.0
            async for event in call:
                if isinstance(event, ev.Dropped):
                    break
            assert (event.stage, event.policy) == ("caller", "drop_newest")
            assert event.ms > 15_000

    run(script)
