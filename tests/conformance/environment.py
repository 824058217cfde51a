"""Where a generated project's harness runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from baking import Project

SUITE = "CONFORMANCE_SUITE"
"""Environment variable by which this suite's processes are told from another's."""

NEEDS = ["ipykernel", "matplotlib", "nbconvert", "papermill", "pip", "psutil", "pytest"]
"""What the harness, its tests and its notebooks import; with the project's own versions."""


@dataclass(frozen=True, kw_only=True)
class Harness:
    """A generated project and a Python in which its harness runs.

    Attributes:
        project: The project.
        python: The Python.
        env: Environment variables for it: two kernels that can't start are known there.
    """

    project: Project
    python: Path
    env: dict[str, str]


def build(folder: Path, project: Project, *more: str) -> Harness:
    """Build an environment with Colab's versions of the kernel's packages, and more packages."""
    environment = folder / "environment"
    uv = ["uv", "venv", "--quiet", "--python", sys.executable, str(environment)]
    subprocess.run(uv, check=True)
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    constraint = ["--constraint", str(project.path / "requirements-dev.txt")]
    install = ["uv", "pip", "install", "--quiet", "--python", str(python), *constraint]
    subprocess.run([*install, *NEEDS, *more], check=True)
    for name, command in {"never": ["sleep", "600"], "dies": ["false"]}.items():
        kernel = folder / "jupyter" / "kernels" / name
        kernel.mkdir(parents=True)
        spec = {"argv": command, "display_name": name, "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    env |= {
        "PYTHONPATH": str(project.path),
        "JUPYTER_PATH": str(folder / "jupyter"),
        "MPLBACKEND": "Agg",  # as on a machine without a display
        SUITE: uuid.uuid4().hex,
    }
    return Harness(project=project, python=python, env=env)


def running(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and is not yet collected does not."""
    status = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return status != "" and not status.startswith("Z")


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition to hold; fail if it does not in time."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.1)
