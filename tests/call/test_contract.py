"""One contract for every provider that runs offline: what a session relies on, whoever serves.

Fakes and pure providers run in virtual time; those with a library of their own on a real loop, every wait bounded.
A provider is listed once, in `CASES`; a provider of your own is held to the same contract by a line there.
"""

from __future__ import annotations

import asyncio
import pickle
import re
import sys
import threading
import time
import types
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from actors.catalog import catalog
from actors.providers import interface as i
from actors.providers import registry
from actors.providers.fake import say
from router.errors import ProviderError
from tests import onnx_files
from tests.call.offline_matrix import OFFLINE, OFFLINE_ROWS, ONE_CALL, VIRTUAL, WHY_NOT
from tests.simulation import simulate
from tests.vendors.awaits import cancelled_at

WAIT_S = 20.0


def _example_of_the_manual() -> str:
    """The provider of docs/providers.md, as a module: what the manual shows is held to the contract, too."""
    manual = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")
    found = re.search(r'```python\n("""acme/voices.py""".*?)```', manual, re.DOTALL)
    assert found is not None
    module = types.ModuleType("patchbay_manual_example")
    exec(compile(found.group(1), "docs/providers.md", "exec"), module.__dict__)
    sys.modules[module.__name__] = module
    return f"{module.__name__}:Provider"


@dataclass(frozen=True)
class Case:
    type: str
    options: dict[str, Any] = field(default_factory=dict)
    real: bool = False
    """It has threads or decodes: a real loop, not virtual time."""
    streams: int = 50
    """Opened at once; no more than its capability."""
    text: str = "Hello there, friend."

    @property
    def name(self) -> str:
        return "-".join([self.type, *self.options])

    @property
    def stage(self) -> str:
        return str(registry.find(self.type).capabilities(self.options).stage)


LOCAL_MODELS = [
    Case("silero", {"model": onnx_files.silero_file()}),
    Case("smart-turn", {"model": onnx_files.smart_turn_file()}, streams=20),
]
CASES = [
    Case("fake-vad"),
    Case("fake-turn"),
    Case("fake-stt"),
    Case("fake-stt", {"decode": True, "answer_delay_s": 0.2}),
    Case("fake-agent", {"word_delay_s": 0.05}),
    Case("fake-tts"),
    Case("fake-tts", {"speed": 1.0, "first_audio_s": 0.2}),
    Case("fake-s2s"),
    Case("fake-s2s", {"vad": "local", "speed": 2.0}),
    Case("echo", {"greeting": "Hello."}),
    Case("script", {"script": {"rules": [{"keywords": "hello", "reply": "Yes?"}]}}),
    Case("client"),
    Case("espeak", {"voice": "en-us"}, real=True),
    Case(_example_of_the_manual()),
    Case("webrtc"),
    Case("energy"),
    Case("heuristic"),
    Case("silence"),
    *(LOCAL_MODELS if onnx_files.RUNS else ()),
    Case("pocketsphinx", real=True, streams=1),
    Case("local-realtime", {"script": {"greeting": "Hello.", "default": "Pardon?"}}, real=True, streams=2),
]


def _of(*stages: str) -> Any:
    """The cases of these stages."""
    chosen = []
    for case in CASES:
        if case.stage in stages:
            chosen.append(pytest.param(case, id=case.name))
    return pytest.mark.parametrize("case", chosen)


EVERY = _of("vad", "turn", "stt", "agent", "tts", "s2s")
STREAMED = _of("stt", "agent", "tts", "s2s")


