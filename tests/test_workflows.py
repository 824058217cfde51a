"""The workflows' own scripts, on a repository of this machine and with a `gh` that takes notes."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from baking import PROJECT_FOLDER, TEMPLATE, Bake

GIT = ("git", "-c", "user.name=Test", "-c", "user.email=test@example.org")
GH = """#!/bin/sh
echo "gh $*" >> "$NOTES"
# One pull request is open at a time, as on GitHub.
if [ "$1 $2" = "pr create" ] && [ -e "$NOTES.open" ]; then exit 1; fi
if [ "$1 $2" = "pr create" ]; then touch "$NOTES.open"; fi
"""


def git(place: Path, *arguments: str) -> str:
    done = subprocess.run([*GIT, *arguments], cwd=place, capture_output=True, text=True, check=True)
    return done.stdout


class Github:
    """A repository with an `origin`, and what a job's step finds in its environment."""

    def __init__(self, place: Path) -> None:
        self.origin, self.checkout = place / "origin", place / "checkout"
        self.temp, self.notes = place / "temp", place / "notes"
        git(place, "init", "--quiet", "--bare", "--initial-branch", "main", str(self.origin))
        self.temp.mkdir()
        (place / "bin").mkdir()
        (place / "bin/gh").write_text(GH)
        (place / "bin/gh").chmod(0o755)
        self.path = os.pathsep.join([str(place / "bin"), os.environ["PATH"]])
        self.clone()
        for name in ("kept.txt", ".github/workflows/ci.yml"):
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (self.checkout / name).write_text("old\n")
        git(self.checkout, "add", "--all")
        git(self.checkout, "commit", "--quiet", "--message", "First")
        git(self.checkout, "push", "--quiet", "origin", "HEAD:main")

    def clone(self) -> None:
        """Check the main branch out anew, as each job does."""
        subprocess.run(["rm", "-rf", str(self.checkout)], check=True)
        git(self.origin, "clone", "--quiet", str(self.origin), str(self.checkout))

    def change(self, *names: str, content: str) -> None:
        """Write the patch that the first job would hand over."""
        self.clone()
        for name in names:
            (self.checkout / name).write_text(content)
        git(self.checkout, "add", "--all")
        patch = git(self.checkout, "diff", "--cached", "--binary")
        (self.temp / "template.patch").write_text(patch)
        (self.temp / "patch").mkdir(exist_ok=True)
        (self.temp / "patch/changes.patch").write_text(patch)
        (self.temp / "patch/body.md").write_text("What changed.\n")
        self.clone()

    def run(self, script: str) -> None:
        env = {"PATH": self.path, "NOTES": str(self.notes), "RUNNER_TEMP": str(self.temp)}
        subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.checkout,
            env=os.environ | env | {"RUN": "17"},
            check=True,
        )

    def shown(self, branch: str, name: str) -> str:
        return git(self.origin, "show", f"{branch}:{name}")


@pytest.fixture
def github(tmp_path: Path) -> Github:
    return Github(tmp_path)


def job(text: str, name: str) -> Any:
    return yaml.safe_load(text)["jobs"][name]


def script(steps: Any) -> str:
    (found,) = [step["run"] for step in steps if "gh pr create" in step.get("run", "")]
    return str(found)


@pytest.fixture(params=["pins", "update"])
def proposal(request: pytest.FixtureRequest, bake: Bake) -> tuple[str, str]:
    """A job that proposes a change: its branch and its script."""
    if request.param == "pins":
        text = (TEMPLATE / ".github/workflows/pins.yml").read_text(encoding="utf-8")
        return "pins", script(job(text, "propose")["steps"])
    text = bake().read(".github/workflows/update.yml")
    return "template", script(job(text, "propose")["steps"])


def test_a_change_becomes_one_pull_request_which_is_refreshed(
    proposal: tuple[str, str], github: Github
) -> None:
    branch, run = proposal
    for content in ("new\n", "newer\n"):
        github.change("kept.txt", content=content)
        github.run(run)
        assert github.shown(branch, "kept.txt") == content
        assert git(github.origin, "rev-list", "--count", f"main..{branch}").strip() == "1"
    calls = [line.split()[1:3] for line in github.notes.read_text().splitlines()]
    assert [call for call in calls if call[0] == "pr"] == [
        ["pr", "create"],
        ["pr", "create"],
        ["pr", "edit"],
    ]
    assert github.shown("main", "kept.txt") == "old\n"


def test_what_no_workflow_may_push_is_left_to_a_person_with_the_commands(
    bake: Bake, github: Github
) -> None:
    run = script(job(bake().read(".github/workflows/update.yml"), "propose")["steps"])
    github.change("kept.txt", ".github/workflows/ci.yml", content="new\n")
    github.run(run)
    assert github.shown("template", "kept.txt") == "new\n"
    assert github.shown("template", ".github/workflows/ci.yml") == "old\n"
    body = (github.temp / "body.md").read_text()
    commands = [line.strip() for line in body.splitlines() if line.startswith("    ")]
    assert "gh run download 17 --name template" in commands[0]

    # The commands do what they say.
    github.clone()
    (github.checkout / "template.patch").write_text((github.temp / "template.patch").read_text())
    (github.checkout / ".git/info/exclude").write_text("template.patch\n")
    identity = "git config user.name Test && git config user.email test@example.org"
    for command in (identity, *commands):
        github.run(command)
    assert github.shown("template", ".github/workflows/ci.yml") == "new\n"


def test_whoever_runs_code_from_elsewhere_can_only_read(bake: Bake) -> None:
    pins = (TEMPLATE / ".github/workflows/pins.yml").read_text(encoding="utf-8")
    for text, name in (
        (pins, "compile"),
        (pins, "prove"),
        (bake().read(".github/workflows/update.yml"), "template"),
    ):
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
        running = job(text, name)
        assert "permissions" not in running
        assert running["steps"][0]["with"]["persist-credentials"] is False


def test_an_action_is_the_same_commit_everywhere() -> None:
    # Dependabot finds those of the template; its change of one asks here for the projects', too.
    used: dict[str, set[str]] = {}
    for place in (TEMPLATE, TEMPLATE / PROJECT_FOLDER):
        for file in (place / ".github/workflows").glob("*.yml"):
            for action, commit in re.findall(r"uses: ([\w./-]+)@(.+)", file.read_text("utf-8")):
                assert re.fullmatch(r"[0-9a-f]{40} # v[\d.]+", commit), f"{action}@{commit}"
                used.setdefault(action, set()).add(commit)
    assert used
    assert {action: commits for action, commits in used.items() if len(commits) > 1} == {}
    assert (TEMPLATE / ".github/dependabot.yml").is_file()
