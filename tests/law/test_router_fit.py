"""What cannot work together is an error of the file, with its line, and no surprise in a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from actors.catalog import catalog
from router.catalog import Kind
from router.config import load
from tests.law import router_catalog

TABLE = """\
schema: 1
providers:
  ears: {stage: stt, type: ears, options: {model: small}}
routes:
  - name: first
    use:
      stt: ears
      agent: echo
      tts: voice
"""


def _ears(options: Mapping[str, Any]) -> Kind:
    """An ear of two models: the small one knows English alone and gives nothing before the final."""
    small = options.get("model") == "small"
    return Kind(
        type="ears", stage="stt", check_options=router_catalog.options("model", "language"), with_options=_ears,
        languages=("en",) if small else (), features=frozenset() if small else frozenset({"partials", "turn_events"}),
        per_stream_options=frozenset({"model", "language"}), max_stream_s=options.get("life_s", 600.0),
    )  # fmt: skip


def of_two_models(type_: str) -> Kind | None:
    if type_ == "voice":
        return Kind(type="voice", stage="tts", check_options=router_catalog.options(), text_limit=2000)
    if type_ == "terse":
        return Kind(type="terse", stage="tts", check_options=router_catalog.options(), text_limit=5)
    if type_ == "fleeting":
        return Kind(type="fleeting", stage="stt", check_options=router_catalog.options(), max_stream_s=2.0)
    if type_ == "model":
        return Kind(type="model", stage="s2s", check_options=router_catalog.options(), features=frozenset({"resume"}))
    return _ears({}) if type_ == "ears" else router_catalog.catalog(type_)


def told(*changes: tuple[str, str], more: str = "") -> list[str]:
    text = TABLE
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return [str(problem) for problem in load(text + more, "r.yaml", of_two_models).problems]


NO_PARTIALS = "r.yaml:5: routes[0]: barge_in.min_words counts words of partials, and `ears` gives none"
MODEL = ("      stt: ears\n      agent: echo\n      tts: voice\n", "      s2s: model\n")


@pytest.mark.parametrize(
    ("changes", "more", "says"),
    [
        pytest.param([], "    session: {language: de}\n", "routes[0].use.stt: `ears` knows en, not de", id="a model"),
        pytest.param([("small", "large")], "    session: {language: de}\n", None, id="its neighbour knows more"),
        pytest.param([], "    session: {barge_in: {min_words: 2}}\n", NO_PARTIALS, id="words of partials nobody gives"),
        pytest.param([("small", "large")], "    session: {barge_in: {min_words: 2}}\n", None, id="that somebody gives"),
        pytest.param([], "    needs: [partials]\n", "`ears` has no `partials`, which this route needs", id="asked for"),
        pytest.param([("small", "large")], "    needs: [partials]\n", None, id="asked for and there"),
        pytest.param([], "    needs: [gold]\n", "r.yaml:10: routes[0].needs[0]", id="no such ability"),
        pytest.param([], "    needs: [resume]\n", "`resume` is of s2s, and this route has no such stage", id="of whom"),
        pytest.param([MODEL], "    needs: [resume]\n", None, id="a model that can come back"),
        pytest.param([MODEL], "    needs: [tools]\n", "`model` has no `tools`", id="a model without tools"),
        pytest.param([("tts: voice", "tts: terse")], "", "`terse` takes 5 characters at once", id="a word at a time"),
        pytest.param([("stt: ears", "stt: fleeting")], "", "a stream of `fleeting` lives 2 s", id="a short life"),
        pytest.param(
            [("small", "large"), ("      stt: ears\n", "      turn: heuristic\n      stt: ears\n")],
            "",
            "r.yaml:7: routes[0].use.turn: this detector is never asked: `ears` ends turns itself",
            id="two who would end turns",
        ),
        pytest.param(
            [MODEL, ("      s2s", "      vad: webrtc\n      s2s")],
            "",
            "this detector is never asked: `model` hears for itself",
            id="two who would hear speech",
        ),
    ],
)
def test_what_does_not_fit_is_told(changes: list[tuple[str, str]], more: str, says: str | None) -> None:
    problems = [line for line in told(*[tuple(c) for c in changes], more=more) if "no route uses" not in line]
    if says is None:
        assert problems == []
    else:
        assert any(says in line for line in problems), problems


def test_a_fallback_without_what_the_route_needs_breaks_the_promise() -> None:
    (line,) = told(("small", "large"), ("stt: ears", "stt: [ears, pocketsphinx]"), more="    needs: [partials]\n")
    assert "r.yaml:7: routes[0].use.stt[1]: `pocketsphinx` has no `partials`" in line


def test_the_registrys_records_say_what_a_type_can_do_with_these_options() -> None:
    plain = catalog("fake-stt")
    assert plain is not None
    assert plain.with_options is not None
    assert "partials" in plain.features
    assert "partials" not in plain.with_options({"partials": False}).features
    model = catalog("fake-s2s")
    assert model is not None
    assert "local_vad" not in model.features
    assert model.with_options is not None
    assert "local_vad" in model.with_options({"vad": "local"}).features
