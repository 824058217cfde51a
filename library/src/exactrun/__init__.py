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
    from .images import image_directory
    from .objects import load_object, save_object
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
    "run_workers",
    "save_model",
    "save_object",
    "split",
    "stage",
    "write_shards",
]

_MODULES = {
    "BadExample": "examples",
    "Checkpoints": "checkpoints",
    "Examples": "examples",
    "History": "callbacks",
    "Run": "run",
    "csv_rows": "tables",
    "evaluate": "fitting",
    "fetch_drive_folder": "drive_folder",
    "find_data": "environment",
    "fit": "fitting",
    "get_secret": "colab",
    "image_directory": "images",
    "load_metadata": "saving",
    "load_object": "objects",
    "mount_drive": "colab",
    "open_shards": "shards",
    "run_workers": "workers",
    "save_model": "saving",
    "save_object": "objects",
    "split": "splits",
    "stage": "staging",
    "write_shards": "shards",
}
"""Where each name is."""

_SUBMODULES = ("datasets",)


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULES and name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_MODULES.get(name, name)}", __name__)
    except ModuleNotFoundError as error:
        error.add_note(
            f"exactrun.{name} needs the extra `tensorflow` of exactrun: {INSTALL_TENSORFLOW}"
        )
        raise
    found = module if name in _SUBMODULES else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
