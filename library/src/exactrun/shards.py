"""Examples in files that are memory-mapped, so that data may be larger than memory.

A directory of shards is written by `write_shards`:

    manifest.json         what it holds, and the SHA-256 of every other file; written last
    shard-00000-0.npy     the first array of the first examples, shape (rows, ...)
    shard-00000-1.npy     their second array
    shard-00001-0.npy     and so on

Only the rows asked for are read, through the system's own cache: the memory of the process stays
the same however large the data are.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections import namedtuple
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from .errors import UserError
from .examples import BadExample, Examples
from .files import digest, explain, names_in, progress_bar, require_space, sha256_of, write_whole
from .sources import (
    ArrayExamples,
    as_examples,
    describe,
    listed,
    require_form,
    sampled_fingerprint,
    stack,
)
from .structures import flatten, map_leaves, rebuild, walk

FORMAT = 1
"""Raised when what is written today could not be read by a version of before."""

MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
"""The second is the manifest of shards that are being written."""

SHARD_FILE = re.compile(r"shard-\d{5,}-\d+\.npy|\.shard-\d{5,}-\d+\.npy\.partial")
SHARD_BYTES = 64 << 20
BATCH_BYTES = 8 << 20
"""Examples that are in memory at a time while they are written."""

MOST_FILES = 256
"""How many are open at a time; a process may have a thousand on many systems, 256 on some."""

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """What the manifest says of a shard.

    Attributes:
        number: Its place among all, from 0, in the names of its files.
        rows: Examples in it.
        files: The SHA-256 of each of its files, by name.
        ignored: Where and why, of each example that was left out.
    """

    number: int
    rows: int
    files: dict[str, str]
    ignored: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a directory of shards holds.

    Attributes:
        structure: What `describe` says of an example; with parts, of a pair of it and a number: 1
            for train, 2 for validation, 3 for test.
        parts: Whether the examples came in parts of their own.
        class_names: The name of each class by its index.
        source: The fingerprint of what they were written from.
        length: How many examples that held, if it was known beforehand.
        shard_rows: Examples of a shard.
        shards: The finished ones, in order.
    """

    structure: Any
    parts: bool
    class_names: list[str] | None
    source: str
    length: int | None
    shard_rows: int
    shards: list[Shard]

    @property
    def sha256(self) -> str:
        """The fingerprint of the examples; the same ones give the same."""
        files = [[shard.rows, *shard.files.values()] for shard in self.shards]
        return digest(json.dumps([self.structure, self.parts, self.class_names, files]).encode())

    def write(self, path: Path) -> None:
        """Write the file."""
        content = {"format": FORMAT, "sha256": self.sha256, **asdict(self)}
        write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read the file.

        Raises:
            UserError: If it is damaged, or of a later format.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            known, sha256 = content.pop("format"), content.pop("sha256")
            if known > FORMAT:
                raise UserError(
                    f"{path} is of format {known}, and this version of exactrun reads up to"
                    f" {FORMAT}. Update it: pip install -U exactrun"
                )
            found = cls(**content | {"shards": [Shard(**each) for each in content["shards"]]})
            if found.sha256 != sha256:
                raise ValueError("it doesn't agree with its own fingerprint")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} is damaged: {error!r}. Copy {path.parent} again from where it came from,"
                " or delete it and write the shards again."
            ) from error
        return found


