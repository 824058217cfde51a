"""Split examples into those to learn from, to validate on and to test on."""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from .errors import UserError
from .examples import Examples, Subset
from .sources import as_examples


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
    asked for; those that it lacks are split from its `train`.

    Args:
        source: Anything that `exactrun.sources.as_examples` takes.
        validation: A fraction of the examples that are split, as a float between 0 and 1; or how
            many, as an integer; 0 for none.
        test: The same.
        seed: Chooses the split, from 0 to 4,294,967,295.
        stratify: Spread every class alike over the parts: its labels, shape (examples,); or True
            for those of the examples, the second of each `(x, y)`.
        groups: What must not be torn apart, such as the patient of each image: integers or
            strings, shape (examples,). The parts' sizes are then approximate.

    Returns:
        The parts as views, the rows of each in their first order.

    Raises:
        UserError: If that split can't be made.
    """
    examples = as_examples(source)
    if stratify is False:
        stratify = None
    if stratify is not None and groups is not None:
        raise UserError(
            "stratify and groups can't be had together: keeping groups whole decides where their"
            " classes go. Leave out one of them."
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed!r}: it must be an integer from 0 to {2**32 - 1}.")
    rows = {name: np.asarray(part, np.int64) for name, part in (examples.parts or {}).items()}
    if examples.parts is not None and "train" not in rows:
        raise UserError(
            f"The data come in parts of their own ({', '.join(rows)}), and none is called train."
            " Use them as they are: Subset(examples, examples.parts['test'])."
        )
    whole = rows.get("train", np.arange(len(examples)))
    wanted = {
        name: _count(name, size, len(whole))
        for name, size in (("validation", validation), ("test", test))
        if name not in rows
    }
    wanted = {name: count for name, count in wanted.items() if count}
    if sum(wanted.values()) >= len(whole):
        asked = " + ".join(f"{count:,} for {name}" for name, count in wanted.items()) or "nothing"
        raise UserError(
            f"validation={validation} and test={test} leave nothing to train on: that is {asked}"
            f" of {len(whole):,} examples. Give smaller fractions or counts, or more examples."
        )
    # Of NumPy's generators, this one gives the same numbers in every version (NEP 19).
    chance = np.random.RandomState(seed)
    owners = None if groups is None else _column("groups", groups, len(examples))
    if owners is not None:
        _require_apart(owners, rows)
        chosen = _by_group(owners[whole], wanted, chance)
    else:
        labels = _labels(examples) if stratify is True else stratify
        if labels is None:
            labels = np.zeros(len(examples), np.int64)
        chosen = _by_class(_column("stratify", labels, len(examples))[whole], wanted, chance)
    rows |= {name: whole[places] for name, places in chosen.items()}
    empty = np.arange(0)
    return Splits(*(Subset(examples, rows.get(name, empty)) for name in Splits._fields))


def _count(name: str, size: float, length: int) -> int:
    """Return how many examples a fraction or count means."""
    count = isinstance(size, int | np.integer) and not isinstance(size, bool)
    share = isinstance(size, float | np.floating)
    if not (count and size >= 0) and not (share and 0 <= size < 1):
        raise UserError(
            f"{name}={size!r}: it must be a fraction from 0 up to, not including, 1, or how many"
            " examples, as an integer from 0."
        )
    found = int(size) if count else int(length * size + 0.5)
    if size and not found:
        raise UserError(
            f"{name}={size} of {length} examples is none: the part would be empty. Give a larger"
            f" fraction or {name}=1, or {name}=0 if you want no such part."
        )
    return found


def _column(name: str, values: Any, length: int) -> np.ndarray:
    """Return the index of each example's distinct value, having checked that there is one each."""
    array = np.asarray(values)
    if array.shape != (length,) or array.dtype.kind not in "biuSUO":
        raise UserError(
            f"{name} has the type {array.dtype} and shape {array.shape}; it must hold an integer or"
            f" string for each of the {length:,} examples, shape ({length},)."
        )
    _, found = np.unique(array.astype(str) if array.dtype.hasobject else array, return_inverse=True)
    return np.asarray(found)


