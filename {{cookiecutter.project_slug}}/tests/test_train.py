"""The training: it learns, and an interrupted one ends as an unbroken one."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import exactrun
import keras
import pytest

from {{ cookiecutter.__package }}.__main__ import main
from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.data import Splits
from {{ cookiecutter.__package }}.model import build_model


def fit(few: Splits, config: Config, directory: Path, **options: Any) -> tuple[bytes, Any]:
    """Train on a few examples; return the weights and the history."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(few, config)
    history = exactrun.fit(
        model,
        *few.train,
        validation_data=few.validation,
        batch_size=config.batch_size,
        epochs=config.epochs,
        verbose=0,
        checkpoint_dir=directory,
        **options,
    )
    return b"".join(weight.numpy().tobytes() for weight in model.weights), history


def test_the_loss_falls(few: Splits, config: Config, tmp_path: Path) -> None:
    _, history = fit(few, config, tmp_path)
    assert min(history.history["loss"][1:]) < history.history["loss"][0]


def test_interrupted_it_ends_with_the_weights_of_an_unbroken_one(
    few: Splits, config: Config, tmp_path: Path
) -> None:
    def interrupt(batch: int, logs: Any) -> None:
        if batch == 1:
            signal.raise_signal(signal.SIGINT)  # as the notebook's stop button

    unbroken, whole = fit(few, config, tmp_path / "unbroken")
    stop = keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(few, config, tmp_path / "broken", callbacks=[stop])
    weights, rest = fit(few, config, tmp_path / "broken")
    assert rest.resumed_from > 0
    assert weights == unbroken
    assert rest.history == whole.history


def test_a_setting_that_is_unknown_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(["train", "--epoch-count", "2"])
    assert refusal.value.code == 2
    assert "--epoch-count" in capsys.readouterr().err
