"""A data set small enough for a test to train on: a few examples that are easy to tell apart."""

from __future__ import annotations

import numpy as np

from {{ cookiecutter.__package }}.data import Data

{% if cookiecutter.task == "image" %}

def small_data(*, train: int = 64, test: int = 32, classes: int = 4) -> Data:
    """Return noisy 32×32 pictures whose brightness grows with their class."""
    random = np.random.default_rng(0)
    examples = train + 2 * test  # as many to validate as to test
    labels = np.arange(examples, dtype=np.int32) % classes
    noise = random.integers(0, 40, (examples, 32, 32, 1))
    pictures = (noise + labels.reshape(-1, 1, 1, 1) * 50).astype(np.uint8)
    return Data(
        name="small pictures",
        x_train=pictures[:train],
        y_train=labels[:train],
        x_validation=pictures[train:-test],
        y_validation=labels[train:-test],
        x_test=pictures[-test:],
        y_test=labels[-test:],
        class_names=tuple("abcdefgh"[:classes]),
    )
{% else %}

def small_data(*, train: int = 64, test: int = 32, classes: int = 4) -> Data:
    """Return texts of 40 words, each class with words of its own."""
    random = np.random.default_rng(0)
    labels = np.arange(train + 2 * test, dtype=np.int32) % classes  # as many to validate as to test
    words = random.integers(0, 20, (len(labels), 40)) + 2 + labels[:, None] * 20
    words = words.astype(np.int32)
    return Data(
        name="small texts",
        x_train=words[:train],
        y_train=labels[:train],
        x_validation=words[train:-test],
        y_validation=labels[train:-test],
        x_test=words[-test:],
        y_test=labels[-test:],
        class_names=tuple("abcdefgh"[:classes]),
        vocabulary=tuple(f"word{index}" for index in range(120)),
    )
{% endif %}
