"""What is new in the template reaches a project by cruft, and leaves alone what is its user's."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from baking import PROJECT_FOLDER, TEMPLATE

pytestmark = pytest.mark.slow

NAME, SLUG = 'Bird "songs"\n& Größe 🐦 {{ x }} {% if %}', "bird-songs"
GIVEN = f"{{% raw %}}{NAME}{{% endraw %}}"  # on a command line, cookiecutter renders what is given
MINE = "\nMINE = True\n"


def run(place: Path, *command: str | Path) -> str:
    env = {"GIT_AUTHOR_NAME": "Test", "GIT_COMMITTER_NAME": "Test"}
    env |= {"GIT_AUTHOR_EMAIL": "test@example.org", "GIT_COMMITTER_EMAIL": "test@example.org"}
    done = subprocess.run(
        command, cwd=place, env=os.environ | env, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commit(place: Path, message: str) -> None:
    run(place, "git", "add", "--all")
    run(place, "git", "commit", "--quiet", "--message", message)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A repository of the template as it is here, committed or not."""
    copy = tmp_path / "template"
    for name in run(TEMPLATE, "git", "ls-files", "-z").split("\0"):
        if (TEMPLATE / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TEMPLATE / name, copy / name)
    run(copy, "git", "init", "--quiet", "--initial-branch", "main")
    commit(copy, "First")
    return copy


@pytest.fixture(params=["cruft create", "cookiecutter, then cruft link"])
def project(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Path:
    """A project that its user has changed and committed."""
    answers = {"project_name": GIVEN, "project_slug": SLUG, "task": "text"}
    if request.param == "cruft create":
        flags = ("--no-input", "--extra-context", json.dumps(answers))
        run(tmp_path, "cruft", "create", *flags, template)
    else:
        given = [f"{name}={value}" for name, value in answers.items()]
        run(tmp_path, "cookiecutter", "--no-input", template, *given)
    place = tmp_path / SLUG
    run(place, "git", "init", "--quiet", "--initial-branch", "main")
    commit(place, "First")
    if request.param != "cruft create":
        flags = ("--no-input", "--extra-context", json.dumps(answers))
        run(place, "cruft", "link", *flags, template)
        commit(place, "Link to the template")
    with (place / "src/bird_songs/data.py").open("a") as file:
        file.write(MINE)
    (place / "src/bird_songs/birds.py").write_text(MINE)
    commit(place, "Mine")
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

    run(project, "cruft", "update", "--skip-apply-ask")
    assert not list(project.rglob("*.rej")) + list(project.rglob("*.orig"))
    readme = project / "README.md"
    assert "## Ways to run it" in readme.read_text(encoding="utf-8")
    assert readme.read_text(encoding="utf-8").startswith(f"# {' '.join(NAME.split())}\n")
    assert (project / "NEWS.md").read_text() == f"{SLUG}\n"
    assert "NEW = True" in (project / "src/bird_songs/config.py").read_text(encoding="utf-8")
    assert (project / "src/bird_songs/data.py").read_text(encoding="utf-8").endswith(MINE)
    assert (project / "src/bird_songs/birds.py").read_text() == MINE
    assert "<<<<" not in run(project, "git", "diff", "HEAD")
    commit(project, "Update")

    # What differs from the template now is the user's own alone.
    different = run(project, "cruft", "diff").splitlines()
    (file,) = [line for line in different if line.startswith("--- ")]
    assert file.endswith("/src/bird_songs/data.py")
    changed = [line for line in different if line.startswith(("+", "-"))][2:]
    assert changed == ["-", "-MINE = True"]
    assert "up to date" in run(project, "cruft", "check").lower()


def test_an_update_with_nothing_new_changes_nothing(project: Path) -> None:
    run(project, "cruft", "update", "--skip-apply-ask")
    assert run(project, "git", "status", "--porcelain") == ""
