"""The crash test: it passes a training that resumes exactly, and finds one that does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from exactrun import UserError
from exactrun.__main__ import main
from exactrun.crash_test import crash_test

TRAINING = '''
"""Train a run in the form of `exactrun.Run`; FAULT is what is wrong with it."""

import argparse, json, os, random, time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--persistent-dir", type=Path)
parser.add_argument("--run-name")
options = parser.parse_args()
place = options.persistent_dir / "runs" / options.run_name
checkpoints = place / "checkpoints"
checkpoints.mkdir(parents=True, exist_ok=True)
FAULT = "{fault}"
if FAULT == "error":
    raise SystemExit("The data are missing.")
saved = sorted(checkpoints.glob("step-*"))
step, weights = json.loads(saved[-1].read_text()) if saved else (0, 1)
if saved and FAULT == "random":
    weights += 1
while step < 30:
    weights = weights * 31 % 1_000_003
    step += 1
    time.sleep(0.01)
    if FAULT != "unsaved":
        partial = checkpoints / ".partial"
        partial.write_text(json.dumps([step, weights]))
        partial.replace(checkpoints / f"step-{{step:03}}")
(place / "history.csv").write_text(f"epoch,loss\\n0,{{weights}}\\n")
(place / "run.json").write_text(json.dumps({{"weights_sha256": str(weights)}}))
'''


def training(directory: Path, *, fault: str = "") -> list[str]:
    script = directory / "training.py"
    script.write_text(TRAINING.format(fault=fault))
    return [sys.executable, str(script)]


def test_an_exact_training_passes_after_so_many_kills(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crash_test(training(tmp_path), tmp_path / "runs", kills=7, seed=0)
    printed = capsys.readouterr().out
    assert "Kill 7 of 7" in printed
    assert "7 kills in" in printed


def test_a_training_that_ends_otherwise_is_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends with other weights, history than an unbroken one"):
        crash_test(training(tmp_path, fault="random"), tmp_path / "runs", kills=3, seed=0)


def test_a_training_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"failed with the exit code 1[^$]*The data are missing"):
        crash_test(training(tmp_path, fault="error"), tmp_path / "runs", kills=3, seed=0)


def test_a_training_without_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="saved no checkpoint"):
        crash_test(training(tmp_path, fault="unsaved"), tmp_path / "runs", kills=3, seed=0)


def test_the_command_needs_a_training_and_an_empty_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crash-test", "--directory", str(tmp_path / "new")]) == 1
    assert "Say what to kill" in capsys.readouterr().err
    command = training(tmp_path)
    assert main(["crash-test", "--directory", str(tmp_path), "--", *command]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_the_command_passes_flags_of_the_training_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["python", *training(tmp_path)[1:]]
    assert main(["crash-test", "--kills", "1", "--seed", "3", "--", *command]) == 0
    assert "1 kills in 1 trainings" in capsys.readouterr().out
