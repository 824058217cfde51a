"""What learns: a small convolutional network over words, its loss and its optimizer."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from .config import Config
from .data import Data


def text_network(
    *,
    vocabulary_size: int,
    sequence_length: int,
    classes: int,
    dropout: float = 0.0,
) -> keras.Model:
    """Build an embedding of seven dimensions and two convolutions, for texts of a fixed length.

    For 30,982 words, length 300 and 46 classes (the Reuters newswires) it has 332,856 parameters.

    Args:
        vocabulary_size: Number of words, padding and unknown included.
        sequence_length: Words per text (16 or more).
        classes: Number of classes; 1 means yes or no, answered by one sigmoid.
        dropout: Share of words, and of units before the last layer, dropped while training.

    Returns:
        A model from indices of words, integers of shape (batch, sequence_length), to
        probabilities, float32, shape (batch, classes).
    """
    layers: list[keras.Layer] = [
        keras.Input((sequence_length,), dtype="int32"),
        keras.layers.Embedding(vocabulary_size, 7),
    ]
    if dropout:
        # Word dropout (Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic Methods"):
        # whole words vanish, so that the network can't lean on single ones.
        layers.append(keras.layers.Dropout(dropout, noise_shape=(None, sequence_length, 1)))
    for filters, width in ((64, 5), (32, 3)):
        layers.append(keras.layers.Conv1D(filters, width, activation="relu"))
        layers.append(keras.layers.MaxPooling1D(2))
    layers.append(keras.layers.Flatten())
    if dropout:
        layers.append(keras.layers.Dropout(dropout))
    activation = "sigmoid" if classes == 1 else "softmax"
    layers.append(keras.layers.Dense(classes, activation=activation, dtype="float32"))
    return keras.Sequential(layers)


def build_model(data: Data, config: Config) -> keras.Model:
    """Build the network for this data; its first weights depend on `config.seed` alone."""
    keras.utils.set_random_seed(config.seed)
    return text_network(
        vocabulary_size=len(data.vocabulary),
        sequence_length=data.x_train.shape[1],
        classes=len(data.class_names),
        dropout=config.dropout,
    )
