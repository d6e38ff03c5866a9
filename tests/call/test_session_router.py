"""The router, whole, in one process and virtual time; the fleet is a fake with a handle."""

from __future__ import annotations

import asyncio
import itertools
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog

from actors import wire
from actors.attempt import OpenLimits
from actors.client import SessionHandle
from actors.grant import verify
from actors.host_book import LAG_HOLD_S
from actors.session_router import SessionRouter
from router.errors import ClusterError, SessionGone, SessionRefused
from router.plan import Capacity
from router.scaling import HostBounds, PoolBounds
from tests.fake_fleet import FakeFleet, HandRules, attach, auth_failure
from tests.simulation import simulate

ACME: dict[str, Any] = {"acme": {"stt": "ears ears-2", "tts": "voice"}}


@pytest.fixture(autouse=True)
def logged() -> Any:
    with structlog.testing.capture_logs() as lines:
        yield lines


def ctx(session_id: str = "s1", tenant_id: str = "acme", **fields: Any) -> dict[str, Any]:
    return {"session_id": session_id, "tenant_id": tenant_id, "region": "eu", **fields}


def router_of(rules: HandRules, fleet: FakeFleet, tags: str = "r", **options: Any) -> SessionRouter:
    count = itertools.count(1)
    return SessionRouter(
        rules, fleet, fleet.dial, unix_s=lambda: 1000.0, tag=lambda: f"{tags}{next(count):07d}", **options
    )


def run(
    script: Callable[[SessionRouter, FakeFleet], Awaitable[None]],
    rules: HandRules | None = None,
    fleet: FakeFleet | None = None,
    **options: Any,
) -> None:
    fleet = fleet or FakeFleet()

    async def whole() -> None:
        async with router_of(rules or HandRules(ACME), fleet, **options).running() as router:
            await script(router, fleet)

    simulate(whole())


def now() -> float:
    return asyncio.get_running_loop().time()


def grant_of(router: SessionRouter, handle: SessionHandle) -> wire.Grant:
    host = router.books.sessions[handle.session_id].host
    return verify(handle.token, router.force.key, now_unix_s=1000.0, host=host)


async def refusal(router: SessionRouter, context: dict[str, Any]) -> SessionRefused:
    with pytest.raises(SessionRefused) as caught:
        await router.open(context)
    return caught.value


def test_open_starts_what_it_needs_and_answers_with_a_grant_for_it() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        handle = await router.open(ctx(attributes={"name": "Ann"}))
        assert now() == 1.0, "host and actors start at the same time"
        assert sorted(fleet.started) == ["ears", "voice"]
        assert handle.providers == {"stt": ("ears", "ears-2"), "tts": ("voice",)}
        grant = grant_of(router, handle)
        assert [(x.stage, x.candidate) for x in grant.leases] == [("stt", 0), ("tts", 0)]
        assert {x.actor for x in grant.leases} < set(fleet.workers)
        assert grant.attributes == {"name": "Ann"}
        assert handle.address == fleet.named("host-eu")[0].info.address
        assert pickle.loads(pickle.dumps(handle)) == handle
        await router.open(ctx("s2"))
        assert now() == 1.0, "warm, it does not wait"

    run(script)


def test_open_is_idempotent_and_the_same_id_with_other_fields_is_a_conflict() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        first, same = await asyncio.gather(router.open(ctx()), router.open(ctx()))
        again = await router.open(ctx())
        assert (first.address, first.session_id) == (same.address, same.session_id) == (again.address, again.session_id)
        assert router.statistics()["leases"] == 2
        for other in (ctx(attributes={"a": 1}), ctx(tenant_id="globex")):
            refused = await refusal(router, other)
            assert (refused.kind, refused.retry_after_s) == ("conflict", None)
            assert "acme" not in str(refused)
        assert pickle.loads(pickle.dumps(refused)).kind == "conflict"

    run(script, HandRules({**ACME, "globex": ACME["acme"]}))


def test_a_conflict_is_seen_while_the_first_open_still_waits() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        first = asyncio.gather(router.open(ctx()), return_exceptions=True)
        await asyncio.sleep(0.1)
        assert (await refusal(router, ctx(region="us"))).kind == "conflict"
        assert isinstance((await first)[0], SessionHandle)

    run(script)


