"""What waits for a peer that does not read: bounded, fair, counted; control is never lost."""

from hypothesis import given
from hypothesis import strategies as st

from actors.link_backlog import _ROW_BYTES, Backlog
from tests.law.test_link_codec import decode

FRAME = 100
COST = FRAME + _ROW_BYTES


def drained(backlog):
    from actors.link_codec import Batch

    got = []
    while backlog:
        batch = Batch()
        backlog.drain(batch, 1000)
        got += decode([batch.take()])
    return got


steps = st.lists(
    st.one_of(
        st.tuples(st.just("audio"), st.integers(1, 3), st.integers(0, 300)),
        st.tuples(st.just("control"), st.integers(1, 3), st.integers(0, 60)),
        st.tuples(st.just("credit"), st.integers(1, 3), st.integers(0, 60)),
    ),
    max_size=80,
)


@given(steps)
def test_sent_is_delivered_plus_dropped_in_order_and_never_over_the_bound(things):
    backlog = Backlog(audio_bytes_max=8 * COST, control_bytes_max=1 << 20)
    sent_audio: dict[int, list[int]] = {}
    sent_control, credit = [], {}
    for seq, (kind, stream, size) in enumerate(things):
        if kind == "audio":
            backlog.audio(stream, 1, seq, 0, bytes(size))
            sent_audio.setdefault(stream, []).append(seq)
        elif kind == "control":
            assert backlog.control(stream, b"%d" % seq)
            sent_control.append((stream, b"%d" % seq))
        else:
            backlog.credit(stream, seq)
            credit[stream] = seq
        assert 0 <= backlog.audio_bytes <= 8 * COST
    got = drained(backlog)
    dropped = backlog.take_dropped()
    for stream, seqs in sent_audio.items():
        arrived = [row[3] for row in got if row[0] == "audio" and row[1] == stream]
        assert arrived == [seq for seq in seqs if seq in set(arrived)]
        assert len(arrived) + dropped.get(stream, (0, 0))[0] == len(seqs)
    for stream in (1, 2, 3):
        mine = [body for s, body in sent_control if s == stream]
        assert [row[2] for row in got if row[0] == "control" and row[1] == stream] == mine
    assert {row[1]: row[2] for row in got if row[0] == "credit"} == credit
    assert (backlog.audio_bytes, backlog.control_bytes) == (0, 0)


def test_the_oldest_of_a_stream_goes_first():
    backlog = Backlog(audio_bytes_max=3 * COST, control_bytes_max=1000)
    for seq in range(5):
        backlog.audio(1, 1, seq, 0, bytes(FRAME))
    assert [row[3] for row in drained(backlog)] == [2, 3, 4]
    assert backlog.take_dropped() == {1: (2, 2 * FRAME)}
    assert backlog.take_dropped() == {}


def test_a_stream_that_pours_does_not_push_out_the_others():
    backlog = Backlog(audio_bytes_max=10 * COST, control_bytes_max=1000)
    backlog.audio(1, 1, 0, 0, bytes(FRAME))
    for seq in range(1000):
        backlog.audio(2, 1, seq, 0, bytes(FRAME))
    arrived = [row[1] for row in drained(backlog)]
    assert arrived.count(1) == 1
    assert arrived.count(2) == 9


def test_a_newcomer_takes_room_from_one_that_filled_it():
    backlog = Backlog(audio_bytes_max=10 * COST, control_bytes_max=1000)
    for seq in range(10):
        backlog.audio(2, 1, seq, 0, bytes(FRAME))
    backlog.audio(1, 1, 0, 0, bytes(FRAME))
    assert [row[1] for row in drained(backlog)].count(1) == 1


def test_control_past_its_bound_is_said_and_not_dropped():
    backlog = Backlog(audio_bytes_max=1000, control_bytes_max=300)
    kept = [backlog.control(1, bytes(10)) for _ in range(6)]
    assert kept == [True] * 4 + [False] * 2
    assert len(drained(backlog)) == 4
