"""Bringing data from Drive to the machine's own disk, where training reads them fast.

A directory of many small files takes hours through Drive; as one file it takes seconds. So such a
directory is packed when it is staged first, and the pack stays beside it for the next session.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .console import say
from .drive_folder import fetch_drive_folder, is_drive_link
from .environment import find_data
from .errors import UserError
from .files import (
    CHUNK,
    copy_verified,
    explain,
    hidden,
    patiently,
    progress_bar,
    require_space,
    sha256_of,
    write_whole,
)
from .mounts import require_mounted
from .staged import becoming, becoming_directory, remove, require_own

MANY, SMALL = 100, 1 << 20
"""A directory is packed if it has so many files, of fewer bytes than this on average."""

READERS = 8
"""Files read at the same time: each waits for Drive, not for the processor."""

MARK_EVERY = 64 * CHUNK
"""Bytes after which an interrupted copy goes on, at most."""

ARCHIVE = re.compile(r"(.+)\.(zip|tar|tar\.gz|tgz|tar\.bz2|tar\.xz)", re.IGNORECASE)

BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError),
)
"""What unpacking a damaged archive raises, or one with a password."""

DOCUMENT = re.compile(
    r"\.g(doc|draw|form|jam|link|map|maillayout|note|script|sheet|site|slides|table|vid)",
    re.IGNORECASE,
)
"""Google's own documents, which Drive shows as files that can't be opened."""

SKIPPED = {
    errno.ENOENT: "a shortcut to what is gone",
    errno.ELOOP: "a shortcut that leads back to itself",
    errno.EOPNOTSUPP: "a document of Google's, which has no bytes",
    errno.ENOTSUP: "a document of Google's, which has no bytes",
}
"""What can't be copied, by the error of looking at it."""

Listing = dict[str, list[int]]
"""What is in a directory, by path: size and second of the last change; directories, whose names end
in a slash, have none."""


def stage(source: str | Path, directory: str | Path) -> Path:
    r"""Bring a file, a directory, an archive or what a link to Drive leads to, to the local disk.

    Each file is verified. What is there already, of the same size and changed in the same second,
    is not copied again, and what was interrupted goes on; a copy takes its name when it is whole.
    Empty directories are kept and shortcuts followed. Archives (.zip, .tar, .tar.gz, …) are
    unpacked. A source that lies in the directory already stays as it is.

    Args:
        source: A path, such as one on Drive; a link to Drive; or on Kaggle the name of an attached
            data set, or of what is in one.
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
        if source.is_dir() or not ARCHIVE.fullmatch(source.name):
            return source
    source = Path(source).expanduser()
    try:
        require_mounted(source)
        try:
            kind = source.stat().st_mode
        except FileNotFoundError:
            source = find_data(source)  # by its name, among Kaggle's
            kind = source.stat().st_mode
        directory.mkdir(parents=True, exist_ok=True)
        archive = None if stat.S_ISDIR(kind) else ARCHIVE.fullmatch(source.name)
        copy = directory / (archive[1] if archive else source.name)
        if copy.exists() and copy.samefile(source):
            return copy  # it is here, put there by whomever
        if archive:
            return _stage_archive(source, copy)
        return _stage_directory(source, copy) if stat.S_ISDIR(kind) else _stage_file(source, copy)
    except OSError as error:
        raise UserError(
            f"{source} was not staged: {explain(error)}. What is done stays: run this again, and it"
            " goes on. If Drive is gone, first run the cell that mounts it."
        ) from error


def _stage_file(source: Path, copy: Path) -> Path:
    require_own(copy)
    if not (copy.exists() and _state(copy.stat()) == _state(source.stat())):
        size = source.stat().st_size
        require_space(copy.parent, size, purpose=f"the copy of {source.name}")
        with progress_bar(size, source.name) as bar, becoming(copy) as partial:
            _copy_file(source, partial, moved=bar.update)
    return copy


def _stage_archive(source: Path, copy: Path) -> Path:
    """Copy an archive, verify it, and unpack the copy."""
    facts = {"archive": [source.name, *_state(source.stat())]}
    if require_own(copy) == facts:
        say(f"{copy} is there already.")
        return copy
    try:
        with _local(source, copy.parent) as (file, _), becoming(copy, facts) as partial:
            remove(partial)  # of another archive
            partial.mkdir()
            if source.suffix.lower() == ".zip":
                with zipfile.ZipFile(file) as archive:
                    needed = sum(member.file_size for member in archive.infolist())
                    require_space(copy.parent, needed, purpose=f"unpacking {source.name}")
                    archive.extractall(partial)
            else:
                with tarfile.open(file) as archive:
                    archive.extractall(partial, filter="data")
            inside = list(partial.iterdir())
            if [path.name for path in inside] == [copy.name] and inside[0].is_dir():
                for path in patiently(inside[0].rename, partial / ".inside").iterdir():
                    patiently(path.rename, partial / path.name)
                patiently((partial / ".inside").rmdir)
    except BROKEN as error:
        raise UserError(
            f"{source} can't be unpacked: {error}. Is it damaged, or does it have a password? Make"
            " it anew, and upload it again."
        ) from error
    return copy


@contextlib.contextmanager
def _local(archive: Path, directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield an archive's copy in a directory, and its SHA-256; the archive itself if it is there.

    The copy is deleted when the block ends.
    """
    size = archive.stat().st_size
    require_space(directory, 2 * size, purpose=f"unpacking {archive.name}")
    if archive.parent.resolve() == directory.resolve():
        yield archive, ""
        return
    copy = directory / f".{archive.name}"
    try:
        with progress_bar(size, archive.name) as bar:
            digest = _copy_file(archive, copy, moved=bar.update)
        yield copy, digest
    finally:
        patiently(copy.unlink, missing_ok=True)


