"""A tf.data pipeline that shuffles and distorts, in another way each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from .config import Config


@dataclass(frozen=True, kw_only=True)
class Splits:
    train: tuple[Any, ...]
    validation: tuple[Any, ...]
    test: tuple[Any, ...]
    class_names: tuple[str, ...] = ()
    origin: str = ""


def load_data(config: Config) -> Splits:
    random = np.random.default_rng(config.seed)
    y = np.arange(480, dtype=np.int32) % 3
    x = (random.normal(size=(480, 6)) + np.eye(3, 6)[y] * 3).astype(np.float32)

    def noisy(example: tf.Tensor, label: tf.Tensor, seed: tf.Tensor) -> tuple[Any, Any]:
        return example + tf.random.stateless_normal([6], seed) * 0.1, label

    def batches(epoch: int) -> tf.data.Dataset:
        data = tf.data.Dataset.from_tensor_slices((x[:320], y[:320]))
        data = data.shuffle(320, seed=config.seed * 1_000 + epoch)
        seeds = tf.data.Dataset.random(seed=epoch).batch(2)
        seeds = seeds.map(lambda pair: tf.bitcast(tf.cast(pair, tf.uint32), tf.int32))
        both = tf.data.Dataset.zip(data, seeds)
        return both.map(lambda example, seed: noisy(*example, seed)).batch(
            config.batch_size, drop_remainder=True
        )

    def whole(rows: slice) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices((x[rows], y[rows])).batch(32)

    return Splits(
        train=(batches,),
        validation=(whole(slice(320, 400)),),
        test=(whole(slice(400, 480)),),
        class_names=("one", "two", "three"),
    )
