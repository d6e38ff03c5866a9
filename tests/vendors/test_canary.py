"""Security checks S10 to S14: the canary is planted in the environment and in a file, and found nowhere else.

Live checks that succeed and fail in every way, calls with their events and records, errors, configurations and what is
made of them. What each test of the suite prints and logs is searched by tests/conftest.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.catalog import catalog
from actors.live_check import LiveLimits, LiveResult
from actors.live_check import run as try_live
from actors.local import LocalCall
from actors.providers import registry
from actors.providers.fake import FakeAgent, FakeTts, FakeTurn, FakeVad
from actors.providers.fake_tones import say
from actors.providers.vendor_provider import VendorProvider
from actors.secrets import Secret, resolve
from actors.table_rules import TableRules
from router.choose import choose
from router.config import load
from router.context import RouteContext
from router.errors import ConfigError, ProviderError
from router.plan import Candidate, RoutePlan
from router.readiness import live_checks
from router.settings import SessionSettings
from tests.canary import KEY, PLANTED, hidden, leaks, shown, told
from tests.vendors.contract import cases
from tests.vendors.fake_deepgram import FakeDeepgram
from tests.vendors.live import Ear, run, spec
from tests.vendors.peer import Gone

ROOT = Path(__file__).resolve().parents[2]


def _has_key(type: str) -> bool:
    made = registry.find(type)
    return issubclass(made, VendorProvider) or made.capabilities({}).needs_secret


WITH_KEY = sorted(filter(_has_key, registry.TYPES))
"""Adapters that carry a credential."""


def least(type: str) -> dict[str, Any]:
    """Options that an adapter cannot be made without: of its case in the contract, else a text for each."""
    known = next((dict(case.options) for case in cases() if case.type == type), None)
    fields = registry.find(type).Options.model_fields
    return known or {name: "x" for name, field in fields.items() if field.is_required()}


CONFIG = """\
schema: 1
providers:
  ears:
    stage: stt
    type: deepgram
    secrets: {"*": "env:PATCHBAY_TEST_CANARY", acme: "file:vendor.key"}
    endpoints: {"*": "ADDRESS"}
default:
  use: {vad: webrtc, turn: heuristic, stt: ears, agent: echo, tts: espeak}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration's folder with the canary in a file, and in the environment."""
    monkeypatch.setenv("PATCHBAY_TEST_CANARY", KEY)
    (tmp_path / "vendor.key").write_text(KEY + "\n")
    (tmp_path / "vendor.key").chmod(0o600)
    return tmp_path


def table(folder: Path, address: str = "wss://vendor.example") -> Any:
    return load(
        CONFIG.replace("ADDRESS", address), "routes.yaml", catalog, environment=os.environ,
        read_file=lambda path: (folder / path).read_text(),
    ).required()  # fmt: skip


def clean(*things: object) -> None:
    for thing in things:
        assert leaks(shown(thing)) == [], type(thing)


# ------------------------------------------------------------------------------------------- the search itself


def test_the_search_finds_the_canary_in_any_dress() -> None:
    assert leaks(f"a {KEY} b") == ["itself", "quoted"]
    for lead in ("", "x", "ab", "abc"):
        text = msgspec.json.encode({"basic": (lead + KEY + ":").encode()})
        assert leaks(text), lead
    assert leaks("nothing here") == []
    for key in PLANTED:
        assert "itself" in leaks(f"a {key} b")
        assert hidden(f"a {key} b") == "a <canary> b"
    assert leaks(shown({"deep": [{"er": (KEY,)}]}))
    assert leaks(told(ProviderError("x", "auth", f"key {KEY}")))


LEAKY = """
import logging, sys
import pytest
from actors.logs import get_logger
from tests.canary import KEY

def test_clean(): print("all is well")
def test_prints(): print(f"key {KEY}")
def test_debug(): logging.getLogger("some.library").debug("> Authorization: Token %s", KEY)
def test_stderr(): sys.stderr.write(KEY)
def test_fails(): assert KEY == "no", "for another reason"

@pytest.fixture
def last_words(): yield; print(KEY)
def test_ends(last_words): pass
"""


def test_a_test_that_shows_the_canary_fails_and_does_not_repeat_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_makereport")
    (tmp_path / "test_leaky.py").write_text(LEAKY)
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    program = [sys.executable, "-m", "pytest", "-rA", *settings]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*program, str(tmp_path)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    rows = [line.split() for line in done.stdout.splitlines() if "::" in line]
    assert sorted((row[1].split("::")[1], row[0]) for row in rows) == [
        ("test_clean", "PASSED"), ("test_debug", "FAILED"), ("test_ends", "ERROR"), ("test_ends", "PASSED"),
        ("test_fails", "FAILED"), ("test_prints", "FAILED"), ("test_stderr", "FAILED"),
    ]  # fmt: skip
    assert "the canary (itself, quoted) is in: Captured stdout call" in done.stdout
    assert "the canary (itself, quoted) is in: Captured log call" in done.stdout
    assert "the canary (itself, quoted) is in: the failure" in done.stdout
    assert "for another reason" in done.stdout
    assert leaks(done.stdout + done.stderr) == []


