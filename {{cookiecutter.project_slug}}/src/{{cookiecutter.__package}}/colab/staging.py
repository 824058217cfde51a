"""Bringing data from Drive to the machine's own disk, where training reads them fast.

A folder of many small files takes hours through Drive; as one file it takes seconds. So such a
folder is packed when it is staged first, and the pack stays beside it for the next session.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import UserError
from .files import (
    CHUNK,
    explain,
    progress_bar,
    publish,
    require_space,
    sha256_of,
    write_whole,
)

MANY, SMALL = 100, 1 << 20
"""A folder is packed if it has so many files, of fewer bytes than this on average."""

READERS = 8
"""Files read at the same time: each waits for Drive, not for the processor."""

MARK_EVERY = 64 * CHUNK
"""Bytes after which an interrupted copy goes on, at most."""

Listing = dict[str, list[int]]
"""The files of a folder by their paths in it: size, and second of the last change."""


def stage(source: Path, target: Path) -> Path:
    """Copy a file or a folder into a folder of the local disk, and verify it.

    What is there already, of the same size and changed in the same second, is not copied again;
    what was interrupted goes on.

    Args:
        source: A file or folder, such as one on Drive.
        target: A folder on the local disk; the copy is in it, under the source's name.

    Returns:
        The path of the copy.

    Raises:
        UserError: If the source can't be read, if there isn't enough space, or if a copy is not
            what its source is.
    """
    copy = target / source.name
    try:
        target.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            size = source.stat().st_size
            require_space(target, size, purpose=f"the copy of {source.name}")
            with progress_bar(size, source.name) as bar:
                _copy_file(source, copy, moved=bar.update)
        elif source.is_dir():
            _stage_folder(source, copy)
        else:
            raise UserError(
                f"{source} is not there. On Drive, the folder My Drive is /content/drive/My Drive;"
                " look for it in the file browser on the left."
            )
    except OSError as error:
        raise UserError(
            f"{source} was not staged: {explain(error)}. What is done stays: run this again, and it"
            " goes on. If Drive is gone, first run the cell that opens the folders."
        ) from error
    return copy


def _stage_folder(source: Path, copy: Path) -> None:
    copy.mkdir(exist_ok=True)
    wanted, here = _list(source), _list(copy)
    if here == wanted:
        print(f"{copy} is there already.")
        return
    pack = source.with_name(f"{source.name}.pack.zip")
    manifest = source.with_name(f"{source.name}.pack.json")
    try:
        packed = json.loads(manifest.read_text(encoding="utf-8")) if pack.exists() else None
    except (FileNotFoundError, ValueError):  # none, or a damaged one
        packed = None
    if packed:
        # Even a pack that is out of date holds most of what a new machine needs.
        if (packed["files"] == wanted or not here) and _unpack(pack, copy, packed):
            here = packed["files"]
            print(f"{copy} holds {len(here)} files from {pack}.")
        if here == wanted:
            return
        print(f"{pack} is not what {source} is now. What differs is copied, then it is made anew.")
    _copy_files(source, copy, {name: of for name, of in wanted.items() if here.get(name) != of})
    for name in _list(copy).keys() - wanted.keys():  # of an earlier state of the source
        (copy / name).unlink()
    if len(wanted) >= MANY and sum(size for size, _ in wanted.values()) < SMALL * len(wanted):
        try:
            _keep_pack(copy, wanted, pack, manifest)
        except (OSError, UserError) as error:
            reason = explain(error) if isinstance(error, OSError) else error
            print(f"{pack} was not made: {reason}. The next session copies file by file again.")


def _list(folder: Path) -> Listing:
    """List all files in a folder, without a look into any of them."""
    names = []
    for place, _, files in os.walk(folder, onerror=_refuse, followlinks=True):
        inside = Path(place).relative_to(folder)
        names += [(inside / name).as_posix() for name in files]
    shares = [names[first::READERS] for first in range(READERS)]
    found: Listing = {}
    with ThreadPoolExecutor(READERS) as readers:
        for share in readers.map(lambda names: {n: _identity(folder / n) for n in names}, shares):
            found |= share
    return found


def _identity(file: Path) -> list[int]:
    """Return a file's size and second of its last change: Drive doesn't keep more of the time."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns // 10**9]


def _refuse(error: OSError) -> None:
    """Raise what `os.walk` would pass over: half a folder must not look like all of it."""
    raise error


