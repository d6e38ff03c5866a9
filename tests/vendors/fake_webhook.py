"""An application's webhook: it takes a request whose signature holds, and answers as the path says.

/echo      the arguments again        /refuse   404 with a text       /fail    500 with a text
/redirect  302 to /echo               /endless  more than anybody wants

It computes the signature on its own, from what the page in the docs says, and refuses a key of idempotency twice.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

from aiohttp import web

from tests.vendors.peer import Body
from tests.vendors.server import KEY, FakeVendor, Route

__all__ = ["FakeWebhook"]


class FakeWebhook(FakeVendor):
    def __init__(self, now_s: float) -> None:
        super().__init__()
        self.now_s = now_s
        self.keys: list[str] = []
        self.hosts: list[str] = []

    def routes(self) -> Iterator[Route]:
        for name in ("echo", "refuse", "fail", "redirect", "endless"):
            yield "POST", f"/{name}", self.http(getattr(self, f"_{name}"))

    async def check(self, request: web.Request) -> web.Response | None:
        body = await request.read()
        stamp = request.headers.get("Patchbay-Timestamp", "")
        signed = hmac.digest(KEY.encode(), stamp.encode() + b"." + body, hashlib.sha256).hex()
        if not hmac.compare_digest(request.headers.get("Patchbay-Signature", ""), f"v1={signed}"):
            self.violation("the signature does not hold")
            return web.Response(status=401)
        if abs(float(stamp) - self.now_s) > 300:
            return web.Response(status=401, text="the timestamp is old")
        self.keys.append(request.headers["Idempotency-Key"])
        self.hosts.append(request.headers["Host"])
        return None

    async def _echo(self, body: Body) -> None:
        asked = await body.json()
        if set(asked) != {"tool", "call_id", "session_id", "tenant_id", "turn", "args"}:
            self.violation(f"fields: {sorted(asked)}")
        await body.answer(200, {"args": asked["args"], "call": asked["call_id"]})

    async def _refuse(self, body: Body) -> None:
        await body.answer(404, "there is no such table")

    async def _fail(self, body: Body) -> None:
        await body.answer(500, "Traceback: canary")

    async def _redirect(self, body: Body) -> None:
        await body.answer(302, "", Location="/echo")

    async def _endless(self, body: Body) -> None:
        for _ in range(200):
            await body.write("x" * 65_536)
