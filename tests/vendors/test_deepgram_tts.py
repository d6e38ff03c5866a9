"""Deepgram's voice against its fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.deepgram_tts import Provider
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.fake_deepgram_tts import FakeDeepgramTts
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY
from tests.vendors.voices import say, words

RATE_HZ = 24000


def provider(vendor: FakeDeepgramTts, key: str = KEY, **options: Any) -> Provider:
    return Provider(options, Secret(key, "env:DEEPGRAM_KEY"), vendor.ws_url)


async def opened(aura: Provider, ear: Ear, **options: Any) -> Any:
    return await aura.open(spec(rate_hz=RATE_HZ, **options), ear)


def test_turns_of_several_calls_use_one_warm_socket_in_turn() -> None:
    async def scene() -> None:
        async with FakeDeepgramTts() as vendor:
            aura, ears = provider(vendor), [Ear(), Ear()]
            await aura.warm()
            lines = [await opened(aura, ear) for ear in ears]
            for turn in (1, 2, 3):
                for number, (line, ear) in enumerate(zip(lines, ears, strict=True)):
                    say(line, turn, f"caller {number}", "It costs 3.50 now!")
                    await ear.wait(i.Done, turn)
                    assert words(ear, turn, RATE_HZ) == f"caller {number} it costs 350 now"
                    assert sum(f.reply == turn for f in ear.all(i.Flushed)) == 2
            assert vendor.handshakes <= 2  # the one, and the pool's idle one
            assert ears[0].all(i.Usage)[0].amounts["characters"] == len("caller 0 It costs 3.50 now!")
            for line in lines:
                await line.close(drain=False)
            await aura.close()
            assert vendor.seen["Close"] == vendor.handshakes  # none is left behind to count against the account

    run(scene())


def test_replies_at_once_have_a_socket_each() -> None:
    async def scene() -> None:
        async with FakeDeepgramTts() as vendor:
            aura, ears = provider(vendor, prewarm=0), [Ear() for _ in range(6)]
            lines = [await opened(aura, ear) for ear in ears]
            vendor.orders.delay_s = 0.01
            for number, line in enumerate(lines):
                say(line, 1, f"caller {number} speaks")
            for number, ear in enumerate(ears):
                await ear.wait(i.Done)
                assert words(ear, 1, RATE_HZ) == f"caller {number} speaks"
            assert vendor.handshakes == 6
            vendor.orders.delay_s = 0.0
            for number, line in enumerate(lines):
                say(line, 2, f"again {number}")
            for number, ear in enumerate(ears):
                await ear.wait(i.Done, 2)
                assert words(ear, 2, RATE_HZ) == f"again {number}"
            assert vendor.handshakes == 6  # all of them were kept
            for line in lines:
                await line.close(drain=False)
            await aura.close()

    run(scene())


def test_what_comes_before_cleared_is_dropped_and_the_socket_goes_on() -> None:
    async def scene() -> None:
        async with FakeDeepgramTts() as vendor:
            aura, ear = provider(vendor, prewarm=0), Ear()
            line = await opened(aura, ear)
            vendor.orders.delay_s = 0.01
            say(line, 1, "All work and no play makes Jack a dull boy.", "More of it.")
            await ear.wait(i.TtsAudio)
            line.cancel(1)
            at = len(ear.told)
            say(line, 2, "Next.")
            await ear.wait(i.Done)
            assert {getattr(event, "reply", 2) for event in ear.told[at:]} == {2}
            assert words(ear, 2, RATE_HZ) == "next"
            say(line, 3, "And again.")
            await ear.wait(i.Done, 2)
            assert words(ear, 3, RATE_HZ) == "and again"
            assert vendor.seen["Clear"] == 1
            assert aura.counts.stale >= 2
            assert vendor.handshakes <= 2
            await line.close(drain=False)
            await aura.close()

    run(scene())


def test_a_socket_that_does_not_clear_is_closed_and_not_spoken_on_again() -> None:
    async def scene() -> None:
        async with FakeDeepgramTts() as vendor:
            aura, ear = provider(vendor, prewarm=0), Ear()
            aura.carriers.limits = type(aura.carriers.limits)(contexts_max=1, over_s=0.1)
            line = await opened(aura, ear)
            vendor.orders.ignore("Clear")
            vendor.orders.delay_s = 0.01
            say(line, 1, "All work and no play makes Jack a dull boy.")
            await ear.wait(i.TtsAudio)
            line.cancel(1)
            await vendor.until(lambda: not vendor.peers)
            say(line, 2, "Next.")
            await ear.wait(i.Done)
            assert words(ear, 2, RATE_HZ) == "next"
            assert vendor.texts[-1] == ["Next."]
            await line.close(drain=False)
            await aura.close()

    run(scene())


@pytest.mark.parametrize("limit", [{"flushes_per_minute": 3}, {"chars_per_minute": 500}])
def test_a_reply_goes_on_on_another_socket_before_the_vendor_warns(limit: dict[str, int]) -> None:
    async def scene() -> None:
        by_flushes = "flushes_per_minute" in limit
        fake = FakeDeepgramTts(flushes_max=3) if by_flushes else FakeDeepgramTts(chars_max=500)
        async with fake as vendor:
            aura, ear = provider(vendor, **limit), Ear()
            line = await opened(aura, ear)
            sentences = [f"this is number {n}" + ("" if by_flushes else " and so on" * 15) for n in range(8)]
            say(line, 1, *sentences)
            await ear.wait(i.Done, timeout_s=10.0)
            assert words(ear, 1, RATE_HZ) == " ".join(sentences)
            assert len(ear.all(i.Flushed)) == 8
            assert not ear.all(i.Fault)
            assert vendor.warnings == 0
            spoken_on = [texts for texts in vendor.texts if texts]
            assert len(spoken_on) == (3 if by_flushes else 4)
            say(line, 2, "Next.")  # the last socket has room for one more
            await ear.wait(i.Done, 2)
            assert words(ear, 2, RATE_HZ) == "next"
            await line.close(drain=False)
            await aura.close()

    run(scene())


def test_a_reply_that_pauses_leaves_its_socket_to_others() -> None:
    async def scene() -> None:
        async with FakeDeepgramTts() as vendor:
            aura, one, two = provider(vendor, prewarm=0, linger_s=0.05), Ear(), Ear()
            first, second = await opened(aura, one), await opened(aura, two)
            first.begin(1, {})
            first.text(1, "One moment.")
            first.flush(1)
            await one.wait(i.Flushed)
            await vendor.until(lambda: aura.carriers.contexts == 0)
            say(second, 1, "Meanwhile.")
            await two.wait(i.Done)
            first.text(1, " Here it is.")
            first.flush(1)
            first.end(1)
            await one.wait(i.Done)
            assert words(one, 1, RATE_HZ) == "one moment here it is"
            assert words(two, 1, RATE_HZ) == "meanwhile"
            assert vendor.handshakes == 1
            for line in (first, second):
                await line.close(drain=False)
            await aura.close()

    run(scene())


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (1008, "DATA-0001: too many characters", "busy"),
        (1008, "DATA-0000: what?", "protocol"),
        (1011, "NET-0000: internal", "overload"),
        (1013, "later", "busy"),
    ],
)
def test_a_close_says_whose_fault_it_was(code: int, reason: str, kind: str) -> None:
    async def scene() -> None:
        async with FakeDeepgramTts() as vendor:
            aura, ear = provider(vendor, prewarm=0), Ear()
            line = await opened(aura, ear)
            vendor.orders.stall()
            say(line, 1, "Hello.")
            await vendor.until(lambda: vendor.seen["Flush"] == 1)
            with pytest.raises(Exception):  # noqa: B017, PT011 (the fake's own way to end)
                await vendor.peers[0].close(code, reason)
            fault = await ear.wait(i.Fault)
            assert (fault.kind, "for tenant acme" in fault.detail) == (kind, True)
            vendor.orders.allow()
            await line.close(drain=False)
            await aura.close()

    run(scene())


def test_a_session_that_is_too_old_costs_nothing_before_it_is_heard() -> None:
    async def scene() -> None:
        async with FakeDeepgramTts() as vendor:
            aura, ear = provider(vendor, prewarm=0), Ear()
            line = await opened(aura, ear)
            vendor.orders.stall()
            say(line, 1, "Hello.")
            await vendor.until(lambda: vendor.seen["Flush"] == 1)
            with pytest.raises(Exception):  # noqa: B017, PT011
                await vendor.peers[0].close(1011, "NET-0003: session limit")
            vendor.orders.allow()
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == "hello"
            assert aura.counts.reconnects == 1
            await line.close(drain=False)
            await aura.close()

    run(scene())


def test_the_probe_hears_the_greeting_and_says_what_is_wrong() -> None:
    async def scene() -> None:
        async with FakeDeepgramTts() as vendor:
            good = provider(vendor)
            await good.warm()
            await good.probe()
            await good.close()
            for bad, kind in (
                (provider(vendor, key="wrong-canary"), "auth"),
                (provider(vendor, model="aura-no-such-en"), "config"),
            ):
                await bad.warm()
                for attempt in (bad.probe(), opened(bad, Ear())):
                    with pytest.raises(ProviderError) as caught:
                        await attempt
                    assert caught.value.kind == kind
                    assert "canary" not in str(caught.value)
                await bad.close()
        assert Provider.capabilities({"model": "aura-2-celeste-es"}).languages == ("es",)

    run(scene())
