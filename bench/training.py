"""Compare the generated training loop with Keras' own `fit` and with a plain loop.

Runs inside a generated project's environment: `python bench/training.py PROJECT`. The contenders
train the same model on the same batches, in turn, round after round; what counts is the median of
the rounds' ratios. Compiling is not counted: each call makes an epoch before the clock starts. This
loop is timed as a user runs it, checkpoints and signals included; only validation is left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

STEPS_PER_EXECUTION = (1, 25, 125)
"""Keras' best depends on model and machine, so several are tried and the fastest counts."""


def load(project: Path) -> Callable[[str], Any]:
    """Put a project on the path; return a function that imports one of its modules."""
    sys.path.insert(0, str(project / "src"))
    (package,) = (path.name for path in (project / "src").iterdir() if path.is_dir())
    return lambda name: importlib.import_module(f"{package}.{name}")


def contenders(module: Callable[[str], Any], scratch: Path) -> dict[str, Callable[[], float]]:
    """Return functions that train for an epoch and return its seconds, by name."""
    import keras

    class SecondEpoch(keras.callbacks.Callback):
        """Times the second epoch of a call: the first one pays for its start."""

        seconds = 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = time.perf_counter() - self.started

    # Long enough a run for every round; the learning rate does not matter to the clock.
    config = module("config").Config(epochs=10_000, run_name="bench")
    data = module("data").load(config, cache=scratch)
    data = replace(data, x_validation=data.x_validation[:1], y_validation=data.y_validation[:1])
    steps = len(data.x_train) // config.batch_size
    classes = len(data.class_names)
    folders = module("training.folders").RunFolders(
        "bench", scratch=scratch / "scratch", persistent=scratch / "kept"
    )

    def batches() -> Any:
        return module("training.batches").training_batches(
            data.x_train,
            data.y_train,
            batch_size=config.batch_size,
            seed=0,
            start=0,
            stop=steps * config.epochs,
        )

    def fresh() -> tuple[keras.Model, keras.optimizers.Optimizer]:
        model = module("model").build_model(data, config)
        return model, module("model").build_optimizer(config, steps=steps * config.epochs)

    def ours() -> Callable[[], float]:
        done = 0

        def epoch() -> float:
            nonlocal done
            done += 2
            clock = SecondEpoch()
            model, _ = fresh()
            limited = replace(config, stop_after_steps=done * steps)
            module("training.loop").train(model, data, limited, folders=folders, callbacks=[clock])
            return clock.seconds

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
        stream = batches()

        def epoch() -> float:
            clock = SecondEpoch()
            model.fit(stream, steps_per_epoch=steps, epochs=2, verbose=0, callbacks=[clock])
            return clock.seconds

        return epoch

    def plain() -> Callable[[], float]:
        import tensorflow as tf

        model, optimizer = fresh()
        optimizer.build(model.trainable_variables)
        loss_of = module("model").build_loss(classes)
        mean, accuracy = keras.metrics.Mean(), keras.metrics.SparseCategoricalAccuracy()
        stream = iter(batches())

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


def compare(project: Path, rounds: int) -> None:
    """Print each contender's median and how many times faster this loop is."""
    with tempfile.TemporaryDirectory() as scratch:
        epochs = contenders(load(project), Path(scratch))
        for epoch in epochs.values():
            epoch()
        times = []
        for number in range(rounds):  # each round begins with another one
            names = list(epochs)
            turn = names[number % len(names) :] + names[: number % len(names)]
            times.append({name: epochs[name]() for name in turn})
    ours = next(iter(epochs))
    for name in epochs:
        median = statistics.median(row[name] for row in times)
        ratio = statistics.median(row[name] / row[ours] for row in times)
        print(f"{name:<30} {median:7.3f} s an epoch   {ratio:5.2f} × this loop's time")


def one_session(project: Path, scratch: Path, checkpoint_seconds: float, steps: int) -> None:
    """Train up to a step, or go on to it; print when its first steps were made, and the pauses.

    A pause is what lies between two calls of the graph: what a checkpoint costs the loop.
    """
    module = load(project)
    import keras

    class Clock(keras.callbacks.Callback):
        first, ended, epoch = 0.0, 0.0, -1
        pauses: ClassVar[list[float]] = []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if self.ended and batch:  # between epochs lies the validation
                self.pauses.append(time.perf_counter() - self.ended)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.ended = time.perf_counter()
            self.first = self.first or self.ended - started

    config = module("config").Config(
        run_name="bench",
        epochs=1_000,
        checkpoint_seconds=checkpoint_seconds,
        stop_after_steps=steps,
    )
    data = module("data").load(config, cache=scratch)
    folders = module("training.folders").RunFolders(
        "bench", scratch=scratch / "scratch", persistent=scratch / "kept"
    )
    model = module("model").build_model(data, config)
    module("training.loop").SECONDS_PER_CALL = 0.02  # many pauses in a short time
    started = time.perf_counter()
    clock = Clock()
    module("training.loop").train(model, data, config, folders=folders, callbacks=[clock])
    print(json.dumps({"first": clock.first, "pauses": clock.pauses}))


def checkpoints_and_resumption(project: Path, rounds: int) -> None:
    """Print what a checkpoint costs the loop, and how soon a new process goes on."""

    def session(scratch: str, checkpoint_seconds: float, steps: int) -> dict[str, Any]:
        command = [sys.executable, __file__, str(project), "--session", scratch]
        command += [str(checkpoint_seconds), str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    costs, resumed = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            without = statistics.median(session(one, 3600.0, 600)["pauses"])
            costs.append(statistics.median(session(other, 0.0, 600)["pauses"]) - without)
            resumed.append(session(other, 60.0, 700)["first"])
    cost = statistics.median(costs)
    print(f"a checkpoint holds up the loop for {cost * 1e3:.1f} ms: {cost / 60:.3%} of a minute")
    print(
        f"after the model's build, the first new step is made in {statistics.median(resumed):.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--session", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    project = options.project.resolve()
    if options.session:
        scratch, seconds, steps = options.session
        one_session(project, Path(scratch), float(seconds), int(steps))
        return
    compare(project, options.rounds)
    checkpoints_and_resumption(project, max(options.rounds // 3, 1))


if __name__ == "__main__":
    main()
