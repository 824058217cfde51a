"""One device, two devices of a machine and two workers learn the same."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from workbench import PLAIN, SMALL, Bench

pytestmark = pytest.mark.slow

MEASURED = ("loss", "accuracy", "val_loss", "val_accuracy")


def measured(result: dict[str, Any]) -> list[float]:
    return [record[name] for record in result["history"] for name in MEASURED]


@pytest.fixture(scope="module")
def one(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return bench.train(tmp_path_factory.mktemp("one"), **PLAIN)


def test_two_devices_learn_what_one_does(bench: Bench, one: Any, tmp_path: Path) -> None:
    two = bench.train(tmp_path, devices=2, **PLAIN)
    assert measured(two) == pytest.approx(measured(one), rel=1e-5)


def test_two_workers_learn_what_one_does(bench: Bench, one: Any, tmp_path: Path) -> None:
    chief, other = bench.train_workers(tmp_path, **PLAIN)
    assert measured(chief) == pytest.approx(measured(one), rel=1e-5)
    assert other["weights"] == chief["weights"]
    assert other["history"] == chief["history"]


def test_the_gradient_of_the_whole_batch_is_clipped(bench: Bench, one: Any, tmp_path: Path) -> None:
    clipped = PLAIN | {"clip_norm": 0.05, "learning_rate": 0.01}
    alone = bench.train(tmp_path / "alone", **clipped)
    two = bench.train(tmp_path / "two", devices=2, **clipped)
    assert measured(alone) != pytest.approx(measured(one), rel=1e-3)
    assert measured(two) == pytest.approx(measured(alone), rel=1e-5)


def test_a_regularizer_counts_once_however_many_devices(
    bench: Bench, one: Any, tmp_path: Path
) -> None:
    alone = bench.train(tmp_path / "alone", regularizer=0.1, **PLAIN)
    two = bench.train(tmp_path / "two", devices=2, regularizer=0.1, **PLAIN)
    assert measured(alone) != pytest.approx(measured(one), rel=1e-4)
    assert measured(two) == pytest.approx(measured(alone), rel=1e-5)


def test_a_batch_that_is_normalized_as_a_whole_is_so_on_two_devices(
    bench: Bench, tmp_path: Path
) -> None:
    settings = PLAIN | {"normalization": "synchronized"}
    alone = bench.train(tmp_path / "alone", **settings)
    two = bench.train(tmp_path / "two", devices=2, **settings)
    assert measured(two) == pytest.approx(measured(alone), rel=1e-5)


def test_devices_that_normalize_apart_go_on_to_the_same_weights(
    bench: Bench, tmp_path: Path
) -> None:
    settings = PLAIN | {"normalization": "apart"}
    unbroken = bench.train(tmp_path / "unbroken", devices=2, **settings)
    bench.train(tmp_path / "broken", devices=2, **settings, stop_after_steps=6)
    resumed = bench.train(tmp_path / "broken", devices=2, **settings)
    assert resumed["resumed_from"] == 6
    assert resumed["weights"] == unbroken["weights"]


def test_workers_that_normalize_apart_agree_when_to_stop(bench: Bench, tmp_path: Path) -> None:
    long = PLAIN | {"epochs": 40, "learning_rate": 0.02, "early_stopping": 1}
    chief, other = bench.train_workers(tmp_path, normalization="apart", **long)
    assert other["history"] == chief["history"]
    assert len(chief["history"]) < 40


def test_devices_drop_units_of_their_own(bench: Bench, tmp_path: Path) -> None:
    result = bench.train(tmp_path, devices=2, **SMALL)
    assert result["seeds"]
    for first, second in result["seeds"]:
        assert first != second


def test_a_run_goes_on_with_another_number_of_devices(bench: Bench, tmp_path: Path) -> None:
    bench.train(tmp_path, **PLAIN, stop_after_steps=6)
    rest = bench.train(tmp_path, devices=2, **PLAIN)
    assert rest["resumed_from"] == 6
    assert len(rest["history"]) == 3


def test_workers_that_share_no_folder_are_told_before_they_diverge(
    bench: Bench, tmp_path: Path
) -> None:
    settings = PLAIN | {"stop_after_steps": 6, "place_of_other": tmp_path / "other"}
    for process in bench.start_workers(tmp_path / "chief", **settings):
        bench.result(process)
    chief, other = bench.start_workers(tmp_path / "chief", **settings)
    assert "Worker 0 would go on from step 6" in chief.communicate(timeout=120)[1]
    assert "Worker 1 would go on from step 0" in other.communicate(timeout=120)[1]


def test_workers_of_which_one_was_killed_go_on_to_the_same_weights(
    bench: Bench, tmp_path: Path
) -> None:
    settings = SMALL | {"epochs": 12}
    unbroken = bench.train_workers(tmp_path / "unbroken", **settings)
    chief, other = bench.start_workers(tmp_path / "broken", **settings)
    checkpoints = tmp_path / "broken/kept/runs/killed/checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("step-0000001?.json")):  # in the middle of its 48 steps
        assert time.monotonic() < deadline
        time.sleep(0.02)
    other.kill()
    _, complaint = chief.communicate(timeout=120)
    assert chief.returncode == 1
    assert "Another worker went away" in complaint
    other.communicate()
    resumed = bench.train_workers(tmp_path / "broken", **settings)
    assert 0 < resumed[0]["resumed_from"] < 48
    assert [r["weights"] for r in resumed] == [r["weights"] for r in unbroken]
    assert resumed[0]["history"] == unbroken[0]["history"]


def test_the_command_line_starts_workers(bench: Bench, tmp_path: Path) -> None:
    flags = ["--workers", "2", "--epochs", "1", "--persistent", str(tmp_path), "--dropout", "0"]
    package = next((bench.project.path / "src").iterdir()).name
    command = [bench.python, "-m", package, "train", *flags]
    env = bench.env() | {"PYTHONPATH": "src"}
    done = subprocess.run(command, cwd=bench.project.path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "runs/first/run.json").read_text(encoding="utf-8"))
    assert record["devices"] == "2 devices of 2 workers"
    assert record["metrics"]["test_accuracy"] > 0.7
    assert done.stdout.count("epoch 1/1") == 1
