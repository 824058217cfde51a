"""A small U: down, up, and across; a class for each pixel."""

from __future__ import annotations

import keras

from .config import Config
from .data import Splits


def build_model(splits: Splits, config: Config) -> keras.Model:
    x = keras.Input(splits.train[0].shape[1:])
    wide = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(
        keras.layers.Rescaling(1 / 255)(x)
    )
    deep = keras.layers.Conv2D(16, 3, padding="same", activation="relu", strides=2)(wide)
    up = keras.layers.Conv2DTranspose(8, 3, padding="same", activation="relu", strides=2)(deep)
    y = keras.layers.Conv2D(2, 1, activation="softmax")(keras.layers.Concatenate()([wide, up]))
    model = keras.Model(x, y)
    model.compile(
        keras.optimizers.AdamW(config.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    return model
