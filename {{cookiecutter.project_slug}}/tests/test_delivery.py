"""What a run delivers: a model that answers as the trained one, and what is drawn of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from small import small_data
from trainings import CONFIG, folders_in

from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.model import build_model
from {{ cookiecutter.__package }}.training.delivery import deliver_model
from {{ cookiecutter.__package }}.training.figures import confusion, curves
from {{ cookiecutter.__package }}.training.loop import train


def test_the_delivered_model_answers_as_the_trained_one(tmp_path: Path) -> None:
    data = small_data()
    model = build_model(data, CONFIG)
    path, found, compared = deliver_model(model, data, folders_in(tmp_path))
    assert path.exists()
    assert "same answers to 32 test examples" in compared
    assert found.answers == pytest.approx(model.predict(data.x_test, verbose=0), abs=1e-6)


def test_a_model_that_is_loaded_as_another_one_is_not_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_data()
    other = build_model(data, replace(CONFIG, seed=1))
    monkeypatch.setattr(keras.saving, "load_model", lambda path, compile: other)
    with pytest.raises(UserError, match="answers differently from the trained model"):
        deliver_model(build_model(data, CONFIG), data, folders_in(tmp_path))


def test_an_evaluation_has_the_digits_of_the_last_validation(tmp_path: Path) -> None:
    data = small_data()
    data = replace(data, x_test=data.x_validation, y_test=data.y_validation)
    model = build_model(data, CONFIG)
    config = replace(CONFIG, deliver="last")
    training = train(model, data, config, folders=folders_in(tmp_path))
    _, found, _ = deliver_model(model, data, folders_in(tmp_path))
    last = training.history[-1]
    assert (found.loss, found.accuracy) == (last["val_loss"], last["val_accuracy"])


def test_the_confusion_matrix_names_the_worst_mistakes() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    given = np.array([0, 1, 1, 1, 0, 2])
    _, alt = confusion(truth, np.eye(3)[given], ("cat", "dog", "owl"))
    assert "3 of 6 test examples are right" in alt
    assert "cat taken for dog (2×); dog taken for cat (1×)" in alt


def test_a_curve_without_an_epoch_says_so() -> None:
    assert "no epoch is finished" in curves([])[1]
