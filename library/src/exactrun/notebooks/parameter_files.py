"""Files with values for a notebook's parameters, in YAML, JSON or TOML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .parameters import check_parameters, parse_parameters


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
