"""Compare the generated training loop with Keras' own `fit` and with a plain loop.

Runs inside a generated project's environment: `python bench/training.py PROJECT`. The three train
the same model on the same batches, in turn, round after round; what counts is the median of the
rounds' ratios. Compiling is not counted: each makes an epoch before the clock starts.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS_PER_EXECUTION = (1, 25, 125)
"""Keras' best depends on model and machine, so several are tried and the fastest counts."""


def contenders(project: Path, scratch: Path) -> dict[str, Callable[[], float]]:
    """Return functions that train for an epoch and return its seconds, by name."""
    sys.path.insert(0, str(project / "src"))
    (package,) = (path.name for path in (project / "src").iterdir() if path.is_dir())
    module = {
        name: importlib.import_module(f"{package}.{name}")
        for name in ("config", "data", "model", "training.batches", "training.steps")
    }
    folders = importlib.import_module(f"{package}.training.folders")
    checkpoints = importlib.import_module(f"{package}.training.checkpoints")
    import keras
    import tensorflow as tf

    class SecondEpoch(keras.callbacks.Callback):
        """Times the second epoch of a call of `fit`: the first one pays for its start."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = time.perf_counter() - self.started

    config = module["config"].Config()
    data = module["data"].load(config, cache=scratch)
    steps = len(data.x_train) // config.batch_size
    classes = len(data.class_names)

    def batches(epochs: int) -> tf.data.Dataset:
        return module["training.batches"].training_batches(
            data.x_train,
            data.y_train,
            batch_size=config.batch_size,
            seed=0,
            start=0,
            stop=steps * epochs,
        )

    def fresh() -> tuple[keras.Model, keras.optimizers.Optimizer]:
        model = module["model"].build_model(data, config)
        optimizer = module["model"].build_optimizer(config, steps=steps * 100)
        return model, optimizer

    def ours() -> Callable[[], float]:
        model, optimizer = fresh()
        optimizer.build(model.trainable_variables)
        metrics = module["training.steps"].Metrics(classes)
        run_steps = module["training.steps"].compile_training(model, optimizer, metrics)
        variables = [*model.variables, *optimizer.variables, *metrics.variables]
        stream = iter(batches(1_000))
        kept = folders.RunFolders("bench", scratch=scratch / "s", persistent=scratch / "p")
        made = 0

        def epoch() -> float:
            nonlocal made
            started = time.perf_counter()
            for first in range(0, steps, 25):
                count = min(25, steps - first)
                run_steps(stream, tf.constant(count))
                made += count
            _ = metrics.loss  # waits for the device
            # One checkpoint an epoch: at 60 seconds apart, many times more than there would be.
            arrays = [variable.numpy() for variable in variables]
            checkpoint = checkpoints.Checkpoint(step=made, arrays=arrays, history=[], identity={})
            kept.keep(checkpoint, wait=False)
            return time.perf_counter() - started

        return epoch

    def fit(steps_per_execution: int) -> Callable[[], float]:
        model, optimizer = fresh()
        loss = (
            keras.losses.BinaryCrossentropy()
            if classes == 1
            else keras.losses.SparseCategoricalCrossentropy()
        )
        model.compile(
            optimizer, loss, metrics=["accuracy"], steps_per_execution=steps_per_execution
        )
        stream = batches(1_000)

        def epoch() -> float:
            clock = SecondEpoch()
            model.fit(stream, steps_per_epoch=steps, epochs=2, verbose=0, callbacks=[clock])
            return clock.seconds

        return epoch

    def plain() -> Callable[[], float]:
        model, optimizer = fresh()
        optimizer.build(model.trainable_variables)
        loss_of = module["model"].build_loss(classes)
        mean, accuracy = keras.metrics.Mean(), module["model"].build_metric(classes)
        stream = iter(batches(1_000))

        @tf.function
        def step(x: Any, y: Any) -> None:
            with tf.GradientTape() as tape:
                predicted = model(x, training=True)
                losses = loss_of(y, predicted)
                loss = tf.reduce_mean(losses)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            mean.update_state(losses)
            accuracy.update_state(y, predicted)

        def epoch() -> float:
            started = time.perf_counter()
            for _ in range(steps):
                step(*next(stream))
            _ = float(mean.result())
            return time.perf_counter() - started

        return epoch

    found = {"this loop, with checkpoints": ours(), "a plain loop": plain()}
    return found | {f"fit, {n} steps per execution": fit(n) for n in STEPS_PER_EXECUTION}


def main() -> None:
    """Print each contender's median and how many times faster this loop is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory() as scratch:
        epochs = contenders(options.project.resolve(), Path(scratch))
        for epoch in epochs.values():
            epoch()
        times = [{name: epoch() for name, epoch in epochs.items()} for _ in range(options.rounds)]
    ours = next(iter(epochs))
    for name in epochs:
        median = statistics.median(row[name] for row in times)
        ratio = statistics.median(row[name] / row[ours] for row in times)
        print(f"{name:<30} {median:7.3f} s an epoch   {ratio:5.2f} × this loop's time")


if __name__ == "__main__":
    main()
