"""Whatever a CSV holds comes back, or is named by its line."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exactrun.errors import UserError
from exactrun.splits import split
from exactrun.tables import CsvRows, csv_rows


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def write(file: Path, text: str | bytes) -> Path:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


GOOD = "a,b,kind\n1,0.5,cat\n-2,1e-3,dog\n3, 7 , cat\n"


def test_numbers_and_classes_come_back(file: Path) -> None:
    rows = csv_rows(write(file, GOOD), target="kind")
    x, y = rows[:]
    assert (x.dtype, y.dtype) == (np.float32, np.int32)
    assert x.tolist() == np.array([[1, 0.5], [-2, 1e-3], [3, 7]], np.float32).tolist()
    assert y.tolist() == [0, 1, 0]
    assert rows.class_names == ("cat", "dog")
    assert rows.feature_names == ("a", "b")
    assert rows.ignored == ()
    chosen = csv_rows(file, target="kind", features=["b"])
    assert chosen[:][0].shape == (3, 1)
    assert chosen.fingerprint != rows.fingerprint == csv_rows(file, target="kind").fingerprint


@pytest.mark.parametrize(
    ("options", "values", "names"),
    [
        ({"target": "n"}, [9.0, 10.0, 9.0], None),
        ({"target": "n", "classes": False}, [9.0, 10.0, 9.0], None),
        ({"target": "n", "classes": True}, [0, 1, 0], ("9", "10")),
        ({"target": ["n", "m"]}, [[9.0, 0.0], [10.0, 0.5], [9.0, 1.0]], None),
        ({"target": ["n"], "features": ["m"]}, [[9.0], [10.0], [9.0]], None),
    ],
)
def test_targets_are_classes_or_numbers(
    options: dict[str, Any], values: list[Any], names: tuple[str, ...] | None, file: Path
) -> None:
    rows = csv_rows(write(file, "m,n,o\n0,9,1\n.5,10,1\n1,9,1\n"), **options)
    y = rows[:][1]
    assert y.tolist() == values
    assert y.dtype == (np.int32 if names else np.float32)
    assert rows.class_names == names


def test_texts_come_back_as_they_are(file: Path) -> None:
    texts = [
        "naïve, “quoted”",
        'he said "no"',
        "two\r\nlines",
        "\N{GRINNING FACE}",
        "nul\0",
        "x" * 200_000,
    ]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["label", "text"], *[[n % 2, t] for n, t in enumerate(texts)]])
    rows = csv_rows(
        write(file, "\ufeff" + text.getvalue()), target="label", text="text", classes=True
    )
    x, y = rows[:]
    assert x.tolist() == texts
    assert all(type(each) is str for each in x)
    assert y.tolist() == [0, 1] * 3
    assert rows[1] == ('he said "no"', 1)
    again = csv_rows(file, target="label", text="text", classes=True)
    assert again.fingerprint == rows.fingerprint


BAD = """a,b,"ki
nd"
1,2,x
1,2

