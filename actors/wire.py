"""What travels on links besides audio: one record per fact, one union per direction.

    caller  -> host      Attach, then events.AnyOp
    host    -> caller    Attached | Denied, then events.AnyEvent
    host    -> provider  OpenStream, CloseStream, stage ops
    provider -> host     interface.AnyProviderEvent
    router  -> worker    (host or provider) Hello, CloseSession, LeaseAnswer, Retire
    worker  -> router    WorkerReport, SessionChange, LeaseRequest, LeaseReturn, Outcome

Bodies are msgpack; a body that does not decode is a LinkProtocolError, and the link is closed.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from actors.events import AnyEvent, AnyOp
from actors.providers.interface import AnyProviderEvent, Assess, Cause, Item, Tool
from router.plan import Candidate, RoutePlan, Stage
from router.tools import ToolSpec

__all__ = [
    "AgentCancel", "AgentReply", "AgentToolResult", "AnyStageOp", "Attach", "Attached", "CloseSession", "CloseStream",
    "Denied", "Grant", "Hello", "Lease", "LeaseAnswer", "LeaseRequest", "LeaseReturn", "OpenStream", "Outcome",
    "ProviderSpec",
    "Retire",
    "S2sActivity", "S2sCancel", "S2sHeard", "S2sInject", "S2sRespond", "S2sToolResult", "SessionChange",
    "SttFinalize", "SttPause", "SttResume", "SttSpeechEnd", "SttSpeechStart", "ToolRun", "TtsBegin", "TtsCancel",
    "TtsEnd", "TtsFlush", "TtsText", "TurnAssess", "UpdateStream", "VadReset", "WorkerInfo", "WorkerReport",
    "caller_decoder", "host_decoder_for_caller", "host_decoder_for_provider", "provider_decoder", "router_decoder",
    "worker_decoder",
]  # fmt: skip

# ------------------------------------------------------------------------------------------------ the grant


class Lease(Struct, frozen=True, kw_only=True):
    """One reserved stream on one provider actor."""

    lease_id: str
    stage: Stage
    candidate: int
    """Index among the plan's candidates of that stage."""
    address: str
    """`host:port` of the actor's link server."""
    actor: str
    """Its incarnation: a name that is never used again."""
    rate_hz: int = 16000
    silence_bound_s: float = 0.3


class Grant(Struct, frozen=True, kw_only=True):
    """What the router signs: this session, on this host, with these streams."""

    session_id: str
    host: str
    """Incarnation of the host actor it is for."""
    plan: RoutePlan
    leases: tuple[Lease, ...]
    issued_unix_s: float
    ttl_s: float
    attributes: dict[str, Any] = {}
    trace: str | None = None
    fingerprint: str = ""
    """Hash of the context that was opened; the host repeats it in `SessionChange`."""


# ------------------------------------------------------------------------------------------- caller and host


class Attach(Struct, frozen=True, kw_only=True, tag_field="op", tag="attach"):
    """First on a caller's stream: opens the session, or comes back to it."""

    token: bytes
    encoding: str = "pcm16"
    rate_hz: int = 16000
    out_encoding: str = "pcm16"
    out_rate_hz: int = 16000
    mode: Literal["live", "file", "lockstep"] = "live"
    """live: input beyond 2 s is drop_oldest. file: it waits for credit. lockstep: it waits for every answer too."""
    after_n: int = 0
    """Events up to this number were received before the connection broke."""
    next_sample: int = 0


class Attached(Struct, frozen=True, kw_only=True, tag_field="type", tag="attached"):
    """The session took the stream; audio from sample `pos` (of the caller's format) is wanted."""

    session_id: str
    pos: int
    credit_ms: float


class Denied(Struct, frozen=True, kw_only=True, tag_field="type", tag="denied"):
    kind: str
    detail: str


# ----------------------------------------------------------------------------------------- host and provider


class StageOp(Struct, frozen=True, kw_only=True, tag_field="op"):
    """What a host tells a stream of a provider actor."""


class OpenStream(StageOp, frozen=True, kw_only=True, tag="open"):
    epoch: int
    lease_id: str
    session_id: str
    tenant_id: str
    rate_hz: int
    pos: int
    options: dict[str, Any]
    resume: str | None = None
    trace: str | None = None
    tools: tuple[Tool, ...] = ()
    ack_ms: int = 100
    """Accepted audio is told when it has grown by so much; 0: after every frame (lock-step)."""


