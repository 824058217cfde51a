"""Compare `exactrun.fit` with Keras' `fit` and with a loop of a call per batch.

Runs inside a generated project's environment: `python bench/fit.py PROJECT`, with the library on
PYTHONPATH. The contenders train the project's own model on its own data, in turn, round after
round; what counts is the median of the rounds' ratios. Compiling is not counted: each call makes an
epoch before the clock starts. `exactrun.fit` is timed as users run it: it saves, and hears signals.
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
from pathlib import Path
from typing import Any

from idle import require_idle

STEPS_PER_EXECUTION = (1, 25, 125)
"""Keras' best depends on model and machine, so several are tried and the fastest counts."""

LIMITS = {"fit": 1.05, "loop": 1.30, "delay": 5.0, "share": 0.01, "resumption": 1.5}


def load(project: Path) -> tuple[Any, Any, Callable[[], Any], int]:
    """Return a project's inputs and targets, what builds its model, and its batch size."""
    import keras

    sys.path.insert(0, str(project / "src"))
    (package,) = (path.name for path in (project / "src").iterdir() if path.is_dir())
    module = {n: importlib.import_module(f"{package}.{n}") for n in ("config", "data", "model")}
    config = module["config"].Config(epochs=10_000)
    splits = module["data"].load_data(config)

    def build() -> Any:
        keras.utils.set_random_seed(0)
        return module["model"].build_model(splits, config)

    return *splits.train, build, config.batch_size


def contenders(project: Path, scratch: Path) -> dict[str, Callable[[], float]]:
    """Return functions that train for an epoch and return its seconds, by name."""
    import exactrun
    import keras
    import tensorflow as tf

    x, y, build, batch_size = load(project)

    class SecondEpoch(keras.callbacks.Callback):
        """Times the second epoch of a call: the first one pays for its start."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = time.perf_counter() - self.started

    def ours() -> Callable[[], float]:
        model, done = build(), 0

        def epoch() -> float:
            nonlocal done
            done += 2
            clock = SecondEpoch()
            exactrun.fit(
                *(model, x, y),
                batch_size=batch_size,
                epochs=done,
                callbacks=[clock],
                verbose=0,
                checkpoint_dir=scratch / "run",
            )
            return clock.seconds

        return epoch

    def fit(steps_per_execution: int) -> Callable[[], float]:
        model = build()
        model.steps_per_execution = steps_per_execution

        def epoch() -> float:
            clock = SecondEpoch()
            model.fit(x, y, batch_size=batch_size, epochs=2, verbose=0, callbacks=[clock])
            return clock.seconds

        return epoch

    def loop() -> Callable[[], float]:
        model = build()
        stream = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x))
        stream = stream.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
        step = tf.function(model.train_step)

        def epoch() -> float:
            started = time.perf_counter()
            model.reset_metrics()
            for batch in stream:
                step(batch)
            _ = float(model.metrics[0].result())
            return time.perf_counter() - started

        return epoch

    found = {"exactrun.fit": ours()}
    found |= {f"fit, {n} steps per execution": fit(n) for n in STEPS_PER_EXECUTION}
    return found | {"a call per batch": loop()}


def compare(project: Path, rounds: int) -> dict[str, float]:
    """Print each contender's median and how many times faster `exactrun.fit` is."""
    with tempfile.TemporaryDirectory() as scratch:
        epochs = contenders(project, Path(scratch))
        for epoch in epochs.values():
            epoch()
        times = []
        for number in range(rounds):  # each round begins with another one
            names = list(epochs)
            turn = names[number % len(names) :] + names[: number % len(names)]
            times.append({name: epochs[name]() for name in turn})
    ours = next(iter(epochs))
    ratios = {}
    for name in epochs:
        median = statistics.median(row[name] for row in times)
        ratios[name] = statistics.median(row[name] / row[ours] for row in times)
        print(f"{name:<30} {median:7.3f} s an epoch   {ratios[name]:5.2f} × exactrun's time")
    best = min(ratio for name, ratio in ratios.items() if name.startswith("fit"))
    return {"fit": best, "loop": ratios["a call per batch"]}


