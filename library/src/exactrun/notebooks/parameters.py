"""A notebook's parameters: what it declares, and which values may take their place."""

from __future__ import annotations

import ast
import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from .files import load_notebook


@dataclass(frozen=True)
class Computed:
    """The value of a parameter that is known only when the notebook runs: its source."""

    source: str


def declared_parameters(notebook: Path) -> dict[str, Any]:
    """Return a notebook's parameters and their own values, of which some may be `Computed`.

    Raises:
        UserError: If given values would come too late or too early to count, since not exactly one
            cell, of code, is tagged `parameters`, or its names are used above it. Papermill would
            go on, with the notebook's own values.
    """
    cells = load_notebook(notebook).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    of_code = [cell for cell in tagged if cell.cell_type == "code"]
    if not (tagged == of_code and len(tagged) == 1):
        raise UserError(
            f"{notebook} has {len(tagged)} cells tagged 'parameters', {len(of_code)} of them code;"
            " to be given values, it needs exactly one, and of code."
        )
    if any("injected-parameters" in cell.metadata.get("tags", []) for cell in cells):
        raise UserError(
            f"{notebook} has a cell tagged 'injected-parameters': values of an earlier run, which"
            " would win over its own. Delete that cell."
        )
    try:
        statements = ast.parse(tagged[0].source).body
    except SyntaxError as error:
        raise UserError(
            f"{notebook}: line {error.lineno} of the parameters is not Python: {error.msg}. Keep"
            " commands and magics in other cells."
        ) from error
    values: dict[str, Any] = {}
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
        except ValueError:
            values[name] = Computed(ast.unparse(value))
    above = cells[: cells.index(tagged[0])]
    early = values.keys() & _used_at_once(cell.source for cell in above if cell.cell_type == "code")
    if early:
        raise UserError(
            f"{notebook} uses {', '.join(sorted(early))} above the cell tagged 'parameters', where"
            " a given value does not reach. Move that cell up."
        )
    return values


def _used_at_once(sources: Iterable[str]) -> set[str]:
    """Return the names that cells use as they run, and that are not of their own making.

    What the body of a function uses, it uses when it is called. A magic or a command is no Python,
    and left out.
    """
    used, made = set[str](), set[str]()
    for source in sources:
        lines = [
            "" if line.lstrip().startswith(("%", "!")) else line for line in source.split("\n")
        ]
        with suppress(SyntaxError):  # the notebook will tell
            todo: list[ast.AST] = [ast.parse("\n".join(lines))]
            while todo:
                node = todo.pop()
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                    continue
                todo += ast.iter_child_nodes(node)
                if isinstance(node, ast.Name):
                    (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
    return used - made


def parse_parameters(notebook: Path, texts: Iterable[str]) -> dict[str, Any]:
    """Turn `name=value` texts into values of the types that the notebook declares.

    A parameter that is declared as None takes any plain value, and else the text as it is.

    Raises:
        UserError: If a text is not of this form, its name unknown, or its value not of the
            parameter's type.
    """
    if not (texts := list(texts)):
        return {}
    declared, values = declared_parameters(notebook), {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UserError(f"{text!r} is not of the form name=value, such as epochs=3.")
        _known(notebook, name, declared)
        values[name] = _parse(name, value, declared[name])
    return check_parameters(notebook, values)


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as they will reach the notebook.

    Raises:
        UserError: If a name is unknown, or a value not of the type that the notebook declares.
    """
    if not parameters:
        return {}
    declared, values = declared_parameters(notebook), {}
    for name, value in parameters.items():
        _known(notebook, name, declared)
        kind = type(declared[name])
        if kind is float and type(value) is int:
            value = float(value)
        if declared[name] is not None and type(value) is not kind:
            raise _mistyped(name, value, declared[name])
        if not _passable(value):
            raise UserError(
                f"{name}={value!r} can't be passed: papermill passes plain values, lists, and"
                " dictionaries with texts as keys. Declare a list in the place of a tuple."
            )
        values[name] = value
    return values


def _known(notebook: Path, name: str, declared: Mapping[str, Any]) -> None:
    if name not in declared:
        raise UserError(f"{notebook} has no parameter {name}.{nearest(name, declared)}")
    if isinstance(value := declared[name], Computed):
        raise UserError(
            f"{notebook} declares {name} = {value.source}; to be given another value, a parameter"
            " needs a plain one, such as 3, 0.5, True or 'text'."
        )


def nearest(name: str, names: Iterable[str]) -> str:
    """Return what someone may have meant who wrote a name that there isn't, as sentences."""
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{hint} There is: {', '.join(names) or 'none'}."


def _parse(name: str, text: str, declared: Any) -> Any:
    kind = type(declared)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text) if kind in (int, float, str) else ast.literal_eval(text)
    except (KeyError, SyntaxError, ValueError) as error:
        if declared is None:
            return text
        raise _mistyped(name, text, declared) from error


def _mistyped(name: str, value: Any, declared: Any) -> UserError:
    return UserError(
        f"{name}={value}: {value!r} is not of type {type(declared).__name__}, which the notebook"
        f" declares: {name} = {declared!r}."
    )


def _passable(value: Any) -> bool:
    """Tell whether papermill writes the value into the notebook as it is; a tuple gets a text."""
    if isinstance(value, list):
        return all(map(_passable, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _passable(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def read_parameters(path: Path) -> dict[str, Any]:
    """Return the values in a file, by name.

    Raises:
        UserError: If it can't be read, or holds no names with values.
    """
    if path.suffix not in READERS:
        raise UserError(f"{path}: parameters are read from {', '.join(READERS)} files.")
    try:
        found = READERS[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}. Check the path.") from error
    except ValueError as error:
        kind = path.suffix[1:].upper()
        raise UserError(f"{path} is not {kind}: {error}") from error
    if found is None:  # an empty file of YAML
        return {}
    if not (isinstance(found, dict) and all(isinstance(name, str) for name in found)):
        raise UserError(f"{path} holds no names with values, such as epochs: 3 in YAML.")
    return found


def given_parameters(
    notebook: Path, *, files: Iterable[Path], texts: Iterable[str]
) -> Mapping[str, Any]:
    """Return what files and `name=value` texts give a notebook; what comes later wins.

    Raises:
        UserError: If a file, a name or a value can't be taken.
    """
    values: dict[str, Any] = {}
    for file in files:
        found = read_parameters(file)
        try:
            values |= check_parameters(notebook, found)
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
    return values | parse_parameters(notebook, texts)


def _yaml(text: str) -> Any:
    """Read YAML as papermill does, dates as texts; but 1e-3 is a number, as in JSON and Python.

    Raises:
        ValueError: If it is no YAML.
    """
    import yaml  # comes with papermill
    from papermill.iorw import NoDatesSafeLoader

    class Loader(NoDatesSafeLoader):
        pass

    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


READERS: dict[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
}
