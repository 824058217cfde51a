"""What a user gives `fit` and `evaluate`, as batches and checkpoints."""

from __future__ import annotations

import os
import reprlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .batches import DatasetBatches, EvaluationBatches, ExampleBatches, as_data, require_batches
from .checkpoints import Checkpoints
from .checks import check_class_weight
from .data_checks import part_names, require_type, unreadable_told
from .errors import UserError
from .examples import Examples
from .sources import as_examples
from .structures import rebuild, walk


def training_batches(
    model: keras.Model,
    data: tuple[Any, Any, Any],
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    class_weight: Any,
) -> ExampleBatches | DatasetBatches:
    """Return the batches of `(x, y, sample_weight)`, as they were given to `fit`."""
    x, y, sample_weight = data
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
        return DatasetBatches(x, epochs=epochs)
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


def validation_batches(data: Any, batch_size: int) -> EvaluationBatches:
    """Return the batches of what was given to `fit` as `validation_data`."""
    parts = data if isinstance(data, list | tuple) and not hasattr(data, "_fields") else (data,)
    readable = isinstance(data, tf.data.Dataset) or hasattr(data, "__getitem__")
    if not 1 <= len(parts) <= 3 or not readable or isinstance(data, str):
        what = f"has {len(parts)} parts" if parts is data else f"is {reprlib.repr(data)}"
        raise UserError(
            f"validation_data {what}; it must be (x, y) or (x, y, sample_weight), a source of"
            " examples, or a tf.data.Dataset."
        )
    x, y, sample_weight = (*parts, None, None)[:3]
    return evaluation_batches(x, y, sample_weight, batch_size, "validation_data")


def evaluation_batches(
    x: Any, y: Any, sample_weight: Any, batch_size: int, part: str
) -> EvaluationBatches:
    """Return the batches of what is measured; it is called by its `part` in messages."""
    if isinstance(x, tf.data.Dataset):
        _require_alone(y, sample_weight, f"{part} is a tf.data.Dataset")
        require_batches(x, part)
        return EvaluationBatches(x, batch_size=int(batch_size))
    examples = _examples(x, y, sample_weight, part)
    with unreadable_told(examples, part):
        return EvaluationBatches(examples, batch_size=int(batch_size))


def checkpoints_in(given: Any, max_to_keep: int) -> Checkpoints:
    """Return the checkpoints of a `checkpoint_dir`, which need not exist yet."""
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
        examples = as_examples(_as_arrays((x, y, sample_weight), part))
    if not len(examples):
        raise UserError(f"{part} is empty: there is no example in it.")
    return examples


def _require_alone(y: Any, sample_weight: Any, what: str) -> None:
    if y is not None or sample_weight is not None:
        raise UserError(
            f"{what} and gives targets and weights itself, as (x, y) or (x, y, sample_weight);"
            " leave y and sample_weight out."
        )


def _as_arrays(data: tuple[Any, Any, Any], part: str) -> tuple[Any, ...]:
    """Return all that isn't None with its leaves as arrays, with a row for each example."""
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
                leaves[path] = leaf = _as_array(leaf, path, name)
            lengths[path] = len(leaf)
        found.append(rebuild(structure, iter(leaves.values())))
    if len(set(lengths.values())) > 1:
        some = ", ".join(f"{path} {length:,}" for path, length in list(lengths.items())[:8])
        raise UserError(
            f"All arrays need a row for each example, but they have different lengths: {some}. (A"
            " list counts as several arrays; one array is np.stack(list).)"
        )
    return tuple(found)


def _as_array(leaf: Any, path: str, name: str) -> np.ndarray:
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
    require_type(array, path)
    return array
