"""A table in a CSV file as examples: columns of numbers or of texts, and what to predict."""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from .errors import UserError
from .examples import BadExample
from .files import explain
from .sources import ArrayExamples, in_order, listed

MOST = float(np.finfo(np.float32).max)
ROWS = 65_536
"""Rows whose fields are in memory as text at a time."""


class CsvRows(ArrayExamples):
    """The rows of a table, in memory. Made by `csv_rows`.

    An example is `(x, y)`. `x` is float32, shape (features,), or a Python string. `y` is a class
    index, int32, or one or several numbers, float32.

    Attributes:
        feature_names: The columns that `x` is made of.
        ignored: The invalid rows that were left out.
    """

    feature_names: tuple[str, ...]
    ignored: tuple[BadExample, ...]


def csv_rows(
    path: str | Path,
    *,
    target: str | Sequence[str],
    features: Sequence[str] | None = None,
    text: str | None = None,
    classes: bool | None = None,
    ignore_errors: bool = False,
) -> CsvRows:
    """Read a CSV file with a header, commas between its fields, in UTF-8.

    Empty lines are passed over. The file is split into fields by Python's csv module: pandas' own
    parsers don't say on which line a row stands once a field holds a line break, fill up a row that
    has too few fields, and round some numbers otherwise than Python does.

    Args:
        path: The file.
        target: The column to predict, or a list of columns of numbers.
        features: The columns of numbers to learn from; all but the target if None.
        text: A column of texts to learn from, instead of numbers.
        classes: Whether the target is one of classes; if None, it is unless all of it are numbers.
            Classes are ordered by their names, as numbers if all are numbers.
        ignore_errors: Leave out invalid rows, and print their lines, instead of ending.

    Returns:
        The rows: `x` of shape (rows, features), or (rows,) for texts; `y` of shape (rows,), or
        (rows, targets) if the target is a list.

    Raises:
        UserError: Naming the lines of the invalid rows; or what is wrong with the file or a column.
    """
    file = Path(path)
    try:
        return _read(file, target, features, text, classes, ignore_errors=ignore_errors)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8: {error.reason} ({error.object[error.start]:#04x}). Save it as"
            " “CSV UTF-8”, or convert it: iconv -f latin1 -t utf-8"
        ) from error
    except OSError as error:
        raise UserError(f"{file} can't be read: {explain(error)}. Give a .csv file.") from error


def _read(
    file: Path,
    target: str | Sequence[str],
    features: Sequence[str] | None,
    text: str | None,
    classes: bool | None,
    *,
    ignore_errors: bool,
) -> CsvRows:
    """Read the file; see `csv_rows`."""
    records = _records(file)
    _, columns = next(records, (0, []))
    if isinstance(columns, BadExample) or not any(columns):
        why = f" that can be read: {columns.why}" if isinstance(columns, BadExample) else ""
        raise UserError(f"{file} has no header{why}. Its first line names the columns.")
    listed_columns = f"The columns of {file} are: {', '.join(columns)}."
    if len(columns) == 1 and (other := re.search(r"[;\t|]", columns[0])):
        raise UserError(
            f"{file} has {other[0]!r} between its fields, not commas. Convert it:"
            f" pandas.read_csv({file.name!r}, sep={other[0]!r}).to_csv('commas.csv', index=False)"
        )
    targets = [target] if isinstance(target, str) else list(target)
    if isinstance(features, str) or (classes and not isinstance(target, str)):
        raise UserError(
            f"target={target!r}, features={features!r}, classes={classes}: features is a list of"
            " columns; target is one column, or a list of columns of numbers."
        )
    if features is not None and text is not None:
        raise UserError("features and text can't be had together. Leave out one of them.")
    names = [column for column in columns if column not in targets]
    if text is not None or features is not None:
        names = [text] if text is not None else list(features or ())
    y_at = [_position(columns, "target", name, listed_columns) for name in targets]
    x_at = [_position(columns, "features or text", name, listed_columns) for name in names]
    if not names or not targets or set(names) & set(targets):
        raise UserError(
            f"There is nothing to learn from, or nothing to predict: {', '.join(names) or 'none'}"
            f" for {', '.join(targets) or 'none'}. Give other columns. {listed_columns}"
        )

    bad: dict[int, BadExample] = {}
    lines: list[int] = []
    inputs, outputs = [], []
    for some, rows in _batches(records, len(columns), bad):
        cells = [[row[at] for at in x_at] for row in rows]
        if text is None:
            inputs.append(_numbers(cells, names, some, bad))
        else:
            inputs.append(np.array([cell for (cell,) in cells], object))
            empty = (line for line, (cell,) in zip(some, cells, strict=True) if not cell.strip())
            bad |= {line: BadExample(f"line {line}", f"{text} is empty") for line in empty}
        for line, row in zip(some, rows, strict=True):
            outputs.append([row[at].strip() for at in y_at])
            for name, value in zip(targets, outputs[-1], strict=True):
                if value.lower() in ("", "nan"):
                    bad.setdefault(
                        line, BadExample(f"line {line}", f"{name} is {value!r}: no label")
                    )
        lines += some
    x = np.concatenate(inputs) if inputs else np.empty((0, len(names)))
    if text is None and len(x) > 1 and len(words := np.flatnonzero(np.isnan(x).all(axis=0))):
        raise UserError(
            f"No row of {file} has a number in {', '.join(names[at] for at in words)}. Leave it"
            f" out, with features=[...], or turn it into numbers. {listed_columns}"
        )

    kept = [place for place, line in enumerate(lines) if line not in bad]
    lines, outputs = [lines[place] for place in kept], [outputs[place] for place in kept]
    if classes is None and isinstance(target, str):
        numeric = [_number(value) is not None for (value,) in outputs]
        classes = not all(numeric)
        if classes and any(numeric):
            number, word = numeric.index(True), numeric.index(False)
            raise UserError(
                f"{target} holds both numbers ({outputs[number][0]!r} in line {lines[number]}) and"
                f" words ({outputs[word][0]!r} in line {lines[word]}). Say what it is: classes=True"
                " takes all for classes; classes=False for numbers, the words for errors."
            )
    class_names = in_order(value for (value,) in outputs) if classes else None
    if class_names is None:
        y = _numbers(outputs, targets, lines, bad)
        y = y[:, 0] if isinstance(target, str) else y
        places = np.array([line not in bad for line in lines], bool)
        y, kept = y[places], [place for place, fine in zip(kept, places, strict=True) if fine]
    else:
        index = {name: place for place, name in enumerate(class_names)}
        y = np.array([index[value] for (value,) in outputs], np.int32)
    ignored = tuple(bad[line] for line in sorted(bad))
    if ignored and not ignore_errors:
        raise UserError(
            f"{file} holds invalid rows ({len(ignored):,}):{listed(ignored)}\nMend or delete them,"
            " or leave them out: ignore_errors=True"
        )
    if not len(y) or (class_names is not None and len(class_names) < 2):
        holds = f"one class only, {class_names[0]!r}" if class_names else "no valid row"
        raise UserError(f"{file} holds {holds}: there is nothing to learn.{listed(ignored)}")
    if ignored:
        print(f"Invalid rows of {file}, left out ({len(ignored):,}):{listed(ignored)}")
    found = CsvRows((x[kept], y), class_names=class_names)
    found.feature_names, found.ignored = tuple(names), ignored
    return found


def _position(columns: list[str], setting: str, name: str, listed_columns: str) -> int:
    """Return a column's place, having checked that there is one of that name."""
    if name not in columns:
        near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"{setting}: there is no column {name!r}.{hint} {listed_columns}")
    if not name or columns.count(name) > 1:
        what = f"several columns {name!r}" if name else "a column without a name"
        raise UserError(
            f"There is {what}. Rename it; if it only numbers the rows, write the file without it"
            f" (pandas: index=False) or leave it out, with features=[...]. {listed_columns}"
        )
    return columns.index(name)


