"""The books hold under any order of opens, closes, deaths, fall-backs and adoptions."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.attempt import Attempt, OpenLimits, Wait
from actors.books import Books, Lack, Placed, Short
from actors.host_book import LAG_HOLD_S, LAG_MS, LAG_SESSIONS
from actors.pool_book import PoolKey
from actors.wire import Lease, ProviderSpec, SessionChange, WorkerInfo
from router.plan import Candidate, Capacity, Refusal, RoutePlan, Stage
from router.scaling import HostBounds, PoolBounds
from router.settings import SessionSettings

SETTINGS = SessionSettings()


def candidate(stage: Stage, provider: str, *, owner: str = "*", per_key: int | None = None) -> Candidate:
    return Candidate(
        stage=stage, provider=provider, type=provider, owner=owner, capacity=Capacity(streams_per_key=per_key)
    )


def plan(**stages: tuple[Candidate, ...]) -> RoutePlan:
    return RoutePlan(
        route="r", version="v", tenant_id="acme", region="eu", pool_region="eu", stages=stages, settings=SETTINGS
    )


def worker(name: str, capacity: int, kind: str = "provider") -> WorkerInfo:
    return WorkerInfo(
        actor=name, kind=kind, region="eu", address=f"127.0.0.1:{len(name)}", pid=1, node="n", capacity=capacity
    )


def books(*, max_actors: int = 2, max_sessions: int = 250) -> Books:
    return Books(
        incarnation="r1",
        bounds_of=lambda provider: PoolBounds(max=max_actors),
        spec_of=lambda c, region: ProviderSpec(provider=c.provider, type=c.type, stage=c.stage, region=region),
        host_bounds=HostBounds(max_sessions=max_sessions),
        is_inline=lambda c: c.type == "client",
    )


def ready(b: Books, c: Candidate, name: str, capacity: int) -> None:
    b.pool(c, "eu").started(worker(name, capacity), 0.0)


def host(b: Books, name: str = "h1", capacity: int = 250) -> None:
    b.host_book("eu").started(worker(name, capacity, "host"))


def check(b: Books) -> None:
    """What always holds."""
    assert Counter((booked.pool.provider, booked.pool.owner) for booked in b.leases.values()) == b.per_key
    held = [lease for pool in b.pools.values() for lease in pool.leases()]
    assert sorted(held) == sorted(b.leases), "an actor counts exactly the leases that are open"
    assert {lease for s in b.sessions.values() for lease in s.leases} == set(b.leases), "every lease has its session"
    assert Counter(s.route for s in b.sessions.values()) == b.per_route
    on_hosts = {i for book in b.hosts.values() for h in book.hosts.values() for i in h.sessions}
    assert on_hosts == set(b.sessions)


EARS, EARS2 = candidate("stt", "ears"), candidate("stt", "ears-2")
ORDER: dict[Stage, list[int]] = {"stt": [0]}


def test_a_session_takes_a_stream_of_every_stage_and_a_place_on_a_host() -> None:
    b = books()
    voice = candidate("tts", "voice")
    ready(b, EARS, "a", 2)
    ready(b, voice, "v", 2)
    host(b)
    found = b.place("s", plan(stt=(EARS,), tts=(voice,)), {"stt": [0], "tts": [0]}, fingerprint="f", now_s=0)
    assert isinstance(found, Placed)
    assert [(lease.stage, lease.actor) for lease in found.leases] == [("stt", "a"), ("tts", "v")]
    check(b)


def test_nothing_is_taken_when_one_stage_is_short() -> None:
    b = books()
    ready(b, EARS, "a", 2)
    host(b)
    voice = candidate("tts", "voice")
    found = b.place("s", plan(stt=(EARS,), tts=(voice,)), {"stt": [0], "tts": [0]}, fingerprint="f", now_s=0)
    assert isinstance(found, Short)
    assert [(lack.stage, lack.why) for lack in found.lacks] == [("tts", "cold")]
    assert not b.leases
    assert not b.sessions
    check(b)


def test_the_agent_that_is_the_callers_own_code_takes_no_stream() -> None:
    b = books()
    host(b)
    own = candidate("agent", "client")
    found = b.place("s", plan(agent=(own,)), {"agent": [0]}, fingerprint="f", now_s=0)
    assert isinstance(found, Placed)
    assert found.leases == ()


def test_the_bound_of_a_key_counts_over_regions() -> None:
    b = books()
    ears = candidate("stt", "ears", per_key=1)
    ready(b, ears, "a", 5)
    host(b)
    assert isinstance(b.place("s1", plan(stt=(ears,)), ORDER, fingerprint="f", now_s=0), Placed)
    us = RoutePlan(
        route="r", version="v", tenant_id="acme", region="us", pool_region="us", stages={"stt": (ears,)},
        settings=SETTINGS,
    )  # fmt: skip
    b.pool(ears, "us").started(worker("b", 5), 0.0)
    found = b.place("s2", us, ORDER, fingerprint="f", now_s=0)
    assert isinstance(found, Short)
    assert found.lacks[0].why == "key"


def test_two_owners_never_share_an_actor() -> None:
    b = books()
    acme, shared = candidate("stt", "ears", owner="acme"), candidate("stt", "ears")
    ready(b, acme, "a", 5)
    host(b)
    found = b.place("s", plan(stt=(shared,)), ORDER, fingerprint="f", now_s=0)
    assert isinstance(found, Short)
    assert set(b.pools) == {PoolKey("ears", "acme", "eu"), PoolKey("ears", "*", "eu")}


def test_a_dedicated_session_has_its_host_alone() -> None:
    b = books()
    ready(b, EARS, "a", 9)
    host(b, "h1")
    host(b, "h2")
    alone = RoutePlan(
        route="r", version="v", tenant_id="acme", region="eu", pool_region="eu", stages={"stt": (EARS,)},
        settings=SETTINGS, isolation="dedicated",
    )  # fmt: skip
    first = b.place("s1", alone, ORDER, fingerprint="f", now_s=0)
    second = b.place("s2", plan(stt=(EARS,)), ORDER, fingerprint="f", now_s=0)
    third = b.place("s3", alone, ORDER, fingerprint="f", now_s=0)
    assert isinstance(first, Placed)
    assert isinstance(second, Placed)
    assert first.host != second.host
    assert isinstance(third, Short)
    assert third.host == "cold"
    b.release("s1")
    assert isinstance(b.place("s3", alone, ORDER, fingerprint="f", now_s=0), Placed)
    check(b)


def test_a_host_is_filled_before_the_next_one_and_a_lagging_one_left_alone() -> None:
    b = books(max_sessions=2)
    ready(b, EARS, "a", 99)
    host(b, "h1")
    host(b, "h2")
    placed = [b.place(f"s{i}", plan(stt=(EARS,)), ORDER, fingerprint="f", now_s=0) for i in range(4)]
    assert [p.host for p in placed if isinstance(p, Placed)] == ["h1", "h1", "h2", "h2"]
    b.release("s0")
    b.release("s2")
    b.hosts["eu"].hosts["h1"].report_lag(9.0, 0.0)
    late = b.place("s9", plan(stt=(EARS,)), ORDER, fingerprint="f", now_s=0)
    assert isinstance(late, Placed)
    assert late.host == "h2"


def test_a_burst_that_makes_a_host_lag_opens_no_other_and_a_lag_that_lasts_does() -> None:
    b = books(max_sessions=100)
    book = b.host_book("eu")
    book.started(worker("h1", 100, "host"))
    one = book.hosts["h1"]
    one.sessions.update(f"s{i}" for i in range(LAG_SESSIONS))
    for at_s in range(7):  # the burst is in the host's measure for 5 s, and its reports come once a second
        one.report_lag(60.0, float(at_s))
        assert book.to_start(float(at_s)) == 0
    one.report_lag(LAG_MS, 7.0)
    one.report_lag(60.0, 8.0)
    assert book.to_start(8.0 + LAG_HOLD_S - 0.1) == 0, "what went before the calm does not count"
    assert book.to_start(8.0 + LAG_HOLD_S) == 1
    one.sessions.pop()
    assert book.to_start(8.0 + LAG_HOLD_S) == 0, "with few sessions it is the machine that lags"


@pytest.mark.parametrize(
    ("beside", "opened"),
    [(LAG_SESSIONS, 0), (2 * LAG_SESSIONS - 1, 1)],
    ids=["beside one of half its sessions it is the machine", "beside one as full it is the sessions"],
)
def test_a_host_that_lags_beside_an_emptier_one_that_lags_too_opens_no_other(beside: int, opened: int) -> None:
    book = books(max_sessions=100).host_book("eu")
    for name, sessions in (("h1", 2 * LAG_SESSIONS), ("h2", beside)):
        book.started(worker(name, 100, "host"))
        book.hosts[name].sessions.update(f"{name}-{i}" for i in range(sessions))
        book.hosts[name].report_lag(60.0, 0.0)
    assert book.to_start(LAG_HOLD_S) == opened


def test_what_a_restarted_router_finds_is_booked_again() -> None:
    b = books()
    ready(b, EARS, "a", 1)
    host(b, "h1")
    lease = Lease(lease_id="r0-1", stage="stt", candidate=0, address="x:1", actor="a")
    change = SessionChange(
        session_id="s", state="opened", tenant_id="acme", region="eu", route="r", leases=(lease,), fingerprint="f"
    )
    b.adopt(change, "h1", "eu", b.key_by_actor(), 5.0)
    b.adopt(change, "h1", "eu", b.key_by_actor(), 6.0)
    check(b)
    assert b.per_key == {("ears", "*"): 1}
    assert isinstance(b.place("s2", plan(stt=(EARS,)), ORDER, fingerprint="f", now_s=7), Short)
    b.release("s")
    check(b)
    assert not b.leases


# ---------------------------------------------------------------------------------------------------- one open


def attempt(p: RoutePlan, **limits: float) -> Attempt:
    order: dict[Stage, list[int]] = {stage: list(range(len(c))) for stage, c in p.stages.items()}
    return Attempt("s", "f", p, OpenLimits(**limits), 0.0, order)


def test_a_cold_pool_is_waited_for_then_the_next_candidate_is_asked() -> None:
    b = books()
    host(b)
    ready(b, EARS2, "b", 1)
    a = attempt(plan(stt=(EARS, EARS2)), grow_wait_s=10)
    waiting = a.step(b, 0.0)
    assert isinstance(waiting, Wait)
    assert (waiting.pools, waiting.until_s) == ((PoolKey("ears", "*", "eu"),), 10.0)
    found = a.step(b, 10.0)
    assert isinstance(found, Placed)
    assert (found.leases[0].candidate, found.leases[0].actor) == (1, "b")


def test_a_pool_that_cannot_start_is_passed_over_at_once() -> None:
    b = books()
    host(b)
    ready(b, EARS2, "b", 1)
    b.pool(EARS, "eu").start_failed("x", "unavailable", "no model", 0.0)
    found = attempt(plan(stt=(EARS, EARS2))).step(b, 0.5)
    assert isinstance(found, Placed)
    assert found.leases[0].candidate == 1


def test_a_chain_that_is_exhausted_is_refused_and_says_when_to_come_back() -> None:
    b = books()
    host(b)
    b.pool(EARS, "eu").start_failed("x", "unavailable", "no model", 0.0)
    found = attempt(plan(stt=(EARS,))).step(b, 0.5)
    assert found == Refusal(kind="unavailable", detail="stt: no model", retry_after_s=1.5)


def test_a_wrong_key_is_refused_without_a_time_to_come_back() -> None:
    b = books()
    host(b)
    b.pool(EARS, "eu").start_failed("x", "auth", "the key was not accepted", 0.0)
    found = attempt(plan(stt=(EARS,))).step(b, 0.5)
    assert found == Refusal(kind="unavailable", detail="stt: the key was not accepted", retry_after_s=None)


def test_a_full_pool_is_waited_for_and_then_refused() -> None:
    b = books(max_actors=1)
    host(b)
    ready(b, EARS, "a", 1)
    assert isinstance(b.place("other", plan(stt=(EARS,)), ORDER, fingerprint="f", now_s=0), Placed)
    a = attempt(plan(stt=(EARS,)), full_wait_s=2)
    waiting = a.step(b, 0.0)
    assert isinstance(waiting, Wait)
    assert waiting.until_s == 2.0
    refused = a.step(b, 2.0)
    assert refused == Refusal(
        kind="capacity", detail="stt: pool eu/ears is full: 1 streams are open", retry_after_s=2.0
    )


# -------------------------------------------------------------------------------------------------- any history


class AnyHistory(RuleBasedStateMachine):
    """Opens, closes, expiries, deaths and fall-backs in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.b = books(max_actors=3, max_sessions=4)
        self.ears = (candidate("stt", "ears", per_key=5), candidate("stt", "ears-2"))
        self.voice = (candidate("tts", "voice"),)
        self.plan = plan(stt=self.ears, tts=self.voice)
        self.made = self.opened = 0
        self.now_s = 0.0

    @rule(which=st.integers(0, 2), capacity=st.integers(1, 3))
    def an_actor_starts(self, which: int, capacity: int) -> None:
        self.made += 1
        pool = self.b.pool((*self.ears, *self.voice)[which], "eu")
        if pool.can_grow(self.now_s):
            pool.begin_start(f"a{self.made}", self.now_s)
            pool.started(worker(f"a{self.made}", capacity), self.now_s)

    @rule(capacity=st.integers(1, 4))
    def a_host_starts(self, capacity: int) -> None:
        self.made += 1
        host(self.b, f"h{self.made}", capacity)

    @rule(first=st.integers(0, 1))
    def a_session_opens(self, first: int) -> None:
        self.opened += 1
        order: dict[Stage, list[int]] = {"stt": [first], "tts": [0]}
        self.b.place(f"s{self.opened}", self.plan, order, fingerprint="f", now_s=self.now_s)

    @precondition(lambda self: self.b.sessions)
    @rule(data=st.data())
    def a_session_closes_twice(self, data: st.DataObject) -> None:
        session_id = data.draw(st.sampled_from(sorted(self.b.sessions)))
        assert self.b.release(session_id) is not None
        assert self.b.release(session_id) is None

    @precondition(lambda self: self.b.sessions)
    @rule(data=st.data(), index=st.integers(0, 1))
    def a_stage_falls_back(self, data: st.DataObject, index: int) -> None:
        session_id = data.draw(st.sampled_from(sorted(self.b.sessions)))
        old = sorted(i for i in self.b.sessions[session_id].leases if self.b.leases[i].lease.stage == "stt")
        got = self.b.exchange(session_id, "stt", index, self.ears[index], "eu", self.now_s)
        assert isinstance(got, Lease | Lack)
        for lease_id in old:
            assert self.b.give_back(lease_id)
            assert not self.b.give_back(lease_id)

    @rule(data=st.data())
    def an_actor_dies(self, data: st.DataObject) -> None:
        names = sorted(name for pool in self.b.pools.values() for name in pool.actors)
        if names:
            self.b.provider_lost(data.draw(st.sampled_from(names)))

    @rule(data=st.data())
    def a_host_dies(self, data: st.DataObject) -> None:
        names = sorted(name for book in self.b.hosts.values() for name in book.hosts)
        if names:
            self.b.host_lost(data.draw(st.sampled_from(names)))

    @rule(wait_s=st.floats(0, 20))
    def grants_expire(self, wait_s: float) -> None:
        self.now_s += wait_s
        for session_id in self.b.expired(self.now_s, 15.0):
            self.b.release(session_id)

    @invariant()
    def the_books_hold(self) -> None:
        check(self.b)
        for pool in self.b.pools.values():
            assert all(0 <= len(a.leases) <= a.info.capacity for a in pool.actors.values())
            assert pool.serving <= pool.bounds.max
        assert self.b.per_key["ears", "*"] <= 5
        for book in self.b.hosts.values():
            assert all(len(h.sessions) <= min(4, h.info.capacity) for h in book.hosts.values())


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# ------------------------------------------------------------------------------------------------------ scaling


