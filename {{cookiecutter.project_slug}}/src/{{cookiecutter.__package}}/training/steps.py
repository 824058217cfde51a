"""What one step computes: the model's update, and the means that are shown of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ..model import build_loss, build_metric


class Metrics:
    """Means over an epoch's training and over its test, kept on the device until they are read.

    Args:
        classes: Number of classes, which decides the kind of loss.
    """

    def __init__(self, classes: int) -> None:
        self.loss_of = build_loss(classes)
        self._training = {"loss": keras.metrics.Mean(), "accuracy": build_metric(classes)}
        self._test = {"test_loss": keras.metrics.Mean(), "test_accuracy": build_metric(classes)}

    @property
    def variables(self) -> list[Any]:
        """The state of an epoch under way, which a checkpoint in its middle has to hold."""
        return [variable for m in self._training.values() for variable in m.variables]

    @property
    def loss(self) -> float:
        """Mean training loss per example since the last reset."""
        return float(self._training["loss"].result())

    def update(self, y: tf.Tensor, predicted: tf.Tensor, losses: tf.Tensor, *, test: bool) -> None:
        """Take in a batch's answers and its losses, one per example."""
        loss, accuracy = (self._test if test else self._training).values()
        loss.update_state(losses)
        accuracy.update_state(y, predicted)

    def reset(self, *, test: bool) -> None:
        """Begin anew."""
        for metric in (self._test if test else self._training).values():
            metric.reset_state()

    def results(self) -> dict[str, float]:
        """Return every mean by its name."""
        return {name: float(m.result()) for name, m in (self._training | self._test).items()}


def compile_training(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, metrics: Metrics
) -> Callable[[Any, tf.Tensor], None]:
    """Return a graph that takes a stream of batches and makes a number of steps on it."""

    @tf.function
    def run_steps(stream: Any, count: tf.Tensor) -> None:
        for _ in tf.range(count):
            x, y = next(stream)
            with tf.GradientTape() as tape:
                predicted = model(x, training=True)
                losses = metrics.loss_of(y, predicted)
                loss = tf.reduce_mean(losses)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            metrics.update(y, predicted, losses, test=False)

    return run_steps


def compile_test(
    model: keras.Model, batches: tf.data.Dataset, metrics: Metrics
) -> Callable[[], None]:
    """Return a function that has the model answer all test batches, and measures it."""

    @tf.function
    def test_step(x: tf.Tensor, y: tf.Tensor) -> None:
        predicted = model(x, training=False)
        metrics.update(y, predicted, metrics.loss_of(y, predicted), test=True)

    def test() -> None:
        metrics.reset(test=True)
        for x, y in batches:
            test_step(x, y)

    return test
