"""Saving a trained model for those who use it, and proving that what is loaded is what was trained.

What the file says besides the model, such as the names of the classes, is an entry of its own in
it, `exactrun.json`. Keras loads the file as any other.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError
from .files import explain, hidden, patiently, require_portable
from .structures import flatten, map_leaves
from .version import __version__

ENTRY = "exactrun.json"
CHECKED_EXAMPLES = 256
"""How many examples the trained and the loaded model are compared on."""

CHECKED_BATCH = 32
ADVICE = (
    "A class or function of your own in a model needs @keras.saving.register_keras_serializable()"
    " above it, and a layer with arguments of its own a get_config() that returns them all. The"
    " training itself is safe in its checkpoints: fix the class, then run the same again."
)

TF32_PRECISION = 2.0**-10
"""Of TensorFloat-32, in which GPUs from compute capability 8.0 on multiply float32."""


def save_model(model: Any, path: str | Path, *, class_names: Sequence[str] = ()) -> Path:
    """Save a model as a `.keras` file, whole or not at all, without its optimizer.

    Keras 3.13 ignores `include_optimizer=False` for this format; the optimizer, which nobody needs
    for predictions, makes the file up to three times as large. What a training goes on from is its
    checkpoint.

    Args:
        model: A `keras.Model`; it stays as it is.
        path: The file, whose name ends in `.keras`.
        class_names: The name of each class by its index; `exactrun.load_metadata` reads them.

    Raises:
        UserError: If the name ends otherwise, or the file can't be written.

    Example:
        >>> exactrun.save_model(model, directory / "model.keras").name
        'model.keras'
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise UserError(
            f"The file {path} has to end in .keras, such as {path.with_suffix('.keras')}."
        )
    require_portable(path.name)
    metadata = {"library": __version__, "class_names": [str(name) for name in class_names]}
    partial = hidden(path, "partial.keras")
    inside = [each for each in model._flatten_layers() if getattr(each, "optimizer", None)]
    before = [(each.optimizer, each.compiled) for each in inside]
    try:
        for each in inside:  # the model itself, and a trained one that is a layer of it
            each.optimizer = None
            each.compiled &= each is model  # or, on loading, Keras misses what was its optimizer's
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(partial)
        with zipfile.ZipFile(partial, "a") as file:
            # The time of an entry is fixed, as Keras does it.
            file.writestr(zipfile.ZipInfo(ENTRY), json.dumps(metadata, ensure_ascii=False))
        with partial.open("r+b") as written:
            os.fsync(written.fileno())
        return patiently(partial.replace, path)
    except OSError as error:
        raise UserError(
            f"{path} can't be written: {explain(error)}. Choose another place."
        ) from error
    except (NotImplementedError, TypeError, ValueError) as error:  # get_config's, by experience
        raise UserError(f"The model can't be saved: {_said(error)}. {ADVICE}") from error
    finally:
        for each, state in zip(inside, before, strict=True):
            each.optimizer, each.compiled = state
        patiently(partial.unlink, missing_ok=True)


def load_metadata(path: str | Path) -> dict[str, Any]:
    """Return what `exactrun.save_model` has written into a `.keras` file besides the model.

    Returns:
        `class_names`, a list of texts by class index, empty if none were given; and `library`, the
        release that wrote it. Of a file that Keras alone has written, empty ones.

    Raises:
        UserError: If it is no readable `.keras` file.

    Example:
        >>> path = exactrun.save_model(model, directory / "model.keras", class_names=["cat", "dog"])
        >>> exactrun.load_metadata(path)["class_names"]
        ['cat', 'dog']
    """
    try:
        with zipfile.ZipFile(path) as file:
            if ENTRY not in file.namelist():
                return {"library": "", "class_names": []}
            found: dict[str, Any] = json.loads(file.read(ENTRY))
            return found
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise UserError(
            f"{path} can't be read as a .keras file: {explain(error)}. Give a file that"
            " run.save_model or exactrun.save_model has written."
        ) from error