class Shards(Examples):
    """Examples in memory-mapped files; opened by `open_shards`.

    Attributes:
        directory: Where they lie.
        columns: A structure of the form of an example, of array-likes with a row for each.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory, self._manifest = directory, manifest
        names = manifest.class_names
        self.class_names = None if names is None else tuple(names)
        self._starts = np.cumsum([0, *(shard.rows for shard in manifest.shards)])
        like = _blank(manifest.structure)
        self._likes: list[np.ndarray] = flatten(like)
        self._map = lru_cache(MOST_FILES)(self._open)
        columns = [Column(self, leaf, like.dtype) for leaf, like in enumerate(self._likes)]
        self.columns = rebuild(like, iter(columns))
        if manifest.parts:
            self.columns, numbers = self.columns[0], self.columns[1][:]
            parts = {name: np.flatnonzero(numbers == 1 + n) for n, name in enumerate(PARTS)}
            self.parts = {name: rows for name, rows in parts.items() if len(rows)}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: int | slice | np.ndarray | str) -> Any:
        """Return some examples; or, by a key of the examples' dict, the column of that name."""
        if not isinstance(rows, str):
            return super().__getitem__(rows)
        keys = list(self.columns) if isinstance(self.columns, dict) else []
        if rows not in keys:
            near = difflib.get_close_matches(rows, keys, n=1, cutoff=0.5)
            raise UserError(
                f"The examples in {self.directory} have no key {rows!r}."
                f"{f' Did you mean {near[0]!r}?' if near else ''} They have:"
                f" {', '.join(keys) or 'none, as they are no dict; see columns'}."
            )
        return self.columns[rows]

    def read(self, rows: np.ndarray) -> Any:
        leaves = [column.leaf for column in flatten(self.columns)]
        return rebuild(self.columns, iter(self.gather(rows, leaves)))

    def gather(self, rows: np.ndarray, leaves: list[int]) -> list[np.ndarray]:
        """Return rows of some of the arrays, which are numbered as `structures.flatten` does."""
        likes = [self._likes[leaf] for leaf in leaves]
        found = [np.empty((len(rows), *like.shape[1:]), like.dtype) for like in likes]
        # By shard, each of which is asked once, and in the order in which they lie on the disk.
        order = np.argsort(rows, kind="stable")
        places = rows[order]
        bounds = np.searchsorted(places, self._starts)
        for shard in np.flatnonzero(np.diff(bounds)).tolist():
            some = slice(bounds[shard], bounds[shard + 1])
            for leaf, array in zip(leaves, found, strict=True):
                array[order[some]] = self._map(shard, leaf)[places[some] - self._starts[shard]]
        return found

    @property
    def fingerprint(self) -> str:
        return self._manifest.sha256

    def _open(self, shard: int, leaf: int) -> np.ndarray:
        entry = self._manifest.shards[shard]
        return _map_file(self.directory / list(entry.files)[leaf], entry.rows, self._likes[leaf])


class Column(Examples):
    """One array of sharded examples, of which only the rows asked for are read.

    Args:
        shards: The examples.
        leaf: Which of their arrays, as `structures.flatten` orders them.
        dtype: Its type.
    """

    def __init__(self, shards: Shards, leaf: int, dtype: np.dtype[Any]) -> None:
        self._shards, self.leaf, self.dtype = shards, leaf, dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._shards._likes[self.leaf].shape[1:])

    def __len__(self) -> int:
        return len(self._shards)

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self._shards.gather(rows, [self.leaf])[0]

    @property
    def fingerprint(self) -> str:
        return digest(f"{self._shards.fingerprint} {self.leaf}".encode())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all rows, for functions of NumPy's, which would ask for them one by one."""
        return np.asarray(self[:], dtype)


def open_shards(directory: str | Path, *, verify: bool = True) -> Shards:
    """Open a directory of shards without reading its examples into memory.

    Args:
        directory: What `write_shards` wrote.
        verify: Compare every file with its SHA-256, which reads them all, about a second for each
            gigabyte; otherwise their sizes, shapes and types only.

    Raises:
        UserError: If there are no finished shards, or a file isn't the one that was written.
    """
    place = Path(directory)
    try:
        names = names_in(place)
        if MANIFEST not in names:
            what = "unfinished shards" if UNFINISHED in names else "no shards"
            raise UserError(
                f"{place} holds {what}: it has no {MANIFEST}. Give a directory that write_shards"
                " finished; one that was interrupted goes on when the same call is run again."
            )
        manifest = Manifest.read(place / MANIFEST)
        likes = flatten(_blank(manifest.structure))
        with progress_bar(len(manifest.shards), "Verifying", unit="shard") as bar:
            for shard in manifest.shards:
                _require_files(place, shard, likes, verify=verify)
                bar.update()
    except OSError as error:
        raise UserError(
            f"{place} can't be read: {explain(error)}. Mend that and open it again."
        ) from error
    return Shards(place, manifest)


