"""What data come in - arrays, structures of arrays, sequences - as examples by index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .errors import UserError
from .examples import BadExample, Examples
from .files import digest
from .structures import flatten, map_leaves, walk

MOST_BYTES = 1 << 30
"""Up to here, arrays are hashed whole, which takes about a second."""

SAMPLED_ROWS = 4096
"""Rows that stand for each array of larger ones."""

SAMPLED_EXAMPLES = 64
"""Examples that stand for a sequence; each may cost the reading of a file."""

LISTED = 20
"""Bad examples that a message names; it counts the others."""


def as_examples(source: Any) -> Examples:
    """Show arrays, a structure of arrays or a sequence as examples, without copying them.

    Args:
        source: `Examples`; or an array, shape (examples, ...); or a tuple or dict of such arrays,
            nested at will; or anything else with `__len__` and `__getitem__`, such as a list of
            examples. So a list is a sequence, but within a tuple or dict a structure, as in
            `([images, tables], labels)`. pandas' tables, tensors and the like are read into
            memory; a memory-mapped array isn't.

    Raises:
        UserError: If it is none of these, or its arrays don't belong together.
    """
    if isinstance(source, Examples):
        return source
    if isinstance(source, dict | tuple) or hasattr(source, "__array__"):
        return ArrayExamples(source)
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return IndexedExamples(source)
    raise UserError(
        f"Examples can't be read by index from a {type(source).__name__}. Give arrays, as (x, y),"
        " or a sequence of examples; what can only be gone through in order, exactrun.write_shards"
        " turns into such."
    )


class ArrayExamples(Examples):
    """Show the rows of arrays as examples.

    The fingerprint is the SHA-256 of structure, types, shapes, class names and values. Beyond 1 GiB
    in all, 4,096 evenly spaced rows of each array stand for its values: others may change unseen.

    Attributes:
        columns: The structure of arrays.

    Args:
        structure: An array or a nested structure of arrays, each of shape (examples, ...).
        class_names: The name of each class by its index.

    Raises:
        UserError: If the arrays differ in length, or hold Python objects other than strings.
    """

    def __init__(self, structure: Any, *, class_names: tuple[str, ...] | None = None) -> None:
        self.class_names = class_names
        self.columns = map_leaves(
            lambda leaf: leaf if isinstance(leaf, Examples) else np.asarray(leaf), structure
        )
        lengths = {}
        for path, leaf in walk(self.columns, "it"):
            if isinstance(leaf, np.ndarray) and not leaf.ndim:
                raise UserError(
                    f"{path} is {leaf!r}, not an array with a row for each example. Turn lists into"
                    " arrays by np.asarray; give a sequence of examples as a list, not a tuple."
                )
            if (
                isinstance(leaf, np.ndarray)
                and leaf.dtype.hasobject
                and not all(isinstance(item, str) for item in leaf.flat)
            ):
                raise UserError(
                    f"{path} is an array of Python objects. Give numbers or strings of one type and"
                    " shape: np.stack(list) or array.astype(np.float32)."
                )
            lengths[path] = len(leaf)
        if len(set(lengths.values())) != 1:
            found = ", ".join(f"{path}: {length:,}" for path, length in lengths.items())
            raise UserError(
                "The arrays of a data set need one length, with a row for each example. Found:"
                f" {found or 'no arrays'}."
            )
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def read(self, rows: np.ndarray) -> Any:
        return map_leaves(lambda leaf: leaf[rows], self.columns)

    @cached_property
    def fingerprint(self) -> str:
        leaves = flatten(self.columns)
        whole = sum(getattr(leaf, "nbytes", 0) for leaf in leaves) <= MOST_BYTES
        arrays = map_leaves(
            lambda leaf: np.empty(0) if isinstance(leaf, Examples) else leaf, self.columns
        )
        parts = [json.dumps([describe(arrays, skip=1), len(self), self.class_names])]
        for leaf in leaves:
            if isinstance(leaf, Examples):
                parts.append(leaf.fingerprint)
            else:
                rows = np.arange(len(leaf)) if whole else evenly(len(leaf), SAMPLED_ROWS)
                step = max(1, (16 << 20) * len(leaf) // max(1, leaf.nbytes))
                some = (leaf[rows[first : first + step]] for first in range(0, len(rows), step))
                parts.append(digest(*map(_bytes, some)))
        return digest("\n".join(parts).encode())


class IndexedExamples(Examples):
    """Show anything with `__len__` and `__getitem__` as examples.

    The fingerprint is the source's own, if it has an attribute of that name; otherwise that of its
    length, its first example and up to 64 evenly spaced ones.

    Args:
        source: The examples, each an array or scalar or a nested structure of such; all of one
            structure, and each array of one type and shape, but for the length of strings.
    """

    def __init__(self, source: Any) -> None:
        self.class_names = getattr(source, "class_names", None)
        self.parts = getattr(source, "parts", None)
        self._source = source
        self._like: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return len(self._source)

    def read(self, rows: np.ndarray) -> Any:
        """Read and stack examples.

        Raises:
            UserError: If one has another structure, type or shape than the first that was read.
        """
        if not len(rows):
            return map_leaves(lambda array: array[:0], self.read(np.array([0])))
        examples = [self._source[row] for row in rows.tolist()]
        if self._like is None:
            self._like = (int(rows[0]), describe(map_leaves(np.asarray, examples[0])))
        return stack(examples, rows.tolist(), self._like)

    @cached_property
    def fingerprint(self) -> str:
        own = getattr(self._source, "fingerprint", None)
        rows = evenly(len(self), SAMPLED_EXAMPLES).tolist()
        sample = map(self._source.__getitem__, rows)
        return own if isinstance(own, str) else sampled_fingerprint(len(self), sample)


def describe(structure: Any, *, skip: int = 0) -> Any:
    """Return the form of a structure of arrays, as JSON can hold it: [type, shape] for each.

    Args:
        structure: An example of arrays.
        skip: First axes of the shapes to leave out: 1 if several examples are stacked.

    Raises:
        UserError: If a dict has keys that aren't strings.
    """
    if structure is None:
        return None
    if isinstance(structure, dict):
        if odd := [key for key in structure if not isinstance(key, str)]:
            raise UserError(f"The key {odd[0]!r} of the examples is no string. Name it by one.")
        return {"dict": {key: describe(part, skip=skip) for key, part in structure.items()}}
    if isinstance(structure, list | tuple):
        parts = [describe(part, skip=skip) for part in structure]
        if fields := getattr(structure, "_fields", None):
            return {"tuple": parts, "name": type(structure).__name__, "fields": list(fields)}
        return {"list" if isinstance(structure, list) else "tuple": parts}
    # Strings are of one type, however long.
    name = "str" if structure.dtype.kind == "U" else structure.dtype.name
    return [name, list(structure.shape[skip:])]


def stack(examples: Sequence[Any], rows: Sequence[int], like: tuple[int, Any]) -> Any:
    """Stack examples along a new first axis.

    Args:
        examples: At least one.
        rows: Their indices.
        like: The row of the example that all have to be like, and what `describe` says of it.

    Raises:
        UserError: If one is of another form, naming the row.
    """
    arrays = [map_leaves(np.asarray, example) for example in examples]
    for row, array in zip(rows, arrays, strict=True):
        require_form(f"Row {row}", describe(array), like)
    return map_leaves(lambda *leaves: np.stack(leaves), *arrays)


def require_form(name: str, form: Any, like: tuple[int, Any]) -> None:
    """Refuse examples, called by that name, that have another form than a row's; see `stack`."""
    if form != like[1]:
        raise UserError(
            f"{name} is {json.dumps(form)}, but row {like[0]} is {json.dumps(like[1])}. All"
            " examples need one structure, and each of its arrays one type and shape: resize or pad"
            " it, and set its type by np.asarray(value, dtype)."
        )


