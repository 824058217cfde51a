"""What a pack is made from: it comes back as it was, and nothing bad passes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from {{ cookiecutter.__package }} import __main__ as command_line
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.training import packing
from {{ cookiecutter.__package }}.training.packing import find_source, pack
from {{ cookiecutter.__package }}.training.packs import open_pack
from {{ cookiecutter.__package }}.training.sources import Arrays


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make shards so small that a few examples need several."""
    monkeypatch.setattr(packing, "SHARD_BYTES", 400)


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


def test_pictures_come_back_resized_with_their_folders_as_classes(
    pictures: Path, tmp_path: Path
) -> None:
    save_picture(pictures / "cat" / "more" / "large.webp", 50, height=40, width=60)
    opened = pack(find_source(pictures, height=4, width=6), tmp_path / "pack")
    assert opened.manifest.class_names == ("cat", "dog")
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
    assert opened.manifest.vocabulary == ("", "[UNK]", "big", "cat", "dog", "a")
    assert opened.x[:].tolist() == [[2, 2, 4, 0], [5, 2, 3, 0], [3, 1, 4, 0], [1, 0, 0, 0]]
    assert opened.y[:].tolist() == [1, 0, 1, 0]
    assert opened.x.dtype == opened.y.dtype == np.int32


def test_numbers_come_back_with_classes_in_the_order_of_numbers(tmp_path: Path) -> None:
    rows = [[i, -i / 4, label] for i, label in enumerate(["10", "9", "9", "10"])]
    source = write_csv(tmp_path / "n.csv", ["a", "b", "grade"], *rows)
    opened = pack(find_source(source, label="grade"), tmp_path / "pack")
    assert opened.manifest.class_names == ("9", "10")
    assert opened.x[:].tolist() == [[0, 0], [1, -0.25], [2, -0.5], [3, -0.75]]
    assert (opened.x.dtype, opened.manifest.vocabulary) == (np.float32, None)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_come_back_from_their_files(kind: str, tmp_path: Path) -> None:
    x, y = np.arange(480, dtype=np.float32).reshape(40, 4, 3), np.arange(40) % 4
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
    assert opened.manifest.class_names == ("0", "1", "2", "3")


def test_bad_rows_are_refused_and_all_of_them_named(numbers: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        pack(find_source(numbers, label="kind"), tmp_path / "pack")
    for named in (
        "Nothing is packed: there are bad examples in numbers (4):",
        "line 5: 2 fields, where the header has 3",
        "line 6: a is 'one': not a number",
        "line 7: b is 'nan': not finite",
        "line 8: kind is ' ': no label",
        "--skip-bad",
    ):
        assert named in str(refused.value)
    assert not (tmp_path / "pack").exists()


def test_bad_rows_are_left_out_by_choice_and_listed(
    numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = pack(find_source(numbers, label="kind"), tmp_path / "pack", skip_bad=True)
    assert opened.x[:][:, 0].tolist() == list(range(8))
    assert "Bad examples, left out (4):\n  line 5: 2 fields" in capsys.readouterr().out
    listed = json.loads((tmp_path / "pack" / "manifest.json").read_text(encoding="utf-8"))["bad"]
    assert [bad["where"] for bad in listed] == ["line 5", "line 6", "line 7", "line 8"]


def test_bad_rows_of_arrays_are_left_out_by_choice(tmp_path: Path) -> None:
    x, y = np.ones((40, 4, 3), np.float32), np.arange(40) % 4
    x[7, 0, 0], x[30, 3, 2] = np.nan, np.inf
    opened = pack(Arrays(x, y), tmp_path, skip_bad=True)
    assert [bad.where for bad in opened.manifest.all_bad] == ["row 7", "row 30"]
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
    opened = pack(source, tmp_path / "pack", skip_bad=True)
    assert [bad.where for bad in opened.manifest.all_bad] == ["cat/0.png", "dog/notes.txt"]
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


def test_the_command_packs_and_says_how_to_train(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "pack"
    (pictures / "cat" / "0.png").write_bytes(b"")
    command = ["pack", str(pictures), str(target), "--height", "4", "--width", "6"]
    assert command_line.main(command) == 1
    assert "cat/0.png: cannot identify image file" in capsys.readouterr().err
    assert command_line.main([*command, "--skip-bad"]) == 0
    printed = capsys.readouterr().out
    assert "11 examples of 2 classes, each uint8 of shape (4, 6, 3); left out: 1." in printed
    assert f"train --data {target}" in printed
    assert command_line.main(["pack", str(pictures), str(pictures / "pack")]) == 1
    assert "lies in the source" in capsys.readouterr().err
