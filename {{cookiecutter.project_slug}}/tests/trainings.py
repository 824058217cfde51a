"""Trainings of the project's model on small data, for the tests that look at what they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras.callbacks import Callback, LambdaCallback
from small import small_data

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.model import build_model
from {{ cookiecutter.__package }}.training.delivery import weights_sha256
from {{ cookiecutter.__package }}.training.folders import RunFolders
from {{ cookiecutter.__package }}.training.loop import Training, train

CONFIG = Config(epochs=3, batch_size=16, checkpoint_seconds=0.0)
STEPS_PER_EPOCH = 64 // 16


def folders_in(place: Path) -> RunFolders:
    return RunFolders("test", scratch=place / "scratch", persistent=place / "kept")


def run(place: Path, config: Config = CONFIG, **options: Any) -> tuple[str, Training]:
    """Train in a place; return the SHA-256 of the weights, and what the training did."""
    data = options.pop("data", small_data())
    model = build_model(data, config)
    training = train(model, data, config, folders=folders_in(place), **options)
    return weights_sha256(model), training


def after(epoch: int, act: Callable[[], Any]) -> list[Callback]:
    """Return a callback that acts at an epoch's end."""
    return [LambdaCallback(on_epoch_end=lambda n, logs: act() if n + 1 == epoch else None)]


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def without_seconds(training: Training) -> list[dict[str, Any]]:
    return [{**record, "seconds": None} for record in training.history]