one,2,x
1,nan,y
1,"2
",y
1,-inf,y
1e39,2,y
,2,y
1,2,
1,2,x,4
1,"2"3,x
4,5,y
6,7,"z
8,9,y
"""
FAULTS = {
    "line 4": "2 fields, where the header has 3",
    "line 6": "a is 'one': not a finite number of float32",
    "line 7": "b is 'nan': not a finite number of float32",
    "line 10": "b is '-inf': not a finite number of float32",
    "line 11": "a is '1e39': not a finite number of float32",
    "line 12": "a is empty",
    "line 13": "ki\nnd is empty",
    "line 14": "4 fields, where the header has 3",
    "line 15": "',' expected after '\"', up to line 15",
    "line 17": "unexpected end of data, up to line 18",
}


def test_a_single_invalid_row_is_one(file: Path) -> None:
    with pytest.raises(UserError, match=r"1 invalid row in .*\n  line 3.*\n.* leave it out"):
        csv_rows(write(file, "a,kind\n1,0\n,1\n2,1\n"), target="kind")


def test_every_invalid_row_is_named_by_its_line(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as refused:
        csv_rows(write(file, BAD), target="ki\nnd")
    for line, why in FAULTS.items():
        assert f"\n  {line}: {why}" in str(refused.value)
    assert "10 invalid rows in " in str(refused.value)
    assert "ignore_errors=True" in str(refused.value)
    rows = csv_rows(file, target="ki\nnd", ignore_errors=True)
    assert rows[:][0].tolist() == [[1, 2], [1, 2], [4, 5]]
    assert rows[:][1].tolist() == [0, 1, 1]
    assert {bad.where: bad.why for bad in rows.ignored} == FAULTS
    assert "are left out:\n  line 4: 2 fields" in capsys.readouterr().out


def test_invalid_targets_and_texts_are_named(file: Path) -> None:
    write(file, "t,y,z\none,1,2\n ,2,2\nthree,inf,2\nfour,4,five\nfive,1e50,\n")
    with pytest.raises(UserError) as refused:
        csv_rows(file, target=["y", "z"], text="t")
    for named in (
        "line 3: t is empty",
        "line 4: y is 'inf': not a finite number",
        "line 5: z is 'five': not a finite number",
        "line 6: y is '1e50': not a finite number",
    ):
        assert f"\n  {named}" in str(refused.value)
    rows = csv_rows(file, target="y", text="t", classes=False, ignore_errors=True)
    assert rows[:][0].tolist() == ["one", "four"]
    assert rows[:][1].tolist() == [1, 4]


def test_rows_keep_their_lines_however_many_each_takes(file: Path) -> None:
    chance = random.Random(0)
    lines, good, bad, line = ["a,kind"], [], [], 2
    for row in range(200):
        text = chance.choice(["1", "2.5", '"3\n"', "x", '"\r\n\n4"', ""])
        try:
            good.append(float(text.strip('"')))
        except ValueError:
            bad.append(f"line {line}")
        lines.append(f"{text},{row % 2}x")
        line += 1 + text.count("\n")
        if chance.random() < 0.2:
            lines.append("")
            line += 1
    rows = csv_rows(write(file, "\n".join(lines)), target="kind", ignore_errors=True)
    assert rows[:][0][:, 0].tolist() == good
    assert [each.where for each in rows.ignored] == bad
    assert len(good) > 50 < len(bad)


@pytest.mark.parametrize(
    ("text", "options", "named"),
    [
        ("", {}, r"is empty. Give a .csv file whose first line names its columns"),
        ("a;kind\n1;x\n", {}, r"no column 'kind'.* with commas between them: \['a;kind'\]"),
        (GOOD, {"features": ["a", "bb"]}, r"no column 'bb'\..*: \['a', 'b', 'kind'\]"),
        (GOOD, {"text": "nope"}, "no column 'nope'"),
        (GOOD, {"text": "kind"}, r"text='kind'.*predict a column.*from others"),
        (GOOD, {"features": []}, r"features=\[\].*predict a column.*from others"),
        (GOOD, {"target": []}, r"target=\[\].*predict a column"),
        (GOOD, {"target": None}, r"target=None.*predict a column"),
        ("kind\nx\ny\n", {}, r"predict a column.*The columns of .* are: \['kind'\]"),
        (GOOD, {"features": "a"}, r"features='a'.*features=\[\.\.\.\]"),
        (GOOD, {"features": ["a"], "text": "b"}, r"features=\[\.\.\.\] or text="),
        (GOOD, {"target": ["a", "b"], "classes": True}, "classes=True.* a list of columns of numb"),
        ("a,a,kind\n1,2,x\n", {}, "more than one column 'a'. Each needs a name"),
        (",a,kind\n0,1,x\n", {}, r"a nameless column ''.*only numbers the rows.*features="),
        ("a,kind\n1,x\n2,x\n", {}, r"one class only, 'x'"),
        ("a,kind\n", {}, "no valid row"),
        ("a,kind\n1,1\n2,x\n", {}, r"both numbers and words, such as 'x' in line 3 of"),
        ("a,b,kind\n1,x,c\n2,y,d\n", {}, r"no valid row, as line 2: b is 'x'.*Choose features="),
        ("a,kind\n1,naïve\n".encode("latin1"), {}, r"not UTF-8.*CSV UTF-8.*iconv"),
        ("a,kind\n1,x\n".encode("utf-16"), {}, r"not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_refused(
    text: str | bytes, options: dict[str, Any], named: str, file: Path
) -> None:
    with pytest.raises(UserError, match=f"(?s){named}"):
        csv_rows(write(file, text), **{"target": "kind"} | options)


def test_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv can't be read: No such file"):
        csv_rows(tmp_path / "nowhere.csv", target="a")
    with pytest.raises(UserError, match="Is a directory"):
        csv_rows(tmp_path, target="a")


def test_random_numbers_come_back_to_the_last_bit(file: Path) -> None:
    chance = np.random.RandomState(0)
    values = chance.standard_normal((2000, 3)) * 10.0 ** chance.randint(-30, 30, (2000, 3))
    lines = [",".join(map(repr, row)) + f",{n % 3}" for n, row in enumerate(values.tolist())]
    rows = csv_rows(write(file, "\n".join(["a,b,c,y", *lines])), target="y", classes=True)
    np.testing.assert_array_equal(rows[:][0], values.astype(np.float32))
    assert isinstance(rows, CsvRows)
    train, validation, test = split(rows, stratify=True)
    assert [len(part) for part in (train, validation, test)] == [1600, 200, 200]
    assert set(np.bincount(test[:][1])) <= {66, 67}
