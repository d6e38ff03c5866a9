"""The one place where a plain class becomes a Ray actor, with every option said.

    router    named, detached, restarts for ever: it rebuilds its books from the workers that live
    worker    named, detached, never restarts: what replaces it has another name. With restarts on, Ray's verdict on a
              dead actor takes 1.5 to 1.9 s; without, 10 to 17 ms (2-core machine)
    checker   not named, dies with the router that asked

No call is ever repeated by Ray (`max_task_retries=0`): a repeated call would reach another life of the actor.
`num_cpus` only places: an async actor of ours uses a small share of a core, and one without a number is not counted
by the autoscaler at all.
"""

from __future__ import annotations

from typing import Any

import ray

_remote: Any = ray.remote  # its overloads know functions with options, not classes with ours

__all__ = ["NAMESPACE", "ROUTER", "launch_checker", "launch_router", "launch_worker"]

NAMESPACE = "patchbay"
ROUTER = "patchbay"


def launch_router(cls: type, *args: Any) -> Any:
    """The router actor of this cluster. Raises ValueError if there is one."""
    made = _remote(
        num_cpus=0.1,
        name=ROUTER,
        namespace=NAMESPACE,
        lifetime="detached",
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=2_000,  # opens that wait (1,000 at most) and all questions beside them
        max_pending_calls=5_000,  # a fuse, per calling process
    )(cls)
    return made.remote(*args)


def launch_worker(
    cls: type, name: str, args: tuple[Any, ...], *, num_cpus: float, labels: dict[str, str] | None
) -> Any:
    """A session host or provider actor of that name, on a node that has these labels."""
    made = _remote(
        num_cpus=num_cpus,
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=16,  # start, describe, key, stop: everything else goes over links
        max_pending_calls=64,
        label_selector=labels,
    )(cls)
    return made.remote(name, *args)


def launch_checker(cls: type) -> Any:
    """A process that tries providers and is then dropped."""
    made = _remote(num_cpus=0.1, max_restarts=0, max_task_retries=0, max_concurrency=4, max_pending_calls=4)(cls)
    return made.remote()
