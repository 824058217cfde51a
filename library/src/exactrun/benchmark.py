"""What a GPU is worth: the same work on the CPU and on the GPU, by the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .errors import UserError

CPU, GPU = "/CPU:0", "/GPU:0"

WARM_UP = 2
"""Runs before the clock starts: graphs are traced, kernels chosen and memory is taken in them."""

RUNS = 7
STEPS = 10
"""Training steps in one run."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Work to be timed.

    Attributes:
        name: What it is, with its size.
        build: Given a device, puts the numbers there and returns what does the work there once.
    """

    name: str
    build: Callable[[str], Callable[[], Any]]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What a task takes: the median of its runs, in seconds; None without a GPU."""

    name: str
    cpu: float
    gpu: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Timings of several tasks, which are printed as a table."""

    timings: Sequence[Timing]

    def __str__(self) -> str:
        from pandas import DataFrame

        table = DataFrame(
            {
                "task": each.name,
                "CPU (ms)": f"{each.cpu * 1e3:.2f}",
                "GPU (ms)": "–" if each.gpu is None else f"{each.gpu * 1e3:.2f}",
                "speed-up": "–" if each.gpu is None else f"{each.cpu / each.gpu:.1f} ×",
            }
            for each in self.timings
        )
        said = f"Median of {RUNS} runs, after {WARM_UP} to warm up."
        if any(timing.gpu is None for timing in self.timings):
            said += " TensorFlow sees no GPU: its part was skipped."
        return f"{table.to_string(index=False)}\n{said}"


def standard_tasks(scale: float = 0.1) -> list[Task]:
    """Return a convolution, a matrix product, and the training steps of a small model.

    The first two have been timed on Colab by others, too: 32 filters of 7×7×3 on 100 images of
    100×100×3, and 10000×100 by 100×100000, which takes 4 GB for its result.

    Args:
        scale: Fraction of the images and of the rows; 1 is the full size.

    Raises:
        UserError: If the scale is no fraction.
    """
    import tensorflow as tf

    if not 0 < scale <= 1:
        raise UserError(f"scale={scale:g} is no fraction; choose one up to 1, such as 0.1.")
    images, rows = max(1, round(100 * scale)), max(1, round(10_000 * scale))

    convolve = partial(tf.nn.conv2d, strides=1, padding="SAME")
    pictures, filters = (images, 100, 100, 3), (7, 7, 3, 32)
    left, right = (rows, 100), (100, 100_000)
    return [
        _task(f"32×7×7×3 convolution of {images}×100×100×3", convolve, pictures, filters),
        _task(f"{rows}×100 by 100×100000 product", tf.matmul, left, right),
        Task(name=f"{STEPS} training steps of a small convolutional model", build=_training),
    ]


def compare(tasks: Sequence[Task]) -> Comparison:
    """Time each task on the CPU, and on the first GPU where TensorFlow has one.

    Raises:
        UserError: If a device has too little memory for a task.
    """
    import tensorflow as tf

    gpu = tf.config.list_logical_devices("GPU")
    timings = [
        Timing(name=task.name, cpu=_seconds(task, CPU), gpu=_seconds(task, GPU) if gpu else None)
        for task in tasks
    ]
    return Comparison(timings=timings)


def _task(name: str, function: Callable[..., Any], *shapes: tuple[int, ...]) -> Task:
    import numpy as np
    import tensorflow as tf

    def build(device: str) -> Callable[[], Any]:
        random = np.random.default_rng(0)
        with tf.device(device):
            numbers = [tf.constant(random.standard_normal(s, np.float32)) for s in shapes]

        def work() -> Any:
            with tf.device(device):
                return function(*numbers)

        return work

    return Task(name=name, build=build)


def _training(device: str) -> Callable[[], Any]:
    """Return what makes `STEPS` training steps on a device, always with the same batch."""
    import keras
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(0)
    strategy = tf.distribute.OneDeviceStrategy(device)
    with strategy.scope():
        layers = [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
        model = keras.Sequential(layers)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.optimizer.build(model.trainable_variables)
    with tf.device(device):
        x = tf.constant(random.standard_normal((128, 28, 28, 1), np.float32))
        y = tf.constant(random.integers(0, 10, 128))

    def step() -> Any:
        with tf.GradientTape() as tape:
            value = model.compute_loss(y=y, y_pred=model(x, training=True))
        variables = [variable.value for variable in model.trainable_variables]
        model.optimizer.apply(tape.gradient(value, variables), model.trainable_variables)
        return value

    @tf.function  # type: ignore[untyped-decorator]
    def steps() -> Any:
        value = tf.zeros(())
        for _ in tf.range(STEPS):
            value = strategy.run(step)
        return value

    return steps  # type: ignore[no-any-return]


def _seconds(task: Task, device: str) -> float:
    """Return the median of what the runs of a task take on a device, without the warm-up.

    A GPU works while Python goes on, so the clock is read only when all its work is done.
    """
    import tensorflow as tf

    try:
        work = task.build(device)
        taken = []
        for _ in range(WARM_UP + RUNS):
            started = time.perf_counter()
            work()
            tf.test.experimental.sync_devices()
            taken.append(time.perf_counter() - started)
        return statistics.median(taken[WARM_UP:])
    except tf.errors.ResourceExhaustedError as error:
        raise UserError(
            f"The benchmark's task '{task.name}' needs more memory than {device.strip('/')} has."
            " Make it smaller by --scale."
        ) from error
