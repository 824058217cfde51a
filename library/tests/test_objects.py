"""Objects besides models: they come back as they were, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from machines import on_colab

from exactrun import UserError, mounts
from exactrun.objects import load_object, save_object


def test_objects_come_back_as_they_were(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    table = pd.DataFrame({"text": ["a,b", "NA", "ü\n"], "x": [0.1, float("nan"), 1e-300]})
    numbers = pd.DataFrame({"x": np.random.default_rng(0).random(1000)})
    labels = ["cat", "dog"]
    files = [
        save_object(value, tmp_path / name)
        for name, value in {
            "array": array,
            "arrays": {"mean": array, "count": np.array(3)},
            "table": table,
            "numbers": numbers,
            "labels": labels,
            "vocabulary": {"the": 2, "of": 3},
        }.items()
    ]
    suffixes = [".npz", ".npz", ".csv", ".csv", ".json", ".json"]
    assert [file.suffix for file in files] == suffixes
    found = [load_object(file) for file in files]
    np.testing.assert_array_equal(found[0], array, strict=True)
    np.testing.assert_array_equal(found[1]["mean"], array, strict=True)
    pd.testing.assert_frame_equal(found[2], table)
    pd.testing.assert_frame_equal(found[3], numbers, check_exact=True)
    assert found[4:] == [labels, {"the": 2, "of": 3}]


def test_a_keras_model_is_an_object_too(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    file = save_object(model, tmp_path / "head")
    x = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(load_object(file)(x), model(x))


def test_a_tokeniser_is_an_object_too(tmp_path: Path) -> None:
    tokeniser = keras.layers.TextVectorization(output_sequence_length=4)
    tokeniser.adapt(["the cat", "the dog"])
    words = tokeniser(["the dog"])
    file = save_object(tokeniser, tmp_path / "tokeniser")
    np.testing.assert_array_equal(load_object(file)(["the dog"]), words)


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1: "one"}, {"a": {1, 2}}, object(), np.array([object()])],
    ids=["tuple", "numbers as keys", "set", "object", "array of objects"],
)
def test_what_would_come_back_different_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match="no safe format"):
        save_object(value, tmp_path / "odd")


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"code": ["001", "002"]}),
        pd.DataFrame({"size": [1, 2]}, index=["cat", "dog"]),
        pd.DataFrame([[1, 2]]),
        pd.DataFrame(),
    ],
    ids=["digits that are text", "index", "numbers as names", "empty"],
)
def test_a_table_that_a_csv_can_not_hold_is_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="would come back different from a CSV file"):
        save_object(table, tmp_path / "odd")


def test_a_suffix_has_to_be_that_of_the_format(tmp_path: Path) -> None:
    assert save_object(["cat"], tmp_path / "v1.2").name == "v1.2.json"
    assert save_object(["cat"], tmp_path / "labels.json").name == "labels.json"
    with pytest.raises(UserError, match=r"labels\.csv would hold a list.*labels\.json"):
        save_object(["cat"], tmp_path / "labels.csv")


def test_arrays_that_a_file_can_not_hold_are_refused(tmp_path: Path) -> None:
    import ml_dtypes

    for value in (np.zeros(3, ml_dtypes.bfloat16), {"file": np.zeros(3)}):
        with pytest.raises(UserError, match="no safe format"):
            save_object(value, tmp_path / "odd")
    table = np.zeros(2, [("x", float), ("n", int)])
    found = load_object(save_object(table, tmp_path / "structured"))
    np.testing.assert_array_equal(found, table, strict=True)


def test_nothing_is_saved_where_drive_belongs_and_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_colab(tmp_path, monkeypatch, EXACTRUN_SIMULATED_PAGE="refuses"):
        directory = mounts.drive_mountpoint() / "My Drive/birds"
        with pytest.raises(UserError, match="was not saved in .*Drive is not mounted"):
            save_object(["cat"], directory / "labels")
        assert not mounts.drive_mountpoint().exists()
        monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "answers")
        save_object(["cat"], directory / "labels")
        assert (tmp_path / "drive/birds/labels.json").exists()


def test_a_damaged_object_is_refused(tmp_path: Path) -> None:
    file = save_object(["cat", "dog"], tmp_path / "labels")
    file.write_text('["cat"]')
    with pytest.raises(UserError, match=r"labels\.json is damaged"):
        load_object(file)


def test_a_pickle_has_to_be_allowed_both_ways(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can run any code"):
        save_object({1, 2}, tmp_path / "odd")
    file = save_object({1, 2}, tmp_path / "odd", allow_pickle=True)
    with pytest.raises(UserError, match="is a pickle"):
        load_object(file)
    assert load_object(file, allow_pickle=True) == {1, 2}
