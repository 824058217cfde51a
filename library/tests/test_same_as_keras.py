"""On one device, `fit` gives Keras' own numbers."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from cases import BATCH, CASES, ROWS, make
from reference import SEED, for_keras, keras_fit

import exactrun

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("name", CASES)
def test_history_and_weights_are_those_of_keras(name: str, tmp_path: Path) -> None:
    theirs = make(name)
    expected = keras_fit(theirs, epochs=2)
    ours = make(name)
    found = exactrun.fit(
        ours.model,
        ours.x,
        ours.y,
        ours.sample_weight,
        validation_data=ours.data,
        batch_size=BATCH,
        epochs=2,
        seed=SEED,
        verbose=0,
        checkpoint_dir=tmp_path,
        **ours.options,
    )
    assert found.finished
    assert found.history.keys() == expected.history.keys()
    half = name in ("bfloat16",)
    for metric, values in expected.history.items():
        np.testing.assert_allclose(
            found.history[metric], values, rtol=1e-2 if half else 2e-5, atol=1e-6, err_msg=metric
        )
    for weight, theirs_weight in zip(ours.model.weights, theirs.model.weights, strict=True):
        np.testing.assert_allclose(
            np.asarray(weight, np.float32),
            np.asarray(theirs_weight, np.float32),
            rtol=1e-5,
            atol=1e-6,
            err_msg=weight.path,
        )
    # The model is left as Keras leaves it.
    given = for_keras(ours.data)
    again = ours.model.evaluate(*given[:2], batch_size=BATCH, verbose=0, return_dict=True)
    assert set(again) == {key for key in expected.history if not key.startswith("val_")}
    assert len(keras.tree.flatten(ours.model.predict(given[0], verbose=0))[0]) == ROWS