def _labels(examples: Examples) -> Any:
    """Return the second of each `(x, y)`, without reading the first where that can be helped."""
    labels = getattr(examples, "labels", None)
    if labels is not None:
        return labels
    if isinstance(examples, Subset):
        return np.asarray(_labels(examples.base))[examples.rows]
    steps = range(0, len(examples), 256)
    columns = getattr(examples, "columns", None)
    found = [examples[first : first + 256] for first in steps] if columns is None else [columns]
    for each in found:
        if not isinstance(each, tuple) or len(each) < 2 or isinstance(each[1], dict | list | tuple):
            raise UserError(
                "stratify=True needs examples (x, y) whose y is one integer or string. Give the"
                " classes as an array instead: stratify=labels, shape (examples,)."
            )
    return np.concatenate([np.asarray(each[1]) for each in found])


def _by_class(
    labels: np.ndarray, wanted: dict[str, int], chance: np.random.RandomState
) -> dict[str, np.ndarray]:
    """Choose rows so that each part has as much of every class as its size allows."""
    shuffled = chance.permutation(len(labels))
    # By class, and by chance within each.
    left = np.split(
        shuffled[np.argsort(labels[shuffled], kind="stable")], np.cumsum(np.bincount(labels))[:-1]
    )
    chosen = {}
    for name, size in wanted.items():
        exact = np.array([len(rows) for rows in left]) * size / sum(map(len, left))
        counts = np.floor(exact).astype(np.int64)
        # Those that lost most by rounding down get one more each (largest remainders).
        counts[np.argsort(counts - exact, kind="stable")[: size - counts.sum()]] += 1
        pieces = [rows[:count] for rows, count in zip(left, counts, strict=True)]
        chosen[name] = np.sort(np.concatenate(pieces))
        left = [rows[count:] for rows, count in zip(left, counts, strict=True)]
    train = np.sort(np.concatenate(left))
    if len(lost := np.setdiff1d(labels, labels[train])):
        like = np.flatnonzero(labels == lost[0])
        raise UserError(
            f"None of the {len(like)} examples of a class (that of example {like[0]}) would be"
            " trained on. Give more examples of it, leave it out, or ask for smaller parts."
        )
    return chosen | {"train": train}


def _by_group(
    owners: np.ndarray, wanted: dict[str, int], chance: np.random.RandomState
) -> dict[str, np.ndarray]:
    """Choose rows, all of a group or none, so that the parts have about the sizes asked for."""
    sizes = np.bincount(owners)
    present = np.flatnonzero(sizes)
    goal = {"train": len(owners) - sum(wanted.values()), **wanted}
    if len(present) < len(goal):
        raise UserError(
            f"{len(present)} groups can't fill {len(goal)} parts ({', '.join(goal)}), as no group"
            " may lie in two. Give groups of fewer examples, or validation=0 or test=0."
        )
    has = dict.fromkeys(goal, 0)
    part_of: dict[str, list[int]] = {}
    for left, group in zip(range(len(present), 0, -1), chance.permutation(present), strict=True):
        empty = [name for name, count in has.items() if not count]
        # Each goes where the part is the least full with half of it; the last ones fill what is
        # empty.
        name = min(
            empty if left <= len(empty) else goal,
            key=lambda name: (has[name] + sizes[group] / 2) / goal[name],
        )
        has[name] += int(sizes[group])
        part_of.setdefault(name, []).append(group)
    return {name: np.flatnonzero(np.isin(owners, part_of[name])) for name in goal}


def _require_apart(owners: np.ndarray, rows: dict[str, np.ndarray]) -> None:
    """Refuse parts of the source's own that tear a group apart."""
    for name, other in combinations(rows, 2):
        if len(shared := np.intersect1d(owners[rows[name]], owners[rows[other]])):
            row = rows[name][np.isin(owners[rows[name]], shared)][0]
            raise UserError(
                f"The data's own parts {name} and {other} share the group of row {row}. Leave out"
                " groups, or put the files of all parts together, so that they are split here."
            )
