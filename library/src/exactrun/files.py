"""Files that are whole or absent, and copies that are verified by reading them back."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ParamSpec, TypeVar

from .errors import UserError

if TYPE_CHECKING:
    from tqdm import tqdm

P = ParamSpec("P")
T = TypeVar("T")

CHUNK = 1 << 20

HELD = (5, 32, 33, 145)
"""What Windows says of a file, or of a directory with one, that another program has open."""

PATIENCE = 1.0
"""Seconds in which such a program, often a virus scanner, is to close it."""

DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
"""What Windows takes for a device, in whatever directory, with any suffix."""

NAME_BYTES = 255
"""The longest name that the usual file systems take."""

ADVICE = {
    errno.ENOTCONN: "the connection to Drive was lost: mount it again",
    errno.ECONNABORTED: "the connection to Drive was lost: mount it again",
    errno.EIO: "if that is Drive, it is full, or a quota of the account is used up for today",
    errno.ENOSPC: "it is full; on Drive, the trash counts: https://drive.google.com/drive/trash",
    errno.EDQUOT: "the account's storage is used up; on Drive, the trash counts",
    errno.EROFS: "it can only be read",
}
"""What an error of the system means where the directory may be on Drive."""


def explain(error: Exception) -> str:
    """Return an error in words that its reader can act upon, above all one of the system's."""
    if not isinstance(error, OSError):
        return str(error)
    said = str(error.strerror or error)
    return f"{said} ({ADVICE[error.errno]})" if error.errno in ADVICE else said


def digest(*parts: bytes | memoryview) -> str:
    """Return the SHA-256 of all parts together, in hexadecimal."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def names_in(directory: Path) -> list[str]:
    """Return the sorted names of a directory's entries; none if it doesn't exist.

    `Path.glob` would take a directory that can't be read for an empty one (Python 3.12 and later).

    Raises:
        OSError: If it can't be read, such as that of a Drive whose connection was lost.
    """
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def patiently(change: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Move or delete a file by calling `change`, again while another program has the file open.

    Only Windows refuses that. It is given up after a second.

    Raises:
        OSError: What `change` raised last.
    """
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            return change(*args, **options)
        except OSError as error:
            if getattr(error, "winerror", None) not in HELD or time.monotonic() > ends:
                raise
        time.sleep(0.02)


def require_portable(name: str) -> None:
    """Refuse the name of a file or directory that Windows can't hold, on every system.

    Raises:
        UserError: With the reason and a name that works.
    """
    if found := DEVICE.fullmatch(name):
        why = f"Windows takes it for the device {found[1].upper()}"
        better = f"my-{name.rstrip(' .')}"
    elif name.endswith((".", " ")):
        why, better = "Windows drops a dot or space at the end", name.rstrip(" .") or "first"
    else:
        return
    raise UserError(
        f"The name {name!r} can't be used: {why}, and what you save may be used there one day."
        f" Choose another one, such as {better!r}."
    )


def hidden(path: Path, ending: str) -> Path:
    """Return `.NAME.ENDING` beside a file; for a name that would be too long, a digest of it."""
    name = f".{path.name}.{ending}"
    if len(os.fsencode(name)) > NAME_BYTES:
        name = f".{digest(os.fsencode(path.name))[:16]}.{ending}"
    return path.with_name(name)


@contextlib.contextmanager
def whole_file(path: Path, mode: str, **options: Any) -> Iterator[IO[Any]]:
    """Open a file to be written so that a reader sees the old one or the new one, never half."""
    partial = hidden(path, "partial")
    try:
        with partial.open(mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        patiently(partial.replace, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one that tells
            discard(partial)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a text file as `whole_file` does, in UTF-8."""
    with whole_file(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def copy_verified(
    source: Path, directory: Path, *, moved: Callable[[], None] = lambda: None
) -> Path:
    """Copy a closed file into a directory and compare the copy by reading it back.

    The copy takes its name only once its bytes are right, so that nobody finds half a file there.

    Args:
        source: A file that nobody writes to any more.
        directory: Where the copy goes, under the same name.
        moved: Called after each block that was written.

    Raises:
        OSError: If the copy can't be written, or doesn't hold the source's bytes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / source.name
    partial = hidden(target, "partial")
    written = hashlib.sha256()
    try:
        with source.open("rb") as reader, partial.open("wb") as writer:
            while chunk := reader.read(CHUNK):
                written.update(chunk)
                writer.write(chunk)
                moved()
            writer.flush()
            os.fsync(writer.fileno())
        moved()
        if sha256_of(partial) != written.hexdigest():
            raise OSError(errno.EIO, f"{partial} does not hold what was written to it")
    except OSError:
        with contextlib.suppress(OSError):  # the first error is the one that tells
            discard(partial)
        raise
    return patiently(partial.replace, target)


def discard(path: Path) -> None:
    """Empty a file, then delete it: what is deleted on Drive goes to the trash and counts there.

    Raises:
        OSError: If it can't be deleted; one that isn't there is no error.
    """
    with contextlib.suppress(FileNotFoundError):
        with path.open("r+b") as file:
            file.truncate()
        patiently(path.unlink)


def require_space(directory: Path, needed: int, *, purpose: str) -> None:
    """Refuse to begin what can't be finished.

    Args:
        directory: On the disk in question; it need not exist yet.
        needed: In bytes.
        purpose: What needs them, in words.

    Raises:
        UserError: If the disk has fewer free bytes than needed.
    """
    there = directory.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        from tqdm import tqdm

        raise UserError(
            f"{directory} has {tqdm.format_sizeof(free)}B free, but {purpose} needs"
            f" {tqdm.format_sizeof(needed)}B. Free space there (on Drive, the trash counts), or"
            " choose a directory on another disk."
        )


def progress_bar(total: int, description: str, *, unit: str = "B") -> tqdm[Any]:
    """Return a progress bar that moves in notebooks and terminals, and is silent in logs."""
    from tqdm import tqdm

    ipython = sys.modules.get("IPython")
    moving = hasattr(ipython and ipython.get_ipython(), "kernel") or sys.stdout.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        unit_scale=True,
        disable=not moving,
        file=sys.stdout,
        mininterval=0.5,
    )
