"""The hooks as cookiecutter runs them: what a user reads, and what is left on disk."""

import os
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from baking import TEMPLATE, bake_as_answered, cookiecutter_command, defaults
from cookiecutter.exceptions import FailedHookException
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Template


def source_of(hook: str) -> str:
    return (TEMPLATE / "hooks" / f"{hook}.py").read_text(encoding="utf-8")


def rendered(hook: str, folder: Path) -> Path:
    """The file that cookiecutter would run, written into a folder."""
    script = folder / "hook.py"
    answers = defaults() | {"_template": "gh:owner/template"}
    script.write_text(Template(source_of(hook)).render(cookiecutter=answers), encoding="utf-8")
    return script


# What a user sees of a refusal


def test_all_wrong_answers_are_refused_at_once_each_with_a_way_out(
    small_template: Path, tmp_path: Path
) -> None:
    refused = cookiecutter_command(
        "--no-input",
        b"description=caf\xe9",
        "project_name= ",
        "project_slug=class",
        "github_owner=-ada-",
        template=small_template,
        cwd=tmp_path,
    )
    assert refused.returncode == 1
    assert refused.stderr == (
        """
4 answers can't be used, so no project was generated.

  project_name: ' '
      It is blank; README and notebook need a title.
      Use: Handwritten Digits

  project_slug: 'class'
      Python could not import the package: class is a keyword.
      Use: class-project

  description: 'caf\\udce9'
      It holds bytes that are not UTF-8, so it can't be written to a file.
      Use: café

  github_owner: '-ada-'
      GitHub's names have 1 to 39 letters a-z, digits and single hyphens, with
      no hyphen at either end.
      Use: ada

Run the command again with these answers. Below, cookiecutter logs the stop.
"""
    )
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_would_fill_the_screen_is_shortened(
    answers: dict[str, Any], pre_gen: ModuleType
) -> None:
    found = pre_gen.refusals(answers | {"project_slug": "x" * 10_000})
    assert max(len(line) for line in pre_gen.message(found).splitlines()) <= 100


