"""What `nox -s colab` accepts of an environment and of its runs, and what it does not."""

import json
from pathlib import Path
from typing import Any

import pytest
from exactrun.pins.freeze import parse_freeze
from exactrun.record import Record
from pinning import FREEZE, freeze_of

from tools.proof import judge_packages, judge_runs, main, pins_on

HAD = parse_freeze(FREEZE + "ipykernel==6.17.1\nipython==7.34.0\njupyter_client==7.4.9\n")
BEFORE = {
    **{"ipykernel": "6.17.1", "ipython": "7.34.0", "jupyter-client": "7.4.9"},
    **{"numpy": "2.1.3", "cudf-cu12": "26.2.1", "pip": "26.3"},
}
LACKING = {"exactrun": "0.1.0"}


def statuses(record: Record) -> dict[str, str]:
    return {check.name: check.status for check in record.checks}


def test_colabs_own_packages_with_what_the_notebook_adds_pass() -> None:
    record = Record()
    judge_packages(record, BEFORE, BEFORE | LACKING, lacking=LACKING, had=HAD)
    assert [check.detail for check in record.checks] == [
        "5 packages, each as in the freeze",
        "ipykernel 6.17.1, ipython 7.34.0, jupyter-client 7.4.9",
        "the notebook added exactrun 0.1.0, and changed nothing",
    ]
    assert record.failed == []


@pytest.mark.parametrize(
    ("before", "after", "name", "said"),
    [
        ({"numpy": "2.4.0"}, {}, "packages", "numpy 2.4.0 (Colab: 2.1.3)"),
        ({"ruff": "1.0"}, {}, "packages", "ruff 1.0 (Colab: missing)"),
        ({}, {"numpy": "2.4.0"}, "unchanged", "numpy 2.1.3 → 2.4.0"),
        ({}, {"chirp": "0.3"}, "unchanged", "chirp missing → 0.3"),
        ({}, {"exactrun": "0.0.9"}, "unchanged", "exactrun 0.1.0 → 0.0.9"),
    ],
)
def test_another_package_than_colabs_fails_before_and_after(
    before: dict[str, str], after: dict[str, str], name: str, said: str
) -> None:
    record, began = Record(), BEFORE | before
    judge_packages(record, began, began | LACKING | after, lacking=LACKING, had=HAD)
    (failed,) = record.failed
    assert (failed.name, failed.detail) == (name, said)


def test_a_package_that_is_gone_fails() -> None:
    record = Record()
    after = {name: version for name, version in BEFORE.items() if name != "ipykernel"}
    judge_packages(record, after, after, lacking=LACKING, had=HAD)
    assert statuses(record) == {"packages": "passed", "kernel": "failed", "unchanged": "failed"}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, ""),
        ({"weights_sha256": "b" * 64}, "weights: weights_sha256: "),
        ({"packages": {"numpy": "2.4.0"}}, "packages: numpy: 2.1.3 and 2.4.0"),
        (
            {"checks": [{"name": "pins", "status": "failed", "detail": "numpy 2.4.0"}]},
            "its check pins: numpy 2.4.0",
        ),
    ],
)
def test_every_run_must_have_the_weights_of_the_first(
    other: dict[str, Any], said: str, tmp_path: Path
) -> None:
    skipped = {"name": "gpu", "status": "skipped", "detail": "this machine has none"}
    one = {"weights_sha256": "a" * 64, "packages": {"numpy": "2.1.3"}, "checks": [skipped]}
    runs = {"notebook": tmp_path / "drive", "command line": tmp_path / "runs"}
    for place, content in zip(runs.values(), (one, one | other), strict=True):
        (place / "runs/first").mkdir(parents=True)
        (place / "runs/first/run.json").write_text(json.dumps(content))
    record = Record()
    judge_runs(record, runs)
    gpu, first, second = record.checks
    assert str(gpu) == "– gpu in the notebook: this machine has none"
    assert (first.status, second.status) == ("passed", "failed" if said else "passed")
    assert said in second.detail


def test_pins_of_other_systems_are_not_asked_for(project: Path) -> None:
    text = (project / "requirements.txt").read_text(encoding="utf-8")
    assert "winlib==1.0 ; sys_platform == 'win32'" in text
    names = {pin.name for pin in pins_on("3.13", text)}
    assert "winlib" not in names
    assert {"exactrun", "numpy"} <= names


def test_a_python_that_is_not_at_hand_is_said(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    freeze = Path(freeze_of(project))
    freeze.write_text(freeze.read_text().replace("cp313-cp313", "cp399-cp399"))
    assert main([str(project), "--freeze", str(freeze)]) == 1
    said = capsys.readouterr().err
    assert "Python 3.99, which Colab's runtime 2026.08 has, is not at hand" in said
    assert "uv python install 3.99" in said
