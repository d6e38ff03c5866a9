"""G.711: the two companding laws of telephony, as two tables each way.

    decode   one byte  -> one 16-bit sample     table of 256
    encode   one sample -> one byte             table of 65,536, indexed by the sample's bits

Units    pcm is 16-bit little-endian mono; a law byte is one sample at 8 kHz.
Source   ITU-T G.711 (11/88), tables 1a to 2b; rounding as in the reference g711.c (mu-law works on 14 bits with a bias
         of 33, A-law on 13), which is also what Python's audioop did until 3.12.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["alaw_decode", "alaw_encode", "mulaw_decode", "mulaw_encode"]

Array = np.ndarray[Any, np.dtype[Any]]

_MU_BIAS_14 = 33  # G.711: added before the segment is found, so that every segment starts at a power of two
_MU_CLIP_14 = 8159
_MU_ENDS = np.array([0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF, 0xFFF, 0x1FFF])
_A_ENDS = np.array([0x1F, 0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF, 0xFFF])


def _all_samples() -> Array:
    """Every 16-bit sample, in the order of its bits read as unsigned."""
    bits: Array = np.arange(65536, dtype=np.uint16)
    return bits.view(np.int16).astype(np.int32)


def _mulaw_encode_table() -> Array:
    sample = _all_samples() >> 2
    sign_mask = np.where(sample < 0, 0x7F, 0xFF)
    magnitude = np.minimum(np.abs(sample), _MU_CLIP_14) + _MU_BIAS_14
    segment = np.searchsorted(_MU_ENDS, magnitude)
    code = (segment << 4) | ((magnitude >> (segment + 1)) & 0xF)
    table: Array = (np.where(segment >= 8, 0x7F, code) ^ sign_mask).astype(np.uint8)
    return table


def _alaw_encode_table() -> Array:
    sample = _all_samples() >> 3
    sign_mask = np.where(sample < 0, 0x55, 0xD5)
    magnitude = np.where(sample < 0, -sample - 1, sample)
    segment = np.searchsorted(_A_ENDS, magnitude)
    shift = np.where(segment < 2, 1, segment)
    code = (segment << 4) | ((magnitude >> shift) & 0xF)
    table: Array = (np.where(segment >= 8, 0x7F, code) ^ sign_mask).astype(np.uint8)
    return table


def _mulaw_decode_table() -> Array:
    code = ~np.arange(256) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    table: Array = np.where(code & 0x80, -magnitude, magnitude).astype("<i2")
    return table


def _alaw_decode_table() -> Array:
    code = np.arange(256) ^ 0x55
    segment = (code & 0x70) >> 4
    step = ((code & 0x0F) << 4) + np.where(segment == 0, 8, 0x108)
    magnitude = step << np.maximum(segment - 1, 0)
    table: Array = np.where(code & 0x80, magnitude, -magnitude).astype("<i2")
    return table


_MU_ENCODE, _MU_DECODE = _mulaw_encode_table(), _mulaw_decode_table()
_A_ENCODE, _A_DECODE = _alaw_encode_table(), _alaw_decode_table()


def mulaw_decode(data: bytes | memoryview) -> bytes:
    """pcm16 of mu-law bytes; twice as long."""
    return bytes(_MU_DECODE[np.frombuffer(data, np.uint8)].data)


def alaw_decode(data: bytes | memoryview) -> bytes:
    """pcm16 of A-law bytes; twice as long."""
    return bytes(_A_DECODE[np.frombuffer(data, np.uint8)].data)


def mulaw_encode(pcm: bytes | memoryview) -> bytes:
    """mu-law bytes of pcm16 (whole samples); half as long."""
    return bytes(_MU_ENCODE[np.frombuffer(pcm, "<u2")].data)


def alaw_encode(pcm: bytes | memoryview) -> bytes:
    """A-law bytes of pcm16 (whole samples); half as long."""
    return bytes(_A_ENCODE[np.frombuffer(pcm, "<u2")].data)