def session(place: Path, save_interval_secs: float, epochs: int) -> None:
    """Train a model with 67 MB of variables; print the steps' times and when the first was made.

    A step is a call here, so that a checkpoint's delay shows in it.
    """
    import exactrun
    import keras
    import numpy as np
    from exactrun.training import Training

    keras.utils.set_random_seed(0)
    sizes = (2048, 1536, 256, 10)
    model = keras.Sequential([keras.Input((1024,)), *map(keras.layers.Dense, sizes)])
    model.compile("adam", "mse")
    random = np.random.RandomState(0)
    x, y = random.rand(1024, 1024).astype("f"), random.rand(1024, 10).astype("f")
    ready = time.perf_counter()

    ends: list[float] = []  # not in the callback, whose state is saved and restored

    saves: list[int] = []
    save = Training._save

    def marked(self: Training, *, wait: bool) -> None:
        saves.append(len(ends))
        save(self, wait=wait)

    Training._save = marked  # type: ignore[method-assign]

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            ends.append(time.perf_counter())

    exactrun.fit(
        *(model, x, y),
        epochs=epochs,
        verbose=0,
        callbacks=[Clock()],
        checkpoint_dir=place,
        save_interval_secs=save_interval_secs,
    )
    steps = np.diff(ends)
    first = ends[0] - ready
    print(json.dumps({"first": first, "steps": steps.tolist(), "saves": saves[:-1]}))


def checkpoints_and_resumption(rounds: int) -> dict[str, float]:
    """Print what a checkpoint costs, and how soon a new process goes on."""

    def run(place: Path, save_interval_secs: float, epochs: int) -> dict[str, Any]:
        command = [sys.executable, __file__, ".", "--session", str(place)]
        command += [str(save_interval_secs), str(epochs)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    delays, shares, firsts = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            without = run(Path(scratch) / "without", 3600.0, 12)["steps"]
            saving = run(Path(scratch) / "saving", 1.0, 12)
            steps = saving["steps"]
            # The slowest of the steps after a save, against the slowest of as many without one.
            after = [max(steps[i - 1 : i + 4]) for i in saving["saves"] if i + 4 <= len(steps)]
            usual = [max(without[i : i + 5]) for i in range(10, len(without) - 5, 5)]
            delays.append((statistics.median(after) - statistics.median(usual)) * 1e3)
            longer = statistics.mean(steps[10:]) / statistics.mean(without[10:]) - 1.0
            shares.append(max(longer, 0.0) / 60)  # it saved once a second
            firsts.append(run(Path(scratch) / "saving", 60.0, 13)["first"])
    found = {
        "delay": statistics.median(delays),
        "share": statistics.median(shares),
        "resumption": statistics.median(firsts),
    }
    print(f"a checkpoint of 67 MB delays a step by {found['delay']:.1f} ms", end="")
    print(f" and costs {found['share']:.2%} of the time at one a minute")
    print(f"after the model's build, the first resumed step is made in {found['resumption']:.2f} s")
    return found


def main() -> int:
    """Print the measurements; return 1 if one misses its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--only", choices=["speed", "checkpoints"], help=argparse.SUPPRESS)
    parser.add_argument("--session", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.session:
        place, seconds, epochs = options.session
        session(Path(place), float(seconds), int(epochs))
        return 0
    require_idle()
    found: dict[str, float] = {}
    if options.only != "checkpoints":
        found |= compare(options.project.resolve(), options.rounds)
    if options.only != "speed":
        found |= checkpoints_and_resumption(max(options.rounds // 3, 1))
    missed = [
        f"{name}: {value:.3f} (limit {LIMITS[name]:g})"
        for name, value in found.items()
        if (value < LIMITS[name] if name in ("fit", "loop") else value > LIMITS[name])
    ]
    print("Limits missed: " + ("; ".join(missed) or "none"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
