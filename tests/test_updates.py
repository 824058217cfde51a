"""What is new in the template reaches a project by cruft, and leaves alone what is its user's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from baking import PROJECT_FOLDER, TEMPLATE
from repositories import commit, commit_template, run, tags

pytestmark = pytest.mark.slow

NAME, SLUG = 'Bird "songs"\n& Größe 🐦 {{ x }} {% if %}', "bird-songs"
GIVEN = f"{{% raw %}}{NAME}{{% endraw %}}"  # on a command line, cookiecutter renders what is given
ANSWERS = {"project_name": GIVEN, "project_slug": SLUG, "task": "text"}
FLAGS = ("--no-input", "--extra-context", json.dumps(ANSWERS))
MINE = "\nMINE = True\n"
PARAGRAPH = "My birds sing in the garden.\n\n"


EARLIER = [tag for tag in tags("v*") if not tag.startswith("v1.")]
"""What a project can be updated from by cruft; the first edition's have a way of their own."""


def change(project: Path) -> None:
    """Do what a user does: change a module and the README, add a module, and commit."""
    with (project / "src/bird_songs/data.py").open("a") as file:
        file.write(MINE)
    (project / "src/bird_songs/birds.py").write_text(MINE)
    readme = project / "README.md"
    text = readme.read_text(encoding="utf-8")
    assert "## Licence\n" in text
    readme.write_text(text.replace("## Licence\n", f"{PARAGRAPH}## Licence\n"), encoding="utf-8")
    commit(project, "Mine")


def update(project: Path) -> None:
    """Update a changed project; nothing is in conflict, and what is its user's is there."""
    run(project, "cruft", "update", "--skip-apply-ask")
    assert not list(project.rglob("*.rej")) + list(project.rglob("*.orig"))
    assert "<<<<" not in run(project, "git", "diff", "HEAD")
    assert (project / "src/bird_songs/data.py").read_text(encoding="utf-8").endswith(MINE)
    assert (project / "src/bird_songs/birds.py").read_text() == MINE
    assert PARAGRAPH in (project / "README.md").read_text(encoding="utf-8")
    commit(project, "Update")

    # What differs from the template now is the user's own alone.
    different = run(project, "cruft", "diff").splitlines()
    files = [line for line in different if line.startswith("--- ")]
    assert sorted(Path(line).name for line in files) == ["README.md", "data.py"]
    changed = [line for line in different if line.startswith(("+", "-"))]
    own = [line for line in changed if not line.startswith(("+++", "---"))]
    assert sorted(own) == ["-", "-", "-MINE = True", f"-{PARAGRAPH.strip()}"]
    assert "up to date" in run(project, "cruft", "check").lower()


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A repository of the template as it is here, committed or not."""
    copy = tmp_path / "template"
    copy.mkdir()
    commit_template(copy, "First")
    return copy


@pytest.fixture(params=["cruft create", "cookiecutter, then cruft link"])
def project(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Path:
    """A project that its user has changed and committed."""
    place = tmp_path / SLUG
    if request.param == "cruft create":
        said = run(tmp_path, "cruft", "create", *FLAGS, template)
        assert said.endswith("later:\n       cruft update\n\n")  # no link is missing
        commit(place, "First")
    else:
        given = [f"{name}={value}" for name, value in ANSWERS.items()]
        run(tmp_path, "cookiecutter", "--no-input", template, *given)
        commit(place, "First")
        run(place, "cruft", "link", *FLAGS, template)
        commit(place, "Link to the template")
    change(place)
    return place


def test_an_update_brings_what_is_new_and_keeps_what_is_the_users(
    project: Path, template: Path
) -> None:
    inside = template / PROJECT_FOLDER
    readme = inside / "README.md"
    readme.write_text(readme.read_text().replace("## Three ways to run it", "## Ways to run it"))
    (inside / "NEWS.md").write_text("{{ cookiecutter.project_slug }}\n")
    settings = template / "templates/config_common.py"
    settings.write_text(settings.read_text() + "\nNEW = True\n")
    commit(template, "Second")

    update(project)
    readme = project / "README.md"
    assert "## Ways to run it" in readme.read_text(encoding="utf-8")
    assert readme.read_text(encoding="utf-8").startswith(f"# {' '.join(NAME.split())}\n")
    assert (project / "NEWS.md").read_text() == f"{SLUG}\n"
    assert "NEW = True" in (project / "src/bird_songs/config.py").read_text(encoding="utf-8")


def test_an_update_with_nothing_new_changes_nothing(project: Path) -> None:
    run(project, "cruft", "update", "--skip-apply-ask")
    assert run(project, "git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "tag", EARLIER or [pytest.param("", marks=pytest.mark.skip("no tag yet, or a shallow clone"))]
)
def test_an_update_from_each_tagged_version(tag: str, tmp_path: Path) -> None:
    template, project = tmp_path / "template", tmp_path / SLUG
    run(tmp_path, "git", "clone", "--quiet", TEMPLATE, template)
    run(tmp_path, "cruft", "create", *FLAGS, "--checkout", tag, template)
    commit(project, "First")
    change(project)
    new = commit_template(template, "What is here, committed or not")
    update(project)
    assert json.loads((project / ".cruft.json").read_text(encoding="utf-8"))["commit"] == new
