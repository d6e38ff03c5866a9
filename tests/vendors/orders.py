"""What a test orders a fake vendor to do wrong. Everything is off until it is said.

orders.refuse(401, body=...)      the next handshake or request is answered so      orders.refuse(503, times=3)
orders.accept_delay_s = 0.5       before the handshake or request is answered
orders.delay_s = 0.2              before each message or piece of a body
orders.stall() / allow()          nothing is sent from now on / everything that waited, and on
orders.ignore("Finalize")         this message of a client is never answered
orders.cut_after(3)               after so many messages or pieces the connection is gone, without a close frame
orders.drip(7, 0.01)              audio and bodies in pieces of 7 bytes, 10 ms apart
orders.mangle(truncated_base64)   what is sent becomes something else: any function message -> list of messages
vendor.peers[0].cut() / .close(1011, "reason") / .say("garbage")     now, on one socket
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Message", "Orders", "Refusal", "bad_json", "nan", "odd_base64", "odd_bytes", "truncated_base64"]

Message = str | bytes
Mangle = Callable[[Message], list[Message]]


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class Orders:
    def __init__(self) -> None:
        self.accept_delay_s = 0.0
        self.delay_s = 0.0
        self.ignored: set[str] = set()
        self.piece_bytes: int | None = None
        self.pause_s = 0.0
        self.left: int | None = None
        """Messages until the connection is cut."""
        self.mangled = 0
        """Messages that `mangle` changed: a test can see that what it ordered happened."""
        self.refused = 0
        """Handshakes and requests that were refused as ordered."""
        self.hearing = asyncio.Event()
        self.hearing.set()
        self._once = False
        self._refusals: list[Refusal] = []
        self._mangle: Mangle | None = None
        self._flow = asyncio.Event()
        self._flow.set()

    def refuse(self, status: int, body: str = "", headers: dict[str, str] | None = None, times: int = 1) -> None:
        self._refusals += [Refusal(status, body, headers or {})] * times

    def refusal(self) -> Refusal | None:
        if not self._refusals:
            return None
        self.refused += 1
        return self._refusals.pop(0)

    def deafen(self) -> None:
        self.hearing.clear()

    def listen(self) -> None:
        self.hearing.set()

    def stall(self) -> None:
        self._flow.clear()

    def allow(self) -> None:
        self._flow.set()

    def ignore(self, *types: str) -> None:
        self.ignored.update(types)

    def cut_after(self, messages: int, *, once: bool = False) -> None:
        """`once`: the next connection is left alone."""
        self.left, self._once = messages, once

    def drip(self, piece_bytes: int, pause_s: float = 0.0) -> None:
        self.piece_bytes, self.pause_s = piece_bytes, pause_s

    def mangle(self, change: Mangle | None) -> None:
        self._mangle = change

    # -- for the server

    async def flow(self) -> None:
        """Wait as was ordered before a message goes out."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await self._flow.wait()

    def change(self, message: Message) -> list[Message]:
        if self._mangle is None:
            return [message]
        changed = self._mangle(message)
        self.mangled += changed != [message]
        return changed

    def is_last(self) -> bool:
        """One message fewer until the cut; True where this one is cut off."""
        if self.left is None:
            return False
        self.left -= 1
        is_last = self.left < 0
        if is_last and self._once:
            self.left = None
        return is_last


# ------------------------------------------------------------------------------------------- ready-made mangles


def bad_json(message: Message) -> list[Message]:
    """Text that ends in the middle."""
    return [message[: max(1, len(message) // 2)]] if isinstance(message, str) else [message]


def odd_bytes(message: Message) -> list[Message]:
    """Audio in pieces of an odd number of bytes; no byte is lost."""
    if isinstance(message, str) or len(message) < 4:
        return [message]
    cut = len(message) // 2 | 1
    return [message[:cut], message[cut:]]


_NUMBER = re.compile(r"(?<=: )-?\d+(\.\d+)?(?=[,}])")


def nan(message: Message) -> list[Message]:
    """Every number that is a field of a JSON message is none: `NaN`, which JSON does not have."""
    return [_NUMBER.sub("NaN", message)] if isinstance(message, str) else [message]


def odd_base64(field: str) -> Mangle:
    """Audio in the base64 of a JSON message's `field`, in two messages of an odd number of bytes; no byte is lost."""

    def change(message: Message) -> list[Message]:
        told = json.loads(message) if isinstance(message, str) else {}
        pcm = base64.b64decode(told.get(field) or "")
        if len(pcm) < 4:
            return [message]
        cut = len(pcm) // 2 | 1
        return [json.dumps({**told, field: base64.b64encode(part).decode()}) for part in (pcm[:cut], pcm[cut:])]

    return change


_BASE64 = re.compile(r"^[A-Za-z0-9+/]{16,}={0,2}$")


def truncated_base64(message: Message) -> list[Message]:
    """Every long base64 string of a JSON message loses its last character and its padding."""
    if not isinstance(message, str):
        return [message]
    return [json.dumps(_shortened(json.loads(message)))]


def _shortened(value: object) -> object:
    if isinstance(value, dict):
        return {k: _shortened(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_shortened(v) for v in value]
    if isinstance(value, str) and _BASE64.match(value):
        whole = value.rstrip("=")
        return whole[: len(whole) // 4 * 4 - 3]  # one character too many for whole groups of four
    return value