class Ear:
    """What a stream said, in order, with a bounded wait for what it should say."""

    def __init__(self) -> None:
        self.told: list[i.ProviderEvent] = []
        self.at_s: list[float] = []
        """When, on the wall clock: what a provider costs, also where its loop is in virtual time."""
        self._news = asyncio.Event()

    def __call__(self, event: i.ProviderEvent) -> None:
        self.told.append(event)
        self.at_s.append(time.perf_counter())
        self._news.set()

    async def wait(self, kind: type[i.ProviderEvent], count: int = 1) -> Any:
        async with asyncio.timeout(WAIT_S):
            while len(self.all(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return self.all(kind)[count - 1]

    def all(self, kind: type[i.ProviderEvent]) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]


def _run(case: Case, scene: Callable[[Any], Awaitable[None]]) -> None:
    """Build the provider, warm and probe it, run `scene`, close it; no task and no thread is left."""

    async def whole() -> None:
        provider = registry.find(case.type)(case.options, None, None)
        await provider.warm()
        await provider.probe()
        try:
            await scene(provider)
        finally:
            async with asyncio.timeout(5):
                await provider.close()
                await provider.close()  # twice is once

    if not case.real:
        simulate(whole())
        return
    before = set(threading.enumerate())

    async def bounded() -> None:
        async with asyncio.timeout(3 * WAIT_S):
            await whole()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        assert set(threading.enumerate()) <= before, "threads left behind"

    asyncio.run(bounded())


def _spec(case: Case, stream: int = 1, **fields: Any) -> i.StreamSpec:
    rate_hz = registry.find(case.type).capabilities(case.options).rates_hz[0]
    return i.StreamSpec(
        stream=stream, epoch=1, session_id=f"s{stream}", tenant_id="t", **{"rate_hz": rate_hz, **fields}
    )


# --------------------------------------------------------------------------------------------- what all must do


@EVERY
def test_its_class_says_what_it_is(case: Case) -> None:
    kind = catalog(case.type)
    assert kind is not None
    assert kind.check_options(case.options) == []
    assert kind.rates_hz or kind.stage in ("agent", "turn")


@EVERY
def test_unknown_options_are_named_before_anything_starts(case: Case) -> None:
    kind = catalog(case.type)
    assert kind is not None
    (problem,) = kind.check_options({**case.options, "no_such_option": 1})
    assert problem.path == ("no_such_option",)
    with pytest.raises(ProviderError) as caught:
        registry.find(case.type)({**case.options, "no_such_option": 1}, None, None)
    assert caught.value.kind == "config"
    assert "no_such_option" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.provider, again.kind, again.detail) == (caught.value.provider, "config", caught.value.detail)


@STREAMED
def test_a_stream_has_the_methods_of_its_stage_and_refuses_what_it_cannot_take(case: Case) -> None:
    async def scene(provider: Any) -> None:
        stage = provider.capabilities(case.options).stage
        with pytest.raises(ProviderError):
            await provider.open(_spec(case, options={"no_such_option": 1}), Ear())
        stream = await provider.open(_spec(case), Ear())
        assert registry.missing_from_stream(stage, stream) == ()
        assert stream.update({"no_such_option": 1}) == ("no_such_option",)
        await stream.close(drain=False)

    _run(case, scene)


@pytest.mark.row("close_busy")
@STREAMED
def test_closing_is_bounded_idempotent_and_the_last_word(case: Case) -> None:
    async def scene(provider: Any) -> None:
        ear = Ear()
        stream = await provider.open(_spec(case), ear)
        _use(provider.capabilities(case.options).stage, case, stream, number=1)
        async with asyncio.timeout(5):
            await stream.close(drain=False)
        told = len(ear.told)
        _use(provider.capabilities(case.options).stage, case, stream, number=2)
        await stream.close(drain=False)
        await stream.close(drain=True)
        await asyncio.sleep(0.05)
        assert len(ear.told) == told

    _run(case, scene)


@pytest.mark.row("cancel_open")
@STREAMED
def test_an_open_that_is_cancelled_at_any_await_leaves_room_for_the_next(case: Case) -> None:
    async def scene(provider: Any) -> None:
        opened: list[Any] = []

        async def open_one(number: int) -> None:
            opened.append(await provider.open(_spec(case, number), Ear()))

        number = 1
        while await cancelled_at(open_one(number), number):
            number += 1
            assert number < 200
        for stream in opened:
            await stream.close(drain=False)
        await _works(case, provider, number + 1)

    _run(case, scene)


@pytest.mark.row("cancel_close")
@STREAMED
@pytest.mark.parametrize("drain", [False, True])
def test_a_close_that_is_cancelled_at_any_await_is_a_close_all_the_same(case: Case, drain: bool) -> None:
    async def scene(provider: Any) -> None:
        number, was_cancelled = 1, True
        while was_cancelled:
            ear = Ear()
            stream = await provider.open(_spec(case, number), ear)
            _use(case.stage, case, stream, number=1)
            was_cancelled = await cancelled_at(stream.close(drain=drain), number)
            async with asyncio.timeout(5):
                await stream.close(drain=False)
            told = len(ear.told)
            _use(case.stage, case, stream, number=2)
            await asyncio.sleep(0.01)
            assert len(ear.told) == told
            number += 1
            assert number < 200
        await _works(case, provider, number)

    _run(case, scene)


