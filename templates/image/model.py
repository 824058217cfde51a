"""What learns: a small convolutional network, its loss and its optimizer."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from .config import Config
from .data import Data
from .errors import UserError


def image_network(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    dropout: float = 0.0,
    shift: float = 0.0,
    rotation: float = 0.0,
) -> keras.Model:
    """Build three convolutions with pooling and a dense layer, for pictures of any size.

    For 150×150×3 and one class it has 9,494,561 parameters: the network of many a beginner's
    course on cats and dogs.

    Args:
        input_shape: Height, width (22 pixels or more) and channels. Values from 0 to 255.
        classes: Number of classes; 1 means yes or no, answered by one sigmoid.
        dropout: Share of units dropped before the last layer, while training.
        shift: Largest random shift while training, as a share of the side.
        rotation: Largest random rotation while training, in full turns.

    Returns:
        A model from (batch, *input_shape) to probabilities, float32, shape (batch, classes).
    """
    layers: list[keras.Layer] = [keras.Input(input_shape), keras.layers.Rescaling(1 / 255)]
    # Inside the model, so that the state of their random numbers is saved and restored with it.
    if shift:
        layers.append(keras.layers.RandomTranslation(shift, shift, fill_mode="constant"))
    if rotation:
        layers.append(keras.layers.RandomRotation(rotation, fill_mode="constant"))
    for filters in (16, 32, 64):
        layers.append(keras.layers.Conv2D(filters, 3, activation="relu"))
        layers.append(keras.layers.MaxPooling2D())
    layers += [keras.layers.Flatten(), keras.layers.Dense(512, activation="relu")]
    if dropout:
        layers.append(keras.layers.Dropout(dropout))
    activation = "sigmoid" if classes == 1 else "softmax"
    layers.append(keras.layers.Dense(classes, activation=activation, dtype="float32"))
    return keras.Sequential(layers)


def build_model(data: Data, config: Config) -> keras.Model:
    """Build the network for this data; its first weights depend on `config.seed` alone.

    Raises:
        UserError: If the examples are no pictures, or too small for three poolings.
    """
    shape = data.x_train.shape[1:]
    if len(shape) != 3 or min(shape[:2]) < 22:
        raise UserError(
            f"The examples have the shape {shape}; this network takes pictures, (height, width,"
            " channels), of 22×22 pixels or more. Pack larger ones, or change model.py."
        )
    keras.utils.set_random_seed(config.seed)
    return image_network(
        input_shape=shape,
        classes=len(data.class_names),
        dropout=config.dropout,
        shift=config.shift,
        rotation=config.rotation,
    )
