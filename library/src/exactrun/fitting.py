"""Keras' `fit`, killed at any instant, ending with the same bits."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from .batches import DatasetBatches, EvaluationBatches, ExampleBatches, as_data
from .callbacks import Callbacks, History, check_callbacks
from .checkpoints import Checkpoints
from .checks import (
    as_arrays,
    build,
    check_batch_size,
    check_class_weight,
    check_dataset,
    check_evaluation,
    check_model,
    check_settings,
    check_trainable,
    check_values,
    misfits_told,
    part_names,
    unreadable_told,
)
from .distribution import Devices
from .errors import UserError
from .examples import Examples
from .identity import (
    describe,
    describe_compile,
    describe_model,
    python_version,
    remember_learning_rates,
)
from .sources import as_examples
from .steps import Meter, check_metrics
from .training import CHECKED_EXAMPLES, Training
from .version import __version__

Source = Examples | Callable[[int], tf.data.Dataset] | Any


def fit(
    model: keras.Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    validation_data: Any = None,
    batch_size: int = 32,
    epochs: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    class_weight: Mapping[int, float] | None = None,
    verbose: int | str = "auto",
    seed: int = 0,
    checkpoint_dir: str | os.PathLike[str] | Checkpoints,
    save_interval_secs: float = 60.0,
    max_to_keep: int = 2,
    max_time_secs: float | None = None,
    identity: Any = None,
) -> History:
    """Train a compiled model to the last epoch, going on from its newest checkpoint.

    It does what `model.fit` does, in the same steps and with the same numbers. Besides, it saves
    the whole state in a thread: weights, optimizer, random numbers, callbacks, history, and the
    place in the data. A session that was killed at any instant is run again, with the same call,
    and goes on from the step of the newest checkpoint that verifies. On the same machine it ends
    with the very bits of a run that was never interrupted.

    Examples are shuffled every epoch, in an order that follows from `seed`. Those that don't fill
    a last batch wait for another epoch; in validation none is left out.

    Args:
        model: Compiled. Built in the scope of a `tf.distribute` strategy, it trains on its devices.
        x: Inputs: an array of shape (examples, ...), or a nested structure of arrays. Or a source:
            anything with a length whose `[index]` is an example `(x, y)` or `(x, y, weight)`, such
            as `exactrun.open_shards`. Or a function that takes the epoch, from 0 on, and returns
            a `tf.data.Dataset` of batches, always the same for the same epoch.
        y: Targets, as for `x`; None if `x` is a source or a function.
        sample_weight: Weights, shape (examples,), or a structure of them.
        validation_data: `(x, y)` or `(x, y, sample_weight)`, a source, or a `tf.data.Dataset`;
            measured after each epoch.
        batch_size: Examples per step, of all devices together, also in validation.
        epochs: Of the whole run; a run may become longer, by a later call with more.
        callbacks: Of Keras. What they hold is saved and restored.
        class_weight: Weight of each class index.
        verbose: 0, 1, 2 or "auto", as in Keras.
        seed: Of the order of the examples. The random numbers of the model's layers come from
            `keras.utils.set_random_seed`, to be called before it is built.
        checkpoint_dir: Where checkpoints are written: a directory that outlives the session, or
            `exactrun.Checkpoints`, for a local and a persistent one.
        save_interval_secs: Seconds between two checkpoints, which is what a kill can cost.
        max_to_keep: How many checkpoints stay.
        max_time_secs: Seconds after which to save and return; None: no limit.
        identity: What else makes this run what it is, such as a dataclass of settings; a run with
            another identity is not mixed with it.

    Returns:
        Keras' `History` of all sessions, with `resumed_from`, `stopped_by`, `finished`, `unsaved`.

    Raises:
        UserError: If anything can't be trained on, before any time is spent; if the checkpoints
            belong to another run, naming what differs; if the loss is no longer a number.
        KeyboardInterrupt: After SIGINT, such as a notebook's *Interrupt*, when all is saved.
        SystemExit: After SIGTERM, when all is saved; its code is 143.

    Example:
        >>> keras.utils.set_random_seed(0)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> x, y = np.ones((64, 4)), np.zeros((64, 1))
        >>> history = exactrun.fit(model, x, y, epochs=2, verbose=0, checkpoint_dir=directory)
        >>> history.finished, history.epoch
        (True, [0, 1])
    """
    check_settings(
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        save_interval_secs=save_interval_secs,
        max_time_secs=max_time_secs,
        verbose=verbose,
    )
    _require_model(model)
    devices = Devices(model.distribute_strategy)
    with devices.losses_told():
        with devices.faults_told():
            own = check_callbacks(callbacks)
            check_model(model, replicas=devices.replicas, training=True)
            checkpoints = _checkpoints(checkpoint_dir, max_to_keep)
            batches = _training_batches(
                x, y, sample_weight, model, batch_size, epochs, seed=seed, class_weight=class_weight
            )
            evaluation = test = None
            if validation_data is not None:
                parts = _parts(validation_data)
                evaluation = _evaluation_batches(*parts, batch_size, "validation_data")
            whole = {
                "python": python_version(),
                "library": __version__,
                "compile": describe_compile(model),
                "precision": f"{keras.config.floatx()}, {model.dtype_policy.name}",
                "data": batches.fingerprint,
                "validation data": evaluation and evaluation.fingerprint,
                "batch_size": batches.batch_size,
                "seed": int(seed),
                "class_weight": describe(class_weight),
                "identity": describe(identity),
            }
        devices.require_identical(whole)
        with devices.faults_told():
            build(model, batches.specs(None), "x")
            check_batch_size(batches, devices)
            check_trainable(model)
            check_values(model, batches, "x")
            if evaluation is not None:
                test = check_evaluation(model, devices, evaluation, "validation_data")
            whole["model"] = describe_model(model)
        with misfits_told(model, batches.specs(None), "x"):
            training = Training(
                model,
                batches,
                evaluation,
                test,
                devices=devices,
                checkpoints=checkpoints,
                identity=whole,
                epochs=int(epochs),
                save_interval_secs=float(save_interval_secs),
                verbose=verbose,
            )
        try:
            told = Callbacks(
                own,
                model=model,
                devices=devices,
                epochs=int(epochs),
                steps=batches.steps_per_epoch,
                verbose=verbose,
            )
            return training.run(told, max_time_secs=max_time_secs)
        finally:
            remember_learning_rates(model)


def evaluate(
    model: keras.Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int = 32,
) -> dict[str, Any]:
    """Measure a compiled model's loss and metrics on all examples.

    The same weights give the same digits, whatever was trained before and on however many devices:
    what each batch adds is summed in float64. For predictions, call `model.predict`.

    Args:
        model: Compiled.
        x: As in `fit`; or a `tf.data.Dataset` of batches.
        y: As in `fit`.
        sample_weight: As in `fit`.
        batch_size: Examples per step.

    Returns:
        The value of each metric by its name, the loss first.

    Raises:
        UserError: If the data don't fit the model, or hold what is no number.

    Example:
        >>> exactrun.evaluate(model, np.ones((10, 4)), np.zeros((10, 1))).keys()
        dict_keys(['loss'])
    """
    check_settings(batch_size=batch_size, save_interval_secs=0)
    _require_model(model)
    devices = Devices(model.distribute_strategy)
    with devices.losses_told(), devices.faults_told():
        check_model(model, replicas=devices.replicas, training=False)
        batches = _evaluation_batches(x, y, sample_weight, batch_size, "x")
        loop = check_evaluation(model, devices, batches, "x")
        state = [(variable, variable.numpy()) for variable in model.non_trainable_variables]

        def reset() -> None:
            for variable, value in state:
                variable.assign(value)

        with misfits_told(model, batches.specs(), "x"):
            check_metrics(model, Meter(model), devices, batches.first(CHECKED_EXAMPLES), reset)
            reset()
            return loop.evaluate(batches)


def _require_model(model: Any) -> None:
    if keras.config.backend() != "tensorflow":
        raise UserError(
            f"Keras runs on {keras.config.backend()}; exactrun needs TensorFlow. Set the"
            " environment variable KERAS_BACKEND=tensorflow before keras is imported."
        )
    if not isinstance(model, keras.Model):
        what = f"the class {model.__name__}" if isinstance(model, type) else type(model)
        raise UserError(f"model is {what}; it must be a keras.Model, built and compiled.")


def _checkpoints(given: Any, max_to_keep: int) -> Checkpoints:
    if isinstance(given, Checkpoints):
        found = given
        if max_to_keep != 2:
            raise UserError(
                "checkpoint_dir is exactrun.Checkpoints, which has a max_to_keep of its own: give"
                f" {max_to_keep!r} there."
            )
    else:
        path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
        if not isinstance(path, str) or not path.strip() or "\0" in path:
            raise UserError(
                f"checkpoint_dir={given!r} must be a path, such as 'checkpoints/first-run', or"
                " exactrun.Checkpoints."
            )
        if "://" in path:
            raise UserError(
                f"checkpoint_dir={path!r} is an address; it must be a directory of this machine,"
                " such as a mounted Drive or bucket."
            )
        found = Checkpoints(Path(os.path.expanduser(path)), max_to_keep=max_to_keep)
    for place in found.places:
        if file := next((p for p in (place, *place.parents) if os.path.isfile(p)), None):
            raise UserError(
                f"checkpoint_dir={str(place)!r} can't be a directory: {str(file)!r} is a file."
                " Choose another name, or move the file away."
            )
    return found


def _training_batches(
    x: Any,
    y: Any,
    sample_weight: Any,
    model: keras.Model,
    batch_size: int,
    epochs: int,
    *,
    seed: int,
    class_weight: Any,
) -> ExampleBatches | DatasetBatches:
    if isinstance(x, tf.data.Dataset):
        raise UserError(
            "x is a tf.data.Dataset, which can't be gone on with in the middle. Give a function"
            " that takes the epoch and returns the data set: def batches(epoch): return"
            " data.shuffle(10_000, seed=epoch).batch(32)"
        )
    if callable(x) and not hasattr(x, "__getitem__"):
        _require_alone(y, sample_weight, "x is a function")
        if class_weight is not None:
            raise UserError(
                "class_weight can't be used with a function of the epoch: let its data set give"
                " (x, y, sample_weight)."
            )
        function = _function(x)
        batches = DatasetBatches(function)
        if epochs > 1:
            _check_second_epoch(function, batches)
        return batches
    if hasattr(x, "__next__") or (hasattr(x, "__iter__") and not hasattr(x, "__getitem__")):
        raise UserError(
            f"x is a {type(x).__name__}, which can be read once and not be gone on with. Write it"
            " to shards, exactrun.write_shards(x, directory), or give a function that takes the"
            " epoch and returns a tf.data.Dataset."
        )
    examples = _examples(x, y, sample_weight, "x")
    with unreadable_told(examples, "x"):
        check_class_weight(class_weight, model, as_data(examples[0]))
        return ExampleBatches(
            examples, batch_size=int(batch_size), seed=int(seed), class_weight=class_weight
        )


def _function(x: Callable[[int], Any]) -> Callable[[int], tf.data.Dataset]:
    """Return the user's function of the epoch, with words for what it does wrong."""

    def batches(epoch: int) -> tf.data.Dataset:
        takes = "A function given as x takes the epoch, from 0 on, and returns a tf.data.Dataset."
        try:
            data = x(epoch)
        except Exception as error:
            raise UserError(
                f"x({epoch}) raised {type(error).__name__}: {error}. {takes}"
            ) from error
        if not isinstance(data, tf.data.Dataset):
            raise UserError(f"x({epoch}) returned {type(data).__name__}. {takes}")
        check_dataset(data, f"x({epoch})")
        return data

    return batches


