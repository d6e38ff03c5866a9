"""A model file run by onnxruntime in this process, on the thread that asks and on no other.

    model = OnnxModel.load("silero", path, inputs={"input": Tensor("float", (None, None))}, ...)
    (probability, state) = model.run({"input": x, "state": state})

One thread and no spinning: many actors share a machine, and a pool of threads that waits by turning costs more than
a small model. What a file takes and gives is compared with what the provider will ask before anybody is served.

Needs    the optional extra `patchbay[onnx]`; imported when a model is loaded and not before.
Raises   ProviderError of kind `config`: onnxruntime is absent, the file is, or it holds another model.
Used by  silero.py, smart_turn.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from router.errors import ProviderError

__all__ = ["Array", "ModelPath", "OnnxModel", "Tensor", "probabilities"]

Array = np.ndarray[Any, Any]
_ERRORS_ONLY = 3
"""onnxruntime's level: below, it writes to standard error what the maker of a model should know."""


def _whole_path(path: str) -> str:
    if not Path(path).expanduser().is_absolute():
        raise ValueError("give the whole path of the model (/...), as it is on every node that runs it")
    return path


ModelPath = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_whole_path)]
"""A file on the node of the provider's actor. Whole, since an actor's folder is not the one of who wrote it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """What goes in or comes out: `float` or `int64`, and its dimensions; None where any number is taken."""

    kind: str
    shape: tuple[int | None, ...]

    def fits(self, kind: str, shape: list[Any]) -> bool:
        """Whether a model that declares this takes it; its dimensions with a name, or unknown, take anything."""
        if kind != f"tensor({self.kind})" or len(shape) != len(self.shape):
            return False
        return all(
            ours == theirs or not isinstance(theirs, int) for ours, theirs in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.kind}[{', '.join('n' if n is None else str(n) for n in self.shape)}]"


class OnnxModel:
    """A loaded model. `inputs` are the names of what it takes."""

    def __init__(self, session: Any, outputs: tuple[str, ...]) -> None:
        self._session, self._outputs = session, outputs
        self.inputs = frozenset(put.name for put in session.get_inputs())

    @classmethod
    def load(
        cls,
        provider: str,
        path: str,
        *,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
        optional: frozenset[str] = frozenset(),
    ) -> OnnxModel:
        """The model in the file at `path`, which has these inputs (but for `optional` ones) and outputs."""
        file = Path(path).expanduser()
        if not file.is_file():
            raise ProviderError(provider, "config", f"model {path}: there is no such file on this node")
        session = _session(provider, path, file)
        wrong = [
            *_compared("input", session.get_inputs(), inputs, optional),
            *_compared("output", session.get_outputs(), outputs, frozenset()),
        ]
        if wrong:
            raise ProviderError(provider, "config", f"model {path} is another one: {'; '.join(wrong)}"[:1000])
        return cls(session, tuple(outputs))

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """The outputs, in the order in which they were named. Raises whatever onnxruntime does."""
        found: list[Array] = self._session.run(self._outputs, dict(feeds))
        return found


def _session(provider: str, path: str, file: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ProviderError(
            provider, "config", "it needs onnxruntime, which is not installed here: pip install 'patchbay[onnx]'"
        ) from None
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = _ERRORS_ONLY
    for pool in ("intra_op", "inter_op"):
        settings.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes have no common root but this
        detail = f"onnxruntime does not load it ({type(error).__name__})"
        raise ProviderError(provider, "config", f"model {path}: {detail}") from None


def _compared(what: str, found: Any, wanted: Mapping[str, Tensor], optional: frozenset[str]) -> list[str]:
    """What does not fit: missing, of another shape, or asked for and unknown to us."""
    there = {put.name: put for put in found}
    wrong = [f"no {what} {name} {want}" for name, want in wanted.items() if name not in there and name not in optional]
    for name, put in there.items():
        want = wanted.get(name)
        if want is None:
            wrong.append(f"an {what} {name} that nothing is known of")
        elif not want.fits(put.type, put.shape):
            wrong.append(f"{what} {name} is {put.type}{put.shape}, not {want}")
    return wrong


def probabilities(found: Array, n: int) -> Array:
    """A column of `n` probabilities as float64, shape (n,). Raises ValueError for anything else, NaN too."""
    column = np.asarray(found, np.float64).reshape(-1)
    if column.shape != (n,) or not np.all((column >= 0.0) & (column <= 1.0)):
        raise ValueError(f"{n} probabilities were asked for, shape {found.shape} came, or some are none")
    return column
