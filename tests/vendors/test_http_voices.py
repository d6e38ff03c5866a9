"""OpenAI's and Azure's voices against their fakes: what a voice by requests does; the contract has the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.azure_tts import Provider as Azure
from actors.providers.azure_tts import billed, ssml
from actors.providers.openai_tts import Provider as OpenAi
from actors.providers.vendor_tts_http import HttpTtsProvider
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.fake_azure_tts import FakeAzureTts
from tests.vendors.fake_openai_tts import FakeOpenAiTts
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY, FakeVendor
from tests.vendors.voices import say, words

RATE_HZ = 24000


def openai(vendor: FakeOpenAiTts, key: str = KEY, **options: Any) -> OpenAi:
    return OpenAi(options, Secret(key, "env:OPENAI_KEY"), f"{vendor.http_url}/v1")


def azure(vendor: FakeAzureTts, key: str = KEY, **options: Any) -> Azure:
    return Azure({"voice": "en-US-AvaNeural", **options}, Secret(key, "env:AZURE_KEY"), vendor.http_url)


EACH = pytest.mark.parametrize(("fake", "make"), [(FakeOpenAiTts, openai), (FakeAzureTts, azure)])
Make = Callable[..., HttpTtsProvider[Any]]


@EACH
def test_turns_reuse_a_connection_and_sentences_come_in_their_order(fake: type[FakeVendor], make: Make) -> None:
    async def scene() -> None:
        async with fake() as vendor:
            voice, ear = make(vendor), Ear()
            await voice.warm()
            line = await voice.open(spec(rate_hz=RATE_HZ), ear)
            vendor.orders.drip(1001, 0.0)  # pieces that end in the middle of a sample
            for turn in (1, 2, 3):
                say(line, turn, "Ten of clubs, please.", "It costs 3.50 now!", "Bye.")
                await ear.wait(i.Done, turn)
                assert words(ear, turn, RATE_HZ) == "ten of clubs please it costs 350 now bye"
                assert sum(f.reply == turn for f in ear.all(i.Flushed)) == 3
            assert vendor.connections <= 3  # a sentence, the one after it, and the first look at the vendor
            assert voice.counts.reused >= 7
            usage = ear.all(i.Usage)[0].amounts
            between = 2 if fake is FakeOpenAiTts else 0  # the spaces, which Azure is not sent
            assert usage["characters"] == len("Ten of clubs, please.It costs 3.50 now!Bye.") + between
            assert usage["audio_s"] == pytest.approx(len(ear.pcm(1)) / 48000)
            await line.close(drain=False)
            await voice.close()

    run(scene())


@EACH
def test_the_next_sentence_is_asked_for_while_one_is_heard_and_no_more(fake: type[FakeVendor], make: Make) -> None:
    async def scene() -> None:
        async with fake() as vendor:
            voice, ear = make(vendor, keep_warm_s=0), Ear()
            line = await voice.open(spec(rate_hz=RATE_HZ), ear)
            vendor.orders.stall()
            say(line, 1, "One.", "Two.", "Three.", "Four.")
            await vendor.until(lambda: vendor.requests == 2)
            await asyncio.sleep(0.05)
            assert vendor.requests == 2
            vendor.orders.allow()
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == "one two three four"
            await line.close(drain=False)
            await voice.close()

    run(scene())


@EACH
def test_a_cancelled_reply_ends_its_requests(fake: type[FakeVendor], make: Make) -> None:
    async def scene() -> None:
        async with fake() as vendor:
            voice, ear = make(vendor), Ear()
            line = await voice.open(spec(rate_hz=RATE_HZ), ear)
            vendor.orders.delay_s = 0.02
            say(line, 1, *["All work and no play makes Jack a dull boy."] * 5)
            await ear.wait(i.TtsAudio)
            line.cancel(1)
            assert isinstance(ear.told[-1], i.Cancelled)
            at = len(ear.told)
            vendor.orders.delay_s = 0.0
            say(line, 2, "Next.")
            await ear.wait(i.Done)
            assert {getattr(event, "reply", 2) for event in ear.told[at:]} == {2}
            assert words(ear, 2, RATE_HZ) == "next"
            await line.close(drain=False)
            await voice.close()

    run(scene())


@EACH
def test_a_connection_lost_before_the_audio_costs_nothing(fake: type[FakeVendor], make: Make) -> None:
    async def scene() -> None:
        async with fake() as vendor:
            voice, ear = make(vendor, keep_warm_s=0), Ear()
            line = await voice.open(spec(rate_hz=RATE_HZ), ear)
            vendor.orders.cut_after(0, once=True)  # its first piece never comes
            say(line, 1, "Hello.")
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == "hello"
            assert voice.counts.reconnects == 1
            vendor.orders.cut_after(0)  # nor that of any other
            say(line, 2, "Hello.")
            assert (await ear.wait(i.Fault)).kind == "connect"
            assert voice.counts.reconnects == 2
            await line.close(drain=False)
            await voice.close()

    run(scene())


@EACH
def test_a_connection_is_kept_warm_while_somebody_may_speak(fake: type[FakeVendor], make: Make) -> None:
    async def scene() -> None:
        async with fake() as vendor:
            voice, ear = make(vendor, keep_warm_s=0.1), Ear()
            line = await voice.open(spec(rate_hz=RATE_HZ), ear)
            await vendor.until(lambda: vendor.requests >= 4)
            assert vendor.connections == 1
            say(line, 1, "Hello.")
            await ear.wait(i.Done)
            assert vendor.connections <= 2
            await line.close(drain=False)
            await asyncio.sleep(0.15)
            before = vendor.requests
            await asyncio.sleep(0.3)
            assert vendor.requests <= before + 1  # nobody is there any more
            await voice.close()

    run(scene())


def test_openai_is_asked_as_configured_and_tells_its_tokens() -> None:
    async def scene() -> None:
        async with FakeOpenAiTts() as vendor:
            voice, ear = (
                openai(vendor, stream_format="sse", instructions="Be kind.", voice="voice_12", speed=1.5),
                Ear(),
            )
            line = await voice.open(spec(rate_hz=RATE_HZ), ear)
            vendor.orders.drip(37, 0.0)  # events cut anywhere
            say(line, 1, "Your table is booked.")
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == "your table is booked"
            assert vendor.asked == [
                {"model": "gpt-4o-mini-tts", "input": "Your table is booked.", "voice": {"id": "voice_12"},
                 "response_format": "pcm", "instructions": "Be kind.", "speed": 1.5, "stream_format": "sse"}
            ]  # fmt: skip
            amounts = ear.all(i.Usage)[0].amounts
            assert amounts["tokens_in"] == 5
            assert amounts["audio_tokens_out"] == len(ear.pcm(1)) // 2400
            vendor.heeds_format = False  # a compatible server that ignores what was asked
            vendor.orders.drip(4096, 0.0)
            assert line.update({"voice": "sage", "instructions": None, "stall_s": 1.0}) == ("stall_s",)
            say(line, 2, "Bye.")
            await ear.wait(i.Done, 2)
            assert words(ear, 2, RATE_HZ) == "bye"
            await line.close(drain=False)
            await voice.close()

    run(scene())


@pytest.mark.parametrize(
    ("disturb", "kind"),
    [
        ({"content_type": "audio/mpeg"}, "protocol"),
        ({"content_type": "audio/pcm;rate=16000"}, "protocol"),
        ({"content_type": "application/json"}, "protocol"),
        ({"prefix": b"RIFF\x00\x00\x00\x00WAVE"}, "protocol"),
        ({"content_type": "audio/pcm;rate=24000"}, None),
    ],
)
def test_an_answer_that_is_not_the_audio_asked_for_is_not_played(disturb: dict[str, Any], kind: str | None) -> None:
    async def scene() -> None:
        async with FakeOpenAiTts() as vendor:
            for name, value in disturb.items():
                setattr(vendor, name, value)
            voice, ear = openai(vendor), Ear()
            line = await voice.open(spec(rate_hz=RATE_HZ), ear)
            say(line, 1, "Hello.")
            await ear.until(lambda: bool(ear.all(i.Done) or ear.all(i.Fault)))
            assert (ear.all(i.Fault)[0].kind if ear.all(i.Fault) else None) == kind
            assert bool(ear.all(i.TtsAudio)) == (kind is None)
            await line.close(drain=False)
            await voice.close()

    run(scene())


def test_what_an_agent_says_is_no_markup() -> None:
    async def scene() -> None:
        async with FakeAzureTts() as vendor:
            voice, ear = azure(vendor, style="cheerful", style_degree=1.5, rate_percent=10, pitch_percent=-5), Ear()
            line = await voice.open(spec(rate_hz=RATE_HZ), ear)
            nasty = "5 < 6 & \"x\" </voice><voice name='en-US-Other'>\x00\x0b more"
            say(line, 1, nasty)
            await ear.wait(i.Done)
            assert vendor.texts == [nasty.replace("\x00", "").replace("\x0b", "")]
            (express,) = vendor.documents[0][0]
            assert express.attrib == {"style": "cheerful", "styledegree": "1.5"}
            assert express[0].attrib == {"rate": "+10%", "pitch": "-5%"}
            assert line.update({"voice": "de-DE-KatjaNeural", "style": None}) == ()
            say(line, 2, "Guten Tag.")
            await ear.wait(i.Done, 2)
            assert vendor.documents[1][0].get("name") == "de-DE-KatjaNeural"
            await line.close(drain=False)
            await voice.close()

    run(scene())


def test_azure_needs_an_address_and_a_voice_of_its_region() -> None:
    async def scene() -> None:
        async with FakeAzureTts() as vendor:
            for bad, kind in (
                (azure(vendor, voice="fr-FR-NobodyNeural"), "config"),
                (azure(vendor, key="wrong-canary"), "auth"),
            ):
                await bad.warm()
                with pytest.raises(ProviderError) as caught:
                    await bad.probe()
                assert caught.value.kind == kind
                assert "canary" not in str(caught.value)
                await bad.close()
        with pytest.raises(ProviderError, match="endpoint"):
            Azure({"voice": "en-US-AvaNeural"}, Secret(KEY, "env:AZURE_KEY"), None)
        assert Azure.capabilities({"voice": "de-DE-KatjaNeural"}).languages == ("de",)
        assert Azure.capabilities({"voice": "en-US-AvaMultilingualNeural"}).languages == ()
        options = Azure.Options.model_validate({"voice": "en-US-AvaMultilingualNeural", "language": "fr-FR"})
        assert '<lang xml:lang="fr-FR">Bonjour</lang>' in ssml(options, " Bonjour ")

    run(scene())


def test_openai_is_probed_by_its_model() -> None:
    async def scene() -> None:
        async with FakeOpenAiTts() as vendor:
            for bad, kind in ((openai(vendor, model="no-such-1"), "config"), (openai(vendor, key="wrong"), "auth")):
                await bad.warm()
                with pytest.raises(ProviderError) as caught:
                    await bad.probe()
                assert caught.value.kind == kind
                await bad.close()
        with pytest.raises(ProviderError, match="secret"):
            OpenAi({}, None, None)
        OpenAi({"auth": "none"}, None, "http://127.0.0.1:9/v1")

    run(scene())


@pytest.mark.parametrize(
    ("options", "text", "count"),
    [
        ({}, " Hello. ", 6),
        ({}, "R&D", 3),
        ({}, "\u4f60\u597d.", 5),
        ({}, "\u65e5\u672c\u3067", 5),  # two of Chinese origin, one that is not
        ({}, "\U00020000", 2),
        ({"rate_percent": 10}, "Hello.", 6 + len('<prosody rate="+10%"></prosody>')),
        ({"language": "fr-FR"}, "Oui", 3 + len('<lang xml:lang="fr-FR"></lang>')),
    ],
)
def test_azure_counts_characters_as_its_bill_does(options: dict[str, Any], text: str, count: int) -> None:
    assert billed(Azure.Options.model_validate({"voice": "en-US-AvaMultilingualNeural", **options}), text) == count


def test_azure_tells_what_it_bills() -> None:
    async def scene() -> None:
        async with FakeAzureTts() as vendor:
            voice, ear = azure(vendor, rate_percent=10), Ear()
            line = await voice.open(spec(rate_hz=RATE_HZ), ear)
            text = say(line, 1, "One.", "Two.")
            await ear.wait(i.Done)
            markup = len('<prosody rate="+10%"></prosody>')
            assert ear.all(i.Usage)[0].amounts["characters"] == len(text.replace(" ", "")) + 2 * markup
            await line.close(drain=False)
            await voice.close()

    run(scene())
