"""A run is never mixed with another one, and never refused for nothing."""

from __future__ import annotations

import enum
import functools
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import BATCH, CASES, X, make
from keras import layers

import exactrun
from exactrun.batches import EvaluationBatches
from exactrun.checks import build
from exactrun.identity import describe, describe_compile, describe_model, differences
from exactrun.sources import as_examples

Y = np.zeros((len(X), 1), np.float32)


@dataclass(frozen=True)
class Settings:
    learning_rate: float = 0.1
    layers: tuple[int, ...] = (3, 4)


def model_with(
    activation: Any = "relu",
    *,
    units: int = 4,
    loss: Any = "mse",
    rate: float = 0.1,
    metrics: Any = None,
    last: Any = None,
) -> keras.Model:
    inputs = keras.Input((6,))
    hidden = layers.Dense(units, activation=activation)(inputs)
    model = keras.Model(inputs, (last or layers.Dense(1))(hidden))
    model.compile(keras.optimizers.SGD(rate), loss, metrics=metrics)
    return model


def double(x: Any) -> Any:
    """Return twice as much."""
    return x * 2


def triple(x: Any) -> Any:
    return x * 3


class Scaled(layers.Layer):
    def call(self, x: Any) -> Any:
        return keras.ops.sum(x, axis=-1, keepdims=True) * 2


def scaled_otherwise() -> layers.Layer:
    class Scaled(layers.Layer):
        def call(self, x: Any) -> Any:
            return keras.ops.sum(x, axis=-1, keepdims=True) * 3

    return Scaled()


def scaled_by(factor: int) -> layers.Layer:
    """Return a layer of a class that has the same name whatever it does."""
    code = (
        "class Sum(layers.Layer):\n"
        "    def call(self, x):\n"
        f"        return keras.ops.sum(x, axis=-1, keepdims=True) * {factor}\n"
    )
    scope: dict[str, Any] = {"__name__": "a_notebook", "keras": keras, "layers": layers}
    exec(code, scope)
    made: layers.Layer = scope["Sum"]()
    return made


def frozen() -> keras.Model:
    model = model_with()
    model.layers[1].trainable = False
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


CHANGES: dict[str, tuple[Callable[[], keras.Model], dict[str, Any], list[str]]] = {
    "activation": (lambda: model_with("tanh"), {}, ["activation: 'relu' then, 'tanh' now"]),
    "own activation": (lambda: model_with(double), {}, ["activation"]),
    "units": (lambda: model_with(units=5), {}, ["units: 4 then, 5 now"]),
    "loss": (lambda: model_with(loss="mae"), {}, ["compile.loss: 'mse' then, 'mae' now"]),
    "learning rate": (lambda: model_with(rate=0.2), {}, ["learning_rate: 0.1", "then, 0.2"]),
    "metrics": (
        lambda: model_with(metrics=["mae"]),
        {},
        ["compile.metrics[0]: 'nothing' then, 'mae' now"],
    ),
    "frozen": (frozen, {}, ["trainable: True then, False now"]),
    "own layer": (lambda: model_with(last=Scaled()), {}, ["Scaled"]),
    "seed": (model_with, {"seed": 3}, ["seed: 0 then, 3 now"]),
    "batch size": (model_with, {"batch_size": 8}, ["batch_size: 16 then, 8 now"]),
    "settings": (
        model_with,
        {"identity": Settings(0.2)},
        ["identity.learning_rate: 0.1 then, 0.2 now"],
    ),
    "class weight": (model_with, {"class_weight": {0: 2.0}}, ["class_weight"]),
    "data": (model_with, {"x": X + 1}, ["data: "]),
    "validation": (model_with, {"validation_data": (X, Y)}, ["validation data: 'None' then"]),
}


def fit(model: keras.Model, directory: Path, **options: Any) -> exactrun.History:
    given = {"x": X, "y": Y, "identity": Settings(), "batch_size": BATCH, "verbose": 0, **options}
    return exactrun.fit(model, given.pop("x"), given.pop("y"), checkpoint_dir=directory, **given)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(0)
    directory = tmp_path_factory.mktemp("run")
    fit(model_with(), directory)
    return directory


