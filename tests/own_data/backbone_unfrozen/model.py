"""The first run's model, its backbone no longer frozen, at a small learning rate."""

from __future__ import annotations

from pathlib import Path

import keras

from .config import Config
from .data import Splits

FROZEN = Path(__file__).resolve().parents[2] / "runs" / "frozen" / "model.keras"


def build_model(splits: Splits, config: Config) -> keras.Model:
    model = keras.models.load_model(FROZEN, compile=False)
    model.trainable = True
    model.compile(
        keras.optimizers.Adam(config.learning_rate / 100),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