def _check_second_epoch(
    function: Callable[[int], tf.data.Dataset], batches: DatasetBatches
) -> None:
    """Refuse a function whose data sets differ from epoch to epoch in length or form."""
    data = function(1)
    first = batches.steps_per_epoch, batches.specs(None)
    second = int(data.cardinality()), as_data(data.element_spec)
    if repr(first) != repr(second):
        raise UserError(
            f"x(1) returned {second[0]} batches of {second[1]}, but x(0) {first[0]} of {first[1]}."
            " Every epoch has to have the same number of batches, of the same form."
        )


def _parts(data: Any) -> tuple[Any, Any, Any]:
    parts = data if isinstance(data, list | tuple) and not hasattr(data, "_fields") else (data,)
    readable = isinstance(data, tf.data.Dataset) or hasattr(data, "__getitem__")
    if not 1 <= len(parts) <= 3 or not readable or isinstance(data, str):
        what = f"has {len(parts)} parts" if parts is data else f"is {reprlib.repr(data)}"
        raise UserError(
            f"validation_data {what}; it must be (x, y) or (x, y, sample_weight), a source of"
            " examples, or a tf.data.Dataset."
        )
    x, y, sample_weight = (*parts, None, None)[:3]
    return x, y, sample_weight


def _evaluation_batches(
    x: Any, y: Any, sample_weight: Any, batch_size: int, part: str
) -> EvaluationBatches:
    if isinstance(x, tf.data.Dataset):
        _require_alone(y, sample_weight, f"{part} is a tf.data.Dataset")
        check_dataset(x, part)
        return EvaluationBatches(x, batch_size=int(batch_size))
    examples = _examples(x, y, sample_weight, part)
    with unreadable_told(examples, part):
        return EvaluationBatches(examples, batch_size=int(batch_size))


