"""Links over real loopback sockets: everything arrives once and in order or is counted; every wrong end is refused."""

import asyncio
import struct
import time

import pytest

from actors import link_end, wire
from actors.link import Limits, connect, serve
from actors.link_auth import VERSION
from actors.link_codec import AudioBatch
from router.errors import LinkAuthError, LinkClosed, LinkError, LinkProtocolError, LinkVersionError
from tests.toxic import ToxicProxy

KEY = b"k" * 32
PCM = b"\x01\x02" * 320


class Ear:
    """A handler that keeps what it hears."""

    def __init__(self):
        self.audio, self.control, self.bits, self.credit, self.order = [], [], [], [], []
        self.closed = []
        self.news = asyncio.Event()

    def on_audio(self, link, batch: AudioBatch):
        rows = list(zip(batch.streams, batch.gens, batch.seqs, batch.poss, batch.frames(), strict=True))
        self.audio += rows
        self.order += [("audio", row[0]) for row in rows]
        self.news.set()

    def on_bits(self, link, streams, poss, bits):
        self.bits += zip(streams, poss, bits, strict=True)
        self.news.set()

    def on_credit(self, link, streams, seqs):
        self.credit += zip(streams, seqs, strict=True)
        self.order += [("credit", stream) for stream in streams]
        self.news.set()

    def on_control(self, link, stream, body):
        self.control.append((stream, bytes(body)))
        self.order.append(("control", stream))
        self.news.set()

    def on_closed(self, link, error):
        self.closed.append(error)
        self.news.set()

    async def until(self, condition, timeout_s=5.0):
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.news.clear()
                await self.news.wait()


class Pair:
    """A server with one ear per link, and a link to it."""

    def __init__(self, role="host", limits=None, silence_s=3.0, server_silence_s=3.0):
        self.role, self.limits, self.silence_s, self.server_silence_s = role, limits, silence_s, server_silence_s
        self.ears = []
        self.links = []
        self.refusals = []
        self.here = Ear()

    def _make(self, link):
        self.links.append(link)
        self.ears.append(Ear())
        return self.ears[-1]

    async def __aenter__(self):
        self.server = await serve(
            self._make, KEY, silence_bound_s=self.server_silence_s, limits=self.limits, on_refused=self.refusals.append
        )
        return self

    async def dial(self, address=None, **other):
        key = other.pop("key", None if self.role == "caller" else KEY)
        return await connect(
            address or self.server.address, self.here, key=key, role=self.role, timeout_s=3,
            silence_bound_s=self.silence_s, limits=self.limits, **other,
        )  # fmt: skip

    async def __aexit__(self, *_):
        await self.server.close()


def run(scenario):
    async def bounded():
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def test_credit_that_is_owed_leaves_with_the_next_write_or_a_moment_later():
    async def scenario():
        async with Pair() as pair:
            link = await pair.dial()
            there = pair.ears[0]
            link.owe_credits((7, 8), (41, 51))
            link.owe_credits((7,), (42,))
            await there.until(lambda: len(there.credit) == 2)
            assert there.credit == [(7, 42), (8, 51)]
            link.owe_credits((7,), (43,))
            link.send(7, wire.SttPause())
            await there.until(lambda: len(there.credit) == 3)
            assert there.order[-2:] == [("control", 7), ("credit", 7)]
            link.owe_credits((7,), (44,))  # its moment comes once more
            await there.until(lambda: len(there.credit) == 4)
            link.owe_credits((7,), (45,))
            link.pause_writing()
            link.owe_credits((7, 8), (46, 52))
            link._pay()
            assert len(there.credit) == 4
            link.resume_writing()
            await there.until(lambda: (7, 46) in there.credit and (8, 52) in there.credit)
            assert [seq for stream, seq in there.credit if stream == 7] == [42, 43, 44, 45, 46]
            await link.close()
            link.owe_credits((7,), (47,))  # nobody is there: nothing is kept
            assert not link._batch

    run(scenario)