def load_model(path: Path) -> Any:
    """Load a model that this process has just saved, ready to predict.

    Raises:
        UserError: If Keras can't, naming the class that it misses.
        OSError: If the file can't be read.
    """
    import keras

    path.open("rb").close()  # Keras would speak of a file that is not there
    try:
        # Its bytes are this process' own: a Lambda layer in it may be run.
        return keras.saving.load_model(path, compile=False, safe_mode=False)
    except OSError:
        raise
    except Exception as error:  # TypeError, ValueError, whatever a get_config leads to
        raise UserError(f"{path} can't be loaded again: {_said(error)}. {ADVICE}") from error


def compile_like(loaded: Any, model: Any) -> None:
    """Compile a model with another one's loss and metrics, and without an optimizer.

    A model whose class has a `compile` of its own stays as it is: its user compiles it.
    """
    import keras

    if not model.compiled or type(model).compile is not keras.Model.compile:
        return

    def anew(metric: Any) -> Any:
        if not isinstance(metric, keras.metrics.Metric):
            return metric
        try:
            return type(metric).from_config(metric.get_config())
        except Exception:  # one of the user's that can't be made again is taken as it is
            return metric

    config = {
        name: keras.tree.map_structure(anew, value) if "metrics" in name else value
        for name, value in model._compile_config.config.items()
        if name in ("loss", "loss_weights", "metrics", "weighted_metrics")
    }
    loaded.compile(optimizer=None, **config)


def require_same_predictions(model: Any, loaded: Any, examples: Any, *, path: Path) -> str:
    """Compare the predictions of the trained model and of the one that was loaded.

    Args:
        model: As trained; its random numbers go on as if nothing had been computed.
        loaded: What `load_model` returned.
        examples: What `fit` takes as `x`: arrays, structures of them, texts, a source, or a
            `tf.data.Dataset`; the first 256 are taken.
        path: The file, for messages.

    Returns:
        What was compared, in words.

    Raises:
        UserError: If they differ by more than the precision of the computation explains.
    """
    inputs = _inputs(examples)
    rows = len(flatten(inputs)[0])
    try:
        wanted = _predict(model, inputs, rows)
    except Exception as error:  # whatever the layers raise
        raise UserError(
            f"check_on does not fit the model: {_said(error)}. Give what the model takes, such as"
            " x_test, without targets."
        ) from error
    found = _predict(loaded, inputs, rows)
    allowed, worst = _tolerance(model), 0.0
    if len(wanted) != len(found):
        raise UserError(_differs(path, f"{len(found)} outputs instead of {len(wanted)}"))
    for index, (expected, given) in enumerate(zip(wanted, found, strict=True)):
        output = f"output {index}, " if len(wanted) > 1 else ""
        if expected.shape != given.shape or expected.dtype != given.dtype:
            raise UserError(
                _differs(
                    path,
                    f"{output}{given.dtype} of shape {given.shape} instead of {expected.dtype} of"
                    f" shape {expected.shape}",
                )
            )
        if not _is_float(expected):
            if not np.array_equal(expected, given):
                raise UserError(_differs(path, f"{output}which has no fractions"))
            continue
        expected, given = expected.astype(np.float64), given.astype(np.float64)
        finite = np.isfinite(expected)
        scale = float(np.max(np.abs(expected[finite]), initial=0.0))
        apart = float(np.max(np.abs(expected[finite] - given[finite]), initial=0.0))
        special = np.array_equal(expected[~finite], given[~finite], equal_nan=True)
        if not (apart <= allowed * scale and special):  # written so that NaN is refused as well
            what = f"{output}by up to {apart:.2g}, where values reach {scale:.2g}"
            raise UserError(_differs(path, what))
        worst = max(worst, apart / scale if scale else 0.0)
    agree = f"to {worst:.1g} of the largest value" if worst else "to the bit"
    return f"loaded again, it predicts the same for {rows} examples, {agree}"


