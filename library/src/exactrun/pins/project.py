"""A project's pins: libraries added and removed under its runtime, or another runtime taken."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..environment import ADDED, pinned_runtime
from ..errors import UserError
from ..files import write_whole
from .files import (
    BASE,
    DEV,
    dependencies_of,
    for_python,
    name_of,
    oldest_python,
    parts,
    pins_in,
    settings_of,
    with_dependencies,
)
from .freeze import (
    Freeze,
    address_of,
    parse_freeze,
    read_freeze,
    runtime_python,
)
from .runtimes import LATEST, PAST, Runtime, runtime_named
from .solution import Pin, check_closure, closure, conditions_for, in_colab, parse_pins, solve


@dataclass(frozen=True, kw_only=True)
class Change:
    """What changed in a project's pins.

    Attributes:
        added: Packages with their versions that are new.
        removed: Packages that are there no more.
        moved: Packages with the version before and the new one.
        lacking: Those of the pins that Colab lacks, so that the notebook installs them.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]
    lacking: tuple[str, ...]

    def __str__(self) -> str:
        marked = (("+", self.added), ("-", self.removed), ("~", self.moved))
        lines = [f"{mark} {each}" for mark, packages in marked for each in packages]
        lines += [] if lines else ["The versions are the same as before."]
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
    kept = [text for text in dependencies_of(project) if name_of(text) not in given]
    return _change(project, [*kept, *given.values()], freeze=freeze)


def remove(project: Path, names: Sequence[str], *, freeze: str = "") -> Change:
    """Take libraries out of a project, and what only they needed out of its pins.

    Raises:
        UserError: If one is not there. No file is changed.
    """
    before, gone = dependencies_of(project), {canonicalize_name(name) for name in names}
    if unknown := sorted(gone - {name_of(text) for text in before}):
        raise UserError(
            f"{', '.join(unknown)}: not among the dependencies in {project / 'pyproject.toml'},"
            f" which are {', '.join(before)}."
        )
    return _change(project, [t for t in before if name_of(t) not in gone], freeze=freeze)


def move(project: Path, name: str, *, freeze: str = "", python: str | None = None) -> Change:
    """Bring a project to another Colab runtime: pins, Python, and what its notebooks ask for.

    The project's own libraries stay, solved anew under the runtime's versions.

    Args:
        project: The project's directory.
        name: The runtime's name, such as 2026.07; or `latest`, to what Colab is today.
        freeze: Path or address of the runtime's `pip freeze`; Google's own if empty.
        python: The runtime's Python, such as 3.13, if the freeze doesn't tell.

    Raises:
        UserError: If Colab offers no such runtime, or a library doesn't fit its versions. No file
            is changed.
    """
    from ..notebooks.asked_runtime import asking_for
    from ..notebooks.files import find_notebooks

    if freeze and name != LATEST and not PAST.fullmatch(name):
        raise UserError(f"{name!r} names no runtime. Give a name such as 2026.07, or {LATEST}.")
    today = f"{datetime.now(UTC):%Y-%m-%d}" if name == LATEST else ""
    runtime = Runtime(name=name, source=freeze, date=today) if freeze else runtime_named(name)
    had = parse_freeze(read_freeze(runtime.source))
    python = runtime_python(had, python)
    _check_age(runtime, had)
    change, texts = _solved(  # what Colab lacks keeps its version where that still fits
        *(project, dependencies_of(project), had),
        python=python,
        comment=runtime.comment(python),
        versions=had.versions,
    )
    settings = project / "pyproject.toml"
    texts[settings] = for_python(settings, python)
    for path in find_notebooks(project / "notebooks"):
        texts[path] = asking_for(path, name)
    _write(texts)
    return change


def _change(project: Path, dependencies: Sequence[str], *, freeze: str) -> Change:
    """Solve other dependencies under the project's runtime, and write `pyproject.toml` and pins."""
    comment, _ = parts(project / BASE)
    (python,) = re.findall(r"\(Python (3\.\d+)\)", comment)
    had = parse_freeze(read_freeze(freeze or address_of(pinned_runtime(project / BASE))))
    # What is pinned stays as it is, also where Colab has moved its latest runtime since.
    pinned = {n: pins[0].version for n, pins in parse_pins(pins_in(project), ()).items()}
    change, texts = _solved(
        *(project, dependencies, had),
        python=python,
        comment=comment,
        versions={**had.versions, **pinned},
    )
    texts[project / "pyproject.toml"] = with_dependencies(project, dependencies)
    _write(texts)
    return change


def _solved(
    project: Path,
    dependencies: Sequence[str],
    had: Freeze,
    *,
    python: str,
    comment: str,
    versions: Mapping[str, str],
) -> tuple[Change, dict[Path, str]]:
    """Solve a project's needs under a runtime's versions.

    Args:
        project: The project's directory.
        dependencies: What the notebook needs.
        had: What the runtime has.
        python: The runtime's Python.
        comment: Of the requirements files.
        versions: Of packages, which bind whatever of them is needed.

    Returns:
        What changes, and the text of both requirements files.
    """
    known, oldest = pins_in(project), oldest_python(project)
    conditions = conditions_for(python)
    before = parse_pins(known, conditions)
    solution = solve(
        [*dependencies, *settings_of(project)["dependency-groups"]["dev"]],
        constraints="".join(f"{name}=={version}\n" for name, version in versions.items()),
        conditions=conditions,
        options=["--generate-hashes", "--no-annotate"],
        known=known,
        oldest=oldest,
    )
    pins = parse_pins(solution, conditions)
    base = closure(dependencies, solution=solution, conditions=conditions, oldest=oldest)
    lacking = sorted(
        name
        for name in base
        if name not in had and any(in_colab(pin, python) for pin in pins[name])
    )
    check_closure(pins, {n: via for n, via in base.items() if n not in lacking}, had, python)

    _, head = parts(project / BASE)
    own = _written(pins, [name for name in base if name not in lacking])
    more = f"{ADDED}\n{_written(pins, lacking)}" if lacking else ""
    dev_pins = _written(pins, [name for name in pins if name not in base])
    old, new = _versions(before), _versions(pins)
    change = Change(
        added=tuple(f"{name}=={new[name]}" for name in sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        moved=tuple(
            f"{name} {old[name]} → {new[name]}"
            for name in sorted(old.keys() & new.keys())
            if old[name] != new[name]
        ),
        lacking=tuple(lacking),
    )
    return change, {
        project / BASE: f"{head}{more}{comment}{own}",
        project / DEV: f"{comment}-r {BASE}\n{dev_pins}",
    }


def _write(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        write_whole(path, text)


def _check_age(runtime: Runtime, had: Freeze) -> None:
    """Raise a UserError if a runtime's packages are too old for this release of exactrun."""
    needs = [Requirement(text) for text in metadata.requires("exactrun") or []]
    old = [
        f"{need.name} {version}, and exactrun needs {need.name}{need.specifier}"
        for need in needs
        if (need.marker is None or need.marker.evaluate({"extra": "tensorflow"}))
        and (version := had.versions.get(canonicalize_name(need.name)))
        and not need.specifier.contains(version, prereleases=True)
    ]
    if old:
        raise UserError(
            f"The runtime {runtime.name} is too old: it has {'; '.join(old)}. Take a newer one."
        )


def _versions(pins: Mapping[str, Sequence[Pin]]) -> dict[str, str]:
    return {name: " or ".join(pin.version for pin in each) for name, each in pins.items()}


def _written(pins: Mapping[str, Sequence[Pin]], names: Iterable[str]) -> str:
    return "".join(str(pin) for name in sorted(names) for pin in pins[name])


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
