"""Keras' `fit`, killed at any instant, ending with the same bits.

TensorFlow is imported when a training needs it, not before.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .checkpoints import Checkpoints
from .errors import UserError
from .version import __version__

if TYPE_CHECKING:
    from .callbacks import History
    from .examples import BadExample, Examples
    from .fitting import evaluate, fit
    from .images import image_directory
    from .saving import save_model
    from .shards import open_shards, write_shards
    from .splits import split
    from .tables import csv_rows

__all__ = [
    "BadExample",
    "Checkpoints",
    "Examples",
    "History",
    "UserError",
    "__version__",
    "csv_rows",
    "evaluate",
    "fit",
    "image_directory",
    "open_shards",
    "save_model",
    "split",
    "write_shards",
]

_MODULES = {
    "BadExample": "examples",
    "Examples": "examples",
    "History": "callbacks",
    "csv_rows": "tables",
    "evaluate": "fitting",
    "fit": "fitting",
    "image_directory": "images",
    "open_shards": "shards",
    "save_model": "saving",
    "split": "splits",
    "write_shards": "shards",
}
"""Where the names are that are imported when they are used: TensorFlow alone takes seconds."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
