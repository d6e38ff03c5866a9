"""What a live check tries: each credential and address of a provider once, and each set of options that routes use."""

from __future__ import annotations

import pytest

from actors.secrets import placed
from router.config import load
from router.readiness import LiveCheck, live_checks
from tests.law.router_catalog import catalog

HEAD = "schema: 1\n"


def checks(text: str) -> tuple[LiveCheck, ...]:
    return live_checks(load(HEAD + text, "routes.yaml", catalog).required())


def test_each_credential_is_tried_at_each_address_once():
    found = checks(
        """
providers:
  deep:
    stage: stt
    type: deepgram
    secrets: {"*": "env:SHARED", acme: "env:ACME"}
    endpoints:
      eu-west: wss://eu.example/v1
      "eu-*": wss://eu.example/v1
      "*": wss://us.example/v1
default:
  use: {stt: deep, agent: echo, tts: espeak}
"""
    )
    deep = [(c.owner, c.secret, c.region, c.endpoint) for c in found if c.provider == "deep"]
    assert deep == [
        ("*", "env:SHARED", "eu-west", "wss://eu.example/v1"),
        ("*", "env:SHARED", "*", "wss://us.example/v1"),
        ("acme", "env:ACME", "eu-west", "wss://eu.example/v1"),
        ("acme", "env:ACME", "*", "wss://us.example/v1"),
    ]


def test_other_options_are_tried_once_more_and_not_for_every_credential():
    found = checks(
        """
providers:
  deep: {stage: stt, type: deepgram, options: {model: nova}, secrets: {"*": "env:SHARED", acme: "env:ACME"}}
routes:
  - name: one
    when: {tenant: a}
    use: {stt: deep, agent: echo, tts: espeak}
  - name: two
    when: {tenant: b}
    use: {stt: {provider: deep, with: {model: flux}}, agent: echo, tts: espeak}
  - name: three
    when: {tenant: c}
    use: {stt: [{provider: deep, with: {model: flux}}, pocketsphinx], agent: echo, tts: espeak}
default:
  use: {stt: {split: {deep: 1, pocketsphinx: 1}, salt: x}, agent: echo, tts: espeak}
"""
    )
    deep = [(c.owner, dict(c.options), dict(c.stream_options), c.routes) for c in found if c.provider == "deep"]
    assert deep == [
        ("*", {"model": "nova"}, {"model": "nova"}, ("one", "default")),
        ("acme", {"model": "nova"}, {"model": "nova"}, ("one", "default")),
        ("*", {"model": "nova"}, {"model": "flux"}, ("two", "three")),
    ]


def test_what_no_route_uses_is_tried_too_and_stages_come_in_their_order():
    found = checks(
        """
providers:
  spare: {stage: agent, type: echo}
  british: {stage: tts, type: espeak, options: {voice: en-gb}}
default:
  use: {vad: webrtc, turn: heuristic, stt: pocketsphinx, agent: echo, tts: british}
"""
    )
    assert [(c.stage, c.provider, c.routes) for c in found] == [
        ("vad", "webrtc", ("default",)),
        ("turn", "heuristic", ("default",)),
        ("stt", "pocketsphinx", ("default",)),
        ("agent", "echo", ("default",)),
        ("agent", "spare", ()),
        ("tts", "british", ("default",)),
    ]


def startup(block: str) -> tuple[object, list[str]]:
    loaded = load(f"{HEAD}{block}default: {{use: {{stt: pocketsphinx, agent: echo, tts: espeak}}}}\n", "r", catalog)
    return loaded.table and loaded.table.startup, [str(problem) for problem in loaded.errors]


def test_startup_is_read_and_its_defaults_check_nothing():
    said, _ = startup("")
    assert (said.check, said.on_failure, said.attempts, said.together) == ("none", "stop", 3, 8)
    said, _ = startup("startup: {check: live, on_failure: warn, attempts: 1, deadline_s: 5, together: 2}\n")
    assert (said.check, said.on_failure, said.attempts, said.deadline_s, said.together) == ("live", "warn", 1, 5.0, 2)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("{check: alive}", "startup.check: should be 'none' or 'live'"),
        ("{chek: live}", "unknown key `chek`"),
        ("{attempts: 0}", "startup.attempts: should be greater than or equal to 1"),
        ("{deadline_s: 0}", "startup.deadline_s: should be greater than 0"),
        ("{together: many}", "startup.together: is no whole number"),
        ("live", "is no mapping"),
    ],
)
def test_a_startup_that_does_not_hold_is_told_with_its_line(block, said):
    table, errors = startup(f"startup: {block}\n")
    assert table is None
    assert any(said in error and ":2:" in error for error in errors), errors


def test_the_file_of_a_secret_is_looked_for_where_the_configuration_stands():
    assert placed("file:keys/vendor", "/etc/patchbay") == "file:/etc/patchbay/keys/vendor"
    assert placed("file:/run/secrets/vendor", "/etc/patchbay") == "file:/run/secrets/vendor"
    assert placed("env:KEY", "/etc/patchbay") == "env:KEY"
    assert placed(None, "/etc/patchbay") is None
