"""Examples that need not lie in memory, seen as arrays: only the rows asked for are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

Rows: TypeAlias = int | slice | np.ndarray
"""What can be asked for: one row, a range, or an array of integers, in any order, repeated or not.
Negative ones count from the end."""


class Examples(Protocol):
    """Rows of one shape and type, which are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Rows) -> np.ndarray: ...


class Sharded:
    """Arrays that lie one after the other, seen as one.

    Args:
        arrays: At least one; all of one type, and of one shape but for the first axis.
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        # Asking an np.memmap for a row costs several times what asking an ndarray does.
        self._arrays = [array.view(np.ndarray) for array in arrays]
        self._starts = np.cumsum([0, *(len(array) for array in arrays)])

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._arrays[0].shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self._arrays[0].dtype

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: Rows) -> np.ndarray:
        """Return the rows as an array in memory.

        Raises:
            IndexError: If there is no such row.
        """
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        wanted = np.asarray(rows)
        if wanted.size and not np.issubdtype(wanted.dtype, np.integer):
            raise TypeError(f"rows are integers or a slice, not {wanted.dtype}")
        places = np.where(wanted < 0, wanted + len(self), wanted).astype(np.intp).reshape(-1)
        if places.size and (places.min() < 0 or places.max() >= len(self)):
            raise IndexError(f"there are {len(self)} rows")
        found = np.empty((len(places), *self.shape[1:]), self.dtype)
        # By shard, each of which is asked once, and in the order in which they lie on the disk.
        order = np.argsort(places)
        places = places[order]
        bounds = np.searchsorted(places, self._starts)
        for owner in np.flatnonzero(np.diff(bounds)):
            some = slice(bounds[owner], bounds[owner + 1])
            found[order[some]] = self._arrays[owner][places[some] - self._starts[owner]]
        return found.reshape(wanted.shape + self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all rows, for functions of NumPy's, which would ask for them one by one."""
        return np.asarray(self[:], dtype)


class Subset:
    """Some rows of other examples, in an order of their own, as a view.

    Args:
        base: The examples.
        rows: Which of them, shape (rows,).
    """

    def __init__(self, base: Examples, rows: np.ndarray) -> None:
        self._base, self._rows = base, rows

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._rows), *self._base.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self._base.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Rows) -> np.ndarray:
        """Return the rows as an array in memory."""
        return self._base[self._rows[rows]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all rows, for functions of NumPy's."""
        return np.asarray(self[:], dtype)
