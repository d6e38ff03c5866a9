"""The caller's audio at the door: bytes of its format, in any chunks, to 16-bit samples at our rate, and back.

    caller's bytes -> Decoder -> pcm16 at the stage's rate
    pcm16 at the voice's rate -> Encoder -> caller's bytes

A chunk may end in the middle of a sample: the odd byte waits for the next chunk and is counted as a repair (a caller
that cuts so once usually does it all along, and without this every sample after it is noise). Empty chunks are
counted and ignored. More than a second in one chunk is an error: whoever sends a file all at once has no flow control.

Units    pcm is 16-bit little-endian mono. `to_rate_hz`, `from_rate_hz`: our side.
Raises   AudioError, naming what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from actors import g711
from actors.formats import AudioFormat
from actors.resample import Resampler
from router.errors import AudioError

__all__ = ["CHUNK_MAX_S", "Decoder", "Encoder", "Resampler"]

CHUNK_MAX_S = 1.0
_LAW_DECODERS: dict[str, Callable[[bytes], bytes]] = {"mulaw": g711.mulaw_decode, "alaw": g711.alaw_decode}
_LAW_ENCODERS: dict[str, Callable[[bytes], bytes]] = {"mulaw": g711.mulaw_encode, "alaw": g711.alaw_encode}


class Decoder:
    """From the caller's format to pcm16 at `to_rate_hz`. `repairs` and `empty` count what was mended or ignored.

    >>> door = Decoder(AudioFormat("pcm16", 16000), 16000)
    >>> door.feed(b"abc"), door.feed(b"d"), door.repairs
    (b'ab', b'cd', 1)
    """

    __slots__ = ("_chunk_max_bytes", "_law", "_odd", "_resampler", "empty", "format", "repairs")

    def __init__(self, format: AudioFormat, to_rate_hz: int) -> None:
        self.format = format
        self.repairs = 0
        """Chunks that ended within a sample."""
        self.empty = 0
        self._law = _LAW_DECODERS.get(format.encoding)
        self._odd = b""
        self._resampler = Resampler(format.rate_hz, to_rate_hz)
        self._chunk_max_bytes = int(format.rate_hz * format.sample_bytes * CHUNK_MAX_S)

    def feed(self, data: bytes) -> bytes:
        """The samples that are complete by now, none too. Raises AudioError for more than a second at once."""
        size = len(data)
        if not size:
            self.empty += 1
            return b""
        if size > self._chunk_max_bytes:
            taken = f"{size} bytes at once; at most {self._chunk_max_bytes} (1 s of {self.format.encoding}) are taken"
            raise AudioError("chunk", taken)
        if self._law is not None:
            return self._resampler.feed(self._law(data))
        if self._odd or size & 1:
            data = self._mend(data)
        return self._resampler.feed(data)

    def flush(self) -> bytes:
        """The tail, at the end of the input; half a sample that never was completed is dropped."""
        self._odd = b""
        return self._resampler.flush()

    def _mend(self, data: bytes) -> bytes:
        data = self._odd + data
        self._odd = b""
        if len(data) & 1:
            self.repairs += 1
            data, self._odd = data[:-1], data[-1:]
        return data


class Encoder:
    """From pcm16 at `from_rate_hz` to the caller's format.

    >>> Encoder(AudioFormat("mulaw", 8000), 8000).feed(bytes(4))
    b'\\xff\\xff'
    """

    __slots__ = ("_law", "_resampler", "format")

    def __init__(self, format: AudioFormat, from_rate_hz: int) -> None:
        self.format = format
        self._law = _LAW_ENCODERS.get(format.encoding)
        self._resampler = Resampler(from_rate_hz, format.rate_hz)

    def feed(self, pcm: bytes) -> bytes:
        """What has come out by now. Raises AudioError if `pcm` ends within a sample: that is a fault of ours."""
        if len(pcm) & 1:
            raise AudioError("pcm", f"{len(pcm)} bytes are no whole number of 16-bit samples")
        return self._out(self._resampler.feed(pcm))

    def flush(self) -> bytes:
        """The tail, at the end of a reply; the encoder is then ready for the next one."""
        return self._out(self._resampler.flush())

    def _out(self, pcm: bytes) -> bytes:
        return pcm if self._law is None else self._law(pcm)
