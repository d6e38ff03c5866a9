"""pocketsphinx as a session uses it: spans that join, words that do not depend on what came before, answers in time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from actors.providers.interface import Fault, Final, Finalized, StreamSpec, Usage
from actors.providers.pocketsphinx_decoder import Ear
from actors.providers.pocketsphinx_stream import (
    CUT_ANYWHERE,
    CUT_AT_REST,
    FINALIZE_DEADLINE_S,
    HELD_MAX,
    ORDERS_MAX,
    PocketsphinxStream,
)
from actors.providers.pocketsphinx_stt import Provider
from router.errors import ProviderError
from tests.call.ears import FRAME, RATE_HZ, Heard, fresh, listen, quiet, recording, settle, spec
from tests.simulation import simulate


@pytest.fixture(scope="module")
def warm_provider() -> Provider:
    """Decoders take 0.3 s each to make: all tests of this file share two."""
    made = Provider({})
    simulate(made.warm())
    return made


_streams: list[PocketsphinxStream] = []


@pytest.fixture
def provider(warm_provider: Provider) -> Iterator[Provider]:
    """The shared one; what a test leaves open (it skipped, or failed) is closed, so that the next has both decoders."""
    yield warm_provider

    async def close_all() -> None:
        for stream in _streams:
            await stream.close(drain=False)

    simulate(close_all())
    _streams.clear()


async def opened(provider: Provider, given: StreamSpec | None = None) -> tuple[PocketsphinxStream, Heard]:
    heard = Heard()
    _streams.append(await provider.open(given or spec(), heard.events.append))
    return _streams[-1], heard


def hear(provider: Provider, pcm: bytes, given: StreamSpec | None = None) -> Heard:
    async def call() -> Heard:
        stream, heard = await opened(provider, given)
        await listen(stream, pcm)
        await stream.close(drain=True)
        return heard

    return simulate(call())


def assert_contiguous(finals: list[Final], begin: int = 0) -> None:
    for final in finals:
        assert final.from_pos == begin
        assert final.to_pos >= begin
        begin = final.to_pos


@pytest.mark.parametrize("name", ["goforward", "cards-005", "austen-0880"])
def test_a_fresh_decoder_hears_the_same_in_the_span_of_each_final(provider, name):
    pcm = quiet(0.7) + recording(name) + quiet(1.0)
    heard = hear(provider, pcm)
    assert_contiguous(heard.finals)
    spoken = [f for f in heard.finals if f.text]
    assert spoken
    for final in spoken:
        assert fresh(pcm[2 * final.from_pos : 2 * final.to_pos]) == final.text


@pytest.mark.parametrize("name", ["goforward", "cards-005"])
def test_utterance_by_utterance_keeps_three_quarters_of_the_words(provider, name):
    whole = fresh(recording(name)).split()
    heard = hear(provider, quiet(0.5) + recording(name) + quiet(1.0)).text.split()
    kept = _common(whole, heard)
    assert kept >= 0.75 * len(whole), f"{heard} of {whole}"


def _common(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence."""
    best = [0] * (len(b) + 1)
    for word in a:
        before = best[:]
        for j, other in enumerate(b):
            best[j + 1] = before[j] + 1 if word == other else max(before[j + 1], best[j])
    return best[-1]


def test_what_one_session_says_does_not_change_the_next(provider):
    alone = hear(provider, quiet(0.5) + recording("goforward") + quiet(0.5)).finals
    hear(provider, recording("austen-0880") + quiet(0.5))
    hear(provider, recording("cards-005") + quiet(0.5))
    assert hear(provider, quiet(0.5) + recording("goforward") + quiet(0.5)).finals == alone


def test_words_have_times_within_their_span(provider):
    heard = hear(provider, quiet(1.5) + recording("goforward") + quiet(1.0))
    (final,) = [f for f in heard.finals if f.text]
    assert [w.text for w in final.words] == final.text.split() == ["go", "forward", "ten", "meters"]
    ends = [final.from_pos]
    for word in final.words:
        assert ends[-1] <= word.from_pos < word.to_pos <= final.to_pos
        ends.append(word.to_pos)
    # The first word of the recording begins 0.4 s into it (its energy rises there), after 1.5 s of lead.
    assert final.words[0].from_pos / RATE_HZ == pytest.approx(1.5 + 0.45, abs=0.15)
    assert 0.0 < final.confidence <= 1.0
    assert final.language == "en-US"


