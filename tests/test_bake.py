"""Every combination of choices gives a whole project, in which each file parses."""

import json
import re
import sys
import tomllib
from collections import Counter
from pathlib import Path
from types import ModuleType

import jinja2
import nbformat
import pytest
import yaml
from baking import CHOICES, TEMPLATE, Bake, Project
from baking import bake as bake_anew

# Each combination


def test_every_file_parses(project: Project) -> None:
    parsed = Counter(Path(name).suffix for name in project.files() if parse(project, name))
    assert {".py", ".toml", ".ipynb", ".yml", ".json"} <= set(parsed)


def parse(project: Project, name: str) -> bool:
    """Read a file by the rules of its format; False for one that has none."""
    text = project.read(name)
    match Path(name).suffix:
        case ".py":
            compile(text, name, "exec")
        case ".toml":
            tomllib.loads(text)
        case ".yml" | ".yaml":
            yaml.safe_load(text)
        case ".json":
            json.loads(text)
        case ".ipynb":
            notebook = nbformat.reads(text, as_version=nbformat.NO_CONVERT)
            nbformat.validate(notebook)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    compile(cell.source, f"{name}, cell {cell.id}", "exec")
        case ".j2":
            jinja2.Environment().parse(text)
        case _:
            return False
    return True


def test_no_template_syntax_is_left(project: Project) -> None:
    for name in project.files():
        if not name.endswith(".j2"):
            # GitHub's expressions ${{ … }} are meant
            assert re.findall(r"(?<!\$)\{\{.*|\{%.*", project.read(name)) == [], name


def test_every_file_ends_its_lines_as_unix_does(project: Project) -> None:
    for name in project.files():
        text = project.read(name)
        assert "\r" not in text, name
        assert text == "" or text.endswith("\n"), name
        assert not text.endswith("\n\n"), name


def test_windows_can_hold_every_name(project: Project, pre_gen: ModuleType) -> None:
    names = project.files()
    for part in {part for name in names for part in Path(name).parts}:
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]|[. ]$', part)
        assert part.lower().split(".")[0] not in pre_gen.DEVICES
    assert len({name.lower() for name in names}) == len(names)


def test_nothing_of_this_machine_is_inside(project: Project) -> None:
    places = {str(place) for place in (TEMPLATE, project.path, project.path.parent, sys.prefix)}
    for name in project.files():
        assert [place for place in places if place in project.read(name)] == [], name


# All of them


FILES = """
    .github/workflows/ci.yml
    .github/workflows/colab.yml
    .gitignore
    .pre-commit-config.yaml
    LICENSE
    README.md
    docs/training.md
    docs/troubleshooting.md
    harness/__init__.py
    harness/__main__.py
    harness/colab/__init__.py
    harness/colab/packages/google/colab/__init__.py
    harness/colab/packages/google/colab/_message.py
    harness/colab/packages/google/colab/auth.py
    harness/colab/packages/google/colab/drive.py
    harness/colab/packages/google/colab/runtime.py
    harness/colab/packages/google/colab/userdata.py
    harness/compare.py
    harness/drift.py
    harness/engine.py
    harness/errors.py
    harness/files.py
    harness/kernel.py
    harness/limits.py
    harness/lint.py
    harness/notebooks.py
    harness/parameters.py
    harness/processes.py
    harness/progress.py
    harness/report.py
    harness/rules.py
    harness/run.schema.json
    harness/settings.py
    harness/summary.py
    harness/templates/index.html.j2
    harness/templates/page.html.j2
    harness/templates/report.html.j2
    harness/templates/report/conf.json
    harness/templates/report/index.html.j2
    harness/templates/style.css
    harness/texts.py
    harness/watch.py
    notebooks/setup.ipynb
    noxfile.py
    pyproject.toml
    requirements-dev.txt
    requirements.txt
    src/{package}/__init__.py
    src/{package}/__main__.py
    src/{package}/colab/__init__.py
    src/{package}/colab/accelerator.py
    src/{package}/colab/artifacts.py
    src/{package}/colab/benchmark.py
    src/{package}/colab/claim.py
    src/{package}/colab/drive.py
    src/{package}/colab/drive_api.py
    src/{package}/colab/driver.py
    src/{package}/colab/environment.py
    src/{package}/colab/files.py
    src/{package}/colab/machine.py
    src/{package}/colab/publishing.py
    src/{package}/colab/staging.py
    src/{package}/config.py
    src/{package}/data.py
    src/{package}/errors.py
    src/{package}/model.py
    src/{package}/training/__init__.py
    src/{package}/training/batches.py
    src/{package}/training/checkpoints.py
    src/{package}/training/checks.py
    src/{package}/training/delivery.py
    src/{package}/training/examples.py
    src/{package}/training/distribution.py
    src/{package}/training/figures.py
    src/{package}/training/folders.py
    src/{package}/training/loop.py
    src/{package}/training/manifest.py
    src/{package}/training/packing.py
    src/{package}/training/packs.py
    src/{package}/training/precision.py
    src/{package}/training/progress.py
    src/{package}/training/record.py
    src/{package}/training/run.py
    src/{package}/training/sources.py
    src/{package}/training/speed.py
    src/{package}/training/steps.py
    src/{package}/training/stopping.py
    src/{package}/training/tables.py
    src/{package}/training/tensorboard.py
    src/{package}/training/workers.py
    tests/conftest.py
    tests/killable.py
    tests/machines.py
    tests/small.py
    tests/test_accelerator.py
    tests/test_artifacts.py
    tests/test_benchmark.py
    tests/test_checkpoints.py
    tests/test_checks.py
    tests/test_claim.py
    tests/test_colab.py
    tests/test_command_line.py
    tests/test_compare.py
    tests/test_config.py
    tests/test_data.py
    tests/test_delivery.py
    tests/test_drift.py
    tests/test_drive.py
    tests/test_drive_api.py
    tests/test_every_notebook.py
    tests/test_everyday.py
    tests/test_harness.py
    tests/test_lint.py
    tests/test_model.py
    tests/test_notebook.py
    tests/test_packing.py
    tests/test_packs.py
    tests/test_publishing.py
    tests/test_report.py
    tests/test_sources.py
    tests/test_staging.py
    tests/test_training.py
    tests/test_troubleshooting.py
    tests/trainings.py
"""


