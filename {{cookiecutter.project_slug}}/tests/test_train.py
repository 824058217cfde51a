"""The training: it learns, and an interrupted one ends as an unbroken one."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import exactrun
import keras
import numpy as np
import pytest

from {{ cookiecutter.__package }}.__main__ import main
from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.data import Splits
from {{ cookiecutter.__package }}.model import build_model


def build(few: Splits, config: Config) -> keras.Model:
    keras.utils.clear_session()  # Keras counts its metrics' names up, from model to model
    keras.utils.set_random_seed(config.seed)
    return build_model(few, config)


def fit(few: Splits, config: Config, directory: Path, **options: Any) -> tuple[keras.Model, Any]:
    """Train on a few examples; return the model and the history."""
    model = build(few, config)
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
    return model, history


def test_the_weights_move_and_the_loss_does_not_rise(
    few: Splits, config: Config, tmp_path: Path
) -> None:
    first = build(few, config)
    before = exactrun.evaluate(first, *few.train)["loss"]
    trained, _ = fit(few, config, tmp_path)
    pairs = zip(first.trainable_weights, trained.trainable_weights, strict=True)
    assert not all(np.array_equal(one.numpy(), other.numpy()) for one, other in pairs)
    # A model that another run has trained may be as good as it gets.
    assert exactrun.evaluate(trained, *few.train)["loss"] < 1.1 * before + 0.01


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
    resumed, rest = fit(few, config, tmp_path / "broken")
    assert rest.resumed_from > 0
    for one, other in zip(unbroken.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert rest.history == whole.history


def test_a_setting_that_is_unknown_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(["train", "--epoch-count", "2"])
    assert refusal.value.code == 2
    assert "--epoch-count" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["epochs", "batch_size", "learning_rate", "max_hours", "dropout", "seed"]
)
def test_a_setting_that_makes_no_sense_is_refused(name: str) -> None:
    with pytest.raises(exactrun.UserError, match=f"{name}=-1 must be"):
        Config(**{name: -1})