# ------------------------------------------------------------------------------- configurations and what they make


def test_what_a_configuration_becomes_has_references_alone(folder: Path) -> None:
    made = table(folder)
    ctx = RouteContext(session_id="s1", tenant_id="acme", region="eu")
    plan = choose(ctx, made, live_regions=frozenset({"eu"}))
    assert isinstance(plan, RoutePlan)
    candidate = plan.stages["stt"][0]
    assert candidate.secret == "file:vendor.key"
    worker = TableRules(made, str(folder)).spec(candidate, "eu")
    assert worker.secret == f"file:{folder}/vendor.key"
    clean(made.providers["ears"], plan, candidate, worker, live_checks(made))
    for thing in (plan, worker):
        assert leaks(msgspec.json.encode(thing)) == []
        assert leaks(pickle.dumps(thing)) == []
    resolved = resolve(worker.secret)
    assert resolved is not None
    assert resolved.reveal() == KEY, "the reference leads to it, in the process that uses it"


@pytest.mark.parametrize(
    "secrets",
    ['{"*": "KEY"}', '{"*": "env:KEY extra"}', '{acme: "sk:KEY"}', '{"*": "file:KEY"}', '["KEY"]', '{"KEY": 7}'],
)
def test_a_secret_in_the_file_itself_is_refused_and_not_repeated(secrets: str, folder: Path) -> None:
    block = "  ears: {stage: stt, type: deepgram, secrets: " + secrets.replace("KEY", KEY) + "}\n"
    text = f"schema: 1\nproviders:\n{block}default: {{use: {{stt: ears, agent: echo, tts: espeak}}}}\n"
    loaded = load(text, "r", catalog, environment={}, read_file=lambda path: (folder / path).read_text())
    assert loaded.table is None
    if secrets not in ('{"*": "file:KEY"}', '{"KEY": 7}'):  # there it stands for a path, and for a tenant's name
        clean(loaded)


def test_a_secret_shows_its_reference_and_stays_in_its_process() -> None:
    secret = Secret(KEY, "env:PATCHBAY_TEST_CANARY")
    assert repr(secret) == str(secret) == "Secret(env:PATCHBAY_TEST_CANARY)"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps({"deep": [secret]}, protocol)
    with pytest.raises(TypeError):
        json.dumps({"secret": secret})
    clean(secret)


