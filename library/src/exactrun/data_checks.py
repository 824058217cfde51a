"""Whether a model can take its data, and takes them as meant.

Many a mistake is computed without a complaint: targets of another shape are spread over the output,
labels out of range count as any, one NaN spoils all weights. So these are looked for at the start.
"""

from __future__ import annotations

import re
import reprlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .batches import Batches, Data, as_data, floatx
from .errors import UserError
from .examples import Examples, root_of
from .sources import ArrayExamples, evenly
from .steps import overridden
from .structures import walk

BINARY = ("binarycrossentropy", "bce", "binaryfocalcrossentropy")
SPARSE = ("sparsecategoricalcrossentropy",)
ELEMENTWISE = (
    *BINARY,
    *("mse", "mae", "mape", "msle", "meansquarederror", "meanabsoluteerror", "huber", "logcosh"),
    *("meanabsolutepercentageerror", "meansquaredlogarithmicerror", "poisson", "kldivergence"),
    *("cosinesimilarity", "hinge", "squaredhinge", "categoricalcrossentropy"),
)
"""Losses that compare target and output number by number. Most of them spread a target of another
shape over the output, and nobody notices."""

CHUNK_ROWS, SAMPLED_ROWS = 4096, 64
"""So many examples in memory are looked at at once; so many of another source, evenly spaced."""


def part_names(part: str) -> tuple[str, str, str]:
    """Return what inputs, targets and weights of `x` or `validation_data` are called."""
    if part == "x":
        return "x", "y", "sample_weight"
    return f"{part}[0]", f"{part}[1]", f"{part}[2]"


def check_values(model: keras.Model, batches: Batches, part: str) -> None:
    """Refuse what would be computed, but not as meant: texts, other shapes, NaN, other labels.

    Arrays are looked at as a whole, other sources by 64 examples, data sets by their shapes.
    """
    names, specs = part_names(part), batches.specs()
    inputs = getattr(model, "inputs", None)
    for name, structure in zip(names, specs, strict=False):
        texts = [path for path, spec in walk(structure, name) if spec.dtype == tf.string]
        read = not inputs or any(tensor.dtype == "string" for tensor in inputs)
        if texts and not (read if name == names[0] else overridden(model, "train_step")):
            raise UserError(
                f"{texts[0]} holds texts, but the model takes numbers. Turn names into class"
                " indices, np.unique(names, return_inverse=True)[1], and other texts by"
                " layers.TextVectorization."
            )
    ranges = {}
    for path, target, weight, loss, output in _targets(model, specs, names[1]):
        _require_shapes(path, target, weight, loss, output)
        ranges[path] = _label_range(loss, output)
    if (examples := batches.examples) is None:
        return
    for rows in _looked_at(examples):
        with unreadable_told(examples, part):
            data = as_data(examples.read(rows))
        for name, values in zip(names, data, strict=False):
            for path, leaf in walk(values, name):
                array = np.asarray(leaf)
                require_type(array, path)
                _require_finite(array, path, rows)
                if found := ranges.get(path):
                    _require_labels(array, path, rows, *found)


@contextmanager
def misfits_told(model: keras.Model, specs: Data, part: str) -> Iterator[None]:
    """Turn what Keras and TensorFlow raise if they can't take data of these specs into words."""
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        several = isinstance(model.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy)
        if several and isinstance(error, tf.errors.OpError):
            raise  # it may be another worker that went away: see `Devices.losses_told`
        # Without Keras' colours, its list of arguments, and its advice for another case.
        why = str(error).split("Exception encountered:\n")[-1].split("\n\nArguments received")[0]
        noise = r"\x1b\[\d*m|{{.*?}} ?|\[Op:.*|Exception encountered when calling .*\n\n"
        why = re.sub(noise, "", why).strip()
        why = why[1:-1] if why[:1] == why[-1:] == "'" else why
        if isinstance(error, LookupError) or not why:
            why = f"{type(error).__name__} {why}"
        shapes = [
            f"{path} {spec.shape}"
            for name, each in zip(part_names(part), specs, strict=False)
            for path, spec in walk(each, name)
        ]
        inputs, outputs = (getattr(model, kind, None) or [] for kind in ("inputs", "outputs"))
        shapes += [f"the input {tensor.name} {tensor.shape}" for tensor in inputs]
        for name, tensor in zip(_output_names(model), outputs, strict=False):
            shapes.append(f"the output {name} {tensor.shape}")
        raise UserError(
            f"The model, its loss or a metric can't take {'the data' if part == 'x' else part}:"
            f" {why}\nShapes: {', '.join(shapes)}."
        ) from error