def _copy_files(source: Path, copy: Path, files: Listing) -> None:
    """Copy files of a folder, several at a time."""
    size = sum(size for size, _ in files.values())
    require_space(copy.parent, size, purpose=f"the copy of {source.name}")
    with progress_bar(size, source.name) as bar, ThreadPoolExecutor(READERS) as readers:

        def one(name: str) -> None:
            _copy_file(source / name, copy / name, moved=bar.update)

        for _ in readers.map(one, files):
            pass  # the first failure is raised here


def _keep_pack(copy: Path, files: Listing, pack: Path, manifest: Path) -> None:
    """Pack the copied files and put the pack beside their source, its manifest last."""
    size = sum(size for size, _ in files.values())
    require_space(copy.parent, size, purpose=pack.name)
    local, described = copy.with_name(pack.name), copy.with_name(manifest.name)
    try:
        with zipfile.ZipFile(local, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
            for name in sorted(files):
                archive.write(copy / name, name)
        content = {"sha256": sha256_of(local), "files": files}
        described.write_text(json.dumps(content), encoding="utf-8")
        with progress_bar(2 * local.stat().st_size, f"{pack.name} to Drive") as bar:
            publish(local, pack.parent, moved=bar.update)
        publish(described, pack.parent)
    finally:
        local.unlink(missing_ok=True)
        described.unlink(missing_ok=True)
    print(f"{pack} holds {len(files)} files, for the next session.")


def _unpack(pack: Path, copy: Path, packed: dict[str, Any]) -> bool:
    """Copy a pack and unpack it; False if it is damaged."""
    size = pack.stat().st_size
    require_space(copy.parent, 2 * size, purpose=f"unpacking {pack.name}")
    local, partial = copy.with_name(pack.name), copy.with_name(f".{copy.name}.partial")
    with progress_bar(size, pack.name) as bar:
        digest = _copy_file(pack, local, moved=bar.update) or sha256_of(local)
    try:
        if digest != packed["sha256"]:
            return False
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(local) as archive:
            for name, (_, second) in packed["files"].items():
                os.utime(archive.extract(name, partial), (second, second))
    finally:
        local.unlink()
    shutil.rmtree(copy, ignore_errors=True)
    partial.replace(copy)
    return True


def _copy_file(source: Path, copy: Path, *, moved: Callable[[int], object]) -> str:
    """Copy a file unless it is there; go on where a copy was interrupted.

    Returns:
        The copy's SHA-256, or nothing if it was there.

    Raises:
        OSError: If it can't be read or written.
        UserError: If the copy doesn't have the source's bytes.
    """
    identity = size, second = _identity(source)
    if copy.exists() and _identity(copy) == identity:
        moved(size)
        return ""
    copy.parent.mkdir(parents=True, exist_ok=True)
    partial = copy.with_name(f".{copy.name}.partial")
    mark = copy.with_name(f".{copy.name}.mark")
    done, digest = _resume(partial, mark, identity)
    with source.open("rb") as reader, partial.open("r+b" if done else "wb") as writer:
        reader.seek(done)
        writer.seek(done)
        writer.truncate()
        moved(done)
        while chunk := reader.read(CHUNK):
            writer.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            moved(len(chunk))
            if done % MARK_EVERY == 0:
                writer.flush()
                os.fsync(writer.fileno())
                write_whole(mark, json.dumps([*identity, done, digest.hexdigest()]))
    if done != size or sha256_of(partial) != digest.hexdigest():
        partial.unlink()
        raise UserError(
            f"{copy} is not what {source} is: {done} of {size} bytes. Something wrote to"
            " one of them meanwhile, or a disk fails. Run this again."
        )
    os.utime(partial, (second, second))
    partial.replace(copy)
    mark.unlink(missing_ok=True)
    return digest.hexdigest()


def _resume(partial: Path, mark: Path, identity: list[int]) -> tuple[int, hashlib._Hash]:
    """Return how many bytes of an interrupted copy are good, and their digest so far."""
    digest = hashlib.sha256()
    if not (partial.exists() and mark.exists()):
        return 0, digest
    *marked, done, wanted = json.loads(mark.read_text(encoding="utf-8"))
    if marked != identity:
        return 0, digest
    with partial.open("rb") as file:
        left = done
        while left and (chunk := file.read(min(CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    if digest.hexdigest() != wanted:
        return 0, hashlib.sha256()
    return done, digest
