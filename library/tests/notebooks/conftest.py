"""Where the tests' kernels run."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from exactrun.notebooks.processes import MARK
from exactrun.version import __version__

LIBRARY = Path(__file__).parents[2]

SUITE = "EXACTRUN_SUITE"
"""Environment variable by which this suite's processes are told from another's."""


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    """Set the logs back that a command opens in its own process, which is the tests' here."""
    yield
    for name in ("cells", "printed"):
        logging.getLogger(f"exactrun.notebooks.{name}").setLevel(logging.NOTSET)


@pytest.fixture(scope="session", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make two kernels known that can't start, and a machine that has no display."""
    place = tmp_path_factory.mktemp("jupyter")
    for name, command in {"never": ["sleep", "600"], "dies": ["false"]}.items():
        (place / "kernels" / name).mkdir(parents=True)
        spec = {"argv": command, "display_name": name, "language": "python"}
        file = place / "kernels" / name / "kernel.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("JUPYTER_PATH", str(place))
        patched.setenv("MPLBACKEND", "Agg")
        patched.setenv(SUITE, uuid.uuid4().hex)
        yield


def marked() -> list[str]:
    """Return what this suite's notebooks run, whoever is its parent by now."""
    found = []
    for process in psutil.process_iter():
        try:
            env = process.environ()
            ended = process.status() == psutil.STATUS_ZOMBIE
            if not ended and MARK in env and env.get(SUITE) == os.environ[SUITE]:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # it ended meanwhile, or is not ours to look at
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_of_a_notebook(kernels: None) -> Iterator[None]:
    """Name the test whose notebook left a process, also one that nobody's child is any more."""
    yield
    deadline = time.monotonic() + 5.0  # who was killed takes a moment to end
    while (found := marked()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == []


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the library as an installation leaves it, with its entry points."""
    place = tmp_path_factory.mktemp("installed")
    shutil.copytree(
        LIBRARY / "src/exactrun", place / "exactrun", ignore=shutil.ignore_patterns("__pycache__")
    )
    project = tomllib.loads((LIBRARY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = place / f"exactrun-{__version__}.dist-info"
    info.mkdir()
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (info / "METADATA").write_text(f"Name: exactrun\nVersion: {__version__}\n")
    return place
