"""The router on a real Ray cluster of three nodes: two with a region, one without. Every wait is bounded."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError

from actors import events as ev
from actors.client import SessionHandle
from router.errors import ClusterError, SessionRefused
from tests.ray.talker import LOUD, SOFT, Talker

pytestmark = pytest.mark.ray
ASK_S = 30.0
_count = iter(range(1_000_000))


def ctx(tenant_id: str = "globex", region: str = "eu", session_id: str | None = None, **more: Any) -> dict[str, Any]:
    return {"session_id": session_id or f"s{next(_count)}", "tenant_id": tenant_id, "region": region, **more}


def ask(answer: Any) -> Any:
    return ray.get(answer, timeout=ASK_S)


def until(what: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """What `what` answers as soon as that is true; fails after the time. Polls: other processes tell nobody."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        found = what()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {timeout_s} s")


def opened(router: Any, context: dict[str, Any]) -> dict[str, Any]:
    """Open it, and what the router then says of it."""
    handle = ask(router.open.remote(context))
    assert isinstance(handle, SessionHandle)
    return session(router, context["session_id"])


def session(router: Any, session_id: str) -> dict[str, Any]:
    return next(s for s in ask(router.sessions.remote()) if s["session_id"] == session_id)


def pool(router: Any, provider: str, region: str, owner: str = "*") -> dict[str, Any]:
    wanted = (provider, region, owner)
    return next(
        p for p in ask(router.pools.remote()) if (p["provider"] or p["stage"], p["region"], p["owner"]) == wanted
    )


def node_of(region: str) -> str:
    return next(
        n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Labels"].get("ray.io/availability-region") == region
    )


def test_pools_and_hosts_are_on_the_nodes_of_their_region(router: Any) -> None:
    for region in ("eu", "us"):
        opened(router, ctx(region=region))
        for provider in ("ears", "voice", "fake-vad", "fake-turn", "host"):
            assert pool(router, provider, region)["nodes"] == [node_of(region)], (provider, region)


def test_a_second_session_is_served_by_the_same_actors(router: Any) -> None:
    first, second = opened(router, ctx()), opened(router, ctx())
    assert first["actors"] == second["actors"]
    assert first["host"] == second["host"]
    assert set(first["actors"]) == {"vad", "turn", "stt", "agent", "tts"}


def test_the_callers_own_code_is_the_agent_and_no_actor_is_started_for_it(router: Any) -> None:
    async def call() -> list[str]:
        said: list[str] = []
        async with ask(router.open.remote(ctx("umbrella"))).connect(mode="lockstep") as call:
            for n in range(200):
                await call.send(LOUD if 50 <= n < 100 else SOFT)
            await call.end_input()
            async for event in call:
                if isinstance(event, ev.TurnEnded):
                    await call.say(f"You said {event.text}.")
                elif isinstance(event, ev.VoiceStopped):
                    said.append(event.heard)
        return said

    assert asyncio.run(asyncio.wait_for(call(), 30.0)) == ["You said hello world."]
    assert "client" not in {p["provider"] for p in ask(router.pools.remote())}


def test_scale_changes_one_region_only(router: Any) -> None:
    opened(router, ctx(region="eu"))
    opened(router, ctx(region="us"))
    ask(router.scale.remote("eu", "voice", 2))
    until(lambda: len(pool(router, "voice", "eu")["actors"]) == 2)
    assert len(pool(router, "voice", "us")["actors"]) == 1
    ask(router.scale.remote("eu", "voice", 1))
    until(lambda: len(pool(router, "voice", "eu")["actors"]) == 1)
    with pytest.raises(ClusterError, match="0 to 3 are allowed"):
        ask(router.scale.remote("eu", "voice", 9))


def test_a_tenants_own_credential_serves_that_tenant_only(router: Any) -> None:
    acme, globex = opened(router, ctx("acme")), opened(router, ctx("globex"))
    assert pool(router, "ears", "eu", "acme")["actors"] == [acme["actors"]["stt"]]
    assert pool(router, "ears", "eu")["actors"] == [globex["actors"]["stt"]]
    assert acme["actors"]["stt"] != globex["actors"]["stt"]
    assert acme["actors"]["tts"] == globex["actors"]["tts"], "what needs no credential is shared"


def test_open_is_idempotent_and_a_refusal_crosses_processes_whole(router: Any) -> None:
    context = ctx()
    one, two = ask([router.open.remote(context), router.open.remote(context)])
    assert (one.address, one.session_id) == (two.address, two.session_id)
    with pytest.raises(SessionRefused) as caught:
        ask(router.open.remote({**context, "tenant_id": "acme"}))
    assert caught.value.kind == "conflict"
    with pytest.raises(SessionRefused) as caught:
        ask(router.open.remote({"session_id": "x"}))
    assert (caught.value.kind, caught.value.retry_after_s) == ("context", None)
    cause = getattr(caught.value, "cause", caught.value)
    assert pickle.loads(pickle.dumps(cause)).kind == "context"


