"""From nothing to what answers `.open.remote(ctx)`.

    router = cluster.start(text, "routes.yaml")             # one machine: Ray, router, hosts and providers, embedded
    router = cluster.start(text, "routes.yaml", address="auto")     # on a Ray cluster that runs
    router = cluster.connect("auto")                        # join what somebody else started
    handle = await router.open.remote(ctx)                  # or ray.get(router.open.remote(ctx))

Both return the Ray handle of the router actor. `stop(router)` ends what `start` began.
Raises   ConfigError before anything is started; ClusterError for Ray that is not there or not in time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors.live_check import LiveLimits, LiveResult
from cluster.settings import ClusterSettings
from router.errors import ClusterError
from router.readiness import live_checks
from router.table import RouteTable

__all__ = ["address", "connect", "start", "stop"]

Progress = Callable[[str], None]
"""Told what is ready, as it gets ready."""

_READY_S = 30.0
_ANSWER_S = 10.0
_ROOT = str(Path(__file__).resolve().parent.parent)
_OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""Ray's smallest that works; no audio goes through it."""
_LOGICAL_CPUS = 16
"""Actors are placed by shares of these; with the two real ones of a small machine the ninth would wait in silence."""
_ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # Ray's default is nice 15: a live loop lags p99 30 ms while six actors start
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else an ancestor `uv run` has every worker start through it
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_PRELOADED = "cluster.router_actor,cluster.worker_actor"
"""Imported by Ray's prestarted workers ahead of need: seven actors in 2.1 s instead of 2.5 (2-core machine)."""


def start(
    config_text: str,
    source: str,
    *,
    address: str = "local",
    progress: Progress | None = None,
    wait_ready: bool = False,
    settings: ClusterSettings | None = None,
    live: Callable[[LiveResult], None] | None = None,
) -> Any:
    """A cluster for this configuration; the router's handle.

    Waits for the router and one session host; with `wait_ready` also until every offline provider was tried, and
    then raises ClusterError naming those that do not work. `address` "local" is a Ray of its own in this process;
    else the Ray cluster at that address, which must have no router yet.
    Where the configuration says `startup: {check: live}`, every provider is tried in a process of that cluster before
    anything is started; `live` is told of each, and ClusterError names those that do not serve (with
    `on_failure: warn` only `live` and `progress` are told).
    `progress(what)` is called as parts get ready, with the seconds it took since the start began.
    Raises ConfigError, ClusterError.
    """
    began_s = time.perf_counter()

    def tell(what: str) -> None:
        if progress is not None:
            progress(f"{what} ({time.perf_counter() - began_s:.1f} s)")

    made = settings or ClusterSettings(
        base_dir=str(Path(source).resolve().parent), bind_ip="127.0.0.1" if address == "local" else None
    )
    from cluster.configuration import load

    table = load(config_text, source, made.base_dir, check_environment=address == "local")
    tell("configuration checked")
    _join(address)
    tell("Ray is up")
    from cluster.launch import launch_router
    from cluster.router_actor import RouterActor

    made = replace(made, base_dir=str(Path(made.base_dir).resolve()))
    if table.startup.check == "live":
        _try_live(config_text, source, made.base_dir, table, tell, live)
    try:
        router = launch_router(RouterActor, config_text, source, made)
    except ValueError:
        raise ClusterError("this Ray cluster has a Patchbay router already; connect(address) joins it") from None
    _ask(router.info.remote(), _READY_S, "the session router")
    tell("the router is up")
    told = _ask(router.ready.remote(), _READY_S + _ANSWER_S, "the session hosts")
    if not told["hosts"]:
        raise ClusterError(f"no session host started: {told['fault'] or 'none came in time'}")
    tell("a session host serves")
    if wait_ready:
        told = _ask(router.ready.remote(True, 2 * _READY_S), 2 * _READY_S + _ANSWER_S, "the providers")
        wrong = [f"{name}: {detail}" for name, detail in sorted(told["providers"].items()) if detail]
        if wrong:
            raise ClusterError("providers that do not work: " + "; ".join(wrong))
        tell("the providers are ready")
    return router


