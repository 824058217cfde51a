"""What running and saving a notebook leaves in its file, and the edits that take it out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from .files import Json
from .rules import Finding
from .spans import Edit, Member, items, members, without

# nbstripout takes these out (nbstripout/_nbstripout.py, its default keys) …
OF_CELL = {"ExecuteTime", "collapsed", "execution", "heading_collapsed", "hidden", "scrolled"}
OF_NOTEBOOK = {"signature", "widgets"}
# … and these are Colab's, whose executionInfo holds the user's name; papermill's; and ours.
OF_CELL |= {"colab", "executionInfo", "id", "outputId", "papermill"}
OF_NOTEBOOK |= {"exactrun", "papermill"}
OF_COLAB = {"authorship_tag", "provenance"}


Leftover = tuple[Finding, tuple[Edit, ...]]
"""A finding that a machine can fix, and how."""


def leftovers(text: str, notebook: Json) -> Iterator[Leftover]:
    """Yield what a run or a tool left in a notebook.

    Args:
        text: Of its file, from the first character on.
        notebook: The same as an object.
    """
    top = {member.name: member for member in members(text, text.index("{"))}
    ids = [cell.get("id") for cell in notebook["cells"]]
    starts = items(text, top["cells"].start)
    for index, (cell, start) in enumerate(zip(notebook["cells"], starts, strict=True)):
        inside = {member.name: member for member in members(text, start)}
        name = cell.get("id", str(index + 1))
        twice = ids[index] is not None and ids[index] in ids[:index]
        if twice or (ids[index] is None and notebook["nbformat_minor"] >= 5):
            numbers = itertools.count(index + 1)
            new = next(each for each in (f"cell-{number}" for number in numbers) if each not in ids)
            ids[index] = new
            edit = _with_id(text, inside, new)
            fault = f"its id is {'used twice' if twice else 'missing'}"
            yield _leftover("cell-id", fault, edit, cell=name)
        if cell.get("outputs"):
            fault = f"it holds {len(cell['outputs'])} outputs"
            yield _leftover("outputs", fault, _instead(inside["outputs"], "[]"), cell=name)
        if (count := cell.get("execution_count")) is not None:
            edit = _instead(inside["execution_count"], "null")
            yield _leftover("execution-count", f"it holds the count {count}", edit, cell=name)
        if left := OF_CELL & cell["metadata"].keys():
            yield _metadata(text, inside["metadata"].start, left, cell=name)
    start = top["metadata"].start
    parts = {member.name: member.start for member in members(text, start)}
    held = notebook["metadata"]
    if left := OF_NOTEBOOK & held.keys():
        yield _metadata(text, start, left)
    colab = held.get("colab") if isinstance(held.get("colab"), dict) else {}
    if left := {name for name in OF_COLAB if colab.get(name)}:
        yield _metadata(text, parts["colab"], left)
    if left := held.get("language_info", {}).keys() - {"name"}:
        yield _metadata(text, parts["language_info"], left)


def _metadata(text: str, start: int, left: set[str], *, cell: str = "") -> Leftover:
    fault = f"its metadata holds {', '.join(sorted(left))}"
    return _leftover("tool-metadata", fault, *without(text, start, left), cell=cell)


def _leftover(rule: str, fault: str, *edits: Edit, cell: str) -> Leftover:
    return Finding(rule=rule, cell=cell, fault=fault), edits


def _instead(member: Member, text: str) -> Edit:
    return Edit(member.start, member.end, text)


def _with_id(text: str, cell: dict[str, Member], new: str) -> Edit:
    if "id" in cell:
        return _instead(cell["id"], json.dumps(new))
    # Jupyter writes it before the metadata, in a line of its own if these have one.
    metadata = cell["metadata"]
    colon = text[metadata.key : metadata.start].rpartition('"')[2]
    before = text[max(0, metadata.key - 200) : metadata.key]
    space = before[len(before.rstrip()) :] or " "
    added = f'"id"{colon}{json.dumps(new)},{space}'
    return Edit(metadata.key, metadata.key, added)