def test_frames_events_verdicts_and_credit_arrive_in_their_order_both_ways():
    async def scenario():
        async with Pair() as pair:
            link = await pair.dial()
            link.send_credit(7, 41)
            link.send(7, wire.SttPause())
            for seq in range(3):
                link.send_audio(7, 1, seq, 320 * seq, PCM)
            link.send(7, wire.SttResume())
            link.send_credit(7, 42)
            await pair.ears[0].until(lambda: pair.ears[0].credit)
            there = pair.ears[0]
            assert there.order == [("control", 7), *[("audio", 7)] * 3, ("control", 7), ("credit", 7)]
            assert there.audio == [(7, 1, seq, 320 * seq, PCM) for seq in range(3)]
            assert there.credit == [(7, 42)]
            assert wire.provider_decoder.decode(there.control[1][1]) == wire.SttResume()
            pair.links[0].send_bits([7, 8], [320, 640], [True, False])
            await pair.here.until(lambda: pair.here.bits)
            assert pair.here.bits == [(7, 320, 1), (8, 640, 0)]
            assert pair.links[0].role == "host"
            assert link.statistics().sent_writes <= 4  # hello, proof and one write for all of the turn
            await link.close("done")
            await there.until(lambda: there.closed)
            assert isinstance(there.closed[0], LinkClosed)
            assert "done" in there.closed[0].detail
            assert pair.here.closed == [None]

    run(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_through_a_spoiled_network_every_frame_arrives_once_and_in_order(seed):
    async def scenario():
        async with Pair() as pair, ToxicProxy(pair.server.address, seed=seed, slicer=True, delay_ms=0.3) as proxy:
            link = await pair.dial(proxy.address)
            for seq in range(60):
                for stream in (1, 2, 3):
                    link.send_audio(stream, 1, seq, 320 * seq, bytes([stream, seq]) * 20)
                link.send(1 + seq % 3, wire.SttFinalize(utt=seq, pos=seq))
                if seq % 7 == 0:
                    await asyncio.sleep(0)
            there = pair.ears[0]
            await there.until(lambda: len(there.audio) == 180 and len(there.control) == 60, 15)
            for stream in (1, 2, 3):
                expected = [(stream, 1, seq, 320 * seq, bytes([stream, seq]) * 20) for seq in range(60)]
                assert [row for row in there.audio if row[0] == stream] == expected
            assert [wire.provider_decoder.decode(body).utt for _, body in there.control] == list(range(60))
            await link.close()

    run(scenario)


@pytest.mark.parametrize("cut", [4_000, 20_000])
def test_a_reset_is_told_once_and_what_arrived_is_a_prefix_of_what_was_sent(cut):
    async def scenario():
        async with Pair() as pair, ToxicProxy(pair.server.address, slicer=True, reset_after_bytes=cut) as proxy:
            link = await pair.dial(proxy.address)
            for seq in range(200):
                link.send_audio(1, 1, seq, 0, PCM)
            await pair.here.until(lambda: pair.here.closed)
            assert [type(error) for error in pair.here.closed] == [LinkClosed]
            there = pair.ears[0]
            await there.until(lambda: there.closed)
            assert [row[2] for row in there.audio] == list(range(len(there.audio)))
            assert len(there.audio) * 640 < cut
            link.send_audio(1, 1, 999, 0, PCM)  # to nobody: no error, nothing kept
            assert not link._batch
            again = await pair.dial()  # the same server takes the next link
            again.send(1, wire.SttPause())
            await pair.ears[1].until(lambda: pair.ears[1].control)

    run(scenario)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"key": b"x" * 32}, LinkAuthError, id="another cluster's key"),
        pytest.param({"version": VERSION + 1}, LinkVersionError, id="another version"),
    ],
)
def test_a_wrong_end_is_a_typed_error_at_both_ends(options, expected):
    async def scenario():
        async with Pair() as pair:
            with pytest.raises(expected):
                await pair.dial(**options)
            assert [type(error) for error in pair.refusals] == [expected]
            assert pair.server.refused == {expected.__name__: 1}
            assert pair.ears == []
            assert pair.server.links == set()

    run(scenario)


