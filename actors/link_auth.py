"""The opening of a link: both ends prove the cluster's key to each other before anything else is read.

    dialer   HELLO      magic, version u16, {role, nonce, max_bytes, beat_s}     version is readable to any version
    acceptor CHALLENGE  {nonce}                                       only to `host` and `router`
    dialer   PROOF      {mac = HMAC(key, "dialer" | version | role | nonce of dialer | nonce of acceptor)}
    acceptor WELCOME    {mac = HMAC(key, "acceptor" | the same), max_bytes, beat_s}
    either   REFUSED    {kind: auth | version | protocol, detail}, then the connection ends

A `caller` has no key: it gets WELCOME at once, without a mac, and its link may do nothing but attach sessions with
tokens that the session host verifies. The dialer proves first, so a stranger gets no mac to work on; nonces are fresh,
so nothing can be replayed; the side is part of the text, so nothing can be reflected; and the role is, so a caller's
hello cannot be lifted. Comparison is in constant time.

Pure: `Dialer.take` and `Acceptor.take` turn one payload of the peer into what is sent back; no socket, no clock.
Raises   LinkAuthError, LinkVersionError, LinkProtocolError; `refusal(error)` is what the peer is told of it.
"""

from __future__ import annotations

import hmac
import secrets
from struct import Struct as Packed
from typing import Literal

import msgspec
from msgspec import Struct

from router.errors import LinkAuthError, LinkError, LinkProtocolError, LinkVersionError

__all__ = ["MAX_HANDSHAKE_BYTES", "VERSION", "Acceptor", "Dialer", "Role", "refusal"]

VERSION = 1
Role = Literal["host", "router", "caller"]
MAX_HANDSHAKE_BYTES = 1024
"""No message of the opening is longer: a stranger makes nobody allocate."""
_MAGIC = b"PBLK"
_HELLO = Packed("<4sH")
_NONCE_BYTES = 32


class _Hello(Struct, frozen=True, tag_field="h", tag="hello"):
    role: Role
    nonce: bytes
    max_bytes: int
    beat_s: float


class _Challenge(Struct, frozen=True, tag_field="h", tag="challenge"):
    nonce: bytes


class _Proof(Struct, frozen=True, tag_field="h", tag="proof"):
    mac: bytes


class _Welcome(Struct, frozen=True, tag_field="h", tag="welcome"):
    mac: bytes
    max_bytes: int
    beat_s: float


class _Refused(Struct, frozen=True, tag_field="h", tag="refused"):
    kind: Literal["auth", "version", "protocol"]
    detail: str


_hello = msgspec.msgpack.Decoder(_Hello)
_to_dialer = msgspec.msgpack.Decoder(_Challenge | _Welcome | _Refused)
_to_acceptor = msgspec.msgpack.Decoder(_Proof | _Refused)
_ERRORS: dict[str, type[LinkError]] = {
    "auth": LinkAuthError,
    "version": LinkVersionError,
    "protocol": LinkProtocolError,
}


def refusal(error: LinkError) -> bytes:
    """What the peer is told before the connection ends; nothing of the key or of what was expected of a mac."""
    for kind, family in _ERRORS.items():
        if isinstance(error, family):
            return msgspec.msgpack.encode(_Refused(kind, error.detail))  # type: ignore[arg-type]
    return msgspec.msgpack.encode(_Refused("protocol", "the link ends"))


def _mac(key: bytes, side: bytes, role: str, dialer_nonce: bytes, acceptor_nonce: bytes) -> bytes:
    text = b"|".join((b"patchbay-link", side, b"%d" % VERSION, role.encode(), dialer_nonce, acceptor_nonce))
    return hmac.digest(key, text, "sha256")


