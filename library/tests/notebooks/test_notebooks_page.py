"""docs/notebooks.md: its commands run, and its tables hold."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import LIBRARY
from notebook_cases import Case

TEXT = (LIBRARY.parent / "docs" / "notebooks.md").read_text(encoding="utf-8")
INSTALL = re.compile(r"(python -m )?pip install ")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def commands() -> list[str]:
    """Return the page's command lines and those of its workflow, without the installations."""
    (workflow,) = map(yaml.safe_load, blocks("yaml"))
    steps = [step["run"] for step in workflow["jobs"]["notebooks"]["steps"] if "run" in step]
    lines = [*steps, *"".join(blocks("sh")).splitlines()]
    return [line for line in dict.fromkeys(lines) if not INSTALL.match(line)]


@pytest.mark.thorough
def test_the_pages_commands_pass_in_a_repository(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    (settings,) = blocks("toml")
    assert "seconds" in tomllib.loads(settings)["tool"]["exactrun"]["notebooks"]["sales"]
    (tmp_path / "pyproject.toml").write_text(settings)
    (tmp_path / "values.yaml").write_text("month: 2\n")
    record = "open({!r}, 'w').write('{{\"checks\": []}}')".format(
        str(tmp_path / "build/notebooks/checks.json")
    )
    places = "import os\nos.makedirs({!r}, exist_ok=True)".format(str(tmp_path / "build/notebooks"))
    cells = ("# tags: parameters\nmonth = 1", places, record, "print('mon', 'th', month)")
    Case(name="", cells=cells, tagged=False).write(tmp_path).rename(
        tmp_path / "notebooks" / "sales.ipynb"
    )
    env = os.environ | {"PYTHONPATH": str(installed), "GITHUB_STEP_SUMMARY": ""}
    (python,) = blocks("python")
    run = [(python, [sys.executable, "-c", python])]
    run += [(line, [sys.executable, "-m", *shlex.split(line)]) for line in commands()]
    assert len(run) >= 9
    for line, command in run:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", env=env, cwd=tmp_path, timeout=60
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if "month" in line:
            wanted = 4 if "values" in line else 3
            executed = "out.ipynb" if line.startswith("papermill") else "build/sales.ipynb"
            assert f"mon th {wanted}" in (tmp_path / executed).read_text(), line
    results = json.loads((tmp_path / "build/results.json").read_text())
    (found,) = results["notebooks"]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", TEXT, flags=re.MULTILINE)
    assert set(re.findall(r"\w+", " ".join(rows))) == set(found)
    assert all(f"`{key}`" in TEXT for key in (*results, *found["cells"][0]))
