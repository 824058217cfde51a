"""Drift: what Colab has moved is named, first what the project imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.drift import find_moves, main, read_freeze
from harness.errors import HarnessError

PINS = """\
# Made for the Google Colab runtime 2026.08
keras==3.13.2 \\
    --hash=sha256:00
numpy==2.1.3 ; python_version >= '3.0' \\
    --hash=sha256:00
click==13.0 \\
    --hash=sha256:00
tensorflow==2.20.0 \\
    --hash=sha256:00
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:00
"""
SAME = "Keras==3.13.2\nnumpy==2.1.3\nclick==13.0\ntensorflow @ https://x.org/tensorflow.whl\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with pins, to be in."""
    (tmp_path / "requirements.txt").write_text(PINS, encoding="utf-8")
    settings = '[project]\ndependencies = ["numpy", "keras", "tensorflow"]\n'
    (tmp_path / "pyproject.toml").write_text(settings, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def moves(project: Path, freeze: str) -> list[str]:
    (project / "freeze.txt").write_text(freeze, encoding="utf-8")
    found = read_freeze("freeze.txt")
    return list(map(str, find_moves(project / "requirements.txt", found, {"numpy", "keras"})))


def test_what_has_not_moved_is_not_named(project: Path) -> None:
    assert moves(project, SAME) == []


def test_a_build_of_colabs_own_is_the_same_version(project: Path) -> None:
    assert moves(project, SAME.replace("numpy==2.1.3", "numpy==2.1.3+cu12")) == []


def test_what_the_project_imports_comes_first(project: Path) -> None:
    moved = "keras==3.14.0\nclick==14.0\ntensorflow==2.20.0\n"
    assert moves(project, moved) == [
        "✖ keras 3.13.2 → 3.14.0",
        "✖ numpy 2.1.3 → gone",
        "– click 13.0 → 14.0",
    ]


def test_the_command_says_what_to_do_and_fails(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    freeze = project / "freeze.txt"
    freeze.write_text(SAME.replace("click==13.0", "click==14.0"), encoding="utf-8")
    assert main([freeze.as_uri()]) == 1
    said = capsys.readouterr().out
    assert "Moved: 1, imported by the project (✖): 0" in said
    assert "cruft update" in said
    assert f"nox -s pins -- --runtime YYYY.MM --freeze {freeze.as_uri()}" in said


def test_the_command_succeeds_where_nothing_moved(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "freeze.txt").write_text(SAME, encoding="utf-8")
    assert main(["freeze.txt"]) == 0
    assert capsys.readouterr().out == "Moved: 0, imported by the project (✖): 0\n"


@pytest.mark.parametrize(("content", "fault"), [(None, "can't be read"), ("<html>", "no version")])
def test_what_is_no_freeze_is_refused(content: str | None, fault: str, project: Path) -> None:
    if content is not None:
        (project / "freeze.txt").write_text(content, encoding="utf-8")
    with pytest.raises(HarnessError, match=fault):
        read_freeze("freeze.txt")
