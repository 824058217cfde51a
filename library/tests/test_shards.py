"""Shards: nothing half done counts, what was interrupted goes on, and what is read is what was."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exactrun import shards as module
from exactrun.errors import UserError
from exactrun.examples import BadExample, Examples
from exactrun.shards import open_shards, write_shards
from exactrun.splits import split
from exactrun.structures import flatten

SMALL = 400
"""Bytes of a shard, so that a few examples need several."""

Pair = namedtuple("Pair", ["x", "y"])


def arrays(examples: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs of 48 bytes, each unlike all others, and labels of eight."""
    x = np.arange(examples * 12, dtype=np.float32).reshape(examples, 4, 3)
    return x, np.arange(examples) % 4


def content(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def same(found: Any, wanted: Any) -> None:
    for one, other in zip(flatten(found), flatten(wanted), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


STRUCTURES = {
    "array": np.arange(24, dtype=np.int16).reshape(12, 2),
    "pair": arrays(12),
    "nested": (
        {"image": np.ones((12, 2, 2, 1), np.uint8), "b": [np.arange(12.0), None]},
        (np.arange(12, dtype=np.int8), np.arange(12) > 5),
    ),
    "empty": ([np.zeros((12, 0))], np.arange(12, dtype=">f4")),
    "dict": {"label": np.arange(12), "image": np.arange(36).reshape(12, 3) * 1j},
}


@pytest.mark.parametrize("kind", ["arrays", "list", "generator"])
@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=list(STRUCTURES))
def test_examples_come_back_as_they_were(structure: Any, kind: str, tmp_path: Path) -> None:
    source = module.as_examples(structure)
    every = [source[row] for row in range(12)]
    given = {"arrays": structure, "list": every, "generator": iter(every)}[kind]
    shards = write_shards(given, tmp_path / "shards", shard_bytes=64)
    native = module.map_leaves(lambda leaf: leaf.astype(leaf.dtype.newbyteorder("=")), structure)
    like = module.map_leaves(lambda leaf: 0, structure)
    assert module.map_leaves(lambda leaf: 0, shards[:]) == like
    assert module.map_leaves(lambda leaf: 0, shards.columns) == like
    rows = np.array([7, 0, 11, 7, 3])
    same(shards[rows], module.map_leaves(lambda leaf: leaf[rows], native))
    same(shards[2:9:3], module.map_leaves(lambda leaf: leaf[2:9:3], native))
    same(shards[-1], module.map_leaves(lambda leaf: leaf[-1], native))
    same(shards[:0], module.map_leaves(lambda leaf: leaf[:0], native))
    assert len(shards) == 12
    with pytest.raises(IndexError):
        shards[12]


def test_columns_are_arrays_of_which_only_some_rows_are_read(tmp_path: Path) -> None:
    structure = STRUCTURES["dict"]
    shards = write_shards(structure, tmp_path, shard_bytes=100)
    image = shards["image"]
    assert (image.shape, image.dtype, len(image)) == ((12, 3), np.dtype("c16"), 12)
    np.testing.assert_array_equal(image[[3, 1]], structure["image"][[3, 1]])
    np.testing.assert_array_equal(image[4], structure["image"][4])
    np.testing.assert_array_equal(np.asarray(shards.columns["label"]), structure["label"])
    read = module.as_examples((image, np.arange(12)))
    np.testing.assert_array_equal(read[[5, 2]][0], structure["image"][[5, 2]])
    assert len({read.fingerprint, image.fingerprint, shards["label"].fingerprint}) == 3


@pytest.mark.parametrize("rows", [(1, 2), [[1, 2]], 1.0, None, [True, False]])
def test_what_names_no_rows_is_refused(rows: Any, tmp_path: Path) -> None:
    shards = write_shards({"a": np.arange(6).reshape(3, 2)}, tmp_path)
    for source in (shards, shards["a"]):
        with pytest.raises(TypeError, match="rows are integers, a list of them or a slice"):
            source[rows]


def test_the_same_examples_give_the_same_bytes_and_others_others(tmp_path: Path) -> None:
    x, y = arrays()
    one = write_shards((x, y), tmp_path / "one", shard_bytes=SMALL)
    two = write_shards((np.asfortranarray(x), y), tmp_path / "two", shard_bytes=SMALL)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert not (tmp_path / "one" / "unfinished.json").exists()
    assert one.fingerprint == two.fingerprint == open_shards(tmp_path / "one").fingerprint
    other = write_shards((x + 1, y), tmp_path / "three", shard_bytes=SMALL)
    assert other.fingerprint != one.fingerprint
    assert sum(map(len, content(tmp_path / "one").values())) > 40 * 56
    for name in json.loads((tmp_path / "one" / "manifest.json").read_text())["shards"][0]["files"]:
        assert np.load(tmp_path / "one" / name).shape[0] == 7  # 400 // 56


PROGRAM = """
import sys, time
import numpy as np
from exactrun.shards import write_shards

class Rows:
    def __len__(self):
        return 1200
    def __getitem__(self, row):
        return np.full((16, 16), row, np.float32), {"label": row % 10}

source = {"indexed": Rows, "stream": lambda: (Rows()[row] for row in range(1200))}[sys.argv[1]]()
print("ready", flush=True)
write_shards(source, sys.argv[2], shard_bytes=20_000)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["indexed", "stream"])
def test_killed_at_any_instant_it_ends_with_the_same_bytes(kind: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", PROGRAM, kind]

    def run(target: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*program, str(tmp_path / target)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def written() -> int:
        return len(list((tmp_path / "shards").glob("shard-*")))

    whole = run("unbroken")
    whole.communicate()
    assert whole.returncode == 0
    chance = random.Random(0)
    for more in (0, 1, 5, 12, 20):
        process, before = run("shards"), written()
        while written() < before + more and process.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.01))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert before + more <= written() + 2  # what was half written is written again
        with pytest.raises(UserError, match=r"no manifest\.json. Was write_shards interrupted"):
            open_shards(tmp_path / "shards")
    last = run("shards")
    last.communicate()
    assert last.returncode == 0
    assert content(tmp_path / "shards") == content(tmp_path / "unbroken")
    assert len(content(tmp_path / "shards")) > 60
    same(open_shards(tmp_path / "shards")[1199][0], np.full((16, 16), 1199, np.float32))


class Counting:
    """A sequence that says which rows were read, and fails at one."""

    def __init__(self, fail: int | None = None) -> None:
        self.read, self.fail = list[int](), fail

    def __len__(self) -> int:
        return 40

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        if row == self.fail:
            raise KeyboardInterrupt
        self.read.append(row)
        return np.full(3, row, np.int64), row % 4


def test_it_goes_on_after_the_shards_that_are_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exactrun.sources.SAMPLED_EXAMPLES", 2)
    with pytest.raises(KeyboardInterrupt):
        write_shards(Counting(fail=25), tmp_path, shard_bytes=320)  # ten rows each
    flip(tmp_path / "shard-00001-0.npy")
    again = Counting()
    shards = write_shards(again, tmp_path, shard_bytes=99_999)  # of another size, yet the same
    assert sorted(set(again.read) - {0, 39}) == list(range(10, 39))
    assert len(list(tmp_path.glob("*-0.npy"))) == 2
    np.testing.assert_array_equal(shards[:][0][:, 0], range(40))
    assert "writing 30 of 40 examples, 960B" in capsys.readouterr().out
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    finished = Counting()
    write_shards(finished, tmp_path, shard_bytes=320)
    assert set(finished.read) == {0, 39}
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    x, y = arrays()
    write_shards((x, y), tmp_path / "shards")
    with pytest.raises(KeyboardInterrupt):
        write_shards(Counting(fail=25), tmp_path / "unfinished", shard_bytes=64)
    (tmp_path / "unmarked").mkdir()
    np.save(tmp_path / "unmarked" / "shard-00000-0.npy", x)
    before = {place: content(place) for place in tmp_path.iterdir()}
    for place in before:
        for other in ((x + 1, y), (x, y.astype(np.int32)), (x[:39], y[:39])):
            with pytest.raises(UserError, match=r"holds (other examples|shard-.* and the like)"):
                write_shards(other, place)
    assert {place: content(place) for place in tmp_path.iterdir()} == before
    with pytest.raises(UserError, match=r"Writing shards into .* stopped: Not a directory"):
        write_shards((x, y), tmp_path / "shards" / "manifest.json")


@pytest.mark.parametrize(
    ("damage", "verify"),
    [
        (lambda file, other: file.unlink(), False),
        (lambda file, other: file.write_bytes(b""), False),
        (lambda file, other: file.write_bytes(file.read_bytes()[:-4]), False),
        (lambda file, other: np.save(file, np.load(file).astype(np.float64)), False),
        (lambda file, other: np.save(file, np.load(file)[1:]), False),
        (lambda file, other: file.write_bytes(file.read_bytes() + b"more"), True),
        (lambda file, other: flip(file), True),
        (lambda file, other: shutil.copy(other, file), True),
    ],
    ids=["missing", "empty", "short", "other-type", "other-shape", "long", "bit", "foreign"],
)
def test_a_damaged_file_is_named_and_can_be_written_anew(
    damage: Callable[[Path, Path], object], verify: bool, tmp_path: Path
) -> None:
    x, y = arrays()
    place = tmp_path / "shards"
    write_shards((x, y), place, shard_bytes=SMALL)
    write_shards((x + 1, y), tmp_path / "other", shard_bytes=SMALL)
    file = place / "shard-00001-0.npy"
    before = content(place)
    damage(file, tmp_path / "other" / file.name)
    with pytest.raises(UserError, match=r"shard-00001-0\.npy is missing or damaged.*rename"):
        open_shards(place, verify=verify)
    (place / "manifest.json").rename(place / "unfinished.json")
    write_shards((x, y), place, shard_bytes=SMALL)
    assert content(place) == before


def flip(file: Path) -> None:
    """Flip one bit of the last byte but two."""
    damaged = bytearray(file.read_bytes())
    damaged[-3] ^= 4
    file.write_bytes(bytes(damaged))


def test_a_manifest_that_is_damaged_or_of_a_later_format_is_refused(tmp_path: Path) -> None:
    write_shards(arrays(), tmp_path)
    manifest = tmp_path / "manifest.json"
    text = manifest.read_text()
    for found, named in (
        (text.replace('"format": 1', '"format": 2'), r"of a newer format: install a newer"),
        (text.replace('"rows": 40', '"rows": 41'), r"manifest\.json is damaged"),
        (text[:99], r"manifest\.json is damaged"),
        ("[]", r"manifest\.json is damaged"),
    ):
        assert found != text
        manifest.write_text(found)
        for call in (open_shards, lambda place: write_shards(arrays(), place)):
            with pytest.raises(UserError, match=named):
                call(tmp_path)
        assert manifest.read_text() == found
    with pytest.raises(UserError, match=r"no manifest\.json"):
        open_shards(tmp_path / "nowhere")


BAD_ROWS = (0, 17, 18)


class Spoilt(Examples):
    """Examples of which some can't be read, and one is infinite."""

    fingerprint = "of spoilt ones"
    class_names = ("a", "b")

    def __len__(self) -> int:
        return 40

    def read(self, rows: np.ndarray) -> Any:
        for row in rows.tolist():
            if row in BAD_ROWS:
                raise BadExample(f"file {row}", "is torn")
        return np.where(rows == 30, np.inf, rows), rows


def test_bad_examples_are_all_named_and_nothing_looks_finished(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        write_shards(Spoilt(), tmp_path, shard_bytes=160)
    named = [f"file {row}: is torn" for row in BAD_ROWS]
    for words in ("4 invalid ex", *named, "row 30: it[0] holds NaN or infinity", "errors=True"):
        assert words in str(refused.value)
    with pytest.raises(UserError, match=r"no manifest\.json"):
        open_shards(tmp_path)
    nan = np.full((50, 1), np.nan)
    nan[0] = 0
    with pytest.raises(UserError, match=r"49 invalid.*:(\n  row .*){20}\n  … and 29 more\n"):
        write_shards(nan, tmp_path / "many")


def test_bad_examples_are_left_out_by_choice_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError):
        write_shards(Spoilt(), tmp_path, shard_bytes=160)
    shards = write_shards(Spoilt(), tmp_path, shard_bytes=160, ignore_errors=True)
    rest = [row for row in range(40) if row not in (*BAD_ROWS, 30)]
    same(shards[:], (np.array(rest, float), np.array(rest)))
    assert shards.class_names == ("a", "b")
    assert "are left out:\n  file 0: is torn\n" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    ignored = [each.split(":")[0] for shard in manifest["shards"] for each in shard["ignored"]]
    assert ignored == ["file 0", "file 17", "file 18", "row 30"]
    before = content(tmp_path)
    write_shards(Spoilt(), tmp_path, ignore_errors=True)
    with pytest.raises(UserError, match=r"4 invalid examples"):
        write_shards(Spoilt(), tmp_path)
    assert content(tmp_path) == before


def test_examples_that_change_their_type_midway_are_refused(tmp_path: Path) -> None:
    class Drifting(Spoilt):
        def read(self, rows: np.ndarray) -> Any:
            return rows.astype(np.float32 if rows[0] < 20 else np.float64)

    with pytest.raises(UserError, match=r"Row 20 is 'float64 \(\)', but others are 'float32"):
        write_shards(Drifting(), tmp_path, shard_bytes=40)


def test_bad_examples_of_an_iterable_end_it_with_words(tmp_path: Path) -> None:
    def torn() -> Iterator[np.ndarray]:
        yield np.ones(2)
        raise BadExample("file 1", "is torn")

    with pytest.raises(UserError, match=r"stopped: file 1: is torn\. Fix that"):
        write_shards(torn(), tmp_path, ignore_errors=True)
    nan = [np.ones(2), np.array([1, np.nan]), np.zeros(2)]
    shards = write_shards(iter(nan), tmp_path / "nan", ignore_errors=True)
    np.testing.assert_array_equal(shards[:], [[1, 1], [0, 0]])


@pytest.mark.parametrize(
    ("odd", "named"),
    [
        ((np.zeros((4, 5), np.uint8), 1), r"Row 10 is .*\(4, 5\).*others are .*\(4, 4\)"),
        ((np.zeros((4, 4), np.float32), 1), r"Row 10 is .*float32.*others are .*uint8"),
        ((np.zeros((4, 4), np.uint8), 0.5), r"Row 10 is .*float64.*others are .*int64"),
        ({"x": np.zeros((4, 4), np.uint8)}, r"Row 10 is \{'x'.*others are \("),
    ],
    ids=["shape", "type", "scalar", "structure"],
)
@pytest.mark.parametrize("kind", [list, iter])
def test_an_odd_example_is_named(
    odd: Any, named: str, kind: Callable[[list[Any]], Any], tmp_path: Path
) -> None:
    examples: list[Any] = [(np.zeros((4, 4), np.uint8), 1)] * 30
    examples[10] = odd
    with pytest.raises(UserError, match=f"(?s){named}.*resize or pad"):
        write_shards(kind(examples), tmp_path, shard_bytes=240)  # ten examples each
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
    ("examples", "named"),
    [
        ([], "no examples"),
        (iter([]), "no examples"),
        (["a text"], r"An example is 'str \(\)', but shards hold numbers.*TextVectorization"),
        ([None], "An example is None, but shards hold numbers"),
        (None, r"A NoneType has no examples by index.*as \(x, y\), or a list"),
        ([Pair(1, 2)], r"An example is Pair\(x='int64 \(\)'.*named tuples into tuples"),
    ],
)
def test_what_cannot_be_written_is_refused(examples: Any, named: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=named):
        write_shards(examples, tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize("size", [0, -1, 1e6, "64M", True])
def test_a_size_that_is_none_is_refused(size: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"shard_bytes={size!r}: it must be a whole number"):
        write_shards([1, 2], tmp_path / "shards", shard_bytes=size)
    assert not (tmp_path / "shards").exists()


def test_parts_stay_parts(tmp_path: Path) -> None:
    spoilt = Spoilt()
    spoilt.parts = {"train": np.arange(10, 40), "test": np.arange(10)}
    shards = write_shards(spoilt, tmp_path, shard_bytes=160, ignore_errors=True)
    train, validation, test = split(shards, validation=6)
    assert test[:][1].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert len(validation) == 6
    assert min(train[:][1].min(), validation[:][1].min()) == 10
    same(shards[0], (np.float64(1), np.int64(1)))


def test_too_small_a_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(UserError, match=r"but writing 40 of 40 examples needs 2\.24kB"):
        write_shards(arrays(), tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


def test_a_disk_that_fills_up_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fill(number: int) -> None:
        if len(list(tmp_path.glob("shard-*"))) == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(UserError, match=r"it is full.*run the same again"):
        write_shards(arrays(), tmp_path, shard_bytes=SMALL)
    monkeypatch.setattr(os, "fsync", fsync)
    kept = [tmp_path / f"shard-0000{n}-{leaf}.npy" for n in range(2) for leaf in range(2)]
    times = [file.stat().st_mtime_ns for file in kept]
    same(write_shards(arrays(), tmp_path, shard_bytes=SMALL)[:], arrays())
    assert [file.stat().st_mtime_ns for file in kept] == times
