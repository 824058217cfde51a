"""Split examples into those to learn from, to validate on and to test on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .errors import UserError
from .examples import Examples, Subset
from .sources import as_examples
from .structures import Array, flatten


class Splits(NamedTuple):
    """The parts of a data set; one that was asked for with 0 is empty."""

    train: Examples
    validation: Examples
    test: Examples


def split(
    source: Any,
    *,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    stratify: Any = None,
    groups: Any = None,
) -> Splits:
    """Split examples by chance, as a pure function of the seed and the data.

    Parts that the source itself comes in (`Examples.parts`) are taken as they are, whatever is
    asked for, and not compared; those that it lacks are split from its `train`.

    Args:
        source: Anything that `exactrun.sources.as_examples` takes.
        validation: A fraction of the examples that are split, as a float between 0 and 1, which
            is one example at least; or how many, as an integer; 0 for none.
        test: The same.
        seed: Chooses the split, from 0 to 4,294,967,295.
        stratify: Spread every class alike over the parts: its labels, shape (examples,); or True
            for those of the examples, the second of each `(x, y)`.
        groups: What must not be torn apart, such as the patient of each image: integers or
            strings, shape (examples,). The parts' sizes are then approximate.

    Returns:
        The parts as views, the rows of each in their first order.

    Example:
        >>> arrays = np.zeros((100, 4)), np.arange(100)
        >>> parts = exactrun.split(arrays, validation=0.1, test=20)
        >>> [len(part) for part in parts]
        [70, 10, 20]
    """
    examples = as_examples(source)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed!r}: it must be an integer from 0 to {2**32 - 1}.")
    rows = {name: np.asarray(part, np.int64) for name, part in (examples.parts or {}).items()}
    whole = rows.get("train", np.arange(0) if rows else np.arange(len(examples)))
    asked = {"validation": validation, "test": test}
    wanted = {name: _count(name, asked[name], len(whole)) for name in asked if name not in rows}
    if sum(wanted.values()) >= len(whole):
        asked_for = f"validation={validation} and test={test}"
        hint = " Arrays are given as a tuple, (x, y)." if isinstance(source, list) else ""
        raise UserError(f"{asked_for} leave nothing to train on of {len(whole):,} examples.{hint}")
    # Of NumPy's generators, this one gives the same numbers in every version (NEP 19).
    chance = np.random.RandomState(seed)
    if isinstance(stratify, bool):
        stratify = _labels(examples) if stratify else None
    if stratify is not None and groups is not None:
        raise UserError("stratify and groups can't be had together. Leave out one of them.")
    if groups is not None:
        chosen = _by_group(_column("groups", groups, len(examples))[whole], wanted, chance)
    else:
        labels = np.zeros(len(examples), np.int64) if stratify is None else stratify
        chosen = _by_class(_column("stratify", labels, len(examples))[whole], wanted, chance)
    rows |= {name: whole[places] for name, places in chosen.items()}
    return Splits(*(Subset(examples, rows.get(name, np.arange(0))) for name in Splits._fields))


def _count(name: str, size: float, length: int) -> int:
    """Return how many examples a fraction or count means."""
    share, count = isinstance(size, float | np.floating), isinstance(size, int | np.integer)
    if isinstance(size, bool) or not ((share and 0 <= size < 1) or (count and size >= 0)):
        raise UserError(f"{name}={size!r}: it must be a fraction below 1, or an integer from 0.")
    return max(1, int(length * size + 0.5)) if share and size else int(size)


def _column(name: str, values: Any, length: int) -> Array:
    """Return the index of each example's distinct value, having checked that there is one each."""
    array = np.asarray(values)
    if array.shape != (length,) or array.dtype.kind not in "biuSUO":
        given = f"{name} has the type {array.dtype} and shape {array.shape}"
        raise UserError(f"{given}; give integers or strings, shape ({length},).")
    _, found = np.unique(array.astype(str) if array.dtype.hasobject else array, return_inverse=True)
    return np.asarray(found)


def _labels(examples: Examples) -> Any:
    """Return the second of each `(x, y)`, without reading the first where that can be helped."""
    if hasattr(examples, "labels"):
        return examples.labels
    pieces = np.array_split(np.arange(len(examples)), 1 + len(examples) // 256)
    pairs = [examples.columns] if hasattr(examples, "columns") else map(examples.read, pieces)
    found = []
    for pair in pairs:
        if not isinstance(pair, tuple) or len(flatten(pair[1:2])) != 1:
            raise UserError("stratify=True needs examples (x, y). Give labels, shape (examples,).")
        found.append(np.asarray(flatten(pair[1])[0]))
    return np.concatenate(found)


def _by_class(
    labels: Array, wanted: dict[str, int], chance: np.random.RandomState
) -> dict[str, Array]:
    """Choose rows so that each part has as much of every class as its size allows."""
    shuffled = chance.permutation(len(labels))
    # By class, and by chance within each.
    ends = np.cumsum(np.bincount(labels))[:-1]
    left = np.split(shuffled[np.argsort(labels[shuffled], kind="stable")], ends)
    chosen = {}
    for name, size in wanted.items():
        exact = np.array([len(rows) for rows in left]) * size / sum(map(len, left))
        counts = np.floor(exact).astype(np.int64)
        # Those that lost most by rounding down get one more each (largest remainders).
        counts[np.argsort(counts - exact, kind="stable")[: size - counts.sum()]] += 1
        pieces = [rows[:count] for rows, count in zip(left, counts, strict=True)]
        chosen[name] = np.sort(np.concatenate(pieces))
        left = [rows[count:] for rows, count in zip(left, counts, strict=True)]
    chosen["train"] = np.sort(np.concatenate(left))
    if len(lost := np.setdiff1d(labels, labels[chosen["train"]])):
        count = np.count_nonzero(labels == lost[0])
        raise UserError(f"None of the {count} examples of a class would be trained on. Give more.")
    return chosen


def _by_group(
    owners: Array, wanted: dict[str, int], chance: np.random.RandomState
) -> dict[str, Array]:
    """Choose rows, all of a group or none, so that the parts have about the sizes asked for."""
    sizes = np.bincount(owners)
    present = np.flatnonzero(sizes)
    goal = {"train": len(owners) - sum(wanted.values()), **wanted}
    goal = {name: count for name, count in goal.items() if count}
    if len(present) < len(goal):
        raise UserError(f"{len(present)} groups can't fill {len(goal)} parts: {', '.join(goal)}.")
    has = dict.fromkeys(goal, 0)
    chosen: dict[str, list[int]] = {name: [] for name in goal}
    for left, group in zip(range(len(present), 0, -1), chance.permutation(present), strict=True):
        empty = [name for name in goal if not has[name]]
        # Where it is the least full with half of it; the last groups fill the parts without any.
        name = min(
            empty if left <= len(empty) else goal,
            key=lambda name: (has[name] + sizes[group] / 2) / goal[name],
        )
        has[name] += int(sizes[group])
        chosen[name].append(group)
    return {name: np.flatnonzero(np.isin(owners, groups)) for name, groups in chosen.items()}
