"""Train on the project's small data: `train.py PLACE SETTINGS DEVICES`, in a generated project.

The project's `killable.py` trains; this changes what it finds. SETTINGS is JSON: those of
`killable.py`, and `kill` (see `arm`), `regularizer`, `normalization`, and `unchecked`, for a start
without looking at the disk. DEVICES is how many devices the processor is to pass for. The last line
is JSON: weights, history, and what random numbers the devices would draw next.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

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


def pretend(count: int) -> None:
    """Have the processor pass for several devices."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * count
    )
    strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(count)])
    distribution = module("training.distribution")
    distribution.find_devices = lambda: distribution.Devices(strategy=strategy)


def change_model(*, regularizer: float, normalization: str) -> None:
    """Have the project's model built with a regularizer, or with batches normalized."""
    file = module("model")
    build_model = file.build_model

    def build(*arguments: Any) -> keras.Model:
        model = build_model(*arguments)
        if regularizer:
            model.layers[-1].kernel.regularizer = keras.regularizers.L2(regularizer)
        if normalization:
            layer = keras.layers.BatchNormalization(synchronized=normalization == "synchronized")
            first, *others = model.layers
            model = keras.Sequential([keras.Input(model.input_shape[1:]), first, layer, *others])
        return model

    file.build_model = build


def main() -> None:
    place, settings = sys.argv[1], json.loads(sys.argv[2])
    loop = module("training.loop")
    train, said = loop.train, {}
    if (count := int(sys.argv[3]) if len(sys.argv) > 3 else 1) > 1:
        pretend(count)
    if instant := settings.pop("kill", ""):
        arm(instant)
    if settings.pop("unchecked", False):
        loop.check_disk = lambda *_: None
    change_model(
        regularizer=settings.pop("regularizer", 0.0),
        normalization=settings.pop("normalization", ""),
    )

    def watched(model: keras.Model, *arguments: Any, devices: Any, **options: Any) -> Any:
        training = train(model, *arguments, devices=devices, **options)
        of_devices = devices.strategy.experimental_local_results
        seeds = [v for v in model.variables if v.name == "seed_generator_state"]
        said["seeds"] = [[copy.numpy().tolist() for copy in of_devices(v.value)] for v in seeds]
        said["weights"] = module("training.delivery").weights_sha256(model)
        said["history"] = [{**record, "seconds": None} for record in training.history]
        said["resumed_from"] = training.resumed_from
        return training

    loop.train = watched
    sys.argv[1:] = [place, json.dumps(settings)]
    runpy.run_path("tests/killable.py", run_name="__main__")
    print(json.dumps(said))


if __name__ == "__main__":
    main()
