"""The network: its size, its answers, and that it learns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from small import small_data

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.model import build_model, text_network

TEXTS = np.random.default_rng(0).integers(1, 100, size=(8, 30), dtype=np.int32)


def small(*, classes: int = 3, dropout: float = 0.0) -> keras.Model:
    return text_network(vocabulary_size=100, sequence_length=30, classes=classes, dropout=dropout)


@pytest.fixture
def half_precision() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_network_for_reuters_has_332_856_parameters(dropout: float) -> None:
    model = text_network(vocabulary_size=30_982, sequence_length=300, classes=46, dropout=dropout)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == 332_856


def test_each_text_gets_probabilities_that_sum_to_one() -> None:
    probabilities = small()(TEXTS).numpy()
    assert probabilities.shape == (8, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)


def test_one_class_is_answered_by_one_probability() -> None:
    probabilities = small(classes=1)(TEXTS).numpy()
    assert probabilities.shape == (8, 1)
    np.testing.assert_allclose(probabilities, 0.5, atol=0.2)
    assert np.ptp(probabilities) > 0


@pytest.mark.usefixtures("half_precision")
def test_probabilities_are_float32_in_mixed_precision() -> None:
    model = small(dropout=0.5)
    assert model.layers[-2].compute_dtype == "float16"
    assert model(TEXTS).dtype == "float32"


def test_dropout_takes_whole_words_while_training_and_none_after() -> None:
    embedding, dropout = small(dropout=0.5).layers[:2]
    vectors = embedding(TEXTS)
    kept = dropout(vectors, training=True).numpy() != 0
    assert (kept.all(axis=2) | ~kept.any(axis=2)).all()
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_array_equal(dropout(vectors, training=False), vectors)


def test_units_before_the_last_layer_are_dropped_while_training() -> None:
    dropout = small(dropout=0.5).layers[-2]
    ones = np.ones((50, 160), np.float32)
    assert 0.4 < np.mean(dropout(ones, training=True).numpy() == 0) < 0.6


def test_the_network_fits_the_data() -> None:
    data = small_data(classes=5)
    model = build_model(data, Config())
    assert model.input_shape == (None, data.x_train.shape[1])
    assert model.output_shape == (None, 5)
    assert model.layers[0].input_dim == len(data.vocabulary)


def test_the_seed_alone_decides_the_first_weights() -> None:
    def first_weights(seed: int) -> np.ndarray:
        model = build_model(small_data(), Config(seed=seed))
        return np.concatenate([weight.numpy().ravel() for weight in model.weights])

    assert np.array_equal(first_weights(1), first_weights(1))
    assert not np.array_equal(first_weights(1), first_weights(2))


def test_it_learns_to_spot_a_phrase_wherever_it_stands() -> None:
    random = np.random.default_rng(1)
    x = random.integers(10, 60, size=(600, 24), dtype=np.int32)
    y = random.integers(0, 2, size=600, dtype=np.int32)
    for row in np.flatnonzero(y):
        place = random.integers(0, 22)
        x[row, place : place + 3] = (7, 8, 9)
    keras.utils.set_random_seed(0)
    model = text_network(vocabulary_size=60, sequence_length=24, classes=2, dropout=0.1)
    optimizer = keras.optimizers.Adam(0.01)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[:500], y[:500], epochs=8, batch_size=25, verbose=0)
    _, accuracy = model.evaluate(x[500:], y[500:], verbose=0)
    assert accuracy > 0.9


def test_a_saved_network_answers_as_before(tmp_path: Path) -> None:
    model = small(dropout=0.3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(TEXTS), model(TEXTS))