@pytest.mark.parametrize("name", CHANGES)
def test_another_run_is_refused_with_both_values_and_nothing_changes(name: str, run: Path) -> None:
    build, options, words = CHANGES[name]
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(exactrun.UserError, match="was started with something else") as raised:
        fit(build(), run, **options)
    for word in words:
        assert word in str(raised.value)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_another_release_is_refused_by_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from exactrun import fitting

    monkeypatch.setattr(fitting, "__version__", "0.2.0")
    with pytest.raises(exactrun.UserError, match=r"library: '0\.1\.0' then, '0\.2\.0' now"):
        fit(model_with(), run)


def test_fewer_epochs_than_trained_are_refused(tmp_path: Path) -> None:
    fit(model_with(), tmp_path, epochs=3)
    with pytest.raises(
        exactrun.UserError, match="epochs=2 is less than the run .* it is in epoch 3"
    ):
        fit(model_with(), tmp_path, epochs=2)


def test_a_model_built_again_is_the_same_run_whatever_its_layers_are_numbered(run: Path) -> None:
    for _ in range(3):
        model_with()
    assert fit(model_with(), run).finished


def test_a_model_that_was_first_called_on_another_batch_is_the_same_run() -> None:
    one, other = (keras.Sequential([layers.Dense(3), layers.Dense(1)]) for _ in range(2))
    one(X[:5])
    other.build((None, 6))
    assert differences(describe_model(one), describe_model(other)) == []


ARGUMENTS: dict[str, Any] = {
    **{"axes": 1, "bin_boundaries": [0.0, 1.0], "cropping": 1, "dims": (1,), "factor": 0.2},
    **{"filters": 3, "function": lambda x: x * 2, "groups": 1, "head_dim": 2, "height": 4},
    **{"height_factor": 0.1, "input_dim": 10, "kernel_size": 2, "key_dim": 2, "max_value": 1},
    **{"n": 2, "num_bins": 4, "num_heads": 2, "num_key_value_heads": 2, "num_query_heads": 2},
    **{"num_tokens": 8, "output_dim": 4, "output_size": 2, "padding": 1, "pool_size": 2},
    **{"rate": 0.3, "scale": 2.0, "size": 2, "stddev": 0.1, "target_shape": (-1,), "units": 3},
    **{"width": 4, "width_factor": 0.1, "activation": "softmax", "dropout": 0.2, "seed": 1},
}
"""Of Keras' layers: those that they demand, and some whose names or values are layers' names."""

SHAPES = ((4,), (6, 4), (8, 8, 3), (4, 8, 8, 3))

USUAL = ("activation", "dropout", "seed", "num_tokens", "num_bins")
"""Arguments that are given though a layer does not demand them."""


MERGING = (
    *(layers.Add, layers.Average, layers.Concatenate, layers.Maximum, layers.Minimum),
    *(layers.Multiply, layers.Subtract, layers.Dot, layers.Attention, layers.AdditiveAttention),
)


def layer_of(kind: type) -> layers.Layer:
    if kind in (layers.Bidirectional, layers.TimeDistributed, layers.SpectralNormalization):
        return kind(layers.GRU(3) if kind is layers.Bidirectional else layers.Dense(3))
    wanted = {
        name: ARGUMENTS[name]
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if name in ARGUMENTS and (parameter.default is parameter.empty or name in USUAL)
    }
    return kind(**wanted)


def model_of(kind: type, shape: tuple[int, ...]) -> keras.Model:
    layer, inputs = layer_of(kind), keras.Input(shape)
    if kind in MERGING:
        hidden = layer([inputs, inputs])
    elif "Attention" in kind.__name__:
        hidden = layer(inputs, inputs)
    else:
        hidden = layer(inputs)
    hidden = layers.Dropout(0.2)(layers.Flatten()(keras.ops.cast(hidden, "float32")))
    return keras.Model(inputs, layers.Softmax()(layers.Dense(2)(hidden + 1.0)))


