"""The whole house on loopback in one process: a session host, provider actors' hosts, and a caller's client.

    async with House({"stt": ("ears", "fake-stt", {})}) as house:
        handle = house.grant(plan)          # what the router would answer
        async with handle.connect(mode="lockstep") as call: ...

Real links, real bytes, real time; every wait of a test on it is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from actors import wire
from actors.client import SessionHandle
from actors.grant import sign
from actors.provider_host import ProviderHost
from actors.session_host import SessionHost
from router.plan import Candidate, RoutePlan
from router.settings import SessionSettings

KEY = b"k" * 32
FAKES = {
    "vad": ("vad", "fake-vad", {}),
    "turn": ("turn", "fake-turn", {}),
    "stt": ("stt", "fake-stt", {}),
    "agent": ("agent", "fake-agent", {}),
    "tts": ("tts", "fake-tts", {}),
}


class House:
    """`providers`: stage -> (name, type, options), or a list of such as ordered candidates. `places`: name -> the
    reference of its secret, and its address."""

    def __init__(
        self, providers: Mapping[str, Any] | None = None, *, records_path: str | None = None,
        places: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:  # fmt: skip
        self._places = places or {}
        self._wanted = {
            stage: list(one) if isinstance(one, list) else [one] for stage, one in (providers or FAKES).items()
        }
        self._records_path = records_path
        self.hosts: dict[str, ProviderHost] = {}
        self.infos: dict[str, wire.WorkerInfo] = {}
        self.session_host = SessionHost("host-1")
        self._sessions = 0

    async def __aenter__(self) -> House:
        self.info = await self.session_host.start("eu", KEY, records_path=self._records_path)
        for stage, many in self._wanted.items():
            for name, kind, options in many:
                host = self.hosts[name] = ProviderHost(f"actor-{name}")
                secret, endpoint = self._places.get(name, (None, None))
                spec = wire.ProviderSpec(
                    provider=name,
                    type=kind,
                    stage=stage,
                    options=options,
                    secret=secret,
                    endpoint=endpoint,  # type: ignore[arg-type]
                )
                self.infos[name] = await host.start(spec, KEY)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session_host.stop()
        await asyncio.gather(*(host.stop() for host in self.hosts.values()))

    def plan(self, settings: SessionSettings | None = None) -> RoutePlan:
        stages: dict[Any, tuple[Candidate, ...]] = {
            stage: tuple(
                Candidate(stage=stage, provider=n, type=k, options=o)  # type: ignore[arg-type]
                for n, k, o in many
            )
            for stage, many in self._wanted.items()
        }
        return RoutePlan(
            route="test", version="v", tenant_id="acme", region="eu", pool_region="eu", stages=stages,
            settings=settings or SessionSettings(),
        )  # fmt: skip

    def grant(self, plan: RoutePlan | None = None, session_id: str | None = None, **over: Any) -> SessionHandle:
        """What `open` answers: leases for every candidate, since there is no router to ask for more."""
        plan = plan or self.plan()
        self._sessions += 1
        session_id = session_id or f"s{self._sessions}"
        leases = []
        for stage, candidates in plan.stages.items():
            for index, candidate in enumerate(candidates):
                info = self.infos[candidate.provider]
                leases.append(
                    wire.Lease(
                        lease_id=f"{session_id}-{stage}-{index}", stage=stage, candidate=index, address=info.address,
                        actor=info.actor, rate_hz=info.rate_hz, silence_bound_s=3.0,
                    )
                )  # fmt: skip
        fields: dict[str, Any] = {
            "session_id": session_id, "host": self.session_host.name, "plan": plan, "leases": tuple(leases),
            "issued_unix_s": datetime.now(UTC).timestamp(), "ttl_s": 15.0,
        }  # fmt: skip
        token = sign(wire.Grant(**{**fields, **over}), KEY)
        providers = {stage: tuple(c.provider for c in many) for stage, many in plan.stages.items()}
        return SessionHandle(
            session_id=session_id, tenant_id=plan.tenant_id, route=plan.route, version=plan.version, reason="test",
            default_cause=None, providers=providers, address=self.info.address, token=token,
        )  # fmt: skip
