"""Which answers are refused, and what is suggested instead: ``hooks/pre_gen_project.py``."""

import re
from types import ModuleType
from typing import Any

import pytest
from baking import PROJECT_FOLDER, TEMPLATE
from hypothesis import given
from hypothesis import strategies as st

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
    ("notebooks", "clash with notebooks at the top"),
    ("exactrun", "clash with exactrun"),
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
    ("a--b", "must consist of the lower-case letters"),
    ("a/b", "must consist of the lower-case letters"),
    ("a\\b", "must consist of the lower-case letters"),
    ("../a", "must consist of the lower-case letters"),
    ("m" * 51, "has 51 characters; the project's code leaves room for 50"),
    (7, "must be text"),
]


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


def test_a_text_that_is_kept_in_another_form_is_looked_at_itself(
    answers: dict[str, Any], pre_gen: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    latin = b"caf\xe9 {{".decode("utf-8", "surrogateescape")
    kept = {"description": f"{{{{ {latin!r} }}}}", "__description": latin}
    assert pre_gen.main(answers | kept) == 1
    assert "Use: café {{" in capsys.readouterr().err


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
    given = answers | dict.fromkeys([*asked, "__asked_slug"], wrong)
    fixed = given | {name: suggestion for name, _, _, suggestion in pre_gen.refusals(given)}
    fixed["__asked_slug"] = fixed["project_slug"]
    fixed["__package"] = fixed["project_slug"].replace("-", "_")
    assert pre_gen.refusals(fixed) == []


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
        ("a--b", "a-b"),
        ("m" * 41 + "-" + "m" * 20, "m" * 41),
    ],
)
def test_a_suggested_slug_stays_near_to_what_was_asked(
    slug: str, suggestion: str, pre_gen: ModuleType
) -> None:
    assert pre_gen.suggest_slug(slug) == suggestion
