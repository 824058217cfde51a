"""What Colab has moved since the pins were made: `python -m harness.drift [PATH_OR_ADDRESS]`."""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from .errors import HarnessError

FREEZE = "https://raw.githubusercontent.com/googlecolab/backend-info/main/pip-freeze.gpu.txt"
"""What is installed on Colab today, as Google publishes it."""

REFRESH = """\
To take newer pins over from the template: cruft update
To compile them, in the template: nox -s pins -- --runtime YYYY.MM --freeze {freeze}"""


@dataclass(frozen=True, kw_only=True)
class Move:
    """A pinned package that Colab has at another version; `now` is None if it has none."""

    name: str
    pinned: str
    now: str | None
    imported: bool

    def __str__(self) -> str:
        mark = "✖" if self.imported else "–"
        return f"{mark} {self.name} {self.pinned} → {self.now or 'gone'}"


def read_freeze(source: str) -> dict[str, str]:
    """Return the versions that a freeze names, by canonical name; empty for `name @ address`.

    Args:
        source: Path or address of what `pip freeze` printed.

    Raises:
        HarnessError: If it can't be read, or names no version.
    """
    try:
        if "://" in source:
            with urlopen(source, timeout=60) as response:
                text = response.read().decode("utf-8")
        else:
            text = Path(source).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"The freeze {source} can't be read: {error}. Give the path or address of another."
        ) from error
    lines = re.findall(r"^([\w.-]+)(?:==(\S+)| @ )", text, re.M)
    if not lines:
        raise HarnessError(f"The freeze {source} names no version. Take what pip freeze prints.")
    return {canonicalize_name(name): version for name, version in lines}


def find_moves(requirements: Path, freeze: dict[str, str], imported: set[str]) -> list[Move]:
    """Return the pins that Colab has moved away from, those that the project imports first.

    Args:
        requirements: The pinned requirements.
        freeze: What `read_freeze` returned.
        imported: Canonical names of the packages that the project imports.
    """
    moves = []
    on_colab = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if not (found := re.match(r"([\w.-]+)(==\S+)(?: ; (.*?))? \\$", line)):
            continue
        name, specifier, marker = found.groups()
        if marker and not Marker(marker).evaluate(on_colab):
            continue
        now = freeze.get(name)
        # As pip compares: 2.20.0+cu12 is 2.20.0.
        if now is None or (now and not SpecifierSet(specifier).contains(now, prereleases=True)):
            pinned, matters = specifier.removeprefix("=="), name in imported
            moves.append(Move(name=name, pinned=pinned, now=now, imported=matters))
    return sorted(moves, key=lambda move: (not move.imported, move.name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what has moved; return 1 if anything has, else 0."""
    parser = argparse.ArgumentParser(prog="python -m harness.drift", description=__doc__)
    parser.add_argument("freeze", nargs="?", default=FREEZE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    with Path("pyproject.toml").open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    imported: set[str] = {canonicalize_name(Requirement(each).name) for each in dependencies}
    try:
        moves = find_moves(Path("requirements.txt"), read_freeze(options.freeze), imported)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 1
    print(*moves, sep="\n", end="\n" if moves else "")
    matter = sum(move.imported for move in moves)
    print(f"Moved: {len(moves)}, imported by the project (✖): {matter}")
    if moves:
        print(REFRESH.format(freeze=options.freeze))
    return 1 if moves else 0


if __name__ == "__main__":
    sys.exit(main())