def test_a_full_pool_grows_to_max_then_waits_then_the_next_candidate_serves_then_it_is_refused() -> None:
    rules = HandRules({"acme": {"stt": "ears ears-2"}}, bounds={"ears": PoolBounds(max=2), "ears-2": PoolBounds(max=1)})

    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        for i in range(2):
            await router.open(ctx(f"a{i}"))
        assert len(fleet.named("stt-ears-eu")) == 2, "the target was passed, the second actor is there"
        began_s = now()
        served = await router.open(ctx("b"))
        assert grant_of(router, served).leases[0].candidate == 1
        assert now() - began_s == pytest.approx(2.0 + 1.0), "full_wait_s, then the start of the other pool's actor"
        began_s = now()
        refused = await refusal(router, ctx("c"))
        assert (refused.kind, refused.retry_after_s) == ("capacity", 2.0)
        assert now() - began_s == pytest.approx(4.0)
        assert router.statistics()["refused"] == {"capacity": 1}

    run(script, rules, FakeFleet(capacity=1))


def test_a_stream_given_back_serves_who_waits() -> None:
    rules = HandRules({"acme": {"stt": "ears"}}, bounds={"ears": PoolBounds(max=1)})

    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        await router.open(ctx("a"))
        waiting = asyncio.gather(router.open(ctx("b")))
        await asyncio.sleep(1.0)
        await router.close("a")
        (handle,) = await waiting
        assert handle.session_id == "b"

    run(script, rules, FakeFleet(capacity=1))


@pytest.mark.parametrize(
    ("failure", "kind", "retry_after_s"),
    [
        pytest.param(auth_failure("ears"), "unavailable", None, id="a wrong key: coming back does not help"),
        pytest.param(ClusterError("no memory"), "unavailable", 2.0, id="what may pass"),
        pytest.param(ZeroDivisionError("in the provider's own code"), "unavailable", 2.0, id="a bug of a provider"),
    ],
)
def test_a_pool_that_cannot_start_is_a_clear_refusal(
    failure: Exception, kind: str, retry_after_s: float | None
) -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        fleet.fails["ears"] = failure
        refused = await refusal(router, ctx())
        assert (refused.kind, refused.retry_after_s) == (kind, retry_after_s)
        assert str(failure) in refused.detail
        began = len(fleet.started)
        await refusal(router, ctx())
        assert len(fleet.started) == began, "it is not tried again at once"
        del fleet.fails["ears"]
        await asyncio.sleep(2.0)
        await router.open(ctx())

    run(script, HandRules({"acme": {"stt": "ears"}}))


def test_a_dead_first_candidate_costs_its_start_and_no_more() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        fleet.fails["ears"] = auth_failure("ears")
        handle = await router.open(ctx())
        assert [x.candidate for x in grant_of(router, handle).leases if x.stage == "stt"] == [1]
        assert now() == 2.0
        await router.open(ctx("s2"))
        assert now() == 2.0

    run(script)


def test_a_creation_that_never_comes_is_killed_after_fifteen_seconds() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        fleet.slow.add("ears")
        refused = await refusal(router, ctx())
        assert now() == 15.0
        assert "within 15 s" in refused.detail
        await asyncio.sleep(0.01)
        assert [name for name in fleet.killed if "ears" in name]

    run(script, HandRules({"acme": {"stt": "ears"}}))


def test_a_grant_that_nobody_shows_is_taken_back() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        await router.open(ctx())
        await asyncio.sleep(14.0)
        assert router.statistics()["leases"] == 2
        await asyncio.sleep(2.5)
        assert router.statistics()["leases"] == router.statistics()["sessions"] == 0

    run(script)


def test_a_live_session_is_kept_and_its_end_gives_everything_back() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        handle = await router.open(ctx())
        host = fleet.named("host-eu")[0]
        attach(host, "s1", grant_of(router, handle))
        await asyncio.sleep(60.0)
        assert [(s["session_id"], s["state"]) for s in router.sessions()] == [("s1", "live")]
        host.say(wire.SessionChange(session_id="s1", state="closed", reason="caller_closed"))
        assert router.sessions() == []
        assert router.statistics()["leases"] == 0

    run(script)


def test_close_tells_the_host_and_waits_for_the_end() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        handle = await router.open(ctx())
        host = fleet.named("host-eu")[0]
        attach(host, "s1", grant_of(router, handle))
        closing = asyncio.gather(router.close("s1"))
        await asyncio.sleep(0.5)
        assert host.told[-1] == wire.CloseSession(session_id="s1")
        assert not closing.done()
        host.say(wire.SessionChange(session_id="s1", state="closed"))
        await closing
        with pytest.raises(SessionGone):
            await router.close("s1")

    run(script)


