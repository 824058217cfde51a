"""The network: its size, and what it answers before it has learned anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small import small_data

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.model import build_model, image_network


def test_the_network_of_150_by_150_colours_has_the_known_size() -> None:
    network = image_network(input_shape=(150, 150, 3), classes=1)
    assert network.count_params() == 9_494_561


def test_an_untrained_network_can_not_say_yes_or_no() -> None:
    network = image_network(input_shape=(150, 150, 3), classes=1)
    answer = network.predict(np.zeros((1, 150, 150, 3)), verbose=0)
    assert answer.item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("shape", "classes"), [((22, 22, 1), 2), ((40, 64, 3), 7)])
def test_it_takes_any_shape_and_gives_probabilities(
    shape: tuple[int, int, int], classes: int
) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, *shape)).astype(np.uint8)
    network = image_network(input_shape=shape, classes=classes, dropout=0.3, shift=0.1)
    answers = network.predict(pictures, verbose=0)
    assert answers.shape == (5, classes)
    assert answers.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)


@pytest.mark.parametrize("shape", [(4,), (21, 40, 1)])
def test_what_is_no_picture_or_too_small_is_refused(shape: tuple[int, ...]) -> None:
    data = replace(small_data(), x_train=np.zeros((64, *shape), np.uint8))
    with pytest.raises(UserError, match="this network takes pictures"):
        build_model(data, Config())


def test_the_seed_alone_decides_the_first_weights() -> None:
    def first_weights(seed: int) -> np.ndarray:
        model = build_model(small_data(), Config(seed=seed))
        return np.concatenate([weight.numpy().ravel() for weight in model.weights])

    assert np.array_equal(first_weights(1), first_weights(1))
    assert not np.array_equal(first_weights(1), first_weights(2))
