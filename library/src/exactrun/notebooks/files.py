"""Notebooks as they are stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
from nbformat.validator import iter_validate

from ..errors import UserError
from ..files import write_whole

Json = dict[str, Any]


def find_notebooks(directory: Path) -> list[Path]:
    """Return the notebooks in a directory and below it, without those that Jupyter keeps aside."""
    found = sorted(directory.rglob("*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def read_notebook(path: Path) -> Json:
    """Return a notebook as it is in its file: nbformat would fix it on the way.

    Raises:
        UserError: If there is none, or it is not valid; cells without ids are no reason.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8-sig"))
        json.dumps(notebook, ensure_ascii=False).encode()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not in UTF-8, as notebooks are: byte {error.start} is of another encoding."
            " Save it again with Jupyter."
        ) from error
    except UnicodeEncodeError as error:
        code = f"\\u{ord(error.object[error.start]):04x}"
        raise UserError(
            f"{path} has {code}, half of a character, in a text. Delete it, or write both halves."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not JSON: {error}. Resolve what a merge left, or save it with Jupyter."
        ) from error
    if (
        not isinstance(notebook, dict)
        or notebook.get("nbformat") != 4
        or not isinstance(minor := notebook.get("nbformat_minor", 0), int)
    ):
        raise UserError(f"{path} is not a notebook of format 4. Save it again with Jupyter.")
    tried = notebook | {"nbformat_minor": max(5, minor)}
    if isinstance(cells := notebook.get("cells"), list):
        tried["cells"] = [{"id": "x"} | cell if isinstance(cell, dict) else cell for cell in cells]
    # Jupyter opens a notebook with further keys, such as those that nbdev writes.
    if fault := next(iter_validate(tried, relax_add_props=True), None):
        where = "/".join(str(part) for part in fault.absolute_path) or "its top"
        message = f"is not a valid notebook at {where}: {fault.message.splitlines()[0]}"
        raise UserError(f"{path} {message}. Save it again with Jupyter.")
    return notebook


def write_notebook(path: Path, notebook: Json) -> None:
    """Write a notebook's file, whole or not at all, as Jupyter formats it."""
    write_whole(path, json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def load_notebook(path: Path) -> nbformat.NotebookNode:
    """Return a notebook to work with: its texts in one piece, all its cells with ids.

    Raises:
        UserError: As `read_notebook` does.
    """
    return nbformat.reads(json.dumps(read_notebook(path)), as_version=4)
