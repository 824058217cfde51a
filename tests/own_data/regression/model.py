"""A small network with a normalization that is adapted to the data."""

from __future__ import annotations

import keras

from .config import Config
from .data import Splits


def build_model(splits: Splits, config: Config) -> keras.Model:
    x, _ = splits.train
    normalize = keras.layers.Normalization()
    normalize.adapt(x)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            normalize,
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(
        keras.optimizers.Adam(config.learning_rate, clipnorm=1.0),
        loss="huber",
        metrics=[keras.metrics.RootMeanSquaredError()],
    )
    return model
