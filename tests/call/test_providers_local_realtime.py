"""`local-realtime` with fakes for its parts, in virtual time: turns, interruptions and what was heard.

The callers speak in tones that the fake ear reads back; media and loop time go on together, 20 ms a frame.
"""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.providers import interface as i
from actors.providers.fake import FakeAgent, FakeStt, FakeTts, FakeTurn, FakeVad, hear, say
from actors.providers.local_realtime import Parts, Provider
from router.errors import ProviderError
from tests.simulation import simulate


class Scene:
    """A provider of fakes, one stream, and a caller who speaks."""

    def __init__(self, *replies: str, decode: bool = True, **options: Any) -> None:
        self.stt = FakeStt({"decode": decode, "answer_delay_s": 0.1, "partials": False})
        self.agent = FakeAgent({"says": replies or ["fine"]})
        self.tts = FakeTts({})
        parts = Parts(FakeVad({}), FakeTurn({}), self.stt, self.tts, self.agent)
        self.provider = Provider(options, parts=parts)
        self.told: list[tuple[float, i.ProviderEvent]] = []
        self.pos = 0
        self.stream: Any = None

    def play(self, script: Callable[[Scene], Awaitable[None]]) -> Scene:
        async def whole() -> None:
            spec = i.StreamSpec(stream=9, epoch=1, session_id="s", tenant_id="t", rate_hz=16000)
            self.stream = await self.provider.open(spec, self._hear)
            await script(self)
            await self.stream.close(drain=False)
            await self.provider.close()

        simulate(whole())
        return self

    def _hear(self, event: i.ProviderEvent) -> None:
        self.told.append((round(asyncio.get_running_loop().time(), 3), event))

    async def send(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), 640):
            frame = pcm[at : at + 640].ljust(640, b"\0")
            self.stream.audio(self.pos, frame)
            self.pos += 320
            await asyncio.sleep(0.02)

    async def speak(self, text: str) -> None:
        await self.send(say(text, 16000).pcm)

    async def quiet(self, seconds: float) -> None:
        await self.send(bytes(round(seconds * 32000)))

    def names(self) -> list[str]:
        """Events but for audio and text, in order."""
        quiet = (i.TtsAudio, i.OutputText, i.Usage)
        return [type(event).__name__ for _, event in self.told if not isinstance(event, quiet)]

    def all(self, kind: type[i.ProviderEvent]) -> list[Any]:
        return [event for _, event in self.told if isinstance(event, kind)]

    def spoken(self, response: int) -> list[str]:
        pcm = b"".join(a.pcm for a in self.all(i.TtsAudio) if a.reply == response)
        return [word.text for word in hear(pcm, 16000)]

    def history(self) -> list[i.Item]:
        """What the agent was given last."""
        return list(self.agent.handle.calls("reply")[-1][2])


def test_a_turn_is_heard_and_answered() -> None:
    async def script(call: Scene) -> None:
        await call.speak("ten of clubs")
        await call.quiet(2)
        await call.speak("again")
        await call.quiet(2)

    call = Scene("one moment", "here").play(script)
    once = ["SttSpeechStarted", "SttSpeechStopped", "InputText", "ResponseStarted", "ResponseDone"]
    assert call.names() == once * 2
    assert [event.text for event in call.all(i.InputText)] == ["ten of clubs", "again"]
    assert call.spoken(1) == ["one", "moment"]
    assert call.spoken(2) == ["here"]
    assert [(item.role, item.said) for item in call.history()] == [
        ("user", "ten of clubs"),
        ("agent", "one moment"),
        ("user", "again"),
    ]


def test_the_response_begins_when_the_pause_is_over() -> None:
    async def script(call: Scene) -> None:
        await call.speak("hello")
        await call.quiet(2)

    call = Scene(min_pause_s=0.8).play(script)
    voiced_until_s = 0.2  # five letters of 40 ms
    started_s = next(at for at, event in call.told if isinstance(event, i.ResponseStarted))
    assert started_s == pytest.approx(voiced_until_s + 0.8, abs=0.041)


def test_speech_over_a_response_interrupts_it_and_the_history_has_what_was_heard() -> None:
    async def script(call: Scene) -> None:
        await call.speak("hello")
        await call.quiet(0.6)
        await call.quiet(1.0)
        await call.speak("no no no stop that please now")
        await call.quiet(2)

    call = Scene("alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike", "yes").play(script)
    assert [event.response for event in call.all(i.ModelInterrupted)] == [1]
    assert [(event.response, event.status) for event in call.all(i.ResponseDone)][-1] == (2, "completed")
    cut = next(item for item in call.history() if item.role == "agent")
    assert cut.interrupted
    assert cut.said.startswith("alpha bravo charlie")
    assert cut.heard is not None
    assert cut.said.startswith(cut.heard)
    assert 0 < len(cut.heard) < len(cut.said) / 2


def test_a_cough_does_not_interrupt() -> None:
    async def script(call: Scene) -> None:
        await call.speak("hello")
        await call.quiet(1.0)
        await call.send(say("a", 16000).pcm[:640] * 4)  # 80 ms of noise that is no word that anybody said
        await call.quiet(5)

    call = Scene("alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike", decode=False)
    call.stt.handle.answer("hello", "")
    call.play(script)
    assert call.all(i.ModelInterrupted) == []
    assert len(call.all(i.SttSpeechStarted)) == 2
    assert [event.status for event in call.all(i.ResponseDone)] == ["completed"]


