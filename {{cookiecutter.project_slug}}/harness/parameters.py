"""A notebook's parameters: what it declares, and which values may take their place."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat

from .errors import HarnessError


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook.

    Raises:
        HarnessError: If there is none, or the file does not follow the notebook format.
    """
    invalid: dict[str, Exception] = {}
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("nbformat") != 4:
            raise HarnessError(f"{path} is not a notebook of format 4. Save it again with Jupyter.")
        notebook = nbformat.reads(text, as_version=4, capture_validation_error=invalid)
    except OSError as error:
        raise HarnessError(f"{path} can't be read: {error.strerror}. Check the path.") from error
    except (KeyError, ValueError, nbformat.ValidationError) as error:
        raise HarnessError(f"{path} is not a notebook: {error}. Save it again with Jupyter.") from (
            error
        )
    if invalid:
        fault = str(invalid["ValidationError"]).splitlines()[0]
        raise HarnessError(f"{path} breaks the notebook format: {fault}. Save it with Jupyter.")
    return notebook


def declared_parameters(notebook: Path, *, needed: bool = True) -> dict[str, Any]:
    """Return a notebook's parameters and their own values.

    Args:
        notebook: The notebook.
        needed: Whether there must be some: values are to be given to them.

    Raises:
        HarnessError: If a value is not a literal; or if no cell, or more than one, is tagged
            `parameters`: papermill would put its values first, and the notebook's own would win.
    """
    cells = [cell for cell in read_notebook(notebook).cells if cell.cell_type == "code"]
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) > 1 or (needed and not tagged):
        raise HarnessError(
            f"{notebook} has {len(tagged)} cells tagged 'parameters'; it needs exactly one to be"
            " given values."
        )
    if any("injected-parameters" in cell.metadata.get("tags", []) for cell in cells):
        raise HarnessError(
            f"{notebook} has a cell tagged 'injected-parameters': values of an earlier run, which"
            " would win over its own. Delete that cell."
        )
    if not tagged:
        return {}
    try:
        statements = ast.parse(tagged[0].source).body
    except SyntaxError as error:
        raise HarnessError(
            f"{notebook}: line {error.lineno} of the parameters is not Python: {error.msg}."
        ) from error
    values = {}
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        try:
            values[name] = ast.literal_eval(value)
        except ValueError as error:
            raise HarnessError(
                f"{notebook} declares {name} = {ast.unparse(value)}; a parameter needs a plain"
                " value, such as 3, 0.5, True or 'text'."
            ) from error
    return values


def parse_parameters(notebook: Path, texts: Iterable[str]) -> dict[str, Any]:
    """Turn `name=value` texts into values of the types that the notebook declares.

    A parameter that is declared as None takes any plain value, and else the text as it is.

    Raises:
        HarnessError: If a text is not of this form, its name unknown, or its value not of the
            parameter's type.
    """
    declared, values = declared_parameters(notebook), {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise HarnessError(f"{text!r} is not of the form name=value, such as epochs=3.")
        _known(notebook, name, declared)
        values[name] = _parse(name, value, declared[name])
    return check_parameters(notebook, values)


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as they will reach the notebook.

    Raises:
        HarnessError: If a name is unknown, or a value not of the type that the notebook declares.
    """
    declared, values = declared_parameters(notebook, needed=bool(parameters)), {}
    for name, value in parameters.items():
        _known(notebook, name, declared)
        kind = type(declared[name])
        if kind is float and type(value) is int:
            value = float(value)
        if declared[name] is not None and type(value) is not kind:
            raise _mistyped(name, value, kind)
        if not _passable(value):
            raise HarnessError(
                f"{name}={value!r} can't be passed: papermill passes plain values, lists, and"
                " dictionaries with texts as keys. Declare a list in the place of a tuple."
            )
        values[name] = value
    return values


def _known(notebook: Path, name: str, declared: Mapping[str, Any]) -> None:
    if name not in declared:
        near = difflib.get_close_matches(name, declared, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        names = ", ".join(declared) or "none"
        raise HarnessError(f"{notebook} has no parameter {name}.{hint} It has: {names}.")


def _parse(name: str, text: str, declared: Any) -> Any:
    kind = type(declared)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text) if kind in (int, float, str) else ast.literal_eval(text)
    except (KeyError, SyntaxError, ValueError) as error:
        if declared is None:
            return text
        raise _mistyped(name, text, kind) from error


def _mistyped(name: str, value: Any, kind: type) -> HarnessError:
    return HarnessError(
        f"{name}={value}: {value!r} is not of type {kind.__name__}, which the notebook declares."
    )


def _passable(value: Any) -> bool:
    """Tell whether papermill writes the value into the notebook as it is; a tuple gets a text."""
    if isinstance(value, list):
        return all(map(_passable, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _passable(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)
