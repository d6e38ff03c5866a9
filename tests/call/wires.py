"""Links that keep what is sent on them, and calls on such links: for what sends the audio of many calls at once."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import numpy as np

from actors import wire
from actors.call import Call
from actors.call_facts import Mode
from actors.client import HostLink, SessionHandle
from actors.formats import AudioFormat

__all__ = ["Wires", "call_on", "chunk", "encode"]

FORMATS = [AudioFormat(), AudioFormat("mulaw", 8000), AudioFormat("pcm16", 48000)]
CREDIT_MS = 100.0
encode = msgspec.msgpack.encode


class Wire(HostLink):
    """A link that keeps what is sent, and answers every Attach."""

    block_bytes = 4000

    def __init__(self) -> None:
        super().__init__("host:1")
        self.rows: list[tuple[int, int, int, bytes]] = []

    def send(self, stream: int, body: Any) -> None:
        if isinstance(body, wire.Attach):
            answer = wire.Attached(session_id="s", pos=body.next_sample, credit_ms=CREDIT_MS)
            self.calls[stream].on_control(encode(answer))

    def send_audio(self, stream: int, seq: int, pos: int, pcm: bytes) -> None:
        self.rows.append((stream, seq, pos, pcm))

    def send_audio_block(self, columns: np.ndarray[Any, Any], pcm: bytes) -> None:
        assert columns.dtype == np.dtype("<u4")
        assert columns.shape[1] * 20 + len(pcm) <= self.block_bytes or columns.shape[1] == 1
        at = 0
        for stream, gen, seq, pos, n in columns.T.tolist():
            assert gen == 0
            self.rows.append((stream, seq, pos, pcm[at : at + n]))
            at += n
        assert at == len(pcm)


class Wires:
    """As a Client: the calls are dealt to two links."""

    def __init__(self) -> None:
        self.links = (Wire(), Wire())
        self._n = 0

    async def acquire(self, address: str, call: Call) -> tuple[HostLink, int]:
        self._n += 1
        link = self.links[self._n % 2]
        return link, link.open(call)

    def release(self, link: HostLink, stream: int) -> None:
        link.calls.pop(stream, None)


def call_on(wires: Any, number: int, mode: Mode = "live") -> Call:
    handle = SessionHandle(
        session_id=f"s{number}", tenant_id="acme", route="acme", version="v", reason="", default_cause=None,
        providers={}, address="host:1", token=b"t",
    )  # fmt: skip
    audio = FORMATS[number % len(FORMATS)]
    return Call(handle, wires, audio, audio, mode)


def chunk(random: Random, frame_bytes: int, *, odd: bool) -> Any:
    """Mostly a frame, of odd callers any length; now and then another kind of bytes, or no bytes at all."""
    what = random.random()
    n = random.randrange(3 * frame_bytes) if odd and what > 0.9 else frame_bytes
    pcm = random.randbytes(n)
    return "no bytes" if what > 0.995 else bytearray(pcm) if what > 0.98 else pcm
