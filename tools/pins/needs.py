"""What the generated projects need, as the template itself names it."""

import json
import tempfile
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cookiecutter.exceptions import CookiecutterException
from cookiecutter.main import cookiecutter
from exactrun.errors import UserError
from exactrun.pins.freeze import Freeze
from jinja2 import TemplateError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Requirements of one generated project, as its pyproject.toml names them."""

    notebook: tuple[str, ...]
    dev: tuple[str, ...]


def read_needs(root: Path) -> dict[str, Needs]:
    """Bake the template for each task and return what its pyproject.toml names, by task.

    Raises:
        UserError: The template can't be baked, or names something that isn't a requirement.
    """
    questions = json.loads((root / "cookiecutter.json").read_text(encoding="utf-8"))
    # The runtime to be pinned may have no pins yet, so another one may have to serve.
    pinned = [
        runtime
        for runtime in questions["colab_runtime"]
        if (root / "templates/pins" / runtime / "requirements.txt").is_file()
    ]
    if not pinned:
        raise UserError(
            "No runtime of cookiecutter.json has pins, so the template can't be baked to see what "
            "it needs.\nRestore them: git checkout -- templates/pins"
        )
    needs = {}
    for task in questions["task"]:
        with tempfile.TemporaryDirectory() as folder:
            pyproject = bake(root, Path(folder), task=task, colab_runtime=pinned[0])
        try:
            settings = tomllib.loads(pyproject)
            needs[task] = Needs(
                notebook=tuple(settings["project"]["dependencies"]),
                dev=tuple(settings["dependency-groups"]["dev"]),
            )
            named(needs[task].notebook + needs[task].dev)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"The pyproject.toml of a fresh project for task {task} doesn't tell its needs: "
                f"{type(error).__name__}: {error}.\n"
                "Fix the template's pyproject.toml: [project] dependencies and "
                "[dependency-groups] dev must be lists of package names."
            ) from error
    return needs


def bake(root: Path, folder: Path, **answers: str) -> str:
    """Generate a project in a scratch folder and return its pyproject.toml.

    Raises:
        UserError: The template can't be baked with these answers.
    """
    # Cookiecutter notes every bake in the home directory, unless told another place.
    config = folder / "config.yaml"
    config.write_text(json.dumps({"replay_dir": str(folder / "replay")}), encoding="utf-8")
    try:
        project = cookiecutter(
            str(root),
            no_input=True,
            extra_context=answers,
            output_dir=str(folder / "out"),
            config_file=str(config),
            accept_hooks=False,
        )
        return Path(project, "pyproject.toml").read_text(encoding="utf-8")
    except (CookiecutterException, TemplateError, OSError, ValueError) as error:
        raise UserError(
            f"The template can't be baked with {answers}: {type(error).__name__}: {error}.\n"
            "Fix the template first: its pyproject.toml tells what to pin."
        ) from error


def named(requirements: Iterable[str]) -> set[str]:
    """Return the canonical names of the packages that requirements name."""
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


def check_tensorflow(names: Collection[str], where: str) -> None:
    """Raise a UserError if tensorflow-cpu is among the names."""
    if "tensorflow-cpu" in names:
        raise UserError(
            f"tensorflow-cpu is {where}. Installed beside Colab's TensorFlow it would hide the "
            "GPU.\nName tensorflow itself: it runs on a CPU as well."
        )


def check_needs(needs: Mapping[str, Needs], freeze: Freeze) -> None:
    """Raise a UserError if the notebook names a package that the runtime doesn't have."""
    notebook = named(need for each in needs.values() for need in each.notebook)
    dev = named(need for each in needs.values() for need in each.dev)
    check_tensorflow(notebook | dev, "among the needs in the template's pyproject.toml")
    if missing := sorted(name for name in notebook if name not in freeze):
        raise UserError(
            f"The freeze doesn't have {', '.join(missing)}, which [project] dependencies in the "
            "template's pyproject.toml name: Colab would have to install what it lacks.\n"
            "Take the name out (tools that the notebook doesn't import belong to "
            "[dependency-groups] dev), or take the freeze of a runtime that has the package."
        )