def _batches(
    records: Iterator[tuple[int, list[str] | BadExample]], width: int, bad: dict[int, BadExample]
) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yield the lines and fields of some thousand rows at a time, as text takes much memory."""
    while some := list(islice(records, ROWS)):
        lines, rows = [], []
        for line, fields in some:
            if isinstance(fields, BadExample):
                bad[line] = fields
            elif fields and len(fields) != width:
                why = f"{len(fields)} fields, where the header has {width}"
                bad[line] = BadExample(f"line {line}", why)
            elif fields:
                lines.append(line)
                rows.append(fields)
        yield lines, rows


def _numbers(
    rows: list[list[str]], names: list[str], lines: list[int], bad: dict[int, BadExample]
) -> np.ndarray:
    """Return fields as float32, shape (rows, names), and note the rows in which one is invalid."""
    try:
        found = np.array(rows, object).reshape(len(rows), len(names)).astype(np.float64)
    except ValueError:  # the slow way tells which
        found = np.array([[_number(field) for field in row] for row in rows], np.float64)
    found[~(np.abs(found) <= MOST)] = np.nan  # NaN compares as false
    for row, column in np.argwhere(np.isnan(found)).tolist():
        field, line = rows[row][column], lines[row]
        value = _number(field)
        why = "not a number" if value is None else "not finite"
        if value is not None and math.isfinite(value):
            why = "too large for float32"
        said = (
            f"{names[column]} is {field[:40]!r}: {why}"
            if field.strip()
            else f"{names[column]} is empty"
        )
        bad.setdefault(line, BadExample(f"line {line}", said))
    return found.astype(np.float32)


def _number(field: str) -> float | None:
    """Return a field's value as Python reads numbers; None if it is none."""
    try:
        return float(field)
    except ValueError:
        return None


def _records(file: Path) -> Iterator[tuple[int, list[str] | BadExample]]:
    """Yield the line on which each record begins, and its fields or why it can't be parsed."""
    csv.field_size_limit(2**31 - 1)  # texts may be long; the limit is one of the module
    with file.open(newline="", encoding="utf-8-sig") as opened:
        reader = csv.reader(opened, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                yield line, next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "unexpected end" in str(error):
                    raise UserError(
                        f"{file}, line {line}: a quotation mark is opened and never closed, which"
                        " swallows the rest of the file. Close it."
                    ) from error
                last = reader.line_num
                where = f"line {line}" if last <= line else f"lines {line} to {last}"
                yield line, BadExample(where, str(error))
