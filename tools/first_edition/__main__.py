"""The command line: move a project, and say what was moved, dropped, and is left to do."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path

from .history import (
    TEMPLATE,
    Refused,
    answers_of,
    commit_of,
    package_of,
    render_first,
    render_new,
    run,
)
from .moving import Move


def move(old: Path, new: Path, *, template: Path) -> Move:
    """Generate the project anew in the directory `new`, with what is its user's in `old`.

    Raises:
        Refused: It can't be done; there is no `new` then.
    """
    if new.exists() or new.is_relative_to(old):
        raise Refused(f"{new} exists already, or is in the old project. Name another directory.")
    package = package_of(old)
    try:
        run("git", "rev-parse", cwd=old)
    except Refused as refused:
        raise Refused(
            f"{old} is in no git repository, which tells your files from what running the project"
            " has made. Run in it: git init, then git add --all"
        ) from refused
    answers = answers_of(old, package)
    commit = commit_of(old, package, template=template)
    with tempfile.TemporaryDirectory() as place:
        first = render_first(commit, answers, template=template, into=Path(place))
        fresh = render_new(answers, template=template, into=Path(place))
        done = Move(old=old, first=first, new=fresh, package=package)
        done.all()
        try:
            shutil.move(fresh, new)
        except OSError as error:
            raise Refused(f"{new} can't be written: {error}. Name another directory.") from error
    return done


def told(done: Move, new: Path) -> str:
    """Return what a move did, to be read."""
    moved = [f"  {line}" for line in done.moved] or ["  nothing"]
    by_hand = [textwrap.indent(text, "    ").replace("    ", "  ", 1) for text in done.by_hand]
    return "\n".join(
        [
            f"{new} is your project in this edition; {done.old} is as it was.\n\nMoved:",
            *moved,
            f"\nUnchanged and dropped: {done.dropped} files of the first edition's own.\n",
            "To be done by hand, where a number is a line of the old file:",
            *(by_hand or ["  nothing"]),
            "\nNext, in the new project: nox -s lint -- --fix, then nox. How to lay it over the old"
            " repository, and what takes the place of what is gone, is in docs/updating.md.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Move a project; return 0 if it was, 1 if it was refused."""
    parser = argparse.ArgumentParser(prog="python -m tools.first_edition", description=__doc__)
    parser.add_argument("old", type=Path, help="the project's directory; nothing in it is changed")
    parser.add_argument("new", type=Path, nargs="?", help="its new directory (default: OLD-2)")
    given = parser.parse_args(arguments)
    old = given.old.resolve()
    new = (given.new or old.with_name(f"{old.name}-2")).resolve()
    try:
        if importlib.util.find_spec("cruft") is None:
            raise Refused("cruft is not installed. Install it: python -m pip install cruft")
        done = move(old, new, template=TEMPLATE)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    print(told(done, new))
    return 0


if __name__ == "__main__":
    sys.exit(main())
