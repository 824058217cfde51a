"""Batches whose order is a pure function of (seed, step), so that a run's place is its step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from .examples import Examples


def training_batches(
    x: Examples,
    y: Examples,
    *,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    shard: int = 0,
    shards: int = 1,
) -> tf.data.Dataset:
    """Return the batches of the steps from `start` up to, not including, `stop`.

    Every epoch visits the examples in an order of its own, a pseudorandom permutation of all of
    them that is computed index by index (`tf.random.experimental.index_shuffle`): nothing is
    buffered, and starting at step 1,000 costs no more than starting at 0. The examples that don't
    fill a last batch wait for another epoch.

    Args:
        x: Inputs, shape (examples, ...).
        y: Labels, shape (examples,).
        batch_size: Examples per step, of all shards; at most all of them.
        seed: Chooses the permutations.
        start, stop: Steps, counted from the beginning of the run.
        shard, shards: Which of how many equal parts of each batch to return.

    Returns:
        A data set of pairs (x, y), shapes (batch_size // shards, ...) and (batch_size // shards,).
    """
    examples, own = len(x), batch_size // shards
    steps_per_epoch = examples // batch_size
    gather = _gather(x, y)

    @tf.autograph.experimental.do_not_convert
    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        epoch, step_of_epoch = step // steps_per_epoch, step % steps_per_epoch
        first = step_of_epoch * batch_size + shard * own
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        rows = tf.random.experimental.index_shuffle(
            first + tf.range(own, dtype=tf.int64), key, max_index=examples - 1
        )
        return gather(tf.ensure_shape(rows, [own]))

    steps = tf.data.Dataset.range(start, stop)
    # Two batches at a time, handed over in order: the result doesn't depend on the machine.
    return steps.map(batch, num_parallel_calls=2, deterministic=True).prefetch(tf.data.AUTOTUNE)


def ordered_batches(x: Examples, y: Examples, *, batch_size: int) -> tf.data.Dataset:
    """Return all examples once and in order; the last batch may be smaller."""
    examples = len(x)
    gather = _gather(x, y)

    @tf.autograph.experimental.do_not_convert
    def batch(first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return gather(tf.range(first, tf.minimum(first + batch_size, examples)))

    return tf.data.Dataset.range(0, examples, batch_size).map(batch).prefetch(tf.data.AUTOTUNE)


def _gather(x: Examples, y: Examples) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Return a function from rows to their examples, read outside the graph: x may be on disk."""

    def read(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x[rows], y[rows]

    def gather(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inputs, labels = tf.numpy_function(read, [rows], [x.dtype, y.dtype], stateful=False)
        inputs.set_shape([rows.shape[0], *x.shape[1:]])
        labels.set_shape([rows.shape[0]])
        return inputs, labels

    return gather
