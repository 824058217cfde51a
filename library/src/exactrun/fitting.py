"""Keras' `fit`, killed at any instant, ending with the same bits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from .callbacks import Callbacks, History, check_callbacks
from .checkpoints import Checkpoints
from .checks import (
    build,
    check_batch_size,
    check_evaluation,
    check_model,
    check_settings,
    check_trainable,
)
from .data_checks import check_values, misfits_told, reading_told
from .distribution import Devices
from .errors import UserError
from .identity import (
    describe,
    describe_compile,
    describe_model,
    python_version,
    remember_learning_rates,
)
from .inputs import checkpoints_in, evaluation_batches, training_batches, validation_batches
from .steps import check_metrics
from .training import Training
from .version import __version__


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
            checkpoints = checkpoints_in(checkpoint_dir, max_to_keep)
            batches = training_batches(
                model,
                (x, y, sample_weight),
                batch_size=batch_size,
                epochs=epochs,
                seed=seed,
                class_weight=class_weight,
            )
            evaluation = validate = None
            if validation_data is not None:
                evaluation = validation_batches(validation_data, batch_size)
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
            build(model, batches.specs(), "x", "train_step")
            check_batch_size(batches, devices.replicas)
            check_trainable(model)
            check_values(model, batches, "x")
            if evaluation is not None:
                validate = check_evaluation(model, devices, evaluation, "validation_data")
            whole["model"] = describe_model(model)
        with misfits_told(model, batches.specs(), "x"):
            training = Training(
                model,
                batches,
                validate=validate,
                devices=devices,
                checkpoints=checkpoints,
                identity=whole,
                epochs=int(epochs),
                save_interval_secs=float(save_interval_secs),
                verbose=verbose,
            )
        told = Callbacks(
            own,
            model=model,
            devices=devices,
            epochs=int(epochs),
            steps=batches.steps_per_epoch,
            verbose=verbose,
        )
        try:
            with reading_told(batches, "x"):
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
        batches = evaluation_batches(x, y, sample_weight, batch_size, "x")
        measure = check_evaluation(model, devices, batches, "x")
        with misfits_told(model, batches.specs(), "x"):
            check_metrics(model, devices, batches, model.non_trainable_variables)
            return measure()


def _require_model(model: Any) -> None:
    if keras.config.backend() != "tensorflow":
        raise UserError(
            f"Keras runs on {keras.config.backend()}; exactrun needs TensorFlow. Set the"
            " environment variable KERAS_BACKEND=tensorflow before keras is imported."
        )
    if not isinstance(model, keras.Model):
        what = f"the class {model.__name__}" if isinstance(model, type) else type(model)
        raise UserError(f"model is {what}; it must be a keras.Model, built and compiled.")
