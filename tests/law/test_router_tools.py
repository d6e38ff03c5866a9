"""The tools of a configuration: what a route offers, which webhooks may be called, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.catalog import catalog as real_catalog
from actors.tool_functions import shape as real_shape
from router.catalog import FunctionShape
from router.choose import choose
from router.config import Loaded, load
from router.context import RouteContext
from router.errors import ConfigError
from router.plan import RoutePlan
from router.tools import ACTIONS
from tests.law.router_catalog import catalog

GOOD = """\
schema: 1
webhooks: {hosts: [tools.acme.com, "*.acme.org"], private_hosts: [127.0.0.1, "10.0.0.7"]}
tools:
  status: {python: "acme.orders:status", deadline_s: 2.5}
  book:
    url: https://tools.acme.com/book
    description: Book a table.
    schema: {type: object, properties: {people: {type: integer}}, required: [people]}
    secret: env:KEY
    idempotent: true
  local: {url: "http://127.0.0.1:8080/x", description: Ours., secret: env:KEY}
providers:
  chat: {stage: agent, type: openai-chat, secrets: {"*": env:KEY}}
routes:
  - name: first
    when: {tenant: acme}
    use: {stt: pocketsphinx, agent: chat, tts: espeak}
    tools: [status, book, local, hang_up]
default:
  use: {stt: pocketsphinx, agent: echo, tts: espeak}
