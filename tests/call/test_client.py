"""The caller's client against a host on loopback: credit, order, links that break, sessions that end."""

from __future__ import annotations

import asyncio
import pickle

import pytest

import actors.call
import actors.reattach
from actors import wire
from actors.call import Call
from actors.events import (
    CallerClose,
    EndInput,
    Event,
    Played,
    Say,
    SayEnd,
    SayText,
    SessionClosed,
    SessionOpened,
    TranscriptFinal,
    VoiceAudio,
    VoiceStarted,
)
from actors.formats import AudioFormat
from router.errors import LinkAuthError, LinkClosed, LinkProtocolError, SessionGone, SessionRefused
from tests.call.host_double import Host, Leg, with_host

FRAME = 640


def final(n: int, text: str) -> TranscriptFinal:
    return TranscriptFinal(session_id="s1", n=n, utterance_id=n, text=text, start=0, end=1, provider="ears")


def test_any_chunking_becomes_frames_of_20_ms_numbered_and_placed() -> None:
    async def body(host: Host) -> None:
        pcm = bytes(range(256)) * 15  # 3840 bytes: six frames
        async with host.handle().connect() as call:
            for start in range(0, len(pcm), 700):
                await call.send(pcm[start : start + 700])
            await host.until(lambda: len(host.legs[0].frames) == 6)
        frames = host.legs[0].frames
        assert [(seq, pos) for seq, pos, _ in frames] == [(k, k * 320) for k in range(6)]
        assert b"".join(pcm for _, _, pcm in frames) == pcm

    with_host(body)


def test_events_and_voice_come_in_the_order_in_which_they_were_said() -> None:
    async def body(host: Host) -> None:
        async with host.handle().connect(audio_in=AudioFormat("pcm16", 8000)) as call:
            assert isinstance(await call.next_event(), SessionOpened)
            leg = host.legs[0]
            leg.say(final(2, "hello"), VoiceStarted(n=3, reply_id=7))
            leg.voice(7, 160, b"\1" * 320)
            leg.say(SessionClosed(n=4, reason="agent_hung_up", stats={"turns": 1}))
            seen = [event async for event in call]
        assert [type(e) for e in seen] == [TranscriptFinal, VoiceStarted, VoiceAudio, SessionClosed]
        audio = seen[2]
        assert isinstance(audio, VoiceAudio)
        assert (audio.reply_id, audio.offset_ms, audio.pcm) == (7, 20.0, b"\1" * 320)

    with_host(body)


def test_end_input_follows_all_audio_and_pads_the_last_frame() -> None:
    async def body(host: Host) -> None:
        async with host.handle().connect(audio_in=AudioFormat("mulaw", 8000), mode="file") as call:
            await call.send(b"\x11" * 200)
            await call.end_input()
            reasons = [e.reason async for e in call if isinstance(e, SessionClosed)]
        leg = host.legs[0]
        assert [pcm for _, _, pcm in leg.frames] == [b"\x11" * 160, b"\x11" * 40 + b"\xff" * 120]
        assert [type(op) for op in leg.ops] == [EndInput]
        assert reasons == ["input_ended"]

    with_host(body)


def test_live_audio_without_credit_keeps_two_seconds_and_counts_the_rest() -> None:
    async def body(host: Host) -> None:
        host.generous, host.credit_ms = False, 100.0
        async with host.handle().connect() as call:
            for _ in range(200):  # 4 s
                await call.send(bytes(FRAME))
            told = call.statistics()
            assert (told.in_flight_ms, told.waiting_ms, told.dropped_input_ms) == (100, 2000, 1900)
            await host.until(lambda: len(host.legs[0].frames) == 5)
            host.generous = True
            host.legs[0].credit(5)
            await host.until(lambda: len(host.legs[0].frames) == 105)
        frames = host.legs[0].frames
        assert [seq for seq, _, _ in frames] == list(range(105))
        assert frames[5][1] == 100 * 320, "the gap shows in the position"

    with_host(body)


