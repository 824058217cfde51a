"""Any text is safe in the free answers, and where cookiecutter itself sets a limit to that.

What is typed at a prompt, or comes from a replay file, is text. An answer on the command line
(``cookiecutter … description="…"``), in the user's configuration file, or kept by cruft is rendered
as Jinja by cookiecutter, before any hook or file of a template can see it; ``{% raw %}`` around it
is the way out. What is kept is therefore a form that renders to the text.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from baking import (
    QUESTIONS,
    TEMPLATE,
    TEXTS,
    Project,
    asked,
    bake_as_answered,
    cookiecutter_command,
    defaults,
)
from cookiecutter import prompt
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

HARD = (
    """"'\\ \\n {{ x }} {% if %} {# #} ${{ y }} \n\r\n\t """
    "<b>&amp; # % `*_` Größe 日本 🚀 שלום \u202eabc"
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def one_line(text: str) -> str:
    """What a text becomes where a file has one line for it."""
    return " ".join(text.split())


# Macros


@pytest.fixture(scope="module")
def macros() -> Any:
    """``templates/macros.jinja`` as cookiecutter loads it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE / "templates"),
        keep_trailing_newline=True,
        **QUESTIONS["_jinja2_env_vars"],
    )
    return environment.get_template("macros.jinja").module


@given(text=TEXT)
@example(text=HARD)
@example(text="".join(map(chr, range(0x100))) + "\u2028\u2029\ufeff\ufffe\uffff\U0010ffff")
def test_a_quoted_text_is_the_same_text_in_json_toml_yaml_and_python(
    text: str, macros: Any
) -> None:
    quoted = macros.quoted(text)
    assert json.loads(quoted) == text
    assert tomllib.loads(f"text = {quoted}")["text"] == text
    assert yaml.safe_load(quoted) == text
    assert eval(quoted, {}) == text


def test_a_quoted_text_stays_readable(macros: Any) -> None:
    assert macros.quoted("It's <b>Größe</b> 🚀 & more") == '"It\'s <b>Größe</b> 🚀 & more"'
    assert macros.quoted('a "b" \\ \n') == r'"a \"b\" \\ \n"'


@given(text=TEXT)
@example(text=HARD)
def test_a_line_is_the_text_with_each_run_of_whitespace_as_one_space(
    text: str, macros: Any
) -> None:
    assert macros.line(text) == one_line(text)


# Whole projects


def texts_of(project: Project) -> dict[str, Any]:
    """Where the free answers are found in a generated project; of Markdown and text, the lines."""
    pyproject = tomllib.loads(project.read("pyproject.toml"))["project"]
    notebook = json.loads(project.read("notebooks/setup.ipynb"))
    return {
        "description": pyproject["description"],
        "author": pyproject["authors"][0]["name"],
        "notebook": [line.removesuffix("\n") for line in notebook["cells"][0]["source"]],
        "license": project.read("LICENSE").split("\n"),
        "readme": project.read("README.md").split("\n"),
    }


# Shrinking a failure would take minutes of generating; the texts are short as it is.
@settings(max_examples=40, phases=[Phase.explicit, Phase.generate])
@given(project_name=TEXT.filter(str.strip), description=TEXT, author_name=TEXT)
@example(project_name=f"Name {HARD}", description=f"What {HARD}", author_name=f"Who {HARD}")
def test_any_text_reaches_the_project_whole(
    project_name: str, description: str, author_name: str, tmp_path_factory: Any
) -> None:
    answers = {
        "project_name": project_name,
        "description": description,
        "author_name": author_name,
        "project_slug": "fuzzed",
        "__asked_slug": "fuzzed",
        "__package": "fuzzed",
        "__year": "2026",
    }
    project = bake_as_answered(tmp_path_factory.mktemp("fuzz"), answers=answers)
    found = texts_of(project)
    assert found["description"] == one_line(description)
    assert found["author"] == one_line(author_name)
    assert found["notebook"][0] == f"# {one_line(project_name)}"
    assert one_line(description) in found["notebook"]
    assert f"Copyright (c) 2026 {one_line(author_name)}" in found["license"]
    assert f"# {one_line(project_name)}" in found["readme"]
    assert one_line(description) in found["readme"]
    for name in project.files():
        if name.endswith(".py"):
            compile(project.read(name), name, "exec")
        elif name.endswith((".yml", ".yaml")):
            yaml.safe_load(project.read(name))


# The limit: answers that are not typed are rendered


@pytest.mark.parametrize("text", ["{{ 6 * 7 }}", "{% raw %}{{ x }} {% if %} {# #}{% endraw %}"])
def test_an_answer_on_the_command_line_is_rendered_unless_it_is_raw(
    text: str, small_template: Path, tmp_path: Path
) -> None:
    made = cookiecutter_command(
        "--no-input", f"description={text}", template=small_template, cwd=tmp_path
    )
    assert made.returncode == 0, made.stdout
    texts = tomllib.loads(Project(tmp_path / "handwritten-digits").read("texts.toml"))
    rendered = {"{{ 6 * 7 }}": "42"}
    assert texts["description"] == rendered.get(text, "{{ x }} {% if %} {# #}")


def test_an_answer_on_the_command_line_that_cannot_be_rendered_stops_before_a_file_is_made(
    small_template: Path, tmp_path: Path
) -> None:
    refused = cookiecutter_command(
        "--no-input", "description={{ x }}", template=small_template, cwd=tmp_path
    )
    assert refused.returncode == 1
    assert "Unable to render variable 'description'" in refused.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_answer_typed_or_replayed_is_not_rendered(small_template: Path, tmp_path: Path) -> None:
    project = bake_as_answered(
        tmp_path, template=small_template, hooks=True, answers={"description": HARD}
    )
    assert tomllib.loads(project.read("texts.toml"))["description"] == one_line(HARD)
    assert defaults()["description"] not in project.read("answers.json")


@settings(max_examples=100, phases=[Phase.explicit, Phase.generate])
# Jinja makes "\r" a "\n"; no prompt returns one.
@given(text=TEXT.filter(lambda text: text.strip() and "\r" not in text))
@example(text=HARD)
@example(text="{% endraw %} '''{{ \"}}\" }} \\u0041 {# 🚀 \x00\x7f\u2028")
def test_what_is_kept_of_a_typed_answer_is_rendered_to_the_same_text(text: str) -> None:
    typed = {"description": text, "project_name": text, "author_name": text, "project_slug": "a"}

    def answer(name: str, default: str, *_: Any) -> str:
        return typed.get(name, default)

    def choose(name: str, options: list[str], *_: Any) -> str:
        return options[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt, "read_user_variable", answer)
        patch.setattr(prompt, "read_user_choice", choose)
        context = dict(prompt.prompt_for_config(asked(), no_input=False))
    # What cruft reads again from .cruft.json, when it updates the project.
    kept = {name: value for name, value in context.items() if not name.startswith("_")}
    again = dict(prompt.prompt_for_config(asked(**kept), no_input=True))
    assert again == context
    for name in TEXTS:
        assert again[f"__{name}"] == text
        assert "{" in text or kept[name] == text