"""


def shape(where: str) -> FunctionShape:
    if where != "acme.orders:status":
        raise ConfigError((f"tool {where}: no such function",))
    return FunctionShape("What became of an order.", {"type": "object", "properties": {"order": {"type": "string"}}})


def read(text: str) -> Loaded:
    return load(text, "r.yaml", catalog, environment={"KEY": "k"}, functions=shape)


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def plan(tenant: str) -> RoutePlan:
    made = choose(RouteContext(session_id="s", tenant_id=tenant, region="eu"), read(GOOD).required())
    assert isinstance(made, RoutePlan)
    return made


def test_a_plan_has_the_tools_of_its_route_in_its_order() -> None:
    loaded = read(GOOD)
    assert loaded.problems == ()
    status, book, local, hang_up = plan("acme").tools
    assert (status.name, status.python, status.description) == (
        "status", "acme.orders:status", "What became of an order.",
    )  # fmt: skip
    assert (status.schema["properties"], status.deadline_s) == ({"order": {"type": "string"}}, 2.5)
    assert (book.url, book.secret, book.idempotent, book.private) == (
        "https://tools.acme.com/book", "env:KEY", True, False,
    )  # fmt: skip
    assert (local.private, local.schema) == (True, {"type": "object", "properties": {}})
    assert hang_up is ACTIONS["hang_up"]
    assert hang_up.is_action
    assert not book.is_action
    assert plan("bob").tools == ()


def test_a_changed_tool_is_another_version() -> None:
    before = read(GOOD).required().version
    assert read(changed("deadline_s: 2.5", "deadline_s: 2.0")).required().version != before


BOOK = "url: https://tools.acme.com/book"
ERRORS = [
    pytest.param(
        changed("[status, book,", "[statsu, book,"), 18, "routes[0].tools[0]", "did you mean `status`", id="unknown"
    ),
    pytest.param(
        changed("[status, book,", "[book, book,"), 18, "routes[0].tools[1]", "named twice", id="named twice by a route"
    ),
    pytest.param(changed("  book:\n", "  hang_up:\n"), 5, "tools.hang_up", "is an action", id="the name of an action"),
    pytest.param(changed("  book:\n", "  1st:\n"), 5, "tools.1st", "should match pattern", id="no name for a function"),
    pytest.param(
        changed("deadline_s: 2.5", "deadline_s: 0"), 4, "tools.status.deadline_s", "greater than 0", id="no time at all"
    ),
    pytest.param(
        changed("deadline_s: 2.5", "deadlin_s: 2"), 4, "tools.status.deadlin_s", "`deadline_s`", id="an unknown key"
    ),
    pytest.param(
        changed("acme.orders:status", "acme.orders:none"), 4, "tools.status.python", "no such function", id="none such"
    ),
    pytest.param(changed("acme.orders:status", "status"), 4, "tools.status.python", "pattern", id="no module"),
    pytest.param(
        changed(f"    {BOOK}\n", ""), 5, "tools.book", "either `python", id="neither a function nor a webhook"
    ),
    pytest.param(
        changed("deadline_s: 2.5", "secret: env:KEY"), 4, "tools.status.secret", "only requests", id="a function's key"
    ),
    pytest.param(
        changed("    secret: env:KEY\n", ""), 5, "tools.book", "requests are signed", id="a webhook without a key"
    ),
    pytest.param(
        changed("    secret: env:KEY\n", "    secret: hush\n"), 9, "tools.book.secret", "never as itself", id="a secret"
    ),
    pytest.param(
        changed("    description: Book a table.\n", ""), 5, "tools.book", "no `description`", id="no description"
    ),
    pytest.param(
        changed("schema: {type: object, prop", "schema: {type: array, prop"), 8, "tools.book.schema", "of an object",
        id="arguments without names",
    ),
    *(
        pytest.param(changed(BOOK, f"url: {url}"), 6, "tools.book.url", says, id=name)
        for url, says, name in (
            ("https://evil.com/book", "not in `webhooks.hosts`", "a host that is not listed"),
            ("https://acme.org/book", "not in `webhooks.hosts`", "the bare domain of a pattern"),
            ("https://tools.acme.com.evil.com/x", "not in `webhooks.hosts`", "a host that begins as one listed"),
            ("http://tools.acme.com/book", "not encrypted", "http"),
            ("ftp://tools.acme.com/book", "no address", "another scheme"),
            ("https://tools.acme.com@evil.com/", "with a user", "a user"),
            ('"https://tools.acme.com/#x"', "with a user, a password or a #", "a fragment"),
            ("https://169.254.169.254/latest", "not in `webhooks.hosts`", "the address of a cloud's own service"),
            ("https:///book", "no address", "no host"),
        )
    ),
    pytest.param(
        changed('"*.acme.org"]', '"*.acme.org", "169.254.169.254"]').replace(BOOK, "url: https://169.254.169.254/"),
        6, "tools.book.url", "not public", id="an address of ours among the public ones",
    ),
    pytest.param(
        changed("agent: chat,", "agent: echo,").replace("type: openai-chat,", "type: openai-chat,"), 18,
        "routes[0].tools", "`echo` calls no tools", id="an agent that calls none",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "path", "says"), ERRORS)
def test_an_error_has_its_line_and_path_and_says_what_would_be_right(
    text: str, line: int, path: str, says: str
) -> None:
    loaded = read(text)
    assert loaded.table is None
    assert [p for p in loaded.errors if p.path == path and says in p.detail and p.line == line], loaded.problems


def test_a_pattern_lists_every_host_below_it() -> None:
    loaded = read(changed(BOOK, "url: https://eu.tools.acme.org/book"))
    assert loaded.table is not None, loaded.errors


def test_what_may_be_lost_is_a_warning() -> None:
    loaded = read(changed("agent: chat,", "agent: [chat, echo],").replace("[status, book,", "[book,"))
    told = {(p.path, p.detail) for p in loaded.warnings}
    assert ("routes[0].use.agent[1]", "`echo` calls no tools; this route offers some") in told
    assert ("tools.status", "no route offers this tool") in told


def test_a_function_that_nobody_can_look_at_needs_its_schema() -> None:
    loaded = load(GOOD, "r.yaml", catalog, environment={"KEY": "k"})
    assert [p.detail for p in loaded.errors if p.path == "tools.status"] == [
        "a function cannot be looked at here; give its `schema`",
        "has no `description`: the model would not know when to call it",
    ]  # fmt: skip


def test_the_shipped_example_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(__file__).resolve().parents[2] / "examples" / "tools.yaml"
    monkeypatch.syspath_prepend(str(path.parent / "shop"))
    given = {"CHAT_KEY": "k"}
    loaded = load(path.read_text(), str(path), real_catalog, environment=given, functions=real_shape)
    assert loaded.problems == ()
    made = choose(RouteContext(session_id="s", tenant_id="t", region="eu"), loaded.required())
    assert isinstance(made, RoutePlan)
    assert [tool.name for tool in made.tools] == ["order_status", "set_language", "transfer", "hang_up"]
    assert made.tools[0].schema["properties"]["order"]["description"] == "the number on the receipt"


def test_a_server_of_ones_own_needs_no_key_and_the_vendor_does() -> None:
    text = """\
schema: 1
providers:
  ours: {stage: agent, type: openai-chat, endpoints: {"*": "http://127.0.0.1:1/v1"}, options: {model: m, auth: none}}
  theirs: {stage: agent, type: openai-chat, options: {model: m}}
default: {use: {stt: pocketsphinx, agent: [ours, theirs], tts: espeak}}
"""
    loaded = load(text, "r.yaml", real_catalog, environment={})
    assert [(p.path, "needs a secret" in p.detail) for p in loaded.errors] == [("providers.theirs", True)]
