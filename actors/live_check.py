"""Does everything that is configured serve? Each provider is resolved, connected, asked to work, and timed.

    results = await run(live_checks(table), LiveLimits())

    secret -> type -> address -> warm -> probe -> open -> a word          each a step with its own bound and its time

What may pass (connect, busy, overload, timeout) is tried again after a wait that doubles, or the one that the provider
asks for; what will not (auth, config, quota) is told at once. A check never takes longer than `deadline_s` with all
its attempts, and so many run at once as `together` says. Nothing is left behind: each provider is closed.

A detail has no secret in it: what a provider says is searched for the one that it was given, and for what looks like
one.

Raises   nothing for what a provider does: it becomes a result.
Used by  cli/live.py in one process, and cluster/worker_actor.py in a process of the cluster before it serves.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from actors.live_word import Exchange, say_a_word
from actors.logs import clean_text, get_logger
from actors.providers import interface as pi
from actors.providers import registry
from actors.secrets import Secret, placed, resolve
from router.errors import ConfigError, ProviderError
from router.policy import StartupPolicy
from router.readiness import LiveCheck

__all__ = ["AGAIN", "LiveLimits", "LiveResult", "run"]

AGAIN = frozenset({"connect", "busy", "overload", "timeout"})
"""Kinds that may pass."""
_BOUNDS_S = {"address": 5.0, "warm": 10.0, "probe": 5.0, "open": 5.0, "word": 15.0}
"""Of one step; warm, probe and open as in a provider actor."""
_CLOSE_S = 3.0
_WAIT_MAX_S = 10.0
_DETAIL_MAX = 300
_SLACK_S = 15.0

log = get_logger("live")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLimits:
    """How hard it is tried."""

    attempts: int = 3
    wait_s: float = 0.5
    """Before the second attempt; doubled before each further one."""
    deadline_s: float = 40.0
    """Of one check, with all its attempts."""
    together: int = 8

    @classmethod
    def of(cls, policy: StartupPolicy) -> LiveLimits:
        """As the configuration's `startup` says."""
        return cls(attempts=policy.attempts, deadline_s=policy.deadline_s, together=policy.together)

    def bound_s(self, checks: int) -> float:
        """All of so many checks are done by then, or something is wrong with the process that does them."""
        return self.deadline_s * -(-checks // self.together) + _SLACK_S


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveResult:
    """What came of one check. `kind` None: it serves."""

    provider: str
    stage: str
    type: str
    owner: str
    region: str
    address: str
    """Host of where it connects; empty where it does not, or keeps it to itself."""
    routes: tuple[str, ...]
    kind: str | None
    step: str
    """The step that failed; `word` where none did."""
    detail: str
    attempts: int
    total_s: float
    steps_s: dict[str, float] = field(default_factory=dict)
    """Seconds of each step of the last attempt."""

    @property
    def serves(self) -> bool:
        return self.kind is None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, `serves` first."""
        return {"serves": self.serves, **asdict(self)}


async def run(
    checks: Sequence[LiveCheck],
    limits: LiveLimits,
    told: Callable[[LiveResult], None] = lambda result: None,
    *,
    base_dir: str = ".",
) -> list[LiveResult]:
    """A result for each check, in their order. `told` of each as it is there; secrets in files are below `base_dir`."""
    places = asyncio.Semaphore(limits.together)

    async def one(number: int, check: LiveCheck) -> LiveResult:
        async with places:
            result = await _Trial(check, limits, number, base_dir).result()
        told(result)
        return result

    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(one(n, check), name=f"check {check.provider}") for n, check in enumerate(checks)]
    return [task.result() for task in started]


class _Trial:
    """One check with its attempts."""

    def __init__(self, check: LiveCheck, limits: LiveLimits, number: int, base_dir: str) -> None:
        self._check, self._limits, self._number = check, limits, number
        self._reference = placed(check.secret, base_dir)
        self._secret: Secret | None = None
        self._address = ""
        self._steps_s: dict[str, float] = {}
        self._step = "secret"
        self._attempts = 0

    async def result(self) -> LiveResult:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                kind, detail = await self._attempt_again()
        except TimeoutError:
            kind, detail = "timeout", f"not done in {self._limits.deadline_s:g} s"
        check = self._check
        return LiveResult(
            provider=check.provider, stage=check.stage, type=check.type, owner=check.owner, region=check.region,
            address=self._address, routes=check.routes, kind=kind, step=self._step,
            detail=self._clean(detail), attempts=self._attempts, total_s=round(loop.time() - began_s, 4),
            steps_s=dict(self._steps_s),
        )  # fmt: skip

    async def _attempt_again(self) -> tuple[str | None, str]:
        wait_s = self._limits.wait_s
        while True:
            self._attempts += 1
            self._steps_s.clear()
            try:
                return None, await self._attempt()
            except ProviderError as error:
                kind, detail, asked_s = error.kind, error.detail, error.retry_after_s
            except ConfigError as error:
                return "config", str(error)
            if kind not in AGAIN or self._attempts >= self._limits.attempts:
                return kind, detail
            await asyncio.sleep(min(max(wait_s, asked_s or 0.0), _WAIT_MAX_S))
            wait_s *= 2

    async def _attempt(self) -> str:
        """What it answered. Raises ProviderError, ConfigError."""
        check = self._check
        with self._at("secret"):
            self._secret = resolve(self._reference)
        with self._at("type"):
            made = registry.find(check.type)
            capabilities: pi.Capabilities = made.capabilities(check.options)
            if capabilities.needs_secret and self._secret is None:
                raise ProviderError(check.provider, "config", f"{check.type} needs a secret and none is named")
            provider = made(check.options, self._secret, check.endpoint)
        try:
            url = _url_of(provider, check.endpoint)
            if url is not None:
                self._address = urlsplit(url).netloc
                async with self._bounded("address"):
                    await _find_address(check.provider, url)
            async with self._bounded("warm"):
                await provider.warm()
            async with self._bounded("probe"):
                await provider.probe()
            if getattr(capabilities, "client", False):
                return "the caller's own code answers"
            return await self._word(provider, capabilities)
        finally:
            await self._end(provider.close())

    async def _word(self, provider: Any, capabilities: pi.Capabilities) -> str:
        check = self._check
        spec = pi.StreamSpec(
            stream=1, epoch=1, session_id=f"live-check-{self._number}", tenant_id=check.owner,
            rate_hz=capabilities.rates_hz[0] if capabilities.rates_hz else 16_000, options=check.stream_options,
        )  # fmt: skip
        exchange = Exchange(provider, capabilities, spec)
        if check.stage in ("vad", "turn"):
            async with self._bounded("word"):
                return await say_a_word(check.stage, exchange, None)
        stream = None
        try:
            async with self._bounded("open"):
                stream = await provider.open(spec, exchange.emit)
            async with self._bounded("word"):
                return await say_a_word(check.stage, exchange, stream)
        finally:
            if stream is not None:
                await self._end(stream.close(drain=False))

    @contextmanager
    def _at(self, step: str) -> Iterator[None]:
        """Time a step; what it raises that is not ours becomes ours, without its text: that may hold anything."""
        loop = asyncio.get_running_loop()
        self._step, began_s = step, loop.time()
        try:
            yield
        except (ProviderError, ConfigError):
            raise
        except Exception as error:
            raise ProviderError(self._check.provider, "protocol", f"{type(error).__name__} in {step}") from None
        finally:
            self._steps_s[step] = round(loop.time() - began_s, 4)

    @asynccontextmanager
    async def _bounded(self, step: str) -> AsyncIterator[None]:
        """A step with a deadline of its own."""
        with self._at(step):
            try:
                async with asyncio.timeout(_BOUNDS_S[step]):
                    yield
            except TimeoutError:
                late = f"{step} took longer than {_BOUNDS_S[step]:g} s"
                raise ProviderError(self._check.provider, "timeout", late) from None

    async def _end(self, closing: Any) -> None:
        """Close what was opened; how that goes is no part of the answer."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await closing
        except Exception as error:
            log.warning("live.close_failed", provider=self._check.provider, error=type(error).__name__)

    def _clean(self, detail: str) -> str:
        """Without the secret, and short."""
        if self._secret is not None:
            detail = detail.replace(self._secret.reveal(), "[hidden]")
        return " ".join(clean_text(detail).split())[:_DETAIL_MAX]


async def _find_address(provider: str, endpoint: str) -> None:
    """Raises ProviderError(connect) for a host that has no address here."""
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
    try:
        await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ProviderError(provider, "connect", f"{parts.hostname} has no address here ({why})") from None


def _url_of(provider: Any, configured: str | None) -> str | None:
    """Where it will connect, without path and query: those may hold what is not for everybody.

    Adapters of vendors have an `endpoint` (vendor_endpoint.py), their own where none is configured.
    """
    of = getattr(getattr(provider, "endpoint", None), "http", None)
    url = str(of("/")) if callable(of) else configured
    if url is None:
        return None
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