def weights_sha256(model: Any) -> str:
    """Return the SHA-256 over the type, shape and bytes of every weight, in the model's order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(weight.numpy())
        digest.update(f"{value.dtype.name}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def same_content(one: Path, other: Path) -> bool:
    """Tell whether two `.keras` files hold the same model and metadata, whenever they were saved.

    A file that can't be read, or isn't there, holds nothing.
    """

    def content(path: Path) -> dict[str, Any]:
        with zipfile.ZipFile(path) as file:
            found: dict[str, Any] = {i.filename: (i.file_size, i.CRC) for i in file.infolist()}
            # Keras writes addresses of objects into it, which say only which of them are the same.
            ranks: dict[str, int] = {}
            found["config.json"] = re.sub(
                r'("shared_object_id": )(\d+)',
                lambda match: match[1] + str(ranks.setdefault(match[2], len(ranks))),
                file.read("config.json").decode(),
            )
        del found["metadata.json"]  # when it was saved, and by which Keras
        return found

    try:
        return content(one) == content(other)
    except (OSError, zipfile.BadZipFile, KeyError):
        return False


def _inputs(examples: Any) -> Any:
    """Return the first examples' inputs as a structure of arrays."""
    import tensorflow as tf

    from .batches import EvaluationBatches
    from .sources import ArrayExamples, as_examples

    if isinstance(examples, tf.data.Dataset):
        return EvaluationBatches(examples, batch_size=CHECKED_BATCH).first(CHECKED_EXAMPLES)[0]
    if isinstance(examples, list | tuple) and all(isinstance(each, str) for each in examples):
        examples = np.asarray(examples, object)
    structure = isinstance(examples, str | bytes | tuple | list | dict)
    if structure or hasattr(examples, "__array__"):
        examples = ArrayExamples((examples,))
    source = as_examples(examples)
    if not len(source):
        raise UserError("check_on is empty: give some examples, such as those of the test.")
    # Of (x,), (x, y) or (x, y, sample_weight).
    return EvaluationBatches(source, batch_size=CHECKED_BATCH).first(CHECKED_EXAMPLES)[0]


def _predict(model: Any, inputs: Any, rows: int) -> list[Any]:
    """Return each output for all rows; what the model draws at random is put back."""
    import tensorflow as tf

    state = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    parts = []
    for start in range(0, rows, CHECKED_BATCH):
        batch = map_leaves(
            lambda array, start=start: tf.constant(array[start : start + CHECKED_BATCH]), inputs
        )
        outputs = tf.nest.flatten(model(batch, training=False), expand_composites=True)
        parts.append([np.asarray(each) for each in outputs])
    for variable, value in state:
        variable.assign(value)
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def _tolerance(model: Any) -> float:
    """Return the allowed difference, as a share of the largest value of an output.

    The same kernels give the same bits; others, which a GPU may choose anew, round differently.
    """
    import ml_dtypes
    import tensorflow as tf

    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "compute_dtype")]
    kinds = {layer.compute_dtype for layer in layers} & {"float16", "bfloat16", "float32"}
    precision = max((float(ml_dtypes.finfo(kind).eps) for kind in kinds), default=0.0)
    if (
        tf.config.experimental.tensor_float_32_execution_enabled()
        and tf.config.list_physical_devices("GPU")
    ):
        precision = max(precision, TF32_PRECISION)
    return max(1e-5, 4 * precision)


def _is_float(array: Any) -> bool:
    return bool(np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16")


def _differs(path: Path, how: str) -> str:
    return (
        f"{path} predicts differently from the trained model: {how}. A layer of your own has to"
        " return all arguments of its __init__ by get_config(), and to hold its state in"
        " add_weight's variables."
    )


def _said(error: BaseException) -> str:
    """Return the part of Keras' pages that tells."""
    text = str(error)
    found = re.search(r"Could not locate (?:class|function) '[^']*'", text)
    lines = text.strip().splitlines() or [type(error).__name__]
    return found[0] if found else lines[0].rstrip(".:")[:300]
