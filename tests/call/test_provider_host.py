"""A provider actor as a plain object, and ports to it over real loopback links."""

import asyncio
import gc
import weakref

import pytest

from actors import wire
from actors.link import connect
from actors.link_port import ProviderLinks
from actors.provider_host import ProviderHost
from actors.providers import registry
from actors.providers.fake import FakeStt
from actors.providers.interface import (
    AgentDone,
    Assess,
    Assessment,
    Cancelled,
    Done,
    Fault,
    Final,
    Finalized,
    Item,
    Ready,
    StreamSpec,
    TextDelta,
    TtsAudio,
)  # fmt: skip
from router.errors import ConfigError, ProviderError
from tests.call.test_link import Ear
from tests.toxic import ToxicProxy

KEY = b"k" * 32
LOUD, QUIET = b"\x10\x27" * 320, b"\0" * 640


class Sink:
    """One stage of one session."""

    def __init__(self):
        self.events, self.voiced, self.order = [], [], []
        self.accepted = 0
        self.news = asyncio.Event()
        self.fails = False

    def on_event(self, port, event):
        if self.fails:
            raise ValueError("a session's bug")
        self.events.append(event)
        self.order.append(type(event).__name__)
        self.news.set()

    def on_voiced(self, port, pos, voiced):
        if self.fails:
            raise ValueError("a session's bug")
        self.voiced.append((pos, voiced))
        self.news.set()

    def on_accepted(self, port):
        self.accepted += 1
        self.order.append("accepted")
        self.news.set()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition, timeout_s=5.0):
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.news.clear()
                await self.news.wait()


class House:
    """One provider actor and one session host's links to it."""

    def __init__(self, stage, type_=None, options=None, **spec):
        self.spec = wire.ProviderSpec(
            provider="p", type=type_ or f"fake-{stage}", stage=stage, options=options or {}, **spec
        )
        self.host = ProviderHost("patchbay-test-1")
        self.left = []

    async def __aenter__(self):
        self.info = await self.host.start(self.spec, KEY, node="n1", leave=lambda: self.left.append(1))
        self._group = asyncio.TaskGroup()
        group = await self._group.__aenter__()
        self.links = ProviderLinks(KEY, group)
        return self

    async def __aexit__(self, *_):
        await self.links.close()
        await self.host.stop()
        await self._group.__aexit__(None, None, None)

    def lease(self, address=None):
        return wire.Lease(
            lease_id="l1", stage=self.spec.stage, candidate=0, address=address or self.info.address,
            actor=self.info.actor, silence_bound_s=self.info.silence_bound_s,
        )  # fmt: skip

    def open(self, sink, *, epoch=1, options=None, address=None, ack_ms=100):
        spec = StreamSpec(
            stream=0, epoch=epoch, session_id="s1", tenant_id="acme", rate_hz=16000, options=options or {}
        )
        return self.links.open(self.lease(address), spec, sink, provider="p", ack_ms=ack_ms)


async def eventually(condition):
    """For what has no event to wait for; 5 s at most."""
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


def run(scenario):
    async def bounded():
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def test_what_a_worker_says_of_itself():
    async def scenario():
        async with House("vad", streams_per_actor=3, region="eu-1") as house:
            info = house.info
            assert (info.actor, info.kind, info.region, info.node) == ("patchbay-test-1", "provider", "eu-1", "n1")
            assert (info.capacity, info.rate_hz, info.silence_bound_s, info.spec) == (3, 16000, 0.3, house.spec)
            assert info.pid > 0
            assert info.started_unix_s > 1.7e9
            assert await house.host.describe() == info

    run(scenario)


def test_vad_verdicts_come_back_for_each_frame_with_its_end_and_are_its_credit():
    async def scenario():
        async with House("vad") as house:
            a, b = Sink(), Sink()
            ports = [house.open(a), house.open(b)]
            for i, frame in enumerate((LOUD, QUIET, LOUD)):
                ports[0].audio(320 * i, frame)
                ports[1].audio(320 * i, QUIET)
            assert ports[0].unaccepted == 960
            await a.until(lambda: len(a.voiced) == 3)
            await b.until(lambda: len(b.voiced) == 3)
            assert a.voiced == [(320, True), (640, False), (960, True)]
            assert b.voiced == [(320, False), (640, False), (960, False)]
            assert [port.unaccepted for port in ports] == [0, 0]
            assert a.order == ["Ready"]

    run(scenario)


def test_one_link_and_one_dial_for_all_sessions_of_a_host():
    async def scenario():
        async with House("vad") as house:
            sinks = [Sink() for _ in range(20)]
            for sink in sinks:
                house.open(sink)
            for sink in sinks:
                await sink.until(lambda sink=sink: sink.events)
            assert house.links.statistics().links == 1
            assert house.links.statistics().ports == 20
            assert len(house.host._server.links) == 1

    run(scenario)