class CloseStream(StageOp, frozen=True, kw_only=True, tag="close"):
    drain: bool = False


class UpdateStream(StageOp, frozen=True, kw_only=True, tag="update"):
    options: dict[str, Any]


class VadReset(StageOp, frozen=True, kw_only=True, tag="vad_reset"):
    pass


class TurnAssess(StageOp, frozen=True, kw_only=True, tag="assess"):
    question: Assess


class SttSpeechStart(StageOp, frozen=True, kw_only=True, tag="speech_start"):
    utt: int
    pos: int


class SttSpeechEnd(StageOp, frozen=True, kw_only=True, tag="speech_end"):
    utt: int
    pos: int


class SttFinalize(StageOp, frozen=True, kw_only=True, tag="finalize"):
    utt: int
    pos: int


class SttPause(StageOp, frozen=True, kw_only=True, tag="pause"):
    pass


class SttResume(StageOp, frozen=True, kw_only=True, tag="resume"):
    pass


class TtsBegin(StageOp, frozen=True, kw_only=True, tag="begin"):
    reply: int
    options: dict[str, Any] = {}


class TtsText(StageOp, frozen=True, kw_only=True, tag="text"):
    reply: int
    text: str


class TtsFlush(StageOp, frozen=True, kw_only=True, tag="flush"):
    reply: int


class TtsEnd(StageOp, frozen=True, kw_only=True, tag="end"):
    reply: int


class TtsCancel(StageOp, frozen=True, kw_only=True, tag="cancel"):
    reply: int


class AgentReply(StageOp, frozen=True, kw_only=True, tag="reply"):
    turn: int
    revision: int
    history: tuple[Item, ...]
    cause: Cause
    tools: tuple[Tool, ...] = ()


class AgentToolResult(StageOp, frozen=True, kw_only=True, tag="tool_result"):
    turn: int
    id: str
    result: str
    ok: bool


class AgentCancel(StageOp, frozen=True, kw_only=True, tag="agent_cancel"):
    turn: int


class S2sActivity(StageOp, frozen=True, kw_only=True, tag="activity"):
    """`activity_start` when `on`, else `activity_end`."""

    on: bool
    pos: int


class S2sRespond(StageOp, frozen=True, kw_only=True, tag="respond"):
    pass


class S2sCancel(StageOp, frozen=True, kw_only=True, tag="s2s_cancel"):
    response: int


class S2sHeard(StageOp, frozen=True, kw_only=True, tag="s2s_heard"):
    response: int
    ms: float


class S2sToolResult(StageOp, frozen=True, kw_only=True, tag="s2s_tool_result"):
    id: str
    result: str
    ok: bool
    answer: bool = True


class ToolRun(StageOp, frozen=True, kw_only=True, tag="tool_run"):
    """Run this tool here, for the session; `ToolOutcome` answers, by its deadline at the latest."""

    turn: int
    id: str
    key: str
    """Of idempotency: the same for whoever runs this call again."""
    session_id: str
    tenant_id: str
    tool: ToolSpec
    args: dict[str, Any]


class S2sInject(StageOp, frozen=True, kw_only=True, tag="inject"):
    role: Literal["user", "agent", "system"]
    text: str


AnyStageOp = (
    OpenStream | CloseStream | UpdateStream | VadReset | TurnAssess | SttSpeechStart | SttSpeechEnd | SttFinalize
    | SttPause | SttResume | TtsBegin | TtsText | TtsFlush | TtsEnd | TtsCancel | AgentReply | AgentToolResult
    | AgentCancel | S2sActivity | S2sRespond | S2sCancel | S2sHeard | S2sToolResult | S2sInject | ToolRun
)  # fmt: skip

# ----------------------------------------------------------------------------------------- router and workers


class ProviderSpec(Struct, frozen=True, kw_only=True):
    """What a provider actor is made of; holds references, never a secret."""

    provider: str
    type: str
    stage: Stage
    owner: str = "*"
    region: str = "default"
    options: dict[str, Any] = {}
    secret: str | None = None
    endpoint: str | None = None
    streams_per_actor: int | None = None
    """None: what the provider's capability says."""


