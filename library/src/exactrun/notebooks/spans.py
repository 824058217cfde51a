"""Where the parts of a JSON text lie, so that some of them change and no other byte does."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

_decode = json.JSONDecoder().raw_decode
_between = re.compile(r"[\s,:]*").match


class Member(NamedTuple):
    """A member of an object: its name, and where its key begins, its value begins and ends."""

    name: str
    key: int
    start: int
    end: int


class Edit(NamedTuple):
    """Another text in the place of the one from `start` to `end`."""

    start: int
    end: int
    text: str = ""


def members(text: str, start: int) -> list[Member]:
    """Return the members of the object that begins at `start`; the text must be valid JSON."""
    found = []
    position = _after(text, start + 1)
    while text[position] != "}":
        name, end = _decode(text, position)
        value = _after(text, end)
        _, after = _decode(text, value)
        found.append(Member(name, position, value, after))
        position = _after(text, after)
    return found


def items(text: str, start: int) -> Iterator[int]:
    """Yield where each item of the array that begins at `start` begins."""
    position = _after(text, start + 1)
    while text[position] != "]":
        yield position
        _, after = _decode(text, position)
        position = _after(text, after)


def without(text: str, start: int, names: Collection[str]) -> Iterator[Edit]:
    """Yield what takes the members of these names out of the object that begins at `start`."""
    found = members(text, start)
    kept = [index for index, member in enumerate(found) if member.name not in names]
    if found and not kept:
        _, end = _decode(text, start)
        yield Edit(start, end, "{}")
        return
    for index, member in enumerate(found):
        if index < max(kept, default=0) and index not in kept:
            yield Edit(member.key, found[index + 1].key)
    if found and kept[-1] < len(found) - 1:  # the comma goes with the last ones
        yield Edit(found[kept[-1]].end, found[-1].end)


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Return the text after edits that don't overlap."""
    parts, position = [], 0
    for edit in sorted(edits):
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, text[position:]])


def _after(text: str, position: int) -> int:
    found = _between(text, position)
    return found.end() if found else position
