"""What one step computes: the model's update, and what is measured of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..config import Config
from ..model import build_loss, build_metric, build_optimizer
from .batches import ordered_batches
from .distribution import Devices
from .examples import Examples


def compile_training(
    model: keras.Model,
    config: Config,
    devices: Devices,
    *,
    classes: int,
    steps: int,
    xla: bool = False,
) -> Callable[[Any, tf.Tensor], tf.Tensor]:
    """Give the model its optimizer, and return a graph that makes a number of steps on a stream.

    It takes the stream of batches and the number, and returns what each step measured before its
    update, on each device of this process: the sums of the losses and of the accuracies over the
    device's part of the batch, float32, shape (steps, devices, 2). They are added up outside, in
    the order of the steps, so that no sum depends on where a run was interrupted.

    Args:
        model: What is trained; built in the scope of `devices.strategy`.
        config: The settings.
        devices: The devices that share each batch.
        classes: Number of classes, which decides the kind of loss.
        steps: Of the whole run, over which the learning rate falls.
        xla: Whether the forward and backward pass is compiled by XLA.
    """
    with devices.strategy.scope():
        # Compiled, so that callbacks find the optimizer; for float16, Keras adds its loss scale.
        model.compile(build_optimizer(config, steps=steps), jit_compile=False)
        optimizer = model.optimizer
        optimizer.build(model.trainable_variables)
    loss_of, accuracy_of = build_loss(classes), build_metric(classes)

    def differentiate(x: tf.Tensor, y: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            answers = model(x, training=True)
            losses = loss_of(y, answers)
            loss = tf.reduce_sum(losses) / config.batch_size  # of which a device holds a part
            if model.losses:  # regularizers
                loss += tf.add_n(model.losses) / devices.replicas
            scaled = optimizer.scale_loss(loss)  # as float16 needs it; otherwise unchanged
        gradients = tape.gradient(scaled, model.trainable_variables)
        sums = [tf.reduce_sum(losses), tf.reduce_sum(accuracy_of(y, answers))]
        return gradients, tf.stack([tf.cast(total, tf.float32) for total in sums])

    if xla:
        differentiate = tf.function(differentiate, jit_compile=True, autograph=False)

    @tf.autograph.experimental.do_not_convert
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        gradients, sums = differentiate(x, y)
        if devices.replicas > 1:
            # Keras would clip each device's part and add up afterwards. What is clipped here is
            # the whole batch's gradient; divided, because Keras still adds up.
            context = tf.distribute.get_replica_context()
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if config.clip_norm:
            limit = optimizer.scale_loss(tf.constant(config.clip_norm))
            gradients, _ = tf.clip_by_global_norm(gradients, limit)
        if devices.replicas > 1:
            gradients = [gradient / devices.replicas for gradient in gradients]
        optimizer.apply(gradients, model.trainable_variables)
        return sums

    # Without AutoGraph, which would take half of the seconds before a resumed run's first step.
    @tf.function(autograph=False)
    def run_steps(stream: Any, count: tf.Tensor) -> tf.Tensor:
        strategy = devices.strategy
        own = devices.replicas // devices.workers

        def one_more(index: tf.Tensor, measured: tf.TensorArray) -> tuple[Any, ...]:
            sums = strategy.run(step, args=next(stream))
            sums = tf.stack(strategy.experimental_local_results(sums))
            return index + 1, measured.write(index, sums)

        measured = tf.TensorArray(tf.float32, size=count, element_shape=[own, 2])
        _, measured = tf.while_loop(lambda index, _: index < count, one_more, (0, measured))
        return measured.stack()

    return run_steps


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model answers a data set.

    Attributes:
        loss, accuracy: Means per example.
        answers: Probabilities, float32, shape (examples, classes).
    """

    loss: float
    accuracy: float
    answers: np.ndarray


def compile_evaluation(
    model: keras.Model, x: Examples, y: Examples, *, classes: int
) -> Callable[[], Evaluation]:
    """Return a function that has the model answer all examples, and measures it.

    The batches are always the same ones and are added up in order, on one device: the same weights
    give the same digits, whenever and by however many workers they were trained.
    """
    loss_of, accuracy_of = build_loss(classes), build_metric(classes)
    batches = ordered_batches(x, y, batch_size=256)

    # One graph for batches of any size.
    @tf.function(input_signature=batches.element_spec, autograph=False)
    def answer(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        answers = model(x, training=False)
        return answers, tf.reduce_sum(loss_of(y, answers)), tf.reduce_sum(accuracy_of(y, answers))

    def evaluate() -> Evaluation:
        answers, losses, accuracies = zip(*(answer(*batch) for batch in batches), strict=True)
        return Evaluation(
            loss=sum(float(loss) for loss in losses) / len(x),
            accuracy=sum(float(accuracy) for accuracy in accuracies) / len(x),
            answers=np.concatenate([array.numpy() for array in answers]),
        )

    return evaluate
