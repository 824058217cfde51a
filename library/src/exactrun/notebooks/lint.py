"""What is wrong with notebooks as they are stored, and fixing what a machine can fix."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import rules
from .files import Json, find_notebooks, read_notebook, write_notebook
from .rules import Finding

LEFTOVERS = "ExecuteTime collapsed colab execution executionInfo id outputId papermill scrolled"
"""Cell metadata that tools leave behind; Colab's executionInfo holds the user's name."""


def check(path: Path) -> list[Finding]:
    """Return what is wrong with a notebook.

    Raises:
        UserError: If the file is not a valid notebook.
    """
    notebook = read_notebook(path)
    above = path.resolve().parents
    root = next((each for each in above if (each / "pyproject.toml").exists()), above[0])
    findings = [*_mendable(notebook), *rules.metadata(notebook), *rules.parameters(notebook)]
    for name, cell in rules.named(notebook):
        findings += rules.private(name, cell)
        of_kind = {"code": rules.calls, "markdown": rules.pictures}.get(cell["cell_type"])
        findings += of_kind(name, cell) if of_kind else []
    return [*findings, *rules.addresses(notebook, path.resolve().relative_to(root).as_posix())]


def clean(path: Path) -> bool:
    """Fix a notebook's file where a machine can; return whether anything had to be fixed.

    Raises:
        UserError: If the file is not a valid notebook.
    """
    notebook = read_notebook(path)
    fixed = cleaned(notebook)
    if fixed != notebook:
        write_notebook(path, fixed)
    return fixed != notebook


def cleaned(notebook: Json) -> Json:
    """Return a notebook without outputs, counts and tools' metadata, each cell with its own id."""
    notebook = copy.deepcopy(notebook)
    notebook["nbformat_minor"] = max(5, notebook["nbformat_minor"])  # the first with cell ids
    for name in ("exactrun", "papermill", "widgets"):
        notebook["metadata"].pop(name, None)
    if language := notebook["metadata"].get("language_info"):
        notebook["metadata"]["language_info"] = {"name": language["name"]}
    # Colab keeps the id of a cell in its metadata.
    ids = [cell.get("id") or cell["metadata"].get("id") for cell in notebook["cells"]]
    for index, cell in enumerate(notebook["cells"]):
        if ids[index] is None or ids[index] in ids[:index]:
            names = (f"cell-{number}" for number in itertools.count(index + 1))
            ids[index] = next(name for name in names if name not in ids)
        cell["id"] = ids[index]
        for name in LEFTOVERS.split():
            cell["metadata"].pop(name, None)
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return notebook


def notebooks_at(paths: Iterable[Path]) -> list[Path]:
    """Return the notebooks among paths, and those in directories among them."""
    return [each for path in paths for each in (find_notebooks(path) if path.is_dir() else [path])]


def _mendable(notebook: Json) -> Iterator[Finding]:
    """Find what cleaning would change."""
    remedy = "`exactrun notebook clean` fixes it."
    fixed = cleaned(notebook)
    if fixed["metadata"] != notebook["metadata"]:
        fault = "its metadata holds what a tool left, which differs on every machine"
        yield Finding(fault=fault, remedy=remedy)
    for (name, cell), after in zip(rules.named(notebook), fixed["cells"], strict=True):
        faults = []
        if cell.get("id") != after["id"]:
            faults.append(f"its id is {'used twice' if 'id' in cell else 'missing'}")
        if cell.get("outputs"):
            faults.append("it holds outputs, which may show what is private")
        if cell.get("execution_count") is not None:
            faults.append("it holds an execution count, which every run changes")
        if left := cell["metadata"].keys() - after["metadata"].keys():
            faults.append(f"its metadata holds what a tool left: {', '.join(sorted(left))}")
        if faults:
            yield Finding(cell=name, fault="; ".join(faults), remedy=remedy)