async def stranger(address, data):
    """Send bytes as they are; returns what came back until the other end closed."""
    ip, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(ip, int(port))
    writer.write(data)
    back = await reader.read()
    writer.close()
    return back


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", id="a web browser"),
        pytest.param(b"\xff" * 500, id="garbage"),
        pytest.param(struct.pack("<IB3xI", 2_000_000, 7, 0), id="an over-long hello"),
        pytest.param(struct.pack("<IB3xI", 8, 1, 0), id="audio before the opening"),
    ],
)
def test_a_stranger_is_refused_and_the_others_go_on(data):
    async def scenario():
        async with Pair() as pair:
            link = await pair.dial()
            await stranger(pair.server.address, data)
            assert [type(error) for error in pair.refusals] == [LinkProtocolError]
            link.send(1, wire.SttPause())
            await pair.ears[0].until(lambda: pair.ears[0].control)

    run(scenario)


def test_an_opening_that_does_not_come_is_ended(monkeypatch):
    monkeypatch.setattr(link_end, "HANDSHAKE_S", 0.05)

    async def scenario():
        async with Pair() as pair:
            assert await stranger(pair.server.address, b"") != b"nothing but a refusal"
            assert [type(error) for error in pair.refusals] == [LinkClosed]

    run(scenario)


def test_a_body_longer_than_the_peer_takes_is_refused_at_the_sender_and_the_link_lives():
    async def scenario():
        async with Pair(limits=Limits(max_bytes=20_000)) as pair:
            link = await pair.dial()
            with pytest.raises(LinkProtocolError, match="20000"):
                link.send(1, wire.TtsText(reply=1, text="x" * 30_000))
            for seq in range(200):
                link.send_audio(1, 1, seq, 0, PCM)  # 128 KB in one turn leaves as messages below the bound
            link.send(1, wire.SttPause())
            await pair.ears[0].until(lambda: pair.ears[0].control)
            assert len(pair.ears[0].audio) == 200

    run(scenario)


def test_an_over_long_message_ends_the_link_with_a_typed_error():
    async def scenario():
        async with Pair(limits=Limits(max_bytes=20_000)) as pair:
            link = await pair.dial()
            link._peer_max_bytes = 1 << 30  # an end that does not keep to what it was told
            link.send(1, wire.TtsText(reply=1, text="x" * 30_000))
            there = pair.ears[0]
            await there.until(lambda: there.closed)
            assert isinstance(there.closed[0], LinkProtocolError)
            assert "20000" in there.closed[0].detail

    run(scenario)


def test_a_peer_that_never_reads_loses_audio_by_the_rule_and_never_control():
    limits = Limits(backlog_audio_bytes=50 * 704, backlog_control_bytes=20_000)

    async def scenario():
        async with Pair(limits=limits) as pair:
            link = await pair.dial()
            there = pair.ears[0]
            pair.links[0]._transport.pause_reading()
            sent = 0
            while link.statistics().dropped_frames < 100:
                assert sent < 100_000, "the sockets swallowed it all"
                for _ in range(100):
                    link.send_audio(1 + sent % 2, 1, sent, 0, PCM)
                    sent += 1
                await asyncio.sleep(0)
            link.send(1, wire.SttFinalize(utt=1, pos=1))
            assert link.statistics().backlog_bytes <= 50 * 704 + 20_000
            dropped = link.take_dropped()
            assert set(dropped) == {1, 2}
            pair.links[0]._transport.resume_reading()
            await there.until(lambda: there.control, 15)
            assert len(there.audio) + sum(frames for frames, _ in dropped.values()) == sent
            for stream in (1, 2):
                seqs = [row[2] for row in there.audio if row[0] == stream]
                assert seqs == sorted(set(seqs))
                assert seqs[-1] >= sent - 2  # the newest came: it was the oldest that went
            assert link.statistics().dropped_frames == sent - len(there.audio)

    run(scenario)


