"""Runs that succeed, solved for real by uv against a small package index."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from baking import CHOICES
from pinning import add_package, contents, pins_of, rendered, run, use_index, versions_in

from tools.pins.needs import bake


def test_the_notebook_gets_the_versions_of_the_freeze_and_not_the_newest(compiled: Path) -> None:
    assert versions_in(pins_of(compiled, "requirements.txt")) == [
        ("h5py", "3.16.0"),
        ("joblib", "1.5.3"),
        ("mlxtend", "0.23.4"),
        ("numpy", "2.1.3"),
        ("tensorflow", "2.20.0"),
        ("winlib", "1.0"),
    ]


def test_every_pin_has_the_hashes_of_its_files(compiled: Path, index: Path) -> None:
    text = pins_of(compiled, "requirements.txt") + pins_of(compiled, "requirements-dev.txt")
    for name, version in versions_in(text):
        (wheel,) = (index / name).glob(f"*-{version}-*.whl")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        block = rf"^{name}=={re.escape(version)}( ; .*)? \\\n    --hash=sha256:{digest}$"
        assert re.search(block, text, flags=re.MULTILINE), name


def test_what_only_one_task_needs_is_only_in_its_projects(compiled: Path) -> None:
    text = pins_of(compiled, "requirements.txt")
    image, other = (dict(versions_in(rendered(text, task))) for task in ("image", "text"))
    assert set(image) - set(other) == {"mlxtend", "joblib"}
    assert set(other) <= set(image)
    assert '\n{% if cookiecutter.task == "image" %}\nmlxtend==' in text


def test_a_need_of_one_tasks_notebook_is_a_tool_of_the_other(compiled: Path) -> None:
    text = pins_of(compiled, "requirements-dev.txt")
    assert "joblib" not in dict(versions_in(rendered(text, "image")))
    assert "joblib" in dict(versions_in(rendered(text, "text")))


@pytest.mark.parametrize("task", CHOICES["task"])
def test_the_tools_include_the_notebooks_pins_and_repeat_none(compiled: Path, task: str) -> None:
    base = dict(versions_in(rendered(pins_of(compiled, "requirements.txt"), task)))
    text = rendered(pins_of(compiled, "requirements-dev.txt"), task)
    assert "\n-r requirements.txt\n" in text
    assert not set(base) & set(dict(versions_in(text)))
    assert {"papermill", "tenacity", "parallel-tool"} <= set(dict(versions_in(text)))


def test_only_markers_of_the_packages_own_remain(compiled: Path) -> None:
    text = pins_of(compiled, "requirements.txt") + pins_of(compiled, "requirements-dev.txt")
    assert re.findall(r"^(\S+)==\S+ ; (.*?) \\$", text, flags=re.MULTILINE) == [
        ("winlib", "sys_platform == 'win32'"),
        ("oldlib", "python_full_version == '3.12.*'"),
    ]


def test_what_only_newer_pythons_or_pypy_need_is_left_out(compiled: Path) -> None:
    assert "lib314" not in pins_of(compiled, "requirements.txt")
    assert "pypylib" not in pins_of(compiled, "requirements.txt")


@pytest.mark.parametrize("setting", ["UV_NO_CONFIG", "UV_CONFIG_FILE"])
def test_settings_of_uv_in_the_environment_do_not_change_the_pins(
    root: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    (root.parent / "uv.toml").touch()
    monkeypatch.setenv(setting, "1" if setting == "UV_NO_CONFIG" else str(root.parent / "uv.toml"))
    assert run(root) == 0
    assert pins_of(root, "requirements.txt") == pins_of(compiled, "requirements.txt")


def test_the_pins_say_their_runtime_and_not_where_the_freeze_lay(compiled: Path) -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = pins_of(compiled, name)
        assert "runtime 2026.08 (Python 3.13)" in text.splitlines()[0]
        assert str(compiled.parent) not in text
    assert pins_of(compiled, "python.txt") == "3.13\n"


def test_the_pins_name_no_package_index(compiled: Path) -> None:
    assert not re.search(r"://|index|find-links", pins_of(compiled, "requirements.txt"))


def test_a_project_with_the_new_pins_can_be_generated(compiled: Path, tmp_path: Path) -> None:
    text = bake(compiled, tmp_path, task="text", colab_runtime="2026.08")
    assert "tensorflow" in text
    written = (tmp_path / "out" / "small" / "requirements.txt").read_text(encoding="utf-8")
    assert "tensorflow==2.20.0 \\\n    --hash=sha256:" in written
    assert "{%" not in written


def test_a_freeze_by_address_makes_the_same_pins(root: Path, compiled: Path, website: str) -> None:
    assert run(root, f"{website}/freeze.txt") == 0
    assert pins_of(root, "requirements.txt") == pins_of(compiled, "requirements.txt")


def test_a_second_run_changes_nothing(
    root: Path, index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own_index = root.parent / "index"
    shutil.copytree(index, own_index)
    use_index(monkeypatch, own_index, root.parent / "cache")
    assert run(root) == 0
    before = contents(root)

    # Not even when tools that the freeze doesn't know have had releases since.
    add_package(own_index, "tenacity", "9.1.0", [])
    use_index(monkeypatch, own_index, root.parent / "cache2")
    assert run(root) == 0
    assert contents(root) == before
    assert "templates/pins/2026.08: nothing changed." in capsys.readouterr().out

    assert run(root, "", "--upgrade") == 0
    assert ("tenacity", "9.1.0") in versions_in(pins_of(root, "requirements-dev.txt"))
    assert (
        pins_of(root, "requirements.txt").encode()
        == before["templates/pins/2026.08/requirements.txt"]
    )


@pytest.mark.parametrize(
    ("runtime", "choices"),
    [
        ("2026.09", ["2026.09", "2026.08", "2026.07", "latest"]),
        ("2026.06", ["2026.08", "2026.07", "2026.06", "latest"]),
    ],
)
def test_a_runtime_that_is_new_can_be_chosen_afterwards(
    runtime: str, choices: list[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, runtime=runtime) == 0
    assert f"runtime {runtime}" in pins_of(root, "requirements.txt", runtime=runtime)
    assert "It can be chosen now: cookiecutter.json, hooks/" in capsys.readouterr().out
    questions = json.loads((root / "cookiecutter.json").read_text())
    assert questions["colab_runtime"] == choices
    prompts = questions["__prompts__"]["colab_runtime"]
    assert list(prompts) == ["__prompt__", *choices]
    assert prompts[runtime] == f"{runtime}: Python 3.13"
    hook: dict[str, Any] = {}
    exec((root / "hooks" / "pre_gen_project.py").read_text(), hook)
    assert hook["CHOICES"]["colab_runtime"] == tuple(choices)


def test_a_question_that_can_not_be_extended_is_said_and_the_pins_are_kept(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "hooks" / "pre_gen_project.py").write_text("CHOICES = {}\n")
    before = (root / "cookiecutter.json").read_text()
    assert run(root, runtime="2026.09") == 1
    assert "hooks/pre_gen_project.py isn't written as this tool knows it" in capsys.readouterr().err
    assert "runtime 2026.09" in pins_of(root, "requirements.txt", runtime="2026.09")
    assert (root / "cookiecutter.json").read_text() == before
