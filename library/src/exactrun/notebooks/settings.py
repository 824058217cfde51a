"""How a project's notebooks are executed: its tables `[tool.exactrun.notebooks.NAME]`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .files import find_notebooks
from .limits import Limits
from .parameters import nearest

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
"""What a table may hold: a value of the right type for each key."""


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


def read_settings(root: Path) -> dict[str, NotebookSettings]:
    """Return how to execute each notebook in a project's directory `notebooks`.

    Returns:
        By name, which is the path below `notebooks` without its suffix, such as `setup`.

    Raises:
        UserError: If a table is of no notebook, or a key unknown, or a value of a wrong type.
    """
    with (root / "pyproject.toml").open("rb") as file:
        tables = tomllib.load(file).get("tool", {}).get("exactrun", {}).get("notebooks", {})
    directory = root / "notebooks"
    paths = {
        path.relative_to(directory).with_suffix("").as_posix(): path
        for path in find_notebooks(directory)
    }
    for name, table in tables.items():
        where = f"pyproject.toml, [tool.exactrun.notebooks.{name}]"
        if name not in paths:
            raise UserError(f"{where}: there is no notebooks/{name}.ipynb.{nearest(name, paths)}")
        for key, value in table.items():
            if key not in EXAMPLES:
                raise UserError(f"{where}: {key} is unknown.{nearest(key, EXAMPLES)}")
            if not _alike(value, EXAMPLES[key]):
                raise UserError(f"{where}: {key} = {value!r} is not of the form {EXAMPLES[key]!r}.")
    return {
        name: NotebookSettings(path=path, **tables.get(name, {})) for name, path in paths.items()
    }


def _alike(value: Any, example: Any) -> bool:
    """Tell whether a value is of the example's type, a list's items too."""
    if isinstance(example, list):
        return isinstance(value, list) and all(_alike(each, example[0]) for each in value)
    if isinstance(example, int):
        return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return isinstance(value, type(example))