def _stage_directory(source: Path, copy: Path) -> Path:
    wanted = _list(source, tell=True)
    names = list(wanted)
    if require_own(copy).get("files") == names and wanted.items() <= _list(copy).items():
        say(f"{copy} is there already.")
        return copy
    with becoming_directory(copy, names) as partial:
        _fill(source, partial, wanted)
    return copy


def _fill(source: Path, copy: Path, wanted: Listing) -> None:
    """Copy what a directory lacks of another one: from its pack, or file by file.

    Args:
        source: A directory, such as one on Drive.
        copy: On the local disk, with all of its directories.
        wanted: What is in the source.
    """
    here = _list(copy)
    pack = source.with_name(f"{source.name}.pack.zip")
    packed, digest = _manifest(pack)
    # Even a pack that is out of date holds most of what a new machine needs.
    if packed and (packed == wanted or not any(here.values())):
        good = {name: state for name, state in packed.items() if state == wanted.get(name)}
        here |= _unpack(pack, copy, good, digest)
    lacking = {name: state for name, state in wanted.items() if here.get(name) != state}
    size = sum(state[0] for state in lacking.values())
    require_space(copy.parent, size, purpose=f"the copy of {source.name}")
    with progress_bar(size, source.name) as bar, ThreadPoolExecutor(READERS) as readers:
        copied = readers.map(
            lambda name: _copy_file(source / name, copy / name, moved=bar.update), lacking
        )
        list(copied)  # the first failure is raised here
    if lacking or packed != wanted:
        _keep_pack(copy, wanted, pack)


def _list(directory: Path, *, tell: bool = False) -> Listing:
    """List all that is in a directory, without a look into any file.

    Args:
        directory: Of which shortcuts, which are symbolic links, are followed.
        tell: Whether to name what can't be copied.
    """
    found: Listing = {}

    def walk(inside: str, above: tuple[str, ...]) -> None:
        paths = [directory / inside / name for name in sorted(os.listdir(directory / inside))]
        for path, looked in zip(paths, readers.map(_look, paths), strict=True):
            name = f"{inside}{path.name}"
            if isinstance(looked, str):
                why = looked
            elif stat.S_ISREG(looked.st_mode):
                found[name] = _state(looked)
                continue
            else:
                real = os.path.realpath(path) if path.is_symlink() else f"{above[-1]}/{path.name}"
                if real not in above:
                    found[f"{name}/"] = []
                    walk(f"{name}/", (*above, real))
                    continue
                why = "a shortcut to a directory that it is in"
            if tell:
                say(f"Skipped: {name} ({why}).")

    with ThreadPoolExecutor(READERS) as readers:
        walk("", (os.path.realpath(directory),))
    return found


def _look(path: Path) -> os.stat_result | str:
    """Return what is known of a file or directory, or why it can't be copied.

    Raises:
        OSError: If that may be otherwise the next time: half a directory is not all of it.
    """
    try:
        looked = path.stat()
        if DOCUMENT.fullmatch(path.suffix) and stat.S_ISREG(looked.st_mode):
            path.open("rb").close()
    except OSError as error:
        if error.errno not in SKIPPED or (error.errno == errno.ENOENT and not path.is_symlink()):
            raise
        return SKIPPED[error.errno]
    if stat.S_ISREG(looked.st_mode) or stat.S_ISDIR(looked.st_mode):
        return looked
    return "neither a file nor a directory"


