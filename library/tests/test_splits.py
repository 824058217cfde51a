"""Sources and splits: every example lands in one part, by the seed alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exactrun.errors import UserError
from exactrun.examples import BadExample, Examples, Subset
from exactrun.shards import write_shards
from exactrun.sources import ArrayExamples, IndexedExamples, as_examples
from exactrun.splits import Splits, split


def rows(parts: Splits) -> list[list[int]]:
    assert all(isinstance(part, Subset) for part in parts)
    return [part.rows.tolist() for part in parts]  # type: ignore[attr-defined]


def test_every_example_lands_in_one_part(tmp_path: Path) -> None:
    x, y = np.arange(200).reshape(100, 2), np.arange(100) % 3
    parts = split((x, y), validation=0.2, test=13)
    assert [len(part) for part in parts] == [67, 20, 13]
    train, validation, test = rows(parts)
    assert sorted(train + validation + test) == list(range(100))
    assert train == sorted(train) != list(range(67))
    np.testing.assert_array_equal(parts.validation[:][0], x[validation])
    assert rows(split(write_shards((x, y), tmp_path), validation=0.2, test=13)) == rows(parts)
    assert rows(split((x, y), validation=0.2, test=13, stratify=False)) == rows(parts)
    assert rows(split((x, y), validation=0.2, test=13, seed=1)) != rows(parts)
    assert rows(split((x, y), validation=0, test=0.0)) == [list(range(100)), [], []]
    assert [len(part) for part in split(np.ones(3))] == [1, 1, 1]


def test_a_seed_means_the_same_split_for_ever() -> None:
    # RandomState(0).permutation(12) begins with 6, 11, 4 and 10, 2.
    assert rows(split(np.zeros(12), validation=3, test=2)) == [
        [0, 1, 3, 5, 7, 8, 9],
        [4, 6, 11],
        [2, 10],
    ]


@pytest.mark.parametrize("kind", ["true", "array", "strings", "sequence", "subset", "shards"])
def test_every_class_is_alike_in_every_part(kind: str, tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2, 3], [100, 50, 47, 3])
    x = np.arange(200.0)
    source: Any = (x, labels)
    stratify: Any = True
    if kind == "array":
        source, stratify = x, labels
    elif kind == "strings":
        stratify = [f"class {label}" for label in labels]
    elif kind == "sequence":
        source = list(zip(x, labels, strict=True))
    elif kind == "subset":
        source = Subset(as_examples((x[::-1], labels[::-1])), np.arange(200)[::-1])
    elif kind == "shards":
        source = write_shards((x, labels), tmp_path)
    train, validation, test = rows(split(source, validation=0.1, test=0.2, stratify=stratify))
    assert sorted(train + validation + test) == list(range(200))
    assert [len(train), len(validation), len(test)] == [140, 20, 40]
    for part, share in ((train, 0.7), (validation, 0.1), (test, 0.2)):
        counts = np.bincount(labels[part], minlength=4)
        assert np.abs(counts - share * np.array([100, 50, 47, 3])).max() < 1
    assert (np.bincount(labels[train], minlength=4) > 0).all()


def test_a_class_that_would_not_be_trained_on_is_refused() -> None:
    labels = np.array([4, 5, 5])
    with pytest.raises(UserError, match="None of the 1 examples of a class would be trained on"):
        split(labels, stratify=labels, validation=1, test=1)


@pytest.mark.parametrize("groups", [3, 4, 17, 100])
def test_no_group_is_torn_apart(groups: int) -> None:
    owners = np.random.RandomState(0).randint(0, groups, 500)
    owners[:groups] = np.arange(groups)
    names = np.array([f"patient {owner}" for owner in owners])
    parts = rows(split(np.arange(500), validation=0.2, test=0.1, groups=names))
    found = [set(owners[part]) for part in parts]
    assert sum(map(len, found)) == groups
    assert sorted(row for part in parts for row in part) == list(range(500))
    assert all(parts)
    if groups == 100:
        assert np.abs(np.array([len(part) for part in parts]) - [350, 100, 50]).max() < 15
    assert parts == rows(split(np.arange(500), validation=0.2, test=0.1, groups=list(names)))
    assert not len(split(np.arange(500), test=0, groups=names).test)


class Parted(Examples):
    """Thirty numbers that come in parts of their own."""

    fingerprint = "of numbers"

    def __init__(self, **parts: Any) -> None:
        self.parts = {name: np.asarray(part) for name, part in parts.items()}

    def __len__(self) -> int:
        return 30

    def read(self, rows: np.ndarray) -> Any:
        return rows, rows % 2


def test_parts_of_the_source_are_taken_as_they_are() -> None:
    whole = Parted(train=range(20), validation=range(20, 26), test=[29, 27])
    assert rows(split(whole, seed=5, validation=0.5)) == [
        list(range(20)),
        list(range(20, 26)),
        [29, 27],
    ]
    train, validation, test = rows(split(Parted(train=range(20), test=range(20, 30)), validation=4))
    assert sorted(train + validation) == list(range(20))
    assert len(validation) == 4
    assert test == list(range(20, 30))
    owners = np.arange(30) // 2
    train, validation, test = rows(
        split(Parted(train=range(20), test=range(20, 30)), validation=4, groups=owners)
    )
    assert not set(owners[train]) & set(owners[validation])
    labels = np.arange(30) // 20  # the second class is in one part only
    parted = Parted(train=range(20), test=range(20, 30))
    assert len(split(parted, validation=4, stratify=labels).validation) == 4
    with pytest.raises(UserError, match="leave nothing to train on of 0 examples"):
        split(Parted(test=range(30)))


@pytest.mark.parametrize(
    ("source", "options", "named"),
    [
        (
            np.ones(10),
            {"validation": 0.5, "test": 0.5},
            r"test=0\.5 leave nothing to train on of 10",
        ),
        (np.ones(10), {"validation": 8, "test": 2}, r"leave nothing to train on"),
        (np.ones(10), {"validation": -0.1}, r"validation=-0\.1: it must be a fraction"),
        (np.ones(10), {"test": 1.0}, r"test=1\.0: it must be a fraction"),
        (np.ones(10), {"test": -3}, r"test=-3: it must be"),
        (np.ones(10), {"test": True}, r"test=True: it must be"),
        (np.ones(10), {"test": "0.1"}, r"test='0\.1': it must be"),
        (np.ones(10), {"test": float("nan")}, r"test=nan: it must be"),
        (np.ones(2), {}, "leave nothing to train on"),
        ([np.ones(9), np.ones(9)], {}, r"of 2 examples\. Arrays are given as a tuple, \(x, y\)"),
        (np.ones(0), {"validation": 0, "test": 0}, "leave nothing to train on"),
        (np.ones(10), {"seed": -1}, r"seed=-1: it must be an integer"),
        (np.ones(10), {"seed": 0.5}, r"seed=0\.5: it must be an integer"),
        (np.ones(10), {"seed": True}, r"seed=True: it must be an integer"),
        ((np.ones(9),) * 2, {"stratify": True, "groups": np.ones(9, int)}, "can't be had together"),
        (np.ones(10), {"stratify": True}, r"needs examples \(x, y\)"),
        ((np.ones(10), np.ones(10)), {"stratify": True}, "stratify has the type float64"),
        ((np.ones(10), [np.ones(10)] * 2), {"stratify": True}, r"needs examples \(x, y\)"),
        (np.ones(10), {"stratify": np.ones(9, int)}, r"stratify has .* shape \(9,\).*\(10,\)"),
        (np.ones(10), {"groups": np.ones((10, 1), int)}, r"groups has .* shape \(10, 1\)"),
        (np.ones(10), {"groups": np.arange(10) % 2}, "2 groups can't fill 3 parts"),
        ((np.ones(3), np.ones(4)), {}, r"it\[0\]: 3, it\[1\]: 4"),
        ({}, {}, "no arrays"),
        (([1, 2], [0, 1]), {}, r"it\[0\]\[0\] is one value.*np\.asarray"),
        (np.array([[1], "a"], dtype=object), {}, "array of Python objects"),
        (iter([1]), {}, r"A list_iterator has no examples.*write_shards"),
    ],
)
def test_splits_that_cannot_be_made_are_refused(
    source: Any, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        split(source, **options)


def test_arrays_are_examples() -> None:
    structure = ({"a": np.arange(5), "b": [np.ones((5, 2)), np.array(list("vwxyz"))]}, np.arange(5))
    examples = as_examples(structure)
    assert isinstance(examples, ArrayExamples)
    assert as_examples(examples) is examples
    found = examples[[3, 1]]
    assert found[0]["a"].tolist() == [3, 1]
    assert found[0]["b"][1].tolist() == ["y", "w"]
    assert examples[-1][1] == 4


def test_fingerprints_of_arrays_tell_any_change() -> None:
    x, y = np.arange(60.0).reshape(30, 2), np.array([str(n) for n in range(30)], object)
    other = x.copy()
    other[13, 1] += 1
    variants: list[Any] = [
        (x, y),
        (other, y),
        ([x], y),
        {"a": x, "b": y},
        (x.astype(np.float32), y),
        (x.T.copy().reshape(30, 2), y),
        (x, np.where(np.arange(30) == 7, "no", y)),
        (x.reshape(30, 2, 1), y),
        (Subset(as_examples(x), np.arange(30)), y),
        (Subset(as_examples(x), np.arange(30)[::-1]), y),
    ]
    found = [as_examples(each).fingerprint for each in variants]
    assert len(set(found)) == len(variants)
    again = np.array([str(n) for n in range(30)], object)  # other Python objects
    assert as_examples((x.copy(), again)).fingerprint == found[0]
    assert ArrayExamples((x, y), class_names=("a",)).fingerprint != found[0]


def test_sequences_are_examples() -> None:
    texts = ["a", "longer", "b"]
    examples = as_examples([({"t": text}, n / 2) for n, text in enumerate(texts)])
    assert isinstance(examples, IndexedExamples)
    x, y = examples[:]
    assert x["t"].tolist() == texts
    assert y.tolist() == [0, 0.5, 1]
    assert examples[:0][1].shape == (0,)
    odd = as_examples([(np.ones(2), 0), (np.ones(2), 1), (np.ones(3), 0)])
    assert len(odd[:2][1]) == 2
    with pytest.raises(UserError, match=r"Row 2 is .*\(3,\).*others are .*\(2,\)"):
        odd[2]


class Many:
    """A sequence that counts what is read of it."""

    class_names = ("a", "b")

    def __init__(self, changed: int = -1, torn: int = -1) -> None:
        self.read, self.changed, self.torn = 0, changed, torn

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, row: int) -> int:
        self.read += 1
        if row == self.torn:
            raise BadExample(f"row {row}", "is torn")
        return -row if row == self.changed else row


def test_fingerprints_of_sequences_are_sampled_or_their_own() -> None:
    many = Many()
    examples = as_examples(many)
    found = examples.fingerprint
    assert examples.class_names == ("a", "b")
    assert many.read == 64
    assert found == as_examples(Many(changed=1)).fingerprint  # isn't in the sample
    others = [Many(changed=9_999), Many(torn=0), list(range(9_999))]
    assert found not in [as_examples(other).fingerprint for other in others]
    many.fingerprint = "its own"  # type: ignore[attr-defined]
    assert as_examples(many).fingerprint == "its own"


def test_memory_maps_are_not_read_into_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(30))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    examples = as_examples((mapped, np.arange(30)))
    assert isinstance(examples, ArrayExamples)
    assert np.shares_memory(examples.columns[0], mapped)
