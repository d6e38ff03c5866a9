"""Is this the voice that it should be? The synthesiser is asked for the same words, and the two are compared.

    likeness(heard, expected) = correlation of loudness over time and pitch bands, at the shift that fits best, 0 to 1

espeak-ng adds a little noise and flutter, so that no two renderings are equal sample for sample; how loud each band is
every 10 ms hardly changes, and differs with accent, pitch and timing. Measured on the demo's replies: the same voice
0.98 and more, another English voice 0.87 and less, a German one 0.3.

Shapes   int16 mono, both at the same rate.
Used by  cli/demo_check.py.
"""

from __future__ import annotations

import asyncio
import math
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
_BANDS = 32
_TOP_MEL = 2800.0
"""7.7 kHz: what resampling to 16 kHz leaves whole."""
_QUIET = 1e4
"""Energy below which a band counts as silent: a few steps of 16 bits."""


def likeness(heard: Samples, expected: Samples, rate_hz: int) -> float:
    """How well `expected` is found in `heard`; 0 where either is silent or `heard` is the shorter one."""
    pattern, signal = _bands(expected, rate_hz), _bands(heard, rate_hz)
    n = len(pattern)
    if n == 0 or len(signal) < n:
        return 0.0
    pattern = pattern - pattern.mean(axis=0)
    energy = float(np.sum(pattern**2))
    best = 0.0
    for start in range(len(signal) - n + 1):
        window = signal[start : start + n]
        window = window - window.mean(axis=0)
        both = energy * float(np.sum(window**2))
        if both > 0:
            best = max(best, float(np.sum(window * pattern)) / math.sqrt(both))
    return best


def _bands(samples: Samples, rate_hz: int) -> npt.NDArray[np.float64]:
    """Loudness (log10 of energy) every 10 ms in 32 bands of the mel scale, shape (n_frames, 32)."""
    size, hop = round(rate_hz * 0.032), round(rate_hz * 0.01)
    if len(samples) < size:
        return np.zeros((0, _BANDS))
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(size, 1 / rate_hz) / 700)
    edges = np.linspace(mel[1], min(mel[-1], _TOP_MEL), _BANDS + 1)
    band = np.digitize(mel, edges)
    energy = np.stack([power[:, band == k].sum(axis=1) for k in range(1, _BANDS + 1)], axis=1)
    return np.log10(energy + _QUIET)


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
