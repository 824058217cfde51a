"""Nested tuples, lists and dicts of arrays, as Keras takes them for inputs and targets.

TensorFlow has the same in `tf.nest`; this one needs no TensorFlow, which takes seconds to import.
Dicts are ordered by their keys, as there. None is an empty structure, not a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""An array of NumPy's, of any shape and type."""


def flatten(structure: Any) -> list[Any]:
    """Return the leaves of a structure in order."""
    return [leaf for _, leaf in walk(structure)]


def walk(structure: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf with its path, such as `[0]['image']`."""
    if structure is None:
        return
    if isinstance(structure, dict):
        for key in sorted(structure):
            yield from walk(structure[key], f"{path}[{key!r}]")
    elif isinstance(structure, list | tuple):
        for index, part in enumerate(structure):
            yield from walk(part, f"{path}[{index}]")
    else:
        yield path, structure


def rebuild(like: Any, leaves: Iterator[Any]) -> Any:
    """Return a structure of the same form with other leaves, taken in order."""
    if like is None:
        return None
    if isinstance(like, dict):
        found = {key: rebuild(like[key], leaves) for key in sorted(like)}
        return {key: found[key] for key in like}
    if isinstance(like, list | tuple):
        parts = [rebuild(part, leaves) for part in like]
        if hasattr(like, "_fields"):  # a named tuple
            return type(like)(*parts)
        return type(like)(parts)
    return next(leaves)


def map_leaves(function: Callable[..., Any], structure: Any, *others: Any) -> Any:
    """Return the structure with each leaf replaced by the function's result.

    Args:
        function: Takes a leaf of the structure and the leaves at its place in the others.
        structure: Gives the form.
        others: Structures of the same form.
    """
    leaves = zip(flatten(structure), *map(flatten, others), strict=True)
    return rebuild(structure, iter([function(*each) for each in leaves]))