def test_a_session_closed_before_its_caller_came_turns_the_caller_away() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        handle = await router.open(ctx())
        grant, host = grant_of(router, handle), fleet.named("host-eu")[0]
        await router.close("s1")
        attach(host, "s1", grant)
        assert host.told[-1] == wire.CloseSession(session_id="s1")
        assert router.sessions() == []

    run(script)


def test_a_dead_provider_actor_gives_its_leases_back_and_is_replaced_when_asked() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        handle = await router.open(ctx())
        host = fleet.named("host-eu")[0]
        grant = grant_of(router, handle)
        attach(host, "s1", grant)
        dead = next(x for x in grant.leases if x.stage == "stt")
        fleet.die(dead.actor)
        host.say(wire.LeaseRequest(session_id="s1", stage="stt", candidate=1, gives_back=dead.lease_id))
        await asyncio.sleep(1.5)
        answer = host.told[-1]
        assert isinstance(answer, wire.LeaseAnswer)
        assert answer.lease is not None
        assert "stt-ears-2-" in answer.lease.actor
        assert dead.actor in fleet.killed, "what is held for dead is killed, to be sure"
        assert router.statistics()["leases"] == 2
        assert router.statistics()["deaths"] == 1

    run(script)


def test_a_fall_back_to_nothing_is_answered_too() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        handle = await router.open(ctx())
        host = fleet.named("host-eu")[0]
        attach(host, "s1", grant_of(router, handle))
        host.say(wire.LeaseRequest(session_id="s1", stage="stt", candidate=7))
        host.say(wire.LeaseRequest(session_id="unknown", stage="stt", candidate=0))
        await asyncio.sleep(0.1)
        answers = [op for op in host.told if isinstance(op, wire.LeaseAnswer)]
        assert [(a.session_id, a.lease) for a in answers] == [("s1", None), ("unknown", None)]

    run(script)


def test_a_link_that_comes_back_costs_nothing() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        handle = await router.open(ctx())
        host = fleet.named("host-eu")[0]
        attach(host, "s1", grant_of(router, handle))
        fleet.break_link(host.info.actor)
        await asyncio.sleep(1.0)
        assert router.statistics()["deaths"] == 0
        assert [s["session_id"] for s in router.sessions()] == ["s1"]

    run(script)


def test_what_ended_while_the_link_was_down_is_released() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        handle = await router.open(ctx())
        host = fleet.named("host-eu")[0]
        attach(host, "s1", grant_of(router, handle))
        host.sessions.clear()
        fleet.break_link(host.info.actor)
        await asyncio.sleep(1.0)
        assert router.statistics()["leases"] == 0

    run(script)


def test_a_dead_host_gives_its_sessions_streams_back_and_another_opens() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        handle = await router.open(ctx())
        host = fleet.named("host-eu")[0]
        attach(host, "s1", grant_of(router, handle))
        fleet.die(host.info.actor)
        await asyncio.sleep(3.0)
        assert router.statistics()["leases"] == 0
        assert (await router.open(ctx())).address != handle.address

    run(script)


def test_a_restarted_router_adopts_what_lives() -> None:
    fleet, rules = FakeFleet(), HandRules(ACME)

    async def script() -> None:
        async with router_of(rules, fleet).running() as first:
            handle = await first.open(ctx())
            attach(fleet.named("host-eu")[0], "s1", grant_of(first, handle))
            key = first.force.key
        fleet.lose_router()
        alive = set(fleet.workers)
        async with router_of(rules, fleet, "q").running() as second:
            assert second.force.key == key
            assert [s["session_id"] for s in second.sessions()] == ["s1"]
            assert second.statistics()["leases"] == 2
            assert (await second.open(ctx())).address == handle.address
            assert (await refusal(second, ctx(attributes={"x": 1}))).kind == "conflict"
            await second.open(ctx("s2"))
            assert set(fleet.workers) == alive, "nothing was started again"
            host = fleet.named("host-eu")[0]
            want = rules._made("stt", "ears-2")
            host.say(wire.LeaseRequest(session_id="s1", stage="stt", candidate=1, want=want, pool_region="eu"))
            await asyncio.sleep(1.5)
            answers = [op for op in host.told if isinstance(op, wire.LeaseAnswer)]
            assert answers[-1].lease is not None

    simulate(script())


