"""Audio as a vendor sends it, made into whole 16-bit samples, or refused.

    pieces = WholeSamples(counts)      pieces.take(b"...")     an odd byte waits for its other half
    from_base64(vendor, text)          strict: no stray characters, whole groups, padding
    FloatSamples(vendor, counts)       32-bit floats; what is no number becomes silence, more than 5 % is a fault
    wav_header(16000, samples=None)    of a file of 16-bit mono; None: a stream, whose length is not known
    check_rate(vendor, "audio/l16;rate=24000", 24000)          another rate than asked for is a fault
    check_raw(vendor, "audio/pcm", 24000)                      and so is anything that is no raw audio

Audio at another rate would be speech too fast or too slow, half a byte off it would be noise at full volume: both reach
the caller's ear, so both end the stream instead.
"""

from __future__ import annotations

import binascii
import re
import struct

import numpy as np

from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor

__all__ = ["FloatSamples", "WholeSamples", "check_rate", "check_raw", "from_base64", "wav_header"]

_BAD_SHARE_MAX = 0.05
_JUDGED_FROM = 400
"""Samples before a share is judged: 25 ms at 16 kHz."""


class WholeSamples:
    """Of one reply: pieces in, whole samples of `width` bytes out, in order."""

    __slots__ = ("_counts", "_kept", "_width")

    def __init__(self, counts: VendorCounts, width: int = 2) -> None:
        self._counts, self._width = counts, width
        self._kept = b""

    def take(self, piece: bytes) -> bytes:
        """All whole samples so far; may be empty."""
        data = self._kept + piece if self._kept else piece
        over = len(data) % self._width
        if over:
            self._counts.odd_bytes += 1
        self._kept = data[len(data) - over :] if over else b""
        return data[: len(data) - over] if over else data

    @property
    def is_whole(self) -> bool:
        """No part of a sample waits. False at the end of a reply: the rest is let go, it is no sample."""
        return not self._kept


class FloatSamples:
    """Of one reply: little-endian 32-bit floats in, 16-bit samples out. Full scale is 1.0; louder is clipped."""

    __slots__ = ("_bad", "_counts", "_pieces", "_total", "_vendor")

    def __init__(self, vendor: Vendor, counts: VendorCounts) -> None:
        self._vendor, self._counts = vendor, counts
        self._pieces = WholeSamples(counts, width=4)
        self._bad = self._total = 0

    def take(self, piece: bytes) -> bytes:
        """Raises ProviderError(protocol) where more than 5 % of the samples so far are NaN or infinite."""
        values = np.frombuffer(self._pieces.take(piece), dtype="<f4")
        good = np.isfinite(values)
        bad = len(values) - int(np.count_nonzero(good))
        self._total += len(values)
        if bad:
            self._bad += bad
            self._counts.bad_samples += bad
            values = np.where(good, values, np.float32(0))
        if self._bad > _BAD_SHARE_MAX * max(self._total, _JUDGED_FROM):
            raise self._vendor.error("protocol", f"{self._bad} of {self._total} samples are no numbers")
        scaled = np.rint(np.clip(values, -1.0, 1.0) * 32767.0)
        return bytes(scaled.astype("<i2").tobytes())


def from_base64(vendor: Vendor, text: str) -> bytes:
    """Raises ProviderError(protocol) for anything but whole, padded, standard base64; its text is not repeated."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise vendor.error("protocol", f"{len(text)} characters that are no base64") from None


def wav_header(rate_hz: int, samples: int | None = None) -> bytes:
    """44 bytes. The lengths of a stream are 0, as recognisers that take one expect them."""
    data = 0 if samples is None else 2 * samples
    riff = 0 if samples is None else 36 + data
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + form + struct.pack("<4sI", b"data", data)


_RATE = re.compile(r"\brate\s*=\s*\"?(\d+)", re.IGNORECASE)


def check_rate(vendor: Vendor, content_type: str, rate_hz: int) -> None:
    """Raises ProviderError(protocol) where a content type names another rate. One that names none says nothing."""
    named = _RATE.search(content_type)
    if named is not None and int(named.group(1)) != rate_hz:
        raise vendor.error("protocol", f"audio at {named.group(1)} Hz, asked for {rate_hz}")


_ENCODED = ("mpeg", "mp3", "mp4", "ogg", "opus", "aac", "flac", "webm", "mulaw", "pcmu", "pcma")


def check_raw(vendor: Vendor, content_type: str, rate_hz: int) -> None:
    """Raises ProviderError(protocol) where an answer is no raw 16-bit audio by its own word, or is at another rate.
    Servers name raw audio in many ways, or not at all."""
    kind = content_type.partition(";")[0].strip().lower()
    is_audio = kind.startswith("audio/") or kind in ("", "application/octet-stream", "binary/octet-stream")
    if not is_audio or any(name in kind for name in _ENCODED):
        raise vendor.error("protocol", f"raw audio was asked for, and {vendor.text(kind, 60)} came")
    check_rate(vendor, content_type, rate_hz)
