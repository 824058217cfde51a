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
from .files import write_whole


def require_own(target: Path) -> dict[str, Any]:
    """Return the facts that were noted of what this library has put here; none if there is none.

    Raises:
        UserError: If something else has this name, which nothing may be written over.
    """
    if not target.exists():
        return {}
    try:
        mark = json.loads(_mark(target).read_text(encoding="utf-8"))
        if mark["inode"] == target.stat().st_ino:
            return dict(mark["facts"])
    except (FileNotFoundError, ValueError, KeyError):
        pass
    raise UserError(
        f"{target} exists, and was not put there by exactrun, which does not write over it. Move it"
        f" away (mv {target} {target}-before), or choose another directory."
    )


@contextlib.contextmanager
def becoming(
    target: Path, *, is_directory: bool, facts: dict[str, Any] | None = None
) -> Iterator[Path]:
    """Yield the path of a file or directory that takes its name when the block ends well.

    What an interrupted block has left is there again; so is what was whole, to be brought up to
    date.

    Args:
        target: The name that it takes; see `require_own`.
        is_directory: Whether it is one.
        facts: What `require_own` is to return for it.
    """
    require_own(target)
    partial = target.with_name(f".{target.name}.incomplete")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        remove(partial)
        if is_directory:
            target.replace(partial)
        else:
            os.link(target, partial)  # a file stays until a better one takes its place
    elif is_directory:
        partial.mkdir(exist_ok=True)
    yield partial
    mark = {"inode": partial.stat().st_ino, "facts": facts or {}}
    write_whole(_mark(target), json.dumps(mark))
    partial.replace(target)
    partial.unlink(missing_ok=True)  # two names of one file: neither is replaced


def prune(directory: Path, wanted: Collection[str], *, known: Collection[str] | None) -> None:
    """Delete what is not wanted any more.

    Args:
        directory: Of which all names are relative.
        wanted: What stays.
        known: What this library has put there, which is all that may go; None: everything may.
    """
    if known is None:
        known = [path.relative_to(directory).as_posix() for path in directory.rglob("*")]
    stays = {name.rstrip("/") for name in wanted}
    for name in sorted({name.rstrip("/") for name in known} - stays, reverse=True):
        path = directory / name
        if path.is_dir():
            with contextlib.suppress(OSError):  # somebody else's file is in it
                path.rmdir()
        else:
            path.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a file, or a directory with all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _mark(target: Path) -> Path:
    return target.with_name(f".{target.name}.staged")