def test_a_provider_that_cannot_start_is_passed_over_or_refused_with_its_reason(router: Any) -> None:
    assert opened(router, ctx("initech"))["providers"]["stt"] == "ears"
    with pytest.raises(SessionRefused) as caught:
        ask(router.open.remote(ctx("hooli")))
    assert caught.value.kind == "unavailable"
    assert "PATCHBAY_TEST_NOT_SET is not set" in caught.value.detail


def _ours() -> Counter[str]:
    """Calls of our actors that Ray knows of, over all processes."""
    return Counter(
        e["cat"] for e in ray.timeline() if e["cat"].startswith("task::") and "Actor." in e["cat"] + e.get("name", "")
    )


def test_a_long_session_makes_no_more_ray_calls_than_a_short_one(router: Any) -> None:
    def calls_in(seconds: float) -> Counter[str]:
        time.sleep(2.0)  # what was called before gets into Ray's books: each process tells them once a second
        before = _ours()
        time.sleep(seconds + 2.0)
        return _ours() - before

    for seconds in (5.0, 30.0):
        with Talker(ask(router.open.remote(ctx()))) as call:
            assert not calls_in(seconds)
            assert not call.over
        call.undisturbed()
        assert call.turns >= seconds // 3
    before = _ours()
    ask([router.info.remote() for _ in range(3)])
    until(lambda: sum((_ours() - before).values()) == 3)  # the count would have seen them


def test_killing_the_router_disturbs_no_call_and_loses_no_session(router: Any) -> None:
    context = ctx("acme")
    handle = ask(router.open.remote(context))
    before = ask(router.info.remote())["pid"]
    workers = {a for p in ask(router.pools.remote()) for a in p["actors"]}

    def is_back() -> bool:
        try:
            return bool(ask(router.info.remote())["pid"] != before)
        except RayActorError:
            return False

    with Talker(handle) as call:
        until(lambda: session(router, context["session_id"])["state"] == "live")
        until(lambda: call.turns >= 1)
        os.kill(before, signal.SIGKILL)
        until(is_back, 30.0)
        turns = call.turns
        assert ask(router.open.remote(context)).address == handle.address
        known = session(router, context["session_id"])
        assert known["state"] == "live"
        assert set(known["actors"]) == {"vad", "turn", "stt", "agent", "tts"}
        with pytest.raises(SessionRefused):
            ask(router.open.remote({**context, "attributes": {"a": 1}}))
        opened(router, ctx("globex"))
        assert {a for p in ask(router.pools.remote()) for a in p["actors"]} == workers, "nothing was started again"
        until(lambda: call.turns > turns)
        call.undisturbed()
        ask(router.close.remote(context["session_id"]))
        assert all(s["session_id"] != context["session_id"] for s in ask(router.sessions.remote()))
        until(lambda: call.over)
    call.undisturbed()


def test_a_killed_provider_actor_is_known_at_once_and_replaced_by_another(router: Any) -> None:
    before = opened(router, ctx())["actors"]["stt"]
    (pid,) = pool(router, "ears", "eu")["pids"]
    os.kill(pid, signal.SIGKILL)
    began_s = time.monotonic()
    until(lambda: before not in pool(router, "ears", "eu")["actors"], 5.0)
    assert time.monotonic() - began_s < 5.0
    assert opened(router, ctx())["actors"]["stt"] != before


def test_what_happened_is_on_rays_metrics_port_and_no_secret_is(router: Any) -> None:
    with Talker(ask(router.open.remote(ctx("acme")))) as call:
        until(lambda: call.turns >= 1)
    ask(router.open.remote(ctx("globex", session_id="a-session-id-nobody-shows")))
    wanted = ("ray_patchbay_sessions_granted_total", "ray_patchbay_sessions_started_total", "ray_patchbay_pool_streams",
              "ray_patchbay_loop_lag_p99_ms", "ray_patchbay_open_s_bucket", "ray_patchbay_turn_latency_s_bucket",
              "ray_patchbay_sessions_ended_total")  # fmt: skip

    def scraped() -> str | None:
        text = "".join(_scrape(n) for n in ray.nodes() if n["Alive"])
        return text if all(name in text for name in wanted) else None

    text = until(scraped, 40.0)
    line = next(x for x in text.splitlines() if x.startswith(wanted[0]) and 'tenant="acme"' in x)
    assert 'route="acme"' in line
    assert 'region="eu"' in line
    for hidden in ("canary-", "a-session-id-nobody-shows"):
        assert hidden not in text


def _scrape(node: dict[str, Any]) -> str:
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_no_secret_is_in_what_ray_and_its_workers_wrote(router: Any) -> None:
    """Security check S10, for the logs of the session: those of actors that resolved a credential are among them."""
    opened(router, ctx("acme"))
    opened(router, ctx("globex"))
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())  # type: ignore[attr-defined]
    written = {path: path.read_bytes() for path in logs.rglob("*") if path.is_file()}
    assert sum(len(text) for text in written.values()) > 10_000, "nobody wrote anything: this shows nothing"
    assert any(path.name.startswith("worker-") and text for path, text in written.items())
    assert [str(path) for path, text in written.items() if b"canary-" in text] == []
