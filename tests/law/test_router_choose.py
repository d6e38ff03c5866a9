"""The decision: rows for what is chosen, and properties over random tables and callers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.choose import choose
from router.config import load
from router.context import RouteContext
from router.explain import explain
from router.plan import Refusal, RoutePlan
from router.table import RouteTable
from tests.law.router_catalog import catalog

EXAMPLES = Path(__file__).parents[2] / "examples"
CASCADE = {"stt": "pocketsphinx", "agent": "echo", "tts": "espeak"}


def example() -> RouteTable:
    loaded = load(
        (EXAMPLES / "routes.yaml").read_text(),
        "routes.yaml",
        catalog,
        environment={"DEEPGRAM_ACME": "x", "DEEPGRAM": "x", "OPENAI": "x"},
        read_file=lambda path: (EXAMPLES / path).read_text(),
    )
    assert loaded.problems == ()
    return loaded.required()


def table(data: dict[str, object]) -> RouteTable:
    return load(json.dumps({"schema": 1, **data}), "t.yaml", catalog).required()


def caller(tenant: str = "acme", region: str = "eu-west-1", session: str = "s1", **more: object) -> RouteContext:
    return RouteContext(session_id=session, tenant_id=tenant, region=region, **more)  # type: ignore[arg-type]


def plan(ctx: RouteContext, of: RouteTable, **more: object) -> RoutePlan:
    found = choose(ctx, of, **more)  # type: ignore[arg-type]
    assert isinstance(found, RoutePlan), found
    return found


def providers(found: RoutePlan) -> dict[str, tuple[str, ...]]:
    return {stage: tuple(c.provider for c in candidates) for stage, candidates in found.stages.items()}


# ------------------------------------------------------------------------------------------------ the example


def test_a_vendor_that_declares_no_data_region_is_the_examples_only_warning():
    text = (EXAMPLES / "routes.yaml").read_text()
    assert text.count('    data_region: eu\n    secrets: {"*": env:OPENAI}\n') == 1
    text = text.replace('    data_region: eu\n    secrets: {"*"', '    secrets: {"*"')
    loaded = load(text, "r.yaml", catalog, read_file=lambda _: "hello")
    assert loaded.table is not None
    assert [(p.path, "says no data_region" in p.detail) for p in loaded.problems] == [("routes[1].use.agent", True)]


def test_the_example_sends_a_flagged_caller_to_the_realtime_model():
    found = plan(caller(features={"s2s": True}), example())
    assert (found.route, providers(found)) == ("acme-realtime", {"vad": ("webrtc",), "s2s": ("realtime",)})


def test_the_example_gives_a_caller_of_the_bucket_its_tenants_own_providers():
    found = plan(caller(attributes={"user_id": "u1", "name": "Ann"}), example())
    assert found.route == "acme"
    assert found.settings.greeting == "Hello Ann, how can I help?"
    assert (found.max_sessions, found.residency, found.default_cause) == (200, ("eu",), None)
    ears, spare = found.stages["stt"]
    assert (ears.owner, ears.secret, ears.endpoint) == ("acme", "env:DEEPGRAM_ACME", "wss://api.eu.deepgram.com")
    assert ears.options == {"model": "nova-3", "language": "en"}
    assert (ears.capacity.streams_per_actor, ears.capacity.streams_per_key) == (100, 150)
    assert (spare.provider, spare.owner, spare.secret) == ("pocketsphinx", "*", None)
    assert found.stages["agent"][0].options["instructions"].startswith("You answer callers")
    assert providers(found)["tts"] in (("voice-a", "espeak"), ("voice-b", "espeak"))


def test_a_candidate_whose_endpoint_leaves_the_residency_is_left_out():
    found = plan(caller(region="us-east-1", attributes={"user_id": "u1"}), example())
    assert providers(found)["stt"] == ("pocketsphinx",)


@pytest.mark.parametrize(
    ("ctx", "cause"),
    [
        pytest.param(caller(tenant="bob"), "tenant", id="a tenant that no route names"),
        pytest.param(caller(attributes={"user_id": "u3"}), "other", id="a caller outside the bucket"),
    ],
)
def test_the_default_route_serves_the_rest_and_says_why(ctx, cause):
    found = plan(ctx, example())
    assert (found.route, found.default_cause) == ("default", cause)


# ------------------------------------------------------------------------------------------------ one rule a row

REGIONAL = {"routes": [{"name": "eu", "when": {"tenant": "acme", "region": "eu-*"}, "use": CASCADE}]}


def test_a_region_without_a_route_is_the_cause_region():
    found = plan(caller(region="us"), table({**REGIONAL, "default": {"use": CASCADE}}))
    assert found.default_cause == "region"


def test_without_a_default_the_refusal_says_what_was_missing():
    found = choose(caller(tenant="bob"), table(REGIONAL))
    assert isinstance(found, Refusal)
    assert (found.kind, found.detail) == ("no_route", "no route is for tenant bob and there is no default route")


@pytest.mark.parametrize(
    ("when", "ctx", "matches"),
    [
        pytest.param({}, caller(), True, id="no condition takes everybody"),
        pytest.param({"tenant": "acme"}, caller(), True, id="a tenant by name"),
        pytest.param({"tenant": "acm"}, caller(), False, id="a name is whole"),
        pytest.param({"tenant": ["bob", "acme"]}, caller(), True, id="one of a list"),
        pytest.param({"tenant": "ac*"}, caller(), True, id="a prefix"),
        pytest.param({"tenant": "*me"}, caller(), True, id="a suffix"),
        pytest.param({"tenant": "a?me"}, caller(), True, id="a question mark is one character"),
        pytest.param({"tenant": "a?"}, caller(), False, id="and no more"),
        pytest.param({"tenant": ["bob", "*c*e"]}, caller(), True, id="a glob in a list with a name"),
        pytest.param({"region": ["us", "eu-west-?"]}, caller(), True, id="a region by glob"),
        pytest.param({"session_id": "s*"}, caller(), True, id="a session by glob"),
        pytest.param({"session_id": ["t", "s2"]}, caller(), False, id="a session that is not listed"),
        pytest.param({"features": {"x": True}}, caller(), False, id="an absent feature is not on"),
        pytest.param({"features": {"x": False}}, caller(), True, id="an absent feature is off"),
        pytest.param({"features": {"x": False}}, caller(features={"x": True}), False, id="a feature that is on"),
        pytest.param({"attributes": {"n": 1}}, caller(attributes={"n": 1.0}), True, id="1 is 1.0"),
        pytest.param({"attributes": {"n": 1}}, caller(attributes={"n": True}), False, id="1 is not true"),
        pytest.param({"attributes": {"n": True}}, caller(attributes={"n": 1}), False, id="true is not 1"),
        pytest.param({"attributes": {"n": 1}}, caller(attributes={"n": "1"}), False, id="1 is not text"),
        pytest.param({"attributes": {"n": "*"}}, caller(attributes={"n": 1}), False, id="a glob is for text"),
        pytest.param({"attributes": {"n": ["a", 2]}}, caller(attributes={"n": 2}), True, id="a list of two types"),
        pytest.param({"attributes": {"n": "[a]*"}}, caller(attributes={"n": "ab"}), False, id="brackets are text"),
        pytest.param({"attributes": {"n": "[a]*"}}, caller(attributes={"n": "[a]b"}), True, id="and match as text"),
        pytest.param({"attributes": {"n": "a"}}, caller(), False, id="an absent attribute"),
    ],
)
def test_a_condition(when, ctx, matches):
    of = table({"routes": [{"name": "r", "when": when, "use": CASCADE}], "default": {"use": CASCADE}})
    assert (plan(ctx, of).route == "r") is matches


def test_the_first_route_in_file_order_wins_whatever_the_index_files_it_under():
    kinds = [
        {"attributes": {"a": "1"}},
        {"tenant": "ac*"},
        {"tenant": "acme"},
        {"tenant": "*e", "region": "eu-west-1"},
        {},
    ]
    ctx = caller(attributes={"a": "1"})
    for first in range(len(kinds)):
        order = [*kinds[first:], *kinds[:first]]
        routes = [{"name": f"r{n}", "when": when, "use": CASCADE} for n, when in enumerate(order)]
        assert plan(ctx, table({"routes": routes})).route == "r0"


def test_a_route_that_names_no_vad_or_turn_gets_the_usual_ones_and_nothing_else_of_the_default():
    default = {"use": {**CASCADE, "vad": "webrtc"}, "limits": {"sessions": 3}, "isolation": "dedicated"}
    found = plan(caller(), table({"routes": [{"name": "r", "use": CASCADE}], "default": default}))
    assert providers(found) == {"vad": ("webrtc",), "turn": ("heuristic",), **{k: (v,) for k, v in CASCADE.items()}}
    assert (found.max_sessions, found.isolation) == (None, "packed")


def test_language_and_voice_become_options_of_those_that_know_them_and_with_says_otherwise():
    entries = {"v": {"stage": "tts", "type": "espeak", "options": {"voice": "one", "language": "fr"}}}
    use = {"stt": "pocketsphinx", "agent": "echo", "tts": ["v", {"provider": "v", "with": {"voice": "three"}}]}
    session = {"language": "en-GB", "voices": {"v": "two"}}
    found = plan(caller(), table({"providers": entries, "routes": [{"name": "r", "session": session, "use": use}]}))
    assert [c.options for c in found.stages["tts"]] == [
        {"voice": "two", "language": "en-GB"},
        {"voice": "three", "language": "en-GB"},
    ]
    assert found.stages["stt"][0].options == {}


def test_the_routes_session_is_merged_over_the_files_key_by_key():
    data = {
        "session": {"endpointing": {"min_s": 0.2, "max_s": 2.0}, "max_duration_s": 60},
        "routes": [{"name": "r", "session": {"endpointing": {"max_s": 5.0}}, "use": CASCADE}],
    }
    found = plan(caller(), table(data)).settings
    assert (found.endpointing.min_s, found.endpointing.max_s, found.max_duration_s) == (0.2, 5.0, 60)


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        pytest.param("Hello {name}!", "Hello {0.x}!", id="a value is not looked into again"),
        pytest.param("{tenant_id} in {region}", "acme in eu-west-1", id="tenant and region"),
        pytest.param("Hi {nobody}.", "Hi .", id="an absent attribute is the empty text"),
        pytest.param("{name.__class__} {} { }", "{name.__class__} {} { }", id="nothing is evaluated"),
        pytest.param("{n}{b}", "7true", id="numbers and booleans"),
    ],
)
def test_a_greeting_is_plain_substitution(greeting, said):
    ctx = caller(attributes={"name": "{0.x}", "n": 7, "b": True})
    of = table({"routes": [{"name": "r", "session": {"greeting": greeting}, "use": CASCADE}]})
    found = plan(ctx, of)
    assert found.settings.greeting == said
    assert plan(caller(), of).settings.endpointing == found.settings.endpointing


def test_the_most_specific_endpoint_serves_a_region():
    endpoints = {"*": "wss://all", "eu-*": "wss://eu", "eu-west-*": "wss://west", "eu-west-1": "wss://one"}
    entry = {"stage": "stt", "type": "pocketsphinx", "endpoints": endpoints}
    data = {"providers": {"p": entry}, "routes": [{"name": "r", "use": {**CASCADE, "stt": "p"}}]}
    of = table(data)
    wanted = {"eu-west-1": "wss://one", "eu-west-2": "wss://west", "eu-north-1": "wss://eu", "us": "wss://all"}
    assert {r: plan(caller(region=r), of).stages["stt"][0].endpoint for r in wanted} == wanted


def test_a_region_without_an_endpoint_is_a_refusal():
    entry = {"stage": "stt", "type": "pocketsphinx", "endpoints": {"eu-*": "wss://eu"}}
    of = table({"providers": {"p": entry}, "routes": [{"name": "r", "use": {**CASCADE, "stt": "p"}}]})
    found = choose(caller(region="us"), of)
    assert isinstance(found, Refusal)
    assert (found.kind, found.detail) == ("region", "route r has no stt provider for region us")


PLACES = {
    "routes": [
        {"name": "named", "when": {"region": "us"}, "use": CASCADE},
        {"name": "globbed", "when": {"region": ["eu-*", "eu-west-*"]}, "use": CASCADE},
        {"name": "bound", "when": {"tenant": "bound"}, "use": CASCADE, "residency": "eu"},
    ],
    "default": {"use": CASCADE},
}


@pytest.mark.parametrize(
    ("region", "tenant", "live", "pool"),
    [
        pytest.param("us", "a", None, "us", id="a region that a route names"),
        pytest.param("eu-north-1", "a", None, "eu", id="a region under a glob shares the stem's pools"),
        pytest.param("eu-west-7", "a", None, "eu-west", id="the narrowest stem"),
        pytest.param("made-up", "a", None, "default", id="a region that nobody knows"),
        pytest.param("made-up", "a", {"made-up"}, "made-up", id="a region of a live node"),
        pytest.param("us", "a", {"ap-1"}, "default", id="a named region without a live node"),
        pytest.param("eu-west-7", "a", {"eu-west-1", "eu-a"}, "eu-west-1", id="a live region under the same glob"),
        pytest.param("us", "bound", {"us", "eu-1"}, "us", id="another tenant's residency does not bind"),
        pytest.param("ap", "bound", {"ap", "eu-1"}, "eu-1", id="residency takes a live region within it"),
        pytest.param("ap", "bound", {"ap"}, None, id="residency without a live region is a refusal"),
    ],
)
def test_whose_pools_serve_a_region(region, tenant, live, pool):
    found = choose(caller(tenant=tenant, region=region), table(PLACES), live_regions=live)
    assert (found.pool_region if isinstance(found, RoutePlan) else None) == pool


def test_made_up_regions_make_no_pools():
    of = table(PLACES)
    pools = {plan(caller(region=f"eu-{n}"), of).pool_region for n in range(3000)}
    pools |= {plan(caller(region=f"x{n}", tenant=f"t{n}"), of).pool_region for n in range(3000)}
    assert pools == {"eu", "default"}


def test_the_version_is_of_the_content_and_not_of_the_writing():
    text = """