def _examples(x: Any, y: Any, sample_weight: Any, part: str) -> Examples:
    name, _, weight = part_names(part)
    if x is None:
        raise UserError(f"{name} is None; it must be arrays, or a source of examples.")
    if isinstance(x, keras.utils.PyDataset):
        raise UserError(
            f"{name} is a {type(x).__name__}, a PyDataset, whose [index] is a batch. Give a source"
            " whose [index] is an example."
        )
    # A column of shards holds examples, too, but is used as an array.
    arrays = isinstance(x, str | bytes | tuple | list | dict) or hasattr(x, "__array__")
    if not arrays and hasattr(x, "__getitem__") and hasattr(x, "__len__"):
        _require_alone(y, sample_weight, f"{name} is a source")
        examples = as_examples(x)
    elif y is None and sample_weight is not None:
        raise UserError(f"{weight} needs targets: give y, too.")
    else:
        examples = as_examples(as_arrays((x, y, sample_weight), part))
    if not len(examples):
        raise UserError(f"{part} is empty: there is no example in it.")
    return examples


def _require_alone(y: Any, sample_weight: Any, what: str) -> None:
    if y is not None or sample_weight is not None:
        raise UserError(
            f"{what} and gives targets and weights itself, as (x, y) or (x, y, sample_weight);"
            " leave y and sample_weight out."
        )