@contextmanager
def reading_told(batches: Batches, part: str) -> Iterator[None]:
    """Name the example in whose reading a source fails while it is trained on or measured."""
    try:
        yield
    except (tf.errors.OpError, KeyboardInterrupt) as error:
        # Whoever keeps the error would keep the iterator, whose threads still read; then Python
        # waits for them as it ends, for ever: they can't come to their ends any more.
        held: BaseException | None = error
        while held is not None:
            traceback.clear_frames(held.__traceback__)
            held = held.__context__
        interrupted = isinstance(error, KeyboardInterrupt)
        if interrupted or batches.examples is None or batches.failed is None:
            raise
        with unreadable_told(batches.examples, part, batches.failed):
            raise


@contextmanager
def unreadable_told(
    examples: Examples, part: str, rows: np.ndarray | None = None
) -> Iterator[None]:
    """Name the example, of these rows, in whose reading a source fails, and what it raised."""
    try:
        yield
    except UserError:
        raise
    except Exception:
        for row in map(int, evenly(len(examples), SAMPLED_ROWS) if rows is None else rows):
            try:
                examples.read(np.array([row]))
            except Exception as error:
                raise UserError(
                    f"Example {row} of {part} can't be read: {type(error).__name__}: {error}. A"
                    f" source has to give every example from 0 to {len(examples) - 1}: fix this"
                    " one, or leave it out."
                ) from error
        raise


def require_type(array: np.ndarray, path: str) -> None:
    """Refuse an array that holds neither real numbers nor texts."""
    odd = [v for v in array.flat if not isinstance(v, str)] if array.dtype == object else []
    if odd or array.dtype.kind in "cmM" or array.dtype.fields:
        holds = f", such as {reprlib.repr(odd[0])}" if odd else ""
        raise UserError(
            f"{path} is an array of the type {array.dtype}{holds}, but must be one of real numbers"
            f" or of texts. Convert it, as by {path}.astype('float32'); examples of different"
            " lengths have to be padded, then np.stack makes one array of them."
        )


def _looked_at(examples: Examples) -> Iterator[np.ndarray]:
    count = len(examples)
    if not isinstance(root_of(examples), ArrayExamples):
        yield evenly(count, SAMPLED_ROWS)
        return
    for first in range(0, count, CHUNK_ROWS):
        yield np.arange(first, min(first + CHUNK_ROWS, count))


def _require_finite(given: np.ndarray, path: str, rows: np.ndarray) -> None:
    if given.dtype.kind != "f":
        return
    # The sum is infinite or NaN if a value is, and much faster than looking at each.
    with np.errstate(all="ignore"):
        array = given.astype(floatx(), copy=False)
        if np.isfinite(array.sum(dtype=np.float64)):
            return
    wrong = ~np.isfinite(array)
    if wrong.any():
        at = np.argwhere(wrong)[0]
        raise UserError(
            f"{path} holds {given[tuple(at)]} in example {rows[at[0]]}. Leave such examples out, or"
            f" fill in a number that {floatx()} can hold."
        )


def _require_labels(
    labels: np.ndarray, path: str, rows: np.ndarray, low: int, high: int, whole: bool, why: str
) -> None:
    wrong = ~((labels >= low) & (labels <= high))
    if whole:
        wrong |= labels != np.floor(labels)
    if wrong.any():
        at = np.argwhere(wrong)[0]
        raise UserError(
            f"{path} has the label {labels[tuple(at)]} in example {rows[at[0]]}; {why}."
        )


