"""Git repositories of the template and of projects, as cruft needs them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from baking import TEMPLATE


def run(place: Path, *command: str | Path) -> str:
    """Run a command that has to succeed; return what it prints."""
    env = {"GIT_AUTHOR_NAME": "Test", "GIT_COMMITTER_NAME": "Test"}
    env |= {"GIT_AUTHOR_EMAIL": "test@example.org", "GIT_COMMITTER_EMAIL": "test@example.org"}
    done = subprocess.run(
        command, cwd=place, env=os.environ | env, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commit(place: Path, message: str) -> str:
    """Commit everything, in a new repository if there is none; return the commit."""
    if not (place / ".git").exists():
        run(place, "git", "init", "--quiet", "--initial-branch", "main")
    run(place, "git", "add", "--all")
    run(place, "git", "commit", "--quiet", "--allow-empty", "--message", message)
    return run(place, "git", "rev-parse", "HEAD").strip()


def commit_template(place: Path, message: str) -> str:
    """Commit the template as it is here, committed or not, in place of what is in a repository."""
    if (place / ".git").exists():
        run(place, "git", "rm", "--quiet", "-r", ".")
    for name in run(TEMPLATE, "git", "ls-files", "-z", "-co", "--exclude-standard").split("\0"):
        if (TEMPLATE / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TEMPLATE / name, place / name)
    return commit(place, message)


def tags(pattern: str) -> list[str]:
    """The template's tags of earlier commits than this one; none without git or its history."""
    command = ("git", "tag", "--list", pattern, "--merged", "HEAD", "--no-contains", "HEAD")
    done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=False)
    return done.stdout.split()
