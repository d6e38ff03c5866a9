"""What the contract of network adapters is said in: a case per adapter, a row per promise, and one piece of work.

    CASES = [VendorCase("deepgram", "deepgram", FakeDeepgram, options={...}, skip={"truncated_base64": "why"}, ...)]

A case lives in `tests/vendors/cases_<vendor>.py`; the test finds every such file. A row that does not apply to a case
is named in its `skip` with the reason; every other row is run.

The work of a stage is what a session asks for once: an utterance, a reply, an answer, a response. `is_right` says that
it came out as if nothing had been in its way.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from actors.providers import interface as i
from actors.providers import registry
from actors.providers.fake_tones import hear, say
from actors.providers.vendor_http import HttpLimits, VendorHttp
from actors.providers.vendor_socket import SocketLimits
from actors.secrets import Secret
from tests.vendors.live import Ear
from tests.vendors.server import KEY, FakeVendor

__all__ = ["ROWS", "Outcome", "Row", "VendorCase", "begin", "cases", "failed", "is_right", "make", "spec_of", "work"]

Outcome = Literal[
    "right", "auth", "config", "quota", "busy", "overload", "timeout", "connect", "protocol", "stall", "expired"
]
"""`right`: the work came out as if nothing had happened."""

SAID = "ten of clubs"


@dataclass(frozen=True)
class Row:
    name: str
    text: str
    stages: tuple[str, ...] = ("stt", "tts", "s2s", "agent")
    sockets_only: bool = False


ROWS = (
    Row("happy", "the work comes out right"),
    Row("cancel_open", "cancelled at each await of open: nothing left, the next one is served"),
    Row("cancel_close", "cancelled at each await of close: nothing left, the next one is served"),
    Row("close_busy", "closed while busy: bounded, nothing after it"),
    Row("slow", "a vendor that reads nothing: memory has a bound; one that sends in drops: no word is lost"),
    Row("many", "as many streams as it says, open at once, asked 10 ms apart"),
    Row("many_at_once", "the same, asked in the same moment"),
    Row("usage", "what the work used is told with it, not at close, when nobody listens"),
    Row("auth", "401: auth, asked once, names provider and tenant and no secret"),
    Row("config", "400: config, asked once"),
    Row("quota", "402: quota, asked once"),
    Row("busy", "429: busy, with its retry time"),
    Row("overload", "503: overload"),
    Row("redirect", "307: config, not followed"),
    Row("timeout", "no answer to the handshake or request: timeout"),
    Row("connect", "nobody there: connect"),
    Row("busy_close", "closed with 1013 at work: busy", sockets_only=True),
    Row("lost", "cut without a close frame at work"),
    Row("stall", "it owes something and is silent: stall"),
    Row("bad_json", "text that is no JSON: protocol"),
    Row("unknown_type", "a message of an unknown type is ignored", sockets_only=True),
    Row("truncated_base64", "protocol", ("tts", "s2s")),
    Row("odd_bytes", "audio cut in the middle of a sample is put together", ("tts", "s2s")),
    Row("other_rate", "audio at another rate than asked for: protocol", ("tts", "s2s")),
    Row("nan", "a number that is none: protocol"),
    Row("other_request", "an answer to another request is ignored"),
    Row("after_cancel", "nothing of a reply after it was cancelled", ("tts", "s2s", "agent")),
    Row("final_first", "a final before any audio is ignored", ("stt",)),
)  # fmt: skip


Disturb = Callable[[Any], Awaitable[None] | None]
"""Given the fake, before the work: makes it misbehave."""


@dataclass(frozen=True, kw_only=True)
class VendorCase:
    name: str
    type: str
    fake: Callable[[], FakeVendor]
    options: Mapping[str, Any] = field(default_factory=dict)
    """With deadlines of tenths of a second."""
    stall_options: Mapping[str, Any] = field(default_factory=lambda: {"stall_s": 0.3})
    """Over `options` in the row `stall`, so that other rows need not be quick."""
    rate_hz: int = 16000
    by: Literal["socket", "http"] = "socket"
    prefix: str = ""
    """Of the address that the provider gets: what the vendor's own client takes for its base."""
    skip: Mapping[str, str] = field(default_factory=dict)
    """Rows that do not apply, and why."""
    expect: Mapping[str, Outcome] = field(default_factory=dict)
    """Rows whose outcome differs from the usual (`bad_json`: right, where nothing is JSON but ...)."""
    disturb: Mapping[str, Disturb] = field(default_factory=dict)
    """Rows that only the vendor's own protocol can show: `other_rate`, `other_request`, `final_first`; may replace the
    usual for `bad_json`, `nan`, `truncated_base64`, `odd_bytes`."""
    streams: int | None = None
    """None: what its capability allows, 200 at most."""
    work: Callable[[Any, Ear, int], Awaitable[None]] | None = None
    """Another piece of work than the stage's usual one: it asks, and returns when it was answered or has failed."""
    right: Callable[[Ear, int], bool] | None = None
    """Whether it came out right."""
    begin: Callable[[Any, int], None] | None = None
    """Asks for work that goes on for a while, and does not wait: for `close_busy`, `lost`, `busy_close`, `stall`."""

    @property
    def stage(self) -> str:
        return str(registry.find(self.type).capabilities(dict(self.options)).stage)

    def applies(self, row: Row) -> bool:
        """Whether the row is one for adapters of this kind at all."""
        return self.stage in row.stages and not (row.sockets_only and self.by == "http")


def cases() -> list[VendorCase]:
    """Of every `cases_*.py` beside this file."""
    found: list[VendorCase] = []
    for module in sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)])):
        if module.startswith("cases_"):
            found += importlib.import_module(f"tests.vendors.{module}").CASES
    return found


