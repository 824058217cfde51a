"""Packed examples: any rows of them, split by the seed, as the training takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.training.examples import Sharded, Subset
from {{ cookiecutter.__package }}.training.packing import pack
from {{ cookiecutter.__package }}.training.packs import (
    load_pack,
    open_pack,
    split,
)
from {{ cookiecutter.__package }}.training.sources import Arrays
from {{ cookiecutter.__package }}.training.tables import Table


def arrays(examples: int = 40, *, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs, each of which is unlike all others, and their labels."""
    x = np.arange(examples * 12, dtype=np.float32).reshape(examples, 4, 3)
    return x, np.arange(examples) % classes


@pytest.mark.parametrize(
    "rows",
    [
        *(0, 39, -1, slice(None), slice(5, 25), slice(30, 2, -3), slice(9, 9)),
        *(np.array([3, 39, 3, 0, 17]), np.array([-1, 0]), np.array([], int), np.arange(40)[::-1]),
    ],
    ids=str,
)
def test_rows_are_those_of_an_ordinary_array(rows: Any) -> None:
    x, _ = arrays()
    sharded = Sharded([x[:13], x[13:14], x[14:14], x[14:]])
    np.testing.assert_array_equal(sharded[rows], x[rows])
    assert (len(sharded), sharded.shape, sharded.dtype) == (len(x), x.shape, x.dtype)


def test_functions_of_numpy_read_a_pack_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sharded = Sharded([np.arange(20) % 4, np.arange(20) % 4])
    read, asked = Sharded.__getitem__, []
    monkeypatch.setattr(
        Sharded, "__getitem__", lambda self, rows: asked.append(rows) or read(self, rows)
    )
    assert np.bincount(sharded).tolist() == [10, 10, 10, 10]
    assert np.unique(Subset(sharded, np.arange(3))).tolist() == [0, 1, 2]
    assert len(asked) == 2


@pytest.mark.parametrize("rows", [40, -41, np.array([0, 40])], ids=str)
def test_rows_that_are_not_there_are_an_error(rows: Any) -> None:
    with pytest.raises(IndexError, match="40 rows"):
        Sharded([arrays()[0]])[rows]


def test_a_split_takes_the_same_share_of_every_class_and_no_example_twice() -> None:
    labels = np.minimum(np.arange(200) % 4, 2)  # 50, 50 and 100
    parts = split(labels, seed=1)
    assert {name: np.bincount(labels[rows]).tolist() for name, rows in parts.items()} == {
        "train": [35, 35, 70],
        "validation": [5, 5, 10],
        "test": [10, 10, 20],
    }
    assert sorted(np.concatenate(list(parts.values()))) == list(range(200))


def test_a_split_is_a_function_of_the_seed() -> None:
    first, again, other = (split(np.arange(40) % 4, seed=seed)["test"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_too_few_examples_for_three_parts_are_refused() -> None:
    with pytest.raises(UserError, match=r"8 examples of 4 classes .* part validation would be"):
        split(np.arange(8) % 4, seed=0)


def test_a_pack_is_what_the_training_takes(tmp_path: Path) -> None:
    x, y = arrays()
    pack(Arrays(x, y), tmp_path / "numbers")
    rows = "".join(f"word{i} of,{i % 2}\n" for i in range(40))
    (tmp_path / "table.csv").write_text("text,label\n" + rows, encoding="utf-8")
    pack(Table(tmp_path / "table.csv", text="text", label="label"), tmp_path / "texts")
    own, other = {{ '"texts", "numbers"' if cookiecutter.task == "text" else '"numbers", "texts"' }}

    opened, data = open_pack(tmp_path / own), load_pack(Config(data=str(tmp_path / own)))
    assert data.class_names == opened.manifest.class_names
    assert data.sha256 == opened.manifest.sha256
    assert [len(part) for part in (data.x_train, data.x_validation, data.x_test)] == [28, 4, 8]
    labels = {row.tobytes(): label for row, label in zip(opened.x[:], opened.y[:], strict=True)}
    assert [labels[row.tobytes()] for row in data.x_test[:]] == data.y_test[:].tolist()
    with pytest.raises(UserError, match="this project"):
        load_pack(Config(data=str(tmp_path / other)))
