"""The training loop: many steps per Python call, a checkpoint and a test every epoch."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..config import Config
from ..data import Data
from ..errors import UserError
from ..model import build_loss, build_metric, build_optimizer
from . import checkpoints
from .batches import test_batches, training_batches
from .checkpoints import Checkpoint
from .folders import RunFolders
from .progress import Progress

STEPS_PER_CALL = 25
"""Steps that one call from Python makes: enough for Python to cost nothing, few enough to see."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training did.

    Attributes:
        history: One record per epoch, of all sessions: epoch, step, loss, accuracy, test_loss,
            test_accuracy, seconds. Losses are means per example; accuracies, shares from 0 to 1.
        step: Optimizer steps made by all sessions.
        resumed_from: The step at which this session took over; 0 if it began the run.
        seconds: What this session took, without building the model.
        examples_per_second: What this session trained; None if nothing was left to do.
    """

    history: list[dict[str, Any]]
    step: int
    resumed_from: int
    seconds: float
    examples_per_second: float | None


def train(
    model: keras.Model,
    data: Data,
    config: Config,
    *,
    folders: RunFolders,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Training:
    """Train the model to the end of the run, going on from its newest good checkpoint.

    Everything random is derived from (seed, step) or restored, so that an interrupted run ends
    with the very weights of an unbroken one on the same machine.

    Args:
        model: A freshly built model; its variables are overwritten when a run is resumed.
        data: What to train and to test on. Nothing is selected by the test.
        config: The settings; see `Config`.
        folders: Where checkpoints are written and where they are kept.
        on_epoch: Called with each new record of the history, once it is in a checkpoint.

    Raises:
        UserError: If there are fewer examples than a batch, if the run's checkpoints belong to
            other settings or data, or if the loss is no longer a number.
    """
    examples = len(data.x_train)
    if config.batch_size > examples:
        raise UserError(
            f"batch_size={config.batch_size} is more than the {examples} training examples;"
            f" it must be at most {examples}."
        )
    steps_per_epoch = examples // config.batch_size
    steps = steps_per_epoch * config.epochs
    optimizer = build_optimizer(config, steps=steps)
    optimizer.build(model.trainable_variables)
    metrics = _Metrics(len(data.class_names))
    run_steps, test_step = _compile(model, optimizer, metrics)
    tests = test_batches(data.x_test, data.y_test, batch_size=max(256, config.batch_size))

    # 1. Every variable of the model (the state of its random numbers included) and the optimizer.
    variables = [*model.variables, *optimizer.variables]
    identity = {**config.learning(), "data_sha256": data.sha256}

    def keep_checkpoint() -> None:
        arrays = [variable.numpy() for variable in variables]
        folders.keep(Checkpoint(step=step, arrays=arrays, history=[*history], identity=identity))

    # 2. Their values, the step and the history come from the newest checkpoint that verifies.
    history: list[dict[str, Any]] = []
    step = 0
    checkpoint = checkpoints.newest(folders.checkpoints, identity=identity)
    if checkpoint is None:
        # The beginning is one, too: a cell that is stopped and run again has used its model.
        keep_checkpoint()
    else:
        _assign(variables, checkpoint.arrays)
        history, step = list(checkpoint.history), checkpoint.step
        done = f"{step} of {steps} steps ({len(history)} of {config.epochs} epochs) are done"
        print(f"The run {config.run_name} goes on: {done}." if step else "The run begins.")
    # 3. The order of the data follows from the step.
    stream = iter(
        training_batches(
            data.x_train,
            data.y_train,
            batch_size=config.batch_size,
            seed=config.seed,
            start=step,
            stop=steps,
        )
    )

    resumed_from, started = step, time.monotonic()
    progress = Progress(total=steps, done=step)
    try:
        for epoch in range(len(history) + 1, config.epochs + 1):
            epoch_started = time.monotonic()
            metrics.reset()
            for first in range(0, steps_per_epoch, STEPS_PER_CALL):
                count = min(STEPS_PER_CALL, steps_per_epoch - first)
                run_steps(stream, tf.constant(count))
                step += count
                progress.at(step)
            for x, y in tests:
                test_step(x, y)
            record = {"epoch": epoch, "step": step, **metrics.results()}
            record["seconds"] = round(time.monotonic() - epoch_started, 3)
            if not math.isfinite(record["loss"]):
                raise UserError(
                    f"The loss is {record['loss']} after epoch {epoch}: the training has diverged."
                    f" The checkpoint of the epoch before is kept. Start another run_name with a"
                    f" smaller learning_rate than {config.learning_rate:g}."
                )
            history.append(record)
            keep_checkpoint()
            progress.line(_sentence(record, config.epochs))
            if on_epoch is not None:
                on_epoch(record)
    finally:
        progress.close()
        folders.wait()
    seconds = time.monotonic() - started
    trained = (step - resumed_from) * config.batch_size
    return Training(
        history=history,
        step=step,
        resumed_from=resumed_from,
        seconds=seconds,
        examples_per_second=trained / seconds if trained else None,
    )


class _Metrics:
    """Means over an epoch's training and over its test, kept on the device until they are read."""

    def __init__(self, classes: int) -> None:
        self.loss_of = build_loss(classes)
        self._train = {"loss": keras.metrics.Mean(), "accuracy": build_metric(classes)}
        self._test = {"test_loss": keras.metrics.Mean(), "test_accuracy": build_metric(classes)}

    def update(self, y: tf.Tensor, predicted: tf.Tensor, losses: tf.Tensor, *, test: bool) -> None:
        loss, accuracy = (self._test if test else self._train).values()
        loss.update_state(losses)
        accuracy.update_state(y, predicted)

    def reset(self) -> None:
        for metric in (*self._train.values(), *self._test.values()):
            metric.reset_state()

    def results(self) -> dict[str, float]:
        return {name: float(m.result()) for name, m in (self._train | self._test).items()}


