"""Tumours, benign or malignant (scikit-learn's Wisconsin data), by two groups of measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import exactrun
import numpy as np

from .config import Config


@dataclass(frozen=True, kw_only=True)
class Splits:
    train: tuple[Any, ...]
    validation: tuple[Any, ...]
    test: tuple[Any, ...]
    class_names: tuple[str, ...] = ()
    origin: str = ""


def load_data(config: Config) -> Splits:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    numbers = found.data.astype(np.float32)
    groups = {"mean": numbers[:, :10], "worst": numbers[:, 20:]}
    pairs = groups, found.target.astype(np.int32)
    parts = exactrun.split(pairs, seed=config.seed, stratify=True)
    return Splits(
        train=parts.train[:],
        validation=parts.validation[:],
        test=parts.test[:],
        class_names=tuple(map(str, found.target_names)),
    )