def test_the_session_cancels_and_tells_what_was_heard() -> None:
    async def script(call: Scene) -> None:
        await call.speak("hello")
        await call.quiet(1.2)
        call.stream.heard(1, 250.0)
        call.stream.cancel(1)
        await call.speak("more")
        await call.quiet(1)

    call = Scene("alpha bravo charlie delta", "yes").play(script)
    assert call.all(i.ModelInterrupted) == []
    assert [item.heard for item in call.history() if item.role == "agent"] == ["alpha"]


def test_what_was_heard_may_be_told_after_the_interruption() -> None:
    async def script(call: Scene) -> None:
        await call.speak("hello")
        await call.quiet(1.2)
        await call.speak("no no no stop that please now")
        call.stream.heard(1, 250.0)
        await call.quiet(1)

    call = Scene("alpha bravo charlie delta echo foxtrot golf hotel", "yes").play(script)
    assert [item.heard for item in call.history() if item.role == "agent"] == ["alpha"]


def test_a_text_is_spoken_when_the_floor_is_free() -> None:
    async def script(call: Scene) -> None:
        call.stream.inject("system", "be kind")
        call.stream.inject("agent", "welcome")
        call.stream.respond()
        await call.quiet(1)
        await call.speak("hello")
        call.stream.inject("agent", "by the way")
        call.stream.respond()  # in mid-speech: it waits
        await call.quiet(4)

    call = Scene("fine").play(script)
    assert [call.spoken(n) for n in (1, 2, 3)] == [["welcome"], ["fine"], ["by", "the", "way"]]
    assert [(item.role, item.said) for item in call.history()] == [
        ("system", "be kind"),
        ("agent", "welcome"),
        ("user", "hello"),
    ]


def test_injected_texts_are_the_history() -> None:
    async def script(call: Scene) -> None:
        call.stream.inject("user", "before")
        call.stream.inject("agent", "quite so")
        await call.speak("hello")
        await call.quiet(1)

    call = Scene().play(script)
    assert [(item.role, item.said) for item in call.history()] == [
        ("user", "before"),
        ("agent", "quite so"),
        ("user", "hello"),
    ]


def test_an_ear_that_never_answers_ends_the_turn_at_its_declared_time() -> None:
    async def script(call: Scene) -> None:
        call.stt.handle.stall()
        await call.speak("hello")
        await call.quiet(4)
        call.stt.handle.allow()
        await call.speak("hello again")
        await call.quiet(2)

    call = Scene().play(script)
    assert [event.response for event in call.all(i.ResponseDone)] == [1]  # no words, no turn; then the next one


def test_a_part_that_fails_is_told_and_one_that_does_not_open_leaves_nothing_open() -> None:
    async def script(call: Scene) -> None:
        call.stt.handle.fail("overload")

    call = Scene().play(script)
    assert [event.kind for event in call.all(i.Fault)] == ["overload"]

    broken = Scene()
    broken.tts.handle.refuse_open("auth")
    with pytest.raises(ProviderError):
        broken.play(script)
    assert (broken.stt.handle.streams, broken.agent.handle.streams) == ([], [])


def test_a_bad_script_is_named_before_anything_starts() -> None:
    with pytest.raises(ProviderError) as caught:
        Provider({"script": {"rules": [{"reply": "x"}]}})
    assert "script.rules.0" in str(caught.value)


SPEECH = Path(__file__).parents[2] / "examples" / "speech"


def test_with_its_real_parts_it_hears_the_demo_word_for_word_and_says_it_back() -> None:
    """pocketsphinx, webrtc, heuristic and espeak, on a real loop; frames go as fast as the ear decodes them."""
    clip = next(c for c in yaml.safe_load((SPEECH / "index.yaml").read_text())["calls"] if c["file"] == "hours.wav")
    expected = [turn["text"] for turn in clip["turns"]]
    with wave.open(str(SPEECH / clip["file"])) as file:
        pcm = file.readframes(file.getnframes())
    told: list[i.ProviderEvent] = []

    async def scene() -> None:
        answered, spoken = asyncio.Event(), asyncio.Event()
        spoken.set()

        def hear(event: i.ProviderEvent) -> None:
            told.append(event)
            if isinstance(event, i.ResponseStarted):
                spoken.clear()
            elif isinstance(event, i.ResponseDone):
                spoken.set()
                if event.response == len(expected):
                    answered.set()

        provider = Provider({"prefix": "You said: "})
        await provider.warm()
        await provider.probe()
        spec = i.StreamSpec(stream=1, epoch=1, session_id="s", tenant_id="t", rate_hz=16000)
        stream = await provider.open(spec, hear)
        data = pcm + bytes(32000 * 4)
        async with asyncio.timeout(60):
            for at in range(0, len(data) - 640, 640):
                stream.audio(at // 2, data[at : at + 640])
                for _ in range(4):  # a turn of the loop decodes a piece
                    await asyncio.sleep(0)
                await spoken.wait()  # the voice has a thread of its own: the caller does not run ahead of it
            await answered.wait()
        await stream.close(drain=False)
        await provider.close()

    asyncio.run(scene())
    replies = [event.delta for event in told if isinstance(event, i.OutputText)]
    assert replies == [f"You said: {text}" for text in expected]
    assert all(sum(len(e.pcm) for e in told if isinstance(e, i.TtsAudio) and e.reply == n) > 32000 for n in (1, 2))