def test_partials_come_every_100_ms_at_most_and_only_when_changed(provider):
    async def call() -> tuple[Heard, list[int]]:
        stream, heard = await opened(provider)
        at: list[int] = []
        seen = 0

        def count(pos: int) -> None:
            nonlocal seen
            at.extend([pos] * (len(heard.partials) - seen))
            seen = len(heard.partials)

        await listen(stream, quiet(0.5) + recording("goforward") + quiet(0.5), count)
        await stream.close(drain=False)
        return heard, at

    heard, at = simulate(call())
    texts = [p.text for p in heard.partials]
    assert len(texts) >= 3
    assert all(a != b for a, b in itertools.pairwise(texts))
    assert all(b - a >= RATE_HZ // 10 for a, b in itertools.pairwise(at))
    assert {p.utt for p in heard.partials} == {f.utt for f in heard.finals if f.text}


def test_partials_can_be_left_out(provider):
    assert hear(provider, recording("goforward") + quiet(0.5), spec(partials=False)).partials == []


def test_noise_before_the_first_word_is_not_decoded(provider):
    """Fed to the decoder, 3 s of it would cost the words (162 errors in 400 instead of 45)."""
    noise = np.random.default_rng(0).normal(0, 30, 3 * RATE_HZ).astype("<i2").tobytes()
    heard = hear(provider, noise + recording("goforward") + quiet(0.5))
    assert heard.text == "go forward ten meters"
    assert_contiguous(heard.finals)


def test_finalize_answers_with_an_empty_final_where_nothing_was_said(provider):
    async def call() -> Heard:
        stream, heard = await opened(provider)
        stream.audio(0, quiet(1.0))
        stream.finalize(4, RATE_HZ)
        await settle(stream)
        await stream.close(drain=False)
        return heard

    heard = simulate(call())
    assert [type(e) for e in heard.events] == [Final, Usage, Finalized]
    assert (heard.finals[0].text, heard.finals[0].from_pos, heard.finals[0].to_pos) == ("", 0, RATE_HZ)
    assert heard.finals[0].confidence is None
    assert heard.finalized == [Finalized(utt=4, to_pos=RATE_HZ)]


def test_a_stream_nobody_tells_of_speech_decodes_what_it_holds(provider):
    pcm = recording("goforward")

    async def call() -> Heard:
        stream, heard = await opened(provider)
        for at in range(0, len(pcm) // 2, FRAME):
            stream.audio(at, pcm[2 * at : 2 * (at + FRAME)])
        stream.finalize(1, len(pcm) // 2)
        await settle(stream)
        await stream.close(drain=False)
        return heard

    heard = simulate(call())
    assert heard.text == fresh(pcm) == "go forward ten meters"
    assert (heard.finals[0].from_pos, heard.finals[0].to_pos) == (0, len(pcm) // 2)


def test_a_caller_who_says_nothing_moves_the_cursor(provider):
    """30 s of silence after an utterance: replay never has to keep more than 5 s of it."""

    async def call() -> tuple[Heard, int]:
        stream, heard = await opened(provider)
        stream.speech_start(1, 0)
        worst = 0
        for at in range(0, 32 * RATE_HZ, FRAME):
            stream.audio(at, bytes(2 * FRAME))
            if at == RATE_HZ:
                stream.finalize(1, at)
            await settle(stream)
            worst = max(worst, at + FRAME - (heard.finals[-1].to_pos if heard.finals else 0))
        await stream.close(drain=False)
        return heard, worst

    heard, worst = simulate(call())
    assert_contiguous(heard.finals)
    assert worst <= 5 * RATE_HZ + FRAME
    assert heard.text == ""
    assert {f.utt for f in heard.finals} == {1}
    assert [type(e) for e in heard.events].count(Finalized) == 1


def test_speech_without_a_pause_is_cut_where_it_rests(provider):
    pcm = recording("austen-0870") * 2

    async def call() -> Heard:
        stream, heard = await opened(provider)
        stream.speech_start(1, 0)
        for at in range(0, len(pcm) // 2, FRAME):
            stream.audio(at, pcm[2 * at : 2 * (at + FRAME)])
            await settle(stream)
        stream.finalize(1, len(pcm) // 2)
        await settle(stream)
        await stream.close(drain=False)
        return heard

    heard = simulate(call())
    assert len(heard.finals) == 2
    assert_contiguous(heard.finals)
    assert heard.finals[-1].to_pos == len(pcm) // 2
    first = heard.finals[0]
    assert CUT_AT_REST <= first.to_pos < CUT_ANYWHERE
    assert fresh(pcm[: 2 * first.to_pos]) == first.text


def test_speech_that_never_rests_is_cut_all_the_same():
    async def call() -> list[Any]:
        events: list[Any] = []
        stream, _ = with_slow_ear(SlowEar(), events)
        stream.speech_start(1, 0)
        for second in range(30):
            stream.audio(second * RATE_HZ, quiet(1.0))
            await settle(stream)
        stream.finalize(1, 30 * RATE_HZ)
        await settle(stream)
        await stream.close(drain=False)
        return events

    events = simulate(call())
    finals = [e for e in events if isinstance(e, Final)]
    assert [(f.utt, f.from_pos, f.to_pos) for f in finals] == [(1, 0, CUT_ANYWHERE), (1, CUT_ANYWHERE, 30 * RATE_HZ)]


class SlowEar:
    """An ear whose work the test counts; it never has to hear anything."""

    def __init__(self) -> None:
        self.pieces: list[int] = []
        self.is_open = False
        self.fails = False

    def begin(self) -> None:
        self.is_open = True

    def feed(self, pcm: bytes) -> None:
        if self.fails:
            raise RuntimeError("out of memory")
        self.pieces.append(len(pcm) // 2)

    def text(self) -> str:
        return "words" if self.pieces else ""

    def is_at_rest(self) -> bool:
        return False

    def end(self) -> Any:
        from actors.providers.pocketsphinx_decoder import Heard as EarHeard

        self.is_open = False
        return EarHeard(self.text(), (), None)


def with_slow_ear(ear: SlowEar, events: list[Any], pos: int = 0) -> tuple[PocketsphinxStream, list[bool]]:
    back: list[bool] = []
    from actors.providers.pocketsphinx_stream import PocketsphinxOptions

    stream = PocketsphinxStream(
        ear, spec(pos=pos), PocketsphinxOptions(), events.append, lambda _, whole: back.append(whole)
    )
    return stream, back


def test_finalize_is_answered_by_the_deadline_and_no_audio_is_lost():
    """Its audio does not come: at 3 s it is told what there is; what comes later is decoded and told as well."""

    async def call() -> tuple[list[Any], float]:
        events: list[Any] = []
        stream, _ = with_slow_ear(SlowEar(), events)
        stream.audio(0, quiet(0.5))
        stream.speech_start(1, 0)
        stream.finalize(1, RATE_HZ)
        await settle(stream)
        assert [e for e in events if isinstance(e, Finalized)] == []
        await asyncio.sleep(FINALIZE_DEADLINE_S)
        answered_s = asyncio.get_running_loop().time()
        assert [type(e) for e in events if not isinstance(e, Usage)][-2:] == [Final, Finalized]
        stream.audio(RATE_HZ // 2, quiet(0.5))
        stream.finalize(2, RATE_HZ)
        await settle(stream)
        await stream.close(drain=False)
        return events, answered_s

    events, answered_s = simulate(call())
    finals = [e for e in events if isinstance(e, Final)]
    assert answered_s == FINALIZE_DEADLINE_S
    assert_contiguous(finals)
    assert finals[-1].to_pos == RATE_HZ
    assert [(e.utt, e.to_pos) for e in events if isinstance(e, Finalized)] == [(1, RATE_HZ // 2), (2, RATE_HZ)]


def test_a_backlog_at_the_deadline_is_decoded_after_it():
    """The deadline falls while half a second waits to be decoded: two finals, one answer, the whole span."""

    async def call() -> tuple[list[Any], SlowEar]:
        events: list[Any] = []
        ear = SlowEar()
        stream, _ = with_slow_ear(ear, events)
        stream.speech_start(1, 0)
        stream.audio(0, quiet(1.0))
        stream.finalize(1, RATE_HZ)
        for _ in range(20):  # one piece a turn of the loop
            await asyncio.sleep(0)
        order = stream._orders[-1]
        stream._answer_late(order)  # what the timer does; in virtual time the loop never is late by itself
        await settle(stream)
        await stream.close(drain=False)
        return events, ear

    events, ear = simulate(call())
    finals = [e for e in events if isinstance(e, Final)]
    assert_contiguous(finals)
    assert len(finals) == 2
    assert finals[-1].to_pos == sum(ear.pieces) == RATE_HZ
    (answer,) = [e for e in events if isinstance(e, Finalized)]
    assert answer.to_pos == finals[0].to_pos < RATE_HZ


def test_one_piece_is_decoded_in_each_turn_of_the_loop():
    """So that a link's heartbeat is answered between two pieces."""

    async def call() -> list[int]:
        ear = SlowEar()
        stream, _ = with_slow_ear(ear, [])
        stream.speech_start(1, 0)
        stream.audio(0, quiet(0.5))
        seen = []
        for _ in range(12):
            await asyncio.sleep(0)
            seen.append(len(ear.pieces))
        await stream.close(drain=False)
        return seen

    seen = simulate(call())
    assert max(b - a for a, b in itertools.pairwise(seen)) == 1
    assert seen[-1] >= 10


@pytest.mark.parametrize("chunk", [1, 7, 319, 320, 321, 5000])
def test_pieces_are_20_ms_from_the_begin_of_the_span_whatever_the_chunks(chunk):
    async def call() -> list[int]:
        ear, pos = SlowEar(), 100
        stream, _ = with_slow_ear(ear, [], pos=pos)
        stream.speech_start(1, pos)
        while pos < 2100:
            n = min(chunk, 2100 - pos)
            stream.audio(pos, bytes(2 * n))
            pos += n
            await settle(stream)
        stream.finalize(1, 1850)
        await settle(stream)
        await stream.close(drain=False)
        return ear.pieces

    # finalize reaches back only as far as nothing was decoded beyond it: 2000 samples are 6 whole pieces
    assert simulate(call()) == [320] * 6


def test_a_finalize_in_mid_piece_takes_the_short_piece():
    async def call() -> tuple[list[int], list[Any]]:
        ear, events = SlowEar(), []
        stream, _ = with_slow_ear(ear, events)
        stream.speech_start(1, 0)
        stream.audio(0, bytes(2 * 1000))
        stream.finalize(1, 700)
        await settle(stream)
        await stream.close(drain=False)
        return ear.pieces, events

    pieces, events = simulate(call())
    assert pieces == [320, 320, 60]
    assert [e.to_pos for e in events if isinstance(e, Finalized)] == [700]


@pytest.mark.parametrize(
    ("tell", "kind"),
    [
        pytest.param(lambda s: s.audio(0, b"abc"), "protocol", id="half a sample"),
        pytest.param(lambda s: [s.finalize(n, 10**9) for n in range(ORDERS_MAX + 1)], "overload", id="too many orders"),
        pytest.param(
            lambda s: [s.audio(n * RATE_HZ, quiet(1.0)) for n in range(HELD_MAX // RATE_HZ + 1)],
            "overload",
            id="more audio than it holds",
        ),
    ],
)
def test_beyond_its_bounds_the_stream_says_so_and_gives_the_decoder_back(tell, kind):
    async def call() -> tuple[list[Any], list[bool]]:
        events: list[Any] = []
        stream, back = with_slow_ear(SlowEar(), events)
        stream.speech_start(1, 0)
        tell(stream)
        stream.audio(0, quiet(0.1))
        await stream.close(drain=True)
        return events, back

    events, back = simulate(call())
    assert [e.kind for e in events if isinstance(e, Fault)] == [kind]
    assert isinstance(events[-1], Fault)
    assert len(back) == 1


def test_a_decoder_that_failed_is_not_lent_again():
    async def call() -> tuple[list[Any], list[bool]]:
        events: list[Any] = []
        ear = SlowEar()
        stream, back = with_slow_ear(ear, events)
        stream.speech_start(1, 0)
        ear.fails = True
        stream.audio(0, quiet(0.1))
        await settle(stream)
        await stream.close(drain=False)
        return events, back

    events, back = simulate(call())
    assert [e.kind for e in events] == ["protocol"]
    assert back == [False]


def test_gaps_are_silence_and_what_comes_twice_is_ignored():
    async def call() -> tuple[Any, list[Any], SlowEar]:
        events: list[Any] = []
        ear = SlowEar()
        stream, _ = with_slow_ear(ear, events)
        stream.speech_start(1, 0)
        stream.audio(0, bytes(2 * 640))
        stream.audio(320, bytes(2 * 640))
        stream.audio(1600, bytes(2 * 320))
        stream.finalize(1, 1920)
        await settle(stream)
        await stream.close(drain=False)
        return stream.statistics, events, ear

    statistics, events, ear = simulate(call())
    assert (statistics.overlaps, statistics.gaps, sum(ear.pieces)) == (320, 640, 1920)
    assert_contiguous([e for e in events if isinstance(e, Final)])


def test_a_long_pause_of_the_audio_is_settled_where_nobody_speaks():
    async def call() -> list[Any]:
        events: list[Any] = []
        stream, _ = with_slow_ear(SlowEar(), events)
        stream.audio(0, quiet(0.5))
        stream.pause()
        await settle(stream)
        stream.resume()
        stream.audio(600 * RATE_HZ, quiet(0.5))
        stream.finalize(1, 600 * RATE_HZ + RATE_HZ // 2)
        await settle(stream)
        await stream.close(drain=False)
        return events

    events = simulate(call())
    finals = [e for e in events if isinstance(e, Final)]
    assert_contiguous(finals)
    assert finals[-1].to_pos == 600 * RATE_HZ + RATE_HZ // 2


def test_a_new_utterance_ends_the_one_that_nobody_finalized():
    async def call() -> list[Any]:
        events: list[Any] = []
        stream, _ = with_slow_ear(SlowEar(), events)
        stream.audio(0, quiet(2.0))
        stream.speech_start(1, 3200)
        stream.speech_start(2, 16000)
        stream.finalize(2, 32000)
        await settle(stream)
        await stream.close(drain=False)
        return events

    finals = [e for e in simulate(call()) if isinstance(e, Final)]
    assert [(f.utt, f.from_pos, f.to_pos) for f in finals] == [(0, 0, 3200), (1, 3200, 16000), (2, 16000, 32000)]


@pytest.mark.parametrize("drain", [True, False])
def test_close_is_idempotent_and_drains_only_if_asked(drain):
    async def call() -> tuple[list[Any], list[bool]]:
        events: list[Any] = []
        stream, back = with_slow_ear(SlowEar(), events)
        stream.speech_start(1, 0)
        stream.audio(0, bytes(2 * 1000))
        stream.finalize(1, 10**6)  # leaves a timer that must not fire
        await stream.close(drain=drain)
        await stream.close(drain=drain)
        stream.audio(1000, bytes(640))
        stream.finalize(2, 1320)
        return events, back

    events, back = simulate(call())
    finals = [e for e in events if isinstance(e, Final)]
    assert [f.to_pos for f in finals] == ([1000] if drain else [])
    assert len(back) == 1


def test_decoders_are_lent_up_to_their_number_and_come_back(provider):
    async def call() -> None:
        one, _ = await opened(provider, spec(1))
        two, _ = await opened(provider, spec(2))
        with pytest.raises(ProviderError) as caught:
            await opened(provider, spec(3))
        assert (caught.value.kind, caught.value.retry_after_s) == ("busy", 1.0)
        await provider.probe()
        await one.close(drain=False)
        three, _ = await opened(provider, spec(3))
        for stream in (two, three):
            await stream.close(drain=True)
        await provider.probe()

    simulate(call())


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"language": "de"}, id="a language it has no model for"),
        pytest.param({"modle": "x"}, id="an option that is none"),
        pytest.param({"decoders": 0}, id="no decoder"),
    ],
)
def test_options_that_do_not_hold_are_refused_by_name(options):
    with pytest.raises(ProviderError) as caught:
        Provider(options)
    assert caught.value.kind == "config"
    assert next(iter(options)) in caught.value.detail


def test_another_rate_is_refused(provider):
    with pytest.raises(ProviderError, match="8000 Hz"):
        simulate(opened(provider, spec(rate_hz=8000)))


def test_update_takes_what_can_change_in_mid_call():
    async def call() -> tuple[str, ...]:
        stream, _ = with_slow_ear(SlowEar(), [])
        refused = stream.update({"partials": False, "decoders": 3, "language": "fr", "volume": 1})
        assert stream.options.partials is False
        await stream.close(drain=False)
        return refused

    assert set(simulate(call())) == {"decoders", "language", "volume"}


def test_the_library_writes_nothing_to_standard_error(capfd):
    ear = Ear()
    ear.begin()
    ear.feed(bytes(640))
    ear.end()
    assert capfd.readouterr() == ("", "")
