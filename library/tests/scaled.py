"""Train a case on several devices or as one of several workers: `scaled.py SETTINGS`.

SETTINGS is JSON: `name`, `noise`, `devices` (how many the processor passes for), `directory`,
`epochs`, `seed`, and `hang_at`, a step at which this process stops without dying. Under `TF_CONFIG`
it is a worker. The last line printed is JSON: the history, the weights and a digest of everything.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from typing import Any

import numpy as np
import tensorflow as tf

import exactrun
from exactrun import training
from exactrun.distribution import Devices


def main() -> None:
    settings = json.loads(sys.argv[1])
    devices = settings.get("devices", 1)
    if devices > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * devices
        tf.config.set_logical_device_configuration(cpu, parts)
    strategy: Any = tf.distribute.get_strategy()
    if "TF_CONFIG" in os.environ:
        Devices.HEALTH_SECONDS = 5.0
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif devices > 1:
        strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)])
    from cases import BATCH, make

    training.SECONDS_PER_CALL = 0.001
    if hang_at := settings.get("hang_at"):
        stop_at(hang_at)
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
    found = {
        "history": history.history,
        "resumed_from": history.resumed_from,
        "weights": np.concatenate([w.ravel() for w in weights]).tolist(),
        "digest": hashlib.sha256(b"".join(v.tobytes() for v in everything)).hexdigest(),
        "evaluated": exactrun.evaluate(case.model, *case.data, batch_size=BATCH),
    }
    print(json.dumps(found), flush=True)


def stop_at(step: int) -> None:
    """Have this process stop, without dying, after a number of steps."""
    add = training.Training._add

    def counted(self: Any, measured: Any) -> None:
        add(self, measured)
        if self._step >= step:
            os.kill(os.getpid(), signal.SIGSTOP)

    training.Training._add = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
