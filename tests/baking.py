"""Generate projects from this template, in process or by the command that users type."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cookiecutter.generate import generate_context
from cookiecutter.main import cookiecutter
from cookiecutter.prompt import prompt_for_config

TEMPLATE = Path(__file__).parents[1]
QUESTIONS: dict[str, Any] = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES: dict[str, list[str]] = {
    name: value
    for name, value in QUESTIONS.items()
    if isinstance(value, list) and not name.startswith("_")
}
TEXTS = ("project_name", "description", "author_name")
"""Answers that are any text; of each, `__NAME` is the text itself."""

PROJECT_FOLDER = "{{cookiecutter.project_slug}}"


@dataclass(frozen=True)
class Project:
    """A generated project on disk."""

    path: Path

    def files(self) -> list[str]:
        """Paths of all files, relative to the project, with ``/``, sorted."""
        return sorted(
            file.relative_to(self.path).as_posix()
            for file in self.path.rglob("*")
            if file.is_file()
        )

    def texts(self) -> list[str]:
        """Paths of all files but the wheel."""
        return [name for name in self.files() if not name.endswith(".whl")]

    def read(self, name: str) -> str:
        """The text of one file, line ends as they are on disk."""
        return (self.path / name).read_bytes().decode("utf-8")

    def run(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder, outside any active virtual environment."""
        return run(*command, cwd=self.path, **options)


Bake = Callable[..., Project]
"""Generates a project from the answers that are given by name; the others are the defaults."""


def run(*command: str | Path | bytes, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command outside any active virtual environment; its output is captured as UTF-8."""
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", **options.pop("env", {})}
    env.pop("VIRTUAL_ENV", None)
    return subprocess.run(
        command, env=env, capture_output=True, encoding="utf-8", check=False, **options
    )


def bake(
    output: Path, *, template: Path = TEMPLATE, hooks: bool = False, **answers: str
) -> Project:
    """Generate a project as ``cookiecutter --no-input`` does: answers are rendered as Jinja."""
    path = cookiecutter(
        str(template),
        no_input=True,
        extra_context=answers,
        output_dir=str(output),
        accept_hooks=hooks,
    )
    return Project(Path(path))


def asked(template: Path = TEMPLATE, **answers: str) -> dict[str, Any]:
    """What cookiecutter has before it asks: the questions, with these answers as defaults."""
    return generate_context(str(template / "cookiecutter.json"), extra_context=answers)


def defaults(template: Path = TEMPLATE, **answers: str) -> dict[str, Any]:
    """What cookiecutter has when the questions are over and all were answered by their default."""
    return dict(prompt_for_config(asked(template, **answers), no_input=True))


def bake_as_answered(
    output: Path, *, template: Path = TEMPLATE, hooks: bool = False, answers: Mapping[str, Any]
) -> Project:
    """Generate a project from answers taken as they are, as those typed at the prompts are.

    It goes by a replay file, which is also how cookiecutter repeats answers.
    """
    replay = output / "answers.json"
    context = defaults(template) | dict(answers)
    context |= {f"__{name}": context[name] for name in TEXTS}
    replay.write_text(json.dumps({"cookiecutter": context}), encoding="utf-8")
    path = cookiecutter(
        str(template),
        replay=str(replay),
        output_dir=str(output),
        accept_hooks=hooks,
        overwrite_if_exists=True,
    )
    return Project(Path(path))


def cookiecutter_command(
    *arguments: str | Path | bytes, template: Path = TEMPLATE, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run ``cookiecutter TEMPLATE …`` in a process of its own, hooks and all."""
    return run(sys.executable, "-m", "cookiecutter", template, *arguments, **options)
