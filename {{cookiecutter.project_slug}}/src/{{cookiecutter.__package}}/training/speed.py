"""How fast this project's model learns on the CPU and on the GPU."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from ..colab.benchmark import CPU, Comparison, Task, compare, standard_tasks
from ..config import Config
from ..data import Data
from ..model import build_model
from .batches import training_batches
from .distribution import Devices
from .steps import compile_training

STEPS = 10
"""Steps in one run of the benchmark."""


def compare_devices(data: Data, config: Config, *, scale: float) -> Comparison:
    """Time standard work and training steps of the model on the CPU and on the GPU.

    The model that learns here is one of its own; a training under way is not touched.

    Args:
        data: What the steps learn from.
        config: The model's settings.
        scale: Size of the standard work; 1 is the full one, which takes 4 GB of memory.

    Raises:
        UserError: If a device has too little memory.
    """
    step = Task(
        name=f"{STEPS} training steps, batches of {config.batch_size}",
        runs=10,
        build=lambda device: _training(data, config, device),
    )
    return compare([*standard_tasks(scale), step])


def _training(data: Data, config: Config, device: str) -> Callable[[], None]:
    """Return what makes `STEPS` steps on a device, with one batch of the data."""
    devices = Devices(strategy=tf.distribute.OneDeviceStrategy(device))
    with devices.strategy.scope():
        model = build_model(data, config)
    classes = len(data.class_names)
    run_steps = compile_training(model, config, devices, classes=classes, steps=1_000_000)
    batches = training_batches(
        data.x_train,
        data.y_train,
        batch_size=config.batch_size,
        seed=config.seed,
        start=0,
        stop=1,
    )
    # The device is timed, and not the reading of the data: one batch, again and again.
    stream = iter(batches.cache().repeat())

    def work() -> None:
        with tf.device(CPU):  # of the loop; the strategy puts the steps on their device
            run_steps(stream, tf.constant(STEPS))

    return work
