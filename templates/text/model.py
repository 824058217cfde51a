"""What learns: a small convolutional network over words."""

from __future__ import annotations

import keras

from .config import Config
from .data import Splits


def text_network(
    *, vocabulary_size: int, sequence_length: int, classes: int, dropout: float = 0.0
) -> keras.Model:
    """Build an embedding of seven dimensions and two convolutions, for texts of a fixed length.

    For 30,982 words, length 300 and 46 classes (the Reuters newswires) it has 332,856 parameters.

    Args:
        vocabulary_size: Number of words, padding and unknown included.
        sequence_length: Words per text (16 or more).
        classes: Number of classes; 1 means yes or no, answered by one sigmoid.
        dropout: Fraction of words, and of units before the last layer, dropped while training.

    Returns:
        A model from words' numbers, shape (batch, sequence_length), to probabilities, shape
        (batch, classes).
    """
    return keras.Sequential(
        [
            keras.Input((sequence_length,), dtype="int32"),
            keras.layers.Embedding(vocabulary_size, 7),
            # Word dropout (Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic
            # Methods"): whole words vanish, so that the network can't lean on single ones.
            keras.layers.Dropout(dropout, noise_shape=(None, sequence_length, 1)),
            keras.layers.Conv1D(64, 5, activation="relu"),
            keras.layers.MaxPooling1D(2),
            keras.layers.Conv1D(32, 3, activation="relu"),
            keras.layers.MaxPooling1D(2),
            keras.layers.Flatten(),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(
                classes, activation="sigmoid" if classes == 1 else "softmax", dtype="float32"
            ),
        ]
    )


def build_model(splits: Splits, config: Config) -> keras.Model:
    """Build and compile the network for these examples."""
    x, _ = splits.train
    model = text_network(
        vocabulary_size=splits.vectorize.vocabulary_size(),
        sequence_length=x.shape[1],
        classes=len(splits.class_names),
        dropout=config.dropout,
    )
    steps = config.epochs * (len(x) // config.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, max(1, steps))
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def export_model(model: keras.Model, splits: Splits) -> keras.Model:
    """Return what is saved for those who use the model: it takes texts."""
    exported = keras.Sequential([keras.Input((), dtype="string"), splits.vectorize, model])
    exported.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return exported
