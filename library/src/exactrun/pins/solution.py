"""The solution: which package at which version, where, and for what."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name
from packaging.version import Version

from ..errors import UserError
from .freeze import OLDEST_PYTHON, Freeze, minor


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One package at one version, with the hashes of its files."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        condition = f" ; {self.marker}" if self.marker else ""
        first = f"{self.name}=={self.version}{condition}"
        return " \\\n    --hash=".join((first, *self.hashes)) + "\n"


def conditions_for(python: str) -> tuple[str, ...]:
    """Return the conditions, as uv writes them, under which the needs are solved."""
    return (
        # The runtime's versions may have no counterpart for a newer Python.
        f"python_full_version < '3.{minor(python) + 1}'",
        # TensorFlow has wheels for CPython only: what else PyPy would need stays out.
        "implementation_name == 'cpython'",
        "platform_python_implementation == 'CPython'",
    )


def strip_conditions(marker: str, conditions: Collection[str]) -> str:
    """Remove conditions from a marker in uv's form, `(a and b) or (a and c) or d`.

    Where they hold, the marker means the same as before. Elsewhere pip now tries to install the
    pins and fails aloud; with the conditions it would skip every package and report success.
    """
    alternatives: dict[str, None] = {}  # ordered, each once
    for alternative in marker.split(" or ") if marker else []:
        kept = [term for term in alternative.strip("()").split(" and ") if term not in conditions]
        if not kept:
            return ""
        alternatives[" and ".join(kept)] = None
    if len(alternatives) == 1:
        return next(iter(alternatives))
    return " or ".join(f"({text})" if " and " in text else text for text in alternatives)


def parse_pins(compiled: str, conditions: Collection[str]) -> dict[str, list[Pin]]:
    """Parse hashed requirements as uv writes them, and remove conditions from their markers.

    Returns:
        Pins by canonical name; more than one if different Pythons need different versions.
    """
    pins: dict[str, list[Pin]] = {}
    for block in compiled.replace(" \\\n", " ").splitlines():
        if not block.strip() or block.lstrip().startswith(("#", "-")):
            continue
        requirement, *hashes = re.split(r"\s+--hash=", block.strip())
        package, _, marker = requirement.partition(" ; ")
        name, _, version = package.partition("==")
        pin = Pin(
            name=canonicalize_name(name),
            version=str(Version(version)),
            marker=strip_conditions(marker, conditions),
            hashes=tuple(hashes),
        )
        pins.setdefault(pin.name, []).append(pin)
    return pins


def solve(
    needs: Iterable[str],
    *,
    constraints: str,
    conditions: Iterable[str],
    options: Sequence[str],
    known: str = "",
    oldest: str = OLDEST_PYTHON,
) -> str:
    """Return the requirements that meet the needs on all platforms, as uv writes them.

    Args:
        needs: Requirements to meet.
        constraints: Requirement lines that bind whatever of them is needed.
        conditions: Where the requirements shall hold.
        options: What to write beside the versions.
        known: Earlier requirements: their versions and hashes are kept wherever they still fit.
        oldest: The oldest Python that they shall hold for.

    Raises:
        UserError: There is no solution, or uv doesn't work.
    """
    uv = shutil.which("uv")
    if uv is None:
        raise UserError("uv isn't installed.\nInstall it: python -m pip install uv")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Strings and lists of strings are written alike in JSON and in TOML.
        (folder / "pyproject.toml").write_text(
            '[project]\nname = "needs"\nversion = "0"\n'
            f'requires-python = ">={oldest}"\n'
            f"dependencies = {json.dumps(sorted(set(needs)))}\n"
            f"[tool.uv]\nenvironments = {json.dumps([' and '.join(conditions)])}\n",
            encoding="utf-8",
        )
        (folder / "constraints.txt").write_text(constraints, encoding="utf-8")
        (folder / "solution.txt").write_text(known, encoding="utf-8")
        command = [
            *(uv, "pip", "compile", "pyproject.toml", "--universal", "--fork-strategy", "fewest"),
            *("--python", sys.executable, "--python-version", oldest),
            *("--constraints", "constraints.txt", "--output-file", "solution.txt"),
            *("--no-header", "--quiet", *options),
        ]
        # With either of these, uv would not read the conditions in pyproject.toml.
        deaf = ("UV_NO_CONFIG", "UV_CONFIG_FILE")
        done = subprocess.run(
            command,
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name not in deaf},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode == 0:
            return (folder / "solution.txt").read_text(encoding="utf-8")
    if "No solution found" in done.stderr:
        raise UserError(
            "What is needed can't be had together with the versions of Colab's runtime, which its"
            f" kernel has loaded; uv says:\n{done.stderr}"
            "Correct the name, bound it to releases that fit (name<2), or do without it."
        )
    raise UserError(
        f"uv could not compile the requirements; it says:\n{done.stderr}"
        "If that is about the network, try again once the package index can be reached."
    )


def closure(
    needs: Iterable[str],
    *,
    solution: str,
    conditions: Iterable[str],
    oldest: str = OLDEST_PYTHON,
) -> dict[str, tuple[str, ...]]:
    """Return every package that some of the needs bring, and the packages that need it.

    Args:
        needs: Requirements that are among those of the solution.
        solution: What `solve` returned under the same conditions: it gives the versions, and uv
            passes over its hashes.
        conditions: Where the requirements shall hold.
        oldest: The oldest Python that they shall hold for.

    Raises:
        UserError: uv doesn't work.
    """
    annotated = solve(
        needs,
        constraints=solution,
        conditions=conditions,
        options=["--annotation-style", "line"],
        oldest=oldest,
    )
    lines = re.findall(r"^([\w.-]+)==.*?# via (.*)$", annotated, flags=re.MULTILINE)
    # Files are named there, too: "needs (pyproject.toml)", "-c constraints.txt".
    return {
        canonicalize_name(name): tuple(s for s in via.split(", ") if " " not in s)
        for name, via in lines
    }


def in_colab(pin: Pin, python: str) -> bool:
    """Tell whether a pin is for a Colab runtime with this Python."""
    colab = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.99",  # Colab has a late patch release, not the first
        "python_version": python,
        "sys_platform": "linux",
    }
    return not pin.marker or Marker(pin.marker).evaluate(colab)


def check_closure(
    pins: Mapping[str, Sequence[Pin]],
    sources: Mapping[str, Sequence[str]],
    freeze: Freeze,
    python: str,
) -> None:
    """Raise a UserError if installing the notebook's pins would change the Colab runtime.

    Args:
        pins: The solution, by name.
        sources: Every package that the notebook needs, and the packages that need it.
        freeze: What the runtime has.
        python: The runtime's Python.
    """
    wrong = []
    for name in sorted(sources):
        via = f" (needed by {', '.join(sources[name])})" if sources[name] else ""
        for pin in pins[name]:
            if not in_colab(pin, python):
                continue
            if name not in freeze:
                wrong.append(f"  {name} {pin.version}{via}: not in the freeze")
            elif (present := freeze.versions.get(name, pin.version)) != pin.version:
                wrong.append(f"  {name} {pin.version}{via}: the freeze has {present}")
    if wrong:
        raise UserError(
            "Installing the notebook's needs would change the Colab runtime:\n"
            + "\n".join(wrong)
            + "\nTake what needs them out of [project] dependencies in pyproject.toml, or take the"
            " freeze of a runtime that has them."
        )
