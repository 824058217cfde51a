"""Examples in files that are memory-mapped, so that data may be larger than memory.

A directory of shards is written by `write_shards`:

    manifest.json         what it holds, and the SHA-256 of every other file; named so at the end
    shard-00000-0.npy     the first array of the first examples, shape (rows, ...)
    shard-00000-1.npy     their second array
    shard-00001-0.npy     and so on

Only the rows asked for are read: the memory of the process stays the same however large they are.
"""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from tqdm import tqdm

from .console import say
from .errors import UserError
from .examples import BadExample, Examples
from .files import (
    digest,
    explain,
    names_in,
    patiently,
    progress_bar,
    require_space,
    sha256_of,
    whole_file,
    write_whole,
)
from .sources import ArrayExamples, IndexedExamples, as_examples, describe, leave_out, require_form
from .structures import Array, flatten, map_leaves, rebuild, walk

FORMAT = 1
"""Raised when what is written today could not be read by a version of before."""

MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
"""The second is the manifest of shards that are being written."""

PARTS = ("train", "validation", "test")

Manifest: TypeAlias = dict[str, Any]
"""Holds the `form` of an example or, with `parts`, of a pair of it and its part's number; its
`source`, the fingerprint of what was written; and of each of the `shards` how many `rows` it has,
its `files` with their SHA-256s, and what was `ignored`."""


class Shards(Examples):
    """Examples in memory-mapped files; opened by `open_shards`.

    Attributes:
        columns: A structure of the form of an example, of array-likes with a row for each.
    """

    fingerprint = ""

    def __init__(self, manifest: Manifest, arrays: list[list[Array]]) -> None:
        self.fingerprint, names = _fingerprint(manifest), manifest["class_names"]
        self.class_names = tuple(names) if names else None
        leaves = enumerate(zip(*arrays, strict=True))
        columns = [Column(each, f"{self.fingerprint} {leaf}") for leaf, each in leaves]
        self.columns = rebuild(literal_eval(manifest["form"]), iter(columns))
        if manifest["parts"]:
            self.columns, numbers = self.columns[0], self.columns[1][:]
            parts = {name: np.flatnonzero(numbers == 1 + n) for n, name in enumerate(PARTS)}
            self.parts = {name: rows for name, rows in parts.items() if len(rows)}

    def __len__(self) -> int:
        return len(flatten(self.columns)[0])

    def __getitem__(self, rows: int | slice | Array | str) -> Any:
        """Return some examples; or, by a key of the examples' dict, the column of that name."""
        return self.columns[rows] if isinstance(rows, str) else super().__getitem__(rows)

    def read(self, rows: Array) -> Any:
        return map_leaves(lambda column: column.read(rows), self.columns)