@pytest.mark.thorough
def test_a_model_of_each_of_keras_layers_is_the_same_run_when_it_is_built_again() -> None:
    compared = set()
    for name, kind in vars(layers).items():
        for shape in SHAPES if isinstance(kind, type) and issubclass(kind, layers.Layer) else ():
            try:
                one, again = model_of(kind, shape), model_of(kind, shape)
            except (ImportError, LookupError, NotImplementedError, TypeError, ValueError):
                continue  # it takes another shape, or what a table or this machine can't give
            assert differences(describe_model(one), describe_model(again)) == [], name
            compared.add(name)
            break
    assert len(compared) > 120


class Of(enum.IntEnum):
    TWO = 2


def test_numbers_of_numpys_are_the_same_run_in_a_later_session(tmp_path: Path) -> None:
    # As scikit-learn's compute_class_weight gives them.
    weights = {0: np.float64(0.55), 1: np.float32(5.5)}
    settings = {
        "rate": np.float64(0.1),
        "sizes": [np.int64(3)],
        "name": np.str_("first"),
        "of": Of.TWO,
    }
    for epochs in (1, 2):
        found = fit(
            model_with(), tmp_path, class_weight=weights, identity=settings, epochs=epochs, y=Y
        )
    assert found.resumed_from == 4


def test_a_learning_rate_that_callbacks_changed_is_the_same_run(tmp_path: Path) -> None:
    # As in a notebook: the same model, trained by a cell that is run again.
    model = model_with()
    slower = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    fit(model, tmp_path, epochs=2, callbacks=[slower])
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(0.025)
    assert fit(model, tmp_path, epochs=3, callbacks=[slower]).resumed_from == 8
    # Set by the user, it is another run.
    model.optimizer.learning_rate = 0.7
    with pytest.raises(exactrun.UserError, match="learning_rate"):
        fit(model, tmp_path, epochs=3, callbacks=[slower])


def identities() -> dict[str, Any]:
    found = {}
    for name in CASES:
        case = make(name, noise=True)
        build(case.model, _specs(case), "x")
        found[name] = [describe_model(case.model), describe_compile(case.model)]
    return found


def _specs(case: Any) -> Any:
    return EvaluationBatches(as_examples(case.data), batch_size=4).specs()


@pytest.mark.thorough
def test_every_case_has_the_same_identity_in_another_process() -> None:

    code = "import json, test_identity as t; print(json.dumps(t.identities()))"
    here = Path(__file__).parent
    env = os.environ | {
        "PYTHONPATH": f"{here.parent / 'src'}{os.pathsep}{here}",
        "PYTHONHASHSEED": "7",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env
    )
    own = json.loads(json.dumps(identities()))
    printed, _ = process.communicate(timeout=300)
    other = json.loads(printed.splitlines()[-1])
    assert own.keys() == other.keys()
    for name in own:
        assert differences(own[name], other[name]) == [], name


def test_the_order_of_a_set_in_a_functions_code_is_no_matter() -> None:
    # Of texts it is another one in each process; of numbers that collide, the one they came in.
    one, other = (eval(f"lambda x: x in {{{names}}}") for names in ("0, 8", "8, 0"))
    assert [*map(repr, one.__code__.co_consts)] != [*map(repr, other.__code__.co_consts)]
    assert describe(one) == describe(other)


def test_functions_are_told_apart_by_what_they_do() -> None:
    def closed(factor: float) -> Callable[[Any], Any]:
        return lambda x: x * factor

    assert describe(double) != describe(triple)
    assert describe(closed(2.0)) != describe(closed(3.0))
    assert describe(closed(2.0)) == describe(closed(2.0))
    assert describe(Scaled()) != describe(scaled_otherwise())
    one, same, other = (describe_model(model_with(last=scaled_by(n))) for n in (2, 2, 3))
    assert differences(one, same) == []
    assert len(differences(one, other)) == 1
    scope: dict[str, Any] = {"__name__": "a_notebook"}
    exec("\n\n\ndef double(x):\n    'Another docstring, on other lines.'\n    return x * 2", scope)
    assert describe(double)["code"] == describe(scope["double"])["code"]


