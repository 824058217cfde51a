"""What is learned from: docstrings of six Python libraries, each to be told from the other five.

To learn from data of your own, replace `load_data`. A part is a tuple of what `fit` takes first:

- arrays: `(x, y)` or `(x, y, sample_weight)`, each also a tuple or dict of arrays;
- `(source,)`, read while it trains: `exactrun.csv_rows`, `exactrun.image_directory`,
  `exactrun.open_shards`, or anything with a length whose `[index]` is an example `(x, y)`;
  `exactrun.split` makes parts of it;
- `(function,)`, which takes the epoch and returns a `tf.data.Dataset` of batches.

What lies on Drive is copied to the local disk first: `exactrun.stage(source, directory)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import exactrun
import keras
import numpy as np

from .config import Config


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The examples to learn from, to validate by and to test on, each `(x, y)`.

    To train fast, the texts are made into numbers once. The saved model does that itself: it is
    tested on texts. The names of the classes, by their index, are empty where there are none.
    `run.json` keeps the origin: what the examples are, whose, and under which licence.
    """

    train: tuple[Any, ...]
    validation: tuple[Any, ...]
    test: tuple[Any, ...]
    class_names: tuple[str, ...] = ()
    origin: str = ""
    vectorize: keras.layers.TextVectorization


def load_data(config: Config) -> Splits:
    """Load the docstrings: words' numbers, int32, shape (examples, sequence_length).

    `config.data_dir` may name a CSV file of your own, in UTF-8, with the columns `text` and
    `label`.
    """
    if config.data_dir:
        texts = exactrun.csv_rows(config.data_dir, text="text", target="label", classes=True)
        origin = f"texts in {config.data_dir}"
    else:
        texts = exactrun.datasets.load_docstrings()
        origin = "docstrings: BSD-3-Clause; Keras' are Apache-2.0, Matplotlib's its own"
    parts = exactrun.split(texts, validation=0.08, test=0.2, seed=config.seed, stratify=True)
    vectorize = keras.layers.TextVectorization(
        max_tokens=config.vocabulary_size, output_sequence_length=config.sequence_length
    )
    vectorize.adapt(parts.train[:][0])

    # Texts that differ in rare words only look alike to the model: what is tested or validated
    # with is not learned from.
    seen = {words.tobytes() for words in _numbers(vectorize, parts.test)[0]}
    numbered = {}
    for name in ("validation", "train"):
        x, y = _numbers(vectorize, getattr(parts, name))
        new = np.array([words.tobytes() not in seen for words in x])
        numbered[name] = x[new], y[new]
        seen.update(words.tobytes() for words in x)
    return Splits(
        **numbered,
        test=parts.test[:],
        class_names=texts.class_names,
        origin=origin,
        vectorize=vectorize,
    )


def _numbers(
    vectorize: keras.layers.TextVectorization, examples: exactrun.Examples
) -> tuple[np.ndarray, np.ndarray]:
    texts, labels = examples[:]
    return np.asarray(vectorize(texts), np.int32), labels
