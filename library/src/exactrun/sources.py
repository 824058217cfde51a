"""What data come in - arrays, structures of arrays, sequences - as examples by index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from pprint import pformat
from typing import Any

import numpy as np

from .console import say
from .errors import UserError
from .examples import BadExample, Examples
from .files import digest
from .structures import Array, flatten, map_leaves, walk

SAMPLED_EXAMPLES = 64
LISTED = 20


def as_examples(source: Any) -> Examples:
    """Show arrays, a structure of arrays or a sequence as examples, without copying them.

    Args:
        source: `Examples`; an array, shape (examples, ...), or a tuple or dict of such, nested at
            will, with lists too; or anything else with `__len__` and `__getitem__`, such as a list.
    """
    if isinstance(source, Examples):
        return source
    if isinstance(source, dict | tuple) or hasattr(source, "__array__"):
        return ArrayExamples(source)
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return IndexedExamples(source)
    raise UserError(
        f"A {type(source).__name__} has no examples by index. Give arrays, as (x, y), or a list;"
        " what can only be read in order, exactrun.write_shards turns into examples by index."
    )


class ArrayExamples(Examples):
    """Show the rows of arrays as examples.

    Args:
        structure: A nested structure of arrays or `Examples`, each of shape (examples, ...).
        class_names: The name of each class by its index.

    Attributes:
        columns: The structure of arrays.
    """

    def __init__(self, structure: Any, *, class_names: tuple[str, ...] | None = None) -> None:
        self.class_names = class_names
        self.columns = map_leaves(
            lambda leaf: leaf if isinstance(leaf, Examples) else np.asarray(leaf), structure
        )
        lengths = {}
        for path, leaf in walk(self.columns, "it"):
            array = np.empty(0) if isinstance(leaf, Examples) else leaf
            plain = not array.dtype.hasobject or all(isinstance(item, str) for item in array.flat)
            if not (plain and array.ndim):
                raise UserError(
                    f"{path} is one value or an array of Python objects. Give arrays of numbers or"
                    " strings, by np.asarray or np.stack; a sequence of examples as a list."
                )
            lengths[path] = len(leaf)
        if len(set(lengths.values())) != 1:
            found = ", ".join(f"{path}: {rows:,}" for path, rows in lengths.items()) or "no arrays"
            raise UserError(f"Arrays with a row for each example need one length. Found: {found}.")
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def read(self, rows: Array) -> Any:
        return map_leaves(lambda leaf: leaf[rows], self.columns)

    @cached_property
    def fingerprint(self) -> str:
        parts = [describe(self[:0]), str(len(self)), str(self.class_names)]
        for leaf in flatten(self.columns):
            if isinstance(leaf, Examples):
                parts.append(leaf.fingerprint)
            else:  # in pieces, as each is copied
                pieces = np.array_split(leaf, 1 + leaf.nbytes // (16 << 20))
                parts += [digest(_bytes(piece)) for piece in pieces]
        return digest("\n".join(parts).encode())


class IndexedExamples(Examples):
    """Show anything with `__len__` and `__getitem__` as examples.

    The fingerprint is the source's own, if it has an attribute of that name; otherwise that of its
    length and up to 64 evenly spaced examples, the first and last among them.

    An example is an array, a scalar or a nested structure of such; all need the form of the first.
    """

    def __init__(self, source: Any, form: str | None = None) -> None:
        self.class_names = getattr(source, "class_names", None)
        self._source, self._form = source, form

    def __len__(self) -> int:
        return len(self._source)

    def read(self, rows: Array) -> Any:
        if not len(rows):
            return map_leaves(lambda array: array[:0], self.read(np.array([0])))
        examples = [self._source[row] for row in rows.tolist()]
        self._form = self._form or describe(examples[0])
        for row, example in zip(rows, examples, strict=True):
            require_form(row, describe(example), self._form)
        return map_leaves(lambda *leaves: np.stack(leaves), *examples)

    @cached_property
    def fingerprint(self) -> str:
        own = getattr(self._source, "fingerprint", None)
        if isinstance(own, str):
            return own
        parts = [str(len(self))]
        for row in evenly(len(self), SAMPLED_EXAMPLES).tolist():
            try:
                example = self._source[row]
            except BadExample as error:
                example = str(error)
            arrays = map(np.asarray, flatten(example))
            parts += [describe(example), *(digest(_bytes(array)) for array in arrays)]
        return digest("\n".join(parts).encode())


def describe(example: Any, *, skip: int = 0) -> str:
    """Return the form of an example, such as `({'a': 'uint8 (4, 4)'}, 'int64 ()')`.

    The keys of dicts are in order; the first `skip` axes of each array are left out.
    """

    def form(leaf: Any) -> str:
        array = np.asarray(leaf)
        # Strings are of one type, however long.
        name = "str" if array.dtype.kind == "U" else array.dtype.name
        return f"{name} {array.shape[skip:]}"

    return pformat(map_leaves(form, example), width=1 << 30)


def require_form(row: int, found: str, form: str) -> None:
    """Refuse a row whose form, as `describe` tells it, isn't that of the others."""
    if found != form:
        raise UserError(
            f"Row {row} is {found}, but others are {form}. All need one structure, and one type and"
            " shape of each array: resize or pad it, and set its type by np.asarray(value, dtype)."
        )


def evenly(length: int, most: int) -> Array:
    """Return up to so many evenly spaced rows, the first and last among them, int64."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).astype(np.int64))


def leave_out(bad: Sequence[object], what: str, place: Path, *, ignore_errors: bool) -> None:
    """Refuse what is invalid, naming all of it together, or print that it is left out."""
    several = len(bad) > 1
    said = f"{len(bad):,} invalid {what}{'s' if several else ''} in {place}"
    lines = "".join(f"\n  {each}" for each in bad[:LISTED])
    if len(bad) > LISTED:
        lines += f"\n  … and {len(bad) - LISTED:,} more"
    if bad and ignore_errors:
        say(f"{said} {'are' if several else 'is'} left out:{lines}")
    elif bad:
        them = "them" if several else "it"
        raise UserError(f"{said}:{lines}\nMend {them}, or leave {them} out: ignore_errors=True")


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of classes in order: as numbers if all are, else by the alphabet."""
    distinct = sorted(set(names))
    numbers = all(name.isascii() and name.isdigit() for name in distinct)
    return tuple(sorted(distinct, key=int) if numbers else distinct)


def _bytes(array: Array) -> bytes:
    """Return an array's content; that of Python strings, whose bytes are addresses, as JSON."""
    return json.dumps(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