class WorkerInfo(Struct, frozen=True, kw_only=True):
    """What a worker says of itself when it has started, and to a router that adopts it."""

    actor: str
    """Its incarnation: a name never used again; also the Ray actor's name."""
    kind: Literal["host", "provider"]
    region: str
    address: str
    """`ip:port` of its link server."""
    pid: int
    node: str
    capacity: int
    """Streams (provider) or sessions (host) it takes."""
    spec: ProviderSpec | None = None
    rate_hz: int = 16000
    silence_bound_s: float = 0.3
    started_unix_s: float = 0.0


class RouterOp(Struct, frozen=True, kw_only=True, tag_field="op"):
    """What the router tells a host or a provider actor, over the link that it keeps to each."""


class Hello(RouterOp, frozen=True, kw_only=True, tag="hello"):
    """The router is here; the worker answers with a whole `WorkerReport`."""

    router: str


class CloseSession(RouterOp, frozen=True, kw_only=True, tag="close_session"):
    session_id: str
    reason: Literal["caller_closed", "drained"] = "caller_closed"


class LeaseAnswer(RouterOp, frozen=True, kw_only=True, tag="lease_answer"):
    session_id: str
    stage: Stage
    candidate: int
    lease: Lease | None
    detail: str = ""
    retry_after_s: float | None = None


class Retire(RouterOp, frozen=True, kw_only=True, tag="retire"):
    """Take no new work; end when the last stream has gone."""


class WorkerOp(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What a worker tells the router."""


class WorkerReport(WorkerOp, frozen=True, kw_only=True, tag="report"):
    """Whole state of a worker: at `Hello`, and when its load changed (once a second at most)."""

    actor: str
    streams: int
    """Open streams (provider) or live sessions (host)."""
    lag_p99_ms: float
    leases: tuple[str, ...] = ()
    """Lease ids of open streams; only after `Hello`."""
    sessions: tuple[SessionChange, ...] = ()
    """Live sessions; only after `Hello`, only from hosts."""


class SessionChange(WorkerOp, frozen=True, kw_only=True, tag="session"):
    session_id: str
    state: Literal["attached", "opened", "closed"]
    tenant_id: str = ""
    region: str = ""
    route: str = ""
    version: str = ""
    leases: tuple[Lease, ...] = ()
    reason: str = ""
    fingerprint: str = ""
    """Hash of the context it was opened with: a router that restarted still knows a conflict."""
    age_s: float = 0.0
    isolation: Literal["packed", "dedicated"] = "packed"
    """As in the plan: a router that restarted still knows whose host is whose."""


class LeaseRequest(WorkerOp, frozen=True, kw_only=True, tag="lease_request"):
    """A session must fall back: a stream of this candidate is wanted; the lease it replaces is given back."""

    session_id: str
    stage: Stage
    candidate: int
    gives_back: str | None = None
    want: Candidate | None = None
    """The candidate itself: a router that restarted has the session, but not its plan."""
    pool_region: str = ""
    """As in the plan; read only beside `want`."""


class LeaseReturn(WorkerOp, frozen=True, kw_only=True, tag="lease_return"):
    """A live session does not use this stream (any more)."""

    session_id: str
    lease_id: str


class Outcome(WorkerOp, frozen=True, kw_only=True, tag="outcome"):
    """How a provider did for a session: the food of health."""

    actor: str
    provider: str
    ok: bool
    kind: str = ""
    retry_after_s: float | None = None


AnyRouterOp = Hello | CloseSession | LeaseAnswer | Retire
AnyWorkerOp = WorkerReport | SessionChange | LeaseRequest | LeaseReturn | Outcome

host_decoder_for_caller = msgspec.msgpack.Decoder(Attach | AnyOp)
caller_decoder = msgspec.msgpack.Decoder(Attached | Denied | AnyEvent)
provider_decoder = msgspec.msgpack.Decoder(AnyStageOp)
host_decoder_for_provider = msgspec.msgpack.Decoder(AnyProviderEvent)
worker_decoder = msgspec.msgpack.Decoder(AnyRouterOp)
router_decoder = msgspec.msgpack.Decoder(AnyWorkerOp)
