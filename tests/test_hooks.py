"""The hooks: what is refused and how, and what a user reads afterwards."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from baking import PROJECT_FOLDER, TEMPLATE, bake_as_answered, cookiecutter_command, defaults
from cookiecutter.exceptions import FailedHookException
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Template

REFUSED_SLUGS = [
    ("class", "class is a keyword"),
    ("match", "match is a keyword"),
    ("none", "none is a keyword"),
    ("print", "built-in print"),
    ("json", "standard library, which has json"),
    ("distutils", "standard library, which has distutils"),  # until Python 3.11
    ("annotationlib", "standard library, which has annotationlib"),  # from Python 3.14 on
    ("tensorflow", "clash with tensorflow, which the project installs"),
    ("keras", "clash with keras"),
    ("papermill", "clash with papermill"),
    ("scikit-learn", "clash with scikit_learn"),
    ("sklearn", "clash with sklearn"),
    ("pil", "clash with pil"),
    ("harness", "clash with harness at the top"),
    ("nul", "Windows reserves"),
    ("com1", "Windows reserves"),
    ("My-Model", "must consist of the lower-case letters"),
    ("2048", "must consist of the lower-case letters"),
    ("model-", "must consist of the lower-case letters"),
    ("model.", "must consist of the lower-case letters"),
    ("model ", "must consist of the lower-case letters"),
    ("model\n", "must consist of the lower-case letters"),
    ("a:b", "must consist of the lower-case letters"),
    ("größe", "must consist of the lower-case letters"),
    ("", "must consist of the lower-case letters"),
    ("a/b", "inside another"),
    ("a\\b", "inside another"),
    ("../a", "inside another"),
    ("m" * 51, "has 51 characters; the project's code leaves room for 50"),
    (7, "must be text"),
]


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """The answers of someone who only presses Enter."""
    return defaults()


# What is refused


@pytest.mark.parametrize(("slug", "reason"), REFUSED_SLUGS)
def test_a_slug_that_would_break_something_is_refused(
    slug: object, reason: str, pre_gen: ModuleType
) -> None:
    assert reason in pre_gen.slug_fault(slug)


@pytest.mark.parametrize("slug", ["a", "my-model", "my_model", "r2d2", "tf-digits", "m" * 50])
def test_a_slug_that_breaks_nothing_is_accepted(slug: str, pre_gen: ModuleType) -> None:
    assert pre_gen.slug_fault(slug) is None


def test_every_pinned_package_is_refused_as_a_slug(pre_gen: ModuleType) -> None:
    files = list(TEMPLATE.glob("templates/pins/*/requirements*.txt"))
    pinned = {
        name
        for file in files
        for name in re.findall(r"^([A-Za-z0-9._-]+)==", file.read_text(encoding="utf-8"), re.M)
    }
    assert "tensorflow" in pinned
    slugs = {re.sub(r"[._]", "-", name.lower()) for name in pinned}
    assert [slug for slug in sorted(slugs) if pre_gen.slug_fault(slug) is None] == []


def test_what_lies_at_the_top_of_a_project_is_refused_as_a_slug(pre_gen: ModuleType) -> None:
    top = (TEMPLATE / PROJECT_FOLDER).iterdir()
    names = [path.stem for path in top if path.is_dir() or path.suffix == ".py"]
    importable = [name for name in names if name.isidentifier()]
    assert "notebooks" in importable
    assert [name for name in importable if pre_gen.slug_fault(name) is None] == []


@pytest.mark.parametrize("owner", ["a", "ada-lovelace", "Ada1", "your-github-name", "x" * 39])
def test_a_name_that_github_accepts_is_accepted(owner: str, pre_gen: ModuleType) -> None:
    assert pre_gen.owner_fault(owner) is None


@pytest.mark.parametrize(
    ("owner", "suggestion"),
    [
        ("", "your-github-name"),
        ("-ada", "ada"),
        ("ada-", "ada"),
        ("ada--l", "ada-l"),
        ("@ada", "ada"),
        ("Ada Lovelace", "Ada-Lovelace"),
        ("https://github.com/ada/engine", "ada"),
        ("git@github.com:ada/engine.git", "ada"),
        ("ada\n", "ada"),
        ("x" * 40, "x" * 39),
        ("日本", "your-github-name"),
    ],
)
def test_a_name_that_github_refuses_is_refused_with_one_that_it_accepts(
    owner: str, suggestion: str, pre_gen: ModuleType
) -> None:
    assert pre_gen.owner_fault(owner)
    assert pre_gen.suggest_owner(owner) == suggestion


@pytest.mark.parametrize("name", ["", " \n\t", "\u3000"])
def test_a_blank_project_name_is_refused(
    name: str, answers: dict[str, Any], pre_gen: ModuleType
) -> None:
    (refusal,) = pre_gen.refusals(answers | {"project_name": name})
    assert refusal[0] == "project_name"
    assert "blank" in refusal[2]


@pytest.mark.parametrize("name", ["project_name", "description", "author_name"])
def test_bytes_that_are_not_utf8_are_refused_with_a_reading_of_them(
    name: str, answers: dict[str, Any], pre_gen: ModuleType
) -> None:
    latin = b"caf\xe9".decode("utf-8", "surrogateescape")
    (refusal,) = pre_gen.refusals(answers | {name: latin})
    assert refusal == (name, latin, refusal[2], "café")
    assert "not UTF-8" in refusal[2]


@given(text=st.text())
def test_any_other_text_is_accepted_in_description_and_author(
    text: str, answers: dict[str, Any], pre_gen: ModuleType
) -> None:
    assert pre_gen.refusals(answers | {"description": text, "author_name": text}) == []


@pytest.mark.parametrize(
    ("name", "value", "suggestion"),
    [
        ("accelerator", "T5", "T4"),
        ("accelerator", "a100", "A100"),
        ("colab_runtime", 2026.07, "2026.07"),
        ("task", ["text"], "image"),
        ("license", None, "MIT"),
    ],
)
def test_a_choice_that_is_not_offered_is_refused_with_the_list(
    name: str,
    value: object,
    suggestion: str,
    answers: dict[str, Any],
    pre_gen: ModuleType,
) -> None:
    (refusal,) = pre_gen.refusals(answers | {name: value})
    assert refusal == (name, value, refusal[2], suggestion)
    assert all(choice in refusal[2] for choice in pre_gen.CHOICES[name])


def test_a_package_that_does_not_follow_from_the_slug_is_refused(
    answers: dict[str, Any], pre_gen: ModuleType
) -> None:
    (refusal,) = pre_gen.refusals(answers | {"__package": "../evil"})
    assert (refusal[0], refusal[3]) == ("__package", "handwritten_digits")


# What is suggested


def assert_suggestions_are_accepted(
    wrong: object, answers: dict[str, Any], pre_gen: ModuleType
) -> None:
    asked = [name for name in answers if not name.startswith("_")]
    given = answers | dict.fromkeys(asked, wrong)
    mended = given | {name: suggestion for name, _, _, suggestion in pre_gen.refusals(given)}
    mended["__package"] = mended["project_slug"].replace("-", "_")
    assert pre_gen.refusals(mended) == []


@pytest.mark.parametrize("wrong", [slug for slug, _ in REFUSED_SLUGS])
def test_every_suggestion_for_a_likely_mistake_is_accepted(
    wrong: object, answers: dict[str, Any], pre_gen: ModuleType
) -> None:
    assert_suggestions_are_accepted(wrong, answers, pre_gen)


@given(wrong=st.text(st.characters()) | st.from_regex(r"[a-z0-9_./\\-]{0,110}\Z"))
def test_every_suggestion_for_any_text_is_accepted(
    wrong: str, answers: dict[str, Any], pre_gen: ModuleType
) -> None:
    assert_suggestions_are_accepted(wrong, answers, pre_gen)


@pytest.mark.parametrize(
    ("slug", "suggestion"),
    [
        ("class", "class-project"),
        ("My Model", "my-model"),
        ("2048", "project-2048"),
        ("größe", "groe"),
        ("../models/cats", "cats"),
        ("a\\b", "b"),
        ("日本語", "colab-project"),
        ("{{ x }}", "x"),
        ("m" * 41 + "-" + "m" * 20, "m" * 41),
    ],
)
def test_a_suggested_slug_stays_near_to_what_was_asked(
    slug: str, suggestion: str, pre_gen: ModuleType
) -> None:
    assert pre_gen.suggest_slug(slug) == suggestion


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


def test_a_refused_generation_leaves_nothing_behind(tmp_path: Path) -> None:
    refused = cookiecutter_command("--no-input", "project_slug=tensorflow", cwd=tmp_path)
    assert refused.returncode == 1
    assert "clash with tensorflow" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_leaves_a_folder_that_was_there_as_it_was(
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


def test_the_empty_folder_that_a_slug_with_a_slash_leaves_is_named(
    small_template: Path, tmp_path: Path
) -> None:
    refused = cookiecutter_command(
        "--no-input", "project_slug=a/b/c", template=small_template, cwd=tmp_path
    )
    assert refused.returncode == 1
    (left,) = tmp_path.iterdir()  # as cookiecutter removes a/b/c only, whatever a hook does
    assert f"an empty folder behind; delete it: {left}\n" in refused.stderr


@pytest.mark.parametrize("slug", ["../beside", "{tmp_path}/beside", "full/beside"])
def test_a_slug_that_leads_to_a_folder_in_use_leaves_nothing_behind(
    slug: str, small_template: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    for folder in (here / "full", here / "other"):
        folder.mkdir(parents=True)
        (folder / "mine.txt").touch()
    (tmp_path / "mine.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    refused = cookiecutter_command(
        "--no-input",
        f"project_slug={slug.format(tmp_path=tmp_path)}",
        template=small_template,
        cwd=here,
    )
    assert refused.returncode == 1
    assert "Use: beside" in refused.stderr
    assert "delete it" not in refused.stderr
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
    assert "git remote add origin https://github.com/ada/handwritten-digits.git\n" in made.stdout
    assert (
        "       https://colab.research.google.com/github/ada/handwritten-digits"
        "/blob/main/notebooks/setup.ipynb\n"
    ) in made.stdout
    assert re.findall(r"^  (\d)\. ", made.stdout, re.M) == ["1", "2", "3"]


def test_the_way_into_the_project_is_right_from_any_folder(
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


@pytest.fixture
def rendered_post_gen(tmp_path: Path) -> Path:
    """``hooks/post_gen_project.py`` as cookiecutter would run it."""
    source = (TEMPLATE / "hooks" / "post_gen_project.py").read_text(encoding="utf-8")
    script = tmp_path / "hook.py"
    script.write_text(Template(source).render(cookiecutter=defaults()), encoding="utf-8")
    return script


def test_steps_that_a_terminal_cannot_spell_do_not_cost_the_project(
    rendered_post_gen: Path, tmp_path: Path
) -> None:
    project = tmp_path / "größe 🚀"
    project.mkdir()
    finished = subprocess.run(
        [sys.executable, rendered_post_gen],
        cwd=project,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        encoding="ascii",
        check=True,
    )
    assert "gr??e ?" in finished.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a closed standard output is set up by sh")
@pytest.mark.parametrize("output", ["| true", ">&-", ">/dev/full"])
def test_steps_that_nobody_reads_do_not_cost_the_project(
    rendered_post_gen: Path, output: str
) -> None:
    # The pause lets the reader of the pipe end first.
    script = f'set -o pipefail; (sleep 0.2; exec "$0" "$1") {output}'
    finished = subprocess.run(
        ["bash", "-c", script, sys.executable, rendered_post_gen], capture_output=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, b"")


# What the hooks need


@pytest.mark.parametrize("name", ["pre_gen_project", "post_gen_project"])
def test_the_hooks_import_little_and_reach_for_no_network_or_program(
    name: str, tmp_path: Path
) -> None:
    source = (TEMPLATE / "hooks" / f"{name}.py").read_text(encoding="utf-8")
    script = tmp_path / "hook.py"
    script.write_text(Template(source).render(cookiecutter=defaults()), encoding="utf-8")
    finished = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    imported = set(re.findall(r"\| +([\w.]+)$", finished.stderr, re.M))
    assert "json" in imported
    assert imported.isdisjoint({"socket", "ssl", "subprocess", "typing", "dataclasses", "textwrap"})


@given(text=st.text(st.characters()))
def test_answers_reach_the_hooks_as_data(text: str) -> None:
    answers = {"description": text, "'": '"""', "checkout": None}
    source = (TEMPLATE / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    (call,) = re.findall(r"json\.loads\((.*)\)\)\)$", source, re.M)
    rendered = Template(call).render(cookiecutter=answers)
    assert json.loads(ast.literal_eval(rendered)) == answers
