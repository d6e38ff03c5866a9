"""The command line without a cluster: options, messages, exit status."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from cli import main as program
from cli.context import context
from router.errors import ContextError, SessionRefused

GOOD = """\
schema: 1
routes:
  - name: acme
    when: {tenant: acme, region: "eu-*"}
    use: {stt: pocketsphinx, agent: echo, tts: espeak}
default:
  use: {stt: pocketsphinx, agent: echo, tts: espeak}
"""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run a command line: (status, standard output, standard error)."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["patchbay", *words])
        with pytest.raises(SystemExit) as left:
            program.main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(GOOD)
    return path


def test_check_of_a_good_file_says_what_is_in_it(cli, routes: Path) -> None:  # type: ignore[no-untyped-def]
    status, out, err = cli("check", str(routes))
    assert (status, err) == (0, "")
    assert "1 routes and a default route" in out


def test_check_prints_every_problem_with_its_line_and_ends_with_2(cli, routes: Path) -> None:  # type: ignore[no-untyped-def]
    routes.write_text(GOOD.replace("agent: echo", "agent: ekko").replace("tts: espeak}", "tts: espeak, ear: one}", 1))
    status, out, _ = cli("check", str(routes))
    assert status == 2
    problems = [line for line in out.splitlines() if line.startswith("error: ")]
    assert len(problems) >= 2
    assert all(f"{routes}:" in line for line in problems)
    assert any(":5:" in line and "ear" in line for line in problems)
    assert any(":7:" in line and "ekko" in line for line in problems)


def test_explain_needs_no_cluster_and_names_the_route(cli, routes: Path) -> None:  # type: ignore[no-untyped-def]
    words = ("explain", "--config", str(routes), "--tenant", "acme", "--region", "eu-west")
    status, out, _ = cli(*words)
    assert status == 0
    assert "-> acme" in out
    status, out, _ = cli(*words, "--json")
    assert json.loads(out)["winner"] == "acme"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("call", "nope.wav"), "nope.wav: No such file"),
        (("check", "nope.yaml"), "nope.yaml: No such file"),
        (("explain", "--attribute", "lang"), "--attribute 'lang': KEY=VALUE is taken"),
        (("explain", "--feature", "s2s=maybe"), "--feature 's2s=maybe'"),
        (("explain", "--tenant", "a b"), "context.tenant_id: 'a b'"),
        (("frob",), "No such command 'frob'"),
        (("scale", "eu", "ears", "many"), "'replicas': Input should be a valid integer"),
        (("scale", "eu"), "Missing argument"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_an_error_is_one_clear_line_and_status_2(cli, words: tuple[str, ...], message: str) -> None:  # type: ignore[no-untyped-def]
    status, out, err = cli(*words)
    assert (status, out) == (2, "")
    assert message in err.replace("\n", " ")
    assert "Traceback" not in err


def test_an_error_that_crossed_ray_is_told_by_its_cause() -> None:
    cause = SessionRefused("capacity", "every stream is taken", 1.5, "s1")
    wrapped = RuntimeError("a page of traceback")
    wrapped.cause = pickle.loads(pickle.dumps(cause))  # type: ignore[attr-defined]
    told = program.explained(ExceptionGroup("tasks", [wrapped]))
    assert told == ["session s1 refused (capacity): every stream is taken; try again in 1.5 s"]


def test_a_bug_keeps_its_traceback() -> None:
    assert program.explained(ZeroDivisionError()) is None


def test_words_become_the_values_that_they_look_like() -> None:
    ctx = context("s", "t", "r", ("a", "b=false"), ("n=7", "f=0.5", "yes=true", "text=x=y", "id=007", "nan=nan", "e="))
    assert ctx.features == {"a": True, "b": False}
    assert ctx.attributes == {"n": 7, "f": 0.5, "yes": True, "text": "x=y", "id": "007", "nan": "nan", "e": ""}


def test_a_context_names_the_option_that_is_wrong() -> None:
    with pytest.raises(ContextError, match="--attribute"):
        context("s", "t", "r", (), ("=1",))


def test_commands_without_a_cluster_do_not_import_ray() -> None:
    code = "import sys, cli.main; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
