"""What the router signs and the host believes: this session, on this host, with these streams.

    token = HMAC-SHA256(cluster key, msgpack(Grant)) + msgpack(Grant)

The host learns of a session from this token alone, so opening a session needs no second call. It is opaque to
callers: they hold it, show it in `Attach`, and cannot change it.

Units    `now_unix_s` wall-clock seconds: issuer and host are different machines, so no loop clock is shared.
Raises   LinkAuthError from `verify`, without a word of the token in it.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from actors.wire import Grant
from router.context import RouteContext
from router.errors import LinkAuthError

__all__ = ["GRANT_TTL_S", "LEEWAY_S", "fingerprint", "sign", "verify"]

GRANT_TTL_S = 15.0
"""A grant nobody shows for so long is taken back with its streams; a caller attaches within milliseconds."""
LEEWAY_S = 30.0
"""How far two machines' wall clocks may be apart (the usual leeway of token checks)."""
_MAC_BYTES = 32
_MAX_BYTES = 256 * 1024  # a plan of six stages with options is a few KB; unauthenticated bytes stay bounded
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Grant)


def sign(grant: Grant, key: bytes) -> bytes:
    """The token of `grant` under the cluster key."""
    body = _encoder.encode(grant)
    return hmac.digest(key, body, hashlib.sha256) + body


def verify(token: bytes, key: bytes, *, now_unix_s: float, host: str) -> Grant:
    """The grant in `token`, if this cluster signed it, for this host, not too long ago.

    The signature is checked (in constant time) before a byte of the body is decoded.
    Raises LinkAuthError.
    """
    if not _MAC_BYTES < len(token) <= _MAX_BYTES:
        raise LinkAuthError(host, "the session token is no token")
    mac, body = token[:_MAC_BYTES], token[_MAC_BYTES:]
    if not hmac.compare_digest(mac, hmac.digest(key, body, hashlib.sha256)):
        raise LinkAuthError(host, "the session token was not signed by this cluster")
    try:
        grant = _decoder.decode(body)
    except msgspec.DecodeError:
        raise LinkAuthError(host, "the session token is of another version") from None
    if grant.host != host:
        raise LinkAuthError(host, f"the session token is for host {grant.host}")
    age_s = now_unix_s - grant.issued_unix_s
    if age_s > grant.ttl_s + LEEWAY_S or age_s < -LEEWAY_S:
        raise LinkAuthError(host, f"the session token is {age_s:.0f} s old; it holds for {grant.ttl_s:.0f} s")
    return grant


def fingerprint(ctx: RouteContext) -> str:
    """Hash of all fields of a context but the trace: the same id with another fingerprint is a conflict.

    A retried `open` may carry another trace, and is still the same call.
    """
    fields = (ctx.session_id, ctx.tenant_id, ctx.region, sorted(ctx.features.items()), sorted(ctx.attributes.items()))
    return hashlib.blake2b(msgspec.json.encode(fields), digest_size=16).hexdigest()
