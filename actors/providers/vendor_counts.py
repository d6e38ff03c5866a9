"""What a network adapter counts, one record per provider object."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["VendorCounts"]


@dataclass(slots=True)
class VendorCounts:
    handshakes: int = 0
    """Connections made: TCP, TLS and, for a socket, the upgrade."""
    handshake_s: float = 0.0
    """Time they took together."""
    failed_handshakes: int = 0
    reused: int = 0
    """Times that work found an open connection."""
    rolled_over: int = 0
    """Connections replaced as planned: age, idleness, changed options."""
    reconnects: int = 0
    """Connections replaced because they were lost, without a fault."""
    replayed_s: float = 0.0
    """Audio sent again after that."""
    dropped_bytes: int = 0
    """Audio let go because the vendor did not take it."""
    unknown: int = 0
    """Messages of a type that the adapter does not know; ignored."""
    stale: int = 0
    """Messages that answer to nothing: another request, a cancelled reply, a replaced connection; ignored."""
    odd_bytes: int = 0
    """Pieces of audio that ended in the middle of a sample."""
    bad_samples: int = 0
    """Samples that were no number; silence now."""
    refused: int = 0
    """Requests of ours that the vendor did not take, and went on without."""
    late: int = 0
    """`finalize`s, flushes and ends of contexts that the vendor did not answer in time; the adapter did."""
    stalls: int = 0
    faults: int = 0
