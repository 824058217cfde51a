"""What would fail or mislead later is refused before any time is spent."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .batches import Data, DatasetBatches, EvaluationBatches, ExampleBatches, as_data
from .distribution import Devices
from .errors import UserError
from .examples import Examples, Subset
from .sources import ArrayExamples, evenly
from .steps import Loop, Meter
from .structures import flatten, rebuild, walk

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

CHUNK_ROWS = 4096
SAMPLED_ROWS = 64
"""So many examples of a source that is not in memory are looked at, evenly spaced."""


def check_settings(**settings: Any) -> None:
    """Refuse settings that are out of range.

    Raises:
        UserError: Naming each with its value and what works.
    """
    faults = []
    for name, least in (("batch_size", 1), ("epochs", 1), ("seed", 0)):
        value = settings.get(name, least)
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or not least <= int(value) < 2**63:
            faults.append(f"{name}={value!r} must be a whole number from {least} to 2**63 - 1.")
    for name in ("save_interval_secs", "max_time_secs"):
        value = settings.get(name)
        if value is None and name == "max_time_secs":
            continue
        if isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 0:
            faults.append(f"{name}={value!r} must be a number of seconds, not negative.")
    verbose = settings.get("verbose", 0)
    if type(verbose) not in (int, str) or verbose not in (0, 1, 2, "auto"):
        faults.append(f"verbose={verbose!r} must be 0, 1, 2 or 'auto'.")
    if faults:
        raise UserError("\n".join(faults))


def check_model(model: Any, *, replicas: int, training: bool) -> None:
    """Refuse models that can't be trained exactly.

    Raises:
        UserError: With the reason, and what works.
    """
    if not model.compiled:
        raise UserError("The model is not compiled. Call model.compile(optimizer, loss) first.")
    if model.run_eagerly:
        raise UserError(
            "The model is compiled with run_eagerly=True, in which many steps can't be made in one"
            " call. Compile it without; to look into a step, use model.train_on_batch."
        )
    own = _overridden(model, "train_step", "test_step")
    if training and model.optimizer is None and "train_step" not in own:
        raise UserError("The model has optimizer=None. Compile it with one, such as 'adam'.")
    if replicas > 1 and own:
        raise UserError(
            f"{type(model).__name__} has a {own[0]} of its own, which is honoured on one device"
            f" only: whether it scales its loss for {replicas} devices can't be known. Build the"
            " model outside of the strategy's scope, or override compute_loss instead."
        )
    if replicas > 1 and training:
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        for name in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
            if getattr(optimizer, name, None):
                raise UserError(
                    f"The optimizer has {name}={getattr(optimizer, name)}, which Keras can't do on"
                    f" {replicas} devices. Leave it out, or train on one device."
                )
        if model.jit_compile:
            raise UserError(
                f"The model is compiled with jit_compile=True, which TensorFlow can't do on"
                f" {replicas} devices. Compile it with jit_compile='auto'."
            )


def check_class_weight(class_weight: Any, model: keras.Model, data: Data) -> None:
    """Refuse class weights that don't fit the targets.

    Args:
        class_weight: What `fit` was given.
        model: Compiled.
        data: An example.

    Raises:
        UserError: With the reason, and what works.
    """
    if class_weight is None:
        return
    if not isinstance(class_weight, Mapping) or not class_weight:
        raise UserError(
            f"class_weight={class_weight!r} must be a dict, such as {{0: 1.0, 1: 3.0}}."
        )
    for key, value in class_weight.items():
        number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if not isinstance(key, Integral) or key < 0 or not number or value < 0:
            raise UserError(
                f"class_weight has the entry {key!r}: {value!r}; it must give class indices, from"
                " 0 on, a weight each, not negative."
            )
    if len(data) == 3:
        raise UserError("class_weight and sample_weight can't be used together. Multiply them.")
    if len(data) < 2 or len(flatten(data[1])) != 1:
        raise UserError("class_weight needs one target; use sample_weight for several outputs.")
    (label,) = map(np.asarray, flatten(data[1]))
    if label.ndim > 1 or label.dtype.kind not in "biuf" or (label != np.floor(label)).any():
        raise UserError(
            "class_weight needs a class index or a one-hot vector as each example's target, but the"
            f" first one is {reprlib.repr(label)}. Use sample_weight instead."
        )
    outputs = getattr(model, "outputs", None)
    size = outputs[0].shape[-1] if outputs else None
    classes = size if size and size > 1 else 2**24
    if max(class_weight) >= classes:
        raise UserError(
            f"class_weight has a weight for class {max(class_weight)}, but the model has {classes}"
            f" classes: 0 to {classes - 1}."
        )


def check_batch_size(batches: ExampleBatches | Any, devices: Any) -> None:
    """Refuse batches that can't be filled, or not be shared by the devices.

    Raises:
        UserError: With what works.
    """
    size = batches.batch_size
    if isinstance(batches, ExampleBatches):
        count = len(batches.examples)
        if size > count:
            raise UserError(
                f"batch_size={size} is more than the {count} examples; it must be at most {count}."
            )
    if devices.replicas > 1 and size is None:
        raise UserError(
            f"The data set's batches have no fixed size, so {devices.replicas} devices can't share"
            " them. Give it one: .batch(size, drop_remainder=True)."
        )
    if devices.replicas > 1 and size % devices.replicas:
        near = max(devices.replicas, size - size % devices.replicas)
        raise UserError(
            f"Batches of {size} can't be shared by {devices.replicas} devices; take a multiple of"
            f" {devices.replicas}, such as {near}."
        )


def as_arrays(data: Data, part: str) -> Data:
    """Return what can be turned into arrays as such.

    Args:
        data: `(x, y, sample_weight)`; what is None is left out.
        part: What the data are called in a message: x or validation_data.

    Raises:
        UserError: If something is no array of numbers or texts with a row for each example.
    """
    found, lengths = [], {}
    for name, structure in zip(part_names(part), data, strict=True):
        if structure is None:
            continue
        try:
            leaves = dict(walk(structure, name))
        except TypeError as error:
            raise UserError(f"{name} has keys of several types: name each by a text.") from error
        if not leaves:
            raise UserError(f"{name}={structure!r} holds no array, but it needs at least one.")
        for path, leaf in leaves.items():
            if not isinstance(leaf, Examples):
                leaves[path] = leaf = _array(leaf, path, name)
            lengths[path] = len(leaf)
        found.append(rebuild(structure, iter(leaves.values())))
    if len(set(lengths.values())) > 1:
        some = ", ".join(f"{path} {length:,}" for path, length in list(lengths.items())[:8])
        raise UserError(
            f"All arrays need a row for each example, but they have different lengths: {some}. (A"
            " list counts as several arrays; one array is np.stack(list).)"
        )
    return tuple(found)


def check_dataset(data: Any, name: str) -> None:
    """Refuse a data set whose elements are no batches of tensors.

    Args:
        data: A `tf.data.Dataset`.
        name: What it is called in a message.
    """
    leaves = flatten(as_data(data.element_spec))
    if odd := [leaf for leaf in leaves if not isinstance(leaf, tf.TensorSpec)]:
        raise UserError(
            f"{name} gives {type(odd[0]).__name__.removesuffix('Spec')}s; it must give tensors. Use"
            " .padded_batch(32) for rows of different lengths, tf.sparse.to_dense for sparse ones."
        )
    if data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise UserError(f"{name} has no end; add .take(steps) to the data set.")
    rows = {0 if leaf.shape.rank == 0 else leaf.shape[:1][0] for leaf in leaves} - {None}
    if 0 in rows or len(rows) > 1:
        shapes = ", ".join(str(leaf.shape) for leaf in leaves)
        raise UserError(
            f"{name} gives {shapes}, which are no batches with a row for each example: add"
            " .batch(32)."
        )


def build(model: keras.Model, specs: Data, part: str) -> None:
    """Create what `compile` and the data leave open: weights, metrics, the optimizer's variables.

    Args:
        model: Compiled.
        specs: TensorSpecs of a batch.
        part: What the data are called in a message: x or validation_data.

    Raises:
        UserError: If the model, its loss or a metric doesn't fit the data.
    """
    x, y, weight = part_names(part)
    if not 1 <= len(specs) <= 3:
        raise UserError(f"{part} has {len(specs)} parts; it must be (x, y) or (x, y, weights).")
    inputs, count = getattr(model, "inputs", None), len(flatten(specs[0]))
    if inputs and not isinstance(specs[0], dict) and count > len(inputs):
        raise UserError(
            f"{x} has {count} arrays, but the model takes {len(inputs)}. Give one array for each"
            f" input, with a row for each example, such as np.stack(list); targets are {y}."
        )
    loss = model._compile_config.config.get("loss")
    if len(specs) == 1 and loss and not _overridden(model, "train_step", "compute_loss"):
        raise UserError(f"{y} is missing: the loss that the model is compiled with needs targets.")
    if len(specs) == 3 and isinstance(specs[2], dict | list | tuple):
        of_y, of_weight = ([path for path, _ in walk(each)] for each in specs[1:])
        alike = type(specs[1]) is not type(specs[2]) or of_y == of_weight
        if len(of_y) != len(of_weight) or not alike:
            raise UserError(
                f"{weight} has {', '.join(of_weight)}, but {y} {', '.join(of_y)}. Give weights for"
                " each target, or one array for all of them."
            )
    with misfits_told(model, specs, part), model.distribute_strategy.scope():
        model._symbolic_build(data_batch=specs)  # what Keras' own `fit` does first


@contextmanager
def misfits_told(model: keras.Model, specs: Data, part: str) -> Iterator[None]:
    """Turn what Keras and TensorFlow raise if they can't take the data into words.

    Args:
        model: Compiled.
        specs: TensorSpecs of a batch.
        part: What the data are called in a message: x or validation_data.

    Raises:
        UserError: With the reason and all shapes.
    """
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        strategy = model.distribute_strategy
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and isinstance(
            error, tf.errors.OpError
        ):
            raise  # it may be another worker that went away: see `Devices.losses_told`
        # Without Keras' colours, its list of arguments, and its advice for another case.
        why = str(error).split("Exception encountered:\n")[-1].split("\n\nArguments received")[0]
        noise = r"\x1b\[\d*m|{{.*?}} ?|\[Op:.*|Exception encountered when calling .*\n\n"
        why = re.sub(noise, "", why).strip(" '\n")
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
def unreadable_told(examples: Any, part: str) -> Iterator[None]:
    """Name the example in whose reading a source fails.

    Raises:
        UserError: With what the source raised.
    """
    try:
        yield
    except UserError:
        raise
    except Exception:
        rows = evenly(len(examples), SAMPLED_ROWS) if isinstance(examples, Examples) else ()
        for row in map(int, rows):
            try:
                examples.read(np.array([row]))
            except Exception as error:
                raise UserError(
                    f"Example {row} of {part} can't be read: {type(error).__name__}: {error}. A"
                    f" source has to give every example from 0 to {len(examples) - 1}: mend this"
                    " one, or leave it out."
                ) from error
        raise


def check_trainable(model: keras.Model) -> None:
    """Refuse a model, once it is built, in which nothing would change."""
    if not model.trainable_variables and not _overridden(model, "train_step"):
        raise UserError(
            "The model has no trainable weights, so there is nothing to train. Add a layer that has"
            " some, or set trainable = True and compile again; exactrun.evaluate only measures."
        )


def check_evaluation(
    model: keras.Model, devices: Devices, batches: EvaluationBatches, part: str
) -> Loop:
    """Refuse what the model can't measure, by building the graph; return that.

    Args:
        model: Compiled.
        devices: Of the model.
        batches: To measure.
        part: What the data are called in a message: x or validation_data.
    """
    build(model, batches.specs(), part)
    check_values(model, batches, part)
    loop = Loop(model, Meter(model), devices, training=False)
    with misfits_told(model, batches.specs(), part):
        try:
            batches.first(1)
        except StopIteration:
            raise UserError(f"{part} is empty: there is nothing to measure.") from None
        loop.trace(batches.stream(devices))
    return loop


def check_values(
    model: keras.Model, batches: ExampleBatches | DatasetBatches | EvaluationBatches, part: str
) -> None:
    """Refuse what would be computed, but not as meant: texts, other shapes, NaN, other labels.

    Arrays are looked at as a whole, other sources by 64 examples, data sets by their shapes.

    Args:
        model: Built.
        batches: Of the data.
        part: What the data are called in a message: x or validation_data.

    Raises:
        UserError: Naming the first of each kind with its place and value.
    """
    names = part_names(part)
    specs = batches.specs() if isinstance(batches, EvaluationBatches) else batches.specs(None)
    inputs = getattr(model, "inputs", None)
    for name, structure in zip(names, specs, strict=False):
        texts = [path for path, spec in walk(structure, name) if spec.dtype == tf.string]
        read = not inputs or any(tensor.dtype == "string" for tensor in inputs)
        if texts and not (read if name == names[0] else _overridden(model, "train_step")):
            raise UserError(
                f"{texts[0]} holds texts, but the model takes numbers. Turn names into class"
                " indices, np.unique(names, return_inverse=True)[1], and other texts by"
                " layers.TextVectorization."
            )
    ranges = {}
    for path, target, weight, loss, output in _targets(model, specs, names[1]):
        _require_shapes(path, target, weight, loss, output)
        ranges[path] = _label_range(loss, output)
    examples = getattr(batches, "examples", getattr(batches, "_source", None))
    if not isinstance(examples, Examples):
        return
    for rows in _looked_at(examples):
        with unreadable_told(examples, part):
            data = as_data(examples.read(rows))
        for name, values in zip(names, data, strict=False):
            for path, array in walk(values, name):
                array = np.asarray(array)
                _require_finite(array, path, rows)
                if found := ranges.get(path):
                    _require_labels(array, path, rows, *found)


def require_finite(value: float, name: str, *, step: int, epoch: int) -> None:
    """Refuse to go on once the training has diverged.

    Args:
        value: A loss.
        name: What it is called.
        step: After which it was measured, from 1 on.
        epoch: From 1 on.

    Raises:
        UserError: With advice.
    """
    if not math.isfinite(value):
        raise UserError(
            f"The {name} is {value} at step {step}, in epoch {epoch}: the training has diverged."
            " The newest checkpoint is from before and stays. Start another checkpoint_dir with a"
            " smaller learning rate, with clipnorm=1.0 in the optimizer, or with float32 instead"
            " of a mixed precision."
        )


def part_names(part: str) -> tuple[str, str, str]:
    """Return what inputs, targets and weights of the data are called."""
    if part == "x":
        return "x", "y", "sample_weight"
    return f"{part}[0]", f"{part}[1]", f"{part}[2]"


def _overridden(model: keras.Model, *names: str) -> list[str]:
    """Return which of Keras' methods the model has of its own."""
    kind = type(model)
    own = (n for n in names if getattr(kind, n) is not getattr(keras.Model, n) or n in vars(model))
    return list(own)


