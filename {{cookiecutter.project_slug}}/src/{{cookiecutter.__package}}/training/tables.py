"""A table in a CSV file as a source of examples: a column of texts, or columns of numbers."""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .manifest import Bad
from .sources import Example, in_order, stamp_of

PADDING, UNKNOWN = "", "[UNK]"


class Table:
    """A CSV file with a header, commas between its fields, in UTF-8.

    With `text`, that column is turned into indices of words: 0 is padding, 1 an unknown word, then
    the most frequent words, the alphabet deciding between equals. A word is a run of letters,
    digits and underscores, in lower case. The words are those of the whole file, since which rows
    are tested is for the seed of a training to decide; what they mean is learnt from the training
    part alone.

    Without `text`, every column but the label's is a number, and kept as float32. Empty lines are
    passed over.

    Args:
        path: The file.
        label: Column of the labels; their distinct values are the classes.
        text: Column of the texts.
        sequence_length: Words of a text that are kept; shorter ones are padded at their end.
        vocabulary_size: Words that are told apart, padding and unknown among them.

    Raises:
        UserError: If a column isn't there, or the file as a whole can't be read.
    """

    def __init__(
        self,
        path: Path,
        *,
        label: str = "",
        text: str = "",
        sequence_length: int = 300,
        vocabulary_size: int = 20_000,
    ) -> None:
        if sequence_length < 1:
            raise UserError(f"sequence_length={sequence_length}: it must be at least 1 word.")
        if vocabulary_size < 3:
            raise UserError(f"vocabulary_size={vocabulary_size}: it must be at least 3 words.")
        self.name, self._path = path.stem, path
        self._label, self._text = label, text
        self.options: dict[str, Any] = {"source": "table", "label": label}
        self._columns = self._header()
        self.shape: tuple[int, ...] = (sequence_length if text else len(self._columns) - 1,)
        self.dtype: np.dtype = np.dtype(np.int32 if text else np.float32)
        if text:
            self.options |= {"text": text, "sequence_length": sequence_length}
            self.options["vocabulary_size"] = vocabulary_size

        self.bad: list[Bad] = []
        self.examples = 0
        labels, counts = set(), Counter[str]()
        for found in self._rows():
            if isinstance(found, Bad):
                self.bad.append(found)
                continue
            self.examples += 1
            labels.add(found[1])
            if text:
                counts.update(words(found[0][0]))
        self.class_names = in_order(labels)
        self._classes = {name: index for index, name in enumerate(self.class_names)}
        self.vocabulary: tuple[str, ...] | None = None
        if text:
            frequent = sorted(counts, key=lambda word: (-counts[word], word))
            self.vocabulary = (PADDING, UNKNOWN, *frequent)[:vocabulary_size]
            self._indices = {word: index for index, word in enumerate(self.vocabulary)}
        self._next, self._ahead = 0, self._rows()

    def stamp(self) -> str:
        return stamp_of(self._path.parent, [self._path])

    def read(self, start: int, stop: int) -> Iterator[Example | Bad]:
        # A row's place in the file is known only by reading what comes before it, once.
        if start < self._next:
            self._next, self._ahead = 0, self._rows()
        good = (found for found in self._ahead if not isinstance(found, Bad))
        for fields, label in islice(good, start - self._next, stop - self._next):
            yield self._inputs(fields), self._classes[label]
        self._next = stop

    def _inputs(self, fields: Sequence[str]) -> np.ndarray:
        if not self._text:
            return np.array([float(field) for field in fields], np.float32)
        found = np.zeros(self.shape, np.int32)
        kept = words(fields[0])[: len(found)]
        found[: len(kept)] = [self._indices.get(word, 1) for word in kept]
        return found

    def _header(self) -> list[str]:
        """Return the columns' names, having checked that those asked for are among them."""
        _, columns = next(self._lines(), (0, []))
        if isinstance(columns, Bad) or not columns:
            why = f": {columns.why}" if isinstance(columns, Bad) else ", or an empty one"
            raise UserError(f"{self._path} has no header{why}. Its first line names the columns.")
        listed = f"The columns are: {', '.join(columns)}."
        for flag, column in (("label", self._label), ("text", self._text)):
            if not column and flag == "label":
                raise UserError(f"A CSV needs --label COLUMN, the column of the classes. {listed}")
            if column and column not in columns:
                near = difflib.get_close_matches(column, columns, n=1, cutoff=0.5)
                hint = f"Did you mean --{flag} {near[0]!r}? " if near else ""
                if len(columns) == 1 and (other := re.search(r"[;\t|]", columns[0])):
                    hint = f"Put commas between the fields, where {other[0]!r} stands. "
                raise UserError(f"{flag}={column!r} is no column of {self._path}. {hint}{listed}")
        if self._text == self._label:
            raise UserError(f"text and label are both {self._label!r}; give two columns. {listed}")
        used = [self._text, self._label] if self._text else columns
        for column in used:
            if columns.count(column) > 1:
                raise UserError(f"{self._path} has several columns {column!r}; rename them.")
        if not self._text and "" in columns:
            raise UserError(
                f"Column {columns.index('') + 1} of {self._path} has no name. If it numbers the"
                " rows, write the file without it (pandas: index=False); or else name it."
            )
        if len(columns) < 2:
            raise UserError(
                f"{self._path} has only the column {columns[0]!r}, no other to learn by."
            )
        return columns

    def _rows(self) -> Iterator[tuple[list[str], str] | Bad]:
        """Yield the fields to learn from and the label of each row; or what is wrong with it."""
        label = self._columns.index(self._label)
        text = self._columns.index(self._text) if self._text else None
        for line, fields in islice(self._lines(), 1, None):
            if isinstance(fields, Bad):
                yield fields
                continue
            if not fields:
                continue
            if why := self._fault(fields, label, text):
                yield Bad(where=line, why=why)
                continue
            name = fields[label].strip()
            yield ([fields[text]] if text is not None else _without(fields, label)), name

    def _fault(self, fields: Sequence[str], label: int, text: int | None) -> str:
        """Say what is wrong with a row; an empty text if nothing is."""
        if len(fields) != len(self._columns):
            return f"{len(fields)} fields, where the header has {len(self._columns)}"
        if fields[label].strip().lower() in ("", "nan"):
            return f"{self._label} is {fields[label]!r}: no label"
        if text is not None:
            return "" if words(fields[text]) else f"no word in {self._text}: {fields[text][:40]!r}"
        names, values = _without(self._columns, label), _without(fields, label)
        for name, value in zip(names, values, strict=True):
            try:
                number = float(value)
            except ValueError:
                return f"{name} is {value[:40]!r}: not a number"
            if not abs(number) <= np.finfo(np.float32).max:  # NaN compares as false
                return f"{name} is {value!r}: " + (
                    "not finite" if not math.isfinite(number) else "too large for float32"
                )
        return ""

    def _lines(self) -> Iterator[tuple[str, list[str] | Bad]]:
        """Yield each record, or why it can't be parsed, with the line where it begins."""
        csv.field_size_limit(2**31 - 1)  # texts may be long; the limit is one of the module
        try:
            with self._path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, strict=True)
                while True:
                    line = f"line {reader.line_num + 1}"
                    try:
                        yield line, next(reader)
                    except StopIteration:
                        return
                    except csv.Error as error:
                        if "unexpected end" in str(error):
                            raise UserError(
                                f"{self._path}, {line}: a quotation mark is opened and never"
                                " closed, which swallows the rest of the file. Close it."
                            ) from error
                        if reader.line_num > int(line.split()[1]):
                            line = f"lines {line.split()[1]} to {reader.line_num}"
                        yield line, Bad(where=line, why=str(error))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self._path} is not UTF-8: {error.reason} ({error.object[error.start]:#04x})."
                " Save it as “CSV UTF-8”, or convert it: iconv -f latin1 -t utf-8"
            ) from error


def words(text: str) -> list[str]:
    """Return a text's words in lower case: runs of letters, digits and underscores."""
    return re.findall(r"\w+", text.lower())


def _without(items: Sequence[str], position: int) -> list[str]:
    return [*items[:position], *items[position + 1 :]]