def test_the_limit_of_a_route_counts_what_is_open() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        answers = await asyncio.gather(*(router.open(ctx(f"s{i}")) for i in range(3)), return_exceptions=True)
        refused = [a for a in answers if isinstance(a, SessionRefused)]
        assert [r.kind for r in refused] == ["limit"]
        await router.close(next(a.session_id for a in answers if isinstance(a, SessionHandle)))
        await router.open(ctx("s9"))

    run(script, HandRules(ACME, max_sessions=2))


def test_the_streams_of_a_key_are_bounded_in_the_whole_cluster() -> None:
    rules = HandRules({"acme": {"stt": "ears"}}, capacity=Capacity(streams_per_key=1))

    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        await router.open(ctx("a"))
        refused = await refusal(router, {**ctx("b"), "region": "us"})
        assert refused.kind == "capacity"
        assert "all 1 streams of its key" in refused.detail

    run(script, rules)


def test_a_tenants_own_key_serves_that_tenant_only() -> None:
    rules = HandRules({"acme": {"stt": "ears@acme"}, "globex": {"stt": "ears"}})

    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        a = grant_of(router, await router.open(ctx("a"))).leases[0].actor
        b = grant_of(router, await router.open(ctx("b", "globex"))).leases[0].actor
        c = grant_of(router, await router.open(ctx("c"))).leases[0].actor
        assert a == c != b
        owners = {(p["owner"], tuple(p["actors"])) for p in router.pools() if p["stage"] == "stt"}
        assert owners == {("acme", (a,)), ("*", (b,))}

    run(script, rules)


def test_a_dedicated_session_gets_a_host_of_its_own_and_the_warm_one_is_refilled() -> None:
    rules = HandRules({"acme": {"stt": "ears"}}, isolation="dedicated", hosts=HostBounds(warm=1))

    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        one, two = await router.open(ctx("a")), await router.open(ctx("b"))
        assert one.address != two.address
        await asyncio.sleep(5.0)
        empty = [h for h in router.books.hosts["eu"].hosts.values() if not h.sessions]
        assert len(empty) >= 1

    run(script, rules)


def test_scale_keeps_so_many_and_empties_the_others_without_harm() -> None:
    rules = HandRules({"acme": {"stt": "ears"}}, bounds={"ears": PoolBounds(max=4)})

    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        router.scale("eu", "ears", 3)
        await asyncio.sleep(2.0)
        assert len(fleet.named("stt-ears-eu")) == 3
        assert not fleet.named("stt-ears-us")
        busy = grant_of(router, await router.open(ctx())).leases[0].actor
        attach(fleet.named("host-eu")[0], "s1", grant_of(router, await router.open(ctx())))
        router.scale("eu", "ears", 0)
        await asyncio.sleep(15.0)
        assert [w.info.actor for w in fleet.named("stt-ears-eu")] == [busy], "the one that serves a call still does"
        assert wire.Retire() in fleet.workers[busy].told
        for wrong in (("eu", "ears", 5), ("eu", "ears", -1), ("eu", "nobody", 1)):
            with pytest.raises(ClusterError):
                router.scale(*wrong)

    run(script, rules)


def test_an_empty_pool_shrinks_after_idle_s_to_its_minimum() -> None:
    rules = HandRules(
        {"acme": {"stt": "ears", "tts": "voice"}}, keep=("voice",),
        bounds={"ears": PoolBounds(max=2, idle_s=60), "voice": PoolBounds(min=1, max=2, idle_s=60)},
    )  # fmt: skip

    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        await router.open(ctx())
        await router.close("s1")
        await asyncio.sleep(50.0)
        assert fleet.named("stt-ears-eu")
        await asyncio.sleep(40.0)
        assert not fleet.named("stt-ears-eu")
        assert len(fleet.named("tts-voice-eu")) == 1

    run(script, rules)


def test_an_unknown_tenant_takes_the_default_route_and_is_logged_once(logged: list[Any]) -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        handle = await router.open(ctx("a", "nobody"))
        assert (handle.route, handle.default_cause) == ("default", "tenant")
        await router.open(ctx("b", "nobody"))
        assert router.statistics()["route_missing"] == {"tenant": 2}
        assert len([line for line in logged if line["event"] == "route.missing"]) == 1

    run(script, HandRules({"*": {"stt": "ears"}}))


