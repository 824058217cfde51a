"""A training that can be killed at any instant: `python killable.py PLACE`.

It checkpoints after every step, so that most instants lie inside the writing of one, and ends by
printing what a run must end with however often it was killed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from small import small_data

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.model import build_model
from {{ cookiecutter.__package }}.training import loop
from {{ cookiecutter.__package }}.training.folders import RunFolders

if __name__ == "__main__":
    place = Path(sys.argv[1])
    loop.STEPS_PER_CALL = 1
    config = Config(epochs=40, batch_size=16, checkpoint_seconds=0.0)
    data = small_data()
    model = build_model(data, config)
    print("ready", flush=True)
    folders = RunFolders("killed", scratch=place / "scratch", persistent=place / "kept")
    training = loop.train(model, data, config, folders=folders)
    history = [{**record, "seconds": None} for record in training.history]
    print(json.dumps({"weights": loop.weights_sha256(model), "history": history}))
