"""Runs that are refused: the message names the cause, and no file changes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from baking import PROJECT_FOLDER, TEMPLATE
from pinning import NEEDS, add_package, contents, run, use_index, write_template

from tools.pins.__main__ import main


def refused(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the tool, expect a refusal that changes no file, and return its message."""
    before = contents(root)
    assert run(root, "", *arguments) == 1
    assert contents(root) == before
    assert not (root / "templates" / "pins" / "2026.08").exists()
    return capsys.readouterr().err


def edit_freeze(root: Path, old: str, new: str) -> None:
    freeze = root.parent / "freeze.txt"
    assert old in freeze.read_text()
    freeze.write_text(freeze.read_text().replace(old, new))


def test_direct_needs_that_the_runtime_lacks_are_all_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_freeze(root, "numpy==2.1.3\n", "")
    edit_freeze(root, "mlxtend==0.23.4\n", "")
    message = refused(root, capsys)
    assert "The freeze doesn't have mlxtend, numpy, which [project] dependencies" in message


def test_indirect_needs_that_the_runtime_lacks_are_all_named_with_their_cause(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_freeze(root, "h5py==3.16.0\n", "")
    edit_freeze(root, "numpy==2.1.3\n", "numpy==2.4.0\n")
    edit_freeze(root, "Joblib==1.5.3\n", "")
    message = refused(root, capsys)
    assert "h5py 3.17.0 (needed by tensorflow): not in the freeze" in message
    assert "joblib 1.5.3 (needed by mlxtend): not in the freeze" in message
    assert "winlib" not in message  # it would be installed on Windows only


def test_a_need_at_another_version_than_the_runtimes_is_refused(
    root: Path, index: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_index = root.parent / "index"
    shutil.copytree(index, own_index)
    # The condition ==3.16.0 is met by somebody's own build of 3.16.0, too, and it isn't Colab's.
    add_package(own_index, "h5py", "3.16.0+own", [])
    use_index(monkeypatch, own_index, root.parent / "cache")
    message = refused(root, capsys)
    assert "h5py 3.16.0+own (needed by tensorflow): the freeze has 3.16.0\n" in message


def test_needs_without_a_solution_are_refused_with_uvs_reason(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_freeze(root, "h5py==3.16.0\n", "h5py==3.17.0\n")
    message = refused(root, capsys)
    assert "can't be had together with the versions of Colab's runtime" in message
    assert "numpy>=2.4" in message


def test_tensorflow_cpu_is_refused_among_the_needs(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_template(root, needs={**NEEDS, "text": ["TensorFlow_CPU"]})
    assert "Name tensorflow itself" in refused(root, capsys)


def test_tensorflow_cpu_is_refused_where_a_tool_needs_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_template(root, needs={**NEEDS, "dev": ["wrong-tool"]})
    assert "tensorflow-cpu is needed by a package" in refused(root, capsys)


@pytest.mark.parametrize("dev", [[{"include-group": "lint"}], ["papermill !"]])
def test_needs_that_are_no_requirements_are_refused(
    root: Path, capsys: pytest.CaptureFixture[str], dev: list[object]
) -> None:
    pyproject = root / PROJECT_FOLDER / "pyproject.toml"
    entry = '{include-group = "lint"}' if isinstance(dev[0], dict) else json.dumps(dev[0])
    text = pyproject.read_text().replace(json.dumps(NEEDS["dev"]), f"[{entry}]")
    pyproject.write_text(text)
    assert "must be lists of package names" in refused(root, capsys)


def test_a_template_that_cannot_be_baked_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / PROJECT_FOLDER / "data.py").write_text("{{ cookiecutter.no_such_question }}")
    message = refused(root, capsys)
    assert "can't be baked" in message
    assert "no_such_question" in message


def test_a_template_without_any_pins_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(root / "templates" / "pins" / "2026.07")
    assert "No runtime of cookiecutter.json has pins" in refused(root, capsys)


def test_a_missing_uv_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(root))
    assert "python -m pip install uv" in refused(root, capsys)


def test_an_index_that_cannot_be_reached_is_told_from_needs_without_a_solution(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    message = refused(root, capsys)
    assert "uv could not compile" in message
    assert "once the package index can be reached" in message


@pytest.mark.parametrize(
    "arguments",
    [
        ["--runtime", "2026.8", "--freeze", "freeze.txt"],
        ["--runtime", "2026.13", "--freeze", "freeze.txt"],
        ["--runtime", "../2026.08", "--freeze", "freeze.txt"],
        ["--runtime", "2026.08", "--freeze", "freeze.txt", "--python", "3.13.1"],
        ["--runtime", "2026.08"],
        ["--freeze", "freeze.txt"],
        ["--runtime", "2026.08", "--freeze", "freeze.txt", "--date", "2026-08-19"],
        ["--runtime", "latest", "--freeze", "freeze.txt"],
        ["--runtime", "latest", "--freeze", "freeze.txt", "--date", "19 August"],
    ],
)
def test_a_mistyped_command_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: pins" in capsys.readouterr().err


def test_the_command_refuses_without_a_traceback() -> None:
    command = [
        sys.executable,
        "-m",
        "tools.pins",
        "--runtime",
        "2026.08",
        "--freeze",
        "no-such-file",
    ]
    done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("pins: The freeze no-such-file can't be read")
    assert done.stderr.endswith("No file was changed.\n")
    assert "Traceback" not in done.stderr
