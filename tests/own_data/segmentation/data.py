"""Squares to be found in noise, pixel by pixel."""

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
    masks = np.zeros((320, 32, 32), np.int32)
    for mask, (top, left, side) in zip(masks, random.integers(4, 16, (320, 3)), strict=True):
        mask[top : top + side, left : left + side] = 1
    images = (masks[..., None] * 120 + random.integers(0, 100, (320, 32, 32, 1))).astype(np.uint8)
    return Splits(
        train=(images[:224], masks[:224]),
        validation=(images[224:272], masks[224:272]),
        test=(images[272:], masks[272:]),
        class_names=("noise", "square"),
    )
