"""Three whole projects as they were when last looked at: a change shows as a diff.

Kept are the files that depend on the answers, under ``tests/golden/``, with the suffix ``.golden``
so that no tool takes them for code. ``pytest --update-golden`` writes them anew; git shows what
changed. Pins have tests of their own.
"""

import difflib
import fnmatch
import re
import shutil
from pathlib import Path

import jinja2
import pytest
from baking import PROJECT_FOLDER, QUESTIONS, TEMPLATE, Project, bake_as_answered, defaults

GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, dict[str, str]] = {
    "defaults": {},
    "text-on-cpu": {
        "task": "text",
        "accelerator": "CPU",
        "colab_runtime": "2026.07",
        "license": "Proprietary",
    },
    "free-text": {
        "project_name": "Größe \"und\" 'Maß'\n{{ x }} 🚀",
        "project_slug": "groesse_2",
        "__package": "groesse_2",
        "description": "C:\\new {% if %} <b>50 %</b> & more: #1\r\n\tשלם",
        "author_name": 'Ada "The Engine" O\'Byron\\',
        "github_owner": "Ada-L",
        "accelerator": "A100",
        "license": "BSD-3-Clause",
    },
}


def is_copied(source: Path) -> bool:
    """Whether cookiecutter copies a file of the template without rendering it."""
    path = source.relative_to(TEMPLATE / PROJECT_FOLDER)
    return any(
        fnmatch.fnmatch(part.as_posix(), pattern)
        for part in (path, *path.parents)
        for pattern in QUESTIONS["_copy_without_render"]
    )


def depends_on_answers(source: Path) -> bool:
    """Whether a file of the template does more with Jinja than to include another file."""
    if is_copied(source) or source.name.startswith("requirements"):
        return False
    text = source.read_text(encoding="utf-8")
    text = re.sub(r"\{% raw %\}.*?\{% endraw %\}|\{% include [^%]*%\}", "", text, flags=re.S)
    return re.search(r"\{\{|\{%", text) is not None


def snapshot(project: Project, answers: dict[str, str]) -> dict[str, str]:
    """The files worth keeping: path in the project and text."""
    names = [
        jinja2.Template(source.relative_to(TEMPLATE / PROJECT_FOLDER).as_posix()).render(
            cookiecutter=defaults() | answers
        )
        for source in (TEMPLATE / PROJECT_FOLDER).rglob("*")
        if source.is_file() and depends_on_answers(source)
    ]
    files = project.files()  # a name may depend on the answers, too, and be empty
    return {name: project.read(name) for name in sorted(names) if name in files}


@pytest.mark.parametrize("case", CASES)
def test_a_project_is_as_it_was_when_last_looked_at(
    case: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    answers = CASES[case] | {"__year": "2026"}
    now = snapshot(bake_as_answered(tmp_path, answers=answers), answers)
    folder = GOLDEN / case
    if pytestconfig.getoption("update_golden"):
        shutil.rmtree(folder, ignore_errors=True)
        for name, text in now.items():
            file = folder / f"{name}.golden"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
    then = {
        path.relative_to(folder).as_posix().removesuffix(".golden"): path.read_bytes().decode()
        for path in folder.rglob("*.golden")
    }
    diff = [
        line
        for name in sorted(now.keys() | then.keys())
        for line in difflib.unified_diff(
            then.get(name, "").splitlines(),
            now.get(name, "").splitlines(),
            f"golden/{case}/{name}",
            f"now/{name}",
            lineterm="",
        )
    ]
    assert now == then, "\n".join(
        ["differs; if that is meant: pytest tests/test_golden.py --update-golden", *diff]
    )


def test_a_file_without_an_answer_in_it_is_copied() -> None:
    # Rendering it takes longer, and forbids it some pairs of characters.
    rendered = [
        source.name
        for source in (TEMPLATE / PROJECT_FOLDER).rglob("*")
        if source.is_file() and not is_copied(source) and "__pycache__" not in source.parts
        if not re.search(r"\{\{|\{%", source.read_text(encoding="utf-8"))
    ]
    assert rendered == []


def test_each_golden_folder_belongs_to_a_case() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(CASES)