def _array(leaf: Any, path: str, name: str) -> np.ndarray:
    """Return what is, or can be, an array of numbers or texts, with a row for each example."""
    try:
        array = np.asarray(leaf) if hasattr(leaf, "__array__") else None
    except (TypeError, ValueError):  # a symbolic tensor
        array = None
    if array is None or not array.ndim:
        raise UserError(
            f"{path} is {reprlib.repr(leaf)} ({type(leaf).__name__}); {name} must be an array with"
            " a row for each example, or a dict or list of such arrays. np.asarray makes one of a"
            " list of numbers."
        )
    if isinstance(leaf, np.ma.MaskedArray) and np.any(leaf.mask):
        raise UserError(f"{path} has masked values. Fill in numbers: {path}.filled(0).")
    _require_type(array, path)
    return array


def _require_type(array: np.ndarray, path: str) -> None:
    odd = [v for v in array.flat if not isinstance(v, str)] if array.dtype == object else []
    if odd or array.dtype.kind in "cmM" or array.dtype.fields:
        holds = f", such as {reprlib.repr(odd[0])}" if odd else ""
        raise UserError(
            f"{path} is an array of the type {array.dtype}{holds}, but must be one of real numbers"
            f" or of texts. Convert it, as by {path}.astype('float32'); examples of different"
            " lengths have to be padded, then np.stack makes one array of them."
        )