def evenly(length: int, most: int) -> np.ndarray:
    """Return up to so many evenly spaced rows, the first and last among them, int64."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).astype(np.int64))


def sampled_fingerprint(length: int | None, examples: Iterable[Any]) -> str:
    """Return the SHA-256 of a length, if known, and of some examples, in hexadecimal."""
    parts = [str(length).encode()]
    found = iter(examples)
    while True:
        try:
            example = map_leaves(np.asarray, next(found))
        except StopIteration:
            return digest(*parts)
        except BadExample as error:
            parts.append(str(error).encode())
        else:
            parts += [json.dumps(describe(example)).encode(), *map(_bytes, flatten(example))]


def listed(bad: Sequence[object]) -> str:
    """Name up to 20 bad examples, a line for each, and say how many more there are."""
    lines = [f"\n  {each}" for each in bad[:LISTED]]
    more = f"\n  … and {len(bad) - LISTED:,} more" if len(bad) > LISTED else ""
    return "".join(lines) + more


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of classes in order: as numbers if all are, else by the alphabet."""
    distinct = sorted(set(names))
    if all(name.isascii() and name.isdigit() for name in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def _bytes(array: np.ndarray) -> bytes:
    """Return an array's content; that of Python strings, whose bytes are addresses, as JSON."""
    return json.dumps(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
