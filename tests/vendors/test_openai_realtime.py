"""OpenAI Realtime: turns and positions, interruption, what was heard, tools, injected text, failures, its hour."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.fake_tones import hear, say
from actors.providers.openai_realtime import Provider
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.fake_openai_realtime import RATE_HZ, FakeOpenAiRealtime
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY

LONG = "all work and no play makes jack a dull boy and more of it and more"
STATUS = i.Tool(name="status", description="What became of it.", schema={"type": "object", "properties": {}})


def provider(vendor: FakeOpenAiRealtime, **options: Any) -> Provider:
    given = {"prewarm": 0, "silence_ms": 300, "chunk_ms": 20, **options}
    return Provider(given, Secret(KEY, "env:OPENAI_API_KEY"), f"{vendor.ws_url}/v1")


@asynccontextmanager
async def talk(
    vendor: FakeOpenAiRealtime, ear: Ear, tools: tuple[i.Tool, ...] = (), pos: int = 0, **options: Any
) -> AsyncIterator[Any]:
    """An open conversation."""
    model = provider(vendor, **options)
    await model.warm()
    given = i.StreamSpec(
        stream=1, epoch=1, session_id="s1", tenant_id="acme", rate_hz=RATE_HZ, pos=pos, tools=tools
    )  # fmt: skip
    stream = await model.open(given, ear)
    try:
        yield stream
    finally:
        await model.close()


def feed(stream: Any, pcm: bytes, pos: int = 0) -> int:
    """In frames of 20 ms, as the session does; the position after it."""
    for at in range(0, len(pcm), 960):
        stream.audio(pos, pcm[at : at + 960])
        pos += len(pcm[at : at + 960]) // 2
    return pos


def utter(stream: Any, text: str, pos: int = 0, silence_s: float = 0.4) -> int:
    return feed(stream, say(text, RATE_HZ).pcm + bytes(2 * round(silence_s * RATE_HZ)), pos)


def heard(ear: Ear, response: int) -> str:
    return " ".join(word.text for word in hear(ear.pcm(response), RATE_HZ))


def text(ear: Ear, response: int) -> str:
    return "".join(event.delta for event in ear.all(i.OutputText) if event.response == response)


def known(vendor: FakeOpenAiRealtime) -> list[tuple[str, str]]:
    return [(item.role or item.type, item.text) for item in vendor.conversations[-1]]


def test_a_turn_is_heard_answered_and_paid_for() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor, talk(vendor, ear, pos=48_000, instructions="Be brief.") as stream:
            pos = feed(stream, bytes(2 * RATE_HZ), 48_000)
            end = utter(stream, "ten of clubs", pos)
            await ear.wait(i.ResponseDone)
            started, stopped = await ear.wait(i.SttSpeechStarted), await ear.wait(i.SttSpeechStopped)
            assert abs(started.pos - pos) < 0.06 * RATE_HZ
            assert abs(stopped.pos - (end - 0.4 * RATE_HZ)) < 0.06 * RATE_HZ
            final = [t for t in ear.all(i.InputText) if t.final]
            assert [t.text for t in final] == ["ten of clubs"]
            assert [t.text for t in ear.all(i.InputText) if not t.final] == ["ten", "ten of", "ten of clubs"]
            assert final[0].from_pos < started.pos < final[0].to_pos <= end
            assert text(ear, 1) == "I heard ten of clubs"
            assert heard(ear, 1) == "i heard ten of clubs"
            assert ear.all(i.ResponseDone)[0] == i.ResponseDone(response=1, status="completed")
            usage = {
                "tokens_in": 30,
                "tokens_cached": 64,
                "audio_tokens_in": 26,
                "tokens_out": 20,
                "audio_tokens_out": 40,
            }
            assert ear.all(i.Usage)[0].amounts == usage
            assert vendor.sessions[0]["instructions"] == "Be brief."
            assert vendor.sessions[0]["audio"]["input"]["turn_detection"]["type"] == "server_vad"

    run(scene())


def test_a_transcript_may_come_after_the_reply() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime(transcript_s=0.5, speed=1000.0) as vendor, talk(vendor, ear) as stream:
            utter(stream, "ten of clubs")
            await ear.wait(i.ResponseDone)
            assert not ear.all(i.InputText)
            await ear.until(lambda: any(t.final and t.text == "ten of clubs" for t in ear.all(i.InputText)))

    run(scene())


def test_what_was_not_heard_is_no_part_of_the_conversation() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime(speed=1000.0) as vendor, talk(vendor, ear) as stream:
            for number in (1, 2, 3):
                stream.inject("agent", LONG)
                stream.respond()
                await ear.wait(i.ResponseDone, number)
            whole_ms = len(ear.pcm(1)) / 2 / RATE_HZ * 1000
            stream.heard(1, 640.0)
            stream.cancel(1)
            stream.heard(2, 0.0)
            stream.cancel(2)
            stream.heard(3, whole_ms + 500.0)  # a mouth that counts a little more than there was
            stream.cancel(3)
            await vendor.until(lambda: len(vendor.conversations[0]) == 2)
            cut, whole = vendor.conversations[0]
            assert (cut.text, cut.audio_ms) == ("", 640)
            assert whole.text == LONG
            assert (vendor.seen["conversation.item.truncate"], vendor.seen["conversation.item.delete"]) == (1, 1)
            assert not vendor.seen["response.cancel"]
            assert len(ear.all(i.ResponseDone)) == 3

    run(scene())


def test_an_answer_under_way_is_cancelled_and_cut_where_the_caller_stopped_listening() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor, talk(vendor, ear) as stream:
            stream.inject("agent", LONG)
            stream.respond()
            await ear.wait(i.TtsAudio, 3)
            stream.heard(1, 300.0)
            stream.cancel(1)
            assert ear.told[-1] == i.ResponseDone(response=1, status="cancelled")
            told = len(ear.told)
            usage = await ear.wait(i.Usage)
            await vendor.until(lambda: bool(vendor.truncated))
            assert list(vendor.truncated.values()) == [300]
            assert [e for e in ear.told[told:] if e is not usage] == []
            assert ear.all(i.ModelInterrupted) == []

    run(scene())


def test_a_tool_that_a_cancelled_answer_calls_is_not_run() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor, talk(vendor, ear, tools=(STATUS,)) as stream:
            stream.inject("agent", LONG)
            stream.respond()
            await ear.wait(i.TtsAudio)
            stream.cancel(1)
            call = {"id": "item_9", "type": "function_call", "status": "completed", "call_id": "c", "name": "status"}
            late = {"type": "response.output_item.done", "response_id": vendor.responses[0], "item": call}
            await vendor.peers[0].say(late)
            await ear.wait(i.Usage)
            stream.inject("agent", "yes")
            stream.respond()
            await ear.wait(i.ResponseDone, 2)
            assert not ear.all(i.ToolCall)

    run(scene())


def test_an_answer_that_is_cancelled_while_it_is_asked_for_again_is_not_made() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor, talk(vendor, ear) as stream:
            vendor.fail_next = [{"code": "server_error", "type": "server_error", "message": "Sorry."}]
            vendor.orders.delay_s = 0.05
            stream.inject("agent", LONG)
            stream.respond()
            await vendor.until(lambda: vendor.seen["response.create"] == 2)
            stream.cancel(1)
            await vendor.until(lambda: vendor.seen["response.cancel"] == 1)
            await ear.wait(i.Usage)  # of the second attempt, which is over
            assert ear.all(i.ResponseDone) == [i.ResponseDone(response=1, status="cancelled")]
            assert len(ear.all(i.ResponseStarted)) == 1
            assert not ear.all(i.TtsAudio)

    run(scene())


def test_the_vendor_breaks_off_when_it_hears_the_caller_and_answers_that() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime(speed=4.0) as vendor, talk(vendor, ear) as stream:
            stream.inject("agent", LONG)
            stream.respond()
            await ear.wait(i.TtsAudio, 2)
            utter(stream, "stop it")
            broken = await ear.wait(i.ModelInterrupted)
            assert broken.response == 1
            assert (await ear.wait(i.ResponseDone)).status == "cancelled"
            stream.heard(1, 200.0)
            stream.cancel(1)
            await ear.wait(i.ResponseDone, 2)
            assert heard(ear, 2) == "i heard stop it"
            assert list(vendor.truncated.values()) == [200]
            assert vendor.seen["response.cancel"] == 0

    run(scene())


def test_a_turn_that_met_an_answer_under_way_is_answered_when_that_is_over() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime(speed=8.0) as vendor, talk(vendor, ear, interrupt_response=False) as stream:
            stream.inject("agent", LONG)
            stream.respond()
            await ear.wait(i.TtsAudio)
            utter(stream, "wait")
            await ear.wait(i.ResponseDone, 2)
            assert [d.status for d in ear.all(i.ResponseDone)] == ["completed", "completed"]
            assert heard(ear, 2) == "i heard wait"

    run(scene())


def test_with_local_ears_it_hears_only_speech_and_answers_when_told() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor, talk(vendor, ear, vad="local") as stream:
            pos = feed(stream, bytes(4 * RATE_HZ))
            begin = pos - RATE_HZ // 4
            stream.activity_start(begin)
            end = utter(stream, "ten of clubs", pos, silence_s=0.2)
            stream.activity_end(end - RATE_HZ // 5)
            feed(stream, bytes(2 * RATE_HZ), end)
            final = await ear.wait(i.InputText, 4)
            assert (final.text, final.final, final.from_pos, final.to_pos) == ("ten of clubs", True, begin, end)
            assert vendor.audio_ms == pytest.approx((end - begin) * 1000 / RATE_HZ, abs=1)
            assert not ear.all(i.ResponseStarted)
            stream.respond()
            await ear.wait(i.ResponseDone)
            assert heard(ear, 1) == "i heard ten of clubs"
            assert vendor.sessions[0]["audio"]["input"]["turn_detection"] is None

    run(scene())


def test_two_utterances_of_one_turn_are_two_items_and_one_answer() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor, talk(vendor, ear, vad="local") as stream:
            pos = 0
            for words in ("ten of", "clubs"):
                stream.activity_start(max(0, pos - RATE_HZ // 5))  # speech is noticed late: it began before
                pos = utter(stream, words, pos, silence_s=0.2)
                stream.activity_end(pos)
            stream.respond()
            await ear.wait(i.ResponseDone)
            assert vendor.audio_ms == pytest.approx(pos * 1000 / RATE_HZ, abs=1)  # and nothing is sent twice
            await ear.until(lambda: len([t for t in ear.all(i.InputText) if t.final]) == 2)
            one, two = (t for t in ear.all(i.InputText) if t.final)
            assert (one.text, two.text, one.to_pos) == ("ten of", "clubs", two.from_pos)
            assert len(ear.all(i.ResponseStarted)) == 1
            assert known(vendor)[:2] == [("user", "ten of"), ("user", "clubs")]

    run(scene())


def test_injected_text_is_what_was_said_unless_it_is_to_be_spoken() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor, talk(vendor, ear) as stream:
            stream.inject("system", "The caller is Ada.")
            stream.inject("user", "good morning")
            stream.inject("agent", "Good morning, Ada.")
            stream.audio(0, bytes(960))
            await vendor.until(lambda: len(vendor.conversations[0]) == 3)
            stream.inject("agent", "We are open until nine.")
            stream.respond()
            await ear.wait(i.ResponseDone)
            assert heard(ear, 1) == "we are open until nine"
            assert known(vendor) == [
                ("system", "The caller is Ada."), ("user", "good morning"), ("assistant", "Good morning, Ada."),
                ("assistant", "We are open until nine."),
            ]  # fmt: skip
            assert vendor.created[0]["input"] == []
            assert vendor.created[0]["tool_choice"] == "none"

    run(scene())


def test_tools_are_called_whole_and_the_model_goes_on_from_the_last_result() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor, talk(vendor, ear, tools=(STATUS,)) as stream:
            utter(stream, "call status and call status")
            await ear.wait(i.ResponseDone)
            one, two = ear.all(i.ToolCall)
            assert (one.turn, one.name, one.args, one.problem) == (1, "status", {}, "")
            assert one.id != two.id
            assert text(ear, 1) == ""
            stream.tool_result(one.id, "lost", False, False)
            stream.tool_result(two.id, "on its way", True, True)
            await ear.wait(i.ResponseDone, 2)
            assert heard(ear, 2) == "the tool says on its way"
            outputs = [t for role, t in known(vendor) if role == "function_call_output"]
            assert outputs == ['{"error":"lost"}', "on its way"]
            tool = {
                "type": "function",
                "name": "status",
                "description": STATUS.description,
                "parameters": STATUS.schema,
            }
            assert vendor.sessions[0]["tools"] == [tool]

    run(scene())


def test_a_result_of_a_call_that_the_vendor_forgot_costs_nothing() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor:
            model = provider(vendor)
            await model.warm()
            stream = await model.open(spec(rate_hz=RATE_HZ), ear)
            stream.tool_result("call_nobody", "late", True, False)
            stream.inject("agent", "still here")
            stream.respond()
            await ear.wait(i.ResponseDone)
            assert model.counts.refused == 1
            assert not ear.all(i.Fault)
            await model.close()

    run(scene())


def test_options_change_in_mid_call_but_not_the_voice_that_has_spoken() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor, talk(vendor, ear) as stream:
            assert stream.update({"voice": "cedar"}) == ()
            stream.inject("agent", "hello")
            stream.respond()
            await ear.wait(i.ResponseDone)
            refused = stream.update({"language": "de-AT", "instructions": "Kurz.", "voice": "marin", "vad": "local"})
            assert set(refused) == {"voice", "vad"}
            assert stream.update({"speed": 9.0}) == ("speed",)
            await vendor.until(lambda: len(vendor.sessions) == 3)
            assert vendor.sessions[1]["audio"]["output"]["voice"] == "cedar"
            assert "voice" not in vendor.sessions[2]["audio"]["output"]
            assert vendor.sessions[2]["instructions"] == "Kurz."
            assert vendor.sessions[2]["audio"]["input"]["transcription"] == {
                "model": "gpt-transcribe",
                "language": "de",
            }

    run(scene())


def test_options_that_the_vendor_refuses_are_an_error_of_opening() -> None:
    async def scene() -> None:
        async with FakeOpenAiRealtime() as vendor:
            model, ear = provider(vendor, voice="nobody"), Ear()
            await model.warm()
            with pytest.raises(ProviderError) as raised:
                await model.open(spec(rate_hz=RATE_HZ), ear)
            assert raised.value.kind == "config"
            assert "acme" in raised.value.detail
            assert "nobody" in raised.value.detail
            with pytest.raises(ProviderError):
                await model.probe()
            assert (model.streams, ear.told) == (0, [])
            await vendor.until(lambda: not vendor.peers)
            await model.close()

    run(scene())


def test_a_setup_that_is_never_answered_is_a_timeout() -> None:
    async def scene() -> None:
        async with FakeOpenAiRealtime() as vendor:
            vendor.orders.ignore("session.update")
            model = provider(vendor, open_s=0.2)
            await model.warm()
            with pytest.raises(ProviderError) as raised:
                await model.open(spec(rate_hz=RATE_HZ), Ear())
            assert raised.value.kind == "timeout"
            assert model.streams == 0
            await model.close()

    run(scene())


FAILURES = [
    ([("server_error", "server_error")], "right"),
    ([("server_error", "server_error")] * 2, "overload"),
    ([("rate_limit_exceeded", "requests")], "busy"),
    ([("insufficient_quota", "insufficient_quota")], "quota"),
]


@pytest.mark.parametrize(("failures", "outcome"), FAILURES, ids=["once", "twice", "rate", "quota"])
def test_an_answer_that_failed_before_it_was_heard_is_asked_for_once_more(
    failures: list[tuple[str, str]], outcome: str
) -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor, talk(vendor, ear) as stream:
            vendor.fail_next = [{"code": code, "type": kind, "message": "Sorry."} for code, kind in failures]
            stream.inject("agent", "ten of clubs")
            stream.respond()
            await ear.until(lambda: bool(ear.all(i.ResponseDone) or ear.all(i.Fault)))
            assert [s.response for s in ear.all(i.ResponseStarted)] == [1]
            if outcome == "right":
                assert heard(ear, 1) == "ten of clubs"
            else:
                assert [f.kind for f in ear.all(i.Fault)] == [outcome]

    run(scene())


def test_it_warns_before_its_hour_is_over_and_then_has_expired() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime(life_s=1.2) as vendor, talk(vendor, ear, life_s=1.2):
            warned = await ear.wait(i.Expiring)
            assert 0.1 < warned.in_s <= 0.3
            fault = await ear.wait(i.Fault)
            assert fault.kind == "expired"
            assert ear.told == [warned, fault]
            took_s = ear.at_s[1] - ear.at_s[0]
            assert took_s == pytest.approx(warned.in_s, abs=0.2)

    run(scene())


def test_a_call_finds_a_connection_open_and_leaves_none_behind() -> None:
    async def scene() -> None:
        async with FakeOpenAiRealtime() as vendor:
            model = provider(vendor, prewarm=1)
            await model.warm()
            await vendor.until(lambda: model.pool.idle == 1)
            stream = await model.open(spec(rate_hz=RATE_HZ), ear := Ear())
            assert model.counts.reused == 1
            await vendor.until(lambda: len(vendor.peers) == 2)  # the next one is opened behind it
            utter(stream, "ten of clubs")
            await ear.wait(i.ResponseDone)
            assert heard(ear, 1) == "i heard ten of clubs"
            await stream.close(drain=False)
            await vendor.until(lambda: len(vendor.peers) == 1)
            assert (vendor.handshakes, len(vendor.sessions)) == (2, 1)
            await model.close()
            await vendor.until(lambda: not vendor.peers)

    run(scene())


def test_an_answer_that_waits_is_not_asked_for_before_the_one_under_way_is_over() -> None:
    async def scene() -> None:
        ear = Ear()
        async with FakeOpenAiRealtime(speed=50.0) as vendor, talk(vendor, ear) as stream:
            for number in range(18):
                stream.inject("agent", "no" if number else LONG)
                stream.respond()
                if ear.all(i.Fault):
                    break
            assert [f.kind for f in ear.all(i.Fault)] == ["overload"]  # one asked, 16 wait
            assert number == 17
            vendor.violations.clear()

    run(scene())


def test_capabilities_follow_the_options() -> None:
    assert Provider.capabilities({}).vad == "server"
    local = Provider.capabilities({"vad": "local", "transcription_model": None, "prewarm": 0})
    assert (local.vad, local.transcripts, local.max_stream_s) == ("local", False, 3600.0)
    assert Provider.capabilities({}).max_stream_s == 3300.0
    assert local.rates_hz == (RATE_HZ,)
    assert local.tools
    assert local.truncation
