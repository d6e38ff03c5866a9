"""Where a provider runs is said once, and what only actors have is an error beside `placement: inline`."""

from __future__ import annotations

import pytest

from actors.catalog import catalog
from router.config import load

TEXT = """\
schema: 1
providers:
  v: {{stage: vad, type: {type}, {more}}}
pools: {{{pools}}}
default:
  use: {{vad: v, stt: fake-stt, agent: echo, tts: espeak}}
"""


@pytest.mark.parametrize(
    ("type", "more", "pools", "wrong"),
    [
        ("webrtc", "options: {}", "v: {min: 1}", "has no pool"),
        ("webrtc", "placement: inline, capacity: {streams_per_actor: 3}", "", "is of actors"),
        ("fake-vad", "placement: inline", "", "does not run in the session host"),
        ("webrtc", "placement: actor", "v: {min: 1}", None),
        ("webrtc", "capacity: {streams_per_actor: 3}", "v: {min: 1}", None),
    ],
)
def test_what_only_actors_have_is_an_error_in_the_host(type: str, more: str, pools: str, wrong: str | None) -> None:
    found = load(TEXT.format(type=type, more=more, pools=pools), "routes.yaml", catalog)
    told = [str(problem) for problem in found.errors]
    assert [wrong in one for one in told] == [True] if wrong else not told
