"""Two sessions that write the same run: who is told, who waits, and who takes over."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from {{ cookiecutter.__package }}.colab import claim
from {{ cookiecutter.__package }}.colab.publishing import Job, Publisher
from {{ cookiecutter.__package }}.errors import UserError


def job(place: Path) -> Job:
    (place / "model").write_text("a model")
    return Job(name="model", files=(place / "model",), folder=place / "kept")


def another_session(folder: Path, **other: Any) -> None:
    """Leave the sign of life of a session, by default a living one on another machine."""
    content = {
        "session": "another",
        "machine": "elsewhere",
        "process": 1,
        "at": time.time(),
        "ended": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "session.json").write_text(json.dumps(content | other))


def test_a_second_session_is_told_that_the_first_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_session(tmp_path, at=time.time() - 1)
    sleep = time.sleep
    monkeypatch.setattr(
        claim.time, "sleep", lambda seconds: (another_session(tmp_path), sleep(0.01))
    )
    with pytest.raises(UserError, match=r"Another session is writing .* elsewhere, process 1\."):
        Publisher(tmp_path)


def test_a_silent_session_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claim, "SILENCE", 21.0)
    another_session(tmp_path, at=time.time() - 20)
    publisher = Publisher(tmp_path)
    told = r"elsewhere\) wrote to .* 2\d s ago, .* writes again within 30 s, .* up to [01] s"
    assert re.search(told, capsys.readouterr().out)
    publisher.submit(job(tmp_path))
    assert publisher.flush().unsafe == {}


def test_a_session_that_has_ended_is_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = {"machine": platform.node(), "process": dead.pid}
    for number, state in enumerate([{"ended": True}, {"at": 0.0}, here]):
        another_session(tmp_path / str(number), **state)
        Publisher(tmp_path / str(number))
    assert capsys.readouterr().out == ""


def test_the_first_session_stops_publishing_when_it_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "BEAT", 0.02)
    publisher = Publisher(tmp_path / "kept")
    another_session(tmp_path / "kept")
    assert publisher.claim._beating is not None
    publisher.claim._beating.join(10)
    publisher.submit(job(tmp_path))
    assert "another session has taken the run over" in publisher.flush().unsafe["model"]
    assert not (tmp_path / "kept/model").exists()


def test_when_all_is_safe_the_next_session_need_not_wait(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "kept")
    publisher.submit(job(tmp_path))
    publisher.flush()
    assert json.loads((tmp_path / "kept/session.json").read_text())["ended"]
