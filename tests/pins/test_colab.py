"""Following what Colab offers: a new past runtime, one that is gone, and a moved `latest`."""

import json
from pathlib import Path
from typing import Any

import pytest
from pinning import FREEZE, Github, contents, pins_of, versions_in

from tools.pins.__main__ import main


def questions(root: Path) -> Any:
    return json.loads((root / "cookiecutter.json").read_text())


def test_a_new_past_runtime_becomes_the_default(root: Path, github: Github) -> None:
    github.past = ["2026.07", "2026.10", "2026.08"]
    assert main([], root=root) == 0
    assert questions(root)["colab_runtime"] == ["2026.10", "2026.08", "2026.07", "latest"]
    first = pins_of(root, "requirements.txt", runtime="2026.10").splitlines()[0]
    assert "runtime 2026.10 (Python 3.13)" in first
    assert "/files/past/2026.10/pip-freeze.gpu.txt" in [path for path, _ in github.asked]


def test_latest_says_its_day_and_follows(root: Path, github: Github) -> None:
    assert main([], root=root) == 0
    first = pins_of(root, "requirements.txt", runtime="latest").splitlines()[0]
    assert first.endswith("runtime latest (Python 3.13): Colab's own versions, as of 2026-11-02.")

    github.day, github.freeze = "2026-11-09", FREEZE.replace("h5py==3.16.0", "h5py==3.17.0")
    github.freeze = github.freeze.replace("numpy==2.1.3", "numpy==2.4.0")
    assert main([], root=root) == 0
    text = pins_of(root, "requirements.txt", runtime="latest")
    assert ("h5py", "3.17.0") in versions_in(text)
    assert text.splitlines()[0].endswith(", as of 2026-11-09.")


def test_a_later_day_with_the_same_versions_changes_nothing(root: Path, github: Github) -> None:
    assert main([], root=root) == 0
    before = contents(root)
    github.day = "2026-11-09"
    assert main([], root=root) == 0
    assert contents(root) == before


def test_a_runtime_that_colab_does_not_offer_any_more_is_named(
    root: Path, github: Github, capsys: pytest.CaptureFixture[str]
) -> None:
    github.past = ["2026.08"]
    assert main([], root=root) == 0
    said = capsys.readouterr().out
    assert "Colab does not offer the runtime 2026.07 any more. Take it out of colab_runtime" in said
    assert "2026.08 any more" not in said
    assert "latest any more" not in said


def test_one_runtime_that_can_not_be_compiled_does_not_keep_the_other_back(
    root: Path, github: Github, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    github.past = ["2026.10"]
    answer = github.answer
    monkeypatch.setattr(
        github, "answer", lambda path: "" if "past/2026.10" in path else answer(path)
    )
    assert main([], root=root) == 1
    assert "The freeze is empty" in capsys.readouterr().err
    assert questions(root)["colab_runtime"] == ["2026.08", "2026.07", "latest"]
    assert ", as of 2026-11-02." in pins_of(root, "requirements.txt", runtime="latest")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "404"),
        ("<html>", "can't be read"),
        ('{"message": "rate limit"}', "something else than a list: {'message': 'rate limit'}"),
        ('[{"name": "README.md"}]', "lists no runtime"),
    ],
)
def test_what_github_answers_otherwise_is_said_and_changes_nothing(
    answer: str | None,
    said: str,
    root: Path,
    github: Github,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = contents(root)
    monkeypatch.setattr(github, "answer", lambda path: answer)
    assert main([], root=root) == 1
    assert said in capsys.readouterr().err
    assert contents(root) == before


def test_a_token_goes_to_the_api_and_nowhere_else(
    root: Path, github: Github, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    assert main([], root=root) == 0
    for path, token in github.asked:
        assert token == ("Bearer secret" if path.startswith("/api/") else None)
    assert len(github.asked) == 3
