"""Notebooks that pass only if all of them ran and nothing in them failed.

What executes and shows them is loaded when it is used: papermill alone takes a second.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .execution import Executed, NotebookFailed, run_notebook
    from .settings import read_settings

__all__ = ["Executed", "Limits", "NotebookFailed", "read_settings", "run_notebook"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run may take; None is without limit.

    Attributes:
        cell: Seconds for one cell.
        notebook: Seconds for everything, start-up included: what hangs is ended.
        start: Seconds for the kernel to start.
        memory: Bytes for the kernel and its children together, looked at every second.
    """

    cell: float | None = None
    notebook: float | None = 3600.0
    start: float = 60.0
    memory: float | None = None


DEFAULT_LIMITS = Limits()

_MODULES = {
    "Executed": "execution",
    "NotebookFailed": "execution",
    "read_settings": "settings",
    "run_notebook": "execution",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