schema: 1
routes:
  - {name: r, when: {tenant: a, features: {x: true}}, use: {stt: pocketsphinx, agent: echo, tts: espeak}}
"""
    same = """
# a comment
routes:
- use: {tts: espeak, agent: 'echo', stt: [pocketsphinx]}
  when: {features: {x: true}, tenant: [a]}
  name: r
schema: 1
"""
    other = text.replace("tenant: a", "tenant: b")
    versions = [load(t, "f", catalog).required().version for t in (text, same, other)]
    assert versions[0] == versions[1] != versions[2]


def test_a_version_depends_on_the_text_of_an_instruction_file():
    data = {"providers": {"m": {"stage": "s2s", "type": "openai-realtime", "options": {"instructions": "file:a"},
                                "secrets": {"*": "env:X"}}}, "default": {"use": {"s2s": "m"}}}  # fmt: skip
    made = [load(json.dumps({"schema": 1, **data}), "f", catalog, read_file=lambda _, t=t: t).required() for t in "ab"]
    assert made[0].version != made[1].version


# ------------------------------------------------------------------------------------------------ properties

names = st.sampled_from(["acme", "acme-2", "bob", "b", "eu", "eu-1", "us"])
patterns = st.sampled_from(["acme", "acme*", "a*", "*", "b?b", "*b", "eu", "eu-*", "us", "?u*"])
values = st.sampled_from(["de", "en", "e*", 1, 2.0, True, False])
one_or_many = lambda s: st.one_of(s, st.lists(s, min_size=1, max_size=3))  # noqa: E731
whens = st.fixed_dictionaries(
    {},
    optional={
        "tenant": one_or_many(patterns),
        "region": one_or_many(patterns),
        "session_id": one_or_many(st.sampled_from(["s1", "s*", "t"])),
        "features": st.dictionaries(st.sampled_from(["x", "y"]), st.booleans(), max_size=2),
        "attributes": st.dictionaries(st.sampled_from(["lang", "user_id"]), one_or_many(values), max_size=2),
        "bucket": st.sampled_from(
            [{"by": b, "salt": s, "from": f, "below": t} for b in ("user_id", "session_id") for s in "ab"
             for f, t in ((0, 50), (50, 100), (12.5, 13))]
        ),
    },
)  # fmt: skip
voices = st.sampled_from(
    ["espeak", {"split": {"v1": 9, "v2": 1, "v3": 0}, "by": "user_id", "salt": "a", "then": ["espeak"]}]
)


@st.composite
def tables(draw: st.DrawFn) -> RouteTable:
    conditions = draw(st.lists(whens, max_size=12))
    routes = [
        {"name": f"r{n}", "when": when, "use": {**CASCADE, "tts": draw(voices)}, "session": {"greeting": "hi {lang}"}}
        for n, when in enumerate(conditions)
    ]
    entries = {f"v{n}": {"stage": "tts", "type": "espeak"} for n in (1, 2, 3)}
    default = {"default": {"use": CASCADE}} if draw(st.booleans()) or not routes else {}
    return table({"providers": entries, "routes": routes, **default})


callers = st.builds(
    RouteContext,
    session_id=st.sampled_from(["s1", "s2", "t"]),
    tenant_id=names,
    region=names,
    features=st.dictionaries(st.sampled_from(["x", "y"]), st.booleans(), max_size=2),
    attributes=st.fixed_dictionaries(
        {},
        optional={"lang": st.sampled_from(["de", "en", "eo", 1, True]), "user_id": st.sampled_from(["u1", 2, 1, "e"])},
    ),
)


@settings(max_examples=150, deadline=None)
@given(tables(), st.lists(callers, min_size=1, max_size=6))
def test_routing_is_total_deterministic_and_explained(of, many):
    for ctx in many:
        found = choose(ctx, of)
        told = explain(ctx, of)
        assert told.outcome == found
        assert choose(ctx, of) == found
        matching = [r.name for r in of.routes if all(c.holds(ctx) for c in r.conditions)]
        if isinstance(found, RoutePlan):
            assert found.route == (matching[0] if matching else "default")
            assert told.winner == found.route
            assert all(found.stages.values())
        else:
            assert not matching
            assert of.default is None
            assert found.kind == "no_route"
        assert [r.name for r in told.routes if r.verdict == "lost"] == [
            r.name for r in of.routes if r.name not in matching
        ]
        json.dumps(told.as_dict())
        assert told.as_text()


@settings(max_examples=60, deadline=None)
@given(tables(), callers)
def test_a_caller_stays_in_its_arm_whatever_the_session(of, ctx):
    def again(session_id: str) -> RouteContext:
        return RouteContext(
            session_id=session_id, tenant_id="acme", region="eu", attributes={**ctx.attributes, "user_id": "u7"}
        )

    seen = {}
    for n in range(5):
        found = choose(again(f"s{n}x"), of)
        if isinstance(found, RoutePlan):
            arm = found.stages["tts"][0].provider
            assert seen.setdefault(found.route, arm) == arm
            assert arm != "v3"  # its weight is 0


def test_explain_names_the_first_condition_that_failed_and_the_scores_of_a_split():
    told = explain(caller(attributes={"user_id": "u1", "name": "Ann"}), example())
    assert [(r.name, r.verdict, r.why) for r in told.routes] == [
        ("acme-realtime", "lost", "feature s2s is false, not true"),
        ("acme", "won", "every condition holds"),
    ]
    (bucket,) = told.routes[1].buckets
    assert (bucket.by, bucket.key, bucket.salt) == ("user_id", "u1", "exp7")
    assert 0 <= bucket.position < 50
    (split,) = told.splits
    assert [arm[:2] for arm in sorted(split.arms)] == [("voice-a", 90.0), ("voice-b", 10.0)]
    assert split.arms[0][0] == told.outcome.stages["tts"][0].provider  # type: ignore[union-attr]
    assert "feature s2s is false" in told.as_text()
