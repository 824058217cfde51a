"""A table in a CSV file as examples: columns of numbers or of texts, and what to predict."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError
from .examples import BadExample
from .files import explain
from .sources import ArrayExamples, in_order, leave_out
from .structures import Array

MOST = float(np.finfo(np.float32).max)


class CsvRows(ArrayExamples):
    """The rows of a table, in memory: `x`, float32 or Python strings, and `y`; see `csv_rows`.

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
    r"""Read a CSV file with a header, commas between its fields, in UTF-8.

    Python's csv module splits it: pandas' parsers lose the lines of rows, and fill up short ones.

    Args:
        path: The file.
        target: The column to predict, or a list of columns of numbers: `y`.
        features: The columns of numbers to learn from, `x`; all but the target if None.
        text: A column of texts to learn from, instead of numbers.
        classes: Whether the target is one of classes, ordered by their names, as numbers if all are
            numbers; `y` is then their index, int32. If None, it is unless all of it are numbers.
        ignore_errors: Leave out invalid rows, and print their lines, instead of ending.

    Raises:
        UserError: Naming the lines of the invalid rows; or what is wrong with the file or a column.

    Example:
        >>> path = directory / "prices.csv"
        >>> _ = path.write_text("rooms,price\n2,150\n3,210\n")
        >>> x, y = exactrun.csv_rows(path, target="price")[1]
        >>> x.tolist(), float(y)
        ([3.0], 210.0)
    """
    file = Path(path)
    bad: dict[int, BadExample] = {}
    records = _records(file, bad)
    _, columns = next(records, (1, []))
    if not columns:
        raise UserError(f"{file} is empty. Give a .csv file whose first line names its columns.")
    targets = [target] if isinstance(target, str) else list(target or [])
    others = [name for name in columns if name not in targets]
    names = [text] if text is not None else others if features is None else list(features)
    if (
        not (names and targets)
        or set(names) & set(targets)
        or isinstance(features, str)
        or (features is not None and text is not None)
        or (classes and not isinstance(target, str))
    ):
        raise UserError(
            f"target={target!r}, features={features!r}, text={text!r}, classes={classes}: predict a"
            " column, or a list of columns of numbers, from others: features=[...] or text=. The"
            f" columns of {file} are: {columns}"
        )
    x_at, y_at = ([_position(file, columns, name) for name in some] for some in (names, targets))
    labels = isinstance(target, str) and classes is not False  # and may be numbers after all
    lines, inputs, outputs = list[int](), list[Array](), list[list[Any]]()
    for line, fields in records:
        try:
            if len(fields) != len(columns):
                raise ValueError(f"{len(fields)} fields, where the header has {len(columns)}")
            given = [_parsed(columns[at], fields[at], number=text is None) for at in x_at]
            wanted = [_parsed(columns[at], fields[at].strip(), number=not labels) for at in y_at]
        except ValueError as error:
            bad[line] = BadExample(f"line {line}", str(error))
        else:
            lines.append(line)
            inputs.append(np.array(given, np.float32 if text is None else object))
            outputs.append(wanted)
    ignored = tuple(bad.values())
    if not lines:
        why = f", as {ignored[0]}" if ignored else ""
        raise UserError(f"{file} holds no valid row{why}. Choose features=[...] of: {columns}")
    leave_out(ignored, "row", file, ignore_errors=ignore_errors)

    class_names = None
    if labels:
        words = [place for place, (label,) in enumerate(outputs) if math.isnan(_number(label))]
        if classes is None and 0 < len(words) < len(lines):
            raise UserError(
                f"{target} holds both numbers and words, such as {outputs[words[0]][0]!r} in line"
                f" {lines[words[0]]} of {file}. Say what it is: classes=True, or classes=False,"
                " which takes words for errors."
            )
        if classes or words:
            class_names = in_order(label for (label,) in outputs)
            index = {name: place for place, name in enumerate(class_names)}
            outputs = [[index[label]] for (label,) in outputs]
    if class_names is not None and len(class_names) < 2:
        raise UserError(f"{target} of {file} holds one class only, {class_names[0]!r}.")
    x = np.stack(inputs) if text is None else np.concatenate(inputs)
    values = [list(map(float, row)) for row in outputs]
    y = np.array(values, np.float32 if class_names is None else np.int32)
    y = y[:, 0] if isinstance(target, str) else y
    found = CsvRows((x, y), class_names=class_names)
    found.feature_names, found.ignored = tuple(names), ignored
    return found


def _position(file: Path, columns: list[str], name: str) -> int:
    """Return a column's place, having checked that there is one of that name."""
    if not name or columns.count(name) != 1:
        what = "no" if name not in columns else "more than one" if name else "a nameless"
        raise UserError(
            f"{file} has {what} column {name!r}. Each needs a name of its own, with commas between"
            f" them: {columns}. One that only numbers the rows can be left out by features=[...]."
        )
    return columns.index(name)


def _parsed(name: str, field: str, *, number: bool) -> Any:
    """Return a field as a number or a text; raise ValueError if it is none."""
    if not field.strip():
        raise ValueError(f"{name} is empty")
    if number and math.isnan(_number(field)):
        raise ValueError(f"{name} is {field[:40]!r}: not a finite number of float32")
    return _number(field) if number else field


def _number(field: str) -> float:
    """Return a field's value as Python reads numbers; NaN if there is none that float32 holds."""
    try:
        value = float(field)
    except ValueError:
        return math.nan
    return value if abs(value) <= MOST else math.nan


def _records(file: Path, bad: dict[int, BadExample]) -> Iterator[tuple[int, list[str]]]:
    """Yield each record's first line and its fields, and add those that can't be parsed to bad."""
    csv.field_size_limit(2**31 - 1)  # texts may be long; the limit is one of the module
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.reader(opened, strict=True)
            while True:
                line = reader.line_num + 1
                try:
                    if fields := next(reader):
                        yield line, fields
                except StopIteration:
                    return
                except csv.Error as error:  # such as a quotation mark that is never closed
                    why = f"{error}, up to line {reader.line_num}"
                    bad[line] = BadExample(f"line {line}", why)
    except UnicodeDecodeError as error:
        advice = "Save it as “CSV UTF-8”, or convert it: iconv -f latin1 -t utf-8"
        raise UserError(f"{file} is not UTF-8 ({error.reason}). {advice}") from error
    except OSError as error:
        raise UserError(f"{file} can't be read: {explain(error)}. Give a .csv file.") from error
