"""Cartesia's voice against its fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.cartesia_tts import Provider
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.fake_cartesia_tts import FakeCartesiaTts
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY
from tests.vendors.voices import aligned, say, words

RATE_HZ = 24000
VOICE = "a0e99841-0000-4000-8000-000000000001"


def provider(vendor: FakeCartesiaTts, key: str = KEY, **options: Any) -> Provider:
    return Provider({"voice": VOICE, **options}, Secret(key, "env:CARTESIA_KEY"), vendor.ws_url)


async def opened(cartesia: Provider, ear: Ear, **options: Any) -> Any:
    return await cartesia.open(spec(rate_hz=RATE_HZ, **options), ear)


def test_turns_on_a_warm_socket_make_no_handshake_and_tell_words_with_their_times() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts() as vendor:
            cartesia, ear = provider(vendor), Ear()
            await cartesia.warm()
            line = await opened(cartesia, ear)
            for turn in (1, 2, 3):
                text = say(line, turn, "Ten of clubs, please.", "It costs 3.50 now!")
                await ear.wait(i.Done, turn)
                assert words(ear, turn, RATE_HZ) == "ten of clubs please it costs 350 now"
                aligned(ear, turn, text, RATE_HZ)
                assert sum(f.reply == turn for f in ear.all(i.Flushed)) == 2
            usage = ear.all(i.Usage)
            assert len(usage) == 3
            assert usage[0].amounts["characters"] == len("Ten of clubs, please. It costs 3.50 now!")
            assert usage[0].amounts["audio_s"] == pytest.approx(len(ear.pcm(1)) / 48000)
            assert cartesia.counts.handshakes == vendor.handshakes <= 2  # the stream's and the idle one
            await line.close(drain=False)
            await cartesia.close()
            assert cartesia.counts.unknown > 0

    run(scene())


def test_many_sessions_share_a_socket_and_hear_each_their_own() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts() as vendor:
            cartesia = provider(vendor, contexts_per_socket=8)
            ears = [Ear() for _ in range(24)]
            lines = [await cartesia.open(spec(n, rate_hz=RATE_HZ), ear) for n, ear in enumerate(ears)]
            for number, line in enumerate(lines):
                say(line, 1, f"caller {number}", "bye")
            for number, ear in enumerate(ears):
                await ear.wait(i.Done)
                assert words(ear, 1, RATE_HZ) == f"caller {number} bye"
            assert vendor.handshakes <= 5  # three that speak, one idle, and one that was on its way
            assert 1 < vendor.most <= 8
            for line in lines:
                await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_a_reply_that_pauses_goes_on_in_another_context_before_the_first_one_dies() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts(context_s=0.5) as vendor:
            cartesia, ear = provider(vendor, linger_s=0.1), Ear()
            line = await opened(cartesia, ear)
            line.begin(1, {})
            line.text(1, "One moment.")
            line.flush(1)
            await ear.wait(i.Flushed)
            await vendor.until(lambda: vendor.seen["end"] == 1)  # we ended it, the vendor did not have to
            line.text(1, " Here it is.")
            line.flush(1)
            line.end(1)
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == "one moment here it is"
            assert [a.word for a in ear.all(i.Align)] == ["One", "moment.", "Here", "it", "is."]
            last = ear.all(i.Align)[-1]
            assert last.end_ms == pytest.approx(len(ear.pcm(1)) / 48 - 40, abs=3)
            assert len(vendor.asked) == 2
            assert vendor.expired == 0
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_a_context_that_the_vendor_drops_is_replaced_and_nothing_is_lost() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts(context_s=0.05) as vendor:
            cartesia, ear = provider(vendor, linger_s=0.9), Ear()
            line = await opened(cartesia, ear)
            line.begin(1, {})
            line.text(1, "One.")
            line.flush(1)
            await vendor.until(lambda: vendor.expired == 1 and vendor.active == 0)
            await vendor.until(lambda: cartesia.carriers.contexts == 0)
            line.text(1, " Two.")
            line.flush(1)
            line.end(1)
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == "one two"
            assert not ear.all(i.Fault)
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_a_cancelled_reply_is_over_at_once_and_its_late_audio_goes_nowhere() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts() as vendor:
            cartesia, ear = provider(vendor), Ear()
            line = await opened(cartesia, ear)
            vendor.orders.delay_s = 0.01
            say(line, 1, *["All work and no play makes Jack a dull boy."] * 20)
            await ear.wait(i.TtsAudio)
            line.cancel(1)
            vendor.orders.delay_s = 0.0
            assert isinstance(ear.told[-1], i.Cancelled)
            assert isinstance(ear.told[-2], i.Usage)
            at = len(ear.told)
            say(line, 2, "Next.")
            await ear.wait(i.Done)
            assert all(getattr(event, "reply", 2) == 2 for event in ear.told[at:])
            assert words(ear, 2, RATE_HZ) == "next"
            await vendor.until(lambda: vendor.cancelled == 1)
            assert cartesia.counts.stale >= 2
            await vendor.until(lambda: cartesia.carriers.contexts == 0)  # the vendor said nothing
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_a_socket_lost_before_the_audio_costs_nothing_and_in_mid_sentence_a_fault() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts() as vendor:
            cartesia, ear = provider(vendor), Ear()
            line = await opened(cartesia, ear)
            vendor.orders.stall()
            say(line, 1, "Good evening.", "Bye.")
            await vendor.until(lambda: vendor.seen["flush"] == 2)
            for peer in list(vendor.peers):
                peer.cut()
            vendor.orders.allow()
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == "good evening bye"
            assert cartesia.counts.reconnects == 1
            vendor.orders.cut_after(2)
            say(line, 2, "All work and no play makes Jack a dull boy.")
            fault = await ear.wait(i.Fault)
            assert fault.kind == "connect"
            assert "for tenant acme" in fault.detail
            assert ear.told[-1] is fault
            line.text(2, "late")
            line.cancel(2)
            assert ear.told[-1] is fault
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_idle_sockets_are_replaced_before_the_vendor_closes_them() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts(idle_s=0.6) as vendor:
            cartesia, ear = provider(vendor, idle_max_s=0.3), Ear()
            line = await opened(cartesia, ear)
            await vendor.until(lambda: cartesia.counts.rolled_over >= 2)
            before = vendor.handshakes
            say(line, 1, "Still here.")
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == "still here"
            assert cartesia.counts.reconnects == 0
            assert vendor.handshakes <= before + 2
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_what_the_vendor_refuses_is_told_by_its_kind() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts(concurrency=1) as vendor:
            cartesia = provider(vendor)
            for options, kind in (
                ({"voice": "no-such-voice"}, "config"),
                ({"model": "no-such-model"}, "config"),
                ({"language": "xx"}, "config"),
            ):
                ear = Ear()
                line = await opened(cartesia, ear, **options)
                say(line, 1, "Hello.")
                fault = await ear.wait(i.Fault)
                assert (fault.kind, "for tenant acme" in fault.detail) == (kind, True)
                await line.close(drain=False)
            one, two = Ear(), Ear()
            first, second = await opened(cartesia, one), await opened(cartesia, two)
            first.begin(1, {})
            first.text(1, "Hello.")
            await one.wait(i.TtsAudio)
            say(second, 1, "Hello.")
            assert (await two.wait(i.Fault)).kind == "busy"
            assert not one.all(i.Fault)  # a refusal of one is no matter of the others on the socket
            first.end(1)
            await one.wait(i.Done)
            for line in (first, second):
                await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_options_change_for_the_next_reply_and_those_of_the_socket_do_not() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts() as vendor:
            cartesia, ear = provider(vendor), Ear()
            line = await opened(cartesia, ear, language="de-AT")
            say(line, 1, "Eins.")
            await ear.wait(i.Done)
            assert line.update({"language": "fr", "speed": 1.2, "volume": 9.0, "prewarm": 3}) == ("volume", "prewarm")
            say(line, 2, "Deux.")
            await ear.wait(i.Done, 2)
            assert [asked["language"] for asked in vendor.asked] == ["de", "fr"]
            assert vendor.asked[1]["generation_config"] == {"speed": 1.2}
            assert vendor.handshakes <= 2
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_text_without_any_audio_is_a_stall_and_an_open_reply_without_text_is_none() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts() as vendor:
            cartesia, ear = provider(vendor, stall_s=0.2, linger_s=0.05), Ear()
            line = await opened(cartesia, ear)
            line.begin(1, {})
            line.text(1, "One.")
            line.flush(1)
            await ear.wait(i.Flushed)
            await vendor.until(lambda: cartesia.carriers.contexts == 0)
            await vendor.until(lambda: vendor.seen["end"] == 1)
            vendor.orders.stall()
            line.text(1, " Two.")
            line.flush(1)
            fault = await ear.wait(i.Fault)
            assert fault.kind == "stall"
            assert ear.at_s[-1] - ear.at_s[-2] >= 0.2
            vendor.orders.allow()
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_a_text_said_to_be_spoken_without_any_audio_is_no_speech() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts() as vendor:
            cartesia, ear = provider(vendor), Ear()
            line = await opened(cartesia, ear)
            vendor.orders.mangle(lambda message: [] if '"chunk"' in str(message) else [message])
            say(line, 1, "Hello.")
            assert (await ear.wait(i.Fault)).kind == "protocol"
            assert not ear.all(i.Flushed)
            await line.close(drain=False)
            ear = Ear()
            line = await opened(cartesia, ear)
            say(line, 1, "...", " - ")  # nothing in it can be spoken: nobody is asked
            await ear.wait(i.Done)
            assert [type(event) for event in ear.told] == [i.Flushed, i.Flushed, i.Done]
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_the_probe_and_the_opening_say_what_is_wrong_with_the_key() -> None:
    async def scene() -> None:
        async with FakeCartesiaTts() as vendor:
            good = provider(vendor)
            await good.warm()
            await good.probe()
            await good.close()
            bad = provider(vendor, key="wrong-canary")
            await bad.warm()
            for attempt in (bad.probe(), opened(bad, Ear())):
                with pytest.raises(ProviderError) as caught:
                    await attempt
                assert caught.value.kind == "auth"
                assert not caught.value.retryable
                assert "canary" not in str(caught.value)
            await bad.close()
        with pytest.raises(ProviderError, match="voice"):
            Provider({}, Secret(KEY, "env:CARTESIA_KEY"), None)
        assert Provider.capabilities({"rate_hz": 8000}).rates_hz[0] == 8000
        assert not Provider.capabilities({"timestamps": False}).alignment

    run(scene())