def test_stt_audio_is_accepted_after_the_events_it_made_and_credit_is_told_by_ack_ms():
    async def scenario():
        async with House("stt", options={"says": ["ten of clubs"]}) as house:
            sink = Sink()
            port = house.open(sink, ack_ms=100)
            for i in range(10):
                port.audio(320 * i, LOUD)
            port.send(wire.SttSpeechStart(utt=1, pos=0))
            port.send(wire.SttSpeechEnd(utt=1, pos=3200))
            port.send(wire.SttFinalize(utt=1, pos=3200))
            await sink.until(lambda: sink.of(Finalized))
            assert [final.text for final in sink.of(Final)] == ["ten of clubs"]
            assert sink.of(Finalized)[0].to_pos == 3200
            await sink.until(lambda: port.unaccepted == 0)
            assert 1 <= sink.accepted <= 2  # 200 ms of audio, told every 100 ms or once per turn of the loop

    run(scenario)


def test_ack_ms_zero_credits_each_batch_and_after_its_events():
    async def scenario():
        async with House("stt") as house:
            sink = Sink()
            port = house.open(sink, ack_ms=0)
            await sink.until(lambda: sink.of(Ready))
            port.send(wire.SttFinalize(utt=1, pos=0))
            port.audio(0, QUIET)
            await sink.until(lambda: sink.accepted)
            assert port.unaccepted == 0
            before = sink.accepted
            port.audio(320, QUIET)
            await sink.until(lambda: sink.accepted > before)
            assert port.unaccepted == 0

    run(scenario)


def test_a_voice_comes_out_as_contiguous_audio_in_order_with_its_events():
    async def scenario():
        async with House("tts") as house:
            sink = Sink()
            port = house.open(sink)
            port.send(wire.TtsBegin(reply=1))
            port.send(wire.TtsText(reply=1, text="Good morning."))
            port.send(wire.TtsEnd(reply=1))
            await sink.until(lambda: sink.of(Done))
            at = 0
            for audio in sink.of(TtsAudio):
                assert (audio.reply, audio.pos) == (1, at)
                at += len(audio.pcm) // 2
            assert at > 0
            last_audio = max(i for i, event in enumerate(sink.events) if isinstance(event, TtsAudio))
            assert last_audio < sink.events.index(sink.of(Done)[0])

    run(scenario)


def test_after_a_cancel_nothing_of_that_reply_is_heard():
    async def scenario():
        async with House("tts") as house:
            sink = Sink()
            port = house.open(sink)
            port.send(wire.TtsBegin(reply=1))
            port.send(wire.TtsText(reply=1, text="A long sentence that is broken off."))
            await sink.until(lambda: sink.of(TtsAudio))
            port.send(wire.TtsCancel(reply=1))
            heard = len(sink.of(TtsAudio))
            stream = next(iter(house.host._streams.values()))
            await sink.until(lambda: sink.of(Cancelled))
            stream.emit(TtsAudio(reply=1, pos=10**6, pcm=LOUD))  # the vendor had sent it already
            port.send(wire.TtsBegin(reply=2))
            port.send(wire.TtsText(reply=2, text="Next."))
            port.send(wire.TtsEnd(reply=2))
            await sink.until(lambda: sink.of(Done))
            assert [audio.reply for audio in sink.of(TtsAudio)[heard:]].count(1) == 0
            assert house.host.statistics().stale >= 1

    run(scenario)


def test_an_agent_answers_over_the_link():
    async def scenario():
        async with House("agent", options={"says": ["hello there"]}) as house:
            sink = Sink()
            port = house.open(sink)
            port.send(wire.AgentReply(turn=1, revision=0, history=(Item(role="user", said="hi"),), cause="user"))
            await sink.until(lambda: sink.of(AgentDone))
            assert "".join(text.delta for text in sink.of(TextDelta)).strip() == "hello there"

    run(scenario)


def test_questions_of_one_turn_of_the_loop_are_assessed_in_one_pass():
    async def scenario():
        async with House("turn") as house:
            sinks = [Sink() for _ in range(5)]
            ports = [house.open(sink) for sink in sinks]
            for sink in sinks:
                await sink.until(lambda sink=sink: sink.of(Ready))
            passes = []
            assess = house.host.provider.assess
            house.host.provider.assess = lambda questions: passes.append(len(questions)) or assess(questions)
            for i, port in enumerate(ports):
                port.send(wire.TurnAssess(question=Assess(stream=99, utt=i, text="yes.", pause_ms=200)))
            for i, sink in enumerate(sinks):
                await sink.until(lambda sink=sink: sink.of(Assessment))
                assert [answer.utt for answer in sink.of(Assessment)] == [i]
            assert passes == [5]

    run(scenario)