def _targets(model: keras.Model, specs: Data, name: str) -> Iterator[tuple[Any, ...]]:
    """Yield path, spec, weight's spec, loss and output of each target whose loss is Keras' own."""
    outputs = getattr(model, "outputs", None)
    if len(specs) < 2 or not outputs or overridden(model, "train_step", "compute_loss"):
        return
    targets, names = list(walk(specs[1], name)), _output_names(model)
    if not len(targets) == len(names) == len(outputs):
        return
    losses = model._compile_config.config.get("loss")
    if not isinstance(losses, dict):
        several = losses if isinstance(losses, list | tuple) else [losses] * len(names)
        losses = dict(zip(names, several, strict=False))
    output_of = dict(zip(names, outputs, strict=True))
    if isinstance(specs[1], dict) and set(names) == set(specs[1]):
        names.sort()  # the order of `walk`
    weights = [each for _, each in walk(specs[2])] if len(specs) == 3 else [None]
    weights *= len(names) // len(weights)
    for (path, target), weight, output in zip(targets, weights, names, strict=True):
        if _kind(losses.get(output)):
            yield path, target, weight, losses[output], output_of[output]


def _output_names(model: keras.Model) -> list[str]:
    return list(getattr(model, "output_names", None) or [model.layers[-1].name])


def _kind(loss: Any) -> str:
    """Return the name of a loss of Keras', such as meansquarederror; of others an empty text."""
    if isinstance(loss, str):
        return loss.lower().replace("_", "")
    thing = loss if hasattr(loss, "__name__") else type(loss)
    own = thing.__module__.partition(".")[0] != "keras"
    return "" if own else thing.__name__.lower().replace("_", "")


def _label_range(loss: Any, output: Any) -> tuple[int, int, bool, str] | None:
    """Return the lowest and highest label, whether they are whole, and why; None for any."""
    if _kind(loss) in SPARSE and output.shape[-1]:
        classes = int(output.shape[-1])
        low = min(0, getattr(loss, "ignore_class", None) or 0)
        why = f"the model has {classes} classes, so labels are whole numbers from 0 to"
        return low, classes - 1, True, f"{why} {classes - 1}"
    if _kind(loss) in BINARY:
        return 0, 1, False, "with a binary cross-entropy, labels go from 0 to 1"
    return None


def _require_shapes(path: str, target: Any, weight: Any, loss: Any, output: Any) -> None:
    """Refuse targets or weights that would be spread over an output of another shape."""
    kind = _kind(loss)
    if kind not in (*ELEMENTWISE, *SPARSE) or target.shape.rank is None:
        return
    given, made = target.shape.as_list()[1:], list(output.shape[1:])
    shorter, longer = sorted((given, made), key=len)
    if kind in ELEMENTWISE and len(longer) == len(shorter) + 1 and longer[-1] == 1:
        given = made = shorter  # Keras leaves a last axis of 1 out
    if kind in ELEMENTWISE and not _alike(given, made):
        raise UserError(
            f"{path} has the shape {target.shape}, but the model's output {output.shape}, and"
            f" {kind} compares them number by number. Give targets of the output's shape, or the"
            " model a last layer of the targets'."
        )
    if weight is None or weight.shape.rank is None:
        return
    weights, measured = weight.shape.as_list()[1:], made[:-1]
    if len(weights) == len(measured) + 1 and weights[-1] == 1:
        weights.pop()
    if not _alike([None if size == 1 else size for size in weights], measured):
        raise UserError(
            f"The weights of {path} have the shape {weight.shape}, but its losses"
            f" {(None, *measured)}. Give weights of that shape; an axis of 1 counts for all."
        )


def _alike(one: list[Any], other: list[Any]) -> bool:
    """Tell whether two shapes are the same, as far as they are known."""
    return len(one) == len(other) and all(
        a == b or a is None or b is None for a, b in zip(one, other, strict=True)
    )