def _compile(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, metrics: _Metrics
) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return two graphs: one that makes some training steps, one that tests a batch."""

    @tf.function
    def run_steps(stream: Any, count: tf.Tensor) -> None:
        for _ in tf.range(count):
            x, y = next(stream)
            with tf.GradientTape() as tape:
                predicted = model(x, training=True)
                losses = metrics.loss_of(y, predicted)
                loss = tf.reduce_mean(losses)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            metrics.update(y, predicted, losses, test=False)

    @tf.function
    def test_step(x: tf.Tensor, y: tf.Tensor) -> None:
        predicted = model(x, training=False)
        metrics.update(y, predicted, metrics.loss_of(y, predicted), test=True)

    return run_steps, test_step


def _assign(variables: list[Any], arrays: Any) -> None:
    """Give each variable its saved value; refuse a model of another shape."""
    now = [tuple(variable.shape) for variable in variables]
    then = [array.shape for array in arrays]
    if now != then:
        differing = next(
            (pair for pair in zip(then, now, strict=False) if pair[0] != pair[1]), None
        )
        what = f"a variable of shape {differing[0]} then, {differing[1]} now" if differing else ""
        raise UserError(
            f"The model has changed since the run began: {len(then)} variables then,"
            f" {len(now)} now{'; ' + what if what else ''}. Choose another run_name, or restore"
            " model.py."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _sentence(record: dict[str, Any], epochs: int) -> str:
    """Put an epoch's record into one line of equal columns."""
    width = len(str(epochs))
    return (
        f"epoch {record['epoch']:>{width}}/{epochs}"
        f"  loss {record['loss']:.4f}  accuracy {record['accuracy']:.4f}"
        f"  test loss {record['test_loss']:.4f}  test accuracy {record['test_accuracy']:.4f}"
        f"  {record['seconds']:5.1f} s"
    )


def weights_sha256(model: keras.Model) -> str:
    """Return the SHA-256 over the type, shape and bytes of every weight, in the model's order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(weight.numpy())
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(value.data)
    return digest.hexdigest()
