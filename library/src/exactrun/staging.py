"""Bringing data from Drive to the machine's own disk, where training reads them fast.

A directory of many small files takes hours through Drive; as one file it takes seconds. So such a
directory is packed when it is staged first, and the pack stays beside it for the next session.
"""

from __future__ import annotations

import errno
import hashlib
import json
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .drive_folder import fetch_drive_folder, is_drive_link
from .errors import UserError
from .files import (
    CHUNK,
    copy_verified,
    explain,
    progress_bar,
    require_space,
    sha256_of,
    write_whole,
)
from .mounts import require_mounted
from .staged import becoming, prune, remove, require_own

MANY, SMALL = 100, 1 << 20
"""A directory is packed if it has so many files, of fewer bytes than this on average."""

READERS = 8
"""Files read at the same time: each waits for Drive, not for the processor."""

MARK_EVERY = 64 * CHUNK
"""Bytes after which an interrupted copy goes on, at most."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError),
)
"""What unpacking a damaged archive raises, or one with a password."""

DOCUMENTS = (
    *(
        ".gdoc",
        ".gdraw",
        ".gform",
        ".gjam",
        ".glink",
        ".gmap",
        ".gmaillayout",
        ".gnote",
        ".gscript",
    ),
    *(".gsheet", ".gsite", ".gslides", ".gtable", ".gvid"),
)
"""Google's own documents, which Drive shows as files that can't be opened."""

Listing = dict[str, list[int]]
"""What is in a directory, by path: size and second of the last change; directories, whose names end
in a slash, have none."""


def stage(source: str | Path, directory: str | Path) -> Path:
    r"""Bring a file, a directory, an archive or what a link to Drive leads to, to the local disk.

    Each file is verified. What is there already, of the same size and changed in the same second,
    is not copied again, and what was interrupted goes on; a copy takes its name when it is whole.
    Empty directories are kept and shortcuts followed. Archives (.zip, .tar, .tar.gz, …) are
    unpacked.

    Args:
        source: A path, such as one on Drive, or a link to Drive.
        directory: On the local disk; the copy is in it, under the source's name.

    Returns:
        The path of the copy; of an archive, the directory that it is unpacked in.

    Raises:
        UserError: If the source can't be read, if there isn't enough space, if a copy is not what
            its source is, or if something else has its name.

    Example:
        >>> _ = (directory / "labels.txt").write_text("cat\ndog\n")
        >>> exactrun.stage(directory / "labels.txt", directory / "local").read_text()
        'cat\ndog\n'
    """
    directory = Path(directory)
    if isinstance(source, str) and is_drive_link(source):
        source = fetch_drive_folder(source, directory)
        if source.is_dir() or _stem(source) == source.name:
            return source
    source = Path(source).expanduser()
    try:
        require_mounted(source)
        try:
            kind = source.stat().st_mode
        except FileNotFoundError as error:
            raise UserError(
                f"{source} is not there. On Drive, the directory My Drive is"
                " /content/drive/My Drive; look for it in the file browser on the left."
            ) from error
        directory.mkdir(parents=True, exist_ok=True)
        if stat.S_ISDIR(kind):
            return _stage_directory(source, directory / source.name)
        if _stem(source) != source.name:
            return _stage_archive(source, directory / _stem(source))
        return _stage_file(source, directory / source.name)
    except OSError as error:
        raise UserError(
            f"{source} was not staged: {explain(error)}. What is done stays: run this again, and it"
            " goes on. If Drive is gone, first run the cell that mounts it."
        ) from error


def _stage_file(source: Path, copy: Path) -> Path:
    require_own(copy)
    if not (copy.exists() and _identity(copy) == _identity(source)):
        size = source.stat().st_size
        require_space(copy.parent, size, purpose=f"the copy of {source.name}")
        with progress_bar(size, source.name) as bar, becoming(copy, is_directory=False) as partial:
            _copy_file(source, partial, moved=bar.update)
    return copy


def _stage_archive(source: Path, copy: Path) -> Path:
    """Copy an archive, verify it, and unpack the copy."""
    facts = {"archive": [source.name, *_identity(source)]}
    if require_own(copy) == facts:
        print(f"{copy} is there already.", flush=True)
        return copy
    size = source.stat().st_size
    require_space(copy.parent, 2 * size, purpose=f"unpacking {source.name}")
    local = source
    if source.parent.resolve() != copy.parent.resolve():
        local = copy.with_name(f".{source.name}")
        with progress_bar(size, source.name) as bar:
            _copy_file(source, local, moved=bar.update)
    try:
        with becoming(copy, is_directory=True, facts=facts) as partial:
            remove(partial)  # of another archive
            partial.mkdir()
            if source.suffix.lower() == ".zip":
                with zipfile.ZipFile(local) as archive:
                    needed = sum(member.file_size for member in archive.infolist())
                    require_space(copy.parent, needed, purpose=f"unpacking {source.name}")
                    archive.extractall(partial)
            else:
                with tarfile.open(local) as archive:
                    archive.extractall(partial, filter="data")
            inside = list(partial.iterdir())
            if [path.name for path in inside] == [copy.name] and inside[0].is_dir():
                for path in inside[0].rename(partial / ".inside").iterdir():
                    path.rename(partial / path.name)
                (partial / ".inside").rmdir()
    except BROKEN as error:
        raise UserError(
            f"{source} can't be unpacked: {error}. Is it damaged, or does it have a password? Make"
            " it anew, and upload it again."
        ) from error
    finally:
        if local != source:
            local.unlink(missing_ok=True)
    return copy


def _stem(path: Path) -> str:
    """Return an archive's name without what makes it one; any other name as it is."""
    lower = path.name.lower()
    suffix = max((s for s in ARCHIVES if lower.endswith(s)), key=len, default="")
    return path.name[: len(lower) - len(suffix)] or path.name


