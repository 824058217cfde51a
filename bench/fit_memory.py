"""Write small and large shards and train on them; compare the memory that it takes.

Runs in the library's environment, on Linux: `python bench/fit_memory.py`. Each size is written and
trained on in a process of its own. What counts is RssAnon, the memory that the system could not
take back by forgetting what lies on the disk anyway.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

SHAPE = (64, 64, 3)
CLASSES, BATCH, LIMIT = 10, 16, 1.10


def anonymous_memory() -> float:
    """Return this process's RssAnon in MB."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024 / 1e6


class Zeros:
    """Images of zeros, made when they are asked for."""

    def __init__(self, examples: int) -> None:
        import numpy as np

        self.examples, self.image = examples, np.zeros(SHAPE, np.uint8)

    def __len__(self) -> int:
        return self.examples

    def __getitem__(self, index: int) -> Any:
        import numpy as np

        return self.image, np.int32(index % CLASSES)


def write(directory: Path, megabytes: int) -> tuple[float, float]:
    """Write shards of this size; return the seconds and the memory in the end."""
    import math

    import exactrun

    started = time.perf_counter()
    exactrun.write_shards(Zeros(megabytes * 1_000_000 // math.prod(SHAPE)), directory)
    return time.perf_counter() - started, anonymous_memory()


def train(directory: Path, steps: int) -> float:
    """Train for a number of steps; return the memory in the end."""
    import exactrun
    import keras

    class Stop(keras.callbacks.Callback):
        seen = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.seen += 1
            self.model.stop_training = self.seen >= steps

    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    train, validation, _ = exactrun.split(exactrun.open_shards(directory, verify=False), seed=0)
    validation = exactrun.split(validation, validation=0, test=len(validation) - 100).train
    exactrun.fit(
        *(model, train),
        validation_data=validation,
        batch_size=BATCH,
        callbacks=[Stop()],
        verbose=0,
        checkpoint_dir=directory.parent / f"{directory.name}-run",
    )
    return anonymous_memory()


def measure(directory: Path, megabytes: int, steps: int) -> tuple[float, float, float]:
    """Write and train; return the seconds of writing, and the memory after each."""
    return *write(directory, megabytes), train(directory, steps)


def alone(function: Any, *arguments: Any) -> Any:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def main() -> int:
    """Print time and memory for each size; return 1 if memory grows with the data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, nargs=2, default=(100, 5_000), metavar="MB")
    parser.add_argument("--steps", type=int, default=300, help="default: %(default)s")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    memory = []
    with tempfile.TemporaryDirectory() as place:
        for megabytes in options.megabytes:
            directory = Path(place) / str(megabytes)
            seconds, written, trained = alone(measure, directory, megabytes, options.steps)
            memory.append(trained)
            print(
                f"{megabytes:>6,} MB: written in {seconds:6.1f} s with {written:4.0f} MB of memory,"
                f" then trained on with {trained:5.0f} MB"
            )
    ratio = memory[1] / memory[0]
    print(f"Memory: {ratio:.3f} × (limit {LIMIT})")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
