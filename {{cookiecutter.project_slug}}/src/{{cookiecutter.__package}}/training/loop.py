"""The training loop: many steps per Python call, a test every epoch, checkpoints by the clock."""

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
from ..model import build_optimizer
from . import checkpoints
from .batches import test_batches, training_batches
from .checkpoints import Checkpoint
from .folders import RunFolders
from .progress import Progress
from .steps import Metrics, compile_test, compile_training
from .stopping import Stopping

STEPS_PER_CALL = 25
"""Steps that one call from Python makes: enough for Python to cost nothing, few enough to see."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training did.

    Attributes:
        history: One record per epoch, of all sessions: epoch, step, loss, accuracy, test_loss,
            test_accuracy, seconds. Losses are means per example; accuracies, shares from 0 to 1.
        metrics: The same means at the end of this session, be it in the middle of an epoch.
        step: Optimizer steps made by all sessions.
        steps: Steps of the whole run.
        resumed_from: The step at which this session took over; 0 if it began the run.
        stopped_by: The setting that ended this session before the run's end, or an empty text.
        seconds: What this session took, without building the model.
        examples_per_second: What this session trained; None if nothing was left to do.
    """

    history: list[dict[str, Any]]
    metrics: dict[str, float]
    step: int
    steps: int
    resumed_from: int
    stopped_by: str
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

    Everything random is derived from (seed, step) or restored, so that a run that was interrupted
    anywhere ends with the very weights and history of an unbroken one on the same machine.

    Args:
        model: A freshly built model; its variables are overwritten when a run is resumed.
        data: What to train and to test on. Nothing is selected by the test.
        config: The settings; see `Config`.
        folders: Where checkpoints are written and where they are kept.
        on_epoch: Called with each new record of the history.

    Raises:
        UserError: If there are fewer examples than a batch, if the run's checkpoints belong to
            other settings or data, if the loss is no longer a number, or if a signal came.
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
    metrics = Metrics(len(data.class_names))
    run_steps = compile_training(model, optimizer, metrics)
    tests = test_batches(data.x_test, data.y_test, batch_size=max(256, config.batch_size))
    test = compile_test(model, tests, metrics)

    # 1. Every variable: of the model (the state of its random numbers included), of the optimizer,
    #    and of the means of the epoch under way.
    variables = [*model.variables, *optimizer.variables, *metrics.variables]
    identity = {**config.learning(), "data_sha256": data.sha256}

    def require_finite_loss() -> None:
        if not math.isfinite(metrics.loss):
            raise UserError(
                f"The loss is {metrics.loss} by step {step}: the training has diverged. The newest"
                " checkpoint is from before. Start another run_name with a smaller learning_rate"
                f" than {config.learning_rate:g}."
            )

    def keep_checkpoint(*, wait: bool) -> None:
        require_finite_loss()
        arrays = [variable.numpy() for variable in variables]
        checkpoint = Checkpoint(step=step, arrays=arrays, history=[*history], identity=identity)
        folders.keep(checkpoint, wait=wait)

    # 2. Their values, the step and the history come from the newest checkpoint that verifies.
    history: list[dict[str, Any]] = []
    step = 0
    checkpoint = checkpoints.newest(folders.checkpoints, identity=identity)
    if checkpoint is None:
        # The beginning is one, too: a cell that is stopped and run again has used its model.
        keep_checkpoint(wait=True)
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

    resumed_from, reason = step, ""
    started = epoch_started = saved = time.monotonic()
    progress = Progress(total=steps, done=step)
    try:
        with Stopping(config) as stopping:
            while step < steps and not (reason := stopping.reason(step)):
                left = steps_per_epoch - step % steps_per_epoch
                count = stopping.steps_until(step, most=min(STEPS_PER_CALL, left))
                run_steps(stream, tf.constant(count))
                step += count
                progress.at(step)
                if step % steps_per_epoch == 0:
                    require_finite_loss()
                    test()
                    now = time.monotonic()
                    record = {"epoch": len(history) + 1, "step": step, **metrics.results()}
                    history.append(record | {"seconds": round(now - epoch_started, 3)})
                    progress.line(_sentence(history[-1], config.epochs))
                    epoch_started = now
                    if on_epoch is not None:
                        on_epoch(history[-1])
                    metrics.reset(test=False)
                if time.monotonic() - saved >= config.checkpoint_seconds:
                    keep_checkpoint(wait=False)
                    saved = time.monotonic()
            if step > resumed_from:
                keep_checkpoint(wait=True)
    finally:
        progress.close()
        folders.wait()
    if reason and reason == stopping.signal:
        raise UserError(
            f"{reason} stopped the training after step {step} of {steps}. All of it is kept: run"
            " the same again, and it goes on from there."
        )
    seconds = time.monotonic() - started
    trained = (step - resumed_from) * config.batch_size
    between = step % steps_per_epoch != 0 or not history
    if between:
        test()
    found = metrics.results()
    return Training(
        history=history,
        metrics=found if between else {name: history[-1][name] for name in found},
        step=step,
        steps=steps,
        resumed_from=resumed_from,
        stopped_by=reason,
        seconds=seconds,
        examples_per_second=trained / seconds if trained else None,
    )


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
