"""Files: notebooks in a folder, and texts that are whole or absent."""

from __future__ import annotations

from pathlib import Path


def find_notebooks(folder: Path) -> list[Path]:
    """Return the notebooks in a folder and below it, without those that Jupyter keeps aside."""
    found = sorted(folder.rglob("*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)