def _state(looked: os.stat_result) -> list[int]:
    """Return a file's size and second of its last change: Drive doesn't keep more of the time."""
    return [looked.st_size, looked.st_mtime_ns // 10**9]


def _keep_pack(copy: Path, wanted: Listing, pack: Path) -> None:
    """Pack copied files if they are many and small, beside their source; its manifest last."""
    sizes = [state[0] for state in wanted.values() if state]
    if len(sizes) < MANY or sum(sizes) >= SMALL * len(sizes):
        return
    local, manifest = copy.with_name(pack.name), copy.with_name(pack.with_suffix(".json").name)
    try:
        require_space(copy.parent, sum(sizes), purpose=pack.name)
        say(f"Packing {len(wanted)} files into {pack}, for the next session.")
        with zipfile.ZipFile(local, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
            for name, state in sorted(wanted.items()):
                if state:
                    archive.write(copy / name, name)
                else:  # a directory, without the time at which it was copied
                    archive.writestr(zipfile.ZipInfo(name), b"")
        facts = {"sha256": sha256_of(local), "files": wanted}
        manifest.write_text(json.dumps(facts), encoding="utf-8")
        for file in (local, manifest):
            copy_verified(file, pack.parent)
    except (OSError, UserError) as error:
        say(f"{pack} was not made: {explain(error)}. The next session copies file by file again.")
    finally:
        for file in (local, manifest):
            patiently(file.unlink, missing_ok=True)


def _manifest(pack: Path) -> tuple[Listing, str]:
    """Return what a pack holds, and its SHA-256; nothing if there is none that is whole."""
    try:
        manifest = json.loads(pack.with_suffix(".json").read_text(encoding="utf-8"))
        return (manifest["files"], manifest["sha256"]) if pack.exists() else ({}, "")
    except (FileNotFoundError, ValueError):  # none, or a damaged one
        return {}, ""


def _unpack(pack: Path, copy: Path, wanted: Listing, digest: str) -> Listing:
    """Copy a pack, unpack what is wanted of it, and return that; nothing if it is damaged."""
    with _local(pack, copy.parent) as (file, found):
        if found != digest:
            return {}
        with zipfile.ZipFile(file) as archive:
            for name, state in wanted.items():
                path = archive.extract(name, copy)
                if state:
                    os.utime(path, (state[1], state[1]))
    say(f"{len(wanted)} files came from {pack}.")
    return wanted


def _copy_file(source: Path, copy: Path, *, moved: Callable[[int], object]) -> str:
    """Copy a file unless it is there; go on where a copy was interrupted.

    Returns:
        The copy's SHA-256.

    Raises:
        OSError: If it can't be read or written.
        UserError: If the copy doesn't have the source's bytes.
    """
    size, second = state = _state(source.stat())
    if copy.exists() and _state(copy.stat()) == state:
        moved(size)
        return sha256_of(copy)
    copy.parent.mkdir(parents=True, exist_ok=True)
    if copy.is_dir():  # of an earlier state of the source
        remove(copy)
    partial = hidden(copy, "partial")
    mark = hidden(copy, "mark")
    done, digest = _resume(partial, mark, state)
    with source.open("rb") as reader, partial.open("ab") as writer:
        reader.seek(done)
        writer.truncate(done)
        moved(done)
        while chunk := reader.read(CHUNK):
            writer.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            moved(len(chunk))
            if done % MARK_EVERY == 0:
                writer.flush()
                os.fsync(writer.fileno())
                write_whole(mark, json.dumps([*state, done, digest.hexdigest()]))
    if done != size or sha256_of(partial) != digest.hexdigest():
        patiently(partial.unlink)
        raise UserError(
            f"{copy} is not what {source} is: {done} of {size} bytes. Something wrote to"
            " one of them meanwhile, or a disk fails. Run this again."
        )
    os.utime(partial, (second, second))
    patiently(partial.replace, copy)
    patiently(mark.unlink, missing_ok=True)
    return digest.hexdigest()


def _resume(partial: Path, mark: Path, state: list[int]) -> tuple[int, hashlib._Hash]:
    """Return how many bytes of an interrupted copy are good, and their digest so far."""
    digest = hashlib.sha256()
    try:
        *marked, done, wanted = json.loads(mark.read_text(encoding="utf-8"))
        if marked == state:
            with partial.open("rb") as file:
                while chunk := file.read(min(CHUNK, done - file.tell())):
                    digest.update(chunk)
            if digest.hexdigest() == wanted:
                return done, digest
    except (FileNotFoundError, ValueError):  # nothing to go on with, or a damaged mark
        pass
    return 0, hashlib.sha256()
