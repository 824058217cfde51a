"""A logistic regression with a hidden layer; its one output is a probability."""

from __future__ import annotations

import keras

from .config import Config
from .data import Splits


def build_model(splits: Splits, config: Config) -> keras.Model:
    x, _ = splits.train
    inputs = {name: keras.Input(x[name].shape[1:], name=name) for name in x}
    y = keras.layers.BatchNormalization()(keras.layers.Concatenate()([*inputs.values()]))
    y = keras.layers.Dense(16, activation="relu")(y)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(y))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC()])
    return model
