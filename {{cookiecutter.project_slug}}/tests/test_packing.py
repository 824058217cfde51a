"""Packing: nothing half done counts, and what was interrupted goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.training import packing
from {{ cookiecutter.__package }}.training.packing import pack
from {{ cookiecutter.__package }}.training.packs import open_pack
from {{ cookiecutter.__package }}.training.sources import Arrays, Example


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make shards so small that a few examples need several."""
    monkeypatch.setattr(packing, "SHARD_BYTES", 400)


def arrays(examples: int = 40, *, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs, each of which is unlike all others, and their labels."""
    x = np.arange(examples * 12, dtype=np.float32).reshape(examples, 4, 3)
    return x, np.arange(examples) % classes


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (pack(Arrays(*arrays()), tmp_path / name) for name in ("one", "two"))
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert first.manifest.sha256 == second.manifest.sha256
    other = pack(Arrays(arrays()[0] + 1, arrays()[1]), tmp_path / "three")
    assert other.manifest.sha256 != first.manifest.sha256


class Interrupted(Arrays):
    """A source that is interrupted, as by Ctrl-C, when it has given some examples."""

    left = 25

    def read(self, start: int, stop: int) -> Iterator[Example]:
        for example in super().read(start, stop):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            yield example


def test_an_interrupted_packing_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(Interrupted(*arrays()), tmp_path / "pack")
    done = sorted((tmp_path / "pack").glob("x-*"))
    times = [file.stat().st_mtime_ns for file in done]
    assert 0 < len(done) < 5
    with pytest.raises(UserError, match="no finished pack"):
        open_pack(tmp_path / "pack")
    pack(Arrays(*arrays()), tmp_path / "pack")
    assert [file.stat().st_mtime_ns for file in done] == times
    pack(Arrays(*arrays()), tmp_path / "unbroken")
    assert content(tmp_path / "pack") == content(tmp_path / "unbroken")


def test_a_source_that_changed_in_between_is_packed_afresh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = arrays()
    with pytest.raises(KeyboardInterrupt):
        pack(Interrupted(x, y), tmp_path)
    opened = pack(Arrays(x + 1, y), tmp_path)
    assert "has changed since: packing begins again" in capsys.readouterr().out
    np.testing.assert_array_equal(opened.x[:], x + 1)


def test_shards_of_another_size_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = arrays()
    with pytest.raises(KeyboardInterrupt):
        pack(Interrupted(x, y), tmp_path)
    monkeypatch.setattr(packing, "SHARD_BYTES", 300)
    np.testing.assert_array_equal(pack(Arrays(x, y), tmp_path).x[:], x)


@pytest.mark.parametrize(
    ("damage", "verify"),
    [
        (lambda file, other: file.unlink(), False),
        (lambda file, other: file.write_bytes(file.read_bytes()[:-4]), False),
        (lambda file, other: np.save(file, np.load(file).astype(np.float64)), False),
        (lambda file, other: np.save(file, np.load(file)[1:]), False),
        (lambda file, other: np.save(file, np.load(file) + 1), True),
        (lambda file, other: shutil.copy(other, file), True),
    ],
    ids=["missing", "truncated", "other-type", "other-shape", "other-values", "of-another-pack"],
)
def test_a_damaged_shard_is_refused_by_name_and_mended_by_packing_again(
    damage: Callable[[Path, Path], object], verify: bool, tmp_path: Path
) -> None:
    x, y = arrays()
    whole = pack(Arrays(x, y), tmp_path / "pack")
    pack(Arrays(x + 1, y), tmp_path / "other")
    del whole  # Windows doesn't let a mapped file be replaced
    damage(tmp_path / "pack" / "x-00001.npy", tmp_path / "other" / "x-00001.npy")
    with pytest.raises(UserError, match=r"x-00001\.npy .*Run the same pack command again"):
        open_pack(tmp_path / "pack", verify=verify)
    pack(Arrays(x, y), tmp_path / "pack")
    np.testing.assert_array_equal(open_pack(tmp_path / "pack").x[:], x)


def test_a_target_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    x, y = arrays()
    pack(Arrays(x, y), tmp_path / "pack")
    before = content(tmp_path / "pack")
    with pytest.raises(UserError, match=r"holds another pack: its source is another"):
        pack(Arrays(x + 1, y), tmp_path / "pack")
    assert content(tmp_path / "pack") == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        pack(Arrays(x, y), tmp_path)
    with pytest.raises(UserError, match="can't be written"):
        pack(Arrays(x, y), tmp_path / "notes.txt")


def test_a_pack_of_other_options_is_told_by_the_option(tmp_path: Path) -> None:
    x, y = arrays()
    pack(Arrays(x, y), tmp_path)
    other = Arrays(x, y)
    other.options = {"source": "pictures"}
    with pytest.raises(UserError, match=r"another pack: source='arrays' there and 'pictures' here"):
        pack(other, tmp_path)


def test_too_small_a_disk_is_refused_before_anything_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(UserError, match=r"but packing 40 examples of 52 bytes needs 2\.08kB"):
        pack(Arrays(*arrays()), tmp_path)
    assert not list(tmp_path.glob("*.npy"))
