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
from pathlib import Path, PurePosixPath

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


def stage(source: Path, target: Path, *, repack: bool = False) -> Path:
    """Copy a file or a folder into a folder of the local disk, and verify it.

    What is there already is not copied again; what was interrupted goes on.

    Args:
        source: A file or folder, such as one on Drive.
        target: A folder on the local disk; the copy is in it, under the source's name.
        repack: Whether to pack the folder anew: a pack is known to be out of date when files were
            added or removed or have other names, but not when one was written over.

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
            require_space(target, source.stat().st_size)
            with progress_bar(source.stat().st_size, source.name) as bar:
                _copy_file(source, copy, moved=bar.update)
        elif source.is_dir():
            _stage_folder(source, copy, repack=repack)
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


def _stage_folder(source: Path, copy: Path, *, repack: bool) -> None:
    pack = source.with_name(f"{source.name}.pack.zip")
    seal = pack.with_name(f"{pack.name}.sha256")
    unpacked = copy.with_name(f".{copy.name}.pack.sha256")
    names = _names(source)
    if not repack and seal.exists() and pack.exists():
        sealed = seal.read_text(encoding="utf-8")
        is_here = unpacked.exists() and unpacked.read_text(encoding="utf-8") == sealed
        if is_here and _names(copy) == names:
            print(f"{copy} is there already.")
            return
        if _unpack(pack, copy, sealed=sealed.split()[0], names=names):
            write_whole(unpacked, sealed)
            return
    sizes = _copy_tree(source, copy, names)
    if len(sizes) >= MANY and sum(sizes) < SMALL * len(sizes):
        try:
            sealed = _keep_pack(copy, names, pack, seal)
        except (OSError, UserError) as error:
            reason = explain(error) if isinstance(error, OSError) else error
            print(f"{pack} was not made: {reason}. The next session copies file by file again.")
        else:
            write_whole(unpacked, sealed)


def _names(folder: Path) -> list[str]:
    """Return the paths of all files in a folder, without a look at each file itself."""
    found = []
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        folders.sort()
        inside = Path(place).relative_to(folder)
        found += [(inside / name).as_posix() for name in files]
    return sorted(found)


def _refuse(error: OSError) -> None:
    """Raise what `os.walk` would pass over: half a folder must not look like all of it."""
    raise error


def _copy_tree(source: Path, copy: Path, names: list[str]) -> list[int]:
    """Copy each file, several at a time; return their sizes."""
    with ThreadPoolExecutor(READERS) as readers:
        sizes = list(readers.map(lambda name: (source / name).stat().st_size, names))
        require_space(copy.parent, sum(sizes))
        with progress_bar(sum(sizes), source.name) as bar:

            def one(name: str) -> None:
                _copy_file(source / name, copy / name, moved=bar.update)

            for _ in readers.map(one, names):
                pass  # the first failure is raised here
    for name in set(_names(copy)) - set(names):  # of an earlier state of the source
        (copy / name).unlink()
    return sizes


def _keep_pack(copy: Path, names: list[str], pack: Path, seal: Path) -> str:
    """Pack the copied files and put the pack beside their source, its hash last.

    Returns:
        What is in the file of the hash.
    """
    require_space(copy.parent, sum((copy / name).stat().st_size for name in names))
    local = copy.with_name(pack.name)
    with zipfile.ZipFile(local, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for name in names:
            archive.write(copy / name, name)
    described = local.with_name(seal.name)
    sealed = f"{sha256_of(local)}  {pack.name}\n"
    described.write_text(sealed, encoding="utf-8", newline="\n")
    try:
        with progress_bar(2 * local.stat().st_size, f"{pack.name} to Drive") as bar:
            publish(local, pack.parent, moved=bar.update)
        publish(described, pack.parent)
    finally:
        local.unlink()
        described.unlink()
    print(f"{pack} holds {len(names)} files, for the next session.")
    return sealed


def _unpack(pack: Path, copy: Path, *, sealed: str, names: list[str]) -> bool:
    """Copy a pack and unpack it; False if it isn't what its folder holds now."""
    size = pack.stat().st_size
    require_space(copy.parent, 2 * size)
    local, partial = copy.with_name(pack.name), copy.with_name(f".{copy.name}.partial")
    with progress_bar(size, pack.name) as bar:
        digest = _copy_file(pack, local, moved=bar.update) or sha256_of(local)
    try:
        if digest != sealed:
            print(f"{pack} is damaged, and made anew.")
            return False
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(local) as archive:
            if sorted(archive.namelist()) != names:
                print(f"{pack} is out of date, and made anew.")
                return False
            for folder in {PurePosixPath(name).parent for name in names}:
                (partial / folder).mkdir(parents=True, exist_ok=True)
            for name in names:
                (partial / name).write_bytes(archive.read(name))  # which verifies its CRC-32
    finally:
        local.unlink()
    shutil.rmtree(copy, ignore_errors=True)
    partial.replace(copy)
    print(f"{copy} holds {len(names)} files from {pack}, as they were when it was made.")
    return True


def _copy_file(source: Path, copy: Path, *, moved: Callable[[int], object]) -> str:
    """Copy a file unless it is there; go on where a copy was interrupted.

    Returns:
        The copy's SHA-256, or nothing if it was there.

    Raises:
        OSError: If it can't be read or written.
        UserError: If the copy doesn't have the source's bytes.
    """
    stat = source.stat()
    identity = [stat.st_size, stat.st_mtime_ns]
    if copy.exists() and [copy.stat().st_size, copy.stat().st_mtime_ns] == identity:
        moved(stat.st_size)
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
    if done != stat.st_size or sha256_of(partial) != digest.hexdigest():
        partial.unlink()
        raise UserError(
            f"{copy} is not what {source} is: {done} of {stat.st_size} bytes. Something wrote to"
            " one of them meanwhile, or a disk fails. Run this again."
        )
    os.utime(partial, ns=(stat.st_atime_ns, stat.st_mtime_ns))
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
