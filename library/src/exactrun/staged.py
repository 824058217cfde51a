"""Files and directories that this library brings here: whole when they have their names."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import hidden, patiently, write_whole


def require_own(target: Path) -> dict[str, Any]:
    """Return the facts that were noted of what this library has put here; none if there is none.

    Raises:
        UserError: If something else has this name, which nothing may be written over.
    """
    facts = _facts(target, target)
    if facts is None and target.exists():
        raise UserError(
            f"{target} exists, and was not put there by exactrun, which does not write over it."
            f" Move it away (mv {target} {target}-before), or choose another directory."
        )
    return facts or {}


@contextlib.contextmanager
def becoming(target: Path, facts: dict[str, Any] | None = None) -> Iterator[Path]:
    """Yield the path of a file or directory that takes its name when the block ends well.

    What an interrupted block has left is there again; so is what was whole, to be brought up to
    date.

    Args:
        target: The name that it takes; see `require_own`.
        facts: What `require_own` is to return for it.
    """
    require_own(target)
    partial = hidden(target, "incomplete")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        remove(partial)
        if target.is_dir():
            patiently(target.replace, partial)
        else:
            os.link(target, partial)  # a file stays until a better one takes its place
    yield partial
    _note(partial, target, facts or {})
    patiently(partial.replace, target)
    patiently(partial.unlink, missing_ok=True)  # two names of one file: neither is replaced


@contextlib.contextmanager
def becoming_directory(target: Path, names: Collection[str]) -> Iterator[Path]:
    """Yield a directory as `becoming` does; delete what is not wanted any more when it is filled.

    Only what this library has put there is deleted from a directory that was whole before.

    Args:
        target: The name that it takes.
        names: Of what it is to hold. Those that end in a slash are directories, which are made.
    """
    with becoming(target, facts={"files": list(names)}) as partial:
        facts = _facts(partial, target)  # of what was whole, also before an interrupted block
        if facts is not None:
            facts = {"files": sorted({*facts.get("files", []), *names})}
            _note(partial, target, facts)
        partial.mkdir(exist_ok=True)
        for name in names:
            path = partial / name
            if path.exists() and path.is_dir() != name.endswith("/"):  # it was of the other kind
                remove(path)
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
        yield partial
        everything = (path.relative_to(partial).as_posix() for path in partial.rglob("*"))
        known = everything if facts is None else facts["files"]
        stays = {name.rstrip("/") for name in names}
        for name in sorted({name.rstrip("/") for name in known} - stays, reverse=True):
            path = partial / name
            if path.is_dir():
                with contextlib.suppress(OSError):  # somebody else's file is in it
                    path.rmdir()
            else:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    patiently(path.unlink)  # unless its directory is a file now


def remove(path: Path) -> None:
    """Delete a file, or a directory with all that is in it, if it is there."""
    if path.is_dir():
        patiently(shutil.rmtree, path)
    else:
        patiently(path.unlink, missing_ok=True)


def _facts(path: Path, target: Path) -> dict[str, Any] | None:
    """Return what was noted of the file or directory that has, or had, a name; None if nothing."""
    try:
        mark = json.loads(_mark(target).read_text(encoding="utf-8"))
        return dict(mark["facts"]) if mark["inode"] == path.stat().st_ino else None
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _note(path: Path, target: Path, facts: dict[str, Any]) -> None:
    """Note facts of the file or directory that is to have a name."""
    mark = {"inode": path.stat().st_ino, "facts": facts}
    write_whole(_mark(target), json.dumps(mark))


def _mark(target: Path) -> Path:
    return hidden(target, "staged")