TASK_FILES = {"image": "", "text": "src/{package}/docstrings.py tests/test_reuters.py"}


@pytest.mark.parametrize("task", CHOICES["task"])
def test_a_project_holds_exactly_these_files(task: str, bake: Bake) -> None:
    expected = f"{FILES} {TASK_FILES[task]}".format(package="handwritten_digits")
    assert bake(task=task).files() == sorted(expected.split())


def test_the_same_answers_twice_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    projects = [bake_anew(folder, __year="2026") for folder in (first, second)]
    contents = [
        {
            name: ((project.path / name).read_bytes(), (project.path / name).stat().st_mode)
            for name in project.files()
        }
        for project in projects
    ]
    assert contents[0] == contents[1]


def test_the_notebook_asks_colab_for_the_chosen_accelerator(bake: Bake) -> None:
    for accelerator in CHOICES["accelerator"]:
        project = bake(accelerator=accelerator)
        metadata = json.loads(project.read("notebooks/setup.ipynb"))["metadata"]
        asked = (metadata.get("accelerator"), metadata["colab"].get("gpuType"))
        assert asked == ((None, None) if accelerator == "CPU" else ("GPU", accelerator))


@pytest.mark.parametrize("task", CHOICES["task"])
def test_the_notebook_is_clean_and_takes_parameters(task: str, bake: Bake) -> None:
    cells = json.loads(bake(task=task).read("notebooks/setup.ipynb"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert [cell["metadata"].get("tags") for cell in code] == [
        ["parameters"],
        *[None] * (len(code) - 1),
    ]


@pytest.mark.parametrize("license", CHOICES["license"])
def test_the_licence_is_the_chosen_one(license: str, bake: Bake) -> None:
    project = bake(license=license, __year="2026", author_name="Ada Lovelace")
    declared = tomllib.loads(project.read("pyproject.toml"))["project"]["license"]
    assert declared == {"Proprietary": "LicenseRef-Proprietary"}.get(license, license)
    words = {
        "MIT": "Permission is hereby granted, free of charge",
        "Apache-2.0": "Apache License",
        "BSD-3-Clause": "Redistribution and use in source and binary forms",
        "Proprietary": "All rights reserved",
    }
    text = project.read("LICENSE")
    assert [name for name, words in words.items() if words in text] == [license]
    assert "2026" in text
    assert "Ada Lovelace" in text


@pytest.mark.parametrize("runtime", CHOICES["colab_runtime"])
def test_the_pins_are_those_of_the_chosen_runtime(runtime: str, bake: Bake) -> None:
    project = bake(colab_runtime=runtime)
    pins = (TEMPLATE / "templates/pins" / runtime / "requirements.txt").read_text(encoding="utf-8")
    (numpy,) = re.findall(r"^numpy==.*\n", pins, re.M)
    assert f"\n{numpy}" in project.read("requirements.txt")
    assert f"Colab runtime {runtime}" in project.read("requirements.txt").split("\n")[0]


@pytest.mark.parametrize("task", CHOICES["task"])
@pytest.mark.parametrize("length", [1, 20, 35, 50])
@pytest.mark.parametrize("first", ["a", "z"])
def test_a_fresh_project_is_formatted_and_lints_clean_whatever_its_name(
    first: str, length: int, task: str, bake: Bake
) -> None:
    # The name decides the order of imports and the length of lines.
    project = bake(task=task, project_slug=first * length, github_owner="o" * min(length, 39))
    for command in (["format", "--diff"], ["check"]):
        finished = project.run(sys.executable, "-m", "ruff", *command, "--no-cache", ".")
        assert finished.returncode == 0, finished.stdout + finished.stderr
