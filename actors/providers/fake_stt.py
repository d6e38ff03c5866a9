"""A fake ear: says the words it was told to, or reads them back from the tones of a fake voice.

`handle.answer("hello", "ten of clubs")` gives the texts of the next utterances; when there are none left the option
`says` goes round. With `decode: true` the words come from the audio itself, so that audio lost or fed twice shows.

Handle   besides the common one: `spans`, the audio received as contiguous runs of positions (a gap begins a new one).
Used by  tests, benchmarks, and routes that want a dead or slow candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt

from actors.providers import options as stream_options
from actors.providers.fake_handle import FAKE_RATES_HZ, FakeOptions, FakeProvider, FakeStream, Handle
from actors.providers.fake_tones import Heard, hear
from actors.providers.interface import (
    Emit,
    Final,
    Finalized,
    Partial,
    StreamSpec,
    SttCapabilities,
    SttSpeechStarted,
    SttSpeechStopped,
    TimedWord,
    VendorTurnEnded,
)
from actors.secrets import Secret

__all__ = ["FakeStt", "Provider"]

_OPEN_MAX = 16
"""Utterances begun and never finalized; the oldest is forgotten."""
_KEPT_S = 60
"""Audio kept for decoding; older is taken as silence."""


class FakeSttOptions(FakeOptions):
    says: tuple[str, ...] = ("hello world",)
    """The texts of the utterances, round and round."""
    decode: bool = False
    """Read the words from the audio (`fake_tones`) instead."""
    partials: bool = True
    partial_ms: Annotated[int, Gt(0)] = 300
    """One more word of the partial for each so much audio of an utterance."""
    turn_events: bool = False
    """Say `speech_started`, `speech_stopped` and `turn_ended` itself, as a vendor with turn detection does."""
    final_p99_s: Annotated[float, Gt(0)] = 1.0
    streams_per_actor: Annotated[int, Ge(1)] = 1000


@dataclass(slots=True)
class _Utterance:
    begin: int
    text: str | None = None
    """Of the script, once it was gone to."""
    told: str = ""
    """The last partial."""
    count: int = 0
    """Partials' worth of audio so far."""