class Dialer:
    """The end that connects. `hello` first; then each payload through `take` until `done`."""

    def __init__(
        self, key: bytes | None, role: Role, *, max_bytes: int, beat_s: float, peer: str, version: int = VERSION
    ) -> None:
        if key is None and role != "caller":
            raise LinkAuthError(peer, f"role {role} needs the cluster's key")
        self._key, self._role, self._peer, self._version = key, role, peer, version
        self._max_bytes, self._beat_s = max_bytes, beat_s
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._acceptor_nonce = b""
        self.done = False
        self.peer_max_bytes = 0
        """Longest message that the acceptor takes."""
        self.peer_wants_beat_s = beat_s
        """How often the acceptor wants to hear something."""

    def hello(self) -> bytes:
        body = msgspec.msgpack.encode(_Hello(self._role, self._nonce, self._max_bytes, self._beat_s))
        return _HELLO.pack(_MAGIC, self._version) + body

    def take(self, payload: memoryview | bytes) -> bytes | None:
        """What is sent back, or None. Raises LinkError when the opening has failed."""
        try:
            said = _to_dialer.decode(payload)
        except msgspec.DecodeError as error:
            raise LinkProtocolError(self._peer, f"opening: {error}") from None
        if isinstance(said, _Refused):
            raise _ERRORS[said.kind](self._peer, f"refused: {said.detail[:200]}")
        if isinstance(said, _Challenge):
            if self._key is None or self._acceptor_nonce or len(said.nonce) != _NONCE_BYTES:
                raise LinkProtocolError(self._peer, "opening: a challenge that was not due")
            self._acceptor_nonce = said.nonce
            return msgspec.msgpack.encode(
                _Proof(_mac(self._key, b"dialer", self._role, self._nonce, self._acceptor_nonce))
            )
        if self._role != "caller":
            expected = _mac(self._key or b"", b"acceptor", self._role, self._nonce, self._acceptor_nonce)
            if not self._acceptor_nonce or not hmac.compare_digest(expected, said.mac):
                raise LinkAuthError(self._peer, "the other end does not hold this cluster's key")
        self.done, self.peer_max_bytes, self.peer_wants_beat_s = True, said.max_bytes, said.beat_s
        return None


class Acceptor:
    """The end that listens. Each payload through `take` until `done`; `role` is then proved (or `caller`)."""

    def __init__(self, key: bytes, *, max_bytes: dict[Role, int], beat_s: float, peer: str) -> None:
        self._key, self._max_bytes, self._beat_s, self._peer = key, max_bytes, beat_s, peer
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._dialer_nonce = b""
        self._claimed: Role | None = None
        self.done = False
        self.role: Role = "caller"
        self.peer_max_bytes = 0
        self.peer_wants_beat_s = beat_s

    def take(self, payload: memoryview | bytes) -> bytes | None:
        """What is sent back, or None. Raises LinkError when the opening has failed."""
        if self._claimed is None:
            return self._take_hello(bytes(payload))
        try:
            said = _to_acceptor.decode(payload)
        except msgspec.DecodeError as error:
            raise LinkProtocolError(self._peer, f"opening: {error}") from None
        if isinstance(said, _Refused):
            raise _ERRORS[said.kind](self._peer, f"refused: {said.detail[:200]}")
        expected = _mac(self._key, b"dialer", self._claimed, self._dialer_nonce, self._nonce)
        if not hmac.compare_digest(expected, said.mac):
            raise LinkAuthError(self._peer, f"role {self._claimed}: not proved with this cluster's key")
        return self._welcome(_mac(self._key, b"acceptor", self._claimed, self._dialer_nonce, self._nonce))

    def _take_hello(self, payload: bytes) -> bytes:
        if len(payload) < _HELLO.size or payload[:4] != _MAGIC:
            raise LinkProtocolError(self._peer, "opening: no hello of this protocol")
        _, version = _HELLO.unpack_from(payload)
        if version != VERSION:
            raise LinkVersionError(self._peer, f"version {version} was offered, {VERSION} is spoken here")
        try:
            hello = _hello.decode(payload[_HELLO.size :])
        except msgspec.DecodeError as error:
            raise LinkProtocolError(self._peer, f"opening: {error}") from None
        if len(hello.nonce) != _NONCE_BYTES or not (0.01 <= hello.beat_s <= 60 and hello.max_bytes >= 1024):
            raise LinkProtocolError(self._peer, "opening: hello out of bounds")
        self._claimed, self._dialer_nonce, self.peer_wants_beat_s = hello.role, hello.nonce, hello.beat_s
        self.peer_max_bytes = hello.max_bytes
        if hello.role == "caller":
            return self._welcome(b"")
        return msgspec.msgpack.encode(_Challenge(self._nonce))

    def _welcome(self, mac: bytes) -> bytes:
        assert self._claimed is not None
        self.role, self.done = self._claimed, True
        return msgspec.msgpack.encode(_Welcome(mac, self._max_bytes[self.role], self._beat_s))
