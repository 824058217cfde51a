"""What the tests of the pins share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pinning import (
    FREEZE,
    NEEDS,
    PACKAGES,
    add_package,
    answering,
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
