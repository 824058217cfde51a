"""The record: checks in words, as a table and as JSON; and consoles that know few signs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from exactrun.console import say
from exactrun.record import Record, git_revision


def test_of_two_checks_of_one_name_the_later_one_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = Record(name="first")
    record.check("gpu", "failed", "why")
    record.check("drive", "skipped", "there is <none>")
    assert [check.name for check in record.failed] == ["gpu"]
    record.check("gpu", "passed", "T4")
    assert record.failed == []
    assert capsys.readouterr().out == "✖ gpu: why\n– drive: there is <none>\n✔ gpu: T4\n"
    assert repr(record) == "– drive: there is <none>\n✔ gpu: T4"
    assert "there is &lt;none&gt;" in record._repr_html_()
    assert record._repr_html_().count("<tr>") == 2


def test_the_record_is_json_whatever_was_noted() -> None:
    @dataclass
    class Settings:
        place: Path

    record = Record(name="first", settings=Settings(Path("a")), count=np.int64(3))
    record.note(rates=np.array([0.5, 1.0]), name="second")
    found = json.loads(record.to_json())
    assert found["version"] == 2
    assert found["settings"] == {"place": "a"}
    assert (found["count"], found["rates"], found["name"]) == (3, [0.5, 1.0], "second")


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("utf-8", "✔ gpu → Größe"), ("ascii", "+ gpu > Gr??e"), ("cp1252", "+ gpu > Größe")],
)
def test_a_console_that_knows_few_signs_shows_others(
    encoding: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    say("✔ gpu → Größe")
    assert console.buffer.getvalue().decode(encoding).splitlines() == [printed]  # type: ignore[attr-defined]


def test_a_revision_is_that_of_the_project_itself(tmp_path: Path) -> None:
    assert git_revision(tmp_path) is None
    command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "inside").mkdir()
    (tmp_path / "file").write_text("1")
    subprocess.run([*command, "init", "-q"], check=True)
    subprocess.run([*command, "add", "."], check=True)
    subprocess.run([*command, "commit", "-qm", "1"], check=True)
    revision = git_revision(tmp_path)
    assert revision is not None
    assert len(revision) == 40
    (tmp_path / "file").write_text("2")
    assert git_revision(tmp_path) == f"{revision}+changes"
    assert git_revision(tmp_path / "inside") is None
