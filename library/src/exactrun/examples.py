"""Examples by index: the form in which `fit` reads data that need not lie in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .files import digest
from .structures import map_leaves


class Examples(ABC):
    """Examples that are read when they are asked for.

    An example is what Keras takes for one: inputs `x`, `(x, y)` or `(x, y, sample_weight)`, each an
    array or a nested structure of arrays. A subclass has a length, `read` and a fingerprint.

    Attributes:
        class_names: The name of each class by its index, where there are classes.
        parts: Rows of the parts `train`, `validation` and `test` that the examples come in, where
            they come in such; see `exactrun.split`.
    """

    class_names: tuple[str, ...] | None = None
    parts: dict[str, np.ndarray] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, rows: np.ndarray) -> Any:
        """Return some examples as one structure of arrays, stacked along a new first axis.

        Args:
            rows: Their indices from 0 to `len(self) - 1`, int64, shape (rows,), in any order.
        """

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The SHA-256 of the content, or of what stands for it, in hexadecimal."""

    def __getitem__(self, rows: int | slice | np.ndarray) -> Any:
        """Return one example, or several as stacked arrays.

        Raises:
            IndexError: If there is no such example.
            TypeError: If the rows are neither integers nor a slice.
        """
        if isinstance(rows, slice):
            return self.read(np.arange(*rows.indices(len(self)), dtype=np.int64))
        wanted = np.asarray(rows)
        whole = wanted.dtype.kind in "iu" or not wanted.size
        if isinstance(rows, tuple) or wanted.ndim > 1 or not whole:  # NumPy's index of several axes
            raise TypeError(f"rows are integers, a list of them or a slice, not {rows!r}")
        wanted = wanted.astype(np.int64)
        found = np.where(wanted < 0, wanted + len(self), wanted).reshape(-1)
        if found.size and (found.min() < 0 or found.max() >= len(self)):
            raise IndexError(f"row {rows!r} is out of range: there are {len(self)} examples")
        examples = self.read(found)
        if wanted.ndim == 0:
            return map_leaves(lambda array: array[0], examples)
        return examples


class Subset(Examples):
    """Show some rows of other examples, in an order of their own, without copying them.

    Args:
        base: The examples.
        rows: Their indices, shape (rows,).
    """

    def __init__(self, base: Examples, rows: np.ndarray) -> None:
        self.base, self.rows = base, np.asarray(rows, np.int64)
        self.class_names = base.class_names

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: np.ndarray) -> Any:
        return self.base.read(self.rows[rows])

    @property
    def fingerprint(self) -> str:
        return digest(self.base.fingerprint.encode(), self.rows.tobytes())


def root_of(examples: Examples) -> Examples:
    """Return the examples that a subset, or a subset of a subset, shows."""
    while isinstance(examples, Subset):
        examples = examples.base
    return examples


class BadExample(ValueError):
    """Say that one example can't be read, while others can.

    Args:
        where: Its file, line or row.
        why: What is wrong with it.
    """

    def __init__(self, where: str, why: str) -> None:
        super().__init__(where, why)
        self.where, self.why = where, why

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"
