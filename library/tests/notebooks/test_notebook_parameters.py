"""Parameters: what a notebook declares, and which values are taken."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from exactrun.errors import UserError
from exactrun.notebooks.parameters import (
    check_parameters,
    declared_parameters,
    parse_parameters,
)

DECLARED = """\
steps = 3  # @param {type:"integer"}
fast = True
rate: float = 0.1
colour = "#ff0000"  # a value with a number sign, and one with an equals sign
query = "a=1"
sizes = [1, 2]
cap = None
"""


def notebook_of(directory: Path, *sources: str) -> Path:
    """Write a notebook whose first cell declares parameters."""
    cells = [new_code_cell(DECLARED, metadata={"tags": ["parameters"]})]
    notebook = new_notebook(cells=cells + [new_code_cell(source) for source in sources])
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    path = directory / "small.ipynb"
    nbformat.write(notebook, path)
    return path


def rewritten(path: Path, change: Callable[[list[nbformat.NotebookNode]], object]) -> Path:
    """Change the cells of a stored notebook."""
    notebook = nbformat.read(path, as_version=4)
    change(notebook.cells)
    nbformat.write(notebook, path)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("steps=007", 7),
        ("fast=false", False),
        ("rate=1e-3", 0.001),
        ("rate=1", 1.0),
        ("colour=None", "None"),
        ("query=b=2", "b=2"),
        ("sizes=[3, 4]", [3, 4]),
        ("cap=None", None),
        ("cap=5", 5),
        ("cap=five", "five"),
    ],
)
def test_a_parameter_takes_the_type_that_the_notebook_declares(
    tmp_path: Path, text: str, value: object
) -> None:
    (parsed,) = parse_parameters(notebook_of(tmp_path), [text]).values()
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("steps=abc", "'abc' is not of type int"),
        ("fast=maybe", "'maybe' is not of type bool"),
        ("rate=fast", "'fast' is not of type float"),
        ("sizes=(1, 2)", "is not of type list"),
        ("sizes=[1", "is not of type list"),
        ("cap=(1, 2)", "can't be passed"),
        ("stepz=1", r"Did you mean steps\?"),
        ("steps", "'steps' is not of the form name=value"),
        ("=3", "'=3' is not of the form name=value"),
    ],
)
def test_a_parameter_that_can_not_be_taken_is_refused(
    tmp_path: Path, text: str, fault: str
) -> None:
    with pytest.raises(UserError, match=fault):
        parse_parameters(notebook_of(tmp_path), [text])


def test_parameters_that_are_not_python_are_refused(tmp_path: Path) -> None:
    magic = "%matplotlib inline"
    path = rewritten(notebook_of(tmp_path), lambda cells: cells[0].update(source=magic))
    fault = "line 1 of the parameters is not Python: .* in other cells"
    with pytest.raises(UserError, match=fault):
        declared_parameters(path)


def test_a_computed_default_is_refused_only_where_a_value_takes_its_place(tmp_path: Path) -> None:
    source = "steps = len('abc')\nrate = 0.1"
    path = rewritten(notebook_of(tmp_path), lambda cells: cells[0].update(source=source))
    assert parse_parameters(path, ["rate=1"]) == {"rate": 1.0}
    for give in (parse_parameters, lambda path, _: check_parameters(path, {"steps": 1})):
        with pytest.raises(UserError, match=r"declares steps = len\('abc'\)"):
            give(path, ["steps=1"])


def test_a_form_is_read_as_python_reads_it(tmp_path: Path) -> None:
    assert declared_parameters(notebook_of(tmp_path)) == {
        "steps": 3,
        "fast": True,
        "rate": 0.1,
        "colour": "#ff0000",
        "query": "a=1",
        "sizes": [1, 2],
        "cap": None,
    }


def test_values_of_an_earlier_run_are_refused(tmp_path: Path) -> None:
    earlier = {"tags": ["injected-parameters"]}
    path = notebook_of(tmp_path, "steps = 9")
    rewritten(path, lambda cells: cells[1].metadata.update(earlier))
    with pytest.raises(UserError, match="values of an earlier run"):
        declared_parameters(path)


@pytest.mark.parametrize("new_cell", [new_markdown_cell, new_raw_cell])
def test_a_tagged_cell_that_is_not_code_is_refused(
    tmp_path: Path, new_cell: Callable[..., nbformat.NotebookNode]
) -> None:
    """Papermill would put the values after it, and the notebook's own would win."""
    cell = new_cell("# A title", metadata={"tags": ["parameters"]})
    path = rewritten(notebook_of(tmp_path), lambda cells: cells.insert(0, cell))
    with pytest.raises(UserError, match="2 cells tagged 'parameters', 1 of them code"):
        declared_parameters(path)
    rewritten(path, lambda cells: cells[1].metadata.clear())
    with pytest.raises(UserError, match="1 cells tagged 'parameters', 0 of them code"):
        declared_parameters(path)


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("print(steps)", True),
        ("%time\nprint(f'{steps}')", True),
        ("[steps for _ in 'ab']", True),
        ("class Model:\n    n = steps", True),
        ("pass  # steps", False),
        ("print('steps', dict(steps=1))", False),
        ("def train():\n    return steps", False),
        ("for steps in (1, 2):\n    print(steps)", False),
        ("!echo steps", False),
    ],
)
def test_parameters_below_their_first_use_are_refused(
    tmp_path: Path, source: str, refused: bool
) -> None:
    cell = new_code_cell(source)
    path = rewritten(notebook_of(tmp_path), lambda cells: cells.insert(0, cell))
    assert parse_parameters(path, []) == {}
    with pytest.raises(UserError, match="uses steps above") if refused else nullcontext():
        declared_parameters(path)


def test_a_computed_value_is_no_fault_where_none_is_given(tmp_path: Path) -> None:
    path = rewritten(notebook_of(tmp_path), lambda cells: cells[0].update(source="n = len('abc')"))
    assert parse_parameters(path, []) == {}


def test_no_parameters_are_needed_where_none_are_given(tmp_path: Path) -> None:
    path = rewritten(notebook_of(tmp_path), lambda cells: cells[0].metadata.clear())
    assert parse_parameters(path, []) == {}
    with pytest.raises(UserError, match="0 cells tagged 'parameters'"):
        parse_parameters(path, ["steps=1"])