class FakeSttStream(FakeStream):
    options: FakeSttOptions

    def __init__(self, handle: Handle, options: FakeSttOptions, spec: StreamSpec, emit: Emit) -> None:
        super().__init__(handle, options, spec, emit)
        self.settled = self.received = spec.pos
        """Positions: up to the last final, and of the next sample to come."""
        self.spans: list[list[int]] = []
        self._kept = bytearray()
        self._open: dict[int, _Utterance] = {}
        """Begun and not final; the last one is being spoken."""

    def audio(self, pos: int, pcm: bytes) -> None:
        n = len(pcm) // 2
        if not self.spans or self.spans[-1][1] != pos:
            self.note("audio", pos, n)  # only where a run begins: a record of every frame would be all there is
            if len(self.spans) < 1000:
                self.spans.append([pos, pos])
        self.spans[-1][1] = pos + n
        if self.options.decode:
            self._keep(pos, pcm)
        self.received = pos + n
        if self.options.partials and self._open:
            self._partial(*next(reversed(self._open.items())))

    def speech_start(self, utt: int, pos: int) -> None:
        self.note("speech_start", utt, pos)
        self._open[utt] = _Utterance(pos)
        if len(self._open) > _OPEN_MAX:
            del self._open[next(iter(self._open))]
        if self.options.turn_events:
            self.step(lambda: self.say(SttSpeechStarted(pos=pos)))

    def speech_end(self, utt: int, pos: int) -> None:
        self.note("speech_end", utt, pos)
        if self.options.turn_events:
            self.step(lambda: self.say(SttSpeechStopped(pos=pos)))

    def finalize(self, utt: int, pos: int) -> None:
        self.note("finalize", utt, pos)
        if utt in self._open and not self.options.decode:
            self._script(self._open[utt])
        self.step(lambda: self._final(utt, pos), key=utt, delay_s=self.options.answer_delay_s, request=True)

    def pause(self) -> None:
        self.note("pause")

    def resume(self) -> None:
        self.note("resume")

    def _keep(self, pos: int, pcm: bytes) -> None:
        """Audio in its place: a gap is silence, what came before is not taken twice."""
        if pos > self.received:
            self._kept.extend(bytes(2 * min(pos - self.received, _KEPT_S * self.spec.rate_hz)))
        self._kept.extend(pcm[2 * max(0, self.received - pos) :])
        over = len(self._kept) - 2 * _KEPT_S * self.spec.rate_hz
        if over > 0:
            del self._kept[:over]

    def _partial(self, utt: int, open: _Utterance) -> None:
        count = (self.received - open.begin) * 1000 // (self.spec.rate_hz * self.options.partial_ms)
        if count <= open.count:
            return
        open.count = count
        if self.options.decode:
            text = " ".join(word.text for word in self._heard(self.received))
        else:
            text = " ".join(self._script(open).split()[:count])
        if text and text != open.told:
            open.told = text
            self.say(Partial(utt=utt, text=text))

    def _final(self, utt: int, pos: int) -> None:
        if pos > self.settled:
            heard = self._heard(pos) if self.options.decode else self._spread(utt, pos)
            words = tuple(TimedWord(w.text, w.from_sample, w.to_sample) for w in heard)
            text = " ".join(w.text for w in heard)
            self.say(Final(utt=utt, text=text, from_pos=self.settled, to_pos=pos, words=words, confidence=1.0))
            self.settled = pos
            keep = 2 * max(0, self.received - pos)
            del self._kept[: max(0, len(self._kept) - keep)]
            if self.options.turn_events and text:
                self.say(VendorTurnEnded(text=text))
        self._open.pop(utt, None)
        self.say(Finalized(utt=utt, to_pos=pos))

    def _heard(self, pos: int) -> list[Heard]:
        """The words in the audio kept, up to `pos`, at their positions."""
        begin = self.received - len(self._kept) // 2
        words = hear(bytes(self._kept[: 2 * max(0, pos - begin)]), self.spec.rate_hz)
        return [Heard(w.text, w.from_sample + begin, w.to_sample + begin) for w in words]

    def _spread(self, utt: int, pos: int) -> list[Heard]:
        """The words of the script, evenly over the utterance."""
        open = self._open.get(utt)
        words = self._script(open).split() if open else []
        begin = max(open.begin, self.settled) if open else pos
        each = max(1, (pos - begin) // max(1, len(words)))
        return [Heard(word, begin + i * each, begin + (i + 1) * each) for i, word in enumerate(words)]

    def _script(self, open: _Utterance) -> str:
        if open.text is None:
            open.text = str(self.handle.answers.popleft()) if self.handle.answers else self._next_of_round()
        return open.text

    def _next_of_round(self) -> str:
        says = self.options.says
        self.handle.rounds += 1
        return says[(self.handle.rounds - 1) % len(says)] if says else ""


class FakeStt(FakeProvider):
    Options = FakeSttOptions
    TYPE = "fake-stt"
    options: FakeSttOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        known = stream_options.parse(FakeSttOptions, cls.TYPE, options)
        return SttCapabilities(
            rates_hz=FAKE_RATES_HZ,
            streams_per_actor=known.streams_per_actor,
            max_stream_s=known.max_stream_s,
            partials=known.partials,
            word_times=True,
            turn_events=known.turn_events,
            final_p99_s=known.final_p99_s,
        )

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        super().__init__(stream_options.parse(FakeSttOptions, self.TYPE, options))
        self._given = dict(options)

    async def open(self, spec: StreamSpec, emit: Emit) -> FakeSttStream:
        options = stream_options.parse(FakeSttOptions, self.TYPE, self._given, spec.options)
        await self.opening(spec, options)
        stream = FakeSttStream(self.handle, options, spec, emit)
        self.opened(stream)
        return stream


Provider = FakeStt
