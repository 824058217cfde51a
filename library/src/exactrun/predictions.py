"""What a trained model says of the classes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from .errors import UserError
from .structures import Array


def class_probabilities(model: Any, x: Any) -> Array:
    """Predict the probability of each class.

    The last layer may give them itself. If it has no activation, it gives logits, whose softmax
    they are. A single number is that of the second of two classes.

    Args:
        model: A `keras.Model` with one output.
        x: What `model.predict` takes.

    Returns:
        Shape (examples, classes).

    Raises:
        UserError: If the model has several outputs.

    Example:
        >>> yes_or_no = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> exactrun.class_probabilities(yes_or_no, np.zeros((1, 4)))
        array([[0.5, 0.5]], dtype=float32)
    """
    found = model.predict(x, verbose=0)
    if not isinstance(found, np.ndarray):
        raise UserError("The model has several outputs; classes are those of a single one.")
    last = model
    while getattr(last, "layers", None):
        last = last.layers[-1]
    single = found.shape[-1] == 1
    if getattr(last, "activation", None) is keras.activations.linear:
        squash = keras.ops.sigmoid if single else keras.ops.softmax
        found = keras.ops.convert_to_numpy(squash(found))
    return np.concatenate([1 - found, found], axis=-1) if single else found