def test_a_refusal_leaves_a_directory_that_was_there_as_it_was(
    small_template: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "keras" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    refused = cookiecutter_command(
        "--no-input",
        "--overwrite-if-exists",
        "project_slug=keras",
        template=small_template,
        cwd=tmp_path,
    )
    assert refused.returncode == 1
    assert [path.name for path in mine.parent.iterdir()] == ["mine.txt"]
    assert mine.read_text() == "precious"


@pytest.mark.parametrize(
    "slug",
    [
        *("", " ", ".", "..", "a/b/c", "a\\b", "../beside", "{tmp_path}/beside", "full/beside"),
        *("x" * 300, "My Model", "größe", "a--b", "-a", "2048", "class"),
    ],
)
def test_a_slug_that_names_no_directory_is_refused_and_leaves_nothing_behind(
    slug: str, small_template: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    for directory in (here / "full", here / "other"):
        directory.mkdir(parents=True)
        (directory / "mine.txt").touch()
    (tmp_path / "mine.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    slug = slug.format(tmp_path=tmp_path)
    refused = cookiecutter_command(
        "--no-input", f"project_slug={slug}", template=small_template, cwd=here
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("\n1 answer can't be used, so no project was generated.")
    assert f"project_slug: {repr(slug)[:50]}" in refused.stderr
    assert re.search(r"\n +Use: [a-z][a-z0-9-]*\n", refused.stderr)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_replay_file_with_a_choice_that_is_not_offered_is_refused(
    small_template: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FailedHookException):
        bake_as_answered(
            tmp_path, template=small_template, hooks=True, answers={"accelerator": "T5"}
        )
    assert "The choices are T4, L4, A100, CPU." in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["answers.json"]


# What a user sees of a success


def test_the_next_three_steps_are_printed(tmp_path: Path) -> None:
    made = cookiecutter_command(
        "--no-input", "github_owner=ada", cwd=tmp_path, env={"PWD": str(tmp_path)}
    )
    assert made.returncode == 0, made.stderr
    steps = made.stdout.split("\n  ")
    assert steps[0] == "\nhandwritten-digits is ready. Next:\n"
    assert "       cd handwritten-digits\n" in made.stdout
    assert '       python -m pip install "nox[uv]"\n       nox\n' in made.stdout
    # In an environment of its own: nox replaces packages that are pinned.
    assert re.search(r"-m venv \.nox/nox\n +\S.*\bactivate\n +python -m pip", made.stdout)
    assert "git remote add origin https://github.com/ada/handwritten-digits.git\n" in made.stdout
    assert (
        "       https://colab.research.google.com/github/ada/handwritten-digits"
        "/blob/main/notebooks/setup.ipynb\n"
    ) in made.stdout
    assert re.findall(r"^  (\d)\. ", made.stdout, re.M) == ["1", "2", "3"]
    link = f"cruft link {TEMPLATE}, once, with the same answers; then cruft update\n"
    assert made.stdout.endswith(f"       {link}\n")


def test_a_template_beside_the_project_is_linked_by_its_whole_path(
    small_template: Path, tmp_path: Path
) -> None:
    made = cookiecutter_command(
        *("--no-input", "--output-dir", tmp_path),
        template=Path("."),
        cwd=small_template,
        env={"PWD": str(small_template)},
    )
    assert f"       cruft link {small_template}, once" in made.stdout


def test_the_template_is_linked_by_an_address_that_cruft_knows(tmp_path: Path) -> None:
    hook = rendered("post_gen_project", tmp_path)
    made = subprocess.run([sys.executable, hook], capture_output=True, text=True, check=True)
    assert "\n       cruft link https://github.com/owner/template, once" in made.stdout


def test_the_way_into_the_project_is_right_from_any_directory(
    small_template: Path, tmp_path: Path
) -> None:
    output = tmp_path / "with space"
    output.mkdir()
    made = cookiecutter_command(
        "--no-input",
        "--output-dir",
        output,
        template=small_template,
        cwd=tmp_path,
        env={"PWD": str(tmp_path)},
    )
    assert f'       cd "{output / "handwritten-digits"}"\n' in made.stdout


def test_steps_that_a_terminal_cannot_spell_do_not_cost_the_project(tmp_path: Path) -> None:
    project = tmp_path / "größe 🚀"
    project.mkdir()
    finished = subprocess.run(
        [sys.executable, rendered("post_gen_project", tmp_path)],
        cwd=project,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        encoding="ascii",
        check=True,
    )
    assert "gr??e ?" in finished.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a closed standard output is set up by sh")
@pytest.mark.parametrize("output", ["| true", ">&-", ">/dev/full"])
def test_steps_that_nobody_reads_do_not_cost_the_project(output: str, tmp_path: Path) -> None:
    # The pause lets the reader of the pipe end first.
    script = f'set -o pipefail; (sleep 0.2; exec "$0" "$1") {output}'
    command = ["bash", "-c", script, sys.executable, rendered("post_gen_project", tmp_path)]
    finished = subprocess.run(command, capture_output=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, b"")


# What the hooks need


@pytest.mark.parametrize("name", ["pre_gen_project", "post_gen_project"])
def test_the_hooks_import_little_and_reach_for_no_network_or_program(
    name: str, tmp_path: Path
) -> None:
    finished = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", rendered(name, tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    imported = set(re.findall(r"\| +([\w.]+)$", finished.stderr, re.M))
    assert "os" in imported
    # json and re take as long as Python's own start, which every user waits for
    assert imported.isdisjoint({"json", "re", "socket", "ssl", "subprocess", "typing", "textwrap"})


@given(text=st.text(st.characters()))
def test_any_answer_reaches_the_hook_as_it_was_given(text: str) -> None:
    answers = OrderedDict({text: [text, None, 2026.07, True], "settings": OrderedDict(a=text)})
    (literal,) = re.findall(r"main\((\{\{.*\}\})\)", source_of("pre_gen_project"))
    code = Template(literal).render(cookiecutter=answers)
    assert eval(code, {"OrderedDict": OrderedDict}) == answers
