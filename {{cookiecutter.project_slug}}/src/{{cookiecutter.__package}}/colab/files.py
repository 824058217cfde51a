"""Files that are whole or absent, and copies that are verified by reading them back."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


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


def publish(source: Path, folder: Path) -> Path:
    """Copy a closed file into a folder and verify the copy by reading it back.

    For places like Drive, which are slow, asynchronous and may go away: the copy takes its final
    name only once its bytes are right, so that nobody finds half a file under it.

    Returns:
        The path of the copy.

    Raises:
        OSError: If the copy can't be written, or doesn't hold the source's bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{source.name}.partial"
    digest = hashlib.sha256()
    with source.open("rb") as reader, partial.open("wb") as writer:
        while chunk := reader.read(1 << 20):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    if sha256_of(partial) != digest.hexdigest():
        raise OSError(f"{partial} does not hold what was written to it")
    return partial.replace(folder / source.name)
