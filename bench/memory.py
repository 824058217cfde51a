"""Train on a small pack and on a large one, and compare the memory that it takes.

Runs inside the environment of a generated project of task image, on Linux: `python
bench/memory.py PROJECT`. Each pack is made and trained on in processes of its own. What counts is
RssAnon, the memory that the system could not take back by forgetting what lies on the disk anyway.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

SHAPE = (64, 64, 3)
CLASSES = 10
BATCH = 16
"""So small that the default steps lie within an epoch of the small pack: both do the same work."""
LIMIT = 1.10


def module(project: Path, name: str) -> Any:
    """Import a module of the project's package."""
    sys.path.insert(0, str(project / "src"))
    (package,) = (path.name for path in (project / "src").iterdir() if path.is_dir())
    return importlib.import_module(f"{package}.{name}")


def anonymous_memory() -> float:
    """Return this process's RssAnon in MB."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024 / 1e6


def make(project: Path, folder: Path, megabytes: int) -> tuple[float, float]:
    """Pack memory-mapped arrays of this size; return the seconds and the memory in the end."""
    import numpy as np

    examples = megabytes * 1_000_000 // int(np.prod(SHAPE))
    source = folder / "source"
    source.mkdir(parents=True)
    # A file of zeros that takes no place on the disk: nothing is written to it.
    np.lib.format.open_memmap(source / "x.npy", "w+", np.uint8, (examples, *SHAPE))
    np.save(source / "y.npy", np.arange(examples) % CLASSES)
    packing = module(project, "training.packing")
    started = time.perf_counter()
    packing.pack(packing.find_source(source), folder / "pack")
    return time.perf_counter() - started, anonymous_memory()


def train(project: Path, folder: Path, steps: int) -> float:
    """Train within an epoch, by the project's own loop; return the memory in the end."""
    config = module(project, "config").Config(
        data=str(folder / "pack"),
        persistent=str(folder / "kept"),
        accelerator="cpu",
        batch_size=BATCH,
        stop_after_steps=steps,
    )
    run = module(project, "training.run").Run(config)
    run.check_accelerator()
    run.open_folders()
    run.load_data()
    model = run.build_model()
    run.train(model)
    return anonymous_memory()


def read(project: Path, folder: Path, steps: int) -> float:
    """Return how many examples a second the input pipeline gives, without a training."""
    packs = module(project, "training.packs")
    pack = packs.open_pack(folder / "pack", verify=False)
    rows = packs.split(pack.y[:], seed=0)["train"]
    subset = module(project, "training.examples").Subset
    x, y = subset(pack.x, rows), subset(pack.y, rows)
    batches = module(project, "training.batches").training_batches
    stream = iter(batches(x, y, batch_size=BATCH, seed=0, start=0, stop=steps + 10))
    for _ in range(10):
        next(stream)
    started = time.perf_counter()
    for _ in range(steps):
        next(stream)
    return BATCH * steps / (time.perf_counter() - started)


def alone(function: Any, *arguments: Any) -> Any:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def main() -> int:
    """Print time, memory and throughput for each size; return 1 if memory grows with the data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--megabytes", type=int, nargs=2, default=(100, 5_000), metavar="MB")
    parser.add_argument("--steps", type=int, default=300, help="default: %(default)s")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    project, lines, memory = options.project.resolve(), [], []
    with tempfile.TemporaryDirectory() as place:
        for megabytes in options.megabytes:
            folder = Path(place) / str(megabytes)
            seconds, packing = alone(make, project, folder, megabytes)
            memory.append(alone(train, project, folder, options.steps))
            speed = alone(read, project, folder, 10 * options.steps)
            lines.append(
                f"{megabytes:>6,} MB: packed in {seconds:6.1f} s with {packing:4.0f} MB of memory,"
                f" trained with {memory[-1]:5.0f} MB, read at {speed:7,.0f} examples/s"
            )
    print("\n".join(lines))
    small, large = memory
    print(f"Memory of the training: {large / small:.3f} × (limit {LIMIT})")
    return 0 if large <= LIMIT * small else 1


if __name__ == "__main__":
    sys.exit(main())
