"""A fake speech-to-speech model: hears by loudness or is told, answers in tones.

`handle.answer("Yes.", ToolCall(...), ["One moment.", ToolCall(...)])` gives the next responses; a request is a
response. With `vad: server` it finds speech itself (loud audio starts it, `stop_ms` of quiet stop it, then it
responds); with `local` it does what it is told.
What it heard is the option `hears`, or with `decode: true` the words of a fake voice.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from annotated_types import Ge, Gt

from actors.providers import options as stream_options
from actors.providers.fake_handle import Delay, FakeOptions, FakeProvider, FakeStream, Handle
from actors.providers.fake_tones import hear, say
from actors.providers.interface import (
    Emit,
    InputText,
    ModelInterrupted,
    OutputText,
    ProviderEvent,
    ResponseDone,
    ResponseStarted,
    S2sCapabilities,
    StreamSpec,
    SttSpeechStarted,
    SttSpeechStopped,
    ToolCall,
    TtsAudio,
)
from actors.secrets import Secret

__all__ = ["FakeS2s", "Provider"]

RATE_HZ = 16000
"""In and out."""
_KEPT_S = 60


class FakeS2sOptions(FakeOptions):
    says: tuple[str, ...] = ("I heard you.",)
    """Responses, round and round."""
    hears: str = "hello world"
    decode: bool = False
    vad: Literal["server", "local", "both"] = "server"
    stop_ms: Annotated[int, Gt(0)] = 300
    """Quiet that stops speech, of media."""
    threshold: Annotated[int, Ge(0)] = 500
    speed: Annotated[float, Gt(0)] | None = None
    """Times real time at which audio comes; None: all at once."""
    first_audio_s: Delay = 0.0
    chunk_ms: Annotated[int, Ge(10)] = 100
    resume: bool = False
    """It takes a conversation up again by a handle (`handle.emit(Resumable(...))` gives one)."""
    instructions: str | None = None
    voice: str = "fake"
    language: str | None = None
    streams_per_actor: Annotated[int, Ge(1)] = 1000


class FakeS2sStream(FakeStream):
    options: FakeS2sOptions

    def __init__(self, handle: Handle, options: FakeS2sOptions, spec: StreamSpec, emit: Emit) -> None:
        super().__init__(handle, options, spec, emit)
        self.received = spec.pos
        self.heard_ms: dict[int, float] = {}
        """Response -> what the session says the caller heard."""
        self._speaking = False
        self._began = spec.pos
        self._quiet = 0
        self._kept = bytearray()
        self._response = 0
        self._active: int | None = None
        self._say_next: str | None = None
        """An agent's text that was injected last: `respond` speaks just this."""

    def audio(self, pos: int, pcm: bytes) -> None:
        self.received = pos + len(pcm) // 2
        if self.options.decode and (self._speaking or len(self._kept) < self.spec.rate_hz):
            self._kept += pcm
            del self._kept[: max(0, len(self._kept) - 2 * _KEPT_S * self.spec.rate_hz)]
        if self.options.vad != "local":
            self._detect(pos, pcm)

    def activity_start(self, pos: int) -> None:
        self.note("activity_start", pos)
        if self.options.vad != "server":
            self._speaking, self._began = True, pos

    def activity_end(self, pos: int) -> None:
        self.note("activity_end", pos)
        if self.options.vad != "server" and self._speaking:
            self._speaking = False
            self._tell_heard()

    def respond(self) -> None:
        self.note("respond")
        text, self._say_next = self._say_next, None
        self._request(text)

    def cancel(self, response: int) -> None:
        self.note("cancel", response)
        if self._active == response:
            self._active = None
        self.forget(response)
        self.step(partial(self.say, ResponseDone(response=response, status="cancelled")))

    def heard(self, response: int, ms: float) -> None:
        self.note("heard", response, ms)
        self.heard_ms = {response: ms}

    def tool_result(self, id: str, result: str, ok: bool, answer: bool) -> None:
        self.note("tool_result", id, result, ok, answer)
        if answer:
            self._request()

    def inject(self, role: Literal["user", "agent", "system"], text: str) -> None:
        self.note("inject", role, text)
        self._say_next = text if role == "agent" else None

    def _detect(self, pos: int, pcm: bytes) -> None:
        """Speech by loudness, in whatever pieces the audio comes."""
        samples = np.frombuffer(pcm, dtype=np.int16)
        loud = bool(len(samples)) and max(int(samples.max()), -int(samples.min())) > self.options.threshold
        self._quiet = 0 if loud else self._quiet + len(samples)
        if loud and not self._speaking:
            self._speaking, self._began = True, pos
            self.say(SttSpeechStarted(pos=pos))
            if self._active is not None:
                self._interrupt(self._active)
        elif self._speaking and self._quiet * 1000 >= self.options.stop_ms * self.spec.rate_hz:
            self._speaking = False
            self.say(SttSpeechStopped(pos=self.received - self._quiet))
            self._tell_heard()
            self._request()

    def _interrupt(self, response: int) -> None:
        self._active = None
        self.forget(response)
        self.say(ModelInterrupted(response=response))
        self.say(ResponseDone(response=response, status="incomplete"))

    def _tell_heard(self) -> None:
        text = self.options.hears
        if self.options.decode:
            text = " ".join(word.text for word in hear(bytes(self._kept), self.spec.rate_hz))
            self._kept.clear()
        self.say(InputText(text=text, final=True, from_pos=self._began, to_pos=self.received))

    def _request(self, text: str | None = None) -> None:
        self._response += 1
        response = self._response
        delay_s = self.options.answer_delay_s + self.options.first_audio_s
        self.step(partial(self._respond, response, text), key=response, delay_s=delay_s, request=True)

    def _respond(self, response: int, text: str | None) -> None:
        """Plan the events of one response as steps behind this one."""
        answer = self._answer() if text is None else text
        self._active = response
        events: list[tuple[ProviderEvent, float]] = [(ResponseStarted(response=response), 0.0)]
        for part in answer if isinstance(answer, list) else [answer]:
            if isinstance(part, str):
                events.append((OutputText(response=response, delta=part), 0.0))
                events += self._audio(response, part)
            elif isinstance(part, ToolCall):
                events.append((msgspec.structs.replace(part, turn=response), 0.0))
            else:
                events.append((part, 0.0))
        for event, delay_s in events:
            self.step(partial(self.say, event), key=response, delay_s=delay_s)
        self.step(partial(self._done, response), key=response)

    def _audio(self, response: int, text: str) -> list[tuple[ProviderEvent, float]]:
        rate = RATE_HZ
        pcm = say(text, rate).pcm
        chunk = rate * self.options.chunk_ms // 1000
        pace_s = self.options.chunk_ms / 1000 / self.options.speed if self.options.speed else 0.0
        return [
            (TtsAudio(reply=response, pos=at, pcm=pcm[2 * at : 2 * (at + chunk)]), pace_s if at else 0.0)
            for at in range(0, len(pcm) // 2, chunk)
        ]

    def _done(self, response: int) -> None:
        if self._active == response:
            self._active = None
        self.say(ResponseDone(response=response))

    def _answer(self) -> Any:
        self.handle.rounds += 1
        says = self.options.says
        if self.handle.answers:
            return self.handle.answers.popleft()
        return says[(self.handle.rounds - 1) % len(says)] if says else ""


class FakeS2s(FakeProvider):
    Options = FakeS2sOptions
    TYPE = "fake-s2s"
    options: FakeS2sOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> S2sCapabilities:
        known = stream_options.parse(FakeS2sOptions, cls.TYPE, options)
        return S2sCapabilities(
            rates_hz=(RATE_HZ,),
            output_rate_hz=RATE_HZ,
            streams_per_actor=known.streams_per_actor,
            max_stream_s=known.max_stream_s,
            vad=known.vad,
            truncation=True,
            resume=known.resume,
            tools=True,
        )

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        super().__init__(stream_options.parse(FakeS2sOptions, self.TYPE, options))
        self._given = dict(options)

    async def open(self, spec: StreamSpec, emit: Emit) -> FakeS2sStream:
        options = stream_options.parse(FakeS2sOptions, self.TYPE, self._given, spec.options)
        await self.opening(spec, options)
        stream = FakeS2sStream(self.handle, options, spec, emit)
        self.opened(stream)
        return stream


Provider = FakeS2s
