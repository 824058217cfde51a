"""A training that can be killed at any instant: `python killable.py PLACE [SETTINGS]`.

It checkpoints after every step, so that most instants lie inside the writing of one. It says when
it is ready, when it has made its first steps, and at last what a run must end with however often it
was killed. SETTINGS is JSON. Under `TF_CONFIG` it is one of several workers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
from small import small_data

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.model import build_model
from {{ cookiecutter.__package }}.training import loop
from {{ cookiecutter.__package }}.training.delivery import weights_sha256
from {{ cookiecutter.__package }}.training.distribution import find_devices
from {{ cookiecutter.__package }}.training.folders import RunFolders

SETTINGS = {
    "epochs": 10,
    "batch_size": 16,
    "checkpoint_seconds": 0.0,
    "warmup": 0.2,
    "precision": "mixed_float16",
}

if __name__ == "__main__":
    place = Path(sys.argv[1])
    given = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    config = Config(**SETTINGS | given)
    loop.SECONDS_PER_CALL = 0.0
    devices = find_devices()
    keras.config.set_dtype_policy(config.precision)
    data = small_data()
    with devices.strategy.scope():
        model = build_model(data, config)
    print("ready", flush=True)
    scratch = place / f"scratch-{devices.worker}"
    folders = RunFolders("killed", scratch=scratch, persistent=place / "kept", writes=devices.chief)
    said = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: print("trains", flush=True)
    )
    training = loop.train(
        model,
        data,
        config,
        folders=folders,
        devices=devices,
        callbacks=[said],
        precision=config.precision,
    )
    history = [{**record, "seconds": None} for record in training.history]
    print(json.dumps({"weights": weights_sha256(model), "history": history}))
