"""What can't work is refused with words, before a step is made or a file is touched."""

# ruff: noqa: E501 - in the tables, a case is a line

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers, losses, metrics, ops, optimizers

import exactrun
from exactrun import evaluate, fit, steps

ROWS = 8
X = np.random.RandomState(0).normal(size=(ROWS, 3)).astype(np.float32)
Y, W = X[:, :1].copy(), np.ones(ROWS, np.float32)
KINDS = (np.arange(ROWS) % 4).astype(np.int32)
TARGETS = {"kind": KINDS, "size": Y, "tags": np.zeros((ROWS, 3), np.float32)}
PIXELS, MASKS = np.zeros((ROWS, 2, 2, 1), np.float32), np.zeros((ROWS, 2, 2), np.int32)


class Spy(keras.callbacks.Callback):
    """Notes that it is called."""

    called = False

    def __getattribute__(self, name: str) -> Any:
        Spy.called |= name.startswith("on_")
        return super().__getattribute__(name)


def spoiled(array: np.ndarray, at: Any, value: Any, dtype: Any = None) -> np.ndarray:
    array = array.astype(dtype or array.dtype)
    array[at] = value
    return array


# --- Models ----------------------------------------------------------------------------------


def dense(outputs: int = 1, last: str | None = None, loss: Any = "mse", **options: Any) -> Any:
    first = layers.Dense(4, activation=options.pop("first", "relu"))
    model = keras.Sequential([keras.Input((3,)), first, layers.Dense(outputs, activation=last)])
    first.trainable = options.pop("trainable", True)
    model.compile(options.pop("optimizer", "sgd"), loss, **options)
    return model


@functools.cache
def line() -> keras.Model:
    return dense()


def classes(**options: Any) -> keras.Model:
    return dense(4, "softmax", "sparse_categorical_crossentropy", **options)


def binary() -> keras.Model:
    return dense(1, "sigmoid", "binary_crossentropy")


def chain(shape: tuple[int, ...], *given: Any, loss: Any = "mse", **options: Any) -> keras.Model:
    model = keras.Sequential([keras.Input(shape, **options), *given])
    model.compile("sgd", loss)
    return model


def pixels() -> keras.Model:
    last = layers.Conv2D(3, 1, activation="softmax")
    return chain((2, 2, 1), last, loss="sparse_categorical_crossentropy")


def two_inputs() -> keras.Model:
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    model = keras.Model({"a": a, "b": b}, layers.Dense(1)(layers.Concatenate()([a, b])))
    model.compile("sgd", "mse")
    return model


def three_outputs(*, listed: bool = False, **options: Any) -> keras.Model:
    inputs = keras.Input((3,))
    kinds = {"kind": (4, "softmax"), "size": (1, None), "tags": (3, "sigmoid")}
    outputs = {name: layers.Dense(*kind, name=name)(inputs) for name, kind in kinds.items()}
    model = keras.Model(inputs, list(outputs.values()) if listed else outputs)
    loss = {"kind": "sparse_categorical_crossentropy", "size": "mse", "tags": "bce"}
    model.compile("sgd", list(loss.values()) if listed else loss, **options)
    return model


def uncompiled() -> keras.Model:
    return keras.Sequential([keras.Input((3,)), layers.Dense(1)])


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.last = layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.last(x)


def subclassed() -> keras.Model:
    model = Subclassed()
    model.compile("sgd", "mse")
    return model


class OwnStep(keras.Model):
    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


def own_step() -> keras.Model:
    plain = dense()
    model = OwnStep(plain.inputs, plain.outputs)
    model.compile("sgd", "mse")
    return model


