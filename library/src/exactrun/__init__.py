"""Keras' `fit`, killed at any instant, ending with the same bits; and what a run needs around it.

What is in here is imported when it is used: TensorFlow alone takes seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import INSTALL_TENSORFLOW, UserError
from .version import __version__

if TYPE_CHECKING:
    from . import datasets
    from .callbacks import History
    from .checkpoints import Checkpoints
    from .colab import get_secret, mount_drive
    from .drive_folder import fetch_drive_folder
    from .environment import find_data
    from .examples import BadExample, Examples
    from .fitting import evaluate, fit
    from .images import image_directory, read_image
    from .objects import load_object, save_object
    from .predictions import class_probabilities
    from .run import Run
    from .saving import load_metadata, save_model
    from .shards import open_shards, write_shards
    from .splits import split
    from .staging import stage
    from .tables import csv_rows
    from .workers import run_workers

__all__ = [
    "BadExample",
    "Checkpoints",
    "Examples",
    "History",
    "Run",
    "UserError",
    "__version__",
    "class_probabilities",
    "csv_rows",
    "datasets",
    "evaluate",
    "fetch_drive_folder",
    "find_data",
    "fit",
    "get_secret",
    "image_directory",
    "load_metadata",
    "load_object",
    "mount_drive",
    "open_shards",
    "read_image",
    "run_workers",
    "save_model",
    "save_object",
    "split",
    "stage",
    "write_shards",
]

_NAMES = {
    "callbacks": ["History"],
    "checkpoints": ["Checkpoints"],
    "colab": ["get_secret", "mount_drive"],
    "drive_folder": ["fetch_drive_folder"],
    "environment": ["find_data"],
    "examples": ["BadExample", "Examples"],
    "fitting": ["evaluate", "fit"],
    "images": ["image_directory", "read_image"],
    "objects": ["load_object", "save_object"],
    "predictions": ["class_probabilities"],
    "run": ["Run"],
    "saving": ["load_metadata", "save_model"],
    "shards": ["open_shards", "write_shards"],
    "splits": ["split"],
    "staging": ["stage"],
    "tables": ["csv_rows"],
    "workers": ["run_workers"],
}
"""What is in each module."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name != "datasets" and name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_MODULES.get(name, name)}", __name__)
    except ModuleNotFoundError as error:
        error.add_note(
            f"exactrun.{name} needs the extra `tensorflow` of exactrun: {INSTALL_TENSORFLOW}"
        )
        raise
    found = getattr(module, name) if name in _MODULES else module
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
