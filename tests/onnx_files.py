"""Small models with the inputs and outputs of the real ones, made where a test needs them: a few nodes, exact answers.

    silero_file()              p = 4 x (mean |audio| + mean |state| / 2); the state halves and takes mean |audio|
    silero_file("context")     p = 4 x mean |the samples before the window|
    smart_turn_file()          p = sigmoid of the newest second's mean less that of all

Real files are not part of the repository; docs/vendors says what was tried with them.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

__all__ = ["FOLDER", "RUNS", "needs_onnxruntime", "save", "silero_file", "smart_turn_file"]

RUNS = importlib.util.find_spec("onnxruntime") is not None or "CI" in os.environ
"""Models can be run: onnxruntime is optional, and has no wheel for every laptop. Where CI runs it must be there."""
needs_onnxruntime = pytest.mark.skipif(not RUNS, reason="onnxruntime is not installed")

_KEPT = tempfile.TemporaryDirectory(prefix="patchbay-models-")
FOLDER = Path(_KEPT.name)
_OPSET = 17


def save(name: str, nodes: list[onnx.NodeProto], inputs: list, outputs: list, **constants: np.ndarray) -> str:
    """A model of these nodes in a file of its own; its path."""
    held = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    path = FOLDER / f"{name}.onnx"
    onnx.save(model, str(path))
    return str(path)


def _float(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


@lru_cache(maxsize=8)
def silero_file(hears: str = "all", *, sr: bool = True, worth: float = 4.0) -> str:
    """Of version 5 and 6: `input` (n, samples), `state` (2, n, 128), `sr`; `output` (n, 1), `stateN`."""
    node = helper.make_node
    nodes = [
        node("Abs", ["input"], ["loud"]),
        node("Slice", ["loud", "first", "context", "one"], ["before"]),
        node("ReduceMean", ["loud" if hears == "all" else "before"], ["level"], axes=[1], keepdims=1),
        node("Abs", ["state"], ["was"]),
        node("ReduceMean", ["was"], ["was_flat"], axes=[0, 2], keepdims=0),
        node("Unsqueeze", ["was_flat", "one"], ["was_column"]),
        node("Mul", ["was_column", "half" if hears == "all" else "nothing"], ["memory"]),
        node("Add", ["level", "memory"], ["sum"]),
        node("Mul", ["sum", "worth"], ["chance"]),
        node("Clip", ["chance", "nothing", "whole"], ["output"]),
        node("Mul", ["state", "half"], ["faded"]),
        node("Add", ["faded", "level"], ["stateN"]),
    ]
    inputs = [_float("input", "n", "samples"), _float("state", 2, "n", 128)]
    if sr:
        inputs.append(helper.make_tensor_value_info("sr", TensorProto.INT64, []))
        nodes.insert(0, node("Cast", ["sr"], ["rate"], to=TensorProto.FLOAT))
    return save(
        f"silero-{hears}-{sr}-{worth}",
        nodes,
        inputs,
        [_float("output", "n", 1), _float("stateN", 2, "n", 128)],
        first=np.array([0], np.int64),
        context=np.array([64], np.int64),
        one=np.array([1], np.int64),
        half=np.array(0.5, np.float32),
        nothing=np.array(0.0, np.float32),
        whole=np.array(1.0, np.float32),
        worth=np.array(worth, np.float32),
    )


@lru_cache(maxsize=4)
def smart_turn_file(worth: float = 1.0) -> str:
    """Of version 3: `input_features` (n, 80, 800); `logits` (n, 1), which are probabilities."""
    node = helper.make_node
    nodes = [
        node("Slice", ["input_features", "begin", "end", "axis"], ["newest"]),
        node("ReduceMean", ["newest"], ["newest_mean"], axes=[1, 2], keepdims=0),
        node("ReduceMean", ["input_features"], ["mean"], axes=[1, 2], keepdims=0),
        node("Sub", ["newest_mean", "mean"], ["louder"]),
        node("Mul", ["louder", "worth"], ["scaled"]),
        node("Sigmoid", ["scaled"], ["chance"]),
        node("Unsqueeze", ["chance", "column"], ["logits"]),
    ]
    return save(
        f"smart-turn-{worth}",
        nodes,
        [_float("input_features", "n", 80, 800)],
        [_float("logits", "n", 1)],
        begin=np.array([700], np.int64),
        end=np.array([800], np.int64),
        axis=np.array([2], np.int64),
        column=np.array([1], np.int64),
        worth=np.array(worth, np.float32),
    )
