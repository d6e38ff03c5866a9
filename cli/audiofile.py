"""WAV files in, WAV files out.

In:  PCM of 8, 16, 24 or 32 bits, any rate, any number of channels (mixed to one); a rate that the caller's door does
     not take becomes 16 kHz.
Out: the recording of a call, stereo: left what was sent, right what was heard.

Raises   AudioError naming the file and what is wrong with it.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import soxr

from actors.formats import AudioFormat
from cli.calllog import CallLog, Samples
from router.errors import AudioError

__all__ = ["read", "write", "write_stereo"]

_RATES_HZ = (8000, 16000, 24000, 48000)  # linear rates that AudioFormat takes
_LONGEST_S = 4 * 3600  # a session ends by itself after an hour unless told otherwise


def read(path: Path) -> tuple[Samples, AudioFormat]:
    """Mono samples and the format to connect with. Raises AudioError."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate_hz, n_frames = file.getparams()[:4]
            if n_frames > rate_hz * _LONGEST_S:
                raise AudioError("file", f"{path} is longer than {_LONGEST_S // 3600} h")
            data = file.readframes(n_frames)
    except (OSError, wave.Error, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "is cut off"
        raise AudioError("file", f"{path}: {reason}; a WAV file of linear PCM is taken") from None
    if not data:
        raise AudioError("file", f"{path} has no audio in it")
    if len(data) % (channels * width):
        data = data[: -(len(data) % (channels * width))]
    samples = _mono(data, channels, width)
    if rate_hz not in _RATES_HZ:
        samples = soxr.resample(samples, rate_hz, 16000).astype(np.int16)
        rate_hz = 16000
    return samples, AudioFormat("pcm16", rate_hz)


def write_stereo(path: Path, log: CallLog) -> None:
    """The recording of a call. Raises AudioError if the file cannot be written."""
    write(path, np.stack([log.sent, log.heard], axis=1), log.rate_hz)


def write(path: Path, samples: Samples, rate_hz: int) -> None:
    """16-bit WAV of shape (n,) or (n, channels). Raises AudioError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setparams((1 if samples.ndim == 1 else samples.shape[1], 2, rate_hz, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    except OSError as error:
        raise AudioError("file", f"{path}: {error.strerror}") from None


def _mono(data: bytes, channels: int, width: int) -> Samples:
    if width == 1:  # 8-bit WAV is unsigned
        wide = (np.frombuffer(data, np.uint8).astype(np.int32) - 128) << 8
    elif width == 2:
        wide = np.frombuffer(data, "<i2").astype(np.int32)
    elif width == 3:
        raw = np.frombuffer(data, np.uint8).reshape(-1, 3)
        wide = raw[:, 1].astype(np.int32) | (raw[:, 2].astype(np.int8).astype(np.int32) << 8)
    else:
        wide = np.frombuffer(data, "<i4") >> 16
    return np.asarray(wide.reshape(-1, channels).mean(axis=1).astype(np.int16))
