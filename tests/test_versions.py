"""The template's version: `cookiecutter.json`, the changelog and a tag say the same."""

import re
import subprocess
import tomllib
from datetime import date

from baking import QUESTIONS, TEMPLATE, Bake

HEADINGS = re.findall(r"^## (.+)$", (TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
VERSION = QUESTIONS["_version"]


def test_the_newest_heading_is_the_templates_version() -> None:
    assert HEADINGS[0].split()[0] == VERSION


def test_each_heading_has_a_version_and_only_the_newest_may_lack_a_date() -> None:
    newest, *released = HEADINGS
    if newest != f"{VERSION} (unreleased)":
        released = HEADINGS
    found = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) \((\d{4}-\d\d-\d\d)\)", text) for text in released]
    assert all(found), released
    dates = [date.fromisoformat(each[4]) for each in found if each]
    assert dates == sorted(dates, reverse=True)
    versions = [tuple(map(int, text.split()[0].split("."))) for text in HEADINGS]
    assert versions == sorted(set(versions), reverse=True)


def test_each_version_says_what_a_project_has_to_do() -> None:
    text = (TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8")
    *sections, first = re.split(r"^## .+\n", text, flags=re.M)[1:]
    assert all("### What a project has to do\n" in section for section in sections)
    assert first


def test_a_tag_of_this_commit_is_the_version_and_has_a_date() -> None:
    command = ("git", "tag", "--list", "v*", "--points-at", "HEAD")
    done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=False)
    for tag in done.stdout.split():
        assert tag == f"v{VERSION}"
        assert "unreleased" not in HEADINGS[0]


def test_a_project_says_which_version_made_it(bake: Bake) -> None:
    text = bake().read("pyproject.toml")
    assert text.splitlines()[0] == f"# Made from cookiecutter-colab-tensorflow {VERSION}."
    assert tomllib.loads(text)