class Weighted(keras.losses.Loss):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self._weight = weight

    def call(self, y: Any, predicted: Any) -> Any:
        return self._weight * keras.ops.mean((y - predicted) ** 2, axis=-1)


class Callable_:
    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, y: Any, predicted: Any) -> Any:
        return self.weight * keras.ops.mean((y - predicted) ** 2, axis=-1)


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, step: Any) -> Any:
        return self.rate / (1.0 + keras.ops.cast(step, "float32"))


class Sparse(keras.regularizers.Regularizer):
    def __init__(self, strength: float) -> None:
        self.strength = strength

    def __call__(self, kernel: Any) -> Any:
        return self.strength * keras.ops.sum(keras.ops.abs(kernel))


class Table(layers.Layer):
    def __init__(self, table: np.ndarray) -> None:  # Keras can't tell it
        super().__init__()
        self.table = table

    def call(self, x: Any) -> Any:
        return keras.ops.sum(x * self.table, axis=-1, keepdims=True)


class Times(keras.Model):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.last = factor, layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.factor * self.last(x)


def times(factor: float) -> keras.Model:
    model = Times(factor)
    model.compile("sgd", "mse")
    model(X)
    return model


def scheduled(rate: float) -> keras.Model:
    model = model_with()
    model.compile(keras.optimizers.Adam(Schedule(rate)), "mse")
    return model


def multiplied(factor: float) -> layers.Layer:
    return layers.Lambda(functools.partial(keras.ops.multiply, factor))


def closed_over(content: Any) -> Any:
    return lambda y, predicted, *, also=1.0: keras.ops.mean((y - predicted) ** 2) * content


def reading(code: str, factor: float) -> Any:
    """Return a notebook's function `used`, which reads its global `factor`."""
    scope: dict[str, Any] = {"__name__": "a_notebook", "tf": tf, "factor": factor}
    exec(code, scope)
    return scope["used"]


def of_class(weight: float) -> keras.losses.Loss:
    class Weighted(Callable_):
        scale = weight

        def call(self, y: Any, predicted: Any) -> Any:
            return self.scale * keras.ops.mean((y - predicted) ** 2, axis=-1)

    return Weighted(1.0)


READS = "def used(y, predicted):\n    return factor * tf.reduce_mean((y - predicted) ** 2)"
CALLS = f"{READS.replace('used', 'inner')}\ndef used(y, predicted):\n    return inner(y, predicted)"
TRACED = f"@tf.function\n{READS}"
ACTIVATES = "used = lambda x: x * factor"


def with_default(weight: float) -> Any:
    return lambda y, predicted, *, weight=weight: keras.ops.mean(y - predicted) * weight


HELD: dict[str, Callable[[float], keras.Model]] = {
    "a loss without a configuration": lambda n: model_with(loss=Weighted(n)),
    "a loss that is an object": lambda n: model_with(loss=Callable_(n)),
    "a loss that is a partial": lambda n: model_with(loss=functools.partial(with_default(1), n)),
    "a loss closed over a function": lambda n: model_with(loss=closed_over(closed_over(n))),
    "a loss closed over an array": lambda n: model_with(loss=closed_over(np.array([n]))),
    "a loss closed over a tensor": lambda n: model_with(loss=closed_over(tf.constant([n]))),
    "a loss with a default": lambda n: model_with(loss=with_default(n)),
    "a loss with a value of its class": lambda n: model_with(loss=of_class(n)),
    "a loss that reads a global": lambda n: model_with(loss=reading(READS, n)),
    "a loss whose function reads a global": lambda n: model_with(loss=reading(CALLS, n)),
    "a loss by tf.function": lambda n: model_with(loss=reading(TRACED, n)),
    "an activation that reads a global": lambda n: model_with(reading(ACTIVATES, n)),
    "a Lambda": lambda n: model_with(last=layers.Lambda(reading(ACTIVATES, n))),
    "a schedule without a configuration": scheduled,
    "a regularizer": lambda n: model_with(last=layers.Dense(1, kernel_regularizer=Sparse(n))),
    "a layer with an array": lambda n: model_with(last=Table(np.full(4, n, np.float32))),
    "a subclassed model": times,
    "a layer of a partial": lambda n: model_with(last=multiplied(n)),
}