async def _works(case: Case, provider: Any, number: int) -> None:
    """As many as its capability says are opened and one is served: nothing that was cancelled holds a place."""
    ears = [Ear() for _ in range(provider.capabilities(case.options).streams_per_actor)]
    streams = [await provider.open(_spec(case, number + n), ear) for n, ear in enumerate(ears)]
    _use(case.stage, case, streams[0], number=1)
    await ears[0].wait(_LAST[case.stage])
    for stream in streams:
        await stream.close(drain=False)


@pytest.mark.row("many_at_once")
@STREAMED
def test_many_streams_at_once_do_not_mix(case: Case) -> None:
    async def scene(provider: Any) -> None:
        capabilities = provider.capabilities(case.options)
        assert case.streams <= capabilities.streams_per_actor
        ears = [Ear() for _ in range(case.streams)]
        streams = [await provider.open(_spec(case, n), ear) for n, ear in enumerate(ears)]
        began_s, took = time.perf_counter(), []
        for n, stream in enumerate(streams):
            _use(capabilities.stage, case, stream, number=n + 1)
        for n, ear in enumerate(ears):
            last = await ear.wait(_LAST[capabilities.stage])
            took.append(ear.at_s[ear.told.index(last)] - began_s)
            if capabilities.stage in ("tts", "agent", "stt"):
                assert n + 1 in (getattr(last, "reply", 0), getattr(last, "turn", 0), getattr(last, "utt", 0))
        OFFLINE.latencies[case.name] = (case.streams, took, "" if case.real else VIRTUAL)
        for stream in streams:
            await stream.close(drain=False)

    _run(case, scene)


_LAST: dict[str, type[i.ProviderEvent]] = {
    "stt": i.Finalized,
    "tts": i.Done,
    "agent": i.AgentDone,
    "s2s": i.ResponseDone,
}


