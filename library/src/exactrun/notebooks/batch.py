"""Executing notebooks one after another; what came of them, for people and for programs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

from ..errors import UserError
from ..files import explain, patiently, write_whole
from ..version import __version__
from .execution import Executed, NotebookFailed, forget, run_notebook
from .files import find_notebooks
from .parameters import given_parameters
from .stopping import sigterm_as_interrupt


def places(paths: Sequence[Path], *, output: Path) -> list[tuple[Path, Path]]:
    """Return notebooks, given themselves or by a directory, and for each its output directory.

    In the output they lie as they lie below what all paths have in common, so that no two meet.

    Raises:
        UserError: If they have nothing in common, on several drives of Windows.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        for notebook in find_notebooks(path) if path.is_dir() else [path]:
            below = notebook.relative_to(path).parts
            hidden = any(part.startswith(".") for part in below)
            written = path.is_dir() and notebook.resolve().is_relative_to(output.resolve())
            if not (hidden or written):
                found.setdefault(notebook.resolve(), notebook)
    tops = [path.resolve() if path.is_dir() else path.resolve().parent for path in paths]
    try:
        common = os.path.commonpath(tops)
    except ValueError as error:
        listed = ", ".join(map(str, paths))
        raise UserError(f"{listed} lie on several drives. Run those of one drive.") from error
    return [(path, output / full.relative_to(common).parent) for full, path in found.items()]


@sigterm_as_interrupt()
def run_all(
    notebooks: Sequence[tuple[Path, Path]],
    *,
    texts: Sequence[str],
    files: Sequence[Path],
    results: Path | None,
    **options: Any,
) -> bool:
    """Execute notebooks one after another, and say what came of each.

    Args:
        notebooks: Each with its output directory.
        texts: Parameters as `name=value`, for each of them.
        files: Files of parameters.
        results: Where to write the results as JSON.
        options: Those of `run_notebook`.

    Returns:
        Whether all passed.

    Raises:
        UserError: If the results can't be written.
        KeyboardInterrupt: If it was stopped; the results up to there are written.
    """
    done: list[dict[str, Any]] = []
    if results:
        with _writing(results):
            results.parent.mkdir(parents=True, exist_ok=True)
            patiently(results.unlink, missing_ok=True)  # it tells of the run before
    try:
        for path, output in notebooks:
            if len(notebooks) > 1:
                print(f"\n{path}")
            started, values, executed = time.monotonic(), dict[str, Any](), None
            detail, begun = "it was not finished", False
            try:
                forget(path, output)  # what tells of the run before, also if a value is refused
                begun = True
                values |= given_parameters(path, files=files, texts=texts)
                executed = run_notebook(path, output=output, parameters=values, **options)
                detail = ""
                print(f"Executed notebook: {executed.path}\nReport: {executed.report}")
            except (UserError, OSError) as error:
                detail = str(error) if isinstance(error, UserError) else _unwritable(output, error)
                print(detail, file=sys.stderr)
                if isinstance(error, NotebookFailed):
                    executed, detail = error.executed, detail.rpartition("\n")[0]
                detail = detail.removeprefix(f"{path} ").removeprefix("failed in ")
                if begun and len(notebooks) > 1 and type(error) is UserError:  # refused
                    with _writing(output):
                        _write_refusal(path, output, detail)
            finally:
                seconds = round(time.monotonic() - started, 3)
                verdict = "failed" if detail else "passed"
                result: dict[str, Any] = {"notebook": str(path), "verdict": verdict}
                result |= {"detail": detail, "seconds": seconds, "parameters": values}
                done.append(result | _told(executed))
    finally:
        if results:
            with _writing(results):
                write_results(done, results)
    failed = sum(result["verdict"] == "failed" for result in done)
    if len(done) > 1:
        print()
        for result in done:
            detail = f": {result['detail'].splitlines()[0]}" if result["detail"] else ""
            took = f"{result['seconds']:7.1f} s"
            print(f"{result['verdict']} {took}  {result['notebook']}{detail}")
        print(f"Notebooks: {len(done)}, failed: {failed}")
    return not failed


def _write_refusal(notebook: Path, output: Path, why: str) -> None:
    """Write the report of a notebook that was refused, so that an index doesn't pass it over."""
    from .report import write_report

    nothing = nbformat.v4.new_notebook(metadata={"exactrun": {"passed": False, "failure": why}})
    place = output / notebook.name
    place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(place, nbformat.writes(nothing) + "\n")
    write_report(place, place.with_suffix(".html"), beside=notebook.parent)


def _told(executed: Executed | None) -> dict[str, Any]:
    """Return what the file of results says of an executed notebook; None was refused or stopped."""
    if executed is None:
        return {"cell": None, "checks": [], "executed": None, "report": None, "cells": []}
    return {
        "cell": executed.notebook.metadata.get("exactrun", {}).get("cell"),
        "checks": executed.record.get("checks", []),
        "executed": str(executed.path),
        "report": str(executed.report),
        "cells": [
            {
                "id": cell.get("id"),
                "index": index,
                "status": cell.metadata.papermill.status,
                "seconds": cell.metadata.papermill.duration,
            }
            for index, cell in enumerate(executed.notebook.cells)
            if cell.cell_type == "code"
        ],
    }


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Raise a UserError if a place can't be written to."""
    try:
        yield
    except OSError as error:
        raise UserError(_unwritable(place, error)) from error


def _unwritable(place: Path, error: OSError) -> str:
    """Say that nothing can be written to a place."""
    said = explain(error) if error.errno else str(error)
    return f"{error.filename or place} can't be written: {said}. Choose another place, or clear it."


def write_results(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write results as JSON, whole or not at all."""
    top = {
        "exactrun": __version__,
        "passed": all(each["verdict"] == "passed" for each in results),
        "seconds": round(sum(each["seconds"] for each in results), 3),
        "notebooks": results,
    }
    write_whole(path, json.dumps(top, indent=1, ensure_ascii=False) + "\n")