def test_a_file_waits_for_credit() -> None:
    async def body(host: Host) -> None:
        host.generous, host.credit_ms = False, 40.0
        async with host.handle().connect(mode="file") as call, asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(call.send(bytes(FRAME * 5)))
            await host.until(lambda: len(host.legs[0].frames) == 2)
            assert not sending.done()
            assert call.statistics().dropped_input_ms == 0
            host.generous = True
            host.legs[0].credit(2)
            await host.until(lambda: len(host.legs[0].frames) == 5)
            await sending

    with_host(body)


def test_sessions_of_one_process_share_one_link() -> None:
    async def body(host: Host) -> None:
        async with host.handle("a").connect() as one, host.handle("b").connect() as two:
            await one.send(bytes(FRAME))
            await two.send(bytes(FRAME * 2))
            await host.until(lambda: [len(leg.frames) for leg in host.legs] == [1, 2])
            assert len(host.links) == 1
        await host.until(lambda: not host.links)

    with_host(body)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("auth", LinkAuthError), ("capacity", SessionRefused), ("draining", SessionRefused), ("gone", SessionGone)],
)
def test_a_denied_attach_is_a_typed_error(kind: str, error: type[Exception]) -> None:
    async def body(host: Host) -> None:
        host.accept = lambda attach: wire.Denied(kind=kind, detail="why")
        with pytest.raises(error, match="why"):
            async with host.handle().connect():
                pass
        await host.until(lambda: not host.links)

    with_host(body)


def test_a_host_that_is_not_there_is_a_typed_error() -> None:
    async def body(host: Host) -> None:
        handle = host.handle()
        await host.stop()
        with pytest.raises(LinkClosed, match=handle.address):
            async with handle.connect():
                pass

    with_host(body)


def test_after_a_broken_link_nothing_is_lost_or_doubled() -> None:
    async def body(host: Host) -> None:
        host.generous, host.credit_ms = False, 200.0
        async with host.handle().connect(mode="file") as call:
            await call.send(bytes(FRAME * 6))
            await host.until(lambda: len(host.legs[0].frames) == 6)
            host.legs[0].credit(2)
            host.legs[0].say(final(2, "one"))
            assert isinstance(await call.next_event(), SessionOpened)
            assert isinstance(await call.next_event(), TranscriptFinal)
            host.closed_n = 4
            host.pos = 3 * 320  # the host has taken three frames, though its credit for the third was lost
            host.cut()
            while call.is_attached:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await call.played(1, 40.0)  # said while the link is away
            await host.until(lambda: len(host.legs) == 2 and len(host.legs[1].ops) == 1)
            again = host.legs[1]
            assert (again.attach.after_n, again.attach.next_sample) == (2, 2 * 320)
            await host.until(lambda: len(again.frames) == 3)
            assert [pos for _, pos, _ in again.frames] == [3 * 320, 4 * 320, 5 * 320]
            assert again.ops == [Played(reply_id=1, ms=40.0)]
            again.say(final(2, "one"), final(3, "two"))  # the host tells the last one again
            event = await call.next_event()
            assert isinstance(event, TranscriptFinal)
            assert event.text == "two"
            assert call.statistics().reattached == 1

    with_host(body)


def test_end_input_that_was_lost_with_the_link_is_said_again_after_the_audio() -> None:
    async def body(host: Host) -> None:
        host.on_op = lambda leg, op: host.cut() if len(host.legs) == 1 else close(leg, op)
        async with host.handle().connect(mode="file") as call:
            await call.send(bytes(FRAME))
            await call.end_input()
            events = [type(e) async for e in call]
        assert events == [SessionOpened, SessionClosed]
        assert [type(op) for op in host.legs[1].ops] == [EndInput]

    def close(leg: Leg, op: object) -> None:
        leg.say(SessionClosed(session_id="s1", n=2, reason="input_ended", stats={}))

    with_host(body)


