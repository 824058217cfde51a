"""Saving a trained model for those who use it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import explain


def save_model(model: Any, path: str | Path) -> Path:
    """Save a model as a `.keras` file, whole or not at all, without its optimizer.

    Keras 3.13 ignores `include_optimizer=False` for this format; the optimizer, which nobody needs
    for predictions, makes the file up to three times as large. What a training goes on from is its
    checkpoint.

    Args:
        model: A `keras.Model`; it stays as it is.
        path: The file, whose name ends in `.keras`.

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
    partial = path.with_name(f".{path.stem}.partial.keras")
    optimizer, model.optimizer = model.optimizer, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        return partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(
            f"{path} can't be written: {explain(error)}. Choose another place."
        ) from error
    finally:
        model.optimizer = optimizer