@pytest.mark.parametrize("name", HELD)
def test_what_a_users_own_objects_hold_is_part_of_a_run(name: str) -> None:
    def found(number: float) -> Any:
        model = HELD[name](number)
        return {"model": describe_model(model), "compile": describe_compile(model)}

    assert differences(found(1.0), found(1.0)) == []
    assert differences(found(1.0), found(2.0)) != []


def test_a_global_that_a_function_sets_itself_is_no_part_of_a_run() -> None:
    counting = "def used(y, predicted):\n    global factor\n    factor += 1\n    return factor * y"
    assert describe(reading(counting, 1.0)) == describe(reading(counting, 2.0))


def test_functions_that_call_each_other_are_described_once() -> None:
    scope: dict[str, Any] = {"__name__": "a_notebook"}
    exec("def one(x):\n    return other(x)\ndef other(x):\n    return one(x)", scope)
    first = describe(scope["one"])
    scope["known"] = [scope["one"], functools.partial(scope["other"], 1)]
    exec("def other(x):\n    return known[x]", scope)
    assert describe(scope["one"]) == describe(scope["one"]) != first


def test_layers_are_compared_though_one_has_no_configuration() -> None:
    def found(activation: str) -> Any:
        return describe_model(model_with(activation, last=multiplied(1.0)))

    assert differences(found("relu"), found("relu")) == []
    assert "activation: 'relu' then, 'tanh' now" in differences(found("relu"), found("tanh"))[0]


def test_values_of_an_identity_are_told_apart_and_hold_no_addresses() -> None:
    for one, same, other in [
        (Path("/a/x"), Path("/a/x"), Path("/b/x")),
        (Callable_(1.0), Callable_(1.0), Callable_(2.0)),
        *[[np.array([f"{n}-{i}" for i in range(20)], object) for n in (1, 1, 2)]],
    ]:
        assert describe(one) == describe(same) != describe(other)
    assert describe(SimpleNamespace(f=with_default(1))) == describe(
        SimpleNamespace(f=with_default(1))
    )

    def calls_itself(n: int) -> int:
        return calls_itself(n - 1)

    assert describe(calls_itself)["code"]


def test_code_is_not_compared_between_versions_of_python() -> None:
    one = {"python": "3.12", "model": {"code": {"f": "abc"}, "units": 3}}
    other = {"python": "3.13", "model": {"code": {"f": "xyz"}, "units": 3}}
    assert differences(one, other) == []
    assert differences(one, other | {"python": "3.12"}) != []


def test_a_saved_model_holds_no_optimizer(tmp_path: Path) -> None:
    inputs = keras.Input((100,))
    model = keras.Model(inputs, layers.Dense(100)(inputs))
    model.compile("adam", "mse")
    fit_x = np.zeros((32, 100), np.float32)
    exactrun.fit(model, fit_x, fit_x, verbose=0, checkpoint_dir=tmp_path / "run")
    path = exactrun.save_model(model, tmp_path / "model.keras")
    assert path.stat().st_size < 2 * 4 * model.count_params()
    assert model.optimizer is not None
    loaded = keras.saving.load_model(path)
    np.testing.assert_array_equal(loaded.predict(fit_x, verbose=0), model.predict(fit_x, verbose=0))
    with pytest.raises(exactrun.UserError, match=r"has to end in \.keras, such as"):
        exactrun.save_model(model, tmp_path / "model.h5")
