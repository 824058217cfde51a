"""The questions: their order, their wording, and what is derived from the answers."""

import datetime
import itertools
import json
from pathlib import Path
from types import ModuleType

import pytest
from baking import CHOICES, QUESTIONS, cookiecutter_command, defaults

ASKED = [
    "project_name",
    "project_slug",
    "description",
    "author_name",
    "github_owner",
    "task",
    "accelerator",
    "colab_runtime",
    "license",
]


def test_nine_questions_are_asked_in_this_order() -> None:
    assert [name for name in QUESTIONS if not name.startswith("_")] == ASKED


@pytest.mark.parametrize("name", ASKED)
def test_each_question_is_put_in_words_and_each_choice_explained(name: str) -> None:
    prompt = QUESTIONS["__prompts__"][name]
    if name in CHOICES:
        assert list(prompt) == ["__prompt__", *CHOICES[name]]
        for choice in CHOICES[name]:
            assert prompt[choice].startswith(f"{choice}: ")
    else:
        assert prompt
        assert isinstance(prompt, str)


def test_there_is_no_prompt_without_a_question() -> None:
    assert sorted(QUESTIONS["__prompts__"]) == sorted(ASKED)


def test_no_extension_is_needed_that_cruft_would_lack() -> None:
    assert "_extensions" not in QUESTIONS


@pytest.mark.parametrize(
    ("name", "slug", "package"),
    [
        ("Handwritten Digits", "handwritten-digits", "handwritten_digits"),
        ("  Größe & Maß ", "grosse-mass", "grosse_mass"),
        ("日本語", "ri-ben-yu", "ri_ben_yu"),
        ("!!!", "colab-project", "colab_project"),
        ("", "colab-project", "colab_project"),
        ("ten chars " * 9, "ten-chars-" * 4 + "ten-chars", "ten_chars_" * 4 + "ten_chars"),
    ],
)
def test_slug_and_package_follow_from_the_name(name: str, slug: str, package: str) -> None:
    answers = defaults(project_name=name)
    assert answers["project_slug"] == slug
    assert answers["__package"] == package


def test_the_year_is_the_year_of_generation() -> None:
    before = datetime.datetime.now(datetime.UTC).year
    year = int(defaults()["__year"])
    assert before <= year <= datetime.datetime.now(datetime.UTC).year


def test_the_hook_knows_the_same_choices(pre_gen: ModuleType) -> None:
    assert {name: list(choices) for name, choices in pre_gen.CHOICES.items()} == CHOICES


def test_the_defaults_and_every_combination_of_choices_are_accepted(pre_gen: ModuleType) -> None:
    for choices in itertools.product(*CHOICES.values()):
        answers = defaults() | dict(zip(CHOICES, choices, strict=True))
        assert pre_gen.refusals(answers) == []


def test_answers_typed_at_the_prompts_are_what_the_project_gets(
    small_template: Path, tmp_path: Path
) -> None:
    description = """{{ x }} "'\\ {% if %} Ünï 🚀 שלום"""
    typed = ["My Model", "", description, "Ada", "ada", "2", "4", "", "3"]
    finished = cookiecutter_command(
        template=small_template,
        cwd=tmp_path,
        input="\n".join(typed) + "\n",
        env={"COLUMNS": "200"},  # no line of a question is broken in two
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for prompt in QUESTIONS["__prompts__"].values():
        for words in [prompt] if isinstance(prompt, str) else prompt.values():
            assert words in finished.stdout
    answers = json.loads((tmp_path / "my-model/answers.json").read_text(encoding="utf-8"))
    assert [answers.get(f"__{name}", answers[name]) for name in ASKED] == [
        "My Model",
        "my-model",
        description,
        "Ada",
        "ada",
        "text",
        "CPU",
        CHOICES["colab_runtime"][0],
        "BSD-3-Clause",
    ]
