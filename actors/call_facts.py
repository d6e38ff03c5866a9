"""What a call is asked for, what it says of itself, and what a host's refusal means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from actors import wire
from actors.formats import AudioFormat
from router.errors import LinkAuthError, PatchbayError, RefusalKind, SessionGone, SessionRefused

__all__ = ["CallStatistics", "Mode", "attach_request", "denied"]

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


def attach_request(
    token: bytes, audio_in: AudioFormat, audio_out: AudioFormat, mode: Mode, after_n: int, next_sample: int
) -> wire.Attach:
    """What a call asks a host for, see `wire.Attach`."""
    return wire.Attach(
        token=token,
        encoding=audio_in.encoding,
        rate_hz=audio_in.rate_hz,
        out_encoding=audio_out.encoding,
        out_rate_hz=audio_out.rate_hz,
        mode=mode,
        after_n=after_n,
        next_sample=next_sample,
    )


def denied(record: wire.Denied, address: str, session_id: str) -> PatchbayError:
    """The error that a refused Attach is for the application."""
    if record.kind == "auth":
        return LinkAuthError(address, record.detail)
    if record.kind in get_args(RefusalKind):
        return SessionRefused(record.kind, record.detail, None, session_id)  # type: ignore[arg-type]
    return SessionGone(session_id, record.detail)
