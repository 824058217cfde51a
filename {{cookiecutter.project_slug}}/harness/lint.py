"""Checks notebooks as they are stored: `python -m harness.lint notebooks/`; `--clean` mends."""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import rules
from .errors import HarnessError
from .files import Json, find_notebooks, read_notebook, write_whole
from .rules import Finding

LEFTOVERS = "ExecuteTime collapsed colab execution executionInfo id outputId papermill scrolled"
"""Cell metadata that tools leave behind; Colab's executionInfo holds the user's name."""


def check(path: Path) -> list[Finding]:
    """Return what is wrong with a notebook.

    Raises:
        HarnessError: If the file is not a valid notebook.
    """
    notebook = read_notebook(path)
    above = path.resolve().parents
    root = next((folder for folder in above if (folder / "pyproject.toml").exists()), above[0])
    findings = [*_mendable(notebook), *rules.metadata(notebook), *rules.parameters(notebook)]
    for name, cell in rules.named(notebook):
        findings += rules.private(name, cell)
        of_kind = {"code": rules.calls, "markdown": rules.pictures}.get(cell["cell_type"])
        findings += of_kind(name, cell) if of_kind else []
    return [*findings, *rules.addresses(notebook, path.resolve().relative_to(root).as_posix())]


def clean(path: Path) -> bool:
    """Mend a notebook's file where a machine can; return whether anything had to be mended.

    Raises:
        HarnessError: If the file is not a valid notebook.
    """
    notebook = read_notebook(path)
    mended = cleaned(notebook)
    if mended != notebook:
        write_whole(path, json.dumps(mended, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return mended != notebook


def cleaned(notebook: Json) -> Json:
    """Return a notebook without outputs, counts and tools' metadata, each cell with its own id."""
    notebook = copy.deepcopy(notebook)
    notebook["nbformat_minor"] = max(5, notebook["nbformat_minor"])  # the first with cell ids
    for name in ("papermill", "widgets"):
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Check notebooks and print what is wrong; return 1 if anything is, else 0."""
    parser = argparse.ArgumentParser(prog="python -m harness.lint", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of notebooks")
    parser.add_argument("--clean", action="store_true", help="first mend what can be mended")
    options = parser.parse_args(arguments)
    notebooks = [
        path
        for place in options.paths
        for path in (find_notebooks(place) if place.is_dir() else [place])
    ]
    if not notebooks:
        parser.error(f"there is no notebook in {', '.join(map(str, options.paths))}")
    count = 0
    for path in notebooks:
        try:
            if options.clean and clean(path):
                print(f"{path}: mended")
            findings = [f"{path}: {finding}" for finding in check(path)]
        except HarnessError as error:
            findings = [str(error)]
        count += len(findings)
        print(*findings, sep="\n", end="\n" if findings else "")
    print(f"Notebooks: {len(notebooks)}, findings: {count}")
    return 1 if count else 0


def _mendable(notebook: Json) -> Iterator[Finding]:
    """Find what cleaning would change."""
    remedy = "`python -m harness.lint --clean` mends it."
    mended = cleaned(notebook)
    if mended["metadata"] != notebook["metadata"]:
        fault = "its metadata holds what a tool left, which differs on every machine"
        yield Finding(fault=fault, remedy=remedy)
    for (name, cell), after in zip(rules.named(notebook), mended["cells"], strict=True):
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


if __name__ == "__main__":
    sys.exit(main())
