"""Is this the voice that it should be? A synthesiser says the same words the same way every time, so it can be asked.

    likeness(heard, expected) = highest normalised cross-correlation of `expected` anywhere in `heard`, 0 to 1

The same voice gives nearly 1 (what resampling leaves), another voice of the same words far less: pitch and timing
differ. Measured on the demo's replies: the same voice 0.97 and more, another one 0.5 and less.

Shapes   int16 mono, both at the same rate.
Used by  cli/demo_check.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from actors.providers import registry
from actors.providers.interface import Done, Fault, ProviderEvent, StreamSpec, TtsAudio
from cli.calllog import Samples
from router.errors import ProviderError

__all__ = ["likeness", "speak"]

SPEAK_S = 10.0


def likeness(heard: Samples, expected: Samples) -> float:
    """How well `expected` is found in `heard`; 0 where either is silent or `heard` is the shorter one."""
    if len(expected) == 0 or len(heard) < len(expected):
        return 0.0
    pattern = expected.astype(np.float64)
    energy = float(np.sqrt(np.sum(pattern**2)))
    signal = heard.astype(np.float64)
    size = 1 << (len(signal) + len(pattern)).bit_length()
    product = np.fft.rfft(signal, size) * np.conj(np.fft.rfft(pattern, size))
    matches: npt.NDArray[np.float64] = np.fft.irfft(product, size)[: len(signal) - len(pattern) + 1]
    sums = np.concatenate([[0.0], np.cumsum(signal**2)])
    window = np.sqrt(np.maximum(sums[len(pattern) :] - sums[: -len(pattern)], 0.0))
    # Where next to nothing is heard, rounding alone could look like a match.
    loud = window > 0.05 * energy
    if energy == 0.0 or not loud.any():
        return 0.0
    return float(np.max(matches[loud] / (window[loud] * energy)))


async def speak(options: Mapping[str, Any], text: str, rate_hz: int) -> Samples:
    """`text` in the voice of these espeak options. Raises ProviderError."""
    provider = registry.find("espeak")(options, None, None)
    chunks: list[bytes] = []
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def emit(event: ProviderEvent) -> None:
        match event:
            case TtsAudio(pcm=pcm):
                chunks.append(pcm)
            case Fault(kind=kind, detail=detail) if not over.done():
                over.set_exception(ProviderError("espeak", kind, detail))
            case Done() if not over.done():
                over.set_result(None)

    try:
        await provider.warm()
        rate = provider.capabilities(options).rates_hz[0]
        spec = StreamSpec(stream=1, epoch=1, session_id="voiceprint", tenant_id="demo", rate_hz=rate, options=options)
        stream = await provider.open(spec, emit)
        stream.begin(1, {})
        stream.text(1, text)
        stream.end(1)
        async with asyncio.timeout(SPEAK_S):
            await over
        await stream.close(drain=False)
    finally:
        await provider.close()
    samples = np.frombuffer(b"".join(chunks), "<i2").astype(np.int16)
    return np.asarray(soxr.resample(samples, rate, rate_hz).astype(np.int16))