def make(case: VendorCase, url: str, **options: Any) -> Any:
    """The provider, in a hurry: its limits are those of a test."""
    provider = registry.find(case.type)({**case.options, **options}, Secret(KEY, "env:VENDOR_KEY"), url)
    provider.SOCKET = SocketLimits(connect_s=1.0, close_s=0.3)
    provider.http = VendorHttp(provider.vendor, provider.counts, HttpLimits(connect_s=1.0, read_s=1.0))
    return provider


def spec_of(case: VendorCase, number: int = 1) -> i.StreamSpec:
    return i.StreamSpec(stream=number, epoch=1, session_id=f"s{number}", tenant_id="acme", rate_hz=case.rate_hz)


def failed(ear: Ear) -> bool:
    return bool(ear.all(i.Fault))


# -------------------------------------------------------------------------------------------------- stage by stage


async def work(case: VendorCase, stream: Any, ear: Ear, number: int) -> None:
    """One piece of work, until it is answered or a fault is told."""
    if case.work is not None:
        await case.work(stream, ear, number)
    else:
        await _WORK[case.stage](case, stream, ear, number)


def begin(case: VendorCase, stream: Any, number: int) -> None:
    """Ask for work that is not over at once."""
    if case.begin is not None:
        case.begin(stream, number)
    else:
        _BEGIN[case.stage](case, stream, number)


def is_right(case: VendorCase, ear: Ear, number: int) -> bool:
    if failed(ear):
        return False
    return case.right(ear, number) if case.right is not None else _RIGHT[case.stage](case, ear, number)


def _speak(case: VendorCase, stream: Any, number: int, text: str, pos: int = 0) -> int:
    stream.speech_start(number, pos)
    for pcm in (say(text, case.rate_hz).pcm, bytes(case.rate_hz // 5 * 2)):
        for at in range(0, len(pcm), case.rate_hz // 50 * 2):
            piece = pcm[at : at + case.rate_hz // 50 * 2]
            stream.audio(pos, piece)
            pos += len(piece) // 2
    stream.speech_end(number, pos)
    return pos


async def _utterance(case: VendorCase, stream: Any, ear: Ear, number: int) -> None:
    stream.finalize(number, _speak(case, stream, number, SAID))
    await ear.until(lambda: failed(ear) or any(f.utt == number for f in ear.all(i.Finalized)))


def _long_speech(case: VendorCase, stream: Any, number: int) -> None:
    stream.speech_start(number, 0)
    pcm = say("all work and no play makes jack a dull boy and then there was more of it to say", case.rate_hz).pcm
    for at in range(0, len(pcm), case.rate_hz // 50 * 2):
        stream.audio(at // 2, pcm[at : at + case.rate_hz // 50 * 2])


def _heard_right(case: VendorCase, ear: Ear, number: int) -> bool:
    finals = ear.all(i.Final)
    spans = all(a.to_pos == b.from_pos for a, b in pairwise(finals))
    return spans and " ".join(f.text for f in finals if f.text and f.utt == number) == SAID


async def _reply(case: VendorCase, stream: Any, ear: Ear, number: int) -> None:
    stream.begin(number, {})
    stream.text(number, SAID)
    stream.end(number)
    await ear.until(lambda: failed(ear) or any(d.reply == number for d in ear.all(i.Done)))


def _long_reply(case: VendorCase, stream: Any, number: int) -> None:
    stream.begin(number, {})
    for _ in range(20):
        stream.text(number, "All work and no play makes Jack a dull boy. ")
    stream.end(number)


def _spoken_right(case: VendorCase, ear: Ear, number: int) -> bool:
    return " ".join(w.text for w in hear(ear.pcm(number), case.rate_hz)) == SAID


async def _answer(case: VendorCase, stream: Any, ear: Ear, number: int) -> None:
    stream.reply(number, 0, (i.Item(role="user", said=SAID),), (), "user")
    await ear.until(lambda: failed(ear) or any(d.turn == number for d in ear.all(i.AgentDone)))


def _long_answer(case: VendorCase, stream: Any, number: int) -> None:
    stream.reply(number, 0, (i.Item(role="user", said="tell me a long story"),), (), "user")


def _answered_right(case: VendorCase, ear: Ear, number: int) -> bool:
    return SAID in "".join(t.delta for t in ear.all(i.TextDelta) if t.turn == number)


async def _response(case: VendorCase, stream: Any, ear: Ear, number: int) -> None:
    responses = len(ear.all(i.ResponseDone))
    pcm = say(SAID, case.rate_hz).pcm + bytes(case.rate_hz)
    stream.activity_start(0)
    for at in range(0, len(pcm), case.rate_hz // 50 * 2):
        stream.audio(at // 2, pcm[at : at + case.rate_hz // 50 * 2])
    stream.activity_end(len(pcm) // 2)
    await ear.until(lambda: failed(ear) or len(ear.all(i.ResponseDone)) > responses)


def _long_response(case: VendorCase, stream: Any, number: int) -> None:
    stream.inject("agent", "All work and no play makes Jack a dull boy. " * 20)
    stream.respond()


def _responded_right(case: VendorCase, ear: Ear, number: int) -> bool:
    first = ear.all(i.ResponseStarted)[0].response
    return ear.all(i.ResponseDone)[0].status == "completed" and len(ear.pcm(first)) > 0


_WORK = {"stt": _utterance, "tts": _reply, "agent": _answer, "s2s": _response}
_BEGIN = {"stt": _long_speech, "tts": _long_reply, "agent": _long_answer, "s2s": _long_response}
_RIGHT = {"stt": _heard_right, "tts": _spoken_right, "agent": _answered_right, "s2s": _responded_right}
