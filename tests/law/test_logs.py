"""Nothing secret gets into a line."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from actors.logs import get_logger, redact, setup


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("detail", "Authorization: Bearer canary-1234567890", id="a header in a text"),
        pytest.param("detail", "wss://x/v1?api_key=canary-123&model=m", id="a key in an address"),
        pytest.param("detail", "token=canary-123, retried", id="a token in a text"),
        pytest.param("detail", "the key sk-canary-1234567890 was refused", id="a key by its looks"),
        pytest.param("detail", "eyJcanary123456.eyJzdWIiOiJ4In0.abc", id="a JWT"),
        pytest.param("token", "canary", id="a field's name"),
        pytest.param("api_key", "canary", id="another field's name"),
        pytest.param("headers", {"Authorization": "canary", "n": 1}, id="inside a mapping"),
        pytest.param("error", ValueError("api_key=canary-1"), id="an exception"),
        pytest.param("token_bytes", b"canary", id="bytes are not shown"),
    ],
)
def test_a_secret_is_hidden(key: str, value: object) -> None:
    assert "canary" not in str(redact(None, "info", {"event": "e", key: value}))


def test_what_is_no_secret_is_left_as_it_is() -> None:
    line = {"event": "session.granted", "tenant": "acme", "open_s": 0.004, "why": ("a", 1), "detail": "3 tokens left"}
    assert redact(None, "info", dict(line)) == {**line, "why": ["a", 1]}


def test_a_line_is_json_with_what_it_is_about() -> None:
    out = io.StringIO()
    try:
        setup(out)
        get_logger("router").info("session.granted", route="r", tenant="t", session="s", trace=None)
    finally:
        structlog.reset_defaults()
    line = json.loads(out.getvalue())
    assert {k: line[k] for k in ("event", "part", "route", "tenant", "session", "level")} == {
        "event": "session.granted", "part": "router", "route": "r", "tenant": "t", "session": "s", "level": "info",
    }  # fmt: skip
