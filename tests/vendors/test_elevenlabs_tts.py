"""ElevenLabs' voice against its fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.elevenlabs_tts import Provider
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.fake_elevenlabs_tts import FakeElevenLabsTts
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY
from tests.vendors.voices import aligned, say, words

RATE_HZ = 24000
VOICE = "JBFqnCBsd6RMkjVDRZzb"


def provider(vendor: FakeElevenLabsTts, key: str = KEY, **options: Any) -> Provider:
    return Provider({"voice": VOICE, **options}, Secret(key, "env:ELEVENLABS_KEY"), vendor.ws_url)


async def opened(eleven: Provider, ear: Ear, **options: Any) -> Any:
    return await eleven.open(spec(rate_hz=RATE_HZ, **options), ear)


def test_turns_on_a_warm_socket_make_no_handshake_and_tell_words_with_their_times() -> None:
    async def scene() -> None:
        async with FakeElevenLabsTts() as vendor:
            eleven, ear = provider(vendor, stability=0.4, language="en-GB"), Ear()
            await eleven.warm()
            line = await opened(eleven, ear)
            for turn in (1, 2, 3):
                text = say(line, turn, "Ten of clubs, please.", "It costs 3.50 now!")
                await ear.wait(i.Done, turn)
                assert words(ear, turn, RATE_HZ) == "ten of clubs please it costs 350 now"
                aligned(ear, turn, text, RATE_HZ)
                assert sum(f.reply == turn for f in ear.all(i.Flushed)) == 2
            assert vendor.handshakes <= 2  # the stream's and the idle one
            assert vendor.begun[0]["voice_settings"] == {"stability": 0.4}
            assert vendor.queries[0]["language_code"] == "en"
            assert vendor.queries[0]["output_format"] == "pcm_24000"
            assert eleven.counts.late == 0
            await line.close(drain=False)
            await eleven.close()

    run(scene())


@pytest.mark.parametrize("how", ["nothing", "flush_done", "most letters", "acknowledged and aligned"])
def test_each_sentence_is_known_to_be_spoken_whatever_the_vendor_says_of_it(how: str) -> None:
    async def scene() -> None:
        async with FakeElevenLabsTts(alignment=how in ("most letters", "acknowledged and aligned")) as vendor:
            vendor.flush_done = how in ("flush_done", "acknowledged and aligned")
            eleven, ear = provider(vendor, quiet_s=0.15, stall_s=2.0), Ear()
            line = await opened(eleven, ear)
            if how == "most letters":
                vendor.orders.mangle(lambda m: [m.replace('"!"', '" "')] if isinstance(m, str) else [m])
            line.begin(1, {})
            line.text(1, "Good evening to all of you!")
            line.flush(1)
            await ear.wait(i.Flushed)
            assert words(ear, 1, RATE_HZ) == "good evening to all of you"
            line.text(1, " Bye.")
            line.flush(1)
            line.end(1)
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == "good evening to all of you bye"
            assert len(ear.all(i.Flushed)) == 2
            assert not ear.all(i.Fault)
            assert eleven.counts.late == (how in ("nothing", "most letters"))
            await line.close(drain=False)
            await eleven.close()

    run(scene())


def test_quiet_in_the_middle_of_a_sentence_is_not_its_end() -> None:
    async def scene() -> None:
        async with FakeElevenLabsTts() as vendor:
            eleven, ear = provider(vendor, quiet_s=0.1, stall_s=0.6), Ear()
            line = await opened(eleven, ear)
            vendor.orders.delay_s = 0.25
            say(line, 1, "All work.")
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == "all work"
            assert eleven.counts.late == 0
            vendor.orders.delay_s = 0.0
            await line.close(drain=False)
            await eleven.close()

    run(scene())


def test_five_replies_share_a_socket_and_a_sixth_has_another() -> None:
    async def scene() -> None:
        async with FakeElevenLabsTts() as vendor:
            eleven = provider(vendor, prewarm=0)
            ears = [Ear() for _ in range(12)]
            lines = [await eleven.open(spec(n, rate_hz=RATE_HZ), ear) for n, ear in enumerate(ears)]
            vendor.orders.delay_s = 0.005
            for number, line in enumerate(lines):
                say(line, 1, f"caller {number}", "bye")
            for number, ear in enumerate(ears):
                await ear.wait(i.Done)
                assert words(ear, 1, RATE_HZ) == f"caller {number} bye"
            assert vendor.most == 5
            assert vendor.handshakes == 3
            for line in lines:
                await line.close(drain=False)
            await eleven.close()

    run(scene())


def test_cancelled_contexts_count_until_the_vendor_has_closed_them() -> None:
    async def scene() -> None:
        async with FakeElevenLabsTts() as vendor:
            eleven, ear = provider(vendor, prewarm=0), Ear()
            line = await opened(eleven, ear)
            vendor.closing_s = 0.5
            for reply in range(1, 9):  # a caller who barges in again and again
                say(line, reply, "All work and no play.")
                await ear.until(lambda reply=reply: any(a.reply == reply for a in ear.all(i.TtsAudio)))
                line.cancel(reply)
                at = len(ear.told)
            say(line, 9, "Next.")
            await ear.wait(i.Done)
            assert {getattr(event, "reply", 9) for event in ear.told[at:]} == {9}
            assert words(ear, 9, RATE_HZ) == "next"
            assert vendor.most == 5
            assert vendor.handshakes == 2
            assert not ear.all(i.Fault)
            await line.close(drain=False)
            await eleven.close()

    run(scene())


def test_a_socket_that_does_not_close_its_contexts_gets_no_more_of_them() -> None:
    async def scene() -> None:
        async with FakeElevenLabsTts() as vendor:
            eleven, ear = provider(vendor, prewarm=0), Ear()
            eleven.carriers.limits = type(eleven.carriers.limits)(contexts_max=5, over_s=0.1)
            line = await opened(eleven, ear)
            vendor.orders.ignore("close")
            line.begin(1, {})
            line.text(1, "Hello.")
            line.flush(1)
            await ear.wait(i.Flushed)
            line.cancel(1)
            await vendor.until(lambda: not vendor.peers)  # nobody is on it: it is closed, not kept
            assert eleven.counts.late == 1
            vendor.orders.ignored.clear()
            say(line, 2, "Next.")
            await ear.wait(i.Done)
            assert vendor.handshakes == 2
            await line.close(drain=False)
            await eleven.close()

    run(scene())


def test_idle_sockets_are_replaced_before_the_vendor_closes_them() -> None:
    async def scene() -> None:
        async with FakeElevenLabsTts(idle_s=0.6) as vendor:
            eleven, ear = provider(vendor, idle_max_s=0.3), Ear()
            line = await opened(eleven, ear)
            await vendor.until(lambda: eleven.counts.rolled_over >= 2)
            say(line, 1, "Still here.")
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == "still here"
            assert eleven.counts.reconnects == 0
            assert not ear.all(i.Fault)
            await line.close(drain=False)
            await eleven.close()

    run(scene())


def test_another_voice_in_mid_call_has_its_socket_ready() -> None:
    async def scene() -> None:
        async with FakeElevenLabsTts() as vendor:
            eleven, ear = provider(vendor), Ear()
            line = await opened(eleven, ear)
            say(line, 1, "One.")
            await ear.wait(i.Done)
            assert line.update({"voice": "another", "speed": 9, "rate_hz": 8000}) == ("speed", "rate_hz")
            await vendor.until(lambda: any(p.request.match_info["voice"] == "another" for p in vendor.peers))
            before = vendor.handshakes
            say(line, 2, "Two.")
            await ear.wait(i.Done, 2)
            assert words(ear, 2, RATE_HZ) == "two"
            assert vendor.handshakes - before <= 1  # the pool's next idle one
            await line.close(drain=False)
            await eleven.close()

    run(scene())


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"voice": "no-such-voice"}, "config"), ({"model": "no-such-model"}, "config"), ({"language": "xx"}, "config")],
)
def test_what_the_vendor_refuses_is_told_by_its_kind(options: dict[str, Any], kind: str) -> None:
    async def scene() -> None:
        async with FakeElevenLabsTts() as vendor:
            eleven, ear = provider(vendor, **options), Ear()
            line = await opened(eleven, ear)
            say(line, 1, "Hello.")
            fault = await ear.wait(i.Fault)
            assert (fault.kind, "for tenant acme" in fault.detail) == (kind, True)
            await line.close(drain=False)
            await eleven.close()

    run(scene())


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (1008, "quota_exceeded", "quota"),
        (1008, "invalid_api_key", "auth"),
        (1008, "max_active_conversations", "busy"),
        (1008, "system_busy", "busy"),
        (1008, "invalid_input_message", "protocol"),
        (1011, "internal", "overload"),
    ],
)
def test_a_close_says_whose_fault_it_was(code: int, reason: str, kind: str) -> None:
    async def scene() -> None:
        async with FakeElevenLabsTts() as vendor:
            eleven, ear = provider(vendor, prewarm=0), Ear()
            line = await opened(eleven, ear)
            vendor.orders.stall()
            say(line, 1, "Hello.")
            await vendor.until(lambda: vendor.seen["flush"] == 1)
            with pytest.raises(Exception):  # noqa: B017, PT011 (the fake's own way to end)
                await vendor.peers[0].close(code, reason)
            assert (await ear.wait(i.Fault)).kind == kind
            vendor.orders.allow()
            await line.close(drain=False)
            await eleven.close()

    run(scene())


def test_the_opening_says_what_is_wrong_with_the_key() -> None:
    async def scene() -> None:
        async with FakeElevenLabsTts() as vendor:
            bad = provider(vendor, key="wrong-canary")
            await bad.warm()
            for attempt in (bad.probe(), opened(bad, Ear())):
                with pytest.raises(ProviderError) as caught:
                    await attempt
                assert caught.value.kind == "auth"
                assert "canary" not in str(caught.value)
            await bad.close()
        assert "vi" in Provider.capabilities({}).languages
        assert "vi" not in Provider.capabilities({"model": "eleven_multilingual_v2"}).languages

    run(scene())
