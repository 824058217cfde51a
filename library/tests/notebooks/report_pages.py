"""Notebooks as a run leaves them, written directly, and their pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output

from exactrun.notebooks.report import write_report


def written(
    place: Path, *cells: Any, name: str = "page", notebook: Any = None, **options: Any
) -> BeautifulSoup:
    """Write a notebook of these cells and its report; return the page."""
    notebook = notebook or new_notebook()
    notebook.cells += list(cells)
    notebook.metadata.setdefault("exactrun", {"passed": True})
    file = place / f"{name}.ipynb"
    file.write_text(json.dumps(notebook), encoding="utf-8")
    page = write_report(
        file, place / f"{name}.html", beside=options.pop("beside", place), **options
    )
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def displayed(**data: Any) -> Any:
    """Return an output with forms such as `image_png` and `text_html`."""
    return new_output("display_data", data={k.replace("_", "/", 1): v for k, v in data.items()})


def output(value: Any, kind: str = "text/html", **more: Any) -> Any:
    """Return a cell that showed something."""
    return new_code_cell("show()", outputs=[new_output("display_data", data={kind: value} | more)])


def ran(source: str, *outputs: Any, count: int = 1, tags: Any = (), seconds: float = 0.0) -> Any:
    """Return a cell that ran."""
    metadata = {"tags": list(tags), "papermill": {"duration": seconds}}
    return new_code_cell(
        source, id=f"c{count}", outputs=list(outputs), execution_count=count, metadata=metadata
    )
