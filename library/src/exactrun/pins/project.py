"""A project's own libraries: added and removed under its Colab runtime's versions."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..environment import ADDED, MADE_FOR, pinned_runtime
from ..errors import UserError
from ..files import write_whole
from .freeze import address_of, parse_freeze, read_freeze
from .solution import Pin, check_closure, closure, conditions_for, in_colab, parse_pins, solve

BASE, DEV = "requirements.txt", "requirements-dev.txt"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What adding or removing libraries changed.

    Attributes:
        added: Packages with their versions that are new in the pins.
        removed: Packages that are in the pins no more.
        lacking: Those of the pins that Colab lacks, so that the notebook installs them.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    lacking: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"+ {name}" for name in self.added] + [f"- {name}" for name in self.removed]
        lines += [] if lines else ["The pins are the same as before."]
        if self.lacking:
            lines.append(
                f"Colab lacks {', '.join(self.lacking)}: the notebook installs them there."
            )
        return "\n".join(lines)


def add(project: Path, requirements: Sequence[str], *, freeze: str = "") -> Change:
    """Add libraries to a project's `pyproject.toml` and its pins.

    Args:
        project: The project's directory.
        requirements: Their names, each with bounds if need be, such as `umap-learn<0.6`.
        freeze: Path or address of the runtime's `pip freeze`; Google's own if empty.

    Raises:
        UserError: If a library is unknown, or needs another version of a package than Colab's.
            No file is changed.
    """
    given = {canonicalize_name(_parsed(text).name): text for text in requirements}
    kept = [text for text in _dependencies(project) if _name(text) not in given]
    return _compile(project, [*kept, *given.values()], freeze=freeze)


def remove(project: Path, names: Sequence[str], *, freeze: str = "") -> Change:
    """Take libraries out of a project, and what only they needed out of its pins.

    Raises:
        UserError: If one is not there. No file is changed.
    """
    before, gone = _dependencies(project), {canonicalize_name(name) for name in names}
    if unknown := sorted(gone - {_name(text) for text in before}):
        raise UserError(
            f"{', '.join(unknown)}: not among the dependencies in {project / 'pyproject.toml'},"
            f" which are {', '.join(before)}."
        )
    return _compile(project, [t for t in before if _name(t) not in gone], freeze=freeze)


def _compile(project: Path, dependencies: Sequence[str], *, freeze: str) -> Change:
    """Solve the needs under the runtime's versions, and write `pyproject.toml` and both pins."""
    made_for, head = _parts(project / BASE)
    runtime = pinned_runtime(project / BASE)
    (python,) = re.findall(r"\(Python (3\.\d+)\)", made_for)
    had = parse_freeze(read_freeze(freeze or address_of(runtime)))
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    dev = settings["dependency-groups"]["dev"]
    known = "".join(_pins_in(project / name) for name in (BASE, DEV))
    conditions = conditions_for(python)
    before = parse_pins(known, conditions)
    # What is pinned stays as it is, also where Colab has moved its latest runtime since.
    bounds = dict(had.versions) | {name: pins[0].version for name, pins in before.items()}
    solution = solve(
        [*dependencies, *dev],
        constraints="".join(f"{name}=={version}\n" for name, version in bounds.items()),
        conditions=conditions,
        options=["--generate-hashes", "--no-annotate"],
        known=known,
    )
    pins = parse_pins(solution, conditions)
    base = closure(dependencies, solution=solution, conditions=conditions)
    lacking = sorted(
        name
        for name in base
        if name not in had and any(in_colab(pin, python) for pin in pins[name])
    )
    check_closure(pins, {n: via for n, via in base.items() if n not in lacking}, had, python)

    own = _written(pins, [name for name in base if name not in lacking])
    more = f"{ADDED}\n{_written(pins, lacking)}" if lacking else ""
    text = _with_dependencies(project, dependencies)
    dev_pins = _written(pins, [name for name in pins if name not in base])
    write_whole(project / BASE, f"{head}{more}{made_for}{own}")
    write_whole(project / DEV, f"{made_for}-r {BASE}\n{dev_pins}")
    write_whole(project / "pyproject.toml", text)
    return Change(
        added=tuple(f"{n}=={pins[n][0].version}" for n in sorted(pins.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - pins.keys())),
        lacking=tuple(lacking),
    )


def _parts(requirements: Path) -> tuple[str, str]:
    """Return the comment that names the runtime, and what stands above it: the library."""
    text = requirements.read_text(encoding="utf-8")
    head, found, rest = text.partition(MADE_FOR)
    comment = re.match(r"(?:#.*\n)+", found + rest)
    assert comment is not None
    return comment[0], head.partition(ADDED)[0]


def _pins_in(requirements: Path) -> str:
    """Return the pins of a file as uv writes them, without the library's."""
    text = requirements.read_text(encoding="utf-8")
    return re.sub(r"^(?:#|-|exactrun==).*\n", "", text, flags=re.MULTILINE)


def _written(pins: Mapping[str, Sequence[Pin]], names: Iterable[str]) -> str:
    return "".join(str(pin) for name in sorted(names) for pin in pins[name])


def _dependencies(project: Path) -> list[str]:
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[str] = settings["project"]["dependencies"]
    return found


def _with_dependencies(project: Path, dependencies: Sequence[str]) -> str:
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
    ordered = "".join(f"{wanted[text]}\n" for text in sorted(wanted, key=_name))
    return text[: found.start(1)] + ordered + text[found.end(1) :]


def _parsed(text: str) -> Requirement:
    try:
        found = Requirement(text)
    except InvalidRequirement as error:
        raise UserError(
            f"{text!r} names no library: {error}. Give names such as umap-learn."
        ) from error
    if found.url:
        raise UserError(f"{text!r} is an address; give the name of a library in the package index.")
    return found


def _name(text: str) -> str:
    return str(canonicalize_name(Requirement(text).name))
