"""Train on the project's small data: `train.py PLACE SETTINGS DEVICES`, in a generated project.

SETTINGS is JSON: settings of `Config`, and `xla`, `regularizer`, `kill` (see `arm`) and
`unchecked`, for a start without looking at the disk. DEVICES is how
many devices the processor is to pass for. Prints JSON: weights, history, and what random numbers
the devices would draw next.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from small import small_data

PACKAGE = os.environ["PACKAGE"]


def module(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(instant: str) -> None:
    """Have the process killed at an instant of the third checkpoint, or before the first."""
    checkpoints, publishing = module("training.checkpoints"), module("colab.publishing")
    calls = {"arrays": 0, "manifest": 0, "copy": 0}

    def count(name: str) -> int:
        calls[name] += 1
        return calls[name]

    write_arrays, write_whole = checkpoints.write_arrays, checkpoints.write_whole
    publish = publishing.publish

    def half_the_arrays(file: Any, arrays: dict[str, np.ndarray]) -> None:
        if count("arrays") == 3:
            first = dict(list(arrays.items())[: len(arrays) // 2])
            write_arrays(file, first)
            file.flush()
            die()
        write_arrays(file, arrays)

    def no_manifest(path: Path, text: str) -> None:
        if count("manifest") == 3:
            die()
        write_whole(path, text)

    def half_published(source: Path, folder: Path, **options: Any) -> Path:
        if source.suffix == ".json" and count("copy") >= 2:
            die()
        return publish(source, folder, **options)

    def unpublished(source: Path, folder: Path, **options: Any) -> Path:
        if source.suffix == ".npz" and count("copy") >= 2:
            die()
        return publish(source, folder, **options)

    if instant == "before the first checkpoint":
        checkpoints.write_arrays = lambda *_: die()
    elif instant == "half of the arrays written":
        checkpoints.write_arrays = half_the_arrays
    elif instant == "arrays without their manifest":
        checkpoints.write_whole = no_manifest
    elif instant == "written and not published":
        publishing.publish = unpublished
    elif instant == "arrays published without their manifest":
        publishing.publish = half_published
    else:
        raise ValueError(instant)


def main() -> None:
    place, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    distribution, loop = module("training.distribution"), module("training.loop")
    if count > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
        strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(count)])
        devices = distribution.Devices(strategy=strategy)
    else:
        devices = distribution.find_devices()
    xla, regularizer = settings.pop("xla", False), settings.pop("regularizer", 0.0)
    if instant := settings.pop("kill", ""):
        arm(instant)
    if settings.pop("unchecked", False):
        loop.check_disk = lambda *_: None
    loop.SECONDS_PER_CALL = 0.0
    config = module("config").Config(**settings)
    keras.config.set_dtype_policy(config.precision)
    data = small_data()
    with devices.strategy.scope():
        model = module("model").build_model(data, config)
        if regularizer:
            model.layers[-1].kernel.regularizer = keras.regularizers.L2(regularizer)
    folders = module("training.folders").RunFolders(
        "test",
        scratch=place / f"scratch-{devices.worker}",
        persistent=place / "kept",
        writes=devices.chief,
    )
    training = loop.train(
        model,
        data,
        config,
        folders=folders,
        devices=devices,
        precision=config.precision,
        xla=xla,
    )
    seeds = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    draws = [
        [copy.numpy().tolist() for copy in devices.strategy.experimental_local_results(seed.value)]
        for seed in seeds
    ]
    said = {
        "weights": module("training.delivery").weights_sha256(model),
        "history": [{**record, "seconds": None} for record in training.history],
        "resumed_from": training.resumed_from,
        "seeds": draws,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
