"""The digits: their shape, their split and their fingerprint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.data import Data, load, preview


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return load(Config(), cache=tmp_path_factory.mktemp("cache"))


def test_there_are_3600_digits_to_train_on_and_1400_that_stay_unseen(data: Data) -> None:
    assert data.x_train.shape == (3600, 32, 32, 1)
    assert data.x_validation.shape == (400, 32, 32, 1)
    assert data.x_test.shape == (1000, 32, 32, 1)
    assert data.x_train.dtype == np.uint8


def test_every_class_is_alike_in_all_parts(data: Data) -> None:
    assert np.bincount(data.y_train).tolist() == [360] * 10
    assert np.bincount(data.y_validation).tolist() == [40] * 10
    assert np.bincount(data.y_test).tolist() == [100] * 10


def test_the_digits_stand_in_the_middle_of_an_empty_edge(data: Data) -> None:
    inner = data.x_train[:, 2:-2, 2:-2]
    assert data.x_train.sum(dtype=np.int64) == inner.sum(dtype=np.int64) > 0


def test_the_seed_alone_decides_the_split(data: Data, tmp_path: Path) -> None:
    assert load(Config(epochs=1), cache=tmp_path).sha256 == data.sha256
    assert load(Config(seed=1), cache=tmp_path).sha256 != data.sha256


def test_the_preview_says_what_it_shows(data: Data) -> None:
    figure, alt = preview(data, rows=1, columns=3)
    labels = ", ".join(str(label) for label in data.y_train[:3])
    assert len(figure.axes) == 3
    assert alt.endswith(f"labelled {labels}")
