"""Executing a notebook through papermill, without papermill's ways to miss a failure."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import CellControlSignal, DeadKernelError

from .report import write_report


class HarnessError(Exception):
    """A notebook can't be executed, or did not pass; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Executed:
    """What an execution leaves in its output folder.

    Attributes:
        notebook: The executed notebook, with its outputs.
        report: The same as a web page that needs nothing else.
    """

    notebook: Path
    report: Path


def declared_parameters(notebook: Path) -> dict[str, Any]:
    """Return a notebook's parameters and their own values.

    Raises:
        HarnessError: If a value is not a literal; or if no cell, or more than one, is tagged
            `parameters`: papermill would put its values first, and the notebook's own would win.
    """
    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise HarnessError(
            f"{notebook} has {len(tagged)} cells tagged 'parameters'; it needs exactly one."
        )
    values = {}
    for name, found in papermill.inspect_notebook(str(notebook)).items():
        try:
            values[name] = ast.literal_eval(found["default"])
        except (SyntaxError, ValueError) as error:
            raise HarnessError(
                f"{notebook} declares {name} = {found['default']}; a parameter needs a plain value,"
                " such as 3, 0.5, True or 'text'."
            ) from error
    return values


def parse_parameters(notebook: Path, texts: Iterable[str]) -> dict[str, Any]:
    """Turn `name=value` texts into values of the types that the notebook declares.

    Raises:
        HarnessError: If a text is not of this form, or its value not of the parameter's type.
    """
    declared, values = declared_parameters(notebook), {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise HarnessError(f"{text!r} is not of the form name=value, such as epochs=3.")
        kind = type(declared.get(name, ""))
        try:
            if kind is bool:
                values[name] = {"true": True, "false": False}[value.lower()]
            else:
                values[name] = kind(value)
        except (KeyError, ValueError) as error:
            raise HarnessError(
                f"{name}={value}: {value!r} is not of type {kind.__name__}."
            ) from error
    return values


def run(notebook: Path, *, output: Path, parameters: Mapping[str, Any]) -> Executed:
    """Execute a notebook from top to bottom and write its report, also if it fails.

    Args:
        notebook: The notebook; it is not changed.
        output: Folder for the executed notebook and its report.
        parameters: Values for some of the notebook's parameters.

    Raises:
        HarnessError: If a parameter is unknown, a cell fails or was not executed, or the kernel
            dies.
    """
    declared = declared_parameters(notebook)
    for name in parameters:
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise HarnessError(
                f"{notebook} has no parameter {name}.{hint} It has: {', '.join(declared)}."
            )
    output.mkdir(parents=True, exist_ok=True)
    executed = output / notebook.name
    page = executed.with_suffix(".html")
    try:
        papermill.execute_notebook(
            str(notebook),
            str(executed),
            parameters=dict(parameters),
            cwd=str(notebook.parent),
            log_output=True,
        )
    except papermill.PapermillExecutionError as error:
        raise HarnessError(
            f"{notebook} failed in cell [{error.exec_count}]: {error.ename}: {error.evalue}\n"
            f"What it printed and drew up to there: {write_report(executed, page)}"
        ) from error
    except (CellControlSignal, DeadKernelError) as error:
        raise HarnessError(
            f"{notebook} was not finished: {error}\nUp to there: {write_report(executed, page)}"
        ) from error
    write_report(executed, page)
    # sys.exit(0) in the middle ends papermill's run as a success.
    missed = [
        cell.id
        for cell in nbformat.read(executed, as_version=4).cells
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None
    ]
    if missed:
        raise HarnessError(f"Cells of {executed} were never executed: {', '.join(missed)}.")
    return Executed(notebook=executed, report=page)
