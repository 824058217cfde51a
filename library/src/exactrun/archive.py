"""Arrays in a file that proves its own bytes.

The file is what `np.savez` writes, an `.npz` that `np.load` opens, with two additions: a member
`facts.json`, and, as the archive's comment, the SHA-256 of every byte before it. A file that was
cut short, filled with zeros or changed in a single bit doesn't verify.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .files import CHUNK, whole_file

FACTS = "facts.json"
DIGEST_BYTES = 64


class Damaged(Exception):
    """A file is not what was written; the message says in what."""


def write_archive(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    facts: dict[str, Any],
    *,
    pause: Callable[[], None] = lambda: None,
) -> None:
    """Write arrays and facts so that the file is whole or absent.

    Args:
        path: The file; one of that name stays as it was if this one can't be written.
        arrays: By name; also of types that NumPy itself doesn't know, such as bfloat16.
        facts: What JSON can hold.
        pause: Called after each block.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    dtypes = {name: array.dtype.name for name, array in arrays.items() if array.dtype.kind == "V"}
    with whole_file(path, "w+b") as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.comment = b"0" * DIGEST_BYTES
            archive.writestr(FACTS, json.dumps(facts | {"dtypes": dtypes}))
            for name, values in arrays.items():
                _write_array(archive, f"{name}.npy", values, pause)
        file.flush()
        digest = _digest(Path(file.name), pause)
        file.seek(-DIGEST_BYTES, os.SEEK_END)
        file.write(digest)


def read_archive(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read and verify a file; return its arrays and its facts.

    Raises:
        Damaged: If it doesn't verify.
        OSError: If it can't be read.
    """
    verify_archive(path)
    facts = read_facts(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files if name != FACTS}
    except (ValueError, KeyError, zipfile.BadZipFile) as error:  # not this library's file
        raise Damaged(f"{path.name} is no checkpoint: {error}") from error
    for name, dtype in facts.pop("dtypes").items():
        import ml_dtypes  # part of TensorFlow; knows bfloat16 and the like

        arrays[name] = arrays[name].view(getattr(ml_dtypes, dtype))
    return arrays, facts


def read_facts(path: Path) -> dict[str, Any]:
    """Return a file's facts without verifying its arrays.

    Raises:
        Damaged: If they can't be read.
        OSError: If the file can't be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            facts: dict[str, Any] = json.loads(archive.read(FACTS))
            return facts
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise Damaged(f"{path.name} is no checkpoint: {error}") from error


def verify_archive(path: Path) -> None:
    """Compare a file's bytes with the SHA-256 at its end.

    Raises:
        Damaged: If they differ.
        OSError: If it can't be read.
    """
    size = path.stat().st_size
    if size < DIGEST_BYTES:
        raise Damaged(f"{path.name} is cut short: it has {size} bytes")
    with path.open("rb") as file:
        file.seek(-DIGEST_BYTES, os.SEEK_END)
        recorded = file.read()
    if _digest(path) != recorded:
        raise Damaged(f"{path.name} does not have the SHA-256 that it was written with")


def _digest(path: Path, pause: Callable[[], None] = lambda: None) -> bytes:
    """Return the SHA-256 of all bytes but the last 64, as 64 hexadecimal digits."""
    found, left = hashlib.sha256(), path.stat().st_size - DIGEST_BYTES
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            found.update(chunk)
            left -= len(chunk)
            pause()
    return found.hexdigest().encode()


def _write_array(
    archive: zipfile.ZipFile, name: str, values: np.ndarray, pause: Callable[[], None]
) -> None:
    """Write an array as `np.savez` does, but in blocks of 1 MiB.

    NumPy's own blocks are 16 times as large, and Python's lock is held while one is copied: that
    long, the training could not make its next call.
    """
    array = np.ascontiguousarray(values).reshape(np.shape(values))
    if array.dtype.kind == "V":
        array = array.view(f"u{array.dtype.itemsize}")
    header = np.lib.format.header_data_from_array_1_0(array)
    content = array.reshape(-1).view(np.uint8)
    with archive.open(name, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for start in range(0, len(content), CHUNK):
            member.write(content[start : start + CHUNK].data)
            pause()
