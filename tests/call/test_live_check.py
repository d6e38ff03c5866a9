"""Live checks in virtual time: who serves, who does not and why, what is tried again; nothing hangs or leaks."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from actors.live_check import LiveLimits, LiveResult, run
from actors.live_word import word
from actors.providers.interface import (
    Fault,
    Options,
    Ready,
    ResponseDone,
    ResponseStarted,
    S2sCapabilities,
    SttCapabilities,
    TtsAudio,
    TtsCapabilities,
)
from actors.secrets import Secret
from router.errors import ProviderError
from router.readiness import LiveCheck
from tests.canary import KEY
from tests.simulation import simulate

STAGES = ("vad", "turn", "stt", "agent", "tts", "s2s")


def check(stage: Any, type: str = "", **fields: Any) -> LiveCheck:
    options = fields.pop("options", {})
    return LiveCheck(
        provider=fields.pop("provider", stage), stage=stage, type=type or f"fake-{stage}", options=options,
        stream_options=options, **fields,
    )  # fmt: skip


def tried(*checks: LiveCheck, **limits: Any) -> list[LiveResult]:
    return simulate(run(checks, LiveLimits(**limits)))


def one(found: LiveCheck, **limits: Any) -> LiveResult:
    (result,) = tried(found, **limits)
    return result


def own(cls: type) -> str:
    return f"{__name__}:{cls.__name__}"


def test_every_stage_is_given_a_word_and_answers():
    results = tried(*(check(stage) for stage in STAGES))
    assert [(r.stage, r.kind, r.step, r.attempts) for r in results] == [(s, None, "word", 1) for s in STAGES]
    assert all(r.serves and r.steps_s.keys() >= {"secret", "type", "warm", "probe", "word"} for r in results)
    hearing = results[2]
    assert hearing.total_s == pytest.approx(1.0, abs=0.1), "a second of sound at the speed of speech"


def test_what_was_heard_is_told():
    assert one(check("stt", options={"says": ["goodbye"]})).detail == 'heard "goodbye"'
    assert one(check("stt", options={"says": [""]})).detail == "answers, and heard no words"


@pytest.mark.parametrize("where", ["fail_open", "fail_warm", "fail_probe"])
@pytest.mark.parametrize("kind", ["auth", "config", "quota", "protocol", "stall", "expired"])
def test_what_will_not_pass_is_told_at_once(kind, where):
    result = one(check("tts", options={where: kind}))
    assert (result.kind, result.step, result.attempts) == (kind, where.removeprefix("fail_"), 1)
    assert result.total_s == 0.0


@pytest.mark.parametrize("kind", ["connect", "busy", "overload", "timeout"])
def test_what_may_pass_is_tried_again_after_waits_that_double(kind):
    result = one(check("tts", options={"fail_open": kind}), attempts=4, wait_s=0.5)
    assert (result.kind, result.attempts) == (kind, 4)
    assert result.total_s == pytest.approx(0.5 + 1.0 + 2.0)


class Recovers:
    """Busy twice, asks for 3 s, then speaks."""

    Options = Options
    tries = 0
    closed = 0

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TtsCapabilities:
        return TtsCapabilities(rates_hz=(16000,))

    def __init__(self, options: Any, secret: Secret | None, endpoint: str | None) -> None:
        self.secret = secret

    async def warm(self) -> None: ...
    async def probe(self) -> None: ...

    async def open(self, spec: Any, emit: Any) -> Any:
        type(self).tries += 1
        if self.tries < 3:
            raise ProviderError("x", "busy", "come back", 3.0)
        return _Voice(emit)

    async def close(self) -> None:
        type(self).closed += 1


class _Voice:
    cancelled: ClassVar[list[int]] = []
    ended = 0

    def __init__(self, emit: Any) -> None:
        self._emit = emit
        emit(Ready())

    def begin(self, reply: int, options: Any) -> None: ...
    def text(self, reply: int, text: str) -> None: ...
    def flush(self, reply: int) -> None: ...
    def end(self, reply: int) -> None:
        self._emit(TtsAudio(reply=reply, pos=0, pcm=bytes(640)))

    def cancel(self, reply: int) -> None:
        self.cancelled.append(reply)

    def update(self, options: Any) -> tuple[str, ...]:
        return ()

    async def close(self, *, drain: bool) -> None:
        type(self).ended += 1


def test_one_that_comes_back_serves_and_the_time_it_asked_for_is_kept():
    Recovers.tries = Recovers.closed = _Voice.ended = 0
    _Voice.cancelled.clear()
    result = one(check("tts", own(Recovers)))
    assert (result.kind, result.attempts, result.total_s) == (None, 3, 6.0)
    assert (Recovers.closed, _Voice.ended, _Voice.cancelled) == (3, 1, [1]), "closed each time, the word not paid for"


class Hangs(Recovers):
    """Never says a thing, at the step that the class names, and not even closes."""

    where: ClassVar[str] = "warm"

    async def warm(self) -> None:
        if self.where == "warm":
            await asyncio.sleep(1e9)

    async def probe(self) -> None:
        if self.where == "probe":
            await asyncio.sleep(1e9)

    async def open(self, spec: Any, emit: Any) -> Any:
        if self.where == "open":
            await asyncio.sleep(1e9)
        return _Mute(emit)

    async def close(self) -> None:
        await asyncio.sleep(1e9)


class _Mute(_Voice):
    def end(self, reply: int) -> None: ...


@pytest.mark.parametrize(("where", "bound_s"), [("warm", 10), ("probe", 5), ("open", 5), ("word", 15)])
def test_a_step_that_hangs_is_a_timeout_of_that_step(where, bound_s, monkeypatch):
    monkeypatch.setattr(Hangs, "where", where)
    result = one(check("tts", own(Hangs)), attempts=1)
    assert (result.kind, result.step) == ("timeout", where)
    assert result.detail == f"{where} took longer than {bound_s} s"
    assert result.total_s == pytest.approx(bound_s + 3), "closing has three seconds"


def test_all_attempts_together_have_a_deadline():
    result = one(check("tts", own(Hangs)), attempts=10, deadline_s=20.0)
    assert (result.kind, result.detail) == ("timeout", "not done in 20 s")
    assert result.total_s <= 23.0 + 1e-6


class Leaks(Recovers):
    """Puts its secret into whatever it says; raises what is not ours."""

    where: ClassVar[str] = "error"

    async def probe(self) -> None:
        assert self.secret is not None
        text = f"no access for {self.secret.reveal()} (Authorization: Bearer abcdefgh12345678)"
        if self.where == "error":
            raise ProviderError("x", "auth", text)
        if self.where == "foreign":
            raise RuntimeError(text)

    async def open(self, spec: Any, emit: Any) -> Any:
        emit(Fault(kind="auth", detail=f"key {self.secret.reveal() if self.secret else ''}\n  refused"))
        return _Mute(emit)


@pytest.mark.parametrize(
    ("where", "kind", "detail"),
    [
        ("error", "auth", "no access for [hidden] (Authorization: [hidden]"),
        ("foreign", "protocol", "RuntimeError in probe"),
        ("fault", "auth", "key [hidden] refused"),
    ],
)
def test_no_secret_gets_into_a_result(where, kind, detail, monkeypatch, capfd):
    monkeypatch.setenv("PATCHBAY_TEST_LIVE", KEY)
    monkeypatch.setattr(Leaks, "where", where)
    result = one(check("tts", own(Leaks), secret="env:PATCHBAY_TEST_LIVE"))
    assert result.kind == kind
    assert result.detail.startswith(detail)
    shown = json.dumps(result.as_dict()) + repr(result) + pickle.dumps(result).decode("latin-1")
    out, err = capfd.readouterr()
    assert KEY not in shown + out + err
    assert "abcdefgh12345678" not in shown + out + err


def test_a_secret_or_a_type_that_is_missing_is_a_matter_of_configuration(tmp_path, monkeypatch):
    monkeypatch.delenv("PATCHBAY_TEST_NOT_SET", raising=False)
    result = one(check("tts", secret="env:PATCHBAY_TEST_NOT_SET"))
    assert (result.kind, result.step, result.attempts) == ("config", "secret", 1)
    assert "PATCHBAY_TEST_NOT_SET" in result.detail
    result = one(check("tts", "no-such-type"))
    assert (result.kind, result.step) == ("config", "type")


def test_a_secret_in_a_file_is_below_the_folder_of_the_configuration(tmp_path):
    (tmp_path / "key").write_text(KEY + "\n")
    found = check("tts", secret="file:key")
    (result,) = simulate(run([found], LiveLimits(), base_dir=str(tmp_path)))
    assert result.serves
    (result,) = simulate(run([found], LiveLimits(), base_dir=str(tmp_path / "elsewhere")))
    assert (result.kind, result.step) == ("config", "secret")


def test_options_are_the_streams_and_the_credential_the_providers():
    assert one(check("tts", provider="voice", options={"no_such": 1})).step == "type"
    found = LiveCheck(provider="v", stage="tts", type="fake-tts", stream_options={"no_such": 1})
    assert (one(found).kind, one(found).step) == ("config", "open")


class NeedsKey(Recovers):
    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TtsCapabilities:
        return TtsCapabilities(rates_hz=(16000,), needs_secret=True)


def test_a_provider_that_needs_a_secret_and_has_none_is_not_even_built():
    assert one(check("tts", own(NeedsKey))).detail == f"{own(NeedsKey)} needs a secret and none is named"


class Counts(Recovers):
    """How many are open at once."""

    open_now: ClassVar[int] = 0
    most: ClassVar[int] = 0

    async def warm(self) -> None:
        Counts.open_now += 1
        Counts.most = max(Counts.most, Counts.open_now)
        await asyncio.sleep(1.0)

    async def open(self, spec: Any, emit: Any) -> Any:
        return _Voice(emit)

    async def close(self) -> None:
        Counts.open_now -= 1


def test_no_more_are_tried_at_once_than_allowed():
    Counts.open_now = Counts.most = 0
    told: list[str] = []
    checks = [check("tts", own(Counts), provider=f"p{n}") for n in range(20)]

    async def scene() -> tuple[list[LiveResult], float]:
        found = await run(checks, LiveLimits(together=6), lambda result: told.append(result.provider))
        return found, asyncio.get_running_loop().time()

    results, took_s = simulate(scene())
    assert [r.provider for r in results] == sorted(told, key=lambda p: int(p[1:])) == [c.provider for c in checks]
    assert (Counts.most, Counts.open_now) == (6, 0)
    assert took_s == 4.0


class Endless(Recovers):
    """Answers every word with events without end, none of them an answer."""

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:  # type: ignore[override]
        return SttCapabilities(rates_hz=(16000,))

    async def open(self, spec: Any, emit: Any) -> Any:
        return _Chatter(emit)


class _Chatter(_Voice):
    def speech_start(self, utt: int, pos: int) -> None: ...
    def speech_end(self, utt: int, pos: int) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def audio(self, pos: int, pcm: bytes) -> None:
        for _ in range(1000):
            self._emit(Ready())

    def finalize(self, utt: int, pos: int) -> None: ...


def test_a_provider_that_does_not_stop_is_a_protocol_error():
    result = one(check("stt", own(Endless)))
    assert (result.kind, result.detail) == ("protocol", "2000 events and none of them an answer")


class SilentModel(Recovers):
    """Its response is over before it made a sound."""

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> S2sCapabilities:  # type: ignore[override]
        return S2sCapabilities()

    async def open(self, spec: Any, emit: Any) -> Any:
        return _Silent(emit)


class _Silent(_Voice):
    def inject(self, role: str, text: str) -> None: ...
    def respond(self) -> None:
        self._emit(ResponseStarted(response=1))
        self._emit(ResponseDone(response=1, status="failed"))


def test_a_model_that_answers_without_a_sound_does_not_serve():
    result = one(check("s2s", own(SilentModel)))
    assert (result.kind, result.detail) == ("protocol", "its response is failed and had no audio")


def test_a_voice_that_is_done_without_a_sound_does_not_serve():
    assert one(check("tts", options={"fail_after": 0, "fail_kind": "quota"})).kind == "quota"


def test_an_address_that_has_none_is_told_by_its_host_and_not_by_its_path():
    found = check("tts", endpoint="wss://vendor.invalid/v1?key=" + KEY)

    async def scene() -> LiveResult:
        async with asyncio.timeout(20):
            (result,) = await run([found], LiveLimits(attempts=1))
            return result

    result = asyncio.run(scene())
    assert (result.kind, result.step, result.address) == ("connect", "address", "vendor.invalid")
    assert "vendor.invalid has no address here" in result.detail
    assert KEY not in repr(result)


def test_the_offline_providers_serve():
    """Real ones, on a real loop: what a fresh clone can do without a network."""
    checks = [
        check("vad", "webrtc"),
        check("turn", "heuristic"),
        check("stt", "pocketsphinx"),
        check("agent", "echo"),
        check("agent", "client"),
        check("tts", "espeak"),
    ]

    async def scene() -> list[LiveResult]:
        async with asyncio.timeout(60):
            return await run(checks, LiveLimits())

    results = asyncio.run(scene())
    assert [r.kind for r in results] == [None] * len(checks)
    assert results[2].detail == 'heard "goodbye"'
    assert results[4].detail == "the caller's own code answers"


def test_the_word_is_a_second_long_at_any_rate():
    for rate_hz in (8000, 16000, 24000, 48000):
        assert len(word(rate_hz)) == 2 * rate_hz
