"""Every mistake of a configuration: told with its line, its path and what would be right, all at once."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.config import Loaded, load
from router.errors import ConfigError
from router.policy import HostPolicy, PoolPolicy
from router.problem import MAX_PROBLEMS
from tests.law.router_catalog import catalog

GOOD = """\
schema: 1
providers:
  ears:
    stage: stt
    type: deepgram
    secrets: {"*": env:KEY}
  voice: {stage: tts, type: espeak}
routes:
  - name: first
    when: {tenant: acme}
    use: {stt: ears, agent: echo, tts: voice}
  - name: second
    when:
      tenant: bob
    use:
      stt: pocketsphinx
      agent: echo
      tts: espeak
default:
  use: {stt: pocketsphinx, agent: echo, tts: espeak}
"""


def read(text: str | bytes, **more: object) -> Loaded:
    return load(text, "r.yaml", catalog, **{"read_file": missing, **more})  # type: ignore[arg-type]


def missing(path: str) -> str:
    if path == "empty":
        return " \n"
    if path == "long":
        return "x" * 70_000
    raise FileNotFoundError(2, "No such file or directory", path)


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_the_base_of_all_rows_holds():
    loaded = read(GOOD, environment={"KEY": "k"})
    assert loaded.problems == ()
    assert loaded.table is not None
    assert loaded.table.providers.keys() == {
        "ears", "voice", "echo", "pocketsphinx", "espeak", "webrtc", "heuristic",
    }  # fmt: skip


DEFAULT = "default:\n  use: {stt: pocketsphinx, agent: echo, tts: espeak}\n"
USE = "use: {stt: ears, agent: echo, tts: voice}"
WHEN = "when: {tenant: acme}"
SECRETS = 'secrets: {"*": env:KEY}'
VOICE = "voice: {stage: tts, type: espeak}"


def row(old: str, new: str, line: int, path: str, says: str, *, id: str) -> object:
    return pytest.param(changed(old, new), line, path, says, id=id)


ERRORS = [
    # the file
    pytest.param("", 1, "", "begins with `schema: 1`", id="an empty file"),
    pytest.param("- a\n", 1, "", "is no mapping", id="a list is no configuration"),
    pytest.param("schema: 1\nroutes: [\n", 3, "", "is no YAML", id="no YAML at all"),
    pytest.param("schema: 1\nx: \x01\n", 2, "", "control characters", id="a control character"),
    pytest.param(b"schema: 1\nx: \xff\n", 2, "", "no UTF-8", id="bytes that are no text"),
    pytest.param("schema: 1\n---\nschema: 1\n", 2, "", "second document", id="two documents"),
    pytest.param("#" * 1_000_001, 1, "", "at most 1000000", id="a file of more than a megabyte"),
    pytest.param("a: " + "[" * 5000, 1, "a[0][0][0][0][0][0][0]", "deeper than 32", id="a tower of brackets"),
    pytest.param(GOOD + "x: &x [*x]\n", 21, "x[0]", "no anchor before", id="an alias of itself"),
    # YAML's surprises
    row("tenant: acme", "tenant: no", 10, "routes[0].when.tenant", 'write "no" for text', id="a tenant called no"),
    row("tenant: acme", "tenant: 1e3", 10, "routes[0].when.tenant", "in quotes", id="a tenant called 1e3"),
    row("tenant: acme", "tenant: 12:30", 10, "routes[0].when.tenant", "base 60", id="a tenant of base 60"),
    row("tenant: acme", "tenant: 007", 10, "routes[0].when.tenant", "another number", id="a tenant with zeros before"),
    row("tenant: acme", "tenant: 2024-01-01", 10, "routes[0].when.tenant", "a date", id="a tenant like a date"),
    row("tenant: acme", "tenant: 42", 10, "routes[0].when.tenant", "in quotes", id="a tenant that is a number"),
    row("tenant: acme", "tenant: true", 10, "routes[0].when.tenant", "in quotes", id="a tenant that is a boolean"),
    row("{tenant: acme}", "{tenant: }", 10, "routes[0].when.tenant", "in quotes", id="a tenant that is left empty"),
    row("tenant: acme", "tenant: []", 10, "routes[0].when.tenant", "at least 1 item", id="an empty list of tenants"),
    row("name: second", "name: !!python/name:os.system x", 12, "routes[1].name", "tag", id="a Python tag"),
    row("name: second", "name: !secret x", 12, "routes[1].name", "tag !secret", id="a tag of somebody's own"),
    row("name: second", "<<: {name: x}", 12, "routes[1]", "merge keys", id="a merge key"),
    row("name: second", "1: x\n    name: second", 12, "routes[1]", "no text", id="a key that is a number"),
    row(
        "  voice:", "  ears: {}\n  voice:", 7, "providers.ears", "twice, first in line 3", id="a key that stands twice"
    ),
    # shape
    row("schema: 1", "schema: 2", 1, "schema", "should be 1", id="another schema"),
    row("schema: 1\n", "", 1, "schema", "is missing", id="no schema"),
    row("default:", "fallback:", 19, "fallback", "does not enforce", id="an unknown key at the top"),
    row(USE, USE + "\n    usee: {}", 12, "routes[0].usee", "did you mean `use`?", id="an unknown key of a route"),
    row(
        WHEN, "when: {tennant: acme}", 10, "routes[0].when.tennant", "did you mean `tenant`?", id="an unknown condition"
    ),
    row(WHEN, "when: {features: {s2s: 1}}", 10, "routes[0].when.features.s2s", "true nor false", id="a feature of 1"),
    row(
        WHEN,
        "when: {attributes: {a: {}}}",
        10,
        "routes[0].when.attributes.a",
        "no text, number",
        id="a mapping as value",
    ),
    row("name: first", "name: first route", 9, "routes[0].name", "is no name", id="a name with a space"),
    row("  - name: first\n    when", "  - when", 9, "routes[0].name", "is missing", id="a route without a name"),
    row(DEFAULT, "default: []\n", 19, "default", "no mapping", id="a default that is no mapping"),
    row("stage: stt", "stage: ears", 4, "providers.ears.stage", "should be 'vad'", id="a stage that is none"),
    row(
        VOICE,
        "voice: {stage: tts, type: espeak, capacity: {streams: 3}}",
        7,
        "providers.voice.capacity.streams",
        "did you mean `streams_per_",
        id="an unknown capacity",
    ),
    row(
        VOICE,
        "voice: {stage: tts, type: espeak, timeout_s: 3}",
        7,
        "providers.voice.timeout_s",
        "does not enforce",
        id="a key that this version does not enforce",
    ),
    row(
        DEFAULT, "pools: {voice: {size: 3}}\n" + DEFAULT, 19, "pools.voice.size", "there are", id="an unknown pool key"
    ),
    row(
        DEFAULT,
        "pools: {voice: {min: 9, max: 3}}\n" + DEFAULT,
        19,
        "pools.voice",
        "min 9 is above max 3",
        id="min above max",
    ),
    row(DEFAULT, "pools: {voise: {}}\n" + DEFAULT, 19, "pools.voise", "did you mean `voice`", id="a pool of nobody"),
    row(
        DEFAULT,
        "pools: {default: {target: 70}}\n" + DEFAULT,
        19,
        "pools.default.target",
        "less than or equal to 1",
        id="a target in percent",
    ),
    row(
        DEFAULT, "hosts: {warm: -1}\n" + DEFAULT, 19, "hosts.warm", "greater than or equal to 0", id="hosts under zero"
    ),
    row(DEFAULT, "records: {file: x}\n" + DEFAULT, 19, "records.file", "there are path", id="an unknown record key"),
    row(
        DEFAULT,
        "session: {endpointing: {min: 1}}\n" + DEFAULT,
        19,
        "session.endpointing.min",
        "did you mean `min_s`",
        id="an unknown session key",
    ),
    row(
        DEFAULT,
        "session: {endpointing: {min_s: 4}}\n" + DEFAULT,
        19,
        "session.endpointing",
        "above max_s",
        id="a shortest pause above the longest",
    ),
    row(
        DEFAULT,
        "session: {vad: {start_frames: 9}}\n" + DEFAULT,
        19,
        "session.vad",
        "above start_window",
        id="more frames than the window has",
    ),
    row(
        DEFAULT,
        "session: {voices: {voise: x}}\n" + DEFAULT,
        19,
        "session.voices.voise",
        "did you mean `voice`",
        id="a voice for an unknown provider",
    ),
    row(
        USE,
        USE + "\n    session:\n      barge_in:\n        min_word: 1",
        14,
        "routes[0].session.barge_in.min_word",
        "did you mean `min_words`",
        id="an unknown key in a route's own session",
    ),
    # names that mean nothing
    row("stt: ears", "stt: eers", 11, "routes[0].use.stt", "did you mean `ears`?", id="an unknown provider"),
    row(
        "stt: ears",
        "stt: [{provider: eers}]",
        11,
        "routes[0].use.stt[0].provider",
        "did you mean `ears`?",
        id="an unknown provider in a list",
    ),
    row(
        "stt: ears",
        "stt: my.module:Broken",
        11,
        "routes[0].use.stt",
        "no module named my",
        id="a class that fails to load",
    ),
    row("type: espeak}", "type: espeek}", 7, "providers.voice.type", "did you mean `espeak`?", id="an unknown type"),
    row(
        "stage: tts", "stage: stt", 7, "providers.voice.stage", "is of stage tts, not stt", id="a type of another stage"
    ),
    row(
        "stt: ears",
        "stt: voice",
        11,
        "routes[0].use.stt",
        "provider of tts, not of stt",
        id="a provider in the wrong slot",
    ),
    row("name: second", "name: first", 12, "routes[1].name", "in line 9 already", id="a name that two routes have"),
    row("name: second", "name: default", 12, "routes[1].name", "default route", id="a route called default"),
    row(
        "  voice:",
        "  default: {stage: tts, type: espeak}\n  voice:",
        7,
        "providers.default",
        "no name",
        id="a provider called default",
    ),
    # secrets
    row(
        SECRETS, 'secrets: {"*": sk-12345}', 6, "providers.ears.secrets.*", "never as itself", id="a secret in the file"
    ),
    row(
        "    " + SECRETS + "\n", "", 3, "providers.ears", "needs a secret", id="a provider without the secret it needs"
    ),
    row(
        '"*": env:KEY',
        "bob: env:KEY",
        11,
        "routes[0].use.stt",
        "no secret for tenant acme",
        id="a tenant without a secret",
    ),
    row(
        SECRETS,
        'secrets: {"*": file:nowhere}',
        6,
        "providers.ears.secrets.*",
        "No such file",
        id="a secret's file is missing",
    ),
    row(
        SECRETS, 'secrets: {"*": file:empty}', 6, "providers.ears.secrets.*", "is empty", id="a secret's file is empty"
    ),
    row(SECRETS, 'secrets: {"ac*": env:KEY}', 6, "providers.ears.secrets.ac*", "whole name", id="a secret for a glob"),
    row(
        SECRETS,
        SECRETS + "\n    options: {api_key: x}",
        7,
        "providers.ears.options.api_key",
        "under `secrets`",
        id="a secret as an option",
    ),
    row(
        "stt: ears",
        "stt: deepgram",
        11,
        "routes[0].use.stt",
        "an entry in `providers`",
        id="a bare type that needs a secret",
    ),
    row(
        SECRETS,
        SECRETS + '\n    endpoints: {"*": "wss://me:pw@host"}',
        7,
        "providers.ears.endpoints.*",
        "without user",
        id="a password in an address",
    ),
    # slots
    row(USE, "use: {stt: ears, agent: echo}", 11, "routes[0].use.tts", "is missing", id="a stage without a provider"),
    row(
        USE, USE[:-1] + ", s2s: openai-realtime}", 11, "routes[0].use.stt", "either s2s or stt", id="both ways at once"
    ),
    row(
        "tts: voice",
        "tts: {split: {voice: -1}, salt: s}",
        11,
        "routes[0].use.tts.split.voice",
        "greater than or equal to 0",
        id="a weight under zero",
    ),
    row(
        "tts: voice",
        "tts: {split: {voice: many}, salt: s}",
        11,
        "routes[0].use.tts.split.voice",
        "no number",
        id="a weight that is text",
    ),
    row(
        "tts: voice",
        "tts: {split: {voice: 0}, salt: s}",
        11,
        "routes[0].use.tts.split",
        "every weight is 0",
        id="weights that are all zero",
    ),
    row(
        "tts: voice",
        "tts: {split: {voice: .nan}, salt: s}",
        11,
        "routes[0].use.tts.split.voice",
        "no number",
        id="a weight that is not a number",
    ),
    row(
        "tts: voice",
        "tts: {split: {voice: 1}}",
        11,
        "routes[0].use.tts.salt",
        "is missing",
        id="a split without a salt",
    ),
    row(
        "tts: voice",
        "tts: {split: {voise: 1}, salt: s}",
        11,
        "routes[0].use.tts.split.voise",
        "did you mean `voice`",
        id="an arm that nobody knows",
    ),
    row("tts: voice", "tts: 3", 11, "routes[0].use.tts", "nor a list", id="a slot that is a number"),
    row("tts: voice", "tts: []", 11, "routes[0].use.tts", "at least 1 item", id="an empty slot"),
    row(
        WHEN,
        "when: {bucket: {salt: s, from: 50, below: 50}}",
        10,
        "routes[0].when.bucket",
        "nobody is in it",
        id="a bucket without anybody",
    ),
    row(
        WHEN,
        "when: {bucket: {salt: s, from: 0, below: 101}}",
        10,
        "routes[0].when.bucket.below",
        "less than or equal to 100",
        id="a bucket above 100",
    ),
    # what does not fit together
    row(
        "tts: voice",
        "tts: {provider: voice, with: {pitch: 3}}",
        11,
        "routes[0].use.tts.with.pitch",
        "unknown option",
        id="an option that the type has not",
    ),
    row(
        VOICE,
        "voice: {stage: tts, type: espeak, options: {pitch: 3}}",
        7,
        "providers.voice.options.pitch",
        "unknown option",
        id="an option of the provider that the type has not",
    ),
    row(
        USE,
        "use: {stt: pocketsphinx, agent: echo, tts: voice}\n    session: {language: de}",
        11,
        "routes[0].use.stt",
        "knows en, not de",
        id="a language that a provider does not know",
    ),
    row(
        "stt: ears",
        "stt: {provider: pocketsphinx, with: {rate_hz: 8000}}",
        11,
        "routes[0].use.stt",
        "works at 16000 Hz",
        id="a rate that a provider does not have",
    ),
    row(
        USE,
        "use: {turn: words, stt: pocketsphinx, agent: echo, tts: voice}",
        11,
        "routes[0].use.turn",
        "needs `partials`",
        id="a turn detector that gets no partials",
    ),
    row(
        SECRETS,
        SECRETS + "\n    data_region: us",
        12,
        "routes[0].use.stt",
        "residency asks for eu",
        id="a data region outside the residency",
    ),
    row(
        DEFAULT,
        "session: {instructions: file:gone}\n" + DEFAULT,
        19,
        "session.instructions",
        "No such file",
        id="instructions in a file that is not there",
    ),
    row(
        DEFAULT,
        "session: {instructions: file:long}\n" + DEFAULT,
        19,
        "session.instructions",
        "at most 65536",
        id="instructions that are too long",
    ),
]


@pytest.mark.parametrize(("text", "line", "path", "says"), ERRORS)
def test_an_error_has_its_line_and_path_and_says_what_would_be_right(text, line, path, says):
    if "residency asks for eu" in says:
        text = text.replace(USE, USE + "\n    residency: [eu]")
    loaded = read(text)
    assert loaded.table is None
    found = [p for p in loaded.errors if p.path == path and says in p.detail]
    assert found, loaded.problems
    assert found[0].line == line
    assert str(found[0]).startswith(f"r.yaml:{line}: {path}: " if path else f"r.yaml:{line}: ")
    assert len(loaded.errors) == len({str(p) for p in loaded.errors})


WARNINGS = [
    row(
        "tenant: bob",
        "tenant: [acme]\n      region: eu",
        12,
        "routes[1]",
        "`first` in line 9 takes all",
        id="a route behind a wider one",
    ),
    row("tts: voice", "tts: espeak", 7, "providers.voice", "no route uses", id="a provider that nobody uses"),
    row(
        USE,
        "use: {turn: words, stt: [ears, pocketsphinx], agent: echo, tts: voice}",
        11,
        "routes[0].use.turn",
        "`pocketsphinx` has it not",
        id="a fallback that lacks what another stage needs",
    ),
    row(
        USE,
        USE + "\n    residency: [eu]",
        11,
        "routes[0].use.stt",
        "says no data_region",
        id="residency with a vendor that declares nothing",
    ),
    row(
        SECRETS,
        SECRETS + '\n    endpoints: {"eu-*": "wss://eu"}',
        12,
        "routes[0].use.stt",
        "some regions have no endpoint",
        id="regions without an endpoint",
    ),
    row(
        USE,
        USE + "\n    session: {instructions: hello}",
        12,
        "routes[0].session.instructions",
        "no agent",
        id="instructions that nobody takes",
    ),
]


@pytest.mark.parametrize(("text", "line", "path", "says"), WARNINGS)
def test_a_warning_leaves_the_table_usable(text, line, path, says):
    loaded = read(text)
    assert loaded.table is not None, loaded.errors
    assert [(p.line, p.path) for p in loaded.warnings if says in p.detail] == [(line, path)]


def test_several_errors_are_told_at_once_in_the_order_of_their_lines():
    text = (
        GOOD.replace("type: espeak}", "type: espeek}")
        .replace("env:KEY", "sk-literal")
        .replace("tenant: bob", "tenant: no")
        .replace("name: second", "name: first")
        .replace("agent: echo, tts: espeak", "agent: ecko, tts: espeak, mouth: 1")
    )
    loaded = read(text)
    told = [(p.line, p.path) for p in loaded.errors]
    assert told == [
        (6, "providers.ears.secrets.*"),
        (7, "providers.voice.type"),
        (12, "routes[1].name"),
        (14, "routes[1].when.tenant"),
        (20, "default.use.mouth"),
    ]
    with pytest.raises(ConfigError) as raised:
        loaded.required()
    assert len(raised.value.problems) == 5


def test_a_literal_secret_is_never_repeated():
    for secret in ("sk-abcdef123456", "1e5", "0123456"):
        text = changed(SECRETS, f'secrets: {{"*": {secret}}}')
        assert all(secret not in str(p) for p in read(text).problems)


def test_a_missing_environment_variable_is_told_only_where_the_environment_is_given():
    assert read(GOOD).table is not None
    loaded = read(GOOD, environment={"KEY": ""})
    assert [str(p) for p in loaded.errors] == [
        "r.yaml:6: providers.ears.secrets.*: the environment variable KEY is not set"
    ]


def test_without_a_way_to_read_files_instructions_from_a_file_are_an_error():
    text = changed(DEFAULT, "session: {instructions: file:x}\n" + DEFAULT)
    assert "cannot be read here" in str(load(text, "r.yaml", catalog).errors[0])


def test_an_alias_is_taken_and_a_bomb_of_them_is_not():
    shared = changed("tts: voice}", "tts: &v {split: {voice: 1}, salt: s}}").replace("tts: espeak\n", "tts: *v\n")
    assert read(shared).table is not None
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    tracemalloc.start()
    loaded = read("schema: 1\na0: &a0 [x, x]\n" + levels)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "aliases repeat more than" in str(loaded.errors[0])
    assert peak_bytes < 5_000_000


def test_a_file_full_of_mistakes_is_told_up_to_a_bound():
    routes = "\n".join(f"  - {{name: r{n}, use: {{stt: nobody{n}, agent: echo, tts: espeak}}}}" for n in range(500))
    loaded = read("schema: 1\nroutes:\n" + routes)
    assert len(loaded.problems) == MAX_PROBLEMS + 1
    assert "are not shown" in loaded.problems[-1].detail
    assert loaded.table is None


def test_pools_hosts_and_records_are_frozen_records():
    text = (
        GOOD
        + "pools: {default: {max: 4, idle_s: 5}, voice: {min: 1}}\nhosts: {max_sessions: 9, max: 2}\n"
        + "records: {path: out}\n"
    )
    table = read(text).required()
    assert table.pool("voice") == PoolPolicy(min=1, max=4, target=0.7, idle_s=5)
    assert table.pool("ears") == table.pools["default"] == PoolPolicy(max=4, idle_s=5)
    assert table.hosts == HostPolicy(max_sessions=9, warm=1, max=2)
    assert table.records.path == "out"


def test_a_route_that_only_two_others_together_cover_is_not_called_unreachable():
    when = "when: {tenant: acme, bucket: {salt: s, from: %s, below: %s}}"
    route = "  - name: other\n    " + when % (50, 100) + "\n    " + USE + "\n"
    text = GOOD.replace(WHEN, when % (0, 50)).replace("  - name: second", route + "  - name: second")
    assert read(text).problems == ()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=6,
)
blocks = st.sampled_from(["schema", "providers", "pools", "session", "routes", "default", "hosts", "records"])
names = ["name", "when", "use", "stt", "tts", "split", "then", "with", "tenant", "bucket", "voices", "salt", "options"]
keys = st.sampled_from([*names, "endpoints", "secrets", "stage", "type", "x", "default"])
nested = st.recursive(
    json_values | st.sampled_from(["espeak", "echo", "stt", "deepgram", "env:X"]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(keys, inside, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(blocks, nested, max_size=8))
def test_no_data_makes_loading_raise(data):
    loaded = load(json.dumps({"schema": 1, **data}), "f", catalog, environment={})
    assert (loaded.table is None) == bool(loaded.errors)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_no_text_makes_loading_raise(text):
    assert load(text, "f", catalog).table is None


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.text(max_size=3))
def test_no_slip_of_the_pen_makes_loading_raise(at, n_gone, typed):
    loaded = read(GOOD[:at] + typed + GOOD[at + n_gone :])
    assert (loaded.table is None) == bool(loaded.errors)
