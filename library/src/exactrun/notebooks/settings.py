"""How a project's notebooks are executed and checked: its tables `[tool.exactrun]`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..environment import find_runtime
from ..errors import UserError
from . import Limits
from .files import find_notebooks
from .parameters import nearest
from .rules import RULES

if TYPE_CHECKING:
    from .execution import Executed

OUTPUT = "{output}"
"""As the value of a parameter: the directory that the execution's files go to."""

EXAMPLES: dict[str, Any] = {
    "parameters": {"epochs": 2, "persistent_dir": OUTPUT},
    "seconds": 600,
    "record": "runs/first/run.json",
    "checks": ["data", "training"],
}
"""What a notebook's table may hold: a value of the right type for each key."""

LINT: dict[str, Any] = {
    "ignore": ["local-path"],
    "extend-select": ["outputs"],
    "per-file-ignores": {"notebooks/drafts/*": ["syntax-error"]},
}
"""What `[tool.exactrun.lint]` may hold: ruff's names, and rules by their names."""


@dataclass(frozen=True, kw_only=True)
class NotebookSettings:
    """How one notebook is executed and judged; one without a table has the defaults.

    Attributes:
        path: The notebook.
        parameters: Values for its parameters, for a run that is short enough to wait for.
        seconds: What the whole run may take.
        record: The JSON file of checks that it writes, relative to the output directory; empty for
            none.
        checks: Names of the checks that the record must hold.
    """

    path: Path
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 600.0
    record: str = ""
    checks: tuple[str, ...] = ()

    def run(self, output: Path, *, colab: bool | Path = False) -> Executed:
        """Execute the notebook; arguments, result and errors are those of `run_notebook`.

        Raises:
            UserError: Also if it recorded no check of one of the names.
        """
        from .execution import run_notebook

        given = self.parameters.items()
        executed = run_notebook(
            self.path,
            output=output,
            parameters={name: str(output) if value == OUTPUT else value for name, value in given},
            limits=Limits(notebook=self.seconds),
            record=output / self.record if self.record else None,
            colab=colab,
        )
        for name in self.checks:
            executed.check(name)
        return executed


@dataclass(frozen=True, kw_only=True)
class LintSettings:
    """What is checked of one notebook as it is stored.

    Attributes:
        rules: Names of the rules that are on.
        has_parameters: Whether its table gives it parameters.
        runtime: The Colab runtime of the pins beside a `pyproject.toml`; empty without.
    """

    rules: frozenset[str] = frozenset(rule.name for rule in RULES.values() if rule.default)
    has_parameters: bool = False
    runtime: str = ""


def read_settings(root: Path) -> dict[str, NotebookSettings]:
    """Return how to execute each notebook in a project's directory `notebooks`.

    Returns:
        By name, which is the path below `notebooks` without its suffix, such as `setup`.

    Raises:
        UserError: If a table is of no notebook, or a key unknown, or a value of a wrong type.
    """
    tables = _tables(root / "pyproject.toml").get("notebooks", {})
    directory = root / "notebooks"
    paths = {
        path.relative_to(directory).with_suffix("").as_posix(): path
        for path in find_notebooks(directory)
    }
    for name, table in tables.items():
        where = f"pyproject.toml, [tool.exactrun.notebooks.{name}]"
        if name not in paths:
            raise UserError(f"{where}: there is no notebooks/{name}.ipynb.{nearest(name, paths)}")
        _check_table(where, table, EXAMPLES)
    return {
        name: NotebookSettings(path=path, **tables.get(name, {})) for name, path in paths.items()
    }


def read_lint_settings(notebook: Path) -> LintSettings:
    """Return what to check of a notebook, by the nearest `pyproject.toml` with `[tool.exactrun]`.

    Raises:
        UserError: If a key or a rule is unknown, or a value of a wrong type.
    """
    roots = [root for root in notebook.resolve().parents if (root / "pyproject.toml").is_file()]
    named = (find_runtime(root / "requirements.txt") for root in roots)
    runtime = next(filter(None, named), "")
    for root in roots:
        file = root / "pyproject.toml"
        if tables := _tables(file):
            break
    else:
        return LintSettings(runtime=runtime)
    table, where = tables.get("lint", {}), f"{file}, [tool.exactrun.lint]"
    _check_table(where, table, LINT)
    ignored, below = table.get("ignore", []), notebook.resolve().relative_to(root)
    patterns = table.get("per-file-ignores", {})
    _check_table(where, patterns, dict.fromkeys(patterns, LINT["ignore"]))
    for pattern, names in patterns.items():
        if fnmatch(below.as_posix(), pattern) or fnmatch(below.name, pattern):
            ignored = ignored + names
    for name in sum(patterns.values(), table.get("ignore", []) + table.get("extend-select", [])):
        if name not in RULES:
            raise UserError(f"{where}: there is no rule {name}.{nearest(name, RULES)}")
    name = "/".join(below.with_suffix("").parts[1:])  # below the directory `notebooks`
    executed = tables.get("notebooks", {}).get(name, {}) if below.parts[0] == "notebooks" else {}
    return LintSettings(
        rules=LintSettings.rules.union(table.get("extend-select", [])).difference(ignored),
        has_parameters=bool(executed.get("parameters")),
        runtime=runtime,
    )


def _tables(file: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("exactrun", {})
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read: {error}. Correct it.") from error
    _check_table(f"{file}, [tool.exactrun]", tables, {"lint": {}, "notebooks": {}})
    return dict(tables)


def _check_table(where: str, table: Any, examples: Mapping[str, Any]) -> None:
    if not isinstance(table, dict):
        raise UserError(f"{where} is no table: {table!r}.")
    for key, value in table.items():
        if key not in examples:
            raise UserError(f"{where}: {key} is unknown.{nearest(key, examples)}")
        if not _alike(value, examples[key]):
            raise UserError(f"{where}: {key} = {value!r} is not of the form {examples[key]!r}.")


def _alike(value: Any, example: Any) -> bool:
    """Tell whether a value is of the example's type, a list's items too."""
    if isinstance(example, list):
        return isinstance(value, list) and all(_alike(each, example[0]) for each in value)
    if isinstance(example, int):
        return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return isinstance(value, type(example))
