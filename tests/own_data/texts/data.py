"""Reviews of a CSV, good or bad."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import exactrun

from .config import Config


@dataclass(frozen=True, kw_only=True)
class Splits:
    train: tuple[Any, ...]
    validation: tuple[Any, ...]
    test: tuple[Any, ...]
    class_names: tuple[str, ...] = ()
    origin: str = ""


def load_data(config: Config) -> Splits:
    file = Path(__file__).resolve().parents[2] / "data" / "reviews.csv"
    reviews = exactrun.csv_rows(file, text="review", target="stars")
    parts = exactrun.split(reviews, seed=config.seed, stratify=True)
    return Splits(
        train=parts.train[:],
        validation=parts.validation[:],
        test=parts.test[:],
        class_names=reviews.class_names,
    )
