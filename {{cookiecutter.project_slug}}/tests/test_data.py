"""The data: what holds for any that `load_data` returns."""

from __future__ import annotations

import keras
import numpy as np
from exactrun.datasets import take

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.data import Splits, load_data


def arrays(part: object) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in keras.tree.flatten(part)]


def test_validation_has_the_form_of_training(few: Splits) -> None:
    train, validation = arrays(few.train), arrays(few.validation)
    assert [(a.shape[1:], a.dtype) for a in train] == [(a.shape[1:], a.dtype) for a in validation]


def test_every_part_has_examples_and_their_targets(few: Splits) -> None:
    for part in (few.train, few.validation, few.test):
        assert len({len(array) for array in arrays(part)}) == 1
        assert len(arrays(part)[0]) > 0


def test_all_numbers_are_finite(few: Splits) -> None:
    numbers = [a for part in (few.train, few.validation, few.test) for a in arrays(part)]
    assert all(np.isfinite(a).all() for a in numbers if a.dtype.kind == "f")


def test_each_label_has_a_name(few: Splits) -> None:
    for part in (few.train, few.validation, few.test):
        if few.class_names and len(arrays(part[1])) == 1:
            labels = arrays(part[1])[0]
            assert labels.min() >= 0
            assert labels.max() < len(few.class_names)


def test_the_seed_alone_decides_the_data(few: Splits, config: Config) -> None:
    keras.utils.set_random_seed(config.seed)
    again = load_data(config)
    for part, same in ((few.train, again.train), (few.test, again.test)):
        for one, other in zip(arrays(part), arrays(take(same, 64)), strict=True):
            np.testing.assert_array_equal(one, other)
