"""Messages on a link: columns of numbers and one payload, so that a batch costs little more than a frame.

    message  = length u32 (of what follows), kind u8, 3 zero bytes, count u32, columns, payload
    AUDIO    streams, gens, seqs, poss, lens (each count x u32), then the PCM of all frames in order
    BITS     streams, poss (each count x u32), then one byte per frame: 0 or 1 (eight bytes of columns ride with
             it, so packing bits would save a tenth and cost a pass)
    CREDIT   streams, seqs: audio up to `seq` left the receiver's queue
    CONTROL  streams, lens, then the bodies (msgpack)
    BEAT     nothing; CLOSE a reason; the handshake's kinds are opaque here (`link_auth`)

Pure: bytes in, messages out; no socket, no clock.

Units    numbers are u32, little-endian. A `pos` counts samples: 24 h at 48 kHz is 4.15e9, below 2**32.
Order    entries leave in the order in which they were added; neighbours of one kind share a message. Credit alone
         waits for the end of the batch, and only the newest of a stream goes: whatever was said before it, arrives
         before it.
Raises   LinkProtocolError for bytes that are no message, or one longer than the bound, before it is allocated.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from struct import Struct
from typing import Any, Final

import numpy as np

from router.errors import LinkProtocolError

__all__ = [
    "AUDIO", "BEAT", "BITS", "CLOSE", "CONTROL", "CREDIT", "HANDSHAKE", "HEADER_BYTES", "ROW_BYTES", "AudioBatch",
    "Batch", "Numbers", "Splitter", "decode_audio", "decode_bits", "decode_control", "decode_credit", "message",
]  # fmt: skip

AUDIO: Final = 1
BITS: Final = 2
CREDIT: Final = 3
CONTROL: Final = 4
BEAT: Final = 5
CLOSE: Final = 6
HANDSHAKE: Final = 7
_KINDS = frozenset((AUDIO, BITS, CREDIT, CONTROL, BEAT, CLOSE, HANDSHAKE))

_HEADER = Struct("<IB3xI")
HEADER_BYTES: Final = _HEADER.size
ROW_BYTES: Final = 20
"""Of the columns, for a frame of audio."""
_BIG_ENDIAN = sys.byteorder == "big"
_MANY = 8
"""Rows from which on a look at a whole column pays."""


Numbers = Sequence[int] | np.ndarray[Any, Any]
"""A column of a message."""


class AudioBatch:
    """Frames of many streams: row i is streams[i], gens[i], seqs[i], poss[i] and payload[offsets[i]:offsets[i + 1]].

    `payload` views bytes that nobody changes: it may be kept. Who handles the batch frame by frame takes the lists, who
    handles it whole the matrix; each is made when it is first asked for.
    """

    __slots__ = ("_count", "_lists", "_numbers", "payload")

    def __init__(self, numbers: memoryview, count: int, payload: memoryview) -> None:
        self._numbers, self._count, self.payload = numbers, count, payload
        self._lists: tuple[list[int], ...] | None = None

    def __len__(self) -> int:
        return self._count

    def _columns(self) -> tuple[list[int], ...]:
        if self._lists is None:
            n, flat = self._count, self._numbers.tolist()
            offsets = list(accumulate(flat[4 * n :], initial=0))
            self._lists = (flat[:n], flat[n : 2 * n], flat[2 * n : 3 * n], flat[3 * n : 4 * n], offsets)
        return self._lists

    @property
    def streams(self) -> list[int]:
        return self._columns()[0]

    @property
    def gens(self) -> list[int]:
        """Epoch of the stream (towards a provider) or number of the reply (from it)."""
        return self._columns()[1]

    @property
    def seqs(self) -> list[int]:
        return self._columns()[2]

    @property
    def poss(self) -> list[int]:
        """Samples before the frame."""
        return self._columns()[3]

    @property
    def offsets(self) -> list[int]:
        """Bytes; one more than there are frames."""
        return self._columns()[4]

    def matrix(self) -> np.ndarray[Any, Any]:
        """uint32, shape (5, frames): streams, gens, seqs, poss, lengths in bytes."""
        return np.frombuffer(self._numbers, dtype=np.uint32).reshape(5, self._count)

    def pcm(self) -> list[bytes]:
        """The PCM of each row, bytes of their own."""
        lens = self._numbers[4 * self._count :]
        first = lens[0] if self._count else 0
        if first and self._count >= _MANY and np.count_nonzero(np.frombuffer(lens, np.uint32) == first) == self._count:
            return np.frombuffer(self.payload, f"V{first}").tolist()  # type: ignore[no-any-return]
        payload, offsets = bytes(self.payload), self.offsets
        return [payload[a:b] for a, b in pairwise(offsets)]

    def picked(self, which: np.ndarray[Any, Any]) -> Iterator[tuple[int, int, int, bytes]]:
        """(stream, seq, pos, PCM) of the frames with these indices: a few of many cost a few."""
        matrix = self.matrix()
        ends = np.cumsum(matrix[4])[which]
        streams, _, seqs, poss, lengths = matrix[:, which].tolist()
        for stream, seq, pos, length, end in zip(streams, seqs, poss, lengths, ends.tolist(), strict=True):
            yield stream, seq, pos, bytes(self.payload[end - length : end])

    def frames(self) -> list[memoryview]:
        """The PCM of each row."""
        payload, lens = self.payload, self._numbers[4 * self._count :].tolist()
        return [payload[a:b] for a, b in pairwise(accumulate(lens, initial=0))]


def message(kind: int, payload: bytes = b"") -> bytes:
    """A message without columns: BEAT, CLOSE, HANDSHAKE."""
    return _HEADER.pack(HEADER_BYTES - 4 + len(payload), kind, 0) + payload


class Batch:
    """What is sent in one turn of the loop, in order; `take` makes messages of it."""

    __slots__ = ("_credit", "_gens", "_kind", "_lens", "_parts", "_payload", "_poss", "_seqs", "_streams", "bytes")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._kind = 0
        self._streams: list[int] = []
        self._gens: list[int] = []
        self._seqs: list[int] = []
        self._poss: list[int] = []
        self._lens: list[int] = []
        self._payload: list[bytes | memoryview] = []
        self._credit: dict[int, int] = {}
        self.bytes = 0
        """Payload waiting; the caller keeps it below its bound."""

    def __bool__(self) -> bool:
        return self._kind != 0 or bool(self._credit) or bool(self._parts)

    def audio(self, stream: int, gen: int, seq: int, pos: int, pcm: bytes | memoryview) -> None:
        if self._kind != AUDIO:
            self._cut(AUDIO)
        n = len(pcm)
        self._streams.append(stream)
        self._gens.append(gen)
        self._seqs.append(seq)
        self._poss.append(pos)
        self._lens.append(n)
        self._payload.append(pcm)
        self.bytes += n

    def bits(self, streams: Numbers, poss: Numbers, bits: Sequence[int] | Sequence[bool] | bytes) -> None:
        """A run of verdicts goes as one message: it comes as columns already."""
        self._cut(0)
        columns, payload, count = np.array((streams, poss), dtype="<u4").tobytes(), bytes(bits), len(streams)
        length = HEADER_BYTES - 4 + len(columns) + len(payload)
        self._parts.append(b"".join((_HEADER.pack(length, BITS, count), columns, payload)))
        self.bytes += 9 * count

    def block(self, columns: np.ndarray[Any, Any], payload: bytes | memoryview) -> None:
        """A run of frames that is whole already: little-endian uint32 of shape (5, frames), and their PCM."""
        self._cut(0)
        count = columns.shape[1]
        length = HEADER_BYTES - 4 + ROW_BYTES * count + len(payload)
        self._parts.append(b"".join((_HEADER.pack(length, AUDIO, count), columns.tobytes(), payload)))
        self.bytes += len(payload)

    def credit(self, stream: int, seq: int) -> None:
        self._credit[stream] = seq

    def credits(self, streams: Sequence[int], seqs: Sequence[int]) -> None:
        self._credit.update(zip(streams, seqs, strict=True))

    def control(self, stream: int, body: bytes) -> None:
        if self._kind != CONTROL:
            self._cut(CONTROL)
        self._streams.append(stream)
        self._lens.append(len(body))
        self._payload.append(body)
        self.bytes += len(body)

    def take(self) -> bytes:
        """Everything added so far as bytes for the wire, and the batch is empty again."""
        self._cut(0)
        if self._credit:
            columns = array("I", self._credit.keys())
            columns.extend(self._credit.values())
            self._emit(CREDIT, len(self._credit), columns, ())
            self._credit = {}
        parts, self._parts, self.bytes = self._parts, [], 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _cut(self, kind: int) -> None:
        """End the run of neighbours of one kind."""
        before, self._kind = self._kind, kind
        if before == 0:
            return
        count = len(self._streams)
        if before == AUDIO:
            columns = array("I", self._streams + self._gens + self._seqs + self._poss + self._lens)
            self._gens, self._seqs, self._poss = [], [], []
        else:
            columns = array("I", self._streams + self._lens)
        self._emit(before, count, columns, self._payload)
        self._streams, self._lens, self._payload = [], [], []

    def _emit(self, kind: int, count: int, columns: array[int], payload: Sequence[bytes | memoryview]) -> None:
        if _BIG_ENDIAN:
            columns.byteswap()
        body = b"".join(payload)
        length = HEADER_BYTES - 4 + 4 * len(columns) + len(body)
        self._parts.append(b"".join((_HEADER.pack(length, kind, count), columns, body)))


class Splitter:
    """From a stream of bytes, cut anywhere, to whole messages `(kind, count, view of columns and payload)`.

    Holds at most one message below the bound and the chunk it came in.
    """

    __slots__ = ("_partial", "max_bytes", "peer")

    def __init__(self, max_bytes: int, peer: str = "?") -> None:
        self.max_bytes = max_bytes
        self.peer = peer
        self._partial = bytearray()

    @property
    def held_bytes(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._partial)

    def feed(self, data: bytes) -> Iterator[tuple[int, int, memoryview]]:
        """The messages that `data` completes. Raises LinkProtocolError; nothing more may be fed after that."""
        if self._partial:
            self._partial += data
            if len(self._partial) < self._wanted():
                return
            data = bytes(self._partial)
            self._partial = bytearray()
        view, at, end = memoryview(data), 0, len(data)
        while end - at >= HEADER_BYTES:
            length, kind, count = _HEADER.unpack_from(data, at)
            self._check(length, kind)
            after = at + 4 + length
            if after > end:
                break
            yield kind, count, view[at + HEADER_BYTES : after]
            at = after
        if at < end:
            self._partial += view[at:]

    def _wanted(self) -> int:
        if len(self._partial) < HEADER_BYTES:
            return HEADER_BYTES
        length, kind, _ = _HEADER.unpack_from(self._partial)
        self._check(length, kind)
        return 4 + int(length)

    def _check(self, length: int, kind: int) -> None:
        if kind not in _KINDS:
            raise LinkProtocolError(self.peer, f"message of unknown kind {kind}")
        if not HEADER_BYTES - 4 <= length <= self.max_bytes:
            raise LinkProtocolError(self.peer, f"message of {length} bytes; at most {self.max_bytes} are taken")


def _columns(view: memoryview, count: int, width: int, peer: str) -> tuple[memoryview, memoryview]:
    """`width` columns as one flat view of numbers, column after column, and the payload behind them."""
    n = 4 * width * count
    if n > len(view):
        raise LinkProtocolError(peer, f"{count} rows of {width} numbers in a message of {len(view)} bytes")
    if _BIG_ENDIAN:
        numbers = array("I", view[:n])
        numbers.byteswap()
        return memoryview(numbers), view[n:]
    return view[:n].cast("I"), view[n:]


def decode_audio(view: memoryview, count: int, peer: str = "?") -> AudioBatch:
    """The batch of an AUDIO message. Raises LinkProtocolError where lengths and payload do not agree."""
    numbers, payload = _columns(view, count, 5, peer)
    lengths = numbers[4 * count :]
    announced = sum(lengths) if count < 64 else int(np.frombuffer(lengths, dtype=np.uint32).sum(dtype=np.uint64))
    if announced != len(payload):
        raise LinkProtocolError(peer, f"audio of {announced} bytes announced, {len(payload)} came")
    return AudioBatch(numbers, count, payload)


def decode_bits(view: memoryview, count: int, peer: str = "?") -> tuple[memoryview, memoryview, bytes]:
    """streams, poss (views of uint32), verdicts of a BITS message."""
    numbers, payload = _columns(view, count, 2, peer)
    if len(payload) != count:
        raise LinkProtocolError(peer, f"{count} verdicts announced, {len(payload)} came")
    return numbers[:count], numbers[count:], bytes(payload)


def decode_credit(view: memoryview, count: int, peer: str = "?") -> tuple[list[int], list[int]]:
    """streams, seqs of a CREDIT message."""
    numbers, payload = _columns(view, count, 2, peer)
    flat = numbers.tolist()
    if len(payload):
        raise LinkProtocolError(peer, f"credit with {len(payload)} bytes too many")
    return flat[:count], flat[count:]


def decode_control(view: memoryview, count: int, peer: str = "?") -> list[tuple[int, memoryview]]:
    """(stream, body) of each row of a CONTROL message, in order."""
    numbers, payload = _columns(view, count, 2, peer)
    flat = numbers.tolist()
    offsets = list(accumulate(flat[count:], initial=0))
    if offsets[-1] != len(payload):
        raise LinkProtocolError(peer, f"control of {offsets[-1]} bytes announced, {len(payload)} came")
    return [(stream, payload[offsets[i] : offsets[i + 1]]) for i, stream in enumerate(flat[:count])]
