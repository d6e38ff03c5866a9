"""A fake voice: tones that can be read back, with alignment, all at once or at a pace.

A request is a `text`; `handle.stall()` holds the audio of every text that comes after. `fake_tones.hear` finds the
words in a recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from actors.providers import options as stream_options
from actors.providers.fake_handle import FAKE_RATES_HZ, Delay, FakeOptions, FakeProvider, FakeStream, Handle
from actors.providers.fake_tones import Mark, say
from actors.providers.interface import (
    Align,
    Cancelled,
    Done,
    Emit,
    Flushed,
    StreamSpec,
    TtsAudio,
    TtsCapabilities,
)
from actors.secrets import Secret

__all__ = ["FakeTts", "Provider"]


class FakeTtsOptions(FakeOptions):
    first_audio_s: Delay = 0.0
    """From a text to its first audio."""
    speed: Annotated[float, Gt(0)] | None = None
    """Times real time at which audio comes; None: all at once."""
    chunk_ms: Annotated[int, Ge(10)] = 100
    sound: Literal["tones", "silence"] = "tones"
    alignment: bool = True
    takes: Literal["sentences", "stream"] = "sentences"
    text_limit: Annotated[int, Ge(1)] | None = None
    """A longer text is a fault, as with a vendor."""
    context_idle_s: Delay | None = None
    """Text for a context that had none, and gave no audio, for longer is a fault: the vendor has dropped it."""
    voice: str = "fake"
    language: str | None = None
    first_audio_p99_s: Annotated[float, Gt(0)] = 2.0
    streams_per_actor: Annotated[int, Ge(1)] = 1000


class FakeTtsStream(FakeStream):
    options: FakeTtsOptions

    def __init__(self, handle: Handle, options: FakeTtsOptions, spec: StreamSpec, emit: Emit) -> None:
        super().__init__(handle, options, spec, emit)
        self._samples: dict[int, int] = {}
        """Reply -> samples planned; a reply is here from `begin` to `Done` or `cancel`."""
        self._chars: dict[int, int] = {}
        self._active_s = 0.0
        """When text was last taken or audio given."""

    def begin(self, reply: int, options: Mapping[str, Any]) -> None:
        self.note("begin", reply, dict(options))
        self._samples[reply] = self._chars[reply] = 0
        self._active_s = self._loop.time()

    def text(self, reply: int, text: str) -> None:
        self.note("text", reply, text)
        if reply not in self._samples or self._refuses(text):
            return
        spoken = say(text, self.spec.rate_hz)
        pcm = spoken.pcm if self.options.sound == "tones" else bytes(len(spoken.pcm))
        chunk = self.spec.rate_hz * self.options.chunk_ms // 1000
        begin, char = self._samples[reply], self._chars[reply]
        pace_s = self.options.chunk_ms / 1000 / self.options.speed if self.options.speed else 0.0
        delay_s = self.options.answer_delay_s + self.options.first_audio_s
        for at in range(0, max(len(pcm) // 2, 1), chunk):
            marks = [m for m in spoken.marks if at <= m.from_sample < at + chunk]
            piece = pcm[2 * at : 2 * (at + chunk)]
            self.step(
                partial(self._sound, reply, begin + at, piece, begin, char, marks),
                key=reply,
                delay_s=delay_s if at == 0 else pace_s,
                request=at == 0,
            )
        self._samples[reply] = begin + len(pcm) // 2
        self._chars[reply] = char + len(text)

    def flush(self, reply: int) -> None:
        self.note("flush", reply)
        if reply in self._samples:
            self.step(lambda: self.say(Flushed(reply=reply)), key=reply)

    def end(self, reply: int) -> None:
        self.note("end", reply)
        if reply in self._samples:
            self.step(lambda: self._done(reply), key=reply)

    def cancel(self, reply: int) -> None:
        self.note("cancel", reply)
        self._drop(reply)
        self.forget(reply)
        self.step(lambda: self.say(Cancelled(reply=reply)))

    def _refuses(self, text: str) -> bool:
        """A vendor's limits, kept strictly."""
        limit, idle_s, now_s = self.options.text_limit, self.options.context_idle_s, self._loop.time()
        if limit is not None and len(text) > limit:
            self.fault("config", f"a text of {len(text)} characters; {limit} are taken")
        elif idle_s is not None and now_s - self._active_s > idle_s:
            self.fault("protocol", "text for a context that was dropped")
        else:
            self._active_s = now_s
            return False
        return True

    def _sound(self, reply: int, pos: int, pcm: bytes, begin: int, char: int, marks: list[Mark]) -> None:
        if self.options.alignment:
            to_ms = 1000 / self.spec.rate_hz
            for mark in marks:
                self.say(
                    Align(
                        reply=reply,
                        word=mark.word,
                        start_ms=(begin + mark.from_sample) * to_ms,
                        end_ms=(begin + mark.to_sample) * to_ms,
                        char_from=char + mark.char_from,
                        char_to=char + mark.char_to,
                    )
                )
        self._active_s = self._loop.time()
        if pcm:
            self.say(TtsAudio(reply=reply, pos=pos, pcm=pcm))

    def _done(self, reply: int) -> None:
        self._drop(reply)
        self.say(Done(reply=reply))

    def _drop(self, reply: int) -> None:
        self._samples.pop(reply, None)
        self._chars.pop(reply, None)


class FakeTts(FakeProvider):
    Options = FakeTtsOptions
    TYPE = "fake-tts"
    options: FakeTtsOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TtsCapabilities:
        known = stream_options.parse(FakeTtsOptions, cls.TYPE, options)
        return TtsCapabilities(
            rates_hz=FAKE_RATES_HZ,
            streams_per_actor=known.streams_per_actor,
            max_stream_s=known.max_stream_s,
            takes=known.takes,
            alignment=known.alignment,
            first_audio_p99_s=known.first_audio_p99_s,
            text_limit=known.text_limit,
            context_idle_s=known.context_idle_s,
        )

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        super().__init__(stream_options.parse(FakeTtsOptions, self.TYPE, options))
        self._given = dict(options)

    async def open(self, spec: StreamSpec, emit: Emit) -> FakeTtsStream:
        options = stream_options.parse(FakeTtsOptions, self.TYPE, self._given, spec.options)
        await self.opening(spec, options)
        stream = FakeTtsStream(self.handle, options, spec, emit)
        self.opened(stream)
        return stream


Provider = FakeTts
