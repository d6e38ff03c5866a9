"""Whatever is sent comes out once and in order, however the byte stream is cut; what is no message is refused."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import link_codec as codec
from router.errors import LinkProtocolError

MAX_BYTES = 1 << 20
u32 = st.integers(0, 2**32 - 1)
streams = st.integers(1, 4)
audio = st.tuples(st.just("audio"), streams, u32, u32, u32, st.binary(max_size=40))
control = st.tuples(st.just("control"), streams, st.binary(max_size=40))
credit = st.tuples(st.just("credit"), streams, u32)
bits = st.tuples(st.just("bits"), st.lists(st.tuples(u32, u32, st.booleans()), min_size=1, max_size=5))
entries = st.lists(st.one_of(audio, control, credit, bits), max_size=40)
cuts = st.lists(st.integers(1, 60), min_size=1, max_size=30)


def encode(things):
    batch = codec.Batch()
    for kind, *args in things:
        if kind == "bits":
            rows = args[0]
            batch.bits([r[0] for r in rows], [r[1] for r in rows], bytes(r[2] for r in rows))
        else:
            getattr(batch, kind)(*args)
    return batch.take()


def decode(chunks):
    """Everything that arrives, as rows."""
    splitter, got = codec.Splitter(MAX_BYTES), []
    for chunk in chunks:
        for kind, count, view in splitter.feed(chunk):
            if kind == codec.AUDIO:
                b = codec.decode_audio(view, count)
                rows = zip(b.streams, b.gens, b.seqs, b.poss, b.frames(), strict=True)
                got += [("audio", s, g, q, p, bytes(f)) for s, g, q, p, f in rows]
            elif kind == codec.CONTROL:
                got += [("control", s, bytes(body)) for s, body in codec.decode_control(view, count)]
            elif kind == codec.CREDIT:
                got += [("credit", *row) for row in zip(*codec.decode_credit(view, count), strict=True)]
            elif kind == codec.BITS:
                got += [("bits", *row) for row in zip(*codec.decode_bits(view, count), strict=True)]
    assert splitter.held_bytes == 0
    return got


def audio_batch(pcms):
    ((kind, count, view),) = codec.Splitter(MAX_BYTES).feed(encode([("audio", i, i, i, i, pcm) for i, pcm in pcms]))
    assert kind == codec.AUDIO
    return codec.decode_audio(view, count)


@given(
    st.one_of(
        st.lists(st.binary(max_size=40), min_size=1, max_size=20),
        st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=20),  # as long as each other, as frames are
        st.lists(st.just(b""), min_size=1, max_size=20),
    ),
    st.data(),
)
def test_frames_are_the_same_in_each_form_whole_or_some_of_them(pcms, data):
    batch = audio_batch(list(enumerate(pcms)))
    assert batch.pcm() == pcms == [bytes(frame) for frame in batch.frames()]
    which = sorted(data.draw(st.sets(st.integers(0, len(pcms) - 1))))
    assert list(batch.picked(np.array(which, dtype=np.int64))) == [(i, i, i, pcms[i]) for i in which]


def cut(data, sizes):
    chunks, at, i = [], 0, 0
    while at < len(data):
        chunks.append(data[at : at + sizes[i % len(sizes)]])
        at, i = at + sizes[i % len(sizes)], i + 1
    return chunks


@given(st.lists(entries, max_size=4), cuts)
def test_everything_arrives_once_in_order_and_credit_last_of_its_batch(batches, sizes):
    data, expected = b"", []
    for things in batches:
        data += encode(things)
        for kind, *args in things:
            if kind == "bits":
                expected += [("bits", s, p, int(b)) for s, p, b in args[0]]
            elif kind != "credit":
                expected.append((kind, *args))
        newest = {stream: seq for kind, *args in things if kind == "credit" for stream, seq in [args]}
        expected += [("credit", stream, seq) for stream, seq in newest.items()]
    assert decode(cut(data, sizes)) == expected


def test_neighbours_share_a_message_and_order_between_kinds_is_kept():
    things = [
        ("audio", 1, 1, 1, 0, b"aa"),
        ("audio", 2, 1, 1, 0, b"bb"),
        ("control", 1, b"x"),
        ("audio", 1, 1, 2, 1, b"cc"),
    ]
    kinds = [(kind, count) for kind, count, _ in codec.Splitter(MAX_BYTES).feed(encode(things))]
    assert kinds == [(codec.AUDIO, 2), (codec.CONTROL, 1), (codec.AUDIO, 1)]


def test_a_frame_costs_twenty_bytes_beside_its_audio():
    one, two = (len(encode([("audio", 1, 1, 1, 0, b"")] * n)) for n in (1, 2))
    assert two - one == 20
    assert one == 20 + codec.HEADER_BYTES


def header(length, kind, count):
    return struct.pack("<IB3xI", length, kind, count)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(header(MAX_BYTES + 1, codec.AUDIO, 1), id="longer than the bound"),
        pytest.param(header(2**32 - 1, codec.CONTROL, 1), id="four gigabytes announced"),
        pytest.param(header(7, codec.BEAT, 0), id="shorter than its own header"),
        pytest.param(header(8, 99, 0), id="a kind that is none"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="a web browser"),
    ],
)
def test_what_is_no_message_is_refused_before_its_payload_is_there(data):
    with pytest.raises(LinkProtocolError):
        list(codec.Splitter(MAX_BYTES).feed(data))


@pytest.mark.parametrize("decoder", [codec.decode_audio, codec.decode_bits, codec.decode_credit, codec.decode_control])
@pytest.mark.parametrize(
    ("count", "view"),
    [
        pytest.param(1, b"", id="rows announced, none there"),
        pytest.param(2**32 - 1, b"\0" * 64, id="four billion rows"),
        pytest.param(1, struct.pack("<5I", 1, 1, 1, 1, 9) + b"abc", id="lengths beyond the payload"),
        pytest.param(0, b"abc", id="payload nobody owns"),
    ],
)
def test_columns_that_do_not_agree_are_refused(decoder, count, view):
    with pytest.raises(LinkProtocolError):
        decoder(memoryview(view), count)


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_garbage_is_refused_or_waited_for_and_never_anything_else(chunks):
    splitter = codec.Splitter(1000)
    decoders = {codec.AUDIO: codec.decode_audio, codec.BITS: codec.decode_bits, codec.CONTROL: codec.decode_control}
    try:
        for chunk in chunks:
            for kind, count, view in splitter.feed(chunk):
                decoders.get(kind, codec.decode_credit)(view, count)
            assert splitter.held_bytes <= 1004 + 200
    except LinkProtocolError:
        pass


def test_a_number_that_is_no_u32_is_an_error_at_the_sender():
    batch = codec.Batch()
    batch.audio(1, 1, 1, 2**32, b"")
    with pytest.raises(OverflowError):
        batch.take()
