"""A logistic regression with a hidden layer; its one output is a probability."""

from __future__ import annotations

import keras

from .config import Config
from .data import Splits


def build_model(splits: Splits, config: Config) -> keras.Model:
    x, _ = splits.train
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC()])
    return model
