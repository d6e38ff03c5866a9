"""The book of the session hosts of one region: fill one, then open the next.

A packed session goes to the fullest host that has room and whose loop does not lag; if all lag, to the one that lags
least, because a slow host serves and a refusal does not. A dedicated session takes an empty host for itself.

Pure. Units: `_s` seconds on the router's loop clock, `_ms` milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from actors.pool_book import Fault
from actors.wire import WorkerInfo
from router.scaling import HostBounds, HostLoad, hosts_wanted

__all__ = ["LAG_HOLD_S", "LAG_MS", "Host", "HostBook"]

LAG_MS = 5.0
"""A loop that lags p99 by more takes no new session while another can: half of the goal for a frame's lateness."""
LAG_HOLD_S = 10.0
"""A lag that lasts so long has another host opened. A burst of opens lags for a moment, and the host's measure of 5 s
(`LagMonitor`, 250 ticks) shows it for as long; another host started for it would take the machine from the callers who
are there, and would be lagging itself while it starts."""
LAG_SESSIONS = 20
"""With fewer it is the machine that lags, not the host, and another process would make it lag more."""


@dataclass(slots=True)
class Host:
    """One ready host."""

    info: WorkerInfo
    sessions: set[str] = field(default_factory=set)
    dedicated: bool = False
    retiring: bool = False
    lag_p99_ms: float = 0.0
    lags_since_s: float | None = None
    """None: it does not lag."""

    def report_lag(self, lag_p99_ms: float, now_s: float) -> None:
        self.lag_p99_ms = lag_p99_ms
        if lag_p99_ms <= LAG_MS:
            self.lags_since_s = None
        elif self.lags_since_s is None:
            self.lags_since_s = now_s

    def is_full(self, now_s: float) -> bool:
        """It lags, has done so for a while, and does so because of its sessions: full, whatever it counts."""
        lags = self.lags_since_s is not None and now_s - self.lags_since_s >= LAG_HOLD_S
        return lags and len(self.sessions) >= LAG_SESSIONS

    def takes_packed(self, max_sessions: int) -> bool:
        return not self.dedicated and not self.retiring and len(self.sessions) < min(max_sessions, self.info.capacity)


@dataclass(slots=True)
class HostBook:
    """The hosts of one region."""

    region: str
    bounds: HostBounds
    hosts: dict[str, Host] = field(default_factory=dict)
    starting: dict[str, float] = field(default_factory=dict)
    waiting: int = 0
    fault: Fault | None = None
    failures: int = 0
    dedicated_seen: bool = False
    idle_since_s: float | None = None

    def take(self, session_id: str, isolation: Literal["packed", "dedicated"]) -> Host | None:
        """Reserve a place for this session; None when no host has one."""
        host = self._packed() if isolation == "packed" else self._empty()
        if isolation == "dedicated":
            self.dedicated_seen = True
        if host is None:
            return None
        host.sessions.add(session_id)
        host.dedicated = isolation == "dedicated"
        return host

    def give_back(self, session_id: str, name: str) -> bool:
        host = self.hosts.get(name)
        if host is None or session_id not in host.sessions:
            return False
        host.sessions.remove(session_id)
        if not host.sessions:
            host.dedicated = False
        return True

    def _packed(self) -> Host | None:
        room = [h for h in self.hosts.values() if h.takes_packed(self.bounds.max_sessions)]
        calm = [h for h in room if h.lag_p99_ms <= LAG_MS]
        if calm:
            return min(calm, key=lambda h: (-len(h.sessions), h.info.actor))
        return min(room, key=lambda h: (h.lag_p99_ms, h.info.actor), default=None)

    def _empty(self) -> Host | None:
        empty = [h for h in self.hosts.values() if not h.sessions and not h.retiring]
        return min(empty, key=lambda h: h.info.actor, default=None)

    def begin_start(self, name: str, now_s: float) -> None:
        self.starting[name] = now_s

    def started(self, info: WorkerInfo) -> None:
        self.starting.pop(info.actor, None)
        self.hosts[info.actor] = Host(info)
        self.fault, self.failures = None, 0

    def start_failed(self, name: str, kind: str, detail: str, now_s: float) -> None:
        self.starting.pop(name, None)
        self.failures += 1
        self.fault = Fault(kind, detail, now_s + min(2.0**self.failures, 60.0))

    def lost(self, name: str) -> set[str]:
        """The host is dead; the sessions that died with it."""
        self.starting.pop(name, None)
        host = self.hosts.pop(name, None)
        return host.sessions if host else set()

    def is_broken(self, now_s: float) -> bool:
        return not self.hosts and not self.starting and self.fault is not None and now_s < self.fault.until_s

    def wanted(self, now_s: float) -> int:
        serving = [h for h in self.hosts.values() if not h.retiring]
        total = len(serving) + len(self.starting)
        fewer = hosts_wanted(self._load(serving, now_s, float("inf")), self.bounds) < total
        if not fewer:
            self.idle_since_s = None
        elif self.idle_since_s is None:
            self.idle_since_s = now_s
        idle_for_s = 0.0 if self.idle_since_s is None else now_s - self.idle_since_s
        return hosts_wanted(self._load(serving, now_s, idle_for_s), self.bounds)

    def to_start(self, now_s: float) -> int:
        """Hosts to start now: one at a time, and none while a failed start is waited out."""
        if self.starting or (self.fault is not None and now_s < self.fault.until_s):
            return 0
        serving = sum(not h.retiring for h in self.hosts.values())
        return min(max(self.wanted(now_s) - serving, 0), 1)

    def surplus(self, now_s: float) -> tuple[str, ...]:
        """Empty hosts to retire now."""
        serving = [h for h in self.hosts.values() if not h.retiring]
        over = len(serving) - self.wanted(now_s)
        empty = sorted(h.info.actor for h in serving if not h.sessions)
        return tuple(empty[: max(over, 0)])

    def _load(self, serving: list[Host], now_s: float, idle_for_s: float) -> HostLoad:
        packed = [h for h in serving if not h.dedicated]
        return HostLoad(
            hosts=len(serving) + len(self.starting),
            packed=len(packed) + len(self.starting),
            sessions=sum(len(h.sessions) for h in packed) + self.waiting,
            lagging=sum(h.is_full(now_s) and not _machine_lags(h, serving) for h in packed),
            empty=sum(not h.sessions for h in packed),
            dedicated_seen=self.dedicated_seen,
            idle_for_s=idle_for_s,
        )


def _machine_lags(host: Host, others: list[Host]) -> bool:
    """A host of the same node with half its sessions or fewer lags too: another process would make all lag more.

    In a soak on a machine that others loaded, each host that was opened for a lag made the next one necessary: eight
    in nine minutes, for 200 sessions.
    """
    return any(
        h is not host
        and h.info.node == host.info.node
        and h.lags_since_s is not None
        and 2 * len(h.sessions) <= len(host.sessions)
        for h in others
    )