def _looked_at(examples: Examples) -> Iterator[np.ndarray]:
    root = examples
    while isinstance(root, Subset):
        root = root.base
    count = len(examples)
    if not isinstance(root, ArrayExamples):
        yield evenly(count, SAMPLED_ROWS)
        return
    for first in range(0, count, CHUNK_ROWS):
        yield np.arange(first, min(first + CHUNK_ROWS, count))


def _require_finite(given: np.ndarray, path: str, rows: np.ndarray) -> None:
    _require_type(given, path)
    if given.dtype.kind != "f":
        return
    floatx = keras.config.floatx().replace("bfloat16", "float32")
    # The sum is infinite or NaN if a value is, and much faster than looking at each.
    with np.errstate(all="ignore"):
        array = given.astype(floatx, copy=False)
        if np.isfinite(array.sum(dtype=np.float64)):
            return
    wrong = ~np.isfinite(array)
    if wrong.any():
        at = np.argwhere(wrong)[0]
        raise UserError(
            f"{path} holds {given[tuple(at)]} in example {rows[at[0]]}. Leave such examples out, or"
            f" fill in a number that {floatx} can hold."
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
    if len(specs) < 2 or not outputs or _overridden(model, "train_step", "compute_loss"):
        return
    targets = list(walk(specs[1], name))
    names = _output_names(model)
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
        why = (
            f"the model has {classes} classes, so labels are whole numbers from 0 to {classes - 1}"
        )
        return low, classes - 1, True, why
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
