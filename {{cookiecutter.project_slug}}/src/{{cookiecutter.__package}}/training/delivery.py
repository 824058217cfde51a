"""Handing over a trained model: saved, published, loaded again and compared before it counts."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from ..data import Data
from ..errors import UserError
from .folders import RunFolders


def deliver_model(
    model: keras.Model, data: Data, folders: RunFolders
) -> tuple[Path, np.ndarray, str]:
    """Save the model, copy it to the persistent folder, load that copy and compare.

    Returns:
        The published file; the loaded model's probabilities for all test examples, shape
        (examples, classes); and what was compared, in words.

    Raises:
        UserError: If the loaded model answers differently from the trained one.
    """
    local = folders.work / "model.keras"
    model.save(local)
    published = folders.publish(local)
    wanted = model.predict(data.x_test, verbose=0)
    found = keras.saving.load_model(published).predict(data.x_test, verbose=0)
    difference = float(np.max(np.abs(wanted - found)))
    if not difference < 1e-5:
        raise UserError(
            f"{published} answers differently from the trained model, by up to {difference:.2g}."
            " A layer of its own in model.py needs get_config() to be saved completely."
        )
    compared = f"loaded again, same answers to {len(found)} test examples"
    return published, found, compared
