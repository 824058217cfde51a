"""A project's `pyproject.toml` and pins: what they say, and their text after a change."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..environment import ADDED, MADE_FOR
from ..errors import UserError
from .freeze import OLDEST_PYTHON, minor

BASE, DEV = "requirements.txt", "requirements-dev.txt"


def parts(requirements: Path) -> tuple[str, str]:
    """Return the comment that names the runtime, and what stands above it: the library."""
    text = requirements.read_text(encoding="utf-8")
    head, found, rest = text.partition(MADE_FOR)
    comment = re.match(r"(?:#.*\n)+", found + rest)
    assert comment is not None
    return comment[0], head.partition(ADDED)[0]


def pins_in(project: Path) -> str:
    """Return the pins of both files as uv writes them, without the library's."""
    text = "".join((project / name).read_text(encoding="utf-8") for name in (BASE, DEV))
    return re.sub(r"^(?:#|-|exactrun==).*\n", "", text, flags=re.MULTILINE)


def settings_of(project: Path) -> dict[str, Any]:
    """Return what a project's `pyproject.toml` holds."""
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))


def dependencies_of(project: Path) -> list[str]:
    """Return what the notebook needs, as `pyproject.toml` names it."""
    found: list[str] = settings_of(project)["project"]["dependencies"]
    return found


def with_dependencies(project: Path, dependencies: Sequence[str]) -> str:
    """Return the text of `pyproject.toml` with these dependencies; what stays keeps its line."""
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^dependencies = \[\n((?:.*\n)*?)\]", text, flags=re.MULTILINE)
    if found is None:
        raise UserError(
            f"{project / 'pyproject.toml'} has no list `dependencies = [` with a line for each"
            f" library. Write it so, with: {', '.join(dependencies)}."
        )
    lines = {tomllib.loads(f"a = [{line}\n]")["a"][0]: line for line in found[1].splitlines()}
    wanted = {text: lines.get(text, f"    {json.dumps(text)},") for text in dependencies}
    ordered = "".join(f"{wanted[text]}\n" for text in sorted(wanted, key=name_of))
    return text[: found.start(1)] + ordered + text[found.end(1) :]


def oldest_python(project: Path) -> str:
    """Return the oldest Python that `pyproject.toml` allows, such as 3.11."""
    found = re.search(r">=\s*(3\.\d+)", settings_of(project)["project"].get("requires-python", ""))
    return found[1] if found else OLDEST_PYTHON


def for_python(settings: Path, python: str) -> str:
    """Return the text of `pyproject.toml` with the Python after this one as its bound."""
    text, found = re.subn(
        r'^(requires-python = ".*<)3\.\d+(")',
        rf"\g<1>3.{minor(python) + 1}\2",
        settings.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    if found != 1:
        raise UserError(
            f"{settings} has no line that bounds Python from above. Add to [project]:"
            f' requires-python = ">={OLDEST_PYTHON},<3.{minor(python) + 1}"'
        )
    return text


def name_of(requirement: str) -> str:
    """Return the canonical name of the library that a requirement names."""
    return str(canonicalize_name(Requirement(requirement).name))
