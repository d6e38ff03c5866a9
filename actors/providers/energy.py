"""Is this frame louder than the line usually is? What stands in when the better detector is gone.

    voiced   level_db > floor_db + margin_db  and  level_db > min_dbfs
    floor    falls to a quieter frame by 0.3 of the way, rises by 2 dB/s while unvoiced, by 0.5 dB/s while voiced

So the floor finds the pauses between words in a few frames, and a fan that is switched on is taken for speech for some
seconds only (20 dB: 40 s at the slow rate). The whole batch is one pass of numpy; state is one float per stream.

Units    levels in dB below full scale (dBFS) of the frame's root mean square.
Frames   20 ms at any rate; a frame of another length, or of no attached stream, is unvoiced and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from actors.formats import FRAME_MS
from actors.providers import options as stream_options
from actors.providers.interface import Options, StreamSpec, VadCapabilities
from actors.secrets import Secret

__all__ = ["EnergyOptions", "Provider"]

TYPE = "energy"
_FLOOR_START_DBFS = -50.0
"""Until the line is known; a quieter one shows itself in a few frames."""
_FALL = 0.3
_RISE_DB = 2.0 * FRAME_MS / 1000
_RISE_VOICED_DB = 0.5 * FRAME_MS / 1000
_FULL_SCALE_DB = 20 * np.log10(32768.0)


class EnergyOptions(Options):
    margin_db: Annotated[float, Ge(0), Le(60)] = 9.0
    """Above the floor; three times its amplitude, nearly."""
    min_dbfs: Annotated[float, Ge(-100), Le(0)] = -50.0
    """Nothing below is speech: soft speech on a telephone line is about -40."""


class Provider:
    """Loudness of many streams. `bad_frames` counts what was of no stream or of a wrong length."""

    Options = EnergyOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> VadCapabilities:
        stream_options.parse(EnergyOptions, TYPE, options)
        return VadCapabilities(rates_hz=(16000, 8000, 24000, 32000, 48000), streams_per_actor=1000, inline=True)

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        self.options = stream_options.parse(EnergyOptions, TYPE, options)
        self.bad_frames = 0
        self._slot: dict[int, int] = {}
        """Stream -> its row below."""
        self._free: list[int] = []
        self._floor_db = np.zeros(0)
        self._margin_db = np.zeros(0)
        self._min_dbfs = np.zeros(0)
        self._frame_bytes: list[int] = []

    async def warm(self) -> None:
        """Nothing: there is nothing to load."""

    async def probe(self) -> None:
        """Nothing: it runs in this process."""

    async def close(self) -> None:
        self._slot.clear()

    def attach(self, spec: StreamSpec) -> None:
        known = stream_options.parse(EnergyOptions, TYPE, dict(self.options), spec.options)
        slot = self._slot.get(spec.stream)
        if slot is None:
            slot = self._free.pop() if self._free else self._grow()
        self._slot[spec.stream] = slot
        self._floor_db[slot] = _FLOOR_START_DBFS
        self._margin_db[slot], self._min_dbfs[slot] = known.margin_db, known.min_dbfs
        self._frame_bytes[slot] = spec.rate_hz * FRAME_MS // 1000 * 2

    def detach(self, stream: int) -> None:
        slot = self._slot.pop(stream, None)
        if slot is not None:
            self._free.append(slot)

    def reset(self, stream: int) -> None:
        """Forget what the line sounds like."""
        slot = self._slot.get(stream)
        if slot is not None:
            self._floor_db[slot] = _FLOOR_START_DBFS

    def classify(self, streams: Sequence[int], frames: Sequence[bytes | memoryview]) -> Sequence[bool]:
        bits = [False] * len(frames)
        for rows in self._passes(streams, frames):
            slots = np.array([slot for _, slot in rows])
            pcm = np.frombuffer(b"".join(frames[i] for i, _ in rows), "<i2").reshape(len(rows), -1).astype(np.float32)
            level_db = 10 * np.log10(np.einsum("ij,ij->i", pcm, pcm) / pcm.shape[1] + 1e-3) - _FULL_SCALE_DB
            voiced = self._hear(slots, level_db)
            for (i, _), bit in zip(rows, voiced.tolist(), strict=True):
                bits[i] = bit
        return bits

    def _hear(self, slots: np.ndarray[Any, Any], level_db: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        floor_db = self._floor_db[slots]
        voiced: np.ndarray[Any, Any] = (level_db > floor_db + self._margin_db[slots]) & (
            level_db > self._min_dbfs[slots]
        )
        rise_db = np.minimum(floor_db + np.where(voiced, _RISE_VOICED_DB, _RISE_DB), level_db)
        fallen_db = floor_db + _FALL * (level_db - floor_db)
        self._floor_db[slots] = np.where(level_db < floor_db, fallen_db, rise_db)
        return voiced

    def _passes(self, streams: Sequence[int], frames: Sequence[bytes | memoryview]) -> Iterable[list[tuple[int, int]]]:
        """(index, slot) of frames that can be heard together: of one length, and each stream once, in its order."""
        passes: dict[tuple[int, int], list[tuple[int, int]]] = {}
        seen: dict[int, int] = {}
        for i, (stream, frame) in enumerate(zip(streams, frames, strict=True)):
            slot = self._slot.get(stream)
            if slot is None or len(frame) != self._frame_bytes[slot]:
                self.bad_frames += 1
                continue
            turn = seen.get(slot, 0)
            seen[slot] = turn + 1
            passes.setdefault((turn, len(frame)), []).append((i, slot))
        return [passes[key] for key in sorted(passes)]

    def _grow(self) -> int:
        n = len(self._floor_db)
        more = max(16, n)
        self._floor_db, self._margin_db, self._min_dbfs = (
            np.concatenate([column, np.zeros(more)]) for column in (self._floor_db, self._margin_db, self._min_dbfs)
        )
        self._frame_bytes += [0] * more
        self._free += range(n + 1, n + more)
        return n
