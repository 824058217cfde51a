"""Every combination of choices gives a whole project, in which each file parses."""

import ast
import hashlib
import json
import re
import sys
import tomllib
from collections import Counter
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import yaml
from baking import CHOICES, PROJECT_FOLDER, TEMPLATE, Bake, Project
from baking import bake as bake_anew

# Each combination


def test_every_file_parses(project: Project) -> None:
    parsed = Counter(Path(name).suffix for name in project.texts() if parse(project, name))
    assert {".py", ".toml", ".ipynb", ".yml"} <= set(parsed)


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
        case _:
            return False
    return True


def test_no_template_syntax_is_left(project: Project) -> None:
    for name in project.texts():
        # GitHub's expressions ${{ … }} are meant
        assert re.findall(r"(?<!\$)\{\{.*|\{%.*", project.read(name)) == [], name


def test_every_file_ends_its_lines_as_unix_does(project: Project) -> None:
    for name in project.texts():
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
    for name in project.texts():
        assert [place for place in places if place in project.read(name)] == [], name


# All of them


FILES = """
    .gitattributes
    .github/dependabot.yml
    .github/workflows/ci.yml
    .github/workflows/update.yml
    .gitignore
    .pre-commit-config.yaml
    LICENSE
    README.md
    notebooks/setup.ipynb
    noxfile.py
    pyproject.toml
    requirements-dev.txt
    requirements.txt
    src/{package}/__init__.py
    src/{package}/__main__.py
    src/{package}/config.py
    src/{package}/data.py
    src/{package}/model.py
    src/{package}/train.py
    tests/conftest.py
    tests/test_data.py
    tests/test_model.py
    tests/test_notebook.py
    tests/test_train.py
    wheels/{wheel}
"""


@pytest.mark.parametrize("task", CHOICES["task"])
def test_a_project_holds_exactly_these_files(task: str, bake: Bake) -> None:
    (wheel,) = (TEMPLATE / PROJECT_FOLDER / "wheels").glob("exactrun-*.whl")
    expected = FILES.format(package="handwritten_digits", wheel=wheel.name).split()
    assert bake(task=task).files() == sorted(expected)
    assert len(expected) <= 30


@pytest.mark.parametrize("task", CHOICES["task"])
def test_a_project_is_small_enough_to_be_read(task: str, bake: Bake) -> None:
    project = bake(task=task)
    lines = {
        Path(name).stem: len(project.read(name).splitlines())
        for name in project.files()
        if name.endswith(".py")
    }
    assert sum(lines.values()) <= 900
    assert sum(lines[name] for name in ("config", "data", "model", "train")) <= 400
    cells = json.loads(project.read("notebooks/setup.ipynb"))["cells"]
    (first,) = (cell for cell in cells if cell["id"] == "setup")
    assert len(first["source"]) <= 50


def test_the_library_is_pinned_by_the_hash_of_the_wheel(bake: Bake) -> None:
    project = bake()
    text = project.read("requirements.txt")
    (wheel,) = (project.path / "wheels").iterdir()
    pinned = re.search(r"^exactrun==(\S+) --hash=sha256:(\w+)$", text, re.M)
    assert "\n--find-links ./wheels\n" in text
    assert pinned is not None
    assert wheel.name == f"exactrun-{pinned[1]}-py3-none-any.whl"
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == pinned[2]


@pytest.mark.parametrize("task", CHOICES["task"])
def test_a_second_notebook_begins_as_the_first(task: str, bake: Bake) -> None:
    cells = json.loads(bake(task=task).read("notebooks/setup.ipynb"))["cells"]
    assert [cell["id"] for cell in cells if cell["cell_type"] == "code"][:2] == [
        "parameters",
        "setup",
    ]


@pytest.mark.parametrize("task", CHOICES["task"])
def test_the_notebook_has_the_lines_of_train(task: str, bake: Bake) -> None:
    project = bake(task=task)
    source = project.read("src/handwritten_digits/train.py")
    whole = ast.parse(source)
    (train,) = (node for node in whole.body if isinstance(node, ast.FunctionDef))
    steps = [ast.unparse(step) for step in train.body[1:-1]]  # without docstring and return
    cells = json.loads(project.read("notebooks/setup.ipynb"))["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    shown = [
        ast.unparse(step).replace("project_dir=root", "project_dir=ROOT")
        for step in ast.parse(code).body
    ]
    shown = [step.removeprefix("machine = ") for step in shown]
    assert len(steps) >= 9
    assert [step for step in steps if step not in shown] == []


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
    assert re.findall(r"Colab runtime (\S+)", project.read("requirements.txt")) == [runtime]
    asked = json.loads(project.read("notebooks/setup.ipynb"))["metadata"]["colab"]
    named = None if runtime == "latest" else {"runtime_version": runtime}
    assert asked.get("runtime_attributes") == named
    # What holds the runtime, or its Python, is what `exactrun pins move` changes: nothing else.
    other = bake(colab_runtime=next(name for name in CHOICES["colab_runtime"] if name != runtime))
    assert project.files() == other.files()
    assert {name for name in project.texts() if project.read(name) != other.read(name)} == {
        "notebooks/setup.ipynb",
        "pyproject.toml",
        "requirements-dev.txt",
        "requirements.txt",
    }


@pytest.mark.parametrize("task", CHOICES["task"])
@pytest.mark.parametrize("length", [1, 20, 35, 50])
@pytest.mark.parametrize("first", ["a", "z"])
def test_a_fresh_project_is_formatted_and_lints_clean_whatever_its_name(
    first: str, length: int, task: str, bake: Bake
) -> None:
    # The name decides the order of imports and the length of lines.
    project = bake(task=task, project_slug=first * length, github_owner="o" * min(length, 39))
    notebooks = ["--isolated", "--line-length", "100", "notebooks"]  # whose code is its user's
    for command in (
        ["format", "--diff", "."],
        ["check", "."],
        ["format", "--diff", *notebooks],
        ["check", "--select", "F", *notebooks],
    ):
        finished = project.run(sys.executable, "-m", "ruff", *command, "--no-cache")
        assert finished.returncode == 0, finished.stdout + finished.stderr


def test_a_cell_written_in_colab_is_not_held_to_the_style_of_modules(tmp_path: Path) -> None:
    project = bake_anew(tmp_path)
    path = project.path / "notebooks" / "setup.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"][-1]["source"] = ["import os,sys\n", "x=[ 1,2 ]"]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    for command in (["format", "--diff"], ["check"]):
        finished = project.run(sys.executable, "-m", "ruff", *command, "--no-cache", ".")
        assert finished.returncode == 0, finished.stdout + finished.stderr
