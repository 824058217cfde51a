"""Files: notebooks, and texts that are whole or absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
from nbformat.validator import iter_validate

from .errors import HarnessError

Json = dict[str, Any]


def find_notebooks(folder: Path) -> list[Path]:
    """Return the notebooks in a folder and below it, without those that Jupyter keeps aside."""
    found = sorted(folder.rglob("*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def read_notebook(path: Path) -> Json:
    """Return a notebook as it is in its file: nbformat would mend it on the way.

    Raises:
        HarnessError: If there is none, or it is not valid; cells without ids are no reason.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HarnessError(f"{path} can't be read: {error.strerror}. Check the path.") from error
    except ValueError as error:
        raise HarnessError(
            f"{path} is not JSON: {error}. Resolve what a merge left, or save it with Jupyter."
        ) from error
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise HarnessError(f"{path} is not a notebook of format 4. Save it again with Jupyter.")
    tried = notebook | {"nbformat_minor": max(5, notebook.get("nbformat_minor", 0))}
    tried["cells"] = [{"id": "x"} | cell for cell in notebook.get("cells", [])]
    if fault := next(iter(iter_validate(tried)), None):
        where = "/".join(str(part) for part in fault.absolute_path) or "its top"
        message = f"is not a valid notebook at {where}: {fault.message.splitlines()[0]}"
        raise HarnessError(f"{path} {message}. Save it again with Jupyter.")
    return notebook


def load_notebook(path: Path) -> nbformat.NotebookNode:
    """Return a notebook to work with: its texts in one piece, all its cells with ids.

    Raises:
        HarnessError: As `read_notebook` does.
    """
    return nbformat.reads(json.dumps(read_notebook(path)), as_version=4)


def write_whole(path: Path, text: str) -> None:
    """Write a text file, and its folder; a reader sees the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)
