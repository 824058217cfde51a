"""What a project of the first edition was made from: its answers, and the template of then."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

TEMPLATE = Path(__file__).resolve().parents[2]
FOLDER = "{{cookiecutter.project_slug}}"
T = TypeVar("T")
MARK = f"{FOLDER}/harness/__main__.py"
"""A file of the template that only the first edition has."""


class Refused(Exception):
    """Why a project can't be moved, and what would work."""


def run(*command: str, cwd: Path) -> str:
    """Return what a command prints; refuse if it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", check=False)
    except FileNotFoundError as error:
        raise Refused(f"{command[0]} can't be run in {cwd}: {error}. Install it.") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise Refused(f"`{' '.join(command[:3])}` failed in {cwd}. It says:\n{said}")
    return done.stdout


def read(path: Path, parse: Callable[[str], T] = str) -> T:
    """Return what a file holds; refuse if it can't be read."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, LookupError, SyntaxError, TypeError, ValueError) as error:
        raise Refused(
            f"{path} can't be read: {error!r}. Mend it, or get it back by git."
        ) from error


def package_of(project: Path) -> str:
    """Return the name of the project's package; refuse what is no project of the first edition."""
    found = [path for path in (project / "src").glob("*/config.py") if "= knob(" in read(path)]
    if len(found) != 1:
        raise Refused(
            f"{project} is no project of the first edition: it has no src/PACKAGE/config.py whose"
            " settings are written `NAME: TYPE = knob(…)`. Name the directory of one. A project of"
            " the second edition is updated by `cruft update`; see docs/updating.md."
        )
    return found[0].parent.name


def recorded(project: Path) -> tuple[str, dict[str, str]] | None:
    """Return the commit and the answers that cruft recorded; None if it did not."""

    def parse(text: str) -> tuple[str, dict[str, str]]:
        state = json.loads(text)
        answers = state["context"]["cookiecutter"].items()
        return state["commit"], {n: answer for n, answer in answers if not n.startswith("_")}

    link = project / ".cruft.json"
    return read(link, parse) if link.exists() else None


def answers_of(project: Path, package: str) -> dict[str, str]:
    """Return the answers that made the project: as cruft recorded them, or from its files."""
    if known := recorded(project):
        return known[1]
    about = read(project / "pyproject.toml", tomllib.loads).get("project", {})
    readme = read(project / "README.md")
    metadata = read(project / "notebooks/setup.ipynb", json.loads).get("metadata", {})
    gpu = metadata.get("colab", {}).get("gpuType", "T4") if "accelerator" in metadata else "CPU"
    config = read(project / "src" / package / "config.py")
    title = re.search(r"^# (.+)$", readme, re.M)
    owner = re.search(r"github\.com/([^/\s]+)/[^/\s]+/actions", readme)
    runtime = re.search(r"Colab runtime (\S+) ", read(project / "requirements.txt"))
    found = {
        "project_name": title and title[1],
        "project_slug": about.get("name"),
        "description": about.get("description"),
        "author_name": next((author.get("name") for author in about.get("authors", ())), None),
        "github_owner": owner and owner[1],
        "task": "text" if "vocabulary_size" in config else "image",
        "accelerator": gpu,
        "colab_runtime": runtime and runtime[1],
        "license": str(about.get("license")).removeprefix("LicenseRef-"),
    }
    if missing := [name for name, answer in found.items() if answer is None]:
        raise Refused(
            f"{', '.join(missing)}: not found in {project}. They are read from README.md (its title"
            " and CI badge), pyproject.toml ([project]) and the first line of requirements.txt;"
            " write them there as they were."
        )
    return found


def commit_of(project: Path, package: str, *, template: Path) -> str:
    """Return the commit of the template that made the project.

    cruft recorded it. Otherwise it is the newest of those with most files in common.
    """
    gone = run("git", "log", "-1", "--diff-filter=D", "--format=%H", "--", MARK, cwd=template)
    if not gone:
        raise Refused(
            f"{template} has no history back to the first edition, by which your changes are told"
            " from the template's files. Run there: git fetch --unshallow"
        )
    commits = run("git", "rev-list", f"{gone.strip()}^", cwd=template).split()
    if known := recorded(project):
        if known[0] not in commits:
            raise Refused(
                f"{project / '.cruft.json'} names the commit {known[0]}, which is none of the first"
                f" edition in {template}. Run this in a clone of the template that it names."
            )
        return known[0]
    own = _blobs(run("git", "ls-files", "-z", "--stage", cwd=project))

    def in_common(commit: str) -> int:
        tree = run("git", "ls-tree", "-r", "-z", commit, cwd=template)
        tree = tree.replace(f"{FOLDER}/", "").replace("{{cookiecutter.__package}}", package)
        return len(_blobs(tree) & own)

    return max(commits, key=in_common)


def _blobs(listed: str) -> set[tuple[str, str]]:
    """Return the hash and path of each file that git lists, by whichever of its commands."""
    return set(re.findall(r"([0-9a-f]{40,})(?: \d)?\t([^\0]+)", listed))


def render_first(commit: str, answers: Mapping[str, str], *, template: Path, into: Path) -> Path:
    """Generate the project as the first edition did; return its directory."""
    from cookiecutter.generate import generate_context
    from cookiecutter.main import cookiecutter
    from cookiecutter.prompt import prompt_for_config

    source, packed = into / "template", into / "template.tar"
    run("git", "archive", "--output", str(packed), commit, cwd=template)
    with tarfile.open(packed) as archive:
        archive.extractall(source, filter="data")
    slug = {"project_slug": answers["project_slug"]}
    asked = generate_context(str(source / "cookiecutter.json"), extra_context=slug)
    # By a replay file, answers are taken as they are, also with {{ in them.
    context = prompt_for_config(asked, no_input=True) | answers
    replay = into / "answers.json"
    replay.write_text(json.dumps({"cookiecutter": context}), encoding="utf-8")
    output = str(into / "first")
    return Path(
        cookiecutter(str(source), replay=str(replay), output_dir=output, accept_hooks=False)
    )


def render_new(answers: Mapping[str, str], *, template: Path, into: Path) -> Path:
    """Generate the project as this edition does, linked to the template; return its directory."""
    runtime = answers["colab_runtime"]
    offered = read(template / "cookiecutter.json", json.loads)["colab_runtime"]
    if runtime not in offered:  # what the first edition called by a name may be Colab's latest
        runtime = "latest" if runtime > max(set(offered) - {"latest"}) else offered[0]
    given = {**answers, "colab_runtime": runtime}
    # cookiecutter renders what it is given; so a text with { in it is given as what renders to it.
    given = {n: f"{{{{ {text!r} }}}}" if "{" in text else text for n, text in given.items()}
    flags = ("--no-input", "--output-dir", str(into), "--extra-context", json.dumps(given))
    run(sys.executable, "-m", "cruft", "create", *flags, str(template), cwd=into)
    (link,) = into.glob("*/.cruft.json")
    if "origin" in run("git", "remote", cwd=template).split():
        origin = run("git", "remote", "get-url", "origin", cwd=template).strip()
        text = read(link).replace(json.dumps(str(template)), json.dumps(origin))
        link.write_text(text, encoding="utf-8", newline="\n")
    return link.parent