@given(
    used=st.integers(0, 50), waiting=st.integers(0, 20), low=st.integers(0, 4), more=st.integers(0, 8),
    pinned=st.none() | st.integers(0, 20),
)  # fmt: skip
def test_a_pool_stays_between_min_and_max(used: int, waiting: int, low: int, more: int, pinned: int | None) -> None:
    from router.scaling import PoolLoad, replicas_wanted

    bounds = PoolBounds(min=low, max=low + more)
    load = PoolLoad(actors=0, streams_per_actor=4, used=used, waiting=waiting, pinned=pinned)
    assert low <= replicas_wanted(load, bounds) <= low + more


@pytest.mark.parametrize(
    ("actors", "used", "waiting", "idle_for_s", "wanted"),
    [
        pytest.param(0, 0, 0, 0.0, 0, id="nobody asks, nothing runs"),
        pytest.param(0, 0, 1, 0.0, 1, id="the first caller starts it"),
        pytest.param(1, 7, 0, 0.0, 1, id="up to the target one does"),
        pytest.param(1, 8, 0, 0.0, 2, id="beyond the target the next one starts"),
        pytest.param(3, 1, 0, 599.0, 3, id="it shrinks late"),
        pytest.param(3, 1, 0, 600.0, 1, id="it shrinks after idle_s"),
        pytest.param(3, 0, 0, 600.0, 0, id="an empty one goes away"),
    ],
)
def test_actors_that_a_pool_wants(actors: int, used: int, waiting: int, idle_for_s: float, wanted: int) -> None:
    from router.scaling import PoolLoad, replicas_wanted

    load = PoolLoad(actors=actors, streams_per_actor=10, used=used, waiting=waiting, idle_for_s=idle_for_s)
    assert replicas_wanted(load, PoolBounds(target=0.7)) == wanted
