"""The pins that are in the template."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from baking import CHOICES, PROJECT_FOLDER, TEMPLATE
from pinning import FILES, pins_of, rendered, run, versions_in

from tools.pins.files import day_of
from tools.pins.needs import named, read_needs

COMMITTED = sorted(path for path in (TEMPLATE / "templates/pins").iterdir() if path.is_dir())


def test_every_runtime_that_users_can_choose_has_pins() -> None:
    assert set(CHOICES["colab_runtime"]) <= {folder.name for folder in COMMITTED}


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
class TestCommittedPins:
    def test_the_header_names_the_runtime_of_the_folder(self, folder: Path) -> None:
        python = (folder / "python.txt").read_text(encoding="utf-8")
        assert re.fullmatch(r"3\.\d+\n", python)
        for name in ("requirements.txt", "requirements-dev.txt"):
            first = (folder / name).read_text(encoding="utf-8").splitlines()[0]
            assert f"runtime {folder.name} (Python {python.strip()})" in first
            day = r", as of 20\d\d-\d\d-\d\d" if folder.name == "latest" else ""
            assert re.search(rf"Colab's own versions{day}\.$", first)

    def test_every_line_belongs_to_a_hashed_pin_or_a_known_frame(self, folder: Path) -> None:
        for name in ("requirements.txt", "requirements-dev.txt"):
            text = (folder / name).read_text(encoding="utf-8")
            rest = re.sub(
                r"^[a-z0-9-]+==[\w.]+(?: ; [^\\\n]+)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n",
                "",
                text,
                flags=re.MULTILINE,
            )
            frame = (
                r"# .*|-r requirements\.txt|\{% raw -%\}|\{% endraw %\}"
                r'|\{% if cookiecutter\.task == "\w+" %\}|\{% endif %\}'
            )
            assert [line for line in rest.splitlines() if not re.fullmatch(frame, line)] == []

    def test_every_package_has_exactly_one_version(self, folder: Path) -> None:
        for name in ("requirements.txt", "requirements-dev.txt"):
            names = [name for name, _ in versions_in((folder / name).read_text(encoding="utf-8"))]
            assert len(names) > 50
            assert len(names) == len(set(names))

    @pytest.mark.parametrize("task", CHOICES["task"])
    def test_no_version_is_written_twice(self, folder: Path, task: str) -> None:
        base, dev = (
            set(dict(versions_in(rendered((folder / name).read_text(encoding="utf-8"), task))))
            for name in ("requirements.txt", "requirements-dev.txt")
        )
        assert not base & dev

    def test_no_marker_bounds_python_from_above_as_a_whole(self, folder: Path) -> None:
        text = (folder / "requirements.txt").read_text(encoding="utf-8")
        assert "python_full_version < '3.1" not in text
        assert "implementation" not in text

    def test_tensorflow_is_pinned_and_its_cpu_twin_never(self, folder: Path) -> None:
        for task in CHOICES["task"]:
            text = rendered((folder / "requirements.txt").read_text(encoding="utf-8"), task)
            assert "tensorflow" in dict(versions_in(text))
        for name in ("requirements.txt", "requirements-dev.txt"):
            assert "tensorflow-cpu" not in (folder / name).read_text(encoding="utf-8")

    def test_every_need_of_the_template_is_pinned(self, folder: Path) -> None:
        for task, needs in read_needs(TEMPLATE).items():
            base, dev = (
                set(dict(versions_in(rendered((folder / name).read_text(encoding="utf-8"), task))))
                for name in ("requirements.txt", "requirements-dev.txt")
            )
            assert named(needs.notebook) <= base
            assert named(needs.dev) <= base | dev

    @pytest.mark.network
    def test_compiling_the_pins_from_themselves_changes_nothing(
        self, folder: Path, tmp_path: Path
    ) -> None:
        """The freezes aren't in the project, but for the packages of the pins the pins are one."""
        probe = subprocess.run(
            ["uv", "pip", "compile", "--no-cache", "--no-deps", "--quiet", "-"],
            input="packaging",
            capture_output=True,
            text=True,
            check=False,
        )
        if probe.returncode != 0:
            pytest.skip(f"the package index can't be reached: {probe.stderr.strip()}")
        root = tmp_path / "template"
        for part in ("templates", PROJECT_FOLDER):
            shutil.copytree(TEMPLATE / part, root / part)
        shutil.copyfile(TEMPLATE / "cookiecutter.json", root / "cookiecutter.json")
        before = {name: pins_of(root, name, runtime=folder.name) for name in FILES}
        freeze = tmp_path / "freeze.txt"
        text = before["requirements.txt"] + before["requirements-dev.txt"]
        freeze.write_text("".join(f"{name}=={version}\n" for name, version in versions_in(text)))

        python = before["python.txt"].strip()
        date = ["--date", day_of(folder)] if folder.name == "latest" else []
        assert run(root, freeze, "--python", python, *date, runtime=folder.name) == 0
        for name, text in before.items():
            after = pins_of(root, name, runtime=folder.name)
            assert [line for line in after.splitlines() if not line.startswith("#")] == [
                line for line in text.splitlines() if not line.startswith("#")
            ]
