"""Houses of a CSV, and their prices."""

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
    file = Path(__file__).resolve().parents[2] / "data" / "houses.csv"
    parts = exactrun.split(exactrun.csv_rows(file, target="price"), seed=config.seed)
    return Splits(train=parts.train[:], validation=parts.validation[:], test=parts.test[:])
