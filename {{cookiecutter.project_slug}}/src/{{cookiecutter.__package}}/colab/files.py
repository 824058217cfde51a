"""Files that are whole or absent, and copies that are verified by reading them back."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from ..errors import UserError

CHUNK = 1 << 20

ADVICE = {
    errno.ENOTCONN: "the connection to Drive was lost",
    errno.EIO: "Drive refused: it is full, or a quota of the account is used up for today",
    errno.ENOSPC: "it is full; Drive's trash counts, too: https://drive.google.com/drive/trash",
    errno.EDQUOT: "the account's storage is used up; Drive's trash counts, too",
    errno.EROFS: "it can only be read",
}
"""What an error of the system means where the folder may be on Drive."""


def explain(error: OSError) -> str:
    """Return a system's error in words that its reader can act upon."""
    said = str(error.strerror or error)
    return f"{said} ({ADVICE[error.errno]})" if error.errno in ADVICE else said


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def publish(
    source: Path, folder: Path, *, moved: Callable[[int], object] = lambda size: None
) -> Path:
    """Copy a closed file into a folder and verify the copy by reading it back.

    For places like Drive, which are slow, asynchronous and may go away: the copy takes its final
    name only once its bytes are right, so that nobody finds half a file under it.

    Args:
        source: A file that nobody writes to any more.
        folder: Where the copy goes, under the same name; an older one there is replaced.
        moved: Called with the number of bytes after each that was written or read back.

    Returns:
        The path of the copy.

    Raises:
        OSError: If the copy can't be written, or doesn't hold the source's bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, partial = folder / source.name, folder / f".{source.name}.partial"
    written, read = hashlib.sha256(), hashlib.sha256()
    try:
        with source.open("rb") as reader, partial.open("wb") as writer:
            while chunk := reader.read(CHUNK):
                written.update(chunk)
                writer.write(chunk)
                moved(len(chunk))
            writer.flush()
            os.fsync(writer.fileno())
        with partial.open("rb") as reader:
            while chunk := reader.read(CHUNK):
                read.update(chunk)
                moved(len(chunk))
        if read.digest() != written.digest():
            raise OSError(f"{partial} does not hold what was written to it")
    except OSError:
        with contextlib.suppress(OSError):  # the first error is the one that tells
            discard(partial)
        raise
    if target.exists():
        # Replaced on Drive, a file goes to the trash as it is, and its size counts there.
        discard(target.replace(folder / f".{source.name}.old.partial"))
    return partial.replace(target)


def discard(path: Path) -> None:
    """Empty a file, then delete it: what is deleted on Drive goes to the trash and counts there.

    Raises:
        OSError: If it can't be deleted; one that isn't there is no error.
    """
    with contextlib.suppress(FileNotFoundError):
        with path.open("r+b") as file:  # rclone's mount can't truncate a closed one
            file.truncate()
        path.unlink()


def require_space(folder: Path, needed: int, *, purpose: str) -> None:
    """Refuse to begin what can't be finished.

    Args:
        folder: A folder that exists, on the disk in question.
        needed: In bytes.
        purpose: What needs them, in words.

    Raises:
        UserError: If the folder's disk has fewer free bytes than needed.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder} has {tqdm.format_sizeof(free)}B free, but {purpose} needs"
            f" {tqdm.format_sizeof(needed)}B. Free space there (on Drive, its trash counts, too),"
            " or choose a folder on another disk."
        )


def progress_bar(total: int, description: str, *, unit: str = "B") -> tqdm:
    """Return a progress bar that moves in notebooks and terminals, and is silent in logs."""
    moving = "ipykernel" in sys.modules or sys.stdout.isatty()
    return tqdm(
        total=total, desc=description, unit=unit, unit_scale=True, disable=not moving,
        file=sys.stdout, mininterval=0.5,
    )  # fmt: skip