class Drawing(layers.Layer):
    """Draws random numbers from a state that TensorFlow keeps to itself."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.always = always

    def call(self, x: Any, training: bool = False) -> Any:
        return x + tf.random.normal(tf.shape(x)) if training or self.always else x


class Largest(metrics.Metric):
    """A metric whose state is no sum."""

    def __init__(self, name: str = "largest") -> None:
        super().__init__(name=name)
        self.most = self.add_variable((), "zeros", name="most")

    def update_state(self, y: Any, predicted: Any, sample_weight: Any = None) -> None:
        self.most.assign(ops.maximum(self.most, 1 + ops.max(ops.abs(predicted))))

    def result(self) -> Any:
        return self.most.value


# --- Data ------------------------------------------------------------------------------------


def batches(x: Any = X, y: Any = Y, size: int = 4) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(size)


class Source:
    """Examples by index; the fourth is another one."""

    def __init__(self, fourth: Callable[[], Any], length: int = ROWS) -> None:
        self.fourth, self.length = fourth, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> Any:
        return self.fourth() if row == 3 else (X[row], Y[row])


class ByBatch(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return X[4 * index :][:4], Y[4 * index :][:4]


def truncated() -> Any:
    raise OSError("photo-3.jpg is truncated")


# --- The table -------------------------------------------------------------------------------


def stateful() -> keras.Model:
    memory = layers.SimpleRNN(1, stateful=True, name="memory")
    model = keras.Sequential([keras.Input(batch_shape=(4, 3, 1)), memory])
    model.compile("sgd", "mse")
    return model


class Bad(NamedTuple):
    call: Callable[..., Any]
    given: Callable[[], dict[str, Any]]
    words: tuple[str, ...]


BAD: dict[str, Bad] = {}
OTHER_RUN: dict[str, Bad] = {}
ON_TWO_DEVICES: dict[str, Bad] = {}


def bad(name: str, given: Callable[[], dict[str, Any]], *words: str, call: Any = fit) -> None:
    table = ON_TWO_DEVICES if name.startswith("devices: ") else BAD
    assert name not in table
    table[name] = Bad(call, given, words)


def bad_x(name: str, x: Any, *words: str) -> None:
    """Add what neither `fit` nor `evaluate` takes as x; a function makes it."""
    make = x if callable(x) else lambda: x
    bad(f"x: {name}", lambda: {"x": make()}, *words)
    bad(f"evaluate x: {name}", lambda: {"x": make()}, *words, call=evaluate)


def bad_validation(name: str, data: Any, *words: str, **given: Any) -> None:
    make = data if callable(data) else lambda: data
    bad(
        f"validation: {name}",
        lambda: (
            {"validation_data": make()} | {k: v() if callable(v) else v for k, v in given.items()}
        ),
        "validation_data",
        *words,
    )


# fmt: off
MUST_BE_AN_ARRAY = "must be an array with a row for each example"
MISFIT = "The model, its loss or a metric can't take"

# The model.
bad("model: None", lambda: {"model": None}, "model is", "NoneType", "keras.Model")
bad("model: a class", lambda: {"model": keras.Sequential}, "model is the class Sequential")
bad("model: a layer", lambda: {"model": layers.Dense(1)}, "model is", "Dense", "keras.Model")
bad("model: after x", lambda: {"model": X, "x": line()}, "model is", "ndarray")
bad("model: not compiled", lambda: {"model": uncompiled()}, "not compiled", "model.compile(")
bad("model: run_eagerly", lambda: {"model": dense(run_eagerly=True)}, "run_eagerly=True", "Compile it")
bad("model: no optimizer", lambda: {"model": dense(optimizer=None)}, "optimizer=None", "'adam'")
bad("model: no loss", lambda: {"model": dense(loss=None)}, "Provide a `loss`")
bad("model: misspelt loss", lambda: {"model": dense(loss="msee")}, "msee")
bad("model: misspelt metric", lambda: {"model": dense(metrics=["acuracy"])}, "acuracy")
bad("model: no weights", lambda: {"model": chain((3,), layers.Rescaling(2.0)), "y": X}, "no trainable")
bad("model: all frozen", lambda: {"model": chain((3,), layers.Dense(1, trainable=False))}, "trainable = True")
bad("model: draws when training", lambda: {"model": chain((3,), Drawing(False), layers.Dense(1))},
    "RandomStandardNormal", "keras.random.SeedGenerator")
bad("model: draws always", lambda: {"model": chain((3,), Drawing(True), layers.Dense(1))},
    "RandomStandardNormal", "keras.random.SeedGenerator")
bad("model: subclassed, wrong rank", lambda: {"model": subclassed(), "x": X[:, 0]}, MISFIT, "x (None,)", "min_ndim=2")
bad("model: token too high", lambda: {"model": chain((3,), layers.Embedding(5, 2), layers.Flatten(), layers.Dense(1), dtype="int32"), "x": np.full((ROWS, 3), 7)},
    MISFIT, "= 7 is not in [0, 5)")
bad("model: stateful layer", lambda: {"model": stateful()}, "The layer memory is stateful", "stateful=True")
bad("evaluate: not compiled", lambda: {"model": uncompiled()}, "not compiled", call=evaluate)
bad("evaluate: no model", lambda: {"model": "model.keras"}, "model is", "str", call=evaluate)

# What is no array.
bad_x("None", None, "x is None", "arrays")
bad_x("a text", "x.npy", "x is 'x.npy' (str)", MUST_BE_AN_ARRAY)
bad_x("a path", Path("x.npy"), "x.npy", MUST_BE_AN_ARRAY)
bad_x("a number", 5, "x is 5 (int)", MUST_BE_AN_ARRAY)
bad_x("no axis", np.float32(3), "x is", "3.0", MUST_BE_AN_ARRAY)
bad_x("a list of numbers", [1.0, 2.0, 3.0], "x[0] is 1.0 (float)", "np.asarray")
bad_x("a list of rows", X.tolist(), "x[0][0] is 1.76", "np.asarray")
bad_x("lists of different lengths", [[1], [2, 3]], "x[0][0] is 1 (int)", MUST_BE_AN_ARRAY)
bad_x("a ragged tensor", lambda: tf.ragged.constant([[1.0], [2.0, 3.0]]), "RaggedTensor", MUST_BE_AN_ARRAY)
bad_x("a symbolic tensor", lambda: keras.Input((3,)), "KerasTensor", MUST_BE_AN_ARRAY)
bad_x("a class", lambda: np.ndarray, "numpy.ndarray", "(type)", MUST_BE_AN_ARRAY)
bad_x("a source without a length", lambda: type("Rows", (), {"__getitem__": lambda self, i: X[i]})(), "(Rows)", MUST_BE_AN_ARRAY)
bad_x("an empty dict", {}, "x={}", "no array")
bad_x("an empty list", [], "x=[]", "no array")
bad_x("keys of two types", {"a": X, 1: X}, "x has keys of several types", "text")
bad_x("batches by index", lambda: ByBatch(), "x is a ByBatch", "is a batch", "an example")
for name, x in {"a generator": lambda: (row for row in X), "an iterator": lambda: iter(X), "a zip": lambda: zip(X, Y, strict=True), "a set": lambda: {1, 2}}.items():
    bad(f"x: {name}", lambda x=x: {"x": x()}, "x is a", "read once", "write_shards", "tf.data.Dataset")
    bad(f"evaluate x: {name}", lambda x=x: {"x": x()}, MUST_BE_AN_ARRAY, call=evaluate)
bad("x: a data set", lambda: {"x": batches(), "y": None}, "x is a tf.data.Dataset", "def batches(epoch)", "seed=epoch")
bad("evaluate x: a data set and y", lambda: {"x": batches()}, "leave y and sample_weight out", call=evaluate)
bad("evaluate x: a function", lambda: {"x": lambda epoch: batches(), "y": None}, "function", MUST_BE_AN_ARRAY, call=evaluate)
for name, y in {"a text": "y", "a list": [1.0] * ROWS, "a generator": (y for y in Y), "a function": len, "a range": range(ROWS)}.items():
    bad(f"y: {name}", lambda y=y: {"y": y}, "y", MUST_BE_AN_ARRAY)
for name, weight in {"a word": "balanced", "a number": 2.0, "a list": [1.0] * ROWS, "a dict of classes": {0: 1.0}}.items():
    bad(f"sample_weight: {name}", lambda weight=weight: {"sample_weight": weight}, "sample_weight", MUST_BE_AN_ARRAY)

# Types.
bad_x("complex", X.astype(complex), "x is an array of the type complex128", "real numbers")
bad_x("dates", np.zeros((ROWS, 3), "M8[s]"), "datetime64[s]", "astype('float32')")
bad_x("records", np.zeros(ROWS, [("a", "f"), ("b", "f")]), "('a', '<f4')", "real numbers")
bad_x("objects", np.array([None] * ROWS), "type object, such as None", "real numbers")
bad_x("rows as objects", np.array([*X, 0], object)[:ROWS], "type object", "padded", "np.stack")
bad_x("a table with a column of texts", lambda: pd.DataFrame({"a": ["u"] * ROWS, "b": range(ROWS)}), "type object", "astype")
bad_x("masked", np.ma.masked_array(X, X > 0), "masked values", ".filled(0)")
bad_x("texts for numbers", X.astype(str), "x holds texts", "the model takes numbers", "TextVectorization")
bad("y: texts", lambda: {"model": classes(), "y": np.array(["cat", "dog"] * 4)}, "y holds texts", "np.unique(names, return_inverse=True)[1]")
bad("y: texts for a binary loss", lambda: {"model": binary(), "y": np.array(["no", "yes"] * 4)}, "y holds texts")
bad("y: complex", lambda: {"y": Y.astype(complex)}, "y is an array of the type complex128")
bad("y: objects", lambda: {"y": np.array([None] * ROWS)}, "y is an array of the type object")
bad("sample_weight: texts", lambda: {"sample_weight": W.astype(str)}, "sample_weight holds texts")

# Shapes and lengths.
bad_x("too wide", np.zeros((ROWS, 4), "f"), MISFIT, "x (None, 4)", "(None, 3)")
bad_x("a row for all", X[:, 0], MISFIT, "x (None,)", "(None, 3)")
bad_x("two for one input", (X, X), "x has 2 arrays", "the model takes 1")
bad_x("too short", X[:7], "different lengths: x 7, y 8")
bad_x("empty, and y not", X[:0], "different lengths: x 0, y 8")
bad_x("a dict for one input", {"a": X}, MISFIT, "x['a'] (None, 3)")
bad("x: with its targets", lambda: {"x": (X, Y), "y": None}, "x has 2 arrays", "targets are y")
bad("x: a list of examples", lambda: {"x": list(X), "y": None}, "x has 8 arrays", "np.stack(list)")
bad("x: empty", lambda: {"x": X[:0], "y": Y[:0]}, "x is empty")
bad("x: fewer than a batch", lambda: {"batch_size": 9}, "batch_size=9", "8 examples", "at most 8")
bad("y: missing", lambda: {"y": None}, "y is missing", "loss")
bad("y: missing, with weights", lambda: {"y": None, "sample_weight": W}, "sample_weight needs targets")
bad("evaluate: y missing", lambda: {"y": None}, "y is missing", call=evaluate)
bad("y: too short", lambda: {"y": Y[:7]}, "different lengths: x 8, y 7")
bad("y: too wide", lambda: {"y": np.zeros((ROWS, 2))}, "y has the shape (None, 2)", "output (None, 1)", "mse")
bad("y: of higher rank", lambda: {"y": Y[:, None, None]}, "y has the shape (None, 1, 1, 1)", "output (None, 1)")
bad("y: a number for five outputs", lambda: {"model": dense(5), "y": Y[:, 0]}, "y has the shape (None,)", "(None, 5)")
bad("evaluate: y too wide", lambda: {"y": np.zeros((ROWS, 2))}, "y has the shape (None, 2)", call=evaluate)
bad("y: one-hot for sparse labels", lambda: {"model": classes(), "y": np.eye(4)[KINDS]}, MISFIT, "y (None, 4)")
bad("y: sparse labels for one-hot", lambda: {"model": dense(4, "softmax", "categorical_crossentropy"), "y": KINDS}, MISFIT, "y (None,)", "(None, 4)")
bad("y: pixels missing", lambda: {"model": pixels(), "x": PIXELS, "y": MASKS[:, :1]}, MISFIT, "y (None, 1, 2)")
bad("y: two for one output", lambda: {"y": [Y, Y]}, MISFIT, "different structures")
bad("y: a dict for one output", lambda: {"y": {"z": Y}}, MISFIT, "y['z']")
bad("sample_weight: too short", lambda: {"sample_weight": W[:7]}, "x 8, y 8, sample_weight 7")
bad("sample_weight: too wide", lambda: {"sample_weight": np.ones((ROWS, 2))}, "The weights of y have the shape (None, 2)", "(None,)")
bad("sample_weight: too wide by the batch", lambda: {"sample_weight": np.ones((ROWS, 4))}, "(None, 4)")
bad("sample_weight: not for each pixel", lambda: {"model": pixels(), "x": PIXELS, "y": MASKS, "sample_weight": W}, "(None,)", "(None, 2, 2)")

# Structures.
bad("inputs: wrong name", lambda: {"model": two_inputs(), "x": {"a": X, "c": X[:, :2]}}, MISFIT, '"b"', "x['c']")
bad("inputs: one missing", lambda: {"model": two_inputs(), "x": {"a": X}}, MISFIT, '"b"')
bad("inputs: one for two", lambda: {"model": two_inputs(), "x": X}, MISFIT, "2 input")
bad("inputs: exchanged", lambda: {"model": two_inputs(), "x": [X[:, :2], X]}, MISFIT, "x[0] (None, 2)", "a (None, 3)")
bad("inputs: lengths", lambda: {"model": two_inputs(), "x": {"a": X, "b": X[:7, :2]}}, "x['a'] 8, x['b'] 7")
bad("inputs: numbers for names", lambda: {"model": two_inputs(), "x": {0: X, 1: X}}, "0")
bad("outputs: wrong name", lambda: {"model": three_outputs(), "y": {"kin": KINDS, "size": Y, "tags": TARGETS["tags"]}}, MISFIT, "y['kin']", "kind (None, 4)")
bad("outputs: one missing", lambda: {"model": three_outputs(), "y": {"kind": KINDS, "size": Y}}, MISFIT, "tags")
bad("outputs: one too many", lambda: {"model": three_outputs(), "y": TARGETS | {"more": Y}}, MISFIT, "y['more']")
bad("outputs: one for three", lambda: {"model": three_outputs(), "y": KINDS}, MISFIT, "different structures")
bad("outputs: two for three in a list", lambda: {"model": three_outputs(listed=True), "y": [KINDS, Y]}, MISFIT, "y[1]")
bad("outputs: shape", lambda: {"model": three_outputs(), "y": TARGETS | {"size": X}}, "y['size'] has the shape (None, 3)")
bad("outputs: lengths", lambda: {"model": three_outputs(), "y": TARGETS | {"size": Y[:7]}}, "y['size'] 7")
bad("outputs: weights of wrong name", lambda: {"model": three_outputs(), "y": TARGETS, "sample_weight": {"kin": W, "size": W, "tags": W}}, "['kin']", "['kind']")
bad("outputs: weights missing", lambda: {"model": three_outputs(listed=True), "y": list(TARGETS.values()), "sample_weight": [W, W]}, "sample_weight has [0], [1]", "each target")

# Labels and numbers.
bad("label: too high", lambda: {"model": classes(), "y": spoiled(KINDS, 5, 4)}, "the label 4 in example 5", "from 0 to 3")
bad("label: negative", lambda: {"model": classes(), "y": spoiled(KINDS, 5, -1)}, "the label -1 in example 5", "from 0 to 3")
bad("label: a fraction", lambda: {"model": classes(), "y": spoiled(KINDS, 5, 1.5, "f")}, "the label 1.5 in example 5", "whole numbers")
bad("label: of a loss as an object", lambda: {"model": dense(4, None, losses.SparseCategoricalCrossentropy(from_logits=True)), "y": spoiled(KINDS, 5, 4)}, "the label 4")
bad("label: of a loss as a function", lambda: {"model": dense(4, "softmax", losses.sparse_categorical_crossentropy), "y": spoiled(KINDS, 5, 4)}, "the label 4")
bad("label: binary, too high", lambda: {"model": binary(), "y": spoiled(0 * Y, 5, 2)}, "the label 2.0 in example 5", "from 0 to 1")
bad("label: binary, negative", lambda: {"model": binary(), "y": spoiled(0 * Y, 5, -1)}, "the label -1.0 in example 5", "from 0 to 1")
bad("label: of a pixel", lambda: {"model": pixels(), "x": PIXELS, "y": spoiled(MASKS, (5, 1, 0), 3)}, "the label 3 in example 5", "from 0 to 2")
bad("label: of one output", lambda: {"model": three_outputs(), "y": TARGETS | {"kind": spoiled(KINDS, 5, 4)}}, "y['kind'] has the label 4")
bad("label: of one output in a list", lambda: {"model": three_outputs(listed=True), "y": [KINDS, Y, spoiled(TARGETS["tags"], (5, 1), 2)]}, "y[2] has the label 2.0")
bad("evaluate: label too high", lambda: {"model": classes(), "y": spoiled(KINDS, 5, 9)}, "the label 9 in example 5", call=evaluate)
bad_x("NaN", spoiled(X, (5, 1), np.nan), "x holds nan in example 5", "fill in")
bad_x("infinite", spoiled(X, (5, 1), -np.inf), "x holds -inf in example 5", "fill in")
bad_x("too large for float32", np.full((ROWS, 3), 1e300), "x holds 1e+300 in example 0", "float32")
bad_x("NaN in a table", lambda: pd.DataFrame(spoiled(X, (2, 1), np.nan)), "x holds nan in example 2")
bad("y: NaN", lambda: {"y": spoiled(Y, 6, np.nan)}, "y holds nan in example 6")
bad("y: NaN among labels", lambda: {"model": classes(), "y": spoiled(KINDS, 5, np.nan, "f")}, "y holds nan in example 5")
bad("y: NaN in one output", lambda: {"model": three_outputs(), "y": TARGETS | {"size": spoiled(Y, 2, np.nan)}}, "y['size'] holds nan in example 2")
bad("sample_weight: infinite", lambda: {"sample_weight": spoiled(W, 3, np.inf)}, "sample_weight holds inf in example 3")
bad("inputs: NaN in one", lambda: {"model": two_inputs(), "x": {"a": X, "b": spoiled(X[:, :2], (3, 1), np.nan)}}, "x['b'] holds nan in example 3")

# Validation data.
bad_validation("no parts", (), "0 parts", "(x, y)")
bad_validation("four parts", (X, Y, W, W), "4 parts", "(x, y)")
bad_validation("no targets", X, "[1] is missing")
bad_validation("None for targets", (X, None), "[1] is missing")
bad_validation("None for inputs", (None, Y), "[0] is None")
bad_validation("a text", "validation", "is 'validation'", "(x, y)")
bad_validation("a fraction", 0.2, "is 0.2", "(x, y)")
bad_validation("a generator", lambda: (row for row in X), "generator", "(x, y)")
bad_validation("a function", lambda: lambda epoch: batches(), "function", "(x, y)")
bad_validation("lengths", (X, Y[:7]), "[0] 8", "[1] 7")
bad_validation("weights too short", (X, Y, W[:7]), "[1] 8", "[2] 7")
bad_validation("empty", (X[:0], Y[:0]), "is empty")
bad_validation("NaN", (spoiled(X, (5, 1), np.nan), Y), "[0] holds nan in example 5")
bad_validation("NaN in targets", (X, spoiled(Y, 5, np.nan)), "[1] holds nan in example 5")
bad_validation("NaN in weights", (X, Y, spoiled(W, 5, np.nan)), "[2] holds nan in example 5")
bad_validation("too wide", (np.zeros((ROWS, 4), "f"), Y), MISFIT, "(None, 4)", "(None, 3)")
bad_validation("targets too wide", (X, X), "[1] has the shape (None, 3)")
bad_validation("texts", (X.astype(str), Y), "[0] holds texts")
bad_validation("ragged", (X, [[1], [1, 2]]), MUST_BE_AN_ARRAY)
bad_validation("labels", (X, spoiled(KINDS, 5, 9)), "[1] has the label 9 in example 5", model=classes, y=KINDS)
bad_validation("one output only", (X, {"kind": KINDS}), MISFIT, "size", model=three_outputs, y=TARGETS)
bad_validation("a data set without end", lambda: batches().repeat(), "no end", ".take(steps)")
bad_validation("an empty data set", lambda: batches(X[:0], Y[:0]), "is empty")
bad_validation("an empty data set of unknown length", lambda: batches().filter(lambda *_: False), "is empty")
bad_validation("a data set of single examples", lambda: batches().unbatch(), "(3,), (1,)", ".batch(32)")
bad_validation("a data set of other shapes", lambda: batches(X[:, :2]), MISFIT, "(None, 2)")
bad_validation("a data set without targets", lambda: tf.data.Dataset.from_tensor_slices(X).batch(4), "[1] is missing")
bad_validation("a data set that fails", lambda: batches().map(lambda x, y: (tf.debugging.check_numerics(x / 0, "bad file"), y)), "bad file")
bad_validation("a source that fails", lambda: Source(truncated), "Example 3", "photo-3.jpg is truncated")
bad_validation("batches by index", lambda: ByBatch(), "is a batch")
bad("evaluate: a data set without end", lambda: {"x": batches().repeat(), "y": None}, "x has no end", ".take(steps)", call=evaluate)
bad("evaluate: an empty data set", lambda: {"x": batches(X[:0], Y[:0]), "y": None}, "x is empty", call=evaluate)

# Settings.
for name, least in (("batch_size", 1), ("epochs", 1), ("seed", 0)):
    for value in (True, 2.5, "4", None, -1, 2**63, float("nan"), np.array([1, 2]), *[0] * least):
        bad(f"{name}={value!r}", lambda name=name, value=value: {name: value}, f"{name}={value!r}", f"whole number from {least}")
for name in ("save_interval_secs", "max_time_secs"):
    for value in (True, -1, "60", float("nan"), [1]):
        bad(f"{name}={value!r}", lambda name=name, value=value: {name: value}, f"{name}={value!r}", "seconds", "not negative")
for value in (3, "loud", True, None, np.array([1, 2])):
    bad(f"verbose={value!r}", lambda value=value: {"verbose": value}, f"verbose={value!r}", "0, 1, 2 or 'auto'")
for value in (0, True, 2.5, "2", None):
    bad(f"max_to_keep={value!r}", lambda value=value: {"max_to_keep": value}, f"max_to_keep={value!r}", "whole number")
bad("max_to_keep given twice", lambda: {"checkpoint_dir": exactrun.Checkpoints("new"), "max_to_keep": 5}, "max_to_keep", "give 5 there")
bad("two settings at once", lambda: {"batch_size": 0, "epochs": 0}, "batch_size=0", "epochs=0")
bad("evaluate: batch_size", lambda: {"batch_size": 0}, "batch_size=0", call=evaluate)

# Class weights.
for value in ([1, 2], {}, "balanced", np.ones(4)):
    bad(f"class_weight={value!r}", lambda value=value: {"class_weight": value}, f"class_weight={value!r}", "must be a dict, such as {0: 1.0")
for entry in ({0: -1.0}, {0: float("nan")}, {0: float("inf")}, {0: "a"}, {0: True}, {"cat": 1.0}, {-1: 1.0}, {0.5: 1.0}):
    text = repr(entry).strip("{}")
    bad(f"class_weight={entry!r}", lambda entry=entry: {"model": classes(), "y": KINDS, "class_weight": entry}, text, "class indices, from 0 on")
bad("class_weight: no such class", lambda: {"model": classes(), "y": KINDS, "class_weight": {7: 2.0}}, "class 7", "0 to 3")
bad("class_weight: and sample_weight", lambda: {"model": classes(), "y": KINDS, "class_weight": {0: 1.0}, "sample_weight": W}, "class_weight and sample_weight", "Multiply")
bad("class_weight: several outputs", lambda: {"model": three_outputs(), "y": TARGETS, "class_weight": {0: 1.0}}, "class_weight needs one target", "sample_weight")
bad("class_weight: a number as target", lambda: {"class_weight": {0: 1.0}}, "class_weight needs a class index", "1.76")
bad("class_weight: pixels", lambda: {"model": pixels(), "x": PIXELS, "y": MASKS, "class_weight": {0: 1.0}}, "class_weight needs a class index", "sample_weight")
bad("class_weight: texts", lambda: {"model": classes(), "y": np.array(["cat"] * ROWS), "class_weight": {0: 1.0}}, "class_weight needs a class index", "cat")
bad("class_weight: a function", lambda: {"x": lambda epoch: batches(), "y": None, "class_weight": {0: 1.0}}, "class_weight can't be used with a function")

# Metrics.
bad("metric: no sum", lambda: {"model": dense(metrics=[Largest()])}, "The metrics largest can't", "model.predict")
bad("metric: no sum, of one output", lambda: {"model": three_outputs(metrics={"size": ["mae", Largest()]}), "y": TARGETS}, "The metrics largest can't")
bad("metric: no sum, of validation", lambda: {"model": dense(metrics=[Largest()]), "validation_data": (X, Y)}, "The metrics largest can't")
bad("evaluate: metric that is no sum", lambda: {"model": dense(metrics=[Largest()])}, "The metrics largest can't", call=evaluate)
bad("metric: of another kind of output", lambda: {"model": classes(metrics=["auc"]), "y": KINDS}, MISFIT, "(None, 4)")
bad("metric: of fewer classes", lambda: {"model": classes(metrics=[metrics.MeanIoU(2, sparse_y_pred=False)]), "y": KINDS}, MISFIT, "[2,2]")
bad("metric: for one-hot targets", lambda: {"model": classes(metrics=[metrics.F1Score()]), "y": KINDS}, MISFIT, "2D")
bad("metric: of an unknown output", lambda: {"model": three_outputs(metrics={"kin": ["accuracy"]}), "y": TARGETS}, "'kin'")

# Callbacks.
bad("callbacks: a class", lambda: {"callbacks": [keras.callbacks.EarlyStopping]}, "EarlyStopping", "Create it: EarlyStopping(")
bad("callbacks: a class alone", lambda: {"callbacks": keras.callbacks.EarlyStopping}, "Create it: EarlyStopping(")
bad("callbacks: a function", lambda: {"callbacks": [print]}, "print", "no keras.callbacks.Callback")
bad("callbacks: a text", lambda: {"callbacks": "early"}, "'early'", "no keras.callbacks.Callback")
bad("callbacks: None among them", lambda: {"callbacks": [Spy(), None]}, "None", "no keras.callbacks.Callback")
bad("callbacks: a list in a list", lambda: {"callbacks": [[Spy()]]}, "no keras.callbacks.Callback")
bad("callbacks: BackupAndRestore", lambda: {"callbacks": [keras.callbacks.BackupAndRestore("b")]}, "BackupAndRestore", "Leave it out")

# The checkpoint directory; `file` is a file.
for value in ("", " ", None, 5, b"run", ["run"], "a\0b"):
    bad(f"checkpoint_dir={value!r}", lambda value=value: {"checkpoint_dir": value}, f"checkpoint_dir={value!r}", "must be a path")
bad("checkpoint_dir: a bucket", lambda: {"checkpoint_dir": "gs://bucket/run"}, "'gs://bucket/run' is an address", "mounted")
bad("checkpoint_dir: a file", lambda: {"checkpoint_dir": "file"}, "checkpoint_dir='file'", "is a file", "another name")
bad("checkpoint_dir: in a file", lambda: {"checkpoint_dir": "file/run"}, "checkpoint_dir='file/run'", "'file' is a file")
bad("checkpoint_dir: too long a name", lambda: {"checkpoint_dir": "a" * 300}, "can't be read: File name too long")
bad("checkpoint_dir: persistent in a file", lambda: {"checkpoint_dir": exactrun.Checkpoints("new", persistent="file/run")}, "'file' is a file")

# Functions of the epoch.
for name, (function, *words) in {
    "no data set": (lambda epoch: [1], "x(0) returned list", "tf.data.Dataset"),
    "nothing": (lambda epoch: None, "x(0) returned NoneType", "tf.data.Dataset"),
    "a generator": (lambda epoch: (row for row in X), "x(0) returned generator"),
    "without end": (lambda epoch: batches().repeat(), "x(0) has no end", ".take(steps)"),
    "of unknown length": (lambda epoch: batches().filter(lambda *_: True), "how many batches", "assert_cardinality"),
    "empty": (lambda epoch: batches(X[:0], Y[:0]), "is empty"),
    "takes nothing": (lambda: batches(), "x(0) raised TypeError", "takes the epoch"),
    "raises": (lambda epoch: 1 / 0, "x(0) raised ZeroDivisionError", "takes the epoch"),
    "raises later": (lambda epoch: batches() if not epoch else 1 / 0, "x(1) raised ZeroDivisionError"),
    "nothing later": (lambda epoch: None if epoch else batches(), "x(1) returned NoneType"),
    "fewer batches later": (lambda epoch: batches(X[: 8 - 4 * epoch], Y[: 8 - 4 * epoch]), "x(1) returned 1 batches", "x(0) 2", "same number"),
    "another form later": (lambda epoch: batches(X[:, epoch:]), "x(1) returned 2 batches", "(None, 2)", "same form"),
    "single examples": (lambda epoch: tf.data.Dataset.from_tensor_slices((X, Y)), "x(0) gives (3,), (1,)", ".batch(32)"),
    "numbers": (lambda epoch: tf.data.Dataset.range(8), "x(0) gives ()", ".batch(32)"),
    "ragged": (lambda epoch: tf.data.Dataset.from_tensors(tf.ragged.constant([[1.0], [2.0, 3.0]])), "RaggedTensors", ".padded_batch(32)"),
    "four parts": (lambda epoch: tf.data.Dataset.from_tensor_slices((X, Y, W, W)).batch(4), "4 parts"),
    "no targets": (lambda epoch: tf.data.Dataset.from_tensor_slices(X).batch(4), "y is missing"),
    "too wide": (lambda epoch: batches(np.zeros((ROWS, 4))), MISFIT, "x (None, 4)"),
    "targets too wide": (lambda epoch: batches(y=X), "y has the shape (None, 3)"),
    "texts": (lambda epoch: batches(X.astype(str)), "x holds texts"),
    "a bad file": (lambda epoch: batches().map(lambda x, y: (tf.debugging.check_numerics(x / 0, "bad file"), y)), "bad file"),
}.items():
    bad(f"function: {name}", lambda function=function: {"x": function, "y": None}, *words)
bad("function: and y", lambda: {"x": lambda epoch: batches()}, "x is a function", "leave y and sample_weight out")

# Sources.
for name, (source, *words) in {
    "raises": (lambda: Source(truncated), "Example 3 of x", "photo-3.jpg is truncated", "leave it out"),
    "too long": (lambda: Source(lambda: (X[3], Y[3]), 12), "Example 8 of x", "IndexError", "from 0 to 11"),
    "empty": (lambda: Source(truncated, 0), "x is empty"),
    "another shape": (lambda: Source(lambda: (X[3, :2], Y[3])), "Row 3", "resize or pad"),
    "another type": (lambda: Source(lambda: (X[3].astype(int), Y[3])), "Row 3", "int64", "np.asarray(value, dtype)"),
    "another structure": (lambda: Source(lambda: X[3]), "Row 3", "one structure"),
    "NaN": (lambda: Source(lambda: (X[3] * np.nan, Y[3])), "x holds nan in example 3"),
}.items():
    bad(f"source: {name}", lambda source=source: {"x": source(), "y": None}, *words)
bad("source: and y", lambda: {"x": Source(truncated)}, "x is a source", "leave y and sample_weight out")

# Another run than the finished one, which `line` was trained in.
for name, (given, *words) in {
    "seed": (lambda: {"seed": 1}, "seed: 0 then, 1 now"),
    "batch size": (lambda: {"batch_size": 2}, "batch_size: 4 then, 2 now"),
    "data": (lambda: {"x": X + 1}, "data: '", "' then, '", "' now"),
    "validation data": (lambda: {"validation_data": (X, Y)}, "validation data: 'None' then, '", "' now"),
    "activation": (lambda: {"model": dense(first="tanh")}, "relu' then, ", "tanh' now"),
    "another layer": (lambda: {"model": dense(2), "y": X[:, :2]}, "units: 1 then, 2 now"),
    "frozen layer": (lambda: {"model": dense(trainable=False)}, "trainable: True then, False now"),
    "loss": (lambda: {"model": dense(loss="mae")}, "loss: 'mse' then, 'mae' now"),
    "learning rate": (lambda: {"model": dense(optimizer=optimizers.SGD(0.5))}, "learning_rate: 0.01 then, 0.5 now"),
    "optimizer": (lambda: {"model": dense(optimizer="adam")}, "SGD' then, ", "Adam' now"),
    "metric": (lambda: {"model": dense(metrics=["mae"])}, "metrics", "'nothing' then, 'mae' now"),
    "class weights": (lambda: {"model": classes(), "y": KINDS, "class_weight": {0: 2.0}}, "class_weight", "then, ", "2.0 now"),
    "identity": (lambda: {"identity": {"crop": 24}}, "identity", "then, ", "24 now"),
    "fewer epochs": (lambda: {"epochs": 1}, "epochs=1 is less", "epoch 2", "Set epochs to 2 or more"),
}.items():
    OTHER_RUN[name] = Bad(fit, given, (*words, "checkpoint_dir"))

# Several devices: `line` and all models are built in the scope of two.
bad("devices: own train_step", lambda: {"model": own_step()}, "OwnStep has a train_step of its own", "outside of the strategy's scope", "compute_loss")
bad("devices: jit_compile", lambda: {"model": dense(jit_compile=True)}, "jit_compile=True", "2 devices", "jit_compile='auto'")
bad("devices: accumulated gradients", lambda: {"model": dense(optimizer=optimizers.SGD(gradient_accumulation_steps=2))}, "gradient_accumulation_steps=2", "one device")
bad("devices: averages written back", lambda: {"model": dense(optimizer=optimizers.SGD(use_ema=True, ema_overwrite_frequency=2))}, "ema_overwrite_frequency=2", "one device")
bad("devices: a batch that can't be shared", lambda: {"batch_size": 5}, "Batches of 5", "2 devices", "such as 4")
bad("devices: batches of no fixed size", lambda: {"x": lambda epoch: batches(), "y": None}, "no fixed size", "drop_remainder=True")
bad("devices: validation data too wide", lambda: {"validation_data": (np.zeros((ROWS, 4)), Y)}, MISFIT, "(None, 4)")

RIGHT: dict[str, Callable[[], dict[str, Any]]] = {
    "float64 and bool": lambda: {"x": X.astype(np.float64), "y": Y > 0},
    "targets without their last axis": lambda: {"y": Y[:, 0], "sample_weight": W[:, None]},
    "inputs with a last axis": lambda: {"x": X[..., None]},
    "whole floats as labels": lambda: {"model": classes(), "y": KINDS.astype("f")},
    "labels to be ignored": lambda: {"model": dense(4, "softmax", losses.SparseCategoricalCrossentropy(ignore_class=-1)), "y": spoiled(KINDS, 5, -1)},
    "a weight for each pixel": lambda: {"model": pixels(), "x": PIXELS, "y": MASKS, "sample_weight": MASKS + 1.0},
    "a weight for each column": lambda: {"model": pixels(), "x": PIXELS, "y": MASKS, "sample_weight": np.ones((ROWS, 1, 2))},
    "weights for all outputs": lambda: {"model": three_outputs(), "y": TARGETS, "sample_weight": W},
    "an input that is not used": lambda: {"model": two_inputs(), "x": {"a": X, "b": X[:, :2], "c": X}},
    "one-hot targets with class weights": lambda: {"model": dense(4, "softmax", "categorical_crossentropy"), "y": np.eye(4)[KINDS], "class_weight": {1: 2.0}},
    "an own loss that spreads": lambda: {"model": dense(loss=lambda y, p: ops.mean((y - p) ** 2)), "y": X},
    "settings of NumPy": lambda: {"batch_size": np.int64(4), "seed": np.int32(1), "max_time_secs": np.float32(60)},
    "validation data in a list": lambda: {"validation_data": [X, Y]},
    "columns of shards": lambda: dict(zip(("x", "y"), exactrun.write_shards(list(zip(X, Y, strict=True)), "shards").columns, strict=True)),
    "a source as validation data": lambda: {"validation_data": Source(lambda: (X[3], Y[3]))},
    "a metric of Keras whose state is a sum": lambda: {"model": dense(metrics=[metrics.R2Score()])},
}
# fmt: on

AFTERWARDS = (
    "label: too high",
    "metric: for one-hot targets",
    "outputs: wrong name",
    "validation: one output only",
    "y: one-hot for sparse labels",
)


# --- The tests -------------------------------------------------------------------------------


def tree(directory: Path, *, times: bool = True) -> dict[str, Any]:
    """Return every file's bytes, and when each entry was changed last."""
    found = sorted(directory.rglob("*"))
    return {
        str(path): (path.is_file() and path.read_bytes(), times and path.stat().st_mtime_ns)
        for path in found
    }