def write_shards(
    examples: Any,
    directory: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    ignore_errors: bool = False,
) -> Shards:
    """Write examples into files that can be opened without being read, or go on writing them.

    The same examples give the same bytes. If the process dies at any instant, the same call goes on
    after the shards that are whole. Examples without a `fingerprint` are recognised by their number
    and up to 64 of them, those of an iterable by the first one.

    Args:
        examples: Anything that `exactrun.sources.as_examples` takes; or an iterable of examples,
            gone through once, in order. An example is an array or scalar or a nested structure of
            such; all have the first one's structure, types and shapes.
        directory: A new or empty one, or that of the same examples.
        shard_bytes: About the size of a shard; larger if there would be more than 256 files, or,
            for an iterable, twice as large after every 64 shards.
        ignore_errors: Leave out and list the examples that hold NaN or infinity or whose reading
            raises `BadExample`, instead of ending without a result.

    Raises:
        UserError: Naming the bad examples; or what is wrong with the examples or the directory.
    """
    if not isinstance(shard_bytes, int) or shard_bytes < 1:
        raise UserError(f"shard_bytes={shard_bytes!r}: it must be an integer from 1, in bytes.")
    place = Path(directory)
    by_index = isinstance(examples, dict | tuple) or hasattr(examples, "__getitem__")
    try:
        source = as_examples(examples) if by_index else _Stream(examples)
        return _Writer(source, place, shard_bytes).write(ignore_errors=ignore_errors)
    except OSError as error:
        raise UserError(
            f"Writing shards into {place} stopped: {explain(error)}. The shards that are finished"
            " there are kept; mend that and run the same again, which goes on after them."
        ) from error


class _Stream:
    """The examples of an iterable, which are read once and in order."""

    parts = None

    def __init__(self, examples: Iterable[Any]) -> None:
        self.class_names = getattr(examples, "class_names", None)
        self._left, self._row = iter(examples), 0
        if not (first := self._take(1)):
            raise UserError("There are no examples to write: the iterable is empty.")
        self._form = describe(map_leaves(np.asarray, first[0]))
        self.first = stack(first, [0], (0, self._form))
        self.fingerprint = sampled_fingerprint(None, first)
        self._left, self._row = chain(first, self._left), 0

    def read(self, rows: np.ndarray) -> Any:
        """Return consecutive examples, having passed over those before; None at the end."""
        while self._row < rows[0]:
            if not self._take(min(1024, int(rows[0]) - self._row)):
                raise UserError(
                    f"The iterable ended after {self._row:,} examples, but {rows[0]:,} of it were"
                    " written before. If they are others now, delete that directory."
                )
        first, some = self._row, self._take(len(rows))
        return stack(some, range(first, self._row), (0, self._form)) if some else None

    def _take(self, most: int) -> list[Any]:
        try:
            found = list(islice(self._left, most))
        except BadExample as error:
            raise UserError(
                f"The iterable raised, at {error}, and can't be gone on with after that. Leave such"
                " examples out in it; or give a sequence, which can, with ignore_errors=True."
            ) from error
        self._row += len(found)
        return found


