"""Data that can't be trained on: what is refused, and how it is said."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_data

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.model import build_model
from {{ cookiecutter.__package }}.training import checkpoints, checks
from {{ cookiecutter.__package }}.training.folders import RunFolders

CONFIG = Config(batch_size=16)
DATA = small_data()


def nan_in_row(row: int) -> np.ndarray:
    x = DATA.x_train.astype(np.float32)
    x[row].flat[-1] = np.nan
    return x


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"y_train": DATA.y_train[:-1]}, "x_train holds 64 examples, y_train 63 labels"),
        ({"x_test": DATA.x_test[:0], "y_test": DATA.y_test[:0]}, "x_test is empty"),
        ({"y_test": DATA.y_test + 1}, r"y_test\[3\] is 4; with 4 class names"),
        ({"y_test": DATA.y_test - 1}, r"y_test\[0\] is -1"),
        ({"y_train": DATA.y_train.astype(float)}, "y_train has the type float64"),
        ({"y_train": DATA.y_train * 0}, "y_train holds one class only, 'a'"),
        ({"x_train": nan_in_row(7)}, r"x_train\[7\] holds a value that is not finite"),
        ({"x_test": DATA.x_test[:, :-1]}, "x_test holds examples of shape"),
    ],
)
def test_a_fault_is_named_with_its_place(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        checks.check_data(replace(DATA, **changed), CONFIG)


def test_sound_data_pass() -> None:
    checks.check_data(DATA, CONFIG)
    checks.check_data(DATA, CONFIG, replicas=4)
    checks.check_data(replace(DATA, x_train=DATA.x_train.astype(np.float32)), CONFIG)


def test_all_faults_are_named_at_once() -> None:
    wrong = replace(DATA, x_train=nan_in_row(0), y_test=DATA.y_test + 9)
    with pytest.raises(UserError, match=r"(?s)x_train\[0\].*y_test\[0\]"):
        checks.check_data(wrong, CONFIG)


@pytest.mark.parametrize(
    ("size", "replicas", "said"),
    [(65, 1, "batch_size=65 is more than the 64"), (16, 3, "a multiple of 3, such as 15")],
)
def test_a_batch_has_to_fit_the_data_and_the_devices(size: int, replicas: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        checks.check_data(DATA, Config(batch_size=size), replicas=replicas)


@pytest.mark.parametrize(("full", "said"), [("scratch", "writing"), ("kept", "keeping")])
def test_a_disk_without_room_for_the_checkpoints_is_refused(
    full: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = RunFolders("test", scratch=tmp_path / "scratch", persistent=tmp_path / "kept")
    variables = build_model(DATA, CONFIG).variables
    state = sum(variable.numpy().nbytes for variable in variables)
    usage, needed = shutil.disk_usage(tmp_path), 2 * state * (checkpoints.KEPT + 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    checks.check_disk(folders, variables)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage._replace(free=needed - (full in path.parts))
    )
    with pytest.raises(UserError, match=f"but {said} checkpoints of this model"):
        checks.check_disk(folders, variables)
