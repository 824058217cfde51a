"""Batches whose order is a pure function of (seed, step), so that a run's place is its step."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def training_batches(
    x: np.ndarray, y: np.ndarray, *, batch_size: int, seed: int, start: int, stop: int
) -> tf.data.Dataset:
    """Return the batches of the steps from `start` up to, not including, `stop`.

    Every epoch visits the examples in an order of its own, a pseudorandom permutation that is
    computed index by index (`tf.random.experimental.index_shuffle`): nothing is buffered, and
    starting at step 1,000 costs no more than starting at 0. The examples that don't fill a last
    batch wait for another epoch.

    Args:
        x: Inputs, shape (examples, ...).
        y: Labels, shape (examples,).
        batch_size: Examples per step; at most all of them.
        seed: Chooses the permutations.
        start, stop: Steps, counted from the beginning of the run.

    Returns:
        A data set of pairs (x, y), shapes (batch_size, ...) and (batch_size,).
    """
    examples = len(x)
    steps_per_epoch = examples // batch_size
    with tf.device("CPU:0"):
        inputs, labels = tf.constant(x), tf.constant(y)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        epoch, step_of_epoch = step // steps_per_epoch, step % steps_per_epoch
        positions = step_of_epoch * batch_size + tf.range(batch_size, dtype=tf.int64)
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        rows = tf.random.experimental.index_shuffle(positions, key, max_index=examples - 1)
        rows = tf.ensure_shape(rows, [batch_size])
        return tf.gather(inputs, rows), tf.gather(labels, rows)

    steps = tf.data.Dataset.range(start, stop)
    # Two batches at a time, handed over in order: the result doesn't depend on the machine.
    return steps.map(batch, num_parallel_calls=2, deterministic=True).prefetch(tf.data.AUTOTUNE)


def test_batches(x: np.ndarray, y: np.ndarray, *, batch_size: int) -> tf.data.Dataset:
    """Return all examples once and in order; the last batch may be smaller."""
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size).prefetch(tf.data.AUTOTUNE)
