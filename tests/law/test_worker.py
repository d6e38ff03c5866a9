"""A worker's door to the router, with the time as an argument: what is told when, and when it leaves."""

import msgspec
import pytest

from actors import wire
from actors.lag import LagMonitor
from actors.worker import RouterDoor
from router.errors import LinkProtocolError


class FakeLink:
    peer = "router"

    def __init__(self):
        self.sent, self.closed, self.error = [], False, None

    def send(self, stream, body):
        assert stream == 0
        self.sent.append(body)

    def fail(self, error):
        self.closed, self.error = True, error


class Worker:
    def __init__(self):
        self.live, self.lag_ms, self.ops, self.left = 0, 0.0, [], 0
        self.door = RouterDoor(
            report=self._report, live=lambda: self.live, on_op=self.ops.append, leave=self._leave, absent_s=60
        )

    def _report(self, whole):
        leases = ("l1",) if whole else ()
        return wire.WorkerReport(actor="a", streams=self.live, lag_p99_ms=self.lag_ms, leases=leases)

    def _leave(self):
        self.left += 1

    def say(self, link, op):
        self.door.on_control(link, 0, memoryview(msgspec.msgpack.encode(op)))

    def greeted(self):
        link = FakeLink()
        assert self.door.take(link) is self.door
        self.say(link, wire.Hello(router="r1"))
        return link


def test_hello_is_answered_with_the_whole_report_and_load_is_told_once_a_second_and_when_it_changed():
    worker = Worker()
    link = worker.greeted()
    assert [report.leases for report in link.sent] == [("l1",)]
    worker.door.tick(0.0)
    assert len(link.sent) == 1  # nothing changed
    for tenth in range(30):
        worker.live = 1 + tenth
        worker.door.tick(tenth / 10)
    assert [(report.streams, report.leases) for report in link.sent[1:]] == [(1, ()), (11, ()), (21, ())]


def test_a_lag_that_hardly_moves_is_no_news():
    worker = Worker()
    link = worker.greeted()
    for second, worker.lag_ms in enumerate((0.2, 0.9, 1.3, 1.9, 2.4)):
        worker.door.tick(float(second))
    assert [report.lag_p99_ms for report in link.sent[1:]] == [1.3, 2.4]


def test_events_go_at_once_and_are_counted_where_no_router_listens():
    worker = Worker()
    change = wire.SessionChange(session_id="s", state="opened")
    assert not worker.door.push(change)
    assert worker.door.dropped == 1
    link = worker.greeted()
    assert worker.door.push(change)
    assert link.sent[-1] == change


def test_a_second_router_link_replaces_the_first_and_the_first_is_not_listened_to():
    worker = Worker()
    first = worker.greeted()
    second = worker.greeted()
    assert first.closed
    worker.say(first, wire.Retire())
    assert not worker.door.retiring
    worker.door.on_closed(first, None)  # comes late: the second is still there
    assert worker.door.push(wire.Outcome(actor="a", provider="p", ok=True))
    assert len(second.sent) == 2


def test_the_rest_goes_to_the_worker_and_garbage_ends_the_link():
    worker = Worker()
    link = worker.greeted()
    worker.say(link, wire.CloseSession(session_id="s"))
    assert worker.ops == [wire.CloseSession(session_id="s")]
    with pytest.raises(LinkProtocolError):
        worker.door.on_control(link, 0, memoryview(b"\xc1"))


@pytest.mark.parametrize(
    ("timeline", "left_at"),
    [
        pytest.param([(0, 0, False), (59, 0, False), (60, 0, False)], 60, id="never a router, never a stream"),
        pytest.param([(0, 0, True), (100, 0, True), (150, 0, False), (159, 0, False), (160, 0, False)], 160,
                     id="sixty seconds after the router was last seen"),
        pytest.param([(0, 3, False), (500, 3, False), (559, 0, False), (561, 0, False)], 561,
                     id="live streams keep it"),
        pytest.param([(0, 0, False), (50, 0, True), (70, 0, False), (100, 0, False)], None, id="the router came back"),
    ],
)  # fmt: skip
def test_it_leaves_when_router_and_streams_are_both_absent(timeline, left_at):
    worker = Worker()
    link = None
    for at_s, worker.live, router in timeline:
        if router and link is None:
            link = worker.greeted()
        elif not router and link is not None:
            worker.door.on_closed(link, None)
            link = None
        worker.door.tick(float(at_s))
        assert worker.left == int(left_at is not None and at_s >= left_at)


def test_retired_it_leaves_once_when_the_last_stream_has_gone():
    worker = Worker()
    link = worker.greeted()
    worker.live = 1
    worker.say(link, wire.Retire())
    worker.door.tick(0.0)
    assert (worker.door.retiring, worker.left) == (True, 0)
    worker.live = 0
    worker.door.tick(1.0)
    worker.door.tick(2.0)
    assert worker.left == 1


def test_lag_is_the_overshoot_of_the_last_ticks_only():
    lag = LagMonitor(0.02, window=100)
    assert lag.p99_ms() == 0
    now_s = 0.0
    for late_s in [0.5] + [0.0] * 98 + [0.03, 0.03]:
        now_s += 0.02 + late_s
        lag.tick(now_s)
    assert lag.p99_ms() == pytest.approx(30)
    assert lag.p50_ms() == pytest.approx(0, abs=1e-6)
    for _ in range(100):
        now_s += 0.02
        lag.tick(now_s)
    assert lag.p99_ms() == pytest.approx(0, abs=1e-6)