def _stage_directory(source: Path, copy: Path) -> Path:
    wanted = _list(source, tell=True)
    known = require_own(copy).get("files", []) if copy.exists() else None
    if known == list(wanted) and wanted.items() <= _list(copy).items():
        print(f"{copy} is there already.", flush=True)
        return copy
    with becoming(copy, is_directory=True, facts={"files": list(wanted)}) as partial:
        _fill(source, partial, wanted, known)
    return copy


def _fill(source: Path, copy: Path, wanted: Listing, known: list[str] | None) -> None:
    """Make a directory hold what another one does: from its pack, or file by file.

    Args:
        source: A directory, such as one on Drive.
        copy: On the local disk.
        wanted: What is in the source.
        known: What was put into the copy before; None if all that it holds was.
    """
    here = _list(copy)
    pack = source.with_name(f"{source.name}.pack.zip")
    manifest = source.with_name(f"{source.name}.pack.json")
    try:
        packed = json.loads(manifest.read_text(encoding="utf-8")) if pack.exists() else None
    except (FileNotFoundError, ValueError):  # none, or a damaged one
        packed = None
    if packed:
        # Even a pack that is out of date holds most of what a new machine needs.
        if (packed["files"] == wanted or not here) and _unpack(pack, copy, packed):
            here = _list(copy)
            known = known and [*known, *packed["files"]]
            print(f"{copy.name} holds {len(packed['files'])} files from {pack}.", flush=True)
        if packed["files"] != wanted:
            print(f"{pack} is not what {source} is now, and is made anew.", flush=True)
    differing = {name: of for name, of in wanted.items() if here.get(name) != of}
    _copy_files(source, copy, differing)
    prune(copy, wanted, known=known)
    files = [of[0] for of in wanted.values() if of]
    if differing and len(files) >= MANY and sum(files) < SMALL * len(files):
        try:
            _keep_pack(copy, wanted, pack, manifest)
        except (OSError, UserError) as error:
            reason = explain(error) if isinstance(error, OSError) else error
            print(
                f"{pack} was not made: {reason}. The next session copies file by file again.",
                flush=True,
            )


