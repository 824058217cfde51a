"""Trainings of a generated project, run as processes that can be killed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baking import Project

HERE = Path(__file__).parent
SMALL = {"epochs": 3}
PLAIN = SMALL | {
    **{"warmup": 0.0, "precision": "float32"},
    **{"dropout": 0.0, "shift": 0.0, "rotation": 0.0},
}
"""In whole precision and without random numbers of their own, several devices learn what one does.
"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A generated project and a Python that has all of its packages."""

    project: Project
    python: Path

    def env(self) -> dict[str, str]:
        """Return the variables of the processes that run in the project."""
        env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        package = next((self.project.path / "src").iterdir()).name
        return env | quiet | {"PYTHONPATH": "src:tests", "PACKAGE": package}

    def start(
        self, script: str, *arguments: str | Path, workers: Sequence[int] = (), worker: int = 0
    ) -> subprocess.Popen[str]:
        """Start a script of this folder in the project, as one of several workers if told so."""
        env = self.env()
        if workers:
            addresses = [f"localhost:{port}" for port in workers]
            task = {"type": "worker", "index": worker}
            env["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        return subprocess.Popen(
            [str(self.python), str(HERE / script), *map(str, arguments)],
            cwd=self.project.path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Return what a script printed last, once it has ended well."""
        printed, complaints = process.communicate(timeout=300)
        assert process.returncode == 0, complaints[-3000:]
        return json.loads(printed.splitlines()[-1])

    def train(self, place: Path, *, devices: int = 1, **settings: Any) -> dict[str, Any]:
        """Train to the end; return what `train.py` says."""
        return self.result(self.start("train.py", place, json.dumps(settings), str(devices)))

    def train_workers(self, place: Path, **settings: Any) -> list[dict[str, Any]]:
        """Train with two workers; return what each says."""
        return [self.result(process) for process in self.start_workers(place, **settings)]

    def start_workers(
        self, place: Path, *, place_of_other: Path | None = None, **settings: Any
    ) -> list[subprocess.Popen[str]]:
        """Start two workers that find each other on this machine, in one place or in two."""
        with socket.socket() as one, socket.socket() as two:
            for each in (one, two):
                each.bind(("localhost", 0))
            ports = [each.getsockname()[1] for each in (one, two)]
        return [
            self.start("train.py", folder, json.dumps(settings), workers=ports, worker=index)
            for index, folder in enumerate((place, place_of_other or place))
        ]