@pytest.mark.parametrize(
    ("context", "kind", "said"),
    [
        pytest.param({"session_id": "s", "tenant_id": "nobody"}, "no_route", "nobody", id="no route, no default"),
        pytest.param({"session_id": "s"}, "context", "tenant_id: is missing", id="a field is missing"),
        pytest.param({"session_id": "a b", "tenant_id": "t"}, "context", "session_id", id="a field is wrong"),
        pytest.param({"session_id": "s", "tenant_id": "t", "x": 1}, "context", "no such field", id="unknown field"),
    ],
)
def test_a_refusal_says_why(context: dict[str, Any], kind: str, said: str) -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        refused = await refusal(router, context)
        assert refused.kind == kind
        assert said in str(refused)
        assert router.statistics()["refused"] == {kind: 1}

    run(script)


@pytest.mark.parametrize("after_s", [0.0, 0.5, 1.0])
def test_an_open_cancelled_at_any_wait_leaves_nothing_behind(after_s: float) -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(after_s):
                await router.open(ctx())
        await asyncio.sleep(20.0)
        assert router.statistics()["leases"] == router.statistics()["waiting"] == 0
        assert all(p["waiting"] == 0 for p in router.pools())

    run(script, limits=OpenLimits(deadline_s=20.0))


def test_offline_providers_are_checked_and_what_is_wrong_is_said() -> None:
    rules = HandRules({"*": {"stt": "ears", "tts": "voice"}}, offline=("ears", "voice", "other"))

    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        fleet.fails["other"] = ClusterError("the model file is missing")
        told = await router.ready(providers=True)
        assert told == {"hosts": 1, "providers": {"ears": None, "voice": None, "other": "the model file is missing"},
                        "fault": None}  # fmt: skip
        assert fleet.checked == ["other"], "those that were started are ready without another process"

    run(script, rules, prewarm=True)


def test_a_closing_cluster_refuses_and_ends_its_workers() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        await router.open(ctx())
        await router.stop()
        assert not fleet.workers
        assert (await refusal(router, ctx("s2"))).kind == "draining"

    run(script)


@pytest.mark.parametrize(
    ("sessions", "hosts"),
    [pytest.param(20, 2, id="its sessions make it lag"), pytest.param(3, 1, id="the machine makes it lag")],
)
def test_a_lagging_host_takes_no_new_session_while_another_can(sessions: int, hosts: int) -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        first = await router.open(ctx("a"))
        slow = fleet.named("host-eu")[0]
        attach(slow, "a", grant_of(router, first))
        for i in range(1, sessions):
            await router.open(ctx(f"a{i}"))
        await asyncio.sleep(0.1)
        slow.report(lag_p99_ms=9.0)
        await asyncio.sleep(LAG_HOLD_S - 1.0)
        assert len(fleet.named("host-eu")) == 1, "it may be a burst"
        await asyncio.sleep(4.0)
        assert len(fleet.named("host-eu")) == hosts, "the next one opens ahead of need"
        assert ((await router.open(ctx("b"))).address != first.address) == (hosts == 2)

    run(script, fleet=FakeFleet(capacity=500))


def test_a_pool_that_fails_its_sessions_is_put_aside_and_tried_again_by_one_probe() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        first = grant_of(router, await router.open(ctx("a")))
        host = fleet.named("host-eu")[0]
        bad = next(x for x in first.leases if x.stage == "stt").actor
        for _ in range(5):
            host.say(wire.Outcome(actor=bad, provider="ears", ok=False, kind="connect"))

        async def candidate(session_id: str) -> int:
            grant = grant_of(router, await router.open(ctx(session_id)))
            return next(x.candidate for x in grant.leases if x.stage == "stt")

        assert await candidate("b") == 1
        await asyncio.sleep(31.0)
        assert [await candidate("c"), await candidate("d")] == [0, 1], "one probe, the others wait for its outcome"
        host.say(wire.Outcome(actor=bad, provider="ears", ok=True))
        assert await candidate("e") == 0

    run(script, HandRules(ACME), FakeFleet(capacity=20))


def test_a_region_that_a_new_node_brings_is_seen() -> None:
    async def script(router: SessionRouter, fleet: FakeFleet) -> None:
        fleet.live_regions = frozenset({"eu", "us"})
        await router.open(ctx("a") | {"region": "us"})
        assert router.scale("us", "ears", 1)["region"] == "us"

    fleet = FakeFleet()
    fleet.live_regions = frozenset({"eu"})
    run(script, fleet=fleet)