class _Writer:
    """Write what a directory of shards lacks; see `write_shards`."""

    def __init__(self, source: Examples | _Stream, place: Path, shard_bytes: int) -> None:
        self.place, self.source = place, source
        self.length = length = len(source) if isinstance(source, Examples) else None
        if isinstance(source, Examples) and source.parts is not None:
            numbers = np.zeros(len(source), np.uint8)
            for name, rows in source.parts.items():
                numbers[rows] = 1 + PARTS.index(name)
            self.source = ArrayExamples((source, numbers), class_names=source.class_names)
        row, first = _first(self.source)
        self.like = (row, describe(first, skip=1))
        for path, leaf in walk(first, "it"):
            if leaf.dtype.kind not in "biufc":
                raise UserError(
                    f"Row {row}: {path} is of the type {leaf.dtype}, but shards hold numbers. Turn"
                    " texts into fixed arrays first, as keras.layers.TextVectorization does,"
                    " classes into indices, and other numbers into array.astype(np.float32)."
                )
        self.likes = flatten(_blank(self.like[1]))
        if not self.likes:
            raise UserError("The examples hold no arrays. Give arrays, as (x, y).")
        self.size = sum(like.itemsize * math.prod(like.shape[1:]) for like in self.likes)
        shard_rows = max(1, shard_bytes // max(1, self.size))
        if length is not None:
            shard_rows = max(shard_rows, -(-length // max(1, MOST_FILES // len(self.likes))))
        names = source.class_names
        self.plan = Manifest(
            structure=self.like[1],
            parts=source.parts is not None,
            class_names=None if names is None else list(names),
            source=self.source.fingerprint,
            length=length,
            shard_rows=shard_rows,
            shards=[],
        )

    def write(self, *, ignore_errors: bool) -> Shards:
        """Write what is missing, and open the whole."""
        place, (kept, whole) = self.place, self._look(ignore_errors=ignore_errors)
        if not whole:
            names = {name for shard in kept.values() for name in shard.files}
            found = filter(SHARD_FILE.fullmatch, names_in(place))
            stale = [place / name for name in found if name not in names]
            if self.length is not None:
                left = self.length - sum(s.rows + len(s.ignored) for s in kept.values())
                purpose = f"writing {left:,} examples of {self.size:,} bytes"
                free = sum(file.stat().st_size for file in stale)
                require_space(place, left * self.size - free, purpose=purpose)
                print(f"{place}: {purpose}, {tqdm.format_sizeof(left * self.size)}B in all")
            place.mkdir(parents=True, exist_ok=True)
            for file in stale:
                file.unlink()
            self._record(UNFINISHED, kept)
            self._write_missing(kept)
            _require_good(place, kept.values(), ignore_errors=ignore_errors)
            self._record(MANIFEST, kept)
        (place / UNFINISHED).unlink(missing_ok=True)
        return open_shards(place, verify=False)

    def _look(self, *, ignore_errors: bool) -> tuple[dict[int, Shard], bool]:
        """Return the shards that can stay, and whether these are all."""
        names = [name for name in names_in(self.place) if not name.startswith(".")]
        marked = [name for name in (MANIFEST, UNFINISHED) if name in names]
        ours = [*marked, *filter(SHARD_FILE.fullmatch, names)] if marked else []
        if foreign := [name for name in names if name not in ours]:
            raise UserError(
                f"{self.place} holds other files, such as {foreign[0]}. Choose a new directory."
            )
        if not marked:
            return {}, False
        finished = marked[0] == MANIFEST
        before = Manifest.read(self.place / marked[0])
        # Shards of another size do as well.
        plan = replace(self.plan, shard_rows=before.shard_rows)
        if replace(before, shards=[]) != plan:
            if finished:
                raise UserError(
                    f"{self.place} holds other examples, or these as they were before a change."
                    " Choose another directory, or delete this one."
                )
            print(f"{self.place}: its unfinished shards are of other examples, so it begins again")
            return {}, False
        self.plan = plan
        if finished:
            _require_good(self.place, before.shards, ignore_errors=ignore_errors)
        kept = {}
        for shard in before.shards:
            # What was bad is tried again while it is unfinished: it may have been mended since.
            if finished or not shard.ignored:
                try:
                    _require_files(self.place, shard, self.likes, verify=not finished)
                except UserError as error:
                    print(f"{error} This call does so now.")
                else:
                    kept[shard.number] = shard
        if kept and not finished:
            print(f"{self.place}: going on after {len(kept)} shards that are finished and whole")
        return kept, finished and len(kept) == len(before.shards)

    def _record(self, name: str, kept: dict[int, Shard]) -> None:
        shards = [kept[number] for number in sorted(kept)]
        replace(self.plan, shards=shards).write(self.place / name)

    def _write_missing(self, kept: dict[int, Shard]) -> None:
        """Write the shards that aren't kept, and add each to those."""
        start, last = 0, max(kept, default=0)
        with progress_bar(self.length or 0, "Writing", unit="example") as bar:
            for number in count():
                if self.length is None:  # the shards of an iterable don't become thousands
                    rows = self.plan.shard_rows << number // 64
                else:
                    rows = min(self.plan.shard_rows, self.length - start)
                if number not in kept and rows:
                    shard = self._write_shard(number, start, start + rows)
                    if shard.rows or shard.ignored:
                        kept[number] = shard
                        self._record(UNFINISHED, kept)
                if number not in kept:
                    break
                done = kept[number].rows + len(kept[number].ignored)
                start += done
                bar.update(done)
                if done < rows:
                    break
        if number < last:
            raise UserError(
                f"The iterable ended after {start:,} examples, and more of it are in {self.place}."
                " If they are others now, delete that directory."
            )

    def _write_shard(self, number: int, start: int, stop: int) -> Shard:
        """Write the examples from `start` up to, not including, `stop`, if there are any."""
        names = [f"shard-{number:05}-{leaf}.npy" for leaf in range(len(self.likes))]
        partials = [self.place / f".{name}.partial" for name in names]
        rows, bad = 0, list[BadExample]()
        with ExitStack() as opened:
            files = [opened.enter_context(partial.open("wb")) for partial in partials]
            for file, like in zip(files, self.likes, strict=True):
                _write_header(file, like, 0)
            for batch in self._batches(start, stop, bad):
                arrays = flatten(batch)
                rows += len(arrays[0])
                for file, like, array in zip(files, self.likes, arrays, strict=True):
                    file.write(array.astype(like.dtype, copy=False).tobytes())
            for file, like in zip(files, self.likes, strict=True):
                file.seek(0)
                _write_header(file, like, rows)  # is as long, whatever the number
                file.flush()
                os.fsync(file.fileno())
        written = {}
        for name, partial in zip(names, partials, strict=True):
            if rows or bad:
                written[name] = sha256_of(partial)
                partial.replace(self.place / name)
            else:
                partial.unlink()
        ignored = [[each.where, each.why] for each in bad]
        return Shard(number=number, rows=rows, files=written, ignored=ignored)

    def _batches(self, start: int, stop: int, bad: list[BadExample]) -> Iterator[Any]:
        """Yield the good examples in stacks, and add the others to the bad."""
        step = max(1, BATCH_BYTES // max(1, self.size))
        for first in range(start, stop, step):
            for rows, batch in self._read(np.arange(first, min(first + step, stop)), bad):
                if batch is None:
                    return
                name = f"Row {rows[0]}, or one up to {rows[-1]},"
                require_form(name, describe(batch, skip=1), self.like)
                arrays = list(walk(batch, "it"))
                found = len(arrays[0][1])
                if found != len(rows) and self.length is not None:
                    raise UserError(
                        f"{type(self.source).__name__}.read returned {found} examples for"
                        f" {len(rows)} rows. It must return one for each."
                    )
                good = np.ones(found, bool)
                for path, leaf in arrays:
                    if leaf.dtype.kind in "fc":
                        finite = np.isfinite(leaf).all(axis=tuple(range(1, leaf.ndim)))
                        for row in rows[:found][good & ~finite]:
                            bad.append(BadExample(f"row {row}", f"{path} holds NaN or infinity"))
                        good &= finite
                yield batch if good.all() else map_leaves(lambda leaf, good=good: leaf[good], batch)
                if found < len(rows):  # an iterable has ended
                    return

    def _read(self, rows: np.ndarray, bad: list[BadExample]) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield examples stacked, all together or, if one can't be read, in ever smaller parts."""
        try:
            found = self.source.read(rows)
        except BadExample as error:
            if len(rows) == 1:
                bad.append(error)
            else:
                for half in np.array_split(rows, 2):
                    yield from self._read(half, bad)
        else:
            yield rows, found


def _first(source: Examples | _Stream) -> tuple[int, Any]:
    """Return the first row that can be read, and its example, stacked."""
    if isinstance(source, _Stream):
        return 0, source.first
    bad = []
    for row in range(len(source)):
        try:
            return row, source.read(np.array([row]))
        except BadExample as error:
            bad.append(error)
    raise UserError(f"There are no examples that can be written.{listed(bad)}")


def _blank(form: Any) -> Any:
    """Return a structure of arrays without rows, in the form that `describe` told."""
    if form is None:
        return None
    if isinstance(form, list):
        return np.empty((0, *form[1]), form[0])
    if "dict" in form:
        return {key: _blank(part) for key, part in form["dict"].items()}
    if "list" in form:
        return [_blank(part) for part in form["list"]]
    parts = [_blank(part) for part in form["tuple"]]
    if "name" in form:
        return namedtuple(form["name"], form["fields"])(*parts)
    return tuple(parts)


def _write_header(file: BinaryIO, like: np.ndarray, rows: int) -> None:
    """Write the first bytes of a .npy file, which NumPy pads to one length for any number."""
    shape = (rows, *like.shape[1:])
    content = {"descr": like.dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, content)


def _map_file(path: Path, rows: int, like: np.ndarray) -> np.ndarray:
    """Map a file's array, having checked its size, shape and type."""
    try:
        array = np.load(path, mmap_mode="r")
    except FileNotFoundError as error:
        raise _mismatch(path, "is missing") from error
    except (ValueError, EOFError) as error:
        raise _mismatch(path, f"is damaged ({error})") from error
    wanted = f"{like.dtype} of shape {(rows, *like.shape[1:])}"
    found = f"{array.dtype} of shape {array.shape}"
    if found != wanted or path.stat().st_size != array.offset + array.nbytes:
        raise _mismatch(path, f"holds {found} in {path.stat().st_size:,} bytes, not {wanted} alone")
    # Asking an np.memmap for a row costs several times what asking an ndarray does.
    return np.asarray(array)


def _require_files(place: Path, shard: Shard, likes: list[np.ndarray], *, verify: bool) -> None:
    """Refuse a shard whose files aren't as they were written."""
    for (name, sha256), like in zip(shard.files.items(), likes, strict=True):
        _map_file(place / name, shard.rows, like)
        if verify and sha256_of(place / name) != sha256:
            raise _mismatch(place / name, "is damaged, or belongs to other shards")


def _mismatch(path: Path, what: str) -> UserError:
    return UserError(
        f"{path} {what}. Delete that file and run the same write_shards again, which writes it"
        f" anew; or copy all of {path.parent} again from where it came from."
    )


def _require_good(place: Path, shards: Iterable[Shard], *, ignore_errors: bool) -> None:
    """Refuse bad examples, or say which are left out; refuse to finish without any."""
    shards = list(shards)
    bad = [f"{where}: {why}" for shard in shards for where, why in shard.ignored]
    if bad and not ignore_errors:
        raise UserError(
            f"{place} isn't finished, as there are bad examples ({len(bad):,}):{listed(bad)}\nMend"
            " them, or leave them out: ignore_errors=True"
        )
    if not any(shard.rows for shard in shards):
        raise UserError(f"{place} isn't finished, as no good example is left.{listed(bad)}")
    if bad:
        print(f"{place}: bad examples, left out ({len(bad):,}):{listed(bad)}")
