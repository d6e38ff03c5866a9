"""A TCP proxy that spoils what passes: cut into odd pieces, held up, cut off, swallowed. After toxiproxy's toxics.

async with ToxicProxy(address, seed=1, slicer=True, delay_ms=2) as proxy:
    link = await connect(proxy.address, ...)
    proxy.blackhole = True      # both ways, the connection stays
    proxy.reset()               # every connection is cut
"""

from __future__ import annotations

import asyncio
import random


class ToxicProxy:
    def __init__(self, upstream, *, seed=0, slicer=False, delay_ms=0.0, reset_after_bytes=None):
        self.upstream, self.rng = upstream, random.Random(seed)
        self.slicer, self.delay_ms, self.reset_after_bytes = slicer, delay_ms, reset_after_bytes
        self._open = asyncio.Event()
        self._open.set()
        self.passed_bytes = 0
        self.connections = 0
        self._writers = set()

    @property
    def blackhole(self):
        return not self._open.is_set()

    @blackhole.setter
    def blackhole(self, on):
        (self._open.clear if on else self._open.set)()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.reset()

    def reset(self):
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader, writer):
        self.connections += 1
        ip, _, port = self.upstream.rpartition(":")
        up_reader, up_writer = await asyncio.open_connection(ip, int(port))
        pair = {writer, up_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, up_writer, pair))
                group.create_task(self._pump(up_reader, writer, pair))
        finally:
            self._writers -= pair

    async def _pump(self, reader, writer, pair):
        try:
            while data := await reader.read(65536):
                await self._open.wait()
                for piece in self._pieces(data):
                    if self.delay_ms:
                        await asyncio.sleep(self.rng.random() * self.delay_ms / 1e3)
                    self.passed_bytes += len(piece)
                    if self.reset_after_bytes is not None and self.passed_bytes > self.reset_after_bytes:
                        for end in pair:
                            end.transport.abort()
                        return
                    writer.write(piece)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort() if self.reset_after_bytes is not None else writer.close()

    def _pieces(self, data):
        if not self.slicer:
            return [data]
        pieces, at = [], 0
        while at < len(data):
            n = self.rng.choice((1, 3, 11, 500, 4000))
            pieces.append(data[at : at + n])
            at += n
        return pieces