def test_control_past_its_bound_ends_the_link_instead_of_being_dropped():
    async def scenario():
        async with Pair(limits=Limits(backlog_control_bytes=10_000)) as pair:
            link = await pair.dial()
            pair.links[0]._transport.pause_reading()
            for _ in range(20_000):
                if link.closed:
                    break
                link.send(1, wire.TtsText(reply=1, text="x" * 4000))
            assert [type(error) for error in pair.here.closed] == [LinkClosed]
            assert "does not read" in pair.here.closed[0].detail

    run(scenario)


def test_a_silent_peer_is_noticed_within_its_declared_bound_and_an_idle_one_is_not():
    async def scenario():
        async with Pair(silence_s=0.3) as pair, ToxicProxy(pair.server.address) as proxy:
            link = await pair.dial(proxy.address)
            loop = asyncio.get_running_loop()
            start_s = loop.time()
            while loop.time() - start_s < 0.8:  # idle: beats alone keep it open
                await asyncio.sleep(0.05)
                assert not link.closed
            proxy.blackhole = True
            start_s = loop.time()
            await pair.here.until(lambda: pair.here.closed)
            assert isinstance(pair.here.closed[0], LinkClosed)
            assert "silent for 0." in pair.here.closed[0].detail
            assert 0.2 <= loop.time() - start_s < 0.8
            proxy.blackhole = False

    run(scenario)


def stall():
    """Both ends share this loop: it is the loop that stalls, not the peer."""
    time.sleep(0.7)


def test_an_end_that_was_stalled_itself_reads_first_and_accuses_nobody():
    async def scenario():
        async with Pair(silence_s=0.3) as pair:
            link = await pair.dial()
            stall()
            for _ in range(20):
                await asyncio.sleep(0.01)
            assert not link.closed
            assert pair.here.closed == []

    run(scenario)


def test_a_caller_that_attaches_nothing_is_ended_and_one_that_did_stays(monkeypatch):
    monkeypatch.setattr(link_end, "CALLER_ADMIT_S", 0.1)

    async def scenario():
        async with Pair(role="caller", silence_s=0.3, server_silence_s=0.3) as pair:
            idle, idle_ear = await pair.dial(), pair.here
            pair.here = Ear()
            busy = await pair.dial()
            assert pair.links[1].role == "caller"
            assert pair.links[1].admit(5)
            await idle_ear.until(lambda: idle_ear.closed)
            assert idle.closed
            assert "no session attached" in pair.ears[0].closed[0].detail
            assert not busy.closed

    run(scenario)


def test_a_caller_carries_as_many_sessions_as_it_may_and_no_more():
    async def scenario():
        async with Pair(role="caller", limits=Limits(caller_streams=2)) as pair:
            await pair.dial()
            link = pair.links[0]
            assert [link.admit(stream) for stream in (1, 2, 3, 1)] == [True, True, False, True]
            link.release(2)
            assert link.admit(3)

    run(scenario)


def test_a_handler_that_raises_ends_its_own_link_and_no_other():
    class Broken(Ear):
        def on_control(self, link, stream, body):
            raise ValueError("a bug")

    async def scenario():
        async with Pair() as pair:
            good = await pair.dial()
            pair._make = None
            ears = []
            server = await serve(lambda link: ears.append(Broken()) or ears[-1], KEY)
            link = await pair.dial(server.address)
            link.send(1, wire.SttPause())
            await pair.here.until(lambda: pair.here.closed)
            assert [type(error) for error in ears[0].closed] == [LinkError]
            assert not good.closed
            await server.close()

    run(scenario)


@pytest.mark.parametrize(
    "address",
    [pytest.param("127.0.0.1:1", id="nobody listens"), pytest.param("nonsense", id="no address")],
)
def test_nobody_there_is_a_closed_link(address):
    async def scenario():
        with pytest.raises(LinkClosed):
            await connect(address, Ear(), key=KEY, role="host", timeout_s=1)

    run(scenario)


def test_a_server_that_never_answers_is_given_up_in_time():
    async def scenario():
        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(1)
            writer.close()

        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LinkClosed, match=r"no link in 0\.1 s"):
            await connect(f"127.0.0.1:{port}", Ear(), key=KEY, role="host", timeout_s=0.1)
        server.close()

    run(scenario)
