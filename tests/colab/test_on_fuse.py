"""Generated projects on a simulated Colab whose Drive is a real FUSE mount, which stalls and dies.

Slow: an environment is built, and the notebook trains. `nox -s projects` runs them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mounting
import pytest
from baking import Project
from baking import bake as bake_anew

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(mounting.MISSING), reason=mounting.WHY_NOT),
]
HERE = Path(__file__).parent
INSIDE = (HERE / "inside.py").read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Here:
    """A project under git, the Python of its environment, and a place for machines."""

    project: Project
    python: Path
    place: Path


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    place = tmp_path_factory.mktemp("fuse")
    project = bake_anew(place)
    for name in ("inside.py", "mounting.py"):
        shutil.copy(HERE / name, project.path / "tests" / name)
    config = next(project.path.glob("src/*/config.py"))
    text = config.read_text(encoding="utf-8")
    often = re.sub(r"(checkpoint_seconds: float = knob\(\s+)60\.0", r"\g<1>1.0", text)
    assert often != text
    config.write_text(often, encoding="utf-8")
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    assert project.run("git", "init", "--quiet", "--initial-branch", "main").returncode == 0
    assert project.run("git", "add", "--all").returncode == 0
    assert project.run(*git, "commit", "--quiet", "--message", "First version").returncode == 0
    environment = place / "environment"
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, environment], check=True)
    python = environment / "bin/python"
    install = ["uv", "pip", "install", "--quiet", "--python", python, "--require-hashes"]
    subprocess.run([*install, "-r", project.path / "requirements-dev.txt"], check=True)
    return Here(project=project, python=python, place=place)


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", INSIDE, re.M))
def test_inside(here: Here, name: str, tmp_path: Path) -> None:
    # In a folder of its own: pytest removes older ones, be something mounted there or not.
    place = f"--basetemp={tmp_path / 'inside'}"
    pytest_inside = [here.python, "-m", "pytest", "-q", "-rs", place]
    done = here.project.run(*pytest_inside, f"tests/inside.py::{name}")
    print(done.stdout, done.stderr)
    if " skipped" in done.stdout:
        pytest.skip(re.search(r"^SKIPPED .*?: (.*)", done.stdout, re.M)[1])  # type: ignore[index]
    assert done.returncode == 0
    assert "1 passed" in done.stdout


class Colab:
    """Machines of a simulated Colab, one after the other, on one Drive.

    Attributes:
        kept: The run's folder, as it is in Drive, whatever a machine's mount shows.
    """

    def __init__(self, here: Here, place: Path) -> None:
        self._here, self._place = here, place
        self._store = place / "store"
        (self._store / "My Drive").mkdir(parents=True)
        self.mountpoint = place / "colab/machine/content/drive"
        self.kept = self._store / "My Drive" / here.project.path.name / "runs/first"

    def start(self) -> subprocess.Popen[str]:
        """Run the notebook on a fresh machine, from top to bottom, as *Run all* does."""
        # What the machine before had not uploaded is lost with it.
        shutil.rmtree(self._place / "cache", ignore_errors=True)
        mount = mounting.command(self._store, cache=self._place / "cache", upload_after="200ms")
        project = self._here.project.path
        parameters = {"epochs": 5, "repository": project.as_uri()}
        flags = [flag for name, value in parameters.items() for flag in ("-p", f"{name}={value}")]
        return subprocess.Popen(
            [
                *(self._here.python, "-m", "harness", "run", "notebooks/setup.ipynb"),
                *("--colab", self._place / "colab", "--output", self._place / "output", *flags),
            ],
            cwd=project,
            env={"PATH": f"{self._here.python.parent}:/usr/bin:/bin", "SIMULATED_MOUNT": mount},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> tuple[str, dict[str, Any]]:
        """Run the notebook to its end; return what it printed, and its record in Drive."""
        machine = self.start()
        printed, _ = machine.communicate()
        print(printed)
        assert machine.returncode == 0
        self.wait_for_upload(self.kept / "run.json")
        return printed, json.loads((self.kept / "run.json").read_text(encoding="utf-8"))

    def wait_for_upload(self, file: Path) -> None:
        ends = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < ends, f"{file} did not reach Drive"
            time.sleep(0.05)

    def destroy(self, machine: subprocess.Popen[str]) -> None:
        """Take the machine away: its processes, its disk, its connection to Drive."""
        machine.kill()
        machine.communicate()
        # The kernel and rclone: all that was started on the machine knows its name.
        name = f"SIMULATED_MACHINE={self._place / 'colab/machine'}".encode()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it has ended, or is somebody else's
                if name in environment.read_bytes().split(b"\0"):
                    os.kill(int(environment.parent.name), signal.SIGKILL)
        mounting.unmount(self.mountpoint)
        shutil.rmtree(self._place / "colab")


@pytest.fixture
def colab(here: Here, tmp_path: Path) -> Iterator[Colab]:
    colab = Colab(here, tmp_path)
    yield colab
    mounting.unmount(colab.mountpoint)


@pytest.fixture(scope="module")
def unbroken(here: Here, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What the notebook prints and records when nothing goes wrong."""
    colab = Colab(here, tmp_path_factory.mktemp("unbroken"))
    try:
        return colab.finish()
    finally:
        mounting.unmount(colab.mountpoint)


def test_the_notebook_runs_from_top_to_bottom(unbroken: tuple[str, dict[str, Any]]) -> None:
    printed, record = unbroken
    checks = {check["name"]: check["status"] for check in record["checks"]}
    assert checks["drive"] == checks["model"] == checks["checkpoints"] == "passed"
    assert "failed" not in checks.values()
    assert record["environment"]["where"] == "colab"
    assert "Installed: nothing" in printed


def test_a_destroyed_machine_costs_no_digit(
    colab: Colab, unbroken: tuple[str, dict[str, Any]]
) -> None:
    machine = colab.start()
    ends = time.monotonic() + 120
    while not any(path.stem > "step-00000100" for path in colab.kept.glob("*/step-*.json")):
        assert machine.poll() is None, machine.communicate()[0]
        assert time.monotonic() < ends
        time.sleep(0.02)
    colab.destroy(machine)
    _, record = colab.finish()
    assert 0 < record["resumed_from"] < record["steps"]
    assert record["weights_sha256"] == unbroken[1]["weights_sha256"]
