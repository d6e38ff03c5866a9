"""One word with a provider, as a call would: what a live check says to it, and what counts as an answer.

    stt     the word of `live_word.wav`, at the speed of speech; `Finalized`
    tts     "Hello." ; the first audio
    agent   "Hello." from a caller; the first text, or the end of its reply
    s2s     is asked to say "Hello."; its first audio
    vad     the word and silence around it; a verdict for each frame
    turn    whether "Goodbye." is complete; an answer

What was asked is cancelled as soon as it is answered: words cost money.

Raises   ProviderError, of the kind that the provider's own fault has.
Used by  actors/live_check.py, which bounds it.
"""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from actors.formats import FRAME_MS
from actors.providers import interface as pi
from actors.resample import Resampler
from router.errors import ProviderError
from router.plan import Stage

__all__ = ["Exchange", "say_a_word", "word"]

_FILE = Path(__file__).with_name("live_word.wav")
"""A voice of flite's that says "goodbye", cut from examples/speech/weather.wav."""
_FRAME_S = FRAME_MS / 1000
_EVENTS_MAX = 2_000
"""More in answer to one word is a provider that does not stop."""
_HELLO = "Hello."


@lru_cache(maxsize=8)
def word(rate_hz: int) -> bytes:
    """The word at that rate, a second with the silence around it."""
    with wave.open(str(_FILE)) as file:
        pcm = file.readframes(file.getnframes())
        resampler = Resampler(file.getframerate(), rate_hz)
    return resampler.feed(pcm) + resampler.flush()


class Exchange:
    """One stream: what it says, and how long it took to say the first of it. `open` marks the moment before."""

    def __init__(self, provider: Any, capabilities: pi.Capabilities, spec: pi.StreamSpec) -> None:
        self.provider, self.capabilities, self.spec = provider, capabilities, spec
        self.name = spec.session_id
        self._told: list[pi.ProviderEvent] = []
        self._news = asyncio.Event()

    def emit(self, event: pi.ProviderEvent) -> None:
        if len(self._told) < _EVENTS_MAX:
            self._told.append(event)
        self._news.set()

    def all(self, *kinds: type[pi.ProviderEvent]) -> list[Any]:
        return [event for event in self._told if isinstance(event, kinds)]

    async def wait(self, *kinds: type[pi.ProviderEvent]) -> Any:
        """The first event of these kinds. Raises ProviderError for a fault, and for a stream that does not stop."""
        while True:
            for event in self._told:
                if isinstance(event, pi.Fault):
                    raise ProviderError(self.name, event.kind, event.detail, event.retry_after_s)
                if isinstance(event, kinds):
                    return event
            if len(self._told) >= _EVENTS_MAX:
                raise ProviderError(self.name, "protocol", f"{_EVENTS_MAX} events and none of them an answer")
            self._news.clear()
            await self._news.wait()


async def say_a_word(stage: Stage, exchange: Exchange, stream: Any) -> str:
    """Ask, wait for an answer, and say what it was. `stream` is None for the stages that have none."""
    return await _WORDS[stage](exchange, stream)


async def _stt(exchange: Exchange, stream: Any) -> str:
    rate_hz = exchange.spec.rate_hz
    pcm, size = word(rate_hz), rate_hz * FRAME_MS // 1000 * 2
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    stream.speech_start(1, 0)
    for at in range(0, len(pcm) - size + 1, size):
        stream.audio(at // 2, pcm[at : at + size])
        due_s += _FRAME_S
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        if exchange.all(pi.Fault):
            break
    end = len(pcm) // size * size // 2
    stream.speech_end(1, end)
    stream.finalize(1, end)
    await exchange.wait(pi.Finalized)
    heard = " ".join(final.text for final in exchange.all(pi.Final) if final.text)
    return f'heard "{heard[:40]}"' if heard else "answers, and heard no words"


async def _tts(exchange: Exchange, stream: Any) -> str:
    stream.begin(1, {})
    stream.text(1, _HELLO)
    stream.flush(1)
    stream.end(1)
    first = await exchange.wait(pi.TtsAudio, pi.Done)
    if isinstance(first, pi.Done):
        raise ProviderError(exchange.name, "protocol", "it is done with a word and gave no audio")
    stream.cancel(1)
    return f"speaks, at {exchange.spec.rate_hz} Hz"


async def _agent(exchange: Exchange, stream: Any) -> str:
    stream.reply(1, 0, (pi.Item(role="user", said=_HELLO),), (), "user")
    first = await exchange.wait(pi.TextDelta, pi.ToolCall, pi.Action, pi.AgentDone)
    stream.cancel(1)
    return "answers, without words" if isinstance(first, pi.AgentDone) else "answers"


async def _s2s(exchange: Exchange, stream: Any) -> str:
    stream.inject("agent", _HELLO)
    stream.respond()
    first = await exchange.wait(pi.TtsAudio, pi.ResponseDone)
    if isinstance(first, pi.ResponseDone):
        raise ProviderError(exchange.name, "protocol", f"its response is {first.status} and had no audio")
    stream.cancel(first.reply)
    return "speaks"


async def _vad(exchange: Exchange, stream: None) -> str:
    spec, detector = exchange.spec, exchange.provider
    size = spec.rate_hz * FRAME_MS // 1000 * 2
    pcm = bytes(10 * size) + word(spec.rate_hz) + bytes(10 * size)
    frames = [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]
    detector.attach(spec)
    try:
        bits = [bool(bit) for frame in frames for bit in detector.classify((spec.stream,), (frame,))]
    finally:
        detector.detach(spec.stream)
    if len(bits) != len(frames):
        raise ProviderError(exchange.name, "protocol", f"{len(bits)} verdicts for {len(frames)} frames")
    return f"{sum(bits)} of {len(bits)} frames voiced"


async def _turn(exchange: Exchange, stream: None) -> str:
    spec, detector = exchange.spec, exchange.provider
    detector.attach(spec)
    try:
        question = pi.Assess(stream=spec.stream, utt=1, text="Goodbye.", pause_ms=200.0, audio=word(spec.rate_hz))
        answers = detector.assess((question,))
    finally:
        detector.detach(spec.stream)
    if len(answers) != 1 or answers[0].utt != 1 or not 0.0 <= answers[0].p_complete <= 1.0:
        raise ProviderError(exchange.name, "protocol", "its answer to a question is none")
    return f"complete with {answers[0].p_complete:.2f}"


_WORDS: dict[Stage, Callable[[Exchange, Any], Awaitable[str]]] = {
    "stt": _stt,
    "tts": _tts,
    "agent": _agent,
    "s2s": _s2s,
    "vad": _vad,
    "turn": _turn,
}