class Column(Examples):
    """One array of sharded examples, of which only the rows asked for are read."""

    fingerprint = ""

    def __init__(self, arrays: tuple[Array, ...], name: str) -> None:
        self.fingerprint = digest(name.encode())
        self._arrays, self._starts = arrays, np.cumsum([0, *map(len, arrays)])
        self.shape, self.dtype = (len(self), *arrays[0].shape[1:]), arrays[0].dtype

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, rows: Array) -> Array:
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shards).tolist():
            some = shards == shard
            found[some] = self._arrays[shard][rows[some] - self._starts[shard]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Read all rows, for functions of NumPy's, which would ask for them one by one."""
        return np.asarray(self[:], dtype)


def open_shards(directory: str | Path, *, verify: bool = True) -> Shards:
    """Open a directory of shards without reading its examples into memory.

    Args:
        directory: What `write_shards` wrote.
        verify: Compare every file with its SHA-256, which reads them all, about a second for each
            gigabyte; otherwise their shapes and types only.

    Raises:
        UserError: If there are no finished shards, or a file isn't the one that was written.

    Example:
        >>> arrays = {"label": np.arange(6)}
        >>> _ = exactrun.write_shards(arrays, directory / "shards")  # doctest: +ELLIPSIS
        /...shards: writing 6 of 6 examples...
        >>> exactrun.open_shards(directory / "shards")["label"][2:4].tolist()
        [2, 3]
    """
    place, arrays = Path(directory), []
    try:
        if MANIFEST not in names_in(place):
            raise UserError(f"{place}: no {MANIFEST}. Was write_shards interrupted? Run it again.")
        manifest = _read_manifest(place / MANIFEST)
        with progress_bar(len(manifest["shards"]), "Verifying", unit="shard") as bar:
            for shard in manifest["shards"]:
                arrays.append(_map_shard(place, shard, manifest["form"], verify=verify))
                bar.update()
    except OSError as error:
        raise UserError(f"{place} can't be read: {explain(error)}. Check the path.") from error
    return Shards(manifest, arrays)


def write_shards(
    examples: Any,
    directory: str | Path,
    *,
    shard_bytes: int = 64 << 20,
    ignore_errors: bool = False,
) -> Shards:
    """Write examples into files that can be opened without being read, or go on writing them.

    The same examples give the same bytes. If the process dies at any instant, the same call goes on
    after the shards that are whole. Examples without a `fingerprint` are recognised by their number
    and up to 64 of them, those of an iterable by the first one.

    Args:
        examples: What `exactrun.sources.as_examples` takes; or an iterable, gone through once, in
            order. All are of one form: numbers and arrays of numbers, nested at will.
        directory: A new or empty one, or that of the same examples.
        shard_bytes: About the size of a shard, which is in memory while it is written. All files
            are open later: let shards of hundreds of gigabytes be larger.
        ignore_errors: Leave out and list the examples that hold NaN or infinity, and those of a
            sequence whose reading raises `BadExample`, instead of ending without a result.

    Raises:
        UserError: Naming the bad examples; or what is wrong with the examples or the directory.

    Example:
        >>> arrays = np.zeros((100, 8)), np.arange(100)
        >>> shards = exactrun.write_shards(arrays, directory / "shards")  # doctest: +ELLIPSIS
        /...shards: writing 100 of 100 examples...
        >>> shards[3:5][1].tolist(), shards.columns[0].shape
        ([3, 4], (100, 8))
    """
    place = Path(directory)
    if isinstance(shard_bytes, bool) or not isinstance(shard_bytes, int) or shard_bytes < 1:
        raise UserError(
            f"shard_bytes={shard_bytes!r}: it must be a whole number, such as 64 << 20."
        )
    try:
        writer = _Writer(examples, place)
        if not writer.finished:
            writer.write(shard_bytes)
        bad = [each for shard in writer.manifest["shards"] for each in shard["ignored"]]
        leave_out(bad, "examples", place, ignore_errors=ignore_errors)
        if not writer.finished:
            patiently((place / UNFINISHED).replace, place / MANIFEST)
    except (OSError, BadExample) as error:
        raise UserError(
            f"Writing shards into {place} stopped: {explain(error)}. Fix that and run the same"
            " again, which goes on after the shards that are finished."
        ) from error
    return open_shards(place, verify=False)


class _Stream(IndexedExamples):
    """An iterable, of which only the first example is known before all are read in order."""

    def __init__(self, examples: Iterable[Any]) -> None:
        left = iter(examples)
        super().__init__(list(islice(left, 1)))
        self.left = chain(self._source, left)


class _Writer:
    """Write what a directory of shards lacks; see `write_shards`."""

    def __init__(self, examples: Any, place: Path) -> None:
        indexed = hasattr(examples, "__getitem__") or not hasattr(examples, "__iter__")
        source = as_examples(examples) if indexed else _Stream(examples)
        names, parts = source.class_names, source.parts
        if parts is not None:
            numbers = np.zeros(len(source), np.uint8)
            for name, rows in parts.items():
                numbers[rows] = 1 + PARTS.index(name)
            source = ArrayExamples((source, numbers))
        self.place, self.source = place, source
        self.form, self.likes = _first(source)
        self.manifest: Manifest = {
            "format": FORMAT,
            "form": self.form,
            "parts": parts is not None,
            "class_names": list(names) if names else None,
            "source": source.fingerprint,
            "shards": [],
        }
        written = [name for name in names_in(place) if not name.startswith(".")]
        self.finished = MANIFEST in written
        if written:
            if not self.finished and UNFINISHED not in written:
                raise UserError(f"{place} holds {written[0]} and the like: choose a new directory.")
            before = _read_manifest(place / (MANIFEST if self.finished else UNFINISHED))
            if before | {"shards": []} != self.manifest:
                raise UserError(f"{place} holds other examples: choose another, or delete it.")
            self.manifest = before

    def write(self, shard_bytes: int) -> None:
        """Write all shards but for those of before, from the first that isn't whole on."""
        shards: list[dict[str, Any]] = []
        with suppress(UserError):
            for shard in self.manifest["shards"]:
                _map_shard(self.place, shard, self.form, verify=True)
                if shard["ignored"]:  # is tried again: it may have been fixed since
                    break
                shards.append(shard)
        self.manifest["shards"] = shards
        start = sum(shard["rows"] for shard in shards)
        size = max(1, sum(like.nbytes for like in self.likes))
        total = 0
        if not isinstance(self.source, _Stream):
            total = len(self.source)
            needed = (total - start) * size
            purpose = f"writing {total - start:,} of {total:,} examples"
            require_space(self.place, needed, purpose=purpose)
            say(f"{self.place}: {purpose}, {tqdm.format_sizeof(needed)}B")
        self.place.mkdir(parents=True, exist_ok=True)
        _write_manifest(self.place / UNFINISHED, self.manifest)
        with progress_bar(total, "Writing", unit="example") as bar:
            bar.update(start)
            # Not too many, as those of an iterable are Python's objects until they are written.
            shard_rows = max(1, min(shard_bytes // size, 1 << 18))
            for examples, rows in self._chunks(start, shard_rows):
                pieces, bad = [[like[:0] for like in self.likes]], list[str]()
                for some in np.array_split(rows, min(8, len(rows))):
                    pieces += self._read(examples, some, bad)
                    bar.update(len(some))
                files = _write_files(self.place, len(shards), pieces)
                found = sum(len(leaves[0]) for leaves in pieces)
                shards.append({"rows": found, "files": files, "ignored": bad})
                _write_manifest(self.place / UNFINISHED, self.manifest)

    def _chunks(self, start: int, rows: int) -> Iterator[tuple[Examples, Array]]:
        """Yield examples, and which rows of them are in the next shard."""
        if not isinstance(self.source, _Stream):
            for first in range(start, len(self.source), rows):
                yield self.source, np.arange(first, min(first + rows, len(self.source)))
            return
        left = islice(self.source.left, start, None)
        while some := dict(enumerate(islice(left, rows), start)):
            yield IndexedExamples(some, self.form), np.array(list(some))
            start += rows

    def _read(self, examples: Examples, rows: Array, bad: list[str]) -> Iterator[list[Array]]:
        """Yield the arrays of good examples, in ever smaller parts if one can't be read."""
        try:
            found = examples.read(rows)
        except BadExample as error:
            if len(rows) == 1:
                bad.append(str(error))
            else:
                for half in np.array_split(rows, 2):
                    yield from self._read(examples, half, bad)
            return
        require_form(rows[0], describe(found, skip=1), self.form)
        good = np.ones(len(rows), bool)
        for path, leaf in walk(found, "it"):
            finite = np.isfinite(leaf).all(axis=tuple(range(1, leaf.ndim)))
            bad += [f"row {row}: {path} holds NaN or infinity" for row in rows[good & ~finite]]
            good &= finite
        yield [leaf[good] for leaf in flatten(found)]


def _fingerprint(manifest: Manifest) -> str:
    return digest(json.dumps(manifest).encode())


def _write_manifest(path: Path, manifest: Manifest) -> None:
    content = manifest | {"sha256": _fingerprint(manifest)}
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _read_manifest(path: Path) -> Manifest:
    """Read a manifest, unless it is damaged or of a later format."""
    try:
        found: Manifest = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] > FORMAT:
            raise UserError(f"{path} is of a newer format: install a newer release of exactrun")
        if found.pop("sha256") != _fingerprint(found):
            raise ValueError("its fingerprint is another one")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged: {error!r}. Copy {path.parent} again, or delete and rewrite it."
        ) from error
    return found


def _first(examples: Examples) -> tuple[str, list[Array]]:
    """Return the form and the arrays, of one row, of the first example that can be read."""
    for row in range(len(examples)):
        with suppress(BadExample):
            found = examples.read(np.array([row]))
            form, leaves = describe(found, skip=1), flatten(found)
            break
    else:
        raise UserError("There are no examples to write, or none that can be read.")
    try:
        literal_eval(form)
    except (ValueError, SyntaxError):
        leaves = []
    if not leaves or any(leaf.dtype.kind not in "biufc" for leaf in leaves):
        raise UserError(
            f"An example is {form}, but shards hold numbers in tuples, lists and dicts. Turn texts"
            " into arrays first, as keras.layers.TextVectorization does, named tuples into tuples."
        )
    return form, leaves


def _write_files(place: Path, number: int, pieces: list[list[Array]]) -> dict[str, str]:
    """Write a shard's arrays, given in pieces, to files that are whole or absent; return these."""
    files = {}
    for leaf, arrays in enumerate(zip(*pieces, strict=True)):
        name = f"shard-{number:05}-{leaf}.npy"
        with whole_file(place / name, "wb") as file:
            np.save(file, np.ascontiguousarray(np.concatenate(arrays)))
        files[name] = sha256_of(place / name)
    return files


def _map_shard(place: Path, shard: dict[str, Any], form: str, *, verify: bool) -> list[Array]:
    """Map a shard's arrays, having checked that their files are those that were written."""
    arrays, forms = [], flatten(literal_eval(form))
    for (name, sha256), leaf in zip(shard["files"].items(), forms, strict=True):
        try:
            if verify and sha256_of(place / name) != sha256:
                raise ValueError("its SHA-256 is another one")
            array = np.load(place / name, mmap_mode="r")
            if (found := f"{array.dtype} {array.shape[1:]}") != leaf or len(array) != shard["rows"]:
                raise ValueError(f"it holds {len(array):,} times {found}")
        except (FileNotFoundError, ValueError, EOFError) as error:
            raise UserError(
                f"{place / name} is missing or damaged: {error}. Copy all of {place} again; or"
                f" rename its {MANIFEST} to {UNFINISHED} and run the same write_shards again."
            ) from error
        # Asking an np.memmap for a row costs several times what asking an ndarray does.
        arrays.append(np.asarray(array))
    return arrays