def test_a_file_that_everybody_may_read_is_told(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "vendor.key"
    assert resolve(f"file:{path}") is not None
    assert "readable_by_everybody" not in "".join(capfd.readouterr())
    path.chmod(0o644)
    assert resolve(f"file:{path}") is not None
    said = "".join(capfd.readouterr())
    assert "readable_by_everybody" in said
    assert leaks(said) == []
    path.write_bytes(b"\xff\xfe" + KEY.encode())
    with pytest.raises(ConfigError) as caught:
        resolve(f"file:{path}")
    assert leaks(told(caught.value)) == []


# ------------------------------------------------------------------------------------------------ every adapter


def adapter(type: str, endpoint: str = "http://127.0.0.1:9") -> Any:
    """With the least that it needs: nothing listens at port 9."""
    return registry.find(type)(least(type), Secret(KEY, "env:PATCHBAY_TEST_CANARY"), endpoint)


@pytest.mark.parametrize("type", WITH_KEY)
def test_an_adapter_can_be_shown(type: str) -> None:
    clean(adapter(type))
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever it is: it must not become bytes
        pickle.dumps(adapter(type))
    assert leaks(f"{caught.value!r}") == []


@pytest.mark.parametrize("type", WITH_KEY)
def test_what_an_adapter_raises_when_nobody_is_there_can_be_shown(type: str) -> None:
    async def scene() -> list[str]:
        provider, ear, raised = adapter(type), Ear(), []
        for step in (provider.warm, provider.probe, lambda: provider.open(spec(), ear)):
            try:
                await step()
            except ProviderError as error:
                raised.append(told(error))
        clean(provider, ear.told)
        await provider.close()
        return raised

    raised = run(scene())
    assert raised, "nobody listens there: something must have failed"
    assert leaks("".join(raised)) == []


# ------------------------------------------------------------------------------------------------- live checks


def misbehave(vendor: FakeDeepgram, how: str) -> None:
    """The vendor says the credential back, wherever it can."""
    echo = f'{{"err_code": "INVALID_AUTH", "err_msg": "Token {KEY} refused", "api_key": "{KEY}"}}'
    headers = {"X-Key": KEY, "Retry-After": "0", "dg-error": f"key={KEY}", "Location": f"http://127.0.0.1:9/?k={KEY}"}
    if how in ("401", "403", "302", "400", "429", "500"):
        vendor.orders.refuse(int(how), echo, headers, times=9)
    elif how == "error":
        vendor.orders.mangle(lambda message: [f'{{"type":"Error","code":"X","description":"no {KEY}"}}'])
    elif how == "garbage":
        vendor.orders.mangle(lambda message: [f'{{"type": {KEY}'])
    elif how == "cut":
        vendor.orders.cut_after(1)


@pytest.mark.parametrize("how", ["", "401", "403", "302", "400", "429", "500", "error", "garbage", "cut"])
def test_a_live_check_says_nothing_of_it(how: str, folder: Path) -> None:
    async def scene() -> list[LiveResult]:
        async with FakeDeepgram() as vendor:
            misbehave(vendor, how)
            checks = [c for c in live_checks(table(folder, vendor.ws_url)) if c.provider == "ears"]
            return await try_live(checks, LiveLimits(attempts=2, wait_s=0.05), base_dir=str(folder))

    results = run(scene())
    assert [r.owner for r in results] == ["*", "acme"], "one credential from the environment, one from the file"
    assert [r.serves for r in results] == [not how] * 2, results
    clean(*results, [r.as_dict() for r in results])


def test_the_command_says_nothing_of_it(folder: Path) -> None:
    async def scene() -> list[tuple[int | None, str]]:
        done = []
        async with FakeDeepgram() as vendor:
            (folder / "routes.yaml").write_text(CONFIG.replace("ADDRESS", vendor.ws_url))
            for how, json_too in (("", ()), ("401", ("--json",))):
                misbehave(vendor, how)
                words = ("check", str(folder / "routes.yaml"), "--live", "--provider", "ears", *json_too)
                program = [sys.executable, "-m", "cli.main", *words]
                ended = await asyncio.to_thread(
                    subprocess.run, program, cwd=ROOT, capture_output=True, text=True, timeout=25
                )
                done.append((ended.returncode, ended.stdout + ended.stderr))
        return done

    done = run(scene())
    assert [status for status, _ in done] == [0, 1], done
    assert "2 of 2 serve" in done[0][1]
    assert '"kind": "auth"' in done[1][1]
    assert leaks("".join(out for _, out in done)) == []


# ------------------------------------------------------------------------------------------------------- calls


def plan(stage_types: dict[str, str]) -> RoutePlan:
    stages: dict[Any, tuple[Candidate, ...]] = {
        stage: (Candidate(stage=stage, provider=stage, type=type, secret="env:PATCHBAY_TEST_CANARY"),)  # type: ignore[arg-type]
        for stage, type in stage_types.items()
    }
    return RoutePlan(
        route="r", version="v", tenant_id="acme", region="eu", pool_region="eu", stages=stages,
        settings=SessionSettings(),
    )  # fmt: skip


@pytest.mark.parametrize("how", ["", "close", "refuse"])
def test_a_call_says_nothing_of_it(how: str, folder: Path) -> None:
    """Its events, its record and its logs; also when the vendor ends it with the credential as its reason."""
    stages = {"vad": "fake-vad", "turn": "fake-turn", "stt": "deepgram", "agent": "fake-agent", "tts": "fake-tts"}

    async def scene() -> str:
        async with FakeDeepgram() as vendor:
            secret = resolve("env:PATCHBAY_TEST_CANARY")
            ears = registry.find("deepgram")({"finalize_s": 0.3}, secret, vendor.ws_url)
            if how == "refuse":
                misbehave(vendor, "401")
            await ears.warm()
            given = {"stt": ears, "vad": FakeVad({}), "turn": FakeTurn({}), "agent": FakeAgent({}), "tts": FakeTts({})}
            seen: list[Any] = []
            async with LocalCall(plan(stages), given) as call:
                sound = bytes(6400) + say("ten of clubs", 16000).pcm + bytes(32000)
                for n, at in enumerate(range(0, len(sound) - 639, 640)):
                    if call.session.closed:
                        break
                    call.session.caller_audio(sound[at : at + 640])
                    if how == "close" and n == 30:
                        with contextlib.suppress(Gone):
                            await vendor.peers[0].close(1008, f"DATA-0000 {KEY}")
                    await asyncio.sleep(0.01)
                    while not call.events.empty():
                        seen.append(call.events.get_nowait())
                clean(call.session.plan, ears)
            while not call.events.empty():
                seen.append(call.events.get_nowait())
            await ears.close()
            assert call.record is not None
            return "\n".join([*(shown(e, 1) for e in seen), json.dumps(call.record, default=str)])

    said = run(scene())
    wanted = {"": "ten of clubs", "close": "protocol", "refuse": "auth"}[how]
    assert wanted in said, said[-2000:]
    assert leaks(said) == []
