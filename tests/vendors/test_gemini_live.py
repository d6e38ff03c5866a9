"""Gemini Live: turns, interruption, activities of local ears, tools, text, handles, the ten minutes of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors.providers import gemini_live_wire as wire
from actors.providers import interface as i
from actors.providers.fake_tones import hear, say
from actors.providers.gemini_live import Provider
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.fake_gemini_live import IN_HZ, OUT_HZ, FakeGeminiLive
from tests.vendors.live import Ear, run
from tests.vendors.server import KEY

LONG = "all work and no play makes jack a dull boy and more of it and more"
SCHEMA = {"type": "object", "properties": {"of": {"type": "string"}}}
STATUS = i.Tool(name="status", description="What became of it.", schema=SCHEMA)
SECOND, THIRD = "gemini-2.5-flash-native-audio", "gemini-3.1-flash-live-preview"


def provider(vendor: FakeGeminiLive, **options: Any) -> Provider:
    given = {"model": SECOND, "silence_ms": 300, "chunk_ms": 20, **options}
    return Provider(given, Secret(KEY, "env:GEMINI_API_KEY"), vendor.ws_url)


def spec(tools: tuple[i.Tool, ...] = (), resume: str | None = None) -> i.StreamSpec:
    return i.StreamSpec(
        stream=1, epoch=1, session_id="s1", tenant_id="acme", rate_hz=IN_HZ, tools=tools, resume=resume
    )  # fmt: skip


@asynccontextmanager
async def talk(
    vendor: FakeGeminiLive, ear: Ear, tools: tuple[i.Tool, ...] = (), resume: str | None = None, **options: Any
) -> AsyncIterator[Any]:
    """An open conversation."""
    model = provider(vendor, **options)
    await model.warm()
    stream = await model.open(spec(tools, resume), ear)
    try:
        yield stream
    finally:
        await model.close()


def feed(stream: Any, pcm: bytes, pos: int = 0) -> int:
    """In frames of 20 ms, as the session does; the position after it."""
    for at in range(0, len(pcm), 640):
        stream.audio(pos, pcm[at : at + 640])
        pos += len(pcm[at : at + 640]) // 2
    return pos


def utter(stream: Any, text: str, pos: int = 0, silence_s: float = 0.4) -> int:
    return feed(stream, say(text, IN_HZ).pcm + bytes(2 * round(silence_s * IN_HZ)), pos)


def heard(ear: Ear, response: int) -> str:
    return " ".join(word.text for word in hear(ear.pcm(response), OUT_HZ))


def text(ear: Ear, response: int) -> str:
    return "".join(event.delta for event in ear.all(i.OutputText) if event.response == response)


def finals(ear: Ear) -> list[str]:
    return [event.text for event in ear.all(i.InputText) if event.final]


# -------------------------------------------------------------------------------------------------------- turns


def test_a_turn_is_heard_answered_and_paid_for() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor, talk(vendor, ear, instructions="Be brief.", voice="Kore") as stream:
            utter(stream, "ten of clubs")
            await ear.wait(i.ResponseDone)
            assert finals(ear) == ["ten of clubs"]
            assert [t.text for t in ear.all(i.InputText) if not t.final] == ["ten", "ten of", "ten of clubs"]
            assert ear.told.index(ear.all(i.InputText)[-1]) < ear.told.index(ear.all(i.ResponseStarted)[0])
            assert text(ear, 1) == "I heard ten of clubs"
            assert heard(ear, 1) == "i heard ten of clubs"
            assert ear.all(i.ResponseDone) == [i.ResponseDone(response=1)]
            usage = {
                "tokens_in": 40,
                "tokens_cached": 30,
                "audio_tokens_in": 50,
                "tokens_out": 5,
                "audio_tokens_out": 60,
            }
            assert (await ear.wait(i.Usage)).amounts == usage
            setup = vendor.setups[0]
            assert setup["model"] == f"models/{SECOND}"
            assert setup["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
            assert setup["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"] == {
                "voiceName": "Kore"
            }
            assert setup["sessionResumption"] == {}

    run(scene())


def test_the_vendor_breaks_off_when_it_hears_the_caller_and_answers_that() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive(speed=4.0) as vendor, talk(vendor, ear) as stream:
            stream.inject("agent", LONG)
            stream.respond()
            await ear.wait(i.TtsAudio, 2)
            utter(stream, "stop it")
            assert (await ear.wait(i.ModelInterrupted)).response == 1
            assert (await ear.wait(i.ResponseDone)).status == "cancelled"
            await ear.wait(i.ResponseDone, 2)
            assert heard(ear, 2) == "i heard stop it"

    run(scene())


def test_what_still_comes_of_a_cancelled_answer_is_eaten() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive(speed=30.0) as vendor, talk(vendor, ear) as stream:
            stream.inject("agent", LONG)
            stream.respond()
            await ear.wait(i.TtsAudio, 2)
            stream.cancel(1)
            assert ear.told[-1] == i.ResponseDone(response=1, status="cancelled")
            told = len(ear.told)
            await ear.wait(i.Resumable, 2)  # the vendor has come to its end
            assert {type(event) for event in ear.told[told:]} == {i.Usage, i.Resumable}
            utter(stream, "ten of clubs")
            await ear.wait(i.ResponseDone, 2)
            assert heard(ear, 2) == "i heard ten of clubs"

    run(scene())


def test_an_interruption_of_what_was_sent_whole_is_told_too() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor, talk(vendor, ear) as stream:
            utter(stream, "ten of clubs")
            await ear.wait(i.ResponseDone)
            late = {"outputTranscription": {"text": "and that is all"}}
            for said in ({"interrupted": True}, late, {"turnComplete": True}):
                await vendor.peers[0].say({"serverContent": said})
            assert (await ear.wait(i.ModelInterrupted)).response == 1
            utter(stream, "queen of hearts")
            await ear.wait(i.ResponseDone, 2)
            assert text(ear, 1) + text(ear, 2) == "I heard ten of clubsI heard queen of hearts"
            assert len(ear.all(i.ResponseStarted)) == 2

    run(scene())


# --------------------------------------------------------------------------------------------------- local ears


def test_with_local_ears_it_hears_only_speech_and_answers_when_told() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor, talk(vendor, ear, vad="local") as stream:
            pos = feed(stream, bytes(4 * IN_HZ))
            begin = pos - IN_HZ // 4
            stream.activity_start(begin)
            middle = utter(stream, "ten of", pos, silence_s=0.2)
            stream.activity_end(middle)
            pos = feed(stream, bytes(IN_HZ), middle)  # a pause that is no end: not sent
            stream.activity_start(pos)
            end = utter(stream, "clubs", pos, silence_s=0.2)
            stream.activity_end(end)
            await vendor.until(lambda: vendor.audio_ms >= (middle - begin + end - pos) * 1000 / IN_HZ - 1)
            assert not ear.all(i.ResponseStarted)
            stream.respond()
            await ear.wait(i.ResponseDone)
            assert heard(ear, 1) == "i heard ten of clubs"
            assert vendor.audio_ms == pytest.approx((middle - begin + end - pos) * 1000 / IN_HZ, abs=1)
            assert vendor.setups[0]["realtimeInputConfig"]["automaticActivityDetection"] == {"disabled": True}

    run(scene())


def test_with_local_ears_a_cough_breaks_nothing_off_and_a_caller_who_goes_on_does() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive(speed=4.0) as vendor, talk(vendor, ear, vad="local") as stream:
            stream.inject("agent", LONG)
            stream.respond()
            await ear.wait(i.TtsAudio, 2)
            stream.activity_start(0)
            pos = utter(stream, "eh", 0, silence_s=0.2)
            stream.activity_end(pos)
            await ear.wait(i.TtsAudio, 4)
            assert not ear.all(i.ModelInterrupted)
            assert vendor.audio_ms == 0
            stream.activity_start(pos)
            pos = feed(stream, say("stop it now", IN_HZ).pcm, pos)
            stream.cancel(1)  # the session is sure
            pos = feed(stream, bytes(IN_HZ // 5 * 2), pos)
            stream.activity_end(pos)
            stream.respond()
            await ear.wait(i.ResponseDone, 2)
            assert [d.status for d in ear.all(i.ResponseDone)] == ["cancelled", "completed"]
            assert heard(ear, 2) == "i heard stop it now"

    run(scene())


def test_with_local_ears_words_of_a_short_utterance_are_told_when_no_more_come() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor, talk(vendor, ear, vad="local") as stream:
            stream.activity_start(0)
            stream.activity_end(feed(stream, say("yes", IN_HZ).pcm))
            for piece in ("ye", "s"):
                await vendor.peers[0].say({"serverContent": {"inputTranscription": {"text": piece}}})
            await ear.until(lambda: bool(finals(ear)))
            assert finals(ear) == ["yes"]
            assert not ear.all(i.ResponseStarted)

    run(scene())


# ------------------------------------------------------------------------------------------------- text and tools


@pytest.mark.parametrize("last", ["user", "agent"])
def test_injected_text_is_what_was_said_unless_it_is_to_be_spoken(last: str) -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor, talk(vendor, ear) as stream:
            stream.inject("user", "good morning")
            stream.inject("agent", "Good morning, Ada.")
            if last == "user":
                stream.inject("user", "what is new")
            stream.audio(0, bytes(640))
            stream.inject("agent", "We are open until nine.")
            stream.respond()
            await ear.wait(i.ResponseDone)
            assert heard(ear, 1) == "we are open until nine"
            turns = vendor.conversations[0]
            assert turns[:2] == [("user", "good morning"), ("model", "Good morning, Ada.")]
            assert (turns[2] == ("user", "what is new")) == (last == "user")
            assert turns[-1] == ("model", "We are open until nine.")

    run(scene())


def test_the_third_generation_takes_history_before_the_first_audio_and_typed_text_then() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor, talk(vendor, ear, model=THIRD) as stream:
            stream.inject("user", "good morning")
            stream.inject("agent", "Good morning, Ada.")
            stream.audio(0, bytes(640))
            await vendor.until(lambda: len(vendor.conversations[0]) == 2)
            stream.inject("system", "The lamp is on.")
            stream.inject("agent", "Is it dark?")
            stream.audio(320, bytes(640))
            stream.inject("user", "12")
            stream.respond()
            await ear.wait(i.ResponseDone)
            assert vendor.seen["clientContent"] == 1
            typed = "(The caller did not say this: The lamp is on.)\n\n(You said: Is it dark?)\n\n12"
            assert vendor.conversations[0] == [
                ("user", "good morning"), ("model", "Good morning, Ada."), ("user", typed),
                ("model", typed.split("\n\n", 1)[1]),
            ]  # fmt: skip
            assert vendor.setups[0]["historyConfig"] == {"initialHistoryInClientContent": True}

    run(scene())


def test_tools_are_called_and_the_model_goes_on_when_all_have_answered() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor, talk(vendor, ear, tools=(STATUS,)) as stream:
            utter(stream, "call status and call status")
            await ear.wait(i.ResponseDone)
            one, two = ear.all(i.ToolCall)
            assert (one.turn, one.name, one.args) == (1, "status", {"of": "it"})
            stream.tool_result(one.id, "lost", False, False)
            stream.tool_result(two.id, "on its way", True, True)
            await ear.wait(i.ResponseDone, 2)
            assert heard(ear, 2) == "the tool says lost and on its way"
            declared = {"name": "status", "description": STATUS.description, "parametersJsonSchema": SCHEMA}
            assert vendor.setups[0]["tools"] == [{"functionDeclarations": [declared]}]

    run(scene())


def test_a_call_that_the_vendor_took_back_is_not_answered() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor, talk(vendor, ear, tools=(STATUS,)) as stream:
            pos = utter(stream, "call status")
            call = await ear.wait(i.ToolCall)
            utter(stream, "never mind", pos)
            await vendor.until(lambda: bool(vendor.cancelled))
            await ear.wait(i.ResponseDone, 2)
            assert heard(ear, 2) == "i heard never mind"
            stream.tool_result(call.id, "late", True, False)
            stream.tool_result(call.id, "late", True, True)  # and nobody waits for what will not come
            assert ear.told[-1] == i.ResponseDone(response=3, status="cancelled")
            assert vendor.seen["toolResponse"] == 0

    run(scene())


# ---------------------------------------------------------------------------------------------------- connections


def test_it_changes_its_connection_before_its_end_and_loses_no_word() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive(life_s=1.2) as vendor:
            model = provider(vendor)
            await model.warm()
            stream = await model.open(spec(), ear)
            pos = utter(stream, "ten of clubs")
            await ear.wait(i.ResponseDone)
            await vendor.until(lambda: len(vendor.setups) == 2)
            utter(stream, "queen of hearts", pos)
            await ear.wait(i.ResponseDone, 2)
            assert heard(ear, 2) == "i heard queen of hearts"
            assert finals(ear) == ["ten of clubs", "queen of hearts"]
            assert vendor.conversations[1][:2] == [("user", "ten of clubs"), ("model", "I heard ten of clubs")]
            assert (model.counts.rolled_over, model.counts.reconnects, len(vendor.peers)) == (1, 0, 1)
            assert not ear.all(i.Fault)
            assert not ear.all(i.Expiring)
            await model.close()

    run(scene())


def test_it_changes_its_connection_when_an_answer_is_over_and_not_before() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive(speed=15.0) as vendor, talk(vendor, ear) as stream:
            stream.inject("agent", LONG)
            stream.respond()
            await ear.wait(i.TtsAudio)
            await vendor.peers[0].say({"goAway": {"timeLeft": "50s"}})
            await ear.wait(i.ResponseDone)
            assert (len(vendor.setups), heard(ear, 1)) == (1, LONG)
            await vendor.until(lambda: len(vendor.setups) == 2)
            assert vendor.conversations[1][-1] == ("model", LONG)

    run(scene())


def test_audio_and_messages_that_come_in_between_wait_in_order() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor, talk(vendor, ear, vad="local") as stream:
            await ear.wait(i.Resumable)
            vendor.orders.accept_delay_s = 0.2
            await vendor.peers[0].say({"goAway": {"timeLeft": "50s"}})
            await vendor.until(lambda: not vendor.peers)
            stream.activity_start(0)
            pos = utter(stream, "ten of clubs", silence_s=0.2)
            stream.activity_end(pos)
            stream.respond()
            await ear.wait(i.ResponseDone)
            assert heard(ear, 1) == "i heard ten of clubs"
            assert len(vendor.setups) == 2

    run(scene())


def test_without_a_handle_the_session_is_told_and_the_end_is_no_surprise() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive(life_s=0.8, gives_handles=False) as vendor, talk(vendor, ear):
            warned = await ear.wait(i.Expiring)
            assert warned.in_s == pytest.approx(0.2)
            assert (await ear.wait(i.Fault)).kind == "expired"
            assert len(vendor.setups) == 1

    run(scene())


def test_a_connection_that_is_lost_while_nothing_goes_on_is_mended_once() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor:
            model = provider(vendor)
            await model.warm()
            stream = await model.open(spec(), ear)
            pos = utter(stream, "ten of clubs")
            await ear.wait(i.Resumable, 2)
            vendor.peers[0].cut()
            await vendor.until(lambda: len(vendor.setups) == 2 and len(vendor.peers) == 1)
            utter(stream, "queen of hearts", pos)
            await ear.wait(i.Resumable, 4)
            assert heard(ear, 2) == "i heard queen of hearts"
            assert len(vendor.conversations[1]) == 4
            assert model.counts.reconnects == 1
            vendor.peers[0].cut()
            assert (await ear.wait(i.Fault)).kind == "connect"
            await model.close()

    run(scene())


def test_a_handle_is_taken_up_and_one_that_the_vendor_forgot_has_expired() -> None:
    async def scene() -> None:
        first, second = Ear(), Ear()
        async with FakeGeminiLive() as vendor:
            model = provider(vendor)
            await model.warm()
            stream = await model.open(spec(), first)
            utter(stream, "ten of clubs")
            handle = (await first.wait(i.Resumable, 2)).handle
            await stream.close(drain=False)
            again = await model.open(spec(resume=handle), second)
            utter(again, "queen of hearts")
            await second.wait(i.ResponseDone)
            assert vendor.conversations[1][0] == ("user", "ten of clubs")
            assert vendor.setups[1]["sessionResumption"] == {"handle": handle}
            with pytest.raises(ProviderError) as raised:
                await model.open(spec(resume="forgotten"), Ear())
            assert raised.value.kind == "expired"
            await model.close()

    run(scene())


def test_options_change_with_the_next_connection() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor, talk(vendor, ear, voice="Kore") as stream:
            await ear.wait(i.Resumable)
            refused = stream.update({"instructions": "Kurz.", "language": "de-DE", "vad": "local", "temperature": 9})
            assert set(refused) == {"vad", "temperature"}
            await vendor.until(lambda: len(vendor.setups) == 2)
            assert vendor.setups[1]["systemInstruction"] == {"parts": [{"text": "Kurz."}]}
            assert vendor.setups[1]["generationConfig"]["speechConfig"]["languageCode"] == "de-DE"
            utter(stream, "ten of clubs")
            await ear.wait(i.ResponseDone)

    run(scene())


def test_without_a_handle_nothing_changes_in_mid_call() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive(gives_handles=False) as vendor, talk(vendor, ear) as stream:
            assert stream.update({"instructions": "Kurz."}) == ("instructions",)

    run(scene())


@pytest.mark.parametrize(
    ("options", "kind"), [({"model": "nobody"}, "config"), ({"open_s": 0.2}, "timeout")], ids=["refused", "no answer"]
)
def test_a_setup_that_is_not_taken_is_an_error_of_opening(options: dict[str, Any], kind: str) -> None:
    async def scene() -> None:
        async with FakeGeminiLive() as vendor:
            if kind == "timeout":
                vendor.orders.ignore("setup")
            model, ear = provider(vendor, **options), Ear()
            await model.warm()
            with pytest.raises(ProviderError) as raised:
                await model.open(spec(), ear)
            assert raised.value.kind == kind
            assert "acme" in raised.value.detail
            assert (model.streams, ear.told) == (0, [])
            await vendor.until(lambda: not vendor.peers)
            await model.close()

    run(scene())


def test_closing_while_it_changes_its_connection_leaves_nothing() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeGeminiLive() as vendor:
            model = provider(vendor)
            await model.warm()
            stream = await model.open(spec(), ear)
            await ear.wait(i.Resumable)
            vendor.orders.accept_delay_s = 1.0
            await vendor.peers[0].say({"goAway": {"timeLeft": "50s"}})
            await vendor.until(lambda: not vendor.peers)
            began_s = asyncio.get_running_loop().time()
            await stream.close(drain=False)
            await model.close()
            assert asyncio.get_running_loop().time() - began_s < 0.9
            assert not ear.all(i.Fault)

    run(scene())


# ---------------------------------------------------------------------------------------------------------- wire


@pytest.mark.parametrize(
    ("said", "seconds"), [("50s", 50.0), ("3.25s", 3.25), ("0s", 0.0), ("50", None), ("-1s", None), (None, None)]
)
def test_durations_are_read_strictly(said: str | None, seconds: float | None) -> None:
    assert wire.seconds(said) == seconds


def test_tokens_without_details_are_text() -> None:
    told = wire.amounts(wire.UsageMetadata(prompt_token_count=40, response_token_count=25))
    assert {name: value for name, value in told.items() if value} == {"tokens_in": 40.0, "tokens_out": 25.0}


def test_capabilities_follow_the_options() -> None:
    usual = Provider.capabilities({"model": SECOND})
    assert (usual.vad, usual.resume, usual.truncation, usual.transcripts) == ("both", True, False, True)
    other = Provider.capabilities({"vad": "local", "resumption": False, "input_transcripts": False})
    assert (other.vad, other.resume, other.transcripts) == ("local", False, False)
