"""Handing over a trained model: saved, published, loaded again and compared before it counts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
import numpy as np

from ..data import Data
from ..errors import UserError
from .folders import RunFolders
from .steps import Evaluation, compile_evaluation


def deliver_model(
    model: keras.Model, data: Data, folders: RunFolders
) -> tuple[Path, Evaluation, str]:
    """Save the model, copy it to the persistent folder, load that copy and compare.

    Returns:
        The published file; how the loaded model answers the test examples; and what was compared,
        in words.

    Raises:
        UserError: If the loaded model answers differently from the trained one.
    """
    local = folders.work / "model.keras"
    model.save(local, include_optimizer=False)  # a checkpoint is what a training goes on from
    published = folders.publish(local)
    classes = len(data.class_names)

    def evaluate(model: keras.Model) -> Evaluation:
        return compile_evaluation(model, data.x_test, data.y_test, classes=classes)()

    wanted, found = evaluate(model), evaluate(keras.saving.load_model(published, compile=False))
    difference = float(np.max(np.abs(wanted.answers - found.answers)))
    if not difference < 1e-5:
        raise UserError(
            f"{published} answers differently from the trained model, by up to {difference:.2g}."
            " A layer of its own in model.py needs get_config() to be saved completely."
        )
    compared = f"loaded again, same answers to {len(found.answers)} test examples"
    return published, found, compared


def weights_sha256(model: keras.Model) -> str:
    """Return the SHA-256 over the type, shape and bytes of every weight, in the model's order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(weight.numpy())
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(value.data)
    return digest.hexdigest()