@contextmanager
def nothing_happens(directory: Path, *, times: bool) -> Iterator[None]:
    """Fail if a step is made, a callback called, or anything changed in a directory."""
    before, Spy.called = tree(directory, times=times), False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps.Loop, "__call__", lambda *_: pytest.fail("a step was made"))
        patch.chdir(directory)
        yield
    assert not Spy.called, "a callback was called"
    assert tree(directory, times=times) == before


def refused(case: Bad, directory: Path, *places: str, times: bool = True) -> str:
    """Return the message with which a call is refused, in each place, while nothing happens."""
    given: dict[str, Any] = {"model": None, "x": X, "y": Y, "batch_size": 4}
    if case.call is fit:
        given |= {"epochs": 2, "verbose": 0, "callbacks": [Spy()], "checkpoint_dir": "new/run"}
    changes = case.given()
    given |= changes if "model" in changes else {"model": line(), **changes}
    with nothing_happens(directory, times=times), pytest.raises(exactrun.UserError) as caught:
        case.call(**given)
    for place in places:  # the same model again
        given = {**given, "checkpoint_dir": place, **changes}
        with nothing_happens(directory, times=times), pytest.raises(exactrun.UserError):
            case.call(**given)
    return str(caught.value)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: Any) -> Path:
    """Return the directory of a finished run."""
    directory: Path = tmp_path_factory.mktemp("finished") / "run"
    fit(line(), X, Y, batch_size=4, epochs=2, verbose=0, checkpoint_dir=directory)
    return directory


