"""Comparing runs: equal ones, and what is said of those that are not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from commanded import command

RECORD: dict[str, Any] = {
    "git_revision": "0123456789abcdef0123456789abcdef01234567",
    "run_name": "first",
    "settings": {"run_name": "first", "persistent_dir": "/drive", "epochs": 3, "seed": 0},
    "environment": {"where": "colab", "python": "3.13.5"},
    "packages": {"keras": "3.13.2"},
    "pins": {"runtime": "2026.08", "differences": []},
    "accelerator": {"kind": "gpu", "name": "Tesla T4", "count": 1, "checked": "sums agree"},
    "precision": "float32",
    "data": {"name": "digits", "train": 4000, "sha256": "ab" * 32},
    "seconds": 725.4,
    "weights_sha256": "cd" * 32,
}
MOVED = {"name": "numpy", "pinned": "2.1.3", "installed": "2.4.0"}


def changed(*path: str, to: Any) -> dict[str, Any]:
    """Return the record with another value at a place in it."""
    record = copy.deepcopy(RECORD)
    place = record
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return record


def store(directory: Path, name: str, record: dict[str, Any]) -> str:
    (directory / name).mkdir()
    (directory / name / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return str(directory / name)


@pytest.fixture
def say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Compare a record with RECORD, by the command; return its exit code and what it printed."""

    def say(record: dict[str, Any]) -> tuple[int, str]:
        runs = [store(tmp_path, "a", RECORD), store(tmp_path, "b", record)]
        return command("compare", *runs), capsys.readouterr().out

    return say


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        changed("settings", "persistent_dir", to="/elsewhere"),
        changed("settings", "run_name", to="second"),
        changed("seconds", to=1.0),
    ],
)
def test_runs_that_differ_in_place_and_time_only_are_equal(say: Any, record: Any) -> None:
    status, said = say(record)
    assert status == 0
    assert said.endswith("The runs are equal.\n")
    assert "✖" not in said


@pytest.mark.parametrize(
    ("record", "part", "difference"),
    [
        (changed("git_revision", to="f" * 40), "code", f"and {'f' * 40}"),
        (changed("environment", "python", to="3.12.1"), "packages", "python: 3.13.5 and 3.12.1"),
        (
            changed("pins", "differences", to=[MOVED]),
            "packages",
            "differences: none and numpy 2.1.3 2.4.0",
        ),
        (changed("packages", "keras", to="3.14"), "packages", "keras: 3.13.2 and 3.14"),
        (changed("data", "train", to=5000), "data", "train: 4000 and 5000"),
        (changed("settings", "epochs", to=5), "settings", "epochs: 3 and 5"),
        (changed("accelerator", "name", to="CPU"), "device", "name: Tesla T4 and CPU"),
        (changed("precision", to="mixed_float16"), "device", "float32 and mixed_float16"),
        (changed("weights_sha256", to="ef" * 32), "weights", "cdcdcd"),
    ],
)
def test_what_differs_is_named(say: Any, record: Any, part: str, difference: str) -> None:
    status, said = say(record)
    assert status == 1
    (line,) = [line for line in said.splitlines() if line.startswith("✖")]
    assert line.startswith(f"✖ {part}: ")
    assert difference in line
    assert said.endswith(f"What differs first: the {part}.\n")


def test_the_cause_comes_before_the_effect(say: Any) -> None:
    record = changed("weights_sha256", to="ef" * 32)
    record["settings"]["seed"] = 1
    _, said = say(record)
    assert said.endswith("What differs first: the settings.\n")


def test_code_that_was_not_committed_is_not_called_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = changed("git_revision", to=RECORD["git_revision"] + "+changes")
    command("compare", store(tmp_path, "a", record), store(tmp_path, "b", record))
    assert "– code: not known to be equal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "can't be read"),
        ("{", "is not JSON"),
        ("[]", "holds no JSON object"),
        ('{"version": 1}', "records no weights yet"),
    ],
)
def test_what_is_no_record_of_a_trained_run_is_refused(
    content: str | None, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run.json"
    if content is not None:
        run.write_text(content, encoding="utf-8")
    assert command("compare", run, run) == 1
    assert fault in capsys.readouterr().err
