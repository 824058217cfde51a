"""Data sets for first steps, and the first examples of any data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from exactrun import UserError, datasets
from exactrun.datasets import load_docstrings, read_docstrings, take

SOURCE = '''
"""Module of numpy arrays: one two three four five six."""


class Outer:
    """A class for pd.DataFrame objects, np.array and KerasTensor, seven words."""

    def short(self):
        """Too short."""

    def inner(self):
        def local():
            """Return the local value of a thing that is nested deeply, twice."""
'''


@pytest.fixture
def two_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages pytest and pluggy in place of larger ones."""
    monkeypatch.setattr(datasets, "LIBRARIES", {"pluggy": "pluggy", "iniconfig": "iniconfig"})
    monkeypatch.setattr(datasets, "SHORTEST", 3)


def test_docstrings_are_read_at_any_depth_with_the_names_masked(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "module.py").write_text(SOURCE)
    (tmp_path / "tests" / "test_module.py").write_text(SOURCE)
    assert list(read_docstrings(tmp_path)) == [
        "module of [library] arrays one two three four five six",
        "a class for [library] dataframe objects [library] array and [library] tensor seven words",
        "return the local value of a thing that is nested deeply twice",
    ]


def test_each_text_has_one_library_and_comes_once(two_libraries: None, tmp_path: Path) -> None:
    found = load_docstrings(tmp_path)
    texts, labels = found[:]
    assert found.class_names == ("pluggy", "iniconfig")
    assert len(set(texts)) == len(texts) > 20
    assert labels.dtype == np.int32
    assert set(labels) == {0, 1}
    assert list(texts) == sorted(texts)


def test_the_second_time_nothing_is_parsed(
    two_libraries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_docstrings(tmp_path)
    monkeypatch.setattr(datasets, "_read_libraries", lambda installed: pytest.fail("parsed again"))
    assert load_docstrings(tmp_path).fingerprint == first.fingerprint


def test_a_damaged_cache_is_told_and_made_again(
    two_libraries: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = load_docstrings(tmp_path)
    (cache,) = tmp_path.iterdir()
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-9])
    assert load_docstrings(tmp_path).fingerprint == first.fingerprint
    assert f"{cache} is damaged" in capsys.readouterr().out
    assert cache.read_bytes() == whole


def test_a_cache_that_can_not_be_written_costs_a_line(
    two_libraries: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert len(load_docstrings(tmp_path / "file")) > 20
    assert "can't be written" in capsys.readouterr().out


def test_a_library_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets, "LIBRARIES", {"no-such": "no_such_module"})
    with pytest.raises(UserError, match="python -m pip install no-such"):
        load_docstrings(tmp_path)


X, Y = np.arange(40.0).reshape(20, 2), np.arange(20)


@pytest.mark.parametrize(
    "part",
    [
        (X, Y),
        [X, Y],
        ([(x, y) for x, y in zip(X, Y, strict=True)],),
        (lambda epoch: tf.data.Dataset.from_tensor_slices((X + epoch, Y)).batch(3),),
        (tf.data.Dataset.from_tensor_slices((X, Y)).batch(3),),
        tf.data.Dataset.from_tensor_slices((X, Y)).batch(7),
    ],
    ids=["arrays", "list", "source", "function", "dataset-alone", "dataset"],
)
def test_a_few_examples_of_any_data_are_arrays(
    part: object, request: pytest.FixtureRequest
) -> None:
    ordered = request.node.callspec.id.startswith(("function", "dataset"))
    rows = [0, 1, 2, 3, 4] if ordered else [0, 5, 10, 14, 19]
    x, y = take(part, 5)
    np.testing.assert_array_equal(x, X[rows])
    np.testing.assert_array_equal(y, Y[rows])
    np.testing.assert_array_equal(take(part, 100)[1], Y)


def test_structures_keep_their_form() -> None:
    x, y, weight = take(({"a": X, "b": Y}, [Y, X], Y), 4)
    assert {name: array.shape for name, array in x.items()} == {"a": (4, 2), "b": (4,)}
    assert [len(part) for part in (*y, weight)] == [4, 4, 4]
