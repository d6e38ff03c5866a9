"""Everything Patchbay raises, as one tree.

    PatchbayError
    ├── ConfigError            the configuration: every problem at once, with file and line
    ├── ContextError           a RouteContext whose fields do not hold
    ├── SessionRefused         `open` said no: why, and when to come back
    ├── SessionGone            the session is over, or was never here
    ├── LawError               an event that the turn law has no row for: a bug of ours
    ├── AudioError             audio that cannot be taken: a format, a rate, a length
    ├── LinkError              the connection between two actors
    │   ├── LinkAuthError      wrong key or token
    │   ├── LinkVersionError   the other end speaks another version
    │   ├── LinkProtocolError  the other end sent what the protocol does not allow
    │   └── LinkClosed         closed by the other end, by us, or by silence
    ├── ProviderError          a provider did not do what it should (`kind` says how)
    └── ClusterError           Ray is not there, or does not do what was asked in time

Every error survives pickling (constructor arguments are positional and kept in `args`) because Ray carries
them between processes, and none carries a secret.
"""

from __future__ import annotations

from typing import Literal

__all__ = [
    "AudioError",
    "ClusterError",
    "ConfigError",
    "ContextError",
    "FaultKind",
    "LawError",
    "LinkAuthError",
    "LinkClosed",
    "LinkError",
    "LinkProtocolError",
    "LinkVersionError",
    "PatchbayError",
    "ProviderError",
    "RefusalKind",
    "SessionGone",
    "SessionRefused",
]

RefusalKind = Literal[
    "no_route",  # no rule matches and there is no default route
    "capacity",  # every candidate of a stage is full, or no host has room
    "limit",  # the route's own limit of sessions is reached
    "conflict",  # the same session_id with other fields or another tenant
    "region",  # no live node serves this region, or residency forbids those that do
    "unavailable",  # the providers of a stage cannot be started
    "context",  # the RouteContext itself is wrong
    "draining",  # the cluster is closing
]

FaultKind = Literal[
    "auth",
    "config",
    "quota",
    "busy",
    "overload",
    "timeout",
    "connect",
    "protocol",
    "stall",
    "expired",
]


class PatchbayError(Exception):
    """The root of every error of Patchbay."""


class ConfigError(PatchbayError):
    """The configuration does not hold; `problems` has a line for each reason."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class ContextError(PatchbayError):
    """A field of a RouteContext is wrong: `field` and what would be right."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(field, detail)
        self.field, self.detail = field, detail

    def __str__(self) -> str:
        return f"context.{self.field}: {self.detail}"


class SessionRefused(PatchbayError):
    """`open` refused the session. `retry_after_s` is None where coming back will not help."""

    def __init__(
        self, kind: RefusalKind, detail: str, retry_after_s: float | None = None, session_id: str = ""
    ) -> None:
        super().__init__(kind, detail, retry_after_s, session_id)
        self.kind, self.detail, self.retry_after_s, self.session_id = kind, detail, retry_after_s, session_id

    def __str__(self) -> str:
        again = "" if self.retry_after_s is None else f"; try again in {self.retry_after_s:g} s"
        return f"session {self.session_id or '?'} refused ({self.kind}): {self.detail}{again}"


class SessionGone(PatchbayError):
    """The session has ended, or is not known here."""

    def __init__(self, session_id: str, detail: str) -> None:
        super().__init__(session_id, detail)
        self.session_id, self.detail = session_id, detail

    def __str__(self) -> str:
        return f"session {self.session_id}: {self.detail}"


class LawError(PatchbayError):
    """The turn law has no row for this event in this state: a bug in the shell, not in the caller."""

    def __init__(self, machine: str, state: str, event: str, story: tuple[str, ...] = ()) -> None:
        super().__init__(machine, state, event, story)
        self.machine, self.state, self.event, self.story = machine, state, event, story

    def __str__(self) -> str:
        told = f" after {' > '.join(self.story)}" if self.story else ""
        return f"{self.machine}: no row for {self.event} in {self.state}{told}"


class AudioError(PatchbayError):
    """Audio that cannot be taken; `field` names what is wrong with it."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(field, detail)
        self.field, self.detail = field, detail

    def __str__(self) -> str:
        return f"audio {self.field}: {self.detail}"


class LinkError(PatchbayError):
    """The connection between two actors failed; `peer` is its address."""

    def __init__(self, peer: str, detail: str) -> None:
        super().__init__(peer, detail)
        self.peer, self.detail = peer, detail

    def __str__(self) -> str:
        return f"link to {self.peer}: {self.detail}"


class LinkAuthError(LinkError):
    """The key or token was not accepted."""


class LinkVersionError(LinkError):
    """The other end speaks another version of the link protocol."""


class LinkProtocolError(LinkError):
    """The other end sent what the protocol does not allow."""


class LinkClosed(LinkError):
    """The link is closed: by the other end, by us, or because it fell silent."""


class ProviderError(PatchbayError):
    """A provider failed. `kind` is one of `FaultKind`; auth, config and quota are never retried."""

    def __init__(self, provider: str, kind: FaultKind, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(provider, kind, detail, retry_after_s)
        self.provider, self.kind, self.detail, self.retry_after_s = provider, kind, detail, retry_after_s

    @property
    def retryable(self) -> bool:
        """True where the same thing may succeed later."""
        return self.kind not in ("auth", "config", "quota")

    def __str__(self) -> str:
        return f"provider {self.provider}: {self.kind}: {self.detail}"


class ClusterError(PatchbayError):
    """Ray is not there, or did not do in time what was asked of it."""
