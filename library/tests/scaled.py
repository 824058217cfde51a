"""A training on several devices, or of one of several workers, in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from cases import BATCH, make

import exactrun
from exactrun import steps, training
from exactrun.distribution import Devices


def train(settings: dict[str, Any], place: Path) -> None:
    """Train a case, and write `result.json` and what is printed, `said.txt`, into a directory.

    The result has the history, the weights and a digest of everything; with several `devices`, it
    has those of one device, in the same process, as `alone` if that is asked for.

    Args:
        settings: `name`, `noise`, `directory`, `epochs` and `seed`; `devices`, how many the
            processor passes for; `alone`, a second directory; `cluster`, for a worker; and
            `hang_at`, a step at which this process stops without dying.
        place: An existing directory.
    """
    said = os.open(place / "said.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    devices = settings.get("devices", 1)
    if devices > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * devices
        tf.config.set_logical_device_configuration(cpu, parts)
    strategy: Any = tf.distribute.get_strategy()
    if cluster := settings.get("cluster"):
        os.environ["TF_CONFIG"] = json.dumps(cluster)
        Devices.HEALTH_SECONDS = 5.0
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif devices > 1:
        strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)])
    steps.SECONDS_PER_CALL = 0.001
    if hang_at := settings.get("hang_at"):
        stop_at(hang_at)
    found = {}
    if alone := settings.get("alone"):
        found["alone"] = fit(tf.distribute.get_strategy(), settings | {"directory": alone})
    found |= fit(strategy, settings)
    (place / "result.json").write_text(json.dumps(found))


def fit(strategy: Any, settings: dict[str, Any]) -> dict[str, Any]:
    keras.utils.clear_session()  # or metrics are numbered on from those of the model before
    with strategy.scope():
        case = make(settings["name"], noise=settings.get("noise", False))
    history = exactrun.fit(
        case.model,
        case.x,
        case.y,
        case.sample_weight,
        validation_data=case.data,
        batch_size=BATCH,
        epochs=settings["epochs"],
        seed=settings.get("seed", 0),
        verbose=2,
        checkpoint_dir=settings["directory"],
        save_interval_secs=0.0,
        **case.options,
    )
    weights = [np.asarray(w.numpy(), np.float32) for w in case.model.weights]
    everything = [v.numpy() for v in [*case.model.variables, *case.model.optimizer.variables]]
    seeds = [v.value for v in case.model.variables if v.name == "seed_generator_state"]
    copies = [strategy.experimental_local_results(value) for value in seeds]
    return {
        "seeds": [[copy.numpy().tolist() for copy in of_one] for of_one in copies],
        "history": history.history,
        "resumed_from": history.resumed_from,
        "weights": np.concatenate([w.ravel() for w in weights]).tolist(),
        "digest": hashlib.sha256(b"".join(v.tobytes() for v in everything)).hexdigest(),
        "evaluated": exactrun.evaluate(case.model, *case.data, batch_size=BATCH),
    }


def stop_at(step: int) -> None:
    """Have this process stop, without dying, after a number of steps."""
    add = training.Training._add

    def counted(self: Any, measured: Any) -> None:
        add(self, measured)
        if self._step >= step:
            self._checkpoints._writer.wait()  # the one of a step before
            os.kill(os.getpid(), signal.SIGSTOP)

    training.Training._add = counted  # type: ignore[method-assign]
