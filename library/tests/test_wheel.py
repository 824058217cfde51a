"""The wheel that projects carry is this library, built to the same bytes on every Python."""

import os
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tools import wheel as tool  # noqa: E402


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tool.build(tmp_path_factory.mktemp("wheel"))


def test_the_committed_wheel_is_built_from_these_sources(built: Path) -> None:
    (committed,) = tool.WHEELS.iterdir()
    advice = "The wheel in the template is of other sources; run: nox -s wheel"
    assert committed.name == built.name, advice
    assert committed.read_bytes() == built.read_bytes(), advice
    assert tool.PIN.read_text(encoding="utf-8") == tool.pin(built), advice


def test_a_build_does_not_depend_on_files_times_and_modes(built: Path, tmp_path: Path) -> None:
    source = tool.LIBRARY / "src" / "exactrun" / "errors.py"
    status = source.stat()
    try:
        source.chmod(0o755)
        os.utime(source, (1_000_000_000, 1_000_000_000))
        assert tool.build(tmp_path).read_bytes() == built.read_bytes()
    finally:
        source.chmod(status.st_mode)


def test_the_wheel_is_stored_and_holds_the_whole_package(built: Path) -> None:
    with zipfile.ZipFile(built) as file:
        assert {entry.compress_type for entry in file.infolist()} == {zipfile.ZIP_STORED}
        names = set(file.namelist())
        (notice,) = [file.read(name).decode() for name in names if name.endswith("/LICENSE")]
    package = tool.LIBRARY / "src"
    modules = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    assert modules <= names
    assert "exactrun/py.typed" in names
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith(notice)


def test_other_bytes_never_carry_a_released_version(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = built.name.split("-")[1]
    releases = tmp_path / "RELEASES"
    releases.write_text(f"{version} {'0' * 64}\n")
    monkeypatch.setattr(tool, "RELEASES", releases)
    with pytest.raises(SystemExit, match=rf"exactrun {version} has been released"):
        tool.pin(built)
