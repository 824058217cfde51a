"""What is mounted where, by the system's own table: a name alone makes no directory Drive's."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from . import environment

DRIVE = "fuse.drive"
"""The type that Google's file system has in the mount table."""

LOST = (errno.ENOTCONN, errno.ECONNABORTED)
"""The errors of a Drive whose connection was lost, and of what was under way just then."""


_seen: dict[Path, Path] = {}


def drive_mountpoint() -> Path:
    """Return where Drive is mounted, or was, or else will be.

    It may be elsewhere than usual, and stays there: Google's client ends a mount to make another.
    """
    machine = environment.MACHINE
    for point, kind in _table():
        if kind == DRIVE and point.is_relative_to(machine):
            _seen[machine] = point
    return _seen.get(machine, machine / "content/drive")


def is_drive(path: str | Path) -> bool:
    """Tell whether a path is on a mounted Google Drive, connected or not.

    Only the mount table is asked: a directory `My Drive` on the machine's own disk, which arises
    when something is written there while Drive is not mounted, is not Drive.
    """
    # As it is written first: to resolve links, Drive is asked, and a stalled one does not answer.
    return _type_at(Path(os.path.abspath(path))) == DRIVE or (
        _type_at(Path(os.path.realpath(path))) == DRIVE
    )


def require_mounted(directory: Path) -> None:
    """Refuse to write where Drive belongs while it is not there.

    Raises:
        OSError: With the number of a lost connection, if Drive is to be mounted here and isn't.
    """
    if belongs_on_drive(directory) and not is_drive(directory):
        raise OSError(errno.ENOTCONN, f"Drive is not mounted at {drive_mountpoint()}")


def belongs_on_drive(directory: Path) -> bool:
    """Tell whether a directory lies where Drive is to be mounted, be it there or not."""
    usual = environment.MACHINE / "content/drive"
    place = Path(os.path.abspath(directory))
    return any(place.is_relative_to(point) for point in (usual, drive_mountpoint()))


def _type_at(path: Path) -> str:
    """Return the type of the file system that a path is on; empty if the table has none."""
    depth, found = -1, ""
    for point, kind in _table():
        # Of several mounts at one point, the last one is what is seen.
        if len(point.parts) >= depth and path.is_relative_to(point):
            depth, found = len(point.parts), kind
    return found


def _table() -> list[tuple[Path, str]]:
    """Return each mountpoint and its type; none on a system without such a table."""
    try:
        lines = (environment.MACHINE / "proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    fields = [line.split(" ") for line in lines]
    return [(Path(_plain(each[1])), each[2]) for each in fields if len(each) > 2]


def _plain(text: str) -> str:
    """Return a name as it is: the table writes spaces and the like in octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
