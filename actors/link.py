"""One ordered byte stream between two actors, which carries the frames of all their sessions in batches.

    server = await serve(make_handler, key, bind_ip="127.0.0.1")      server.address -> "127.0.0.1:40123"
    link   = await connect(server.address, handler, key=key, role="host", timeout_s=2.0)

Carrier  a bare asyncio stream: docs/links.md has the measurement against `websockets`.
Trust    roles `host` and `router` proved the cluster's key; `caller` has none, and `CALLER_ADMIT_S` to attach.
Errors   `connect` raises LinkAuthError, LinkVersionError, LinkProtocolError or LinkClosed; `serve` counts the same in
         `refused` and tells `on_refused`.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Callable

from actors.link_auth import VERSION, Acceptor, Dialer, Role
from actors.link_codec import AudioBatch
from actors.link_end import MISSED_BEATS, Handler, Limits, Link, LinkStatistics
from actors.logs import get_logger
from router.errors import LinkClosed, LinkError

__all__ = ["AudioBatch", "Handler", "Limits", "Link", "LinkServer", "LinkStatistics", "Role", "connect", "serve"]

log = get_logger("link")


class LinkServer:
    """Listens for links. `address` is `ip:port`; `refused` counts openings that failed, by kind of error."""

    def __init__(self, on_refused: Callable[[LinkError], None] | None = None) -> None:
        self.address = ""
        self.links: set[Link] = set()
        self.refused: dict[str, int] = {}
        self._on_refused = on_refused
        self._server: asyncio.Server | None = None

    def _ended(self, link: Link, error: LinkError | None) -> None:
        self.links.discard(link)
        if not link.opened and error is not None:
            name = type(error).__name__
            self.refused[name] = self.refused.get(name, 0) + 1
            log.warning("link.refused", peer=link.peer, error=name, detail=error.detail)
            if self._on_refused is not None:
                self._on_refused(error)

    async def close(self, reason: str = "closed") -> None:
        """Stop listening and close every link; bounded as `Link.close` is."""
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*(link.close(reason) for link in list(self.links)))


async def serve(
    make_handler: Callable[[Link], Handler],
    key: bytes,
    *,
    bind_ip: str = "127.0.0.1",
    port: int = 0,
    silence_bound_s: float = 3.0,
    limits: Limits | None = None,
    max_links: int = 5_000,
    ssl: tls.SSLContext | None = None,
    on_refused: Callable[[LinkError], None] | None = None,
) -> LinkServer:
    """Listen on `bind_ip`. `make_handler(link)` is called when a link is proved; `link.role` says who it is.

    `silence_bound_s`: how long a peer that dialled may be silent (it is told to beat three times in it).
    Raises LinkError if the address cannot be bound.
    """
    bounds = limits or Limits()
    max_bytes: dict[Role, int] = {
        "host": bounds.max_bytes, "router": bounds.max_bytes, "caller": bounds.caller_max_bytes,
    }  # fmt: skip
    server = LinkServer(on_refused)

    def accept() -> asyncio.Protocol:
        if len(server.links) >= max_links:
            server.refused["full"] = server.refused.get("full", 0) + 1
            return _Full()
        opening = Acceptor(key, max_bytes=max_bytes, beat_s=silence_bound_s / MISSED_BEATS, peer="?")
        link = Link(
            opening, make_handler, max_bytes=max_bytes, silence_bound_s=silence_bound_s, limits=bounds,
            on_end=server._ended,
        )  # fmt: skip
        server.links.add(link)
        return link

    try:
        server._server = await asyncio.get_running_loop().create_server(accept, bind_ip, port, ssl=ssl, backlog=1024)
    except OSError as error:
        raise LinkError(f"{bind_ip}:{port}", f"cannot listen: {error.strerror}") from None
    name = server._server.sockets[0].getsockname()
    server.address = f"{name[0]}:{name[1]}"
    return server


class _Full(asyncio.Protocol):
    """A connection past the bound of links: ended before it costs anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def connect(
    address: str,
    handler: Handler,
    *,
    key: bytes | None,
    role: Role,
    timeout_s: float,
    silence_bound_s: float = 0.3,
    limits: Limits | None = None,
    ssl: tls.SSLContext | None = None,
    version: int = VERSION,
) -> Link:
    """An open link to `address` ("ip:port"). `key` is None for a caller.

    `silence_bound_s`: how long the other end may be silent, as its `WorkerInfo` or `Lease` declares.
    Raises LinkAuthError, LinkVersionError, LinkProtocolError, LinkClosed (not there, or no answer in `timeout_s`).
    """
    bounds = limits or Limits()
    max_bytes: dict[Role, int] = {"host": bounds.max_bytes, "router": bounds.max_bytes, "caller": bounds.max_bytes}
    opening = Dialer(
        key, role, beat_s=silence_bound_s / MISSED_BEATS, max_bytes=bounds.max_bytes, peer=address, version=version
    )
    link = Link(opening, lambda _: handler, max_bytes=max_bytes, silence_bound_s=silence_bound_s, limits=bounds)
    link.role = role
    ip, _, port = address.rpartition(":")
    if not ip or not port.isdecimal():
        raise LinkClosed(address, "an address is ip:port")
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().create_connection(lambda: link, ip.strip("[]"), int(port), ssl=ssl)
            await link.ready
    except TimeoutError:
        error = LinkClosed(address, f"no link in {timeout_s:g} s")
        link.fail(error)
        raise error from None
    except OSError as failure:
        raise LinkClosed(address, f"no connection: {failure.strerror or type(failure).__name__}") from None
    except asyncio.CancelledError:
        link.fail(LinkClosed(address, "not waited for any more"))
        raise
    return link