def test_a_full_actor_refuses_with_a_time_to_come_back_and_takes_again_when_one_left():
    async def scenario():
        async with House("stt", streams_per_actor=1) as house:
            first, second, third = Sink(), Sink(), Sink()
            port = house.open(first)
            await first.until(lambda: first.of(Ready))
            house.open(second)
            await second.until(lambda: second.of(Fault))
            assert (second.of(Fault)[0].kind, second.of(Fault)[0].retry_after_s) == ("busy", 1.0)
            port.close()
            house.open(third)
            await third.until(lambda: third.events)
            assert third.order == ["Ready"]
            assert house.host.statistics().refused_busy == 1

    run(scenario)


def test_a_closed_stream_leaves_nothing_to_the_garbage_collector():
    async def scenario():
        async with House("stt") as house:
            sink = Sink()
            port = house.open(sink)
            await sink.until(lambda: sink.of(Ready))
            (stream,) = house.host._streams.values()
            provided = weakref.ref(stream.provided)
            del stream
            gc.disable()
            try:
                port.close()
                await eventually(lambda: provided() is None)
            finally:
                gc.enable()

    run(scenario)


def test_a_stream_that_raises_ends_alone():
    async def scenario():
        async with House("stt") as house:
            bad, good = Sink(), Sink()
            bad_port, good_port = house.open(bad), house.open(good)
            await good.until(lambda: good.of(Ready))
            await bad.until(lambda: bad.of(Ready))

            def broken(pos, pcm):
                raise ZeroDivisionError("secret words")

            next(iter(house.host._streams.values())).provided.audio = broken
            for i in range(10):
                bad_port.audio(320 * i, LOUD)
                good_port.audio(320 * i, LOUD)
            await bad.until(lambda: bad.of(Fault))
            assert bad.of(Fault)[0].kind == "protocol"
            assert "secret words" not in bad.of(Fault)[0].detail
            await good.until(lambda: good_port.unaccepted == 0)
            assert good.of(Fault) == []
            statistics = house.host.statistics()
            assert (statistics.failed_streams, statistics.streams) == (1, 1)
            assert statistics.stale >= 1  # the frames that came after

    run(scenario)


def test_a_frame_that_breaks_the_classifier_costs_only_its_own_stream():
    async def scenario():
        async with House("vad") as house:
            bad, good = Sink(), Sink()
            bad_port, good_port = house.open(bad), house.open(good)
            await good.until(lambda: good.of(Ready))
            classify, bad_key = house.host.provider.classify, 1

            def picky(streams, frames):
                if bad_key in streams:
                    raise ValueError("a frame it cannot take")
                return classify(streams, frames)

            house.host.provider.classify = picky
            bad_port.audio(0, LOUD)
            good_port.audio(0, LOUD)
            await good.until(lambda: good.voiced)
            await bad.until(lambda: bad.of(Fault))
            assert good.voiced == [(320, True)]
            assert bad.voiced == []

    run(scenario)


def test_a_session_that_raises_ends_alone():
    async def scenario():
        async with House("vad") as house:
            bad, good = Sink(), Sink()
            bad_port, good_port = house.open(bad), house.open(good)
            await good.until(lambda: good.of(Ready))
            bad.fails = True
            bad_port.audio(0, LOUD)
            good_port.audio(0, LOUD)
            await good.until(lambda: good.voiced)
            assert house.links.statistics().sink_failures == 1
            assert house.links.statistics().ports == 1

    run(scenario)


def test_a_lost_link_is_a_fault_at_every_port_and_the_next_open_dials_again():
    async def scenario():
        async with House("vad") as house, ToxicProxy(house.info.address) as proxy:
            sinks = [Sink(), Sink()]
            for sink in sinks:
                house.open(sink, address=proxy.address)
            for sink in sinks:
                await sink.until(lambda sink=sink: sink.of(Ready))
            proxy.reset()
            for sink in sinks:
                await sink.until(lambda sink=sink: sink.of(Fault))
                assert [fault.kind for fault in sink.of(Fault)] == ["connect"]
            again = Sink()
            house.open(again, address=proxy.address)
            await again.until(lambda: again.of(Ready))
            assert proxy.connections == 2
            assert house.host.statistics().streams == 1  # what the lost link held came back
            assert len(house.host.provider.attached) == 1

    run(scenario)


def test_nobody_at_the_address_is_a_fault_of_kind_connect():
    async def scenario():
        async with House("vad") as house:
            sink = Sink()
            port = house.open(sink, address="127.0.0.1:1")
            port.audio(0, LOUD)
            await sink.until(lambda: sink.of(Fault))
            assert [fault.kind for fault in sink.of(Fault)] == ["connect"]
            port.audio(320, LOUD)
            port.close()

    run(scenario)