@pytest.fixture
def place(tmp_path: Path, finished: Path) -> Path:
    """Return a directory with a copy of the finished run and a file."""
    shutil.copytree(finished, tmp_path / "finished")
    (tmp_path / "file").write_text("no directory")
    return tmp_path


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_words_and_nothing_happens(name: str, place: Path) -> None:
    message = refused(BAD[name], place, *(["finished"] if BAD[name].call is fit else []))
    assert not [word for word in BAD[name].words if word not in message], message


@pytest.mark.parametrize("name", OTHER_RUN)
def test_another_run_is_refused_with_both_values(name: str, place: Path) -> None:
    run = Bad(fit, lambda: {"checkpoint_dir": "finished", **OTHER_RUN[name].given()}, ())
    message = refused(run, place)
    assert not [word for word in OTHER_RUN[name].words if word not in message], message


@pytest.mark.parametrize("name", RIGHT)
def test_right_input_is_taken(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    class FirstStep(BaseException):
        """It is reached, so that nothing was refused."""

    def first_step(*_: Any) -> None:
        raise FirstStep

    monkeypatch.setattr(steps.Loop, "__call__", first_step)
    monkeypatch.chdir(tmp_path)
    given = {"model": dense(), "x": X, "y": Y, "batch_size": 4, **RIGHT[name]()}
    with pytest.raises(FirstStep):
        fit(**given, verbose=0, checkpoint_dir="run")
    kept = ("model", "x", "y", "sample_weight")
    with pytest.raises(FirstStep):
        evaluate(**{key: given[key] for key in kept if key in given})


@pytest.mark.thorough
@pytest.mark.parametrize("name", AFTERWARDS)
def test_a_model_that_was_refused_learns_what_a_new_one_does(name: str, tmp_path: Path) -> None:
    def learned(directory: Path, *, after: bool) -> list[np.ndarray]:
        keras.utils.set_random_seed(3)
        given = BAD[name].given()
        model = given["model"] = given.get("model") or dense()
        if after:
            refused(Bad(fit, lambda: given, ()), tmp_path)
        outputs = [output.shape[-1] for output in model.outputs]
        y = TARGETS if len(outputs) == 3 else KINDS if outputs == [4] else Y
        if name.startswith("metric"):
            y = np.eye(4, dtype=np.float32)[KINDS]
            model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
        fit(model, X, y, batch_size=4, verbose=0, checkpoint_dir=directory)
        return [np.asarray(value) for value in model.get_weights()]

    new = learned(tmp_path / "new-model", after=False)
    refused_before = learned(tmp_path / "refused-before", after=True)
    for one, other in zip(new, refused_before, strict=True):
        np.testing.assert_array_equal(one, other)


@contextmanager
def mounted(directory: Path, options: str) -> Iterator[Path]:
    """Mount a small file system of its own, which takes root."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a disk that is full or can't be written takes root, to mount one")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.parametrize(
    "name",
    [
        "read-only",
        "nearly full",
        "full",
        "full, with a run",
        "read-only as the persistent one",
    ],
)
def test_a_disk_that_can_not_be_written_is_refused(
    name: str, tmp_path: Path, finished: Path
) -> None:
    with mounted(tmp_path / "disk", "size=256k") as disk:
        given: dict[str, Any] = {"checkpoint_dir": disk / "new" / "run"}
        if name == "full, with a run":
            given = {"checkpoint_dir": shutil.copytree(finished, disk / "run"), "epochs": 3}
            words = ["can't be written", "it is full"]
        elif name.startswith("read-only"):
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            words = ["can't be written", "it can only be read"]
            if name.endswith("persistent one"):
                local = tmp_path / "new" / "run"
                given = {"checkpoint_dir": exactrun.Checkpoints(local, persistent=disk / "run")}
        else:
            given["model"] = chain((3,), layers.Dense(999), layers.Dense(1))
            words = ["free, but saving checkpoints of this model needs 80.0kB"]
        if "full" in name:
            left = 8192 if name == "nearly full" else 0
            (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - left))
        # Only an attempt shows whether a directory can be written; it must leave nothing behind.
        message = refused(Bad(fit, lambda: given, ()), tmp_path, times=False)
        assert not [word for word in [str(disk), *words] if word not in message], message


@pytest.mark.thorough
def test_what_several_devices_can_not_do_is_refused(tmp_path: Path) -> None:
    program = "import test_bad_input; test_bad_input.print_messages_of_two_devices()"
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert not run.returncode, run.stderr
    messages = json.loads(run.stdout.splitlines()[-1])
    for name, case in ON_TWO_DEVICES.items():
        assert not [word for word in case.words if word not in messages[name]], messages[name]


def print_messages_of_two_devices() -> None:
    """Refuse each case on two devices; for a process that has not used TensorFlow yet."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, parts)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        print(
            json.dumps({name: refused(case, Path.cwd()) for name, case in ON_TWO_DEVICES.items()})
        )
