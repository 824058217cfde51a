"""What would fail later is refused before any time is spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ..colab.files import require_space
from ..config import Config
from ..data import Data
from ..errors import UserError
from . import checkpoints
from .checkpoints import Checkpoint
from .distribution import Devices
from .examples import Examples
from .folders import RunFolders


def check_data(data: Data, config: Config, *, replicas: int = 1) -> None:
    """Refuse data that can't be trained on with these settings.

    Args:
        data: What `load` in data.py returned.
        config: The settings.
        replicas: Devices that share each batch.

    Raises:
        UserError: Naming each fault, its place and what would work.
    """
    classes = len(data.class_names)
    faults = []
    for part in ("train", "validation", "test"):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        faults += _faults(part, x, y, classes=classes)
        if x.shape[1:] != data.x_train.shape[1:]:
            faults.append(
                f"x_{part} holds examples of shape {x.shape[1:]}, x_train of"
                f" {data.x_train.shape[1:]}; bring all to one shape in data.py."
            )
    examples, size = len(data.x_train), config.batch_size
    if not faults and len(np.unique(data.y_train)) < 2:
        only = data.class_names[min(data.y_train[0], classes - 1)]
        faults.append(f"y_train holds one class only, {only!r}: there is nothing to tell apart.")
    if size > examples > 0:
        faults.append(
            f"batch_size={size} is more than the {examples} training examples;"
            f" it must be at most {examples}."
        )
    if size % replicas:
        near = max(replicas, size - size % replicas)
        faults.append(
            f"batch_size={size} can't be shared by {replicas} devices; take a multiple of"
            f" {replicas}, such as {near}."
        )
    if faults:
        raise UserError("The data can't be trained on:\n" + "\n".join(f"  {f}" for f in faults))


def check_disk(folders: RunFolders, variables: Sequence[Any]) -> None:
    """Refuse to begin where there is no room for the checkpoints of these variables.

    Raises:
        UserError: Naming the folder, what is needed and what is free.
    """
    state = sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in variables)
    # Each holds the best weights, too; and a new one is written before the oldest is deleted.
    needed = 2 * state * (checkpoints.KEPT + 1)
    kept = "keeping checkpoints of this model (see the setting persistent)"
    require_space(folders.work, needed, purpose="writing checkpoints of this model")
    require_space(folders.kept, needed, purpose=kept)


def require_length(checkpoint: Checkpoint, config: Config, *, steps: int) -> None:
    """Refuse to end before what is done: a run can become longer, not shorter."""
    epochs = len(checkpoint.history)
    if checkpoint.step > steps:
        raise UserError(
            f"epochs={config.epochs} is less than the run {config.run_name} has trained already:"
            f" {checkpoint.step} steps, {epochs} whole epochs. Set epochs to more than {epochs}, or"
            " choose another run_name."
        )


def require_the_same_step(step: int, devices: Devices) -> None:
    """Refuse to train if workers would go on from different steps."""
    if devices.sum_over_workers(np.array([step]))[0] != step * devices.workers:
        raise UserError(
            f"Worker {devices.worker} would go on from step {step}, another worker from another"
            " one. Set persistent to a folder that all workers see, such as a mounted bucket."
        )


def require_finite(loss: float, step: int, config: Config) -> None:
    """Refuse to go on once the training has diverged."""
    if not math.isfinite(loss):
        raise UserError(
            f"The loss is {loss} at step {step}: the training has diverged. The newest checkpoint"
            " is from before. Start another run_name with a learning_rate smaller than"
            f" {config.learning_rate:g}, or with clip_norm=1."
        )


def _faults(part: str, x: Examples, y: Examples, *, classes: int) -> list[str]:
    """Say what is wrong with one part of the data; an empty list if nothing is."""
    if len(x) != len(y):
        return [f"x_{part} holds {len(x)} examples, y_{part} {len(y)} labels."]
    if not len(x):
        return [f"x_{part} is empty; training, validation and test need examples of their own."]
    if not np.issubdtype(y.dtype, np.integer) or len(y.shape) != 1:
        return [
            f"y_{part} has the type {y.dtype} and shape {y.shape}; it has to hold class indices,"
            " int32, one for each example."
        ]
    faults = []
    labels = y[:]
    highest = max(classes - 1, 1)  # one class name means yes or no
    if (wrong := (labels < 0) | (labels > highest)).any():
        row = int(np.argmax(wrong))
        faults.append(
            f"y_{part}[{row}] is {labels[row]}; with {classes} class names, labels go from 0 to"
            f" {highest}."
        )
    if np.issubdtype(x.dtype, np.floating):
        for first in range(0, len(x), 1024):  # never all at once: x may be larger than memory
            rows = np.asarray(x[first : first + 1024])
            if (bad := ~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)).any():
                row = first + int(np.argmax(bad))
                faults.append(
                    f"x_{part}[{row}] holds a value that is not finite (NaN or infinity); leave"
                    " such examples out, or fill in a number, in data.py."
                )
                break
    return faults
