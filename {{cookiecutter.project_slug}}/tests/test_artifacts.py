"""Objects besides models: they come back as they were, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.__package }}.colab.artifacts import (
    load_artifact,
    save_artifact,
)
from {{ cookiecutter.__package }}.errors import UserError


def test_artifacts_come_back_as_they_were(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    table = pd.DataFrame({"text": ["a,b", "NA", "ü\n"], "x": [0.1, float("nan"), 1e-300]})
    numbers = pd.DataFrame({"x": np.random.default_rng(0).random(1000)})
    labels = ["cat", "dog"]
    files = [
        save_artifact(tmp_path, name, value)
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
    found = [load_artifact(file) for file in files]
    np.testing.assert_array_equal(found[0], array, strict=True)
    np.testing.assert_array_equal(found[1]["mean"], array, strict=True)
    pd.testing.assert_frame_equal(found[2], table)
    pd.testing.assert_frame_equal(found[3], numbers, check_exact=True)
    assert found[4:] == [labels, {"the": 2, "of": 3}]


def test_a_keras_model_is_an_artifact_too(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    file = save_artifact(tmp_path, "head", model)
    x = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(load_artifact(file)(x), model(x))


def test_a_tokeniser_is_an_artifact_too(tmp_path: Path) -> None:
    tokeniser = keras.layers.TextVectorization(output_sequence_length=4)
    tokeniser.adapt(["the cat", "the dog"])
    words = tokeniser(["the dog"])
    file = save_artifact(tmp_path, "tokeniser", tokeniser)
    np.testing.assert_array_equal(load_artifact(file)(["the dog"]), words)


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1: "one"}, {"a": {1, 2}}, object(), np.array([object()])],
    ids=["tuple", "numbers as keys", "set", "object", "array of objects"],
)
def test_what_would_come_back_different_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match="no safe format"):
        save_artifact(tmp_path, "odd", value)


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
        save_artifact(tmp_path, "odd", table)


def test_an_artifact_stays_in_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without folders"):
        save_artifact(tmp_path, "../labels", ["cat", "dog"])


def test_a_damaged_artifact_is_refused(tmp_path: Path) -> None:
    file = save_artifact(tmp_path, "labels", ["cat", "dog"])
    file.write_text('["cat"]')
    with pytest.raises(UserError, match=r"labels\.json is damaged"):
        load_artifact(file)


def test_a_pickle_has_to_be_allowed_both_ways(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can run any code"):
        save_artifact(tmp_path, "odd", {1, 2})
    file = save_artifact(tmp_path, "odd", {1, 2}, allow_pickle=True)
    with pytest.raises(UserError, match="is a pickle"):
        load_artifact(file)
    assert load_artifact(file, allow_pickle=True) == {1, 2}
