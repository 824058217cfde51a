"""The training loop: many steps per call, validation every epoch, checkpoints by the clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..config import Config
from ..data import Data
from ..errors import UserError
from . import checkpoints
from .batches import training_batches
from .checkpoints import Checkpoint
from .checks import check_disk, require_finite, require_length, require_the_same_step
from .distribution import Devices, make_seeds_differ
from .folders import RunFolders
from .progress import Progress, epoch_line
from .steps import compile_evaluation, compile_training
from .stopping import Stopping, best_epoch

SECONDS_PER_CALL = 0.25
"""How long one call from Python computes: long enough for Python to cost nothing, short enough to
show progress and to answer a signal."""
MOST_STEPS_PER_CALL = 200


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training did.

    Attributes:
        history: One record per finished epoch, of all sessions: epoch, step, loss, accuracy,
            val_loss, val_accuracy, seconds. Losses are means per example; accuracies, shares from
            0 to 1.
        step: Optimizer steps made by all sessions.
        steps: Steps of the whole run.
        delivered_epoch: The epoch whose weights the model has now; 0: it has those of the step.
        resumed_from: The step at which this session took over; 0 if it began the run.
        stopped_by: What ended this session before the last step, or an empty text.
        finished: Whether nothing is left to do.
        seconds: What this session took, without building the model.
        examples_per_second: What this session trained; None if nothing was left to do.
    """

    history: list[dict[str, Any]]
    step: int
    steps: int
    delivered_epoch: int
    resumed_from: int
    stopped_by: str
    finished: bool
    seconds: float
    examples_per_second: float | None


@dataclass(kw_only=True)
class _State:
    """Where a run stands, besides the values of its variables; see `Checkpoint`."""

    step: int = 0
    sums: np.ndarray = field(default_factory=lambda: np.zeros(2))
    history: list[dict[str, Any]] = field(default_factory=list)
    best: list[np.ndarray] = field(default_factory=list)