def test_what_comes_for_a_closed_stream_is_dropped_and_counted():
    async def scenario():
        async with House("vad") as house:
            closed, other = Sink(), Sink()
            port, other_port = house.open(closed), house.open(other)
            await closed.until(lambda: closed.of(Ready))
            port.audio(0, LOUD)
            await asyncio.sleep(0)  # it left
            port.close()
            other_port.audio(0, LOUD)
            await other.until(lambda: other.voiced)
            assert closed.voiced == []
            assert house.links.statistics().stale + house.host.statistics().stale >= 1

    run(scenario)


def test_a_drained_stream_says_all_it_had_to_say_and_then_is_gone():
    async def scenario():
        async with House("tts") as house:
            sink = Sink()
            port = house.open(sink)
            port.send(wire.TtsBegin(reply=1))
            port.send(wire.TtsText(reply=1, text="Goodbye."))
            port.send(wire.TtsEnd(reply=1))
            await sink.until(lambda: sink.of(Ready))
            port.close(drain=True)
            await eventually(lambda: not house.links.statistics().ports and not house.host.statistics().streams)

    run(scenario)


@pytest.mark.parametrize(
    ("spec", "error", "text"),
    [
        pytest.param({"stage": "stt", "type_": "nonsense"}, ConfigError, "no such type", id="no such type"),
        pytest.param({"stage": "stt", "type_": "fake-vad"}, ProviderError, "not stt", id="another stage"),
        pytest.param({"stage": "vad", "secret": "env:PATCHBAY_NO_SUCH"}, ConfigError, "not set", id="no such secret"),
        pytest.param({"stage": "stt", "options": {"fail_probe": "auth"}}, ProviderError, "auth", id="wrong credential"),
        pytest.param({"stage": "stt", "options": {"fail_warm": "connect"}}, ProviderError, "connect", id="not warm"),
    ],
)
def test_a_provider_that_cannot_serve_does_not_start_and_says_why(spec, error, text):
    async def scenario():
        house = House(**spec)
        with pytest.raises(error, match=text):
            await house.host.start(house.spec, KEY)

    run(scenario)


class _Flaky(FakeStt):
    """Its probe fails as often as `failures` says, then answers."""

    failures = 0
    probes = 0

    async def probe(self):
        type(self).probes += 1
        if type(self).probes <= type(self).failures:
            raise ProviderError("flaky", "connect", "not yet")


@pytest.mark.parametrize(("failures", "starts"), [(1, True), (2, True), (3, False)])
def test_what_may_pass_is_probed_three_times(monkeypatch, failures, starts):
    monkeypatch.setattr("actors.provider_host._PROBE_AGAIN_S", (0.01, 0.01))
    monkeypatch.setitem(registry.TYPES, "flaky", f"{__name__}:_Flaky")
    registry.find.cache_clear()
    _Flaky.failures, _Flaky.probes = failures, 0

    async def scenario():
        house = House("stt", "flaky")
        if starts:
            await house.host.start(house.spec, KEY)
            await house.host.stop()
        else:
            with pytest.raises(ProviderError):
                await house.host.start(house.spec, KEY)
        assert _Flaky.probes == min(failures + 1, 3)

    run(scenario)
    registry.find.cache_clear()


def test_the_router_is_told_all_at_hello_then_changes_and_a_second_one_replaces_the_first():
    async def scenario():
        async with House("vad") as house:
            sink, first, second = Sink(), Ear(), Ear()
            house.open(sink)
            await sink.until(lambda: sink.of(Ready))
            link = await connect(house.info.address, first, key=KEY, role="router", timeout_s=2)
            link.send(0, wire.Hello(router="r1"))
            await first.until(lambda: first.control)
            report = wire.router_decoder.decode(first.control[0][1])
            assert (report.actor, report.streams, report.leases) == ("patchbay-test-1", 1, ("l1",))
            port = house.open(Sink())
            await first.until(lambda: len(first.control) > 1)
            assert wire.router_decoder.decode(first.control[1][1]).streams == 2
            again = await connect(house.info.address, second, key=KEY, role="router", timeout_s=2)
            again.send(0, wire.Hello(router="r2"))
            await second.until(lambda: second.control)
            await first.until(lambda: first.closed)
            again.send(0, wire.Retire())
            await eventually(lambda: house.host._door.retiring)
            late = Sink()
            house.open(late)
            await late.until(lambda: late.of(Fault))
            assert late.of(Fault)[0].kind == "busy"
            assert house.left == []
            for live in next(iter(house.links._peers.values())).ports.copy().values():
                live.close()
            port.close()
            await eventually(lambda: house.left)

    run(scenario)