def _try_live(
    config_text: str,
    source: str,
    base_dir: str,
    table: RouteTable,
    tell: Progress,
    live: Callable[[LiveResult], None] | None,
) -> None:
    """Raises ClusterError naming the providers that do not serve, where the configuration wants to stop then."""
    import ray

    from cluster.launch import launch_checker
    from cluster.worker_actor import CheckerActor

    bound_s = LiveLimits.of(table.startup).bound_s(len(live_checks(table)))
    checker = launch_checker(CheckerActor)
    try:
        results = _ask(checker.live.remote(config_text, source, base_dir), bound_s, "the live check")
    finally:
        ray.kill(checker)
    for result in results:
        if live is not None:
            live(result)
    wrong = [f"{r.provider} ({r.owner}, {r.region}): {r.kind}: {r.detail}" for r in results if not r.serves]
    tell(f"{len(results) - len(wrong)} of {len(results)} providers serve")
    if not wrong:
        return
    if table.startup.on_failure == "stop":
        _leave()
        raise ClusterError("providers that do not serve: " + "; ".join(wrong))
    for line in wrong:
        tell(f"does not serve: {line}")


def connect(address: str = "auto") -> Any:
    """The router of the Ray cluster at `address` ("auto": the one on this machine). Raises ClusterError."""
    _join(address)
    import ray

    from cluster.launch import NAMESPACE, ROUTER

    try:
        router = ray.get_actor(ROUTER, namespace=NAMESPACE)
    except ValueError:
        raise ClusterError(f"the Ray cluster at {address} has no Patchbay router; start one there") from None
    _ask(router.info.remote(), _ANSWER_S, "the session router")
    return router


def address() -> str:
    """host:port of the Ray cluster that this process is in: for `connect`, where `auto` could mean another one."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def stop(router: Any, *, timeout_s: float = 10.0) -> None:
    """End the router and its workers, and Ray where `start` began it in this process. Live calls end."""
    import ray

    with contextlib.suppress(ClusterError):  # it is killed below, and workers without a router end themselves
        _ask(router.stop.remote(), timeout_s, "the session router")
    ray.kill(router, no_restart=True)
    _leave()


def _leave() -> None:
    """End the Ray that `start` began in this process; one that it joined stays."""
    import ray

    if _ours:
        _ours.clear()
        ray.shutdown()


_ours: list[str] = []
"""Addresses of Ray clusters that `start` began in this process: at most one."""


_REACH_S = 5.0


def _reach(address: str) -> None:
    """An address that nobody answers is told at once: Ray itself tries for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return  # `auto`, `local`: Ray knows where
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error) or "no answer"
        raise ClusterError(f"nobody answers at {address} ({why}); `patchbay up` starts a cluster") from None


def _join(address: str) -> None:
    """Be a driver of that Ray cluster; of the one this process is in already, if it is in one."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    if _ROOT not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([_ROOT, *paths])
    import ray

    if ray.is_initialized():
        return
    options: dict[str, Any] = {"namespace": "patchbay", "log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        os.environ.setdefault("RAY_preload_python_modules", _PRELOADED)
        options |= {
            "num_cpus": _LOGICAL_CPUS,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    _reach(address)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(f"Ray at {address}: {str(error).splitlines()[0][:300]}") from None
    if address == "local":
        _ours.append(address)


def _ask(answer: Any, timeout_s: float, whom: str) -> Any:
    """A call's answer. Raises ClusterError when it does not come in time."""
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError

    try:
        return ray.get(answer, timeout=timeout_s)
    except GetTimeoutError:
        raise ClusterError(f"{whom} did not answer within {timeout_s:g} s") from None
    except RayActorError as error:
        raise ClusterError(f"{whom} did not start: {str(error).splitlines()[-1][:500]}") from None
