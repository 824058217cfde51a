"""A network of two branches and three heads, each with a loss of its own."""

from __future__ import annotations

import keras

from .config import Config
from .data import Splits


def build_model(splits: Splits, config: Config) -> keras.Model:
    image = keras.Input((12, 12, 1), name="image")
    numbers = keras.Input((5,), name="numbers")
    seen = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    both = keras.layers.Concatenate()([keras.layers.Dense(16, activation="relu")(seen), numbers])
    outputs = {
        "bright": keras.layers.Dense(1, activation="sigmoid", name="bright")(both),
        "largest": keras.layers.Dense(5, activation="softmax", name="largest")(both),
        "total": keras.layers.Dense(1, name="total")(both),
    }
    model = keras.Model({"image": image, "numbers": numbers}, outputs)
    model.compile(
        keras.optimizers.Adam(config.learning_rate),
        loss={
            "bright": "binary_crossentropy",
            "largest": "sparse_categorical_crossentropy",
            "total": "mse",
        },
        loss_weights={"bright": 1.0, "largest": 1.0, "total": 0.1},
        metrics={"bright": ["accuracy"], "largest": ["accuracy"], "total": ["mae"]},
    )
    return model
