"""A data set small enough for a test to train on: a few examples that are easy to tell apart."""

from __future__ import annotations

import numpy as np

from {{ cookiecutter.__package }}.data import Data

{% if cookiecutter.task == "image" %}

def small_data(*, train: int = 64, test: int = 32, classes: int = 4) -> Data:
    """Return noisy 32×32 pictures whose brightness grows with their class."""
    random = np.random.default_rng(0)
    labels = np.arange(train + test, dtype=np.int32) % classes
    noise = random.integers(0, 40, (train + test, 32, 32, 1))
    pictures = (noise + labels.reshape(-1, 1, 1, 1) * 50).astype(np.uint8)
    return Data(
        name="small pictures",
        x_train=pictures[:train],
        y_train=labels[:train],
        x_test=pictures[train:],
        y_test=labels[train:],
        class_names=tuple("abcdefgh"[:classes]),
    )
{% else %}

def small_data(*, train: int = 64, test: int = 32, classes: int = 4) -> Data:
    """Return texts of 40 words, each class with words of its own."""
    random = np.random.default_rng(0)
    labels = np.arange(train + test, dtype=np.int32) % classes
    words = random.integers(0, 20, (train + test, 40)) + 2 + labels[:, None] * 20
    words = words.astype(np.int32)
    return Data(
        name="small texts",
        x_train=words[:train],
        y_train=labels[:train],
        x_test=words[train:],
        y_test=labels[train:],
        class_names=tuple("abcdefgh"[:classes]),
        vocabulary=tuple(f"word{index}" for index in range(120)),
    )
{% endif %}
