"""What Keras' own `fit` gives when it is fed the batches that exactrun's makes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from cases import BATCH, ROWS, Case

from exactrun.structures import map_leaves

SEED = 5


def keras_fit(case: Case, *, epochs: int, callbacks: Any = ()) -> keras.callbacks.History:
    """Train by Keras."""
    return case.model.fit(
        batches_of(weighted(case), epochs),
        steps_per_epoch=ROWS // BATCH,
        epochs=epochs,
        callbacks=list(callbacks),
        validation_data=for_keras(case.data),
        validation_batch_size=BATCH,
        verbose=0,
    )


def batches_of(case: Case, epochs: int) -> tf.data.Dataset:
    """Return the batches that `fit` makes, computed apart from it."""

    def generate() -> Any:
        for epoch in range(epochs):
            rows = tf.random.experimental.index_shuffle(
                tf.range(ROWS, dtype=tf.int64), [SEED, epoch], max_index=ROWS - 1
            ).numpy()
            for start in range(0, ROWS - BATCH + 1, BATCH):
                yield tuples(map_leaves(lambda a: a[rows[start : start + BATCH]], case.data))

    def signature(array: np.ndarray) -> tf.TensorSpec:
        dtype = tf.string if array.dtype.kind == "U" else array.dtype
        return tf.TensorSpec(
            [BATCH, *array.shape[1:]], tf.float32 if dtype == np.float64 else dtype
        )

    return tf.data.Dataset.from_generator(
        generate, output_signature=tuples(map_leaves(signature, case.data))
    )


def tuples(structure: Any) -> Any:
    """Return a structure with tuples for lists, as tf.data wants it."""
    if isinstance(structure, dict):
        return {key: tuples(part) for key, part in structure.items()}
    if isinstance(structure, list | tuple):
        return tuple(map(tuples, structure))
    return structure


def for_keras(data: Any) -> Any:
    """Return data as Keras takes them: arrays of texts only as tensors."""
    return tuples(map_leaves(lambda a: tf.constant(a) if a.dtype.kind == "U" else a, data))


def weighted(case: Case) -> Case:
    """Return a case with sample weights for its class weights, which a data set can't have."""
    given = case.options.get("class_weight")
    weights = None if given is None else np.array([given.get(int(y), 1.0) for y in case.y], "f")
    return Case(case.model, case.x, case.y, case.sample_weight if weights is None else weights)