def train(
    model: keras.Model,
    data: Data,
    config: Config,
    *,
    folders: RunFolders,
    devices: Devices | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    precision: str = "float32",
    xla: bool = False,
) -> Training:
    """Train the model to the end of the run, going on from its newest good checkpoint.

    Everything random is derived from (seed, step) or restored, so that a run that was interrupted
    anywhere ends with the very weights and history of an unbroken one on the same machine. The
    model then has the weights of its best epoch, or of the last step: see `Config.deliver`.

    Args:
        model: A freshly built model, built in the scope of `devices.strategy`; its variables are
            overwritten when a run is resumed.
        data: What to learn from, and what to validate by, as `check_data` lets it pass; the test
            examples are left alone.
        config: The settings; see `Config`.
        folders: Where checkpoints are written and where they are kept.
        devices: What to train on; one device by default.
        callbacks: Of Keras; their batches are this loop's calls, as with `steps_per_execution`.
            They see a resumed run from where it goes on; their own state is not saved.
        precision: The policy that the model was built with; a run keeps to it.
        xla: Whether to compile the forward and backward pass by XLA; a run keeps to it.

    Raises:
        UserError: If the run's checkpoints belong to other settings, data or another model, if the
            disk is too small for them, if the loss is no longer a number, if a signal came, or if
            another worker went away.
    """
    devices = devices or Devices(strategy=tf.distribute.get_strategy())
    started = time.monotonic()
    steps_per_epoch = len(data.x_train) // config.batch_size
    steps = steps_per_epoch * config.epochs
    classes = len(data.class_names)
    run_steps = compile_training(model, config, devices, classes=classes, steps=steps, xla=xla)
    validate = compile_evaluation(model, data.x_validation, data.y_validation, classes=classes)

    # 1. What a run consists of: the values of its variables, of which the state of the model's
    #    random numbers is one, and where it stands.
    variables = [*model.variables, *model.optimizer.variables]
    state = _State()
    identity = config.fixed() | {"precision": precision, "xla": xla, "data_sha256": data.sha256}

    def keep_checkpoint(*, wait: bool) -> None:
        arrays = [variable.numpy() for variable in variables]  # of all workers: some read together
        if devices.chief:
            checkpoint = Checkpoint(
                step=state.step,
                names=[variable.path for variable in variables],
                arrays=arrays,
                best=state.best,
                sums=state.sums.tolist(),
                history=[*state.history],
                identity=identity,
                settings=config.as_dict(),
            )
            folders.keep(checkpoint, wait=wait)

    # 2. All of it comes from the newest checkpoint that verifies.
    checkpoint = checkpoints.newest(folders.checkpoints, identity=identity)
    if checkpoint is not None:
        require_length(checkpoint, config, steps=steps)
        checkpoints.assign(variables, checkpoint)
        state.step, state.sums = checkpoint.step, np.array(checkpoint.sums)
        state.history, state.best = list(checkpoint.history), list(checkpoint.best)
        _tell_where_it_goes_on(checkpoint, config, steps=steps)
    require_the_same_step(state.step, devices)
    if devices.chief:
        check_disk(folders, variables)
    if checkpoint is None:
        # The beginning is one, too: a cell that is stopped and run again has used its model.
        keep_checkpoint(wait=True)
    make_seeds_differ(model, devices)

    # 3. The order of the data follows from the step.
    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        share = training_batches(
            data.x_train,
            data.y_train,
            batch_size=config.batch_size,
            seed=config.seed,
            start=state.step,
            stop=steps,
            shard=context.input_pipeline_id,
            shards=context.num_input_pipelines,
        )
        return share.rebatch(config.batch_size // devices.replicas)

    stream = iter(devices.strategy.distribute_datasets_from_function(batches))

    model.stop_training = False
    told = keras.callbacks.CallbackList(
        list(callbacks), model=model, epochs=config.epochs, steps=steps_per_epoch, verbose=0
    )
    resumed_from, reason, steps_per_call = state.step, "", 1
    epoch_started = saved = time.monotonic()
    progress = Progress(total=steps, done=state.step)
    told.on_train_begin()
    try:
        with Stopping(config) as stopping:
            while state.step < steps and not (reason := stopping.reason(state.step, state.history)):
                first = state.step % steps_per_epoch
                if first == 0:
                    told.on_epoch_begin(len(state.history))
                count = min(steps_per_call, steps_per_epoch - first)
                count = stopping.steps_until(state.step, most=count)
                told.on_train_batch_begin(first)
                called = time.monotonic()
                measured = run_steps(stream, tf.constant(count)).numpy().sum(axis=1, dtype=float)
                took = time.monotonic() - called
                for of_step in devices.sum_over_workers(measured):
                    # One by one: calls of another length must not change a digit.
                    state.step += 1
                    require_finite(of_step[0], state.step, config)
                    state.sums = state.sums + of_step
                progress.at(state.step)
                loss, accuracy = state.sums / ((first + count) * config.batch_size)
                logs = {"loss": float(loss), "accuracy": float(accuracy)}
                told.on_train_batch_end(first + count - 1, logs)

                if state.step % steps_per_epoch == 0:
                    told.on_test_begin()
                    found = validate()
                    # Another machine's last digits may differ; what follows from them must not.
                    values = devices.from_chief(np.array([found.loss, found.accuracy]))
                    val_loss, val_accuracy = values.tolist()
                    told.on_test_end({"loss": val_loss, "accuracy": val_accuracy})
                    logs |= {"val_loss": val_loss, "val_accuracy": val_accuracy}
                    now = time.monotonic()
                    record = {"epoch": len(state.history) + 1, "step": state.step, **logs}
                    state.history.append(record | {"seconds": round(now - epoch_started, 3)})
                    epoch_started, state.sums = now, np.zeros(2)
                    if best_epoch(state.history, config.best_by) == len(state.history):
                        state.best = [weight.numpy() for weight in model.weights]
                    progress.line(epoch_line(state.history[-1], epochs=config.epochs))
                    told.on_epoch_end(len(state.history) - 1, logs)

                # What one worker asks for, all of them do.
                due = time.monotonic() - saved >= config.checkpoint_seconds
                asked = np.array([due, stopping.asked or model.stop_training, took])
                due, stop, took = devices.sum_over_workers(asked)
                if due:
                    keep_checkpoint(wait=False)
                    saved = time.monotonic()
                if stop:
                    stopping.agree("a callback" if model.stop_training else "another worker")
                fitting = int(SECONDS_PER_CALL * count * devices.workers / max(took, 1e-9))
                steps_per_call = max(1, min(2 * steps_per_call, fitting, MOST_STEPS_PER_CALL))
            if state.step > resumed_from:
                keep_checkpoint(wait=True)
    except tf.errors.OpError as error:
        if devices.workers == 1:
            raise
        raise UserError(
            f"Another worker went away, or the way to it: {error.message.splitlines()[0]}. Start"
            " all workers again: they go on from the newest checkpoint."
        ) from error
    finally:
        progress.close()
        unsaved = folders.wait()
    told.on_train_end()
    if reason and reason == stopping.signal:
        kept = f"It is on this machine only: {unsaved}" if unsaved else "All of it is kept"
        raise UserError(
            f"{reason} stopped the training after step {state.step} of {steps}. {kept}. Run the"
            " same again, and it goes on from there."
        )
    delivered = best_epoch(state.history, config.best_by) if config.deliver == "best" else 0
    if delivered:
        model.set_weights(state.best)
    seconds = time.monotonic() - started
    trained = (state.step - resumed_from) * config.batch_size
    return Training(
        history=state.history,
        step=state.step,
        steps=steps,
        delivered_epoch=delivered,
        resumed_from=resumed_from,
        stopped_by=reason,
        finished=state.step == steps or stopping.early(state.history),
        seconds=seconds,
        examples_per_second=trained / seconds if trained else None,
    )


def _tell_where_it_goes_on(checkpoint: Checkpoint, config: Config, *, steps: int) -> None:
    """Print what is done and what is left."""
    if checkpoint.step == 0:
        print("The run begins.")
        return
    epochs = len(checkpoint.history)
    done = f"{checkpoint.step} of {steps} steps ({epochs} of {config.epochs} epochs) are done"
    print(f"The run {config.run_name} goes on: {done}.")
    if (then := checkpoint.settings["epochs"]) != config.epochs:
        print(
            f"epochs was {then} and is {config.epochs} now: from here on, the learning rate follows"
            " the new length, so the weights will not be those of a run that had it from the start."
        )
