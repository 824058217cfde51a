"""Probabilities of classes, whatever a model's last layer gives."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from exactrun import UserError, class_probabilities

X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("units", "activation"), [(1, "sigmoid"), (1, None), (3, "softmax"), (3, None)]
)
def test_logits_and_single_numbers_become_probabilities(units: int, activation: str | None) -> None:
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, activation)])
    model = keras.Sequential([keras.Input((4,)), keras.layers.Identity(), inner])
    weights, bias = (each.numpy() for each in inner.weights)
    scores = np.exp(X @ weights + bias)
    if units == 1:
        scores = np.concatenate([np.ones_like(scores), scores], axis=1)
    expected = scores / scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(class_probabilities(model, X), expected, rtol=1e-5)


def test_several_outputs_have_no_single_classes() -> None:
    x = keras.Input((4,))
    model = keras.Model(x, [keras.layers.Dense(2)(x), keras.layers.Dense(2)(x)])
    with pytest.raises(UserError, match="several outputs"):
        class_probabilities(model, X)
