"""Whatever a CSV holds that Python's csv module has written comes back; what it breaks is named."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from handwritten_digits.errors import UserError
from handwritten_digits.training.packing import pack
from handwritten_digits.training.tables import Table, words
from hypothesis import given, settings
from hypothesis import strategies as st

settings.register_profile("proofs", deadline=None, database=None, max_examples=150)
settings.load_profile("proofs")

# Any text that UTF-8 can hold: quotes, commas, newlines of every kind, right-to-left, emoji, NUL.
anything = st.text(st.characters(codec="utf-8"), max_size=30)
labels = anything.filter(lambda text: text.strip().lower() not in ("", "nan"))
texts = anything.filter(words)


def written(
    rows: list[list[str]],
    *,
    mark: bool = False,
    style: tuple[int, str] = (csv.QUOTE_MINIMAL, "\r\n"),
) -> bytes:
    """Write rows as CSV, with or without a byte order mark, in a style of quotes and line ends."""
    text = io.StringIO(newline="")
    quoting, end = style
    csv.writer(text, quoting=quoting, lineterminator=end).writerows(rows)
    return text.getvalue().encode("utf-8-sig" if mark else "utf-8")


def packed(content: bytes, *, skip_bad: bool = False, **options: str) -> tuple:
    """Pack a CSV of this content; return inputs, names of the labels, vocabulary, skipped."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(content)
        opened = pack(Table(path, **options), Path(folder) / "pack", skip_bad=skip_bad)
        names = [opened.manifest.class_names[label] for label in opened.y[:]]
        return opened.x[:], names, opened.manifest.vocabulary, opened.manifest.all_bad


@given(
    rows=st.lists(st.tuples(texts, labels), min_size=2, max_size=8),
    mark=st.booleans(),
    # With "\n" alone at the lines' ends, csv.writer of Python 3.11 leaves "\r" without quotes.
    style=st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n"), (csv.QUOTE_ALL, "\n")]),
)
def test_any_text_comes_back_word_by_word(
    rows: list[tuple[str, str]], mark: bool, style: tuple[int, str]
) -> None:
    expected = [label.strip() for _, label in rows]
    content = written([["the, text", 'a "label"'], *map(list, rows)], mark=mark, style=style)
    columns = {"text": "the, text", "label": 'a "label"'}
    if len(set(expected)) == 1:
        with pytest.raises(UserError, match="one class only"):
            packed(content, **columns)
        return
    x, names, vocabulary, _ = packed(content, **columns)
    assert names == expected
    for row, (text, _) in zip(x, rows, strict=True):
        assert [vocabulary[index] for index in row if index] == words(text)


@given(
    rows=st.lists(
        st.tuples(st.floats(width=32), st.integers(-(2**70), 2**70), st.sampled_from("ab")),
        min_size=1,
        max_size=12,
    )
)
def test_numbers_come_back_or_are_named(rows: list[tuple[float, int, str]]) -> None:
    good = [row for row in rows if np.isfinite(row[0])]
    lines = [[repr(a), str(b), label] for a, b, label in rows]
    content = written([["a", "b", "label"], *lines])
    if len({label for *_, label in good}) < 2:
        with pytest.raises(UserError, match=r"one class only|no example"):
            packed(content, skip_bad=True, label="label")
        return
    x, names, _, skipped = packed(content, skip_bad=True, label="label")
    np.testing.assert_array_equal(x, np.array([row[:2] for row in good], np.float64).astype("f4"))
    assert names == [label for *_, label in good]
    bad = [f"line {line}" for line, row in enumerate(rows, 2) if not np.isfinite(row[0])]
    assert [each.where for each in skipped] == bad


@given(content=st.one_of(st.binary(max_size=200), anything.map(str.encode)))
def test_any_content_is_packed_or_refused_by_the_name_of_its_file(content: bytes) -> None:
    for options in ({"label": "label"}, {"label": "label", "text": "text"}):
        x, names, refusal = [], [], ""
        try:
            x, names, *_ = packed(b"text,label\n" + content, skip_bad=True, **options)
        except UserError as error:
            refusal = str(error)
        assert len(x) == len(names)
        assert "table" in refusal or len(set(names)) > 1  # it is the file's name


@given(
    lines=st.lists(
        st.sampled_from(
            ["1,a", "2,b", "x,a", "1", '"1","b"', '"1"x,a', '"', '3,"a\nb"', "", "1,", '"\n2",b']
        ),
        max_size=8,
    )
)
def test_every_row_is_packed_or_named(lines: list[str]) -> None:
    """No line may vanish: each is in the pack, listed as bad, empty, or the whole is refused."""
    content = "\n".join(["n,label", "1,a", "2,b", *lines, ""])
    try:
        x, _, _, skipped = packed(content.encode(), skip_bad=True, label="label")
    except UserError as error:
        if "quotation mark" not in str(error):
            raise
        return
    named = 0
    for each in skipped:
        first, _, last = each.where.split(" ", 1)[1].partition(" to ")
        named += int(last or first) - int(first) + 1
    # A packed or bad record may take several lines: those inside quotes.
    records = list(csv.reader(io.StringIO(content, newline="")))
    assert len(x) + named >= len([record for record in records if record]) - 1
    assert len(x) <= len(records) - 1


def test_a_quotation_mark_that_is_never_closed_swallows_nothing() -> None:
    content = b'text,label\none,a\n"two,b\nthree,a\nfour,b\n'
    with pytest.raises(UserError, match=r"line 3: a quotation mark is opened and never"):
        packed(content, skip_bad=True, text="text", label="label")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_refused_by_name(encoding: str) -> None:
    with pytest.raises(UserError, match=r"not UTF-8.*CSV UTF-8"):
        packed("text,label\nnaïve,a\nfiancé,b\n".encode(encoding), text="text", label="label")


def test_texts_of_any_length_are_read() -> None:
    content = written([["text", "label"], ["word " * 200_000, "a"], ["other", "b"]])
    x, *_ = packed(content, text="text", label="label")
    assert np.count_nonzero(x, axis=1).tolist() == [300, 1]
