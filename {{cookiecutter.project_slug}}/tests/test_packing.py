"""Packing: every source comes back as it was, nothing bad passes, nothing half done counts."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from {{ cookiecutter.__package }} import __main__ as command_line
from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.training import packing
from {{ cookiecutter.__package }}.training.examples import Sharded
from {{ cookiecutter.__package }}.training.packing import (
    find_source,
    pack,
)
from {{ cookiecutter.__package }}.training.packs import (
    load_pack,
    open_pack,
    split,
)
from {{ cookiecutter.__package }}.training.sources import (
    Arrays,
    Example,
)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make shards so small that a few examples need several."""
    monkeypatch.setattr(packing, "SHARD_BYTES", 400)


def arrays(examples: int = 40, *, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs, each of which is unlike all others, and their labels."""
    x = np.arange(examples * 12, dtype=np.float32).reshape(examples, 4, 3)
    return x, np.arange(examples) % classes


def save_picture(path: Path, value: int, *, height: int = 4, width: int = 6) -> None:
    """Save a picture of this much red, which becomes greener from left to right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = value, np.arange(width) * 30 // (width / 6)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures of two classes, six of each."""
    for number in range(6):
        save_picture(tmp_path / "animals" / "cat" / f"{number}.png", number)
        save_picture(tmp_path / "animals" / "dog" / f"{number}.png", 100 + number)
    return tmp_path / "animals"


def write_csv(path: Path, *rows: list[Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """A CSV of two numbers and a label, with four bad rows among the twelve."""
    good = [[i, i / 2, f"class {i % 2}"] for i in range(8)]
    bad = [[1, 2], ["one", 2, "class 1"], [1, "nan", "class 1"], [1, 2, " "]]
    return write_csv(tmp_path / "numbers.csv", ["a", "b", "kind"], *good[:3], *bad, *good[3:])


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# Every source comes back as it was


def test_pictures_come_back_resized_with_their_folders_as_classes(
    pictures: Path, tmp_path: Path
) -> None:
    save_picture(pictures / "cat" / "more" / "large.webp", 50, height=40, width=60)
    opened = pack(find_source(pictures, height=4, width=6), tmp_path / "pack")
    assert opened.class_names == ("cat", "dog")
    assert (opened.x.dtype, opened.x.shape) == (np.uint8, (13, 4, 6, 3))
    assert opened.y[:].tolist() == [0] * 7 + [1] * 6
    assert opened.x[:][:6, 0, 0, 0].tolist() == list(range(6))
    assert opened.x[0][3, :, 1].tolist() == [0, 30, 60, 90, 120, 150]
    assert np.abs(opened.x[6][2, 1:5, 1] - np.array([43.0, 73, 103, 133])).max() <= 5


def test_texts_come_back_as_words_most_frequent_first(tmp_path: Path) -> None:
    rows = [["Big, big DOG!", "b"], ["a big\ncat", "a"], ["cat and dog", "b"], ["rare", "a"]]
    source = write_csv(tmp_path / "texts.csv", ["text", "label"], *rows)
    options = {"text": "text", "label": "label", "sequence_length": 4, "vocabulary_size": 6}
    opened = pack(find_source(source, **options), tmp_path / "pack")
    assert opened.vocabulary == ("", "[UNK]", "big", "cat", "dog", "a")
    assert opened.x[:].tolist() == [[2, 2, 4, 0], [5, 2, 3, 0], [3, 1, 4, 0], [1, 0, 0, 0]]
    assert opened.y[:].tolist() == [1, 0, 1, 0]
    assert opened.x.dtype == opened.y.dtype == np.int32


def test_numbers_come_back_with_classes_in_the_order_of_numbers(tmp_path: Path) -> None:
    rows = [[i, -i / 4, label] for i, label in enumerate(["10", "9", "9", "10"])]
    source = write_csv(tmp_path / "n.csv", ["a", "b", "grade"], *rows)
    opened = pack(find_source(source, label="grade"), tmp_path / "pack")
    assert opened.class_names == ("9", "10")
    assert opened.x[:].tolist() == [[0, 0], [1, -0.25], [2, -0.5], [3, -0.75]]
    assert (opened.x.dtype, opened.vocabulary) == (np.float32, None)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_come_back_from_their_files(kind: str, tmp_path: Path) -> None:
    x, y = arrays()
    source = tmp_path / f"numbers.{kind}"
    if kind == "npz":
        np.savez(source, x=x, y=y)
    else:
        source.mkdir()
        np.save(source / "x.npy", x)
        np.save(source / "y.npy", y)
    opened = pack(find_source(source), tmp_path / "pack")
    np.testing.assert_array_equal(opened.x[:], x)
    np.testing.assert_array_equal(opened.y[:], y)
    assert opened.class_names == ("0", "1", "2", "3")


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (pack(Arrays(*arrays()), tmp_path / name) for name in ("one", "two"))
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert first.sha256 == second.sha256
    other = pack(Arrays(arrays()[0] + 1, arrays()[1]), tmp_path / "three")
    assert other.sha256 != first.sha256


# Rows and parts


@pytest.mark.parametrize(
    "rows",
    [
        *(0, 39, -1, slice(None), slice(5, 25), slice(30, 2, -3), slice(9, 9)),
        *(np.array([3, 39, 3, 0, 17]), np.array([-1, 0]), np.array([], int), np.arange(40)[::-1]),
    ],
    ids=str,
)
def test_rows_are_those_of_an_ordinary_array(rows: Any) -> None:
    x, _ = arrays()
    sharded = Sharded([x[:13], x[13:14], x[14:14], x[14:]])
    np.testing.assert_array_equal(sharded[rows], x[rows])
    assert (len(sharded), sharded.shape, sharded.dtype) == (len(x), x.shape, x.dtype)


def test_functions_of_numpy_read_a_pack_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = arrays()
    opened = pack(Arrays(x, y), tmp_path)
    labels = split(opened, seed=0).train.y
    read, asked = Sharded.__getitem__, []
    monkeypatch.setattr(
        Sharded, "__getitem__", lambda self, rows: asked.append(rows) or read(self, rows)
    )
    assert np.unique(labels).tolist() == [0, 1, 2, 3]
    assert np.bincount(opened.y).tolist() == [10, 10, 10, 10]
    assert len(asked) == 2


@pytest.mark.parametrize("rows", [40, -41, np.array([0, 40])], ids=str)
def test_rows_that_are_not_there_are_an_error(rows: Any) -> None:
    with pytest.raises(IndexError, match="40 rows"):
        Sharded([arrays()[0]])[rows]


def test_a_split_takes_the_same_share_of_every_class_and_no_example_twice(tmp_path: Path) -> None:
    x, y = arrays(200)
    y = np.where(y == 3, 2, y)  # 50, 50 and 100
    parts = split(pack(Arrays(x, y), tmp_path), seed=1)
    counts = {name: np.bincount(getattr(parts, name).y[:]) for name in parts.__annotations__}
    assert {name: count.tolist() for name, count in counts.items()} == {
        "train": [35, 35, 70],
        "validation": [5, 5, 10],
        "test": [10, 10, 20],
    }
    every = np.concatenate([getattr(parts, name).x[:] for name in parts.__annotations__])
    np.testing.assert_array_equal(np.sort(every[:, 0, 0]), x[:, 0, 0])
    np.testing.assert_array_equal(y[parts.test.x[:][:, 0, 0].astype(int) // 12], parts.test.y[:])


def test_a_split_is_a_function_of_the_seed(tmp_path: Path) -> None:
    opened = pack(Arrays(*arrays()), tmp_path)
    first, again, other = (split(opened, seed=seed).test.x[:] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_class_keeps_an_example_to_train_on(tmp_path: Path) -> None:
    x, y = arrays(20)
    y = np.arange(20) == 0
    assert set(split(pack(Arrays(x, y), tmp_path), seed=0, test=0.7).train.y[:]) == {0, 1}


def test_shares_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    opened = pack(Arrays(*arrays(8)), tmp_path)
    with pytest.raises(UserError, match=r"validation=0.5 and test=0.5"):
        split(opened, seed=0, validation=0.5, test=0.5)
    with pytest.raises(UserError, match=r"validation=0.1 of 8 examples in 4 classes is none"):
        split(opened, seed=0)


# Nothing bad passes


def test_bad_rows_are_refused_and_all_of_them_named(numbers: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        pack(find_source(numbers, label="kind"), tmp_path / "pack")
    for named in (
        "Nothing is packed: there are bad examples in numbers (4):",
        "line 5: 2 fields, where the header has 3",
        "line 6: a is 'one': not a number",
        "line 7: b is 'nan': not finite",
        "line 8: kind is ' ': no label",
        "--on-bad skip",
    ):
        assert named in str(refused.value)
    assert not (tmp_path / "pack").exists()


def test_bad_rows_are_left_out_by_choice_and_listed(
    numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = pack(find_source(numbers, label="kind"), tmp_path / "pack", on_bad="skip")
    assert opened.x[:][:, 0].tolist() == list(range(8))
    assert "Bad examples, left out (4):\n  line 5: 2 fields" in capsys.readouterr().out
    listed = json.loads((tmp_path / "pack" / "manifest.json").read_text(encoding="utf-8"))["bad"]
    assert [bad["where"] for bad in listed] == ["line 5", "line 6", "line 7", "line 8"]


def test_bad_rows_of_arrays_are_left_out_by_choice(tmp_path: Path) -> None:
    x, y = arrays()
    x[7, 0, 0], x[30, 3, 2] = np.nan, np.inf
    opened = pack(Arrays(x, y), tmp_path, on_bad="skip")
    assert [bad.where for bad in opened.skipped] == ["row 7", "row 30"]
    np.testing.assert_array_equal(opened.x[:], np.delete(x, [7, 30], axis=0))
    np.testing.assert_array_equal(opened.y[:], np.delete(y, [7, 30]))


def test_unreadable_pictures_are_refused_or_left_out(pictures: Path, tmp_path: Path) -> None:
    whole = (pictures / "cat" / "0.png").read_bytes()
    (pictures / "cat" / "0.png").write_bytes(whole[:-30])
    (pictures / "dog" / "notes.txt").write_text("no picture")
    (pictures / "dog" / ".DS_Store").write_bytes(b"")
    source = find_source(pictures, height=4, width=6)
    with pytest.raises(UserError, match=r"(?s)in animals \(2\).*cat/0\.png: .*dog/notes\.txt: "):
        pack(source, tmp_path / "pack")
    with pytest.raises(UserError, match="no finished pack"):
        open_pack(tmp_path / "pack")
    opened = pack(source, tmp_path / "pack", on_bad="skip")
    assert [bad.where for bad in opened.skipped] == ["cat/0.png", "dog/notes.txt"]
    assert opened.y[:].tolist() == [0] * 5 + [1] * 6


@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        (np.zeros((3, 2)), np.zeros(4, int), r"x holds 3 examples, y 4 labels"),
        (np.zeros((3, 2)), np.zeros(3), r"y has the type float64"),
        (np.array([["a"]]), np.zeros(1, int), r"x has the type <U1"),
        (np.zeros((3, 2)), np.zeros(3, int), r"one class only, '0'"),
        (np.zeros((0, 2)), np.zeros(0, int), r"no example that can be packed"),
        (np.full((2, 2), np.nan), np.arange(2), r"(?s)\(2\):.*row 0: .*NaN.*row 1"),
        (np.full((2, 2), 2**40), np.arange(2), r"(?s)\(2\):.*too large a number"),
    ],
    ids=["length", "labels", "inputs", "one-class", "empty", "nan", "overflow"],
)
def test_arrays_that_cannot_be_learnt_from_are_refused(
    x: np.ndarray, y: np.ndarray, named: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=named):
        pack(Arrays(x, y), tmp_path / "pack")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, r"--label COLUMN.*The columns are: a, b, kind"),
        ({"label": "kinds"}, r"label='kinds' is no column.*Did you mean --label 'kind'\?"),
        ({"label": "kind", "text": "kind"}, r"text and label are both 'kind'"),
        ({"label": "kind", "height": 5}, r"height=5 doesn't fit .*holds table"),
        ({"label": "kind", "text": "a", "sequence_length": 0}, r"sequence_length=0"),
    ],
    ids=["no-label", "misspelt", "twice", "foreign", "length"],
)
def test_wrong_options_of_a_table_are_refused(
    options: dict[str, Any], named: str, numbers: Path
) -> None:
    with pytest.raises(UserError, match=named):
        find_source(numbers, **options)


def test_folders_without_classes_are_refused(pictures: Path, tmp_path: Path) -> None:
    for folder, named in (
        (tmp_path / "nowhere", "is not there"),
        (pictures / "cat", "no folders in it"),
        (pictures / "cat" / "0.png", "can't be packed"),
    ):
        with pytest.raises(UserError, match=named):
            find_source(folder)
    with pytest.raises(UserError, match=r"height=0 is too small"):
        find_source(pictures, height=0)
    (pictures / "owl").mkdir()
    with pytest.raises(UserError, match=r"No picture lies in .*owl"):
        find_source(pictures)


# Nothing half done counts


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


def test_a_pack_of_other_options_is_told_by_the_option(pictures: Path, tmp_path: Path) -> None:
    pack(find_source(pictures, height=4), tmp_path / "pack")
    with pytest.raises(UserError, match=r"holds another pack: height=4 there and 5 here\."):
        pack(find_source(pictures, height=5), tmp_path / "pack")


def test_too_small_a_disk_is_refused_before_anything_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda path: full)
    with pytest.raises(UserError, match=r"1 bytes free, .* needs 2,080"):
        pack(Arrays(*arrays()), tmp_path)
    assert not list(tmp_path.glob("*.npy"))


# From the command line to the training


def test_the_command_packs_and_says_how_to_train(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "pack"
    (pictures / "cat" / "0.png").write_bytes(b"")
    command = ["pack", str(pictures), str(target), "--height", "4", "--width", "6"]
    assert command_line.main(command) == 1
    assert "cat/0.png: cannot identify image file" in capsys.readouterr().err
    assert command_line.main([*command, "--on-bad", "skip"]) == 0
    printed = capsys.readouterr().out
    assert "11 examples of 2 classes, each uint8 of shape (4, 6, 3); left out: 1." in printed
    assert f"train --data {target}" in printed
    assert command_line.main(["pack", str(pictures), str(pictures / "pack")]) == 1
    assert "lies in the source" in capsys.readouterr().err


def test_a_pack_is_what_the_training_takes(tmp_path: Path) -> None:
{% if cookiecutter.task == "text" %}
    rows = [[f"word{i} of {i % 2}", i % 2] for i in range(40)]
    source = write_csv(tmp_path / "texts.csv", ["text", "label"], *rows)
    opened = pack(find_source(source, text="text", label="label"), tmp_path / "pack")
    x, y = arrays()
    pack(Arrays(x, y), tmp_path / "other")
{% else %}
    x, y = arrays()
    opened = pack(Arrays(x.astype(np.uint8), y), tmp_path / "pack")
    rows = [[f"word{i} of {i % 2}", i % 2] for i in range(40)]
    source = write_csv(tmp_path / "texts.csv", ["text", "label"], *rows)
    pack(find_source(source, text="text", label="label"), tmp_path / "other")
{% endif %}
    data = load_pack(Config(data=str(tmp_path / "pack")))
    assert (data.sha256, data.class_names) == (opened.sha256, opened.class_names)
    assert [len(part) for part in (data.x_train, data.x_validation, data.x_test)] == [28, 4, 8]
    with pytest.raises(UserError, match="this project"):
        load_pack(Config(data=str(tmp_path / "other")))