def test_a_session_that_cannot_be_reached_again_closes_as_lost() -> None:
    async def body(host: Host) -> None:
        async with host.handle().connect() as call:
            assert isinstance(await call.next_event(), SessionOpened)
            host.accept = lambda attach: wire.Denied(kind="gone", detail="no such session")
            host.cut()
            last = await call.next_event()
            assert isinstance(last, SessionClosed)
            assert (last.reason, last.n) == ("lost", 2)
            assert await call.next_event() is None
            with pytest.raises(SessionGone, match="lost"):
                await call.send(bytes(FRAME))

    with_host(body)


def test_a_host_that_stays_away_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors.reattach, "RESUME_S", 0.15)  # the bound is the subject

    async def body(host: Host) -> None:
        async with host.handle().connect() as call:
            await host.stop()
            events = [e async for e in call]
        assert isinstance(events[-1], SessionClosed)
        assert events[-1].reason == "lost"

    with_host(body)


def test_a_gap_in_the_events_ends_the_call_with_an_error() -> None:
    async def body(host: Host) -> None:
        async with host.handle().connect() as call:
            assert isinstance(await call.next_event(), SessionOpened)
            host.legs[0].say(final(3, "three"))
            with pytest.raises(LinkProtocolError, match="event 3 came after event 1"):
                await call.next_event()

    with_host(body)


def test_an_application_that_does_not_read_ends_its_call_not_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors.call.Inbox.__init__, "__kwdefaults__", {"events_max": 20, "audio_max_ms": 100.0})

    async def read(call: Call, seen: list[Event]) -> None:
        async for event in call:
            seen.append(event)

    async def body(host: Host) -> None:
        async with host.handle().connect() as call:
            for k in range(20):
                host.legs[0].voice(1, 320 * k, bytes(FRAME))
            host.legs[0].say(*(final(n, "word") for n in range(2, 30)))
            await host.until(lambda: bool(host.legs[0].ops))
            seen: list[Event] = []
            with pytest.raises(SessionGone, match="were not read"):
                await read(call, seen)
            assert [e.n for e in seen if e.n] == list(range(1, 21)), "what was kept is whole and in order"
            assert call.statistics().dropped_audio_ms == 300.0
        assert [type(op) for op in host.legs[0].ops] == [CallerClose]

    with_host(body)


def test_say_takes_text_as_it_comes() -> None:
    async def pieces():  # type: ignore[no-untyped-def]
        yield "one "
        yield "two"

    async def body(host: Host) -> None:
        async with host.handle().connect() as call:
            assert await call.say("whole", interruptible=False) == 1
            assert await call.say(pieces()) == 2
            await call.interrupt()
            await call.dtmf("12#")
            await host.until(lambda: len(host.legs[0].ops) == 7)
        assert host.legs[0].ops[:5] == [
            Say(say_id=1, text="whole", interruptible=False),
            Say(say_id=2, text="", more=True),
            SayText(say_id=2, text="one "),
            SayText(say_id=2, text="two"),
            SayEnd(say_id=2),
        ]

    with_host(body)


def test_a_block_that_is_cancelled_hangs_up_and_leaves_nothing() -> None:
    async def body(host: Host) -> None:
        inside = asyncio.Event()

        async def caller() -> None:
            async with host.handle().connect() as call:
                inside.set()
                async for _ in call:
                    pass

        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(caller())
            await inside.wait()
            task.cancel()
        await host.until(lambda: [type(op) for op in host.legs[0].ops] == [CallerClose] and not host.links)

    with_host(body)


def test_a_handle_travels_and_does_not_show_its_token() -> None:
    async def body(host: Host) -> None:
        handle = host.handle("secret-token")
        again = pickle.loads(pickle.dumps(handle))
        assert again == handle
        assert "token" not in repr(handle).replace("secret-token", "")

    with_host(body)
