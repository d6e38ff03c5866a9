"""The registry finds what ships, refuses what does not fulfil its protocol, and imports nothing before it must."""

import subprocess
import sys
import textwrap

import pytest

from actors.catalog import catalog
from actors.providers import registry
from router.catalog import OptionProblem
from router.errors import ConfigError

HERE = __name__


class _Base:
    class Options(__import__("actors.providers.interface", fromlist=["Options"]).Options):  # type: ignore[misc]
        pass

    def __init__(self, options, secret, endpoint):  # type: ignore[no-untyped-def]
        pass

    async def warm(self) -> None: ...
    async def probe(self) -> None: ...
    async def close(self) -> None: ...


def _capabilities(of: str):  # type: ignore[no-untyped-def]
    from actors.providers import interface

    return classmethod(lambda cls, options: getattr(interface, of)())


class Whole(_Base):
    capabilities = _capabilities("TtsCapabilities")

    async def open(self, spec, emit):  # type: ignore[no-untyped-def]
        return None


class NoOpen(_Base):
    capabilities = _capabilities("TtsCapabilities")


class PlainOpen(_Base):
    capabilities = _capabilities("SttCapabilities")

    def open(self, spec, emit):  # type: ignore[no-untyped-def]
        return None


class NoClassify(_Base):
    capabilities = _capabilities("VadCapabilities")


class NoOptions(Whole):
    Options = dict  # type: ignore[assignment]


class PlainWarm(Whole):
    def warm(self) -> None:  # type: ignore[override]
        pass


class WrongStage(Whole):
    capabilities = classmethod(lambda cls, options: __import__("types").SimpleNamespace(stage="mouth"))


class BareCapabilities(Whole):
    capabilities = classmethod(
        lambda cls, options: __import__("actors.providers.interface", fromlist=["x"]).Capabilities(stage="tts")
    )


class RaisingCapabilities(Whole):
    capabilities = classmethod(lambda cls, options: 1 / 0)


not_a_class = 3


@pytest.mark.parametrize("type", ["echo", "client", "fake-vad", "fake-turn", "fake-stt", "fake-agent", "fake-tts"])
def test_a_shipped_type_is_found_and_described(type: str) -> None:
    kind = catalog(type)
    assert kind is not None
    assert kind.type == type
    assert kind.check_options({}) == []


def test_a_users_own_class_is_found() -> None:
    assert registry.find(f"{HERE}:Whole") is sys.modules[HERE].Whole
    kind = catalog(f"{HERE}:Whole")
    assert kind is not None
    assert kind.stage == "tts"


@pytest.mark.parametrize(
    ("type", "says"),
    [
        pytest.param("espaek", "did you mean espeak", id="a slip of the pen"),
        pytest.param("nothing-like-it", "module:Class", id="an unknown type"),
        pytest.param("no.such.module:Provider", "no.such.module does not import", id="a module that is not there"),
        pytest.param(f"{HERE}:Absent", "has no class Absent", id="a class that is not there"),
        pytest.param(f"{HERE}:not_a_class", "has no class not_a_class", id="a name that is no class"),
        pytest.param(":Provider", "module:Class", id="no module"),
        pytest.param("os:", "module:Class", id="no class"),
        pytest.param("os:path.join", "module:Class", id="a path of attributes"),
        pytest.param(f"{HERE}:NoOpen", "wants a method open (async)", id="a voice that cannot open"),
        pytest.param(f"{HERE}:PlainOpen", "wants a method open (async)", id="an open that does not wait"),
        pytest.param(f"{HERE}:NoClassify", "wants a method classify", id="a detector that detects nothing"),
        pytest.param(f"{HERE}:NoOptions", "Options is no pydantic model", id="options of the wrong kind"),
        pytest.param(f"{HERE}:PlainWarm", "warm is no coroutine method", id="a warm that does not wait"),
        pytest.param(f"{HERE}:WrongStage", "names no stage", id="a stage that there is not"),
        pytest.param(f"{HERE}:BareCapabilities", "is no TtsCapabilities", id="capabilities without their stage"),
        pytest.param(f"{HERE}:RaisingCapabilities", "ZeroDivisionError", id="capabilities that raise"),
    ],
)
def test_what_cannot_serve_is_a_clear_error(type: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.find(type)
    assert says in str(caught.value)
    assert type in str(caught.value)


def test_an_unknown_type_has_no_record() -> None:
    assert catalog("espaek") is None


def test_options_are_checked_with_path_and_reason() -> None:
    kind = catalog("fake-stt")
    assert kind is not None
    found = kind.check_options({"say": ["x"], "partial_ms": 0, "fail_kind": "tired"})
    assert {p.path[0] for p in found} == {"say", "partial_ms", "fail_kind"}
    assert all(isinstance(p, OptionProblem) and p.detail for p in found)
    assert next(p for p in found if p.path == ("say",)).detail.startswith("no such option; did you mean says?")


def test_the_values_of_options_are_not_repeated() -> None:
    kind = catalog("fake-agent")
    assert kind is not None
    found = kind.check_options({"instructions": ["very-private"], "says": 7, "word_delay_s": "very-private"})
    assert found
    assert "very-private" not in repr(found)


def test_importing_the_registry_imports_no_provider() -> None:
    code = """
        import sys
        import actors.catalog, actors.providers.registry
        heavy = {"pocketsphinx", "webrtcvad", "espeakng_loader", "onnxruntime", "ray", "actors.providers.echo"}
        print(sorted(heavy & set(sys.modules)))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.strip() == "[]"
