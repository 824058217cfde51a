"""Handing over a trained model: saved, published, loaded again and compared before it counts."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from ..data import Data
from ..errors import UserError
from .folders import RunFolders

COMPARED = 256
"""Test examples on which the loaded model must give the trained model's answers."""


def deliver_model(model: keras.Model, data: Data, folders: RunFolders) -> tuple[Path, str]:
    """Save the model, copy it to the persistent folder, load that copy and compare.

    Returns:
        The published file, and what was compared, in words.

    Raises:
        UserError: If the loaded model answers differently from the trained one.
    """
    local = folders.work / "model.keras"
    model.save(local)
    published = folders.publish(local)
    examples = data.x_test[:COMPARED]
    wanted = model.predict(examples, verbose=0)
    found = keras.saving.load_model(published).predict(examples, verbose=0)
    difference = float(np.max(np.abs(wanted - found)))
    if not difference < 1e-5:
        raise UserError(
            f"{published} answers differently from the trained model, by up to {difference:.2g}."
            " A layer of its own in model.py needs get_config() to be saved completely."
        )
    return published, f"loaded again, equal on {len(examples)} test examples to {difference:.1g}"
