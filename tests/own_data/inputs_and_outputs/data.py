"""Two inputs, and three things to say of each example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    random = np.random.default_rng(config.seed)
    image = random.random((480, 12, 12, 1), np.float32)
    numbers = random.normal(size=(480, 5)).astype(np.float32)
    bright = (image.mean(axis=(1, 2, 3)) > 0.5).astype(np.float32)[:, None]
    largest = numbers.argmax(axis=1).astype(np.int32)
    total = numbers.sum(axis=1, keepdims=True)

    def part(start: int, stop: int) -> tuple[Any, Any]:
        rows = slice(start, stop)
        x = {"image": image[rows], "numbers": numbers[rows]}
        return x, {"bright": bright[rows], "largest": largest[rows], "total": total[rows]}

    return Splits(train=part(0, 320), validation=part(320, 400), test=part(400, 480))