def _use(stage: str, case: Case, stream: Any, number: int) -> None:
    """One whole piece of work of its stage, as a session would ask for it."""
    if stage == "stt":
        _hear(stream, number)
    elif stage == "tts":
        stream.begin(number, {})
        stream.text(number, case.text)
        stream.end(number)
    elif stage == "agent":
        stream.reply(number, 0, (i.Item(role="user", said="hello"),), (), "user")
    else:
        stream.activity_start(0)
        _feed(stream, _speech())
        stream.activity_end(len(_speech()) // 2)
        stream.respond()


def _speech(rate_hz: int = 16000) -> bytes:
    return bytes(rate_hz // 5 * 2) + say("hello", rate_hz).pcm + bytes(2 * rate_hz)


def _feed(stream: Any, pcm: bytes, pos: int = 0) -> int:
    for at in range(0, len(pcm), 640):
        stream.audio(pos + at // 2, pcm[at : at + 640])
    return pos + len(pcm) // 2


def _hear(stream: Any, utt: int, pos: int = 0) -> int:
    stream.speech_start(utt, pos)
    end = _feed(stream, _speech(), pos)
    stream.speech_end(utt, end)
    stream.finalize(utt, end)
    return end


# ----------------------------------------------------------------------------------------------- stage by stage


@pytest.mark.row("happy")
@_of("stt")
def test_an_ear_settles_every_finalize_with_contiguous_spans(case: Case) -> None:
    async def scene(provider: Any) -> None:
        ear, begin = Ear(), 4800
        stream = await provider.open(_spec(case, pos=begin), ear)
        ends = [begin]
        for utt in (1, 2, 3):
            ends.append(_hear(stream, utt, ends[-1]))
            done = await ear.wait(i.Finalized, utt)
            assert (done.utt, done.to_pos) == (utt, ends[-1])
        stream.pause()
        stream.resume()
        stream.finalize(4, ends[-1])  # nothing new: answered all the same
        assert (await ear.wait(i.Finalized, 4)).utt == 4
        finals = ear.all(i.Final)
        assert [f.from_pos for f in finals] == [begin, *(f.to_pos for f in finals[:-1])]
        assert finals[-1].to_pos == ends[-1]
        for final in finals:
            assert all(final.from_pos <= w.from_pos <= w.to_pos <= final.to_pos for w in final.words or ())
        await stream.close(drain=False)

    _run(case, scene)


@pytest.mark.row("happy")
@_of("tts")
def test_a_voice_gives_contiguous_audio_and_words_in_place(case: Case) -> None:
    async def scene(provider: Any) -> None:
        ear = Ear()
        stream = await provider.open(_spec(case), ear)
        texts = ["Hello Dr. Who, it costs 3.50. ", "Bye now,\tfriend!"]
        stream.begin(5, {})
        stream.text(5, texts[0])
        stream.flush(5)
        stream.text(5, texts[1])
        stream.end(5)
        await ear.wait(i.Done)
        sound = ear.all(i.TtsAudio)
        assert [a.pos for a in sound] == [sum(len(b.pcm) // 2 for b in sound[:n]) for n in range(len(sound))]
        rate_hz = _spec(case).rate_hz
        total_ms = (sound[-1].pos + len(sound[-1].pcm) // 2) * 1000 / rate_hz
        whole = "".join(texts)
        if provider.capabilities(case.options).alignment:
            words = ear.all(i.Align)
            assert [whole[w.char_from : w.char_to] for w in words] == [w.word for w in words]
            assert [w.word for w in words] == whole.split()
            assert all(a.end_ms <= b.start_ms + 0.1 for a, b in pairwise(words))
            assert all(0 <= w.start_ms < w.end_ms <= total_ms + 0.1 for w in words)
        order = [type(event) for event in ear.told if isinstance(event, (i.TtsAudio, i.Flushed, i.Done))]
        assert order.count(i.Flushed) == 1
        assert i.TtsAudio in order[: order.index(i.Flushed)]
        assert i.TtsAudio in order[order.index(i.Flushed) :]
        assert order[-1] is i.Done
        await stream.close(drain=False)

    _run(case, scene)


@pytest.mark.row("after_cancel")
@_of("tts")
@pytest.mark.parametrize("when", ["before the first audio", "in mid-reply", "after it was done"])
def test_cancel_is_answered_and_nothing_follows(case: Case, when: str) -> None:
    async def scene(provider: Any) -> None:
        ear = Ear()
        stream = await provider.open(_spec(case), ear)
        stream.begin(1, {})
        for _ in range(2 if when == "after it was done" else 40):
            stream.text(1, "All work and no play makes Jack a dull boy.")
        stream.end(1)
        if when == "in mid-reply":
            await ear.wait(i.TtsAudio)
        elif when == "after it was done":
            await ear.wait(i.Done)
        stream.cancel(1)
        await ear.wait(i.Cancelled)
        at = ear.told.index(ear.all(i.Cancelled)[0])
        stream.text(1, "Late words.")
        stream.end(1)
        stream.begin(2, {})
        stream.text(2, "Next.")
        stream.end(2)
        await ear.wait(i.Done, 2 if when == "after it was done" else 1)
        assert [event for event in ear.told[at + 1 :] if getattr(event, "reply", 2) == 1] == []
        assert ear.all(i.Done)[-1].reply == 2
        first = next(a for a in ear.all(i.TtsAudio) if a.reply == 2)
        assert first.pos == 0
        await stream.close(drain=False)

    _run(case, scene)


@pytest.mark.row("happy")
@_of("tts")
def test_a_voice_finishes_what_it_was_given_when_drained(case: Case) -> None:
    async def scene(provider: Any) -> None:
        ear = Ear()
        stream = await provider.open(_spec(case), ear)
        stream.begin(1, {})
        stream.text(1, "Bye.")
        stream.end(1)
        await stream.close(drain=True)
        assert [event.reply for event in ear.all(i.Done)] == [1]

    _run(case, scene)


@pytest.mark.row("happy")
@_of("agent")
@pytest.mark.parametrize("cause", ["user", "greeting", "silence", "dtmf", "tool"])
def test_an_agent_always_ends_its_reply(case: Case, cause: i.Cause) -> None:
    async def scene(provider: Any) -> None:
        ear = Ear()
        stream = await provider.open(_spec(case), ear)
        stream.reply(9, 2, (i.Item(role="user", said="hello"),), (), cause)
        done = await ear.wait(i.AgentDone)
        assert (done.turn, done.revision) == (9, 2)
        assert {(e.turn, e.revision) for e in ear.all(i.TextDelta)} <= {(9, 2)}
        stream.cancel(9)
        stream.tool_result(9, "x", "y", True)
        await asyncio.sleep(0.01)
        assert ear.told[-1] is done
        await stream.close(drain=False)

    _run(case, scene)


@pytest.mark.row("after_cancel")
@_of("agent")
def test_a_cancelled_turn_says_nothing_more(case: Case) -> None:
    async def scene(provider: Any) -> None:
        ear = Ear()
        stream = await provider.open(_spec(case), ear)
        stream.reply(1, 0, (i.Item(role="user", said="hello"),), (), "user")
        stream.cancel(1)
        told = len(ear.told)
        await asyncio.sleep(1 if not case.real else 0.05)
        assert len(ear.told) == told
        stream.reply(2, 0, (i.Item(role="user", said="hello"),), (), "user")
        await ear.wait(i.AgentDone, len(ear.all(i.AgentDone)) + (0 if ear.all(i.AgentDone) else 1))
        await stream.close(drain=False)

    _run(case, scene)


@pytest.mark.row("happy")
@_of("s2s")
def test_a_model_answers_speech_and_numbers_its_responses(case: Case) -> None:
    async def scene(provider: Any) -> None:
        ear = Ear()
        stream = await provider.open(_spec(case), ear)
        stream.inject("system", "Be kind.")
        _use("s2s", case, stream, 1)
        await ear.wait(i.ResponseDone)
        assert [event.response for event in ear.all(i.ResponseStarted)][:1] == [1]
        sound = [a for a in ear.all(i.TtsAudio) if a.reply == 1]
        assert [a.pos for a in sound] == [sum(len(b.pcm) // 2 for b in sound[:n]) for n in range(len(sound))]
        await stream.close(drain=False)

    _run(case, scene)


@pytest.mark.row("after_cancel")
@_of("s2s")
def test_a_cancelled_response_is_told_so_and_nothing_follows(case: Case) -> None:
    async def scene(provider: Any) -> None:
        ear = Ear()
        stream = await provider.open(_spec(case), ear)
        stream.respond()
        started = await ear.wait(i.ResponseStarted)
        stream.heard(started.response, 100.0)
        stream.cancel(started.response)
        done = await ear.wait(i.ResponseDone)
        assert done.response == started.response
        at = ear.told.index(done)
        await asyncio.sleep(0.1)
        late = [
            e for e in ear.told[at + 1 :] if started.response in (getattr(e, "response", 0), getattr(e, "reply", 0))
        ]
        assert [e for e in late if not isinstance(e, i.ResponseDone)] == []
        await stream.close(drain=False)

    _run(case, scene)


@pytest.mark.row("happy", "many_at_once")
@_of("vad")
def test_a_detector_gives_one_verdict_per_frame(case: Case) -> None:
    async def scene(provider: Any) -> None:
        for rate_hz in provider.capabilities(case.options).rates_hz:
            numbers = range(case.streams)
            for n in numbers:
                provider.attach(_spec(case, n, rate_hz=rate_hz))
            loud, quiet = say("aaaaaaaa", rate_hz).pcm, bytes(rate_hz // 50 * 2)
            frame = loud[: len(quiet)]
            verdicts = provider.classify(list(numbers), [memoryview(frame)] * case.streams)
            assert len(verdicts) == case.streams
            took = []
            for _ in range(50):  # a detector may hang on to speech for a while, not for a second
                began_s = time.perf_counter()
                verdicts = provider.classify(list(numbers), [quiet] * case.streams)
                took.append(time.perf_counter() - began_s)
            OFFLINE.latencies[case.name] = (case.streams, took, ONE_CALL)
            assert not any(verdicts)
            for n in numbers:
                provider.reset(n)
                provider.detach(n)
                provider.detach(n)  # twice is once

    _run(case, scene)


@pytest.mark.row("happy", "many_at_once")
@_of("turn")
def test_a_turn_detector_answers_each_question_in_order(case: Case) -> None:
    async def scene(provider: Any) -> None:
        numbers = range(case.streams)
        for n in numbers:
            provider.attach(_spec(case, n))
        sound = say("is that all", _spec(case).rate_hz).pcm
        asked = [i.Assess(stream=n, utt=n + 10, text="is that all", pause_ms=300.0, audio=sound) for n in numbers]
        began_s = time.perf_counter()
        answers = provider.assess(asked)
        OFFLINE.latencies[case.name] = (case.streams, [time.perf_counter() - began_s], ONE_CALL)
        assert [a.utt for a in answers] == [q.utt for q in asked]
        assert all(0.0 <= a.p_complete <= 1.0 and (a.wait_s is None or a.wait_s >= 0) for a in answers)
        for n in numbers:
            provider.detach(n)
            provider.detach(n)

    _run(case, scene)


def test_every_row_is_shown_for_every_stage_or_says_why_not() -> None:
    shown = set()
    for test in [value for name, value in globals().items() if name.startswith("test_")]:
        marks = {
            mark.name: mark.args
            for mark in getattr(test, "pytestmark", [])
            if mark.args[0] not in ("when", "cause", "drain")
        }
        cases = [param.values[0] for param in marks["parametrize"][1]] if "row" in marks else []
        shown |= {(case.stage, row) for case in cases for row in marks["row"]}
    assert shown | set(WHY_NOT) == {(case.stage, row) for case in CASES for row in OFFLINE_ROWS}
    assert not shown & set(WHY_NOT)


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
