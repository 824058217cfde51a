"""What the tests share: the settings, the data, and a few examples of them."""

from __future__ import annotations

from dataclasses import replace

import keras
import pytest
from exactrun.datasets import take

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.data import Splits, load_data


@pytest.fixture(scope="session")
def config() -> Config:
    return Config(epochs=12, batch_size=16, accelerator="cpu")


@pytest.fixture(scope="session")
def splits(config: Config) -> Splits:
    keras.utils.set_random_seed(config.seed)
    return load_data(config)


@pytest.fixture(scope="session")
def few(splits: Splits) -> Splits:
    """64 examples to learn from, and as many to validate by and to test on."""
    parts = {name: take(getattr(splits, name), 64) for name in ("train", "validation", "test")}
    return replace(splits, **parts)
