"""The model: what holds for any that `build_model` returns."""

from __future__ import annotations

from pathlib import Path

import exactrun
import keras
import numpy as np

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.data import Splits
{% if cookiecutter.task == "text" %}
from {{ cookiecutter.__package }}.model import build_model, export_model
{% else %}
from {{ cookiecutter.__package }}.model import build_model
{% endif %}


def build(splits: Splits, config: Config, *, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return build_model(splits, config)


def test_it_takes_the_examples(few: Splits, config: Config) -> None:
    measured = exactrun.evaluate(build(few, config), *few.validation)
    assert np.isfinite(list(keras.tree.flatten(measured))).all()


def test_the_same_seed_gives_the_same_first_weights(few: Splits, config: Config) -> None:
    first, again = build(few, config, seed=1), build(few, config, seed=1)
    for one, other in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_saved_and_loaded_it_predicts_the_same(few: Splits, config: Config, tmp_path: Path) -> None:
    model = build(few, config)
{% if cookiecutter.task == "text" %}
    model = export_model(model, few)
{% endif %}
    saved = exactrun.save_model(model, tmp_path / "model.keras", class_names=few.class_names)
    loaded = keras.models.load_model(saved, compile=False)
    predictions = [keras.tree.flatten(m.predict(few.test[0], verbose=0)) for m in (model, loaded)]
    for one, other in zip(*predictions, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    assert tuple(exactrun.load_metadata(saved)["class_names"]) == tuple(few.class_names)
