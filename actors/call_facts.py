"""What a call is asked for, what it says of itself, and what a host's refusal means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from actors import wire
from router.errors import LinkAuthError, PatchbayError, RefusalKind, SessionGone, SessionRefused

__all__ = ["CallStatistics", "Mode", "denied"]

Mode = Literal["live", "file", "lockstep"]
"""How input waits: see `actors.wire.Attach`."""


@dataclass(frozen=True, slots=True)
class CallStatistics:
    """What a call holds and has let go of."""

    waiting_ms: int
    in_flight_ms: int
    unread_events: int
    dropped_input_ms: float
    """Live input that waited longer than 2 s."""
    dropped_audio_ms: float
    """Reply audio that the application did not read."""
    reattached: int


def denied(record: wire.Denied, address: str, session_id: str) -> PatchbayError:
    """The error that a refused Attach is for the application."""
    if record.kind == "auth":
        return LinkAuthError(address, record.detail)
    if record.kind in get_args(RefusalKind):
        return SessionRefused(record.kind, record.detail, None, session_id)  # type: ignore[arg-type]
    return SessionGone(session_id, record.detail)