def _list(directory: Path, *, tell: bool = False) -> Listing:
    """List all that is in a directory, without a look into any file.

    Args:
        directory: Of which shortcuts, which are symbolic links, are followed.
        tell: Whether to name what can't be copied.
    """
    found: Listing = {}

    def walk(inside: str, above: tuple[str, ...]) -> None:
        paths = [directory / inside / name for name in sorted(os.listdir(directory / inside))]
        for path, (looked, why) in zip(paths, readers.map(_look, paths), strict=True):
            name = f"{inside}{path.name}"
            if looked is not None and stat.S_ISDIR(looked.st_mode):
                real = os.path.realpath(path) if path.is_symlink() else f"{above[-1]}/{path.name}"
                if real not in above:
                    found[f"{name}/"] = []
                    walk(f"{name}/", (*above, real))
                    continue
                why = "a shortcut to a directory that it is in"
            elif looked is not None:
                found[name] = [looked.st_size, looked.st_mtime_ns // 10**9]
            if why and tell:
                print(f"Skipped: {name} ({why}).", flush=True)

    with ThreadPoolExecutor(READERS) as readers:
        walk("", (os.path.realpath(directory),))
    return found


def _look(path: Path) -> tuple[os.stat_result | None, str]:
    """Return what is known of a file or directory, or why it can't be copied.

    Raises:
        OSError: If that may be otherwise the next time: half a directory is not all of it.
    """
    try:
        looked = path.stat()
        if path.suffix.lower() in DOCUMENTS and stat.S_ISREG(looked.st_mode):
            path.open("rb").close()
    except OSError as error:
        if error.errno == errno.ENOENT and path.is_symlink():
            return None, "a shortcut to what is gone"
        if error.errno == errno.ELOOP:
            return None, "a shortcut that leads back to itself"
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP):
            return None, "a document of Google's, which has no bytes"
        raise
    if not (stat.S_ISREG(looked.st_mode) or stat.S_ISDIR(looked.st_mode)):
        return None, "neither a file nor a directory"
    return looked, ""


def _identity(file: Path) -> list[int]:
    """Return a file's size and second of its last change: Drive doesn't keep more of the time."""
    looked = file.stat()
    return [looked.st_size, looked.st_mtime_ns // 10**9]


def _copy_files(source: Path, copy: Path, listing: Listing) -> None:
    """Copy files of a directory, several at a time, and make its directories."""
    for name in listing:
        if name.endswith("/"):
            (copy / name).mkdir(parents=True, exist_ok=True)
    size = sum(of[0] for of in listing.values() if of)
    require_space(copy.parent, size, purpose=f"the copy of {source.name}")
    with progress_bar(size, source.name) as bar, ThreadPoolExecutor(READERS) as readers:

        def one(name: str) -> None:
            _copy_file(source / name, copy / name, moved=bar.update)

        for _ in readers.map(one, [name for name, of in listing.items() if of]):
            pass  # the first failure is raised here


def _keep_pack(copy: Path, wanted: Listing, pack: Path, manifest: Path) -> None:
    """Pack the copied files and put the pack beside their source, its manifest last."""
    size = sum(of[0] for of in wanted.values() if of)
    require_space(copy.parent, size, purpose=pack.name)
    local, described = copy.with_name(pack.name), copy.with_name(manifest.name)
    print(f"Packing {len(wanted)} files into {pack}, for the next session.", flush=True)
    try:
        with zipfile.ZipFile(local, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
            for name, of in sorted(wanted.items()):
                if of:
                    archive.write(copy / name, name)
                else:  # a directory, without the time at which it was copied
                    archive.writestr(zipfile.ZipInfo(name), b"")
        content = {"sha256": sha256_of(local), "files": wanted}
        described.write_text(json.dumps(content), encoding="utf-8")
        for file in (local, described):
            copy_verified(file, pack.parent)
    finally:
        local.unlink(missing_ok=True)
        described.unlink(missing_ok=True)


def _unpack(pack: Path, copy: Path, packed: dict[str, Any]) -> bool:
    """Copy a pack and unpack it into a directory; False if it is damaged."""
    size = pack.stat().st_size
    require_space(copy.parent, 2 * size, purpose=f"unpacking {pack.name}")
    local = copy.with_name(f".{pack.name}")
    try:
        with progress_bar(size, pack.name) as bar:
            digest = _copy_file(pack, local, moved=bar.update) or sha256_of(local)
        if digest != packed["sha256"]:
            return False
        with zipfile.ZipFile(local) as archive:
            for name, of in packed["files"].items():
                path = archive.extract(name, copy)
                if of:
                    os.utime(path, (of[1], of[1]))
    finally:
        local.unlink(missing_ok=True)
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
    if copy.is_dir():  # of an earlier state of the source
        shutil.rmtree(copy)
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
    try:
        *marked, done, wanted = json.loads(mark.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0, digest
    if marked != identity or not partial.exists():
        return 0, digest
    with partial.open("rb") as file:
        left = done
        while left and (chunk := file.read(min(CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    if digest.hexdigest() != wanted:
        return 0, hashlib.sha256()
    return done, digest
