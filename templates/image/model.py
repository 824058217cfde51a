"""What learns: a small convolutional network."""

from __future__ import annotations

import keras

from .config import Config
from .data import Splits


def image_network(
    *, input_shape: tuple[int, int, int], classes: int, dropout: float = 0.0
) -> keras.Model:
    """Build three convolutions with pooling and a dense layer, for pictures of any size.

    For 150×150×3 and one class it has 9,494,561 parameters: the network of many a beginner's
    course on cats and dogs.

    Args:
        input_shape: Height, width (18 pixels or more) and channels. Values from 0 to 255.
        classes: Number of classes; 1 means yes or no, answered by one sigmoid.
        dropout: Fraction of units dropped before the last layer, while training.

    Returns:
        A model from (batch, *input_shape) to probabilities, shape (batch, classes).
    """
    return keras.Sequential(
        [
            keras.Input(input_shape),
            # What prepares the pictures is a part of the model, and so of the saved one.
            keras.layers.Rescaling(1 / 255),
            keras.layers.ZeroPadding2D(2),  # of 28 pixels, the last pooling would see a single one
            # These two act only while training.
            keras.layers.RandomTranslation(0.08, 0.08, fill_mode="constant"),
            keras.layers.RandomRotation(0.03, fill_mode="constant"),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(512, activation="relu"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(
                classes, activation="sigmoid" if classes == 1 else "softmax", dtype="float32"
            ),
        ]
    )


def build_model(splits: Splits, config: Config) -> keras.Model:
    """Build and compile the network for these examples."""
    x, _ = splits.test
    model = image_network(
        input_shape=x.shape[1:], classes=len(splits.class_names), dropout=config.dropout
    )
    steps = config.epochs * (len(splits.train[0]) // config.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, max(1, steps))
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
