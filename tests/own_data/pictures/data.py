"""Pictures of birds, in a directory for each class, read while it trains."""

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
    birds = Path(__file__).resolve().parents[2] / "data" / "birds"
    pictures = exactrun.image_directory(birds, size=(32, 32))
    parts = exactrun.split(pictures, seed=config.seed, stratify=True)
    return Splits(
        train=(parts.train,),
        validation=(parts.validation,),
        test=(parts.test,),
        class_names=pictures.class_names,
    )
