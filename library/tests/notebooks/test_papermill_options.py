"""The engine `exactrun` beside papermill's own: the same options, the same notebook written."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from notebook_cases import Case
from papermill.engines import papermill_engines
from papermill.exceptions import PapermillExecutionError

from exactrun.notebooks.kernels import kernel_fault
from exactrun.notebooks.papermill_engine import Engine

ENGINES = ("nbclient", "exactrun")

SAVED = "import os, time\nprint('fir', 'st', flush=True)\n" + (
    "for _ in range(12):\n    print('.', flush=True)\n    time.sleep(0.1)\n"
    "found = os.path.exists('{path}') and 'fir' + ' st' in open('{path}').read()\nfound"
)
"""A cell that says whether its own output has been written while it runs."""


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have papermill know the engine of these sources, whatever is installed."""
    monkeypatch.setitem(papermill_engines._engines, "exactrun", Engine)


Run = Callable[..., tuple[Exception | None, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Execute a notebook by one engine; return what was raised, and the notebook written."""

    def run(engine: str, notebook: Path, **options: Any) -> tuple[Exception | None, Any]:
        options = {"output_path": tmp_path / "out.ipynb", "progress_bar": False} | options
        path = options.pop("output_path")
        try:
            made = papermill.execute_notebook(notebook, path, engine_name=engine, **options)
        except Exception as error:
            return error, nbformat.read(path, as_version=4) if path else None
        return None, nbformat.read(path, as_version=4) if path else made

    return run


@pytest.fixture(scope="session", autouse=True)
def kernel_of_r(kernels: None) -> None:
    """Make a kernel known that runs R."""
    directory = Path(os.environ["JUPYTER_PATH"]) / "kernels" / "other"
    directory.mkdir()
    spec = {"argv": ["false"], "display_name": "R", "language": "R"}
    (directory / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")


def case_of(*cells: str, kernel: str = "python3") -> Case:
    return Case(name="", cells=cells, kernel=kernel)


def also(cell: str, evalue: str, *, kernel: str = "python3", **options: float) -> Any:
    """Return a case of a failure that is no exception, for when there is time."""
    case = case_of(cell, kernel=kernel)
    return pytest.param(case, options, "Failed", evalue, marks=pytest.mark.thorough)


def steady(seen: Any) -> str:
    """Return what is seen without the numbers of kernels' processes, which tracebacks show."""
    return re.sub(r"ipykernel_\d+", "ipykernel", str(seen))


def look(notebook: Any) -> list[Any]:
    """Return what a reader and papermill's users see of a notebook: not its ids and times."""
    seen = []
    for cell in notebook.cells:
        times = cell.metadata.get("papermill", {})
        outputs = steady([dict(output) for output in cell.get("outputs", [])])
        seen.append((cell.source, cell.metadata.get("tags"), times.get("status")))
        seen.append((times.get("exception"), cell.get("execution_count"), outputs))
        seen.append(cell.metadata.get("jupyter"))
    return seen


def compared(run: Run, notebook: Path, **options: Any) -> tuple[Exception | None, Any]:
    """Execute a notebook by both engines, and demand the same; return it."""
    (theirs, expected), (error, made) = (run(name, notebook, **options) for name in ENGINES)
    for cell in (*made.cells, *expected.cells):
        if cell.cell_type == "markdown":  # no engine executes it
            cell.metadata.get("papermill", {}).pop("exception", None)
    assert look(made) == look(expected)
    assert type(error) is type(theirs)
    if isinstance(error, PapermillExecutionError):
        assert steady(vars(error)) == steady(vars(theirs))
    return error, made


@pytest.mark.thorough
def test_papermills_parameters_and_report_mode(run: Run, tmp_path: Path) -> None:
    notebook = case_of("print(steps)").write(tmp_path)
    _, made = compared(run, notebook, parameters={"steps": 7}, report_mode=True)
    assert [cell.metadata.jupyter.source_hidden for cell in made.cells[1::3]] == [True, True]
    assert made.cells[-1].outputs[0].text == "7\n"
    assert made.metadata.papermill.parameters == {"steps": 7}


@pytest.mark.thorough
def test_only_prepared_nothing_is_executed(run: Run, tmp_path: Path) -> None:
    notebook = case_of("print(steps)").write(tmp_path)
    _, made = compared(run, notebook, parameters={"steps": 7}, prepare_only=True)
    assert made.cells[-1].outputs == []


@pytest.mark.thorough
def test_kernel_and_language_of_a_notebook_that_names_none(run: Run, tmp_path: Path) -> None:
    path = case_of("print(steps)").write(tmp_path)
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {}
    nbformat.write(notebook, path)
    names = {"kernel_name": "python3", "language": "python"}
    _, made = compared(run, path, parameters={"steps": 7}, **names)
    assert made.cells[-1].outputs[0].text == "7\n"


@pytest.mark.thorough
def test_another_kernel_than_the_notebook_names(run: Run, tmp_path: Path) -> None:
    notebook = case_of("print(1)", kernel="there-is-none").write(tmp_path)
    assert compared(run, notebook, kernel_name="python3")[0] is None


@pytest.mark.thorough
def test_a_working_directory(run: Run, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    notebook = case_of("import os\nos.getcwd()").write(tmp_path)
    _, made = compared(run, notebook, cwd=tmp_path / "work")
    assert str(tmp_path / "work") in made.cells[-1].outputs[0].data["text/plain"]


@pytest.mark.thorough
def test_what_is_printed_goes_to_files_whole(run: Run, tmp_path: Path) -> None:
    progress = "for i in range(3):\n    print(i, end='\\r')\nprint('x' * 200_000)"
    cells = (progress, "import sys\nprint('war', 'ning', file=sys.stderr)", "1 + 1")
    notebook, written = case_of(*cells).write(tmp_path), []
    for name in ENGINES:
        with (tmp_path / "o").open("w") as out, (tmp_path / "e").open("w") as err:
            run(name, notebook, stdout_file=out, stderr_file=err)
        written.append([(tmp_path / name).read_bytes() for name in "oe"])
    assert written[0] == written[1]
    assert written[0] == [b"0\r1\r2\r" + b"x" * 200_000 + b"\n", b"war ning\n"]


@pytest.mark.thorough
@pytest.mark.parametrize("logged", [False, True])
def test_what_is_printed_is_logged_if_asked_for(
    logged: bool, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notebook, texts = case_of("print('print', 'ed')\n6 * 7").write(tmp_path), []
    for name in ENGINES:
        caplog.clear()
        with caplog.at_level("INFO"):
            run(name, notebook, log_output=logged)
        texts.append({text.strip() for text in caplog.messages} & {"print ed", "42"})
    assert texts == [{"print ed", "42"} if logged else set()] * 2


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "meanwhile"),
    [
        ({"autosave_cell_every": 1}, "True"),
        ({"autosave_cell_every": 0}, "False"),
        ({"autosave_cell_every": 1, "request_save_on_cell_execute": False}, "False"),
    ],
)
def test_the_notebook_is_saved_as_asked_for(
    options: dict[str, Any], meanwhile: str, run: Run, tmp_path: Path
) -> None:
    notebook = case_of(SAVED.replace("{path}", str(tmp_path / "out.ipynb"))).write(tmp_path)
    for name in ENGINES:
        (tmp_path / "out.ipynb").unlink(missing_ok=True)
        _, made = run(name, notebook, **options)
        assert made.cells[-1].outputs[-1].data["text/plain"] == meanwhile, name


@pytest.mark.thorough
def test_without_an_output_path_the_notebook_is_returned(run: Run, tmp_path: Path) -> None:
    _, made = compared(run, case_of("print(steps)").write(tmp_path), output_path=None)
    assert made.cells[-1].outputs[0].text == "3\n"
    assert [path.name for path in tmp_path.iterdir()] == ["case.ipynb"]


@pytest.mark.thorough
@pytest.mark.parametrize("bar", [True, {"desc": "Ours", "unit": "step"}])
def test_the_progress_bar_comes_to_its_end(
    bar: Any, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    notebook = case_of("1", "2  # papermill_description=Second").write(tmp_path)
    for name in ENGINES:
        run(name, notebook, progress_bar=bar)
        shown = capfd.readouterr().err.rpartition("\r")[2]
        assert re.match(r"Executing Second: 100%.* 5/5 ", shown), (name, shown)


def test_an_exception_is_told_as_papermill_tells_it(run: Run, tmp_path: Path) -> None:
    error, made = compared(run, case_of("1 / 0", "2").write(tmp_path))
    assert isinstance(error, PapermillExecutionError)
    assert (error.ename, error.exec_count) == ("ZeroDivisionError", 2)
    marked = [c.source for c in made.cells if "papermill-error-cell-tag" in c.metadata.tags]
    assert "An Exception was encountered at" in marked[0]
    assert 'id="papermill-error-cell"' in marked[1]
    assert compared(run, tmp_path / "out.ipynb")[0] is not None  # its markers are taken out first


@pytest.mark.parametrize(
    ("case", "options", "ename", "evalue"),
    [
        (case_of("!exit 3", "2"), {}, "Failed", "exit status 3"),
        also("import sys\nsys.exit(0)", "SystemExit: 0"),
        also("import os\nos._exit(9)", "kernel exited with status 9"),
        also("import time\ntime.sleep(60)", "limit of 1 s for a cell", execution_timeout=1),
        also("import time\ntime.sleep(60)", "limit of 1 s for a cell", timeout=1),
        also("1", "did not answer within 2 s", kernel="never", start_timeout=2),
        (case_of("1", kernel="none"), {}, "Failed", "kernel none, which is not installed"),
        (case_of("1", kernel="other"), {}, "Failed", "kernel other, of R; .* in Python only"),
        (
            case_of("# tags: raises-exception\n1 / 0", "!exit 3"),
            {},
            "Failed",
            "exit status 3",
        ),
        (
            case_of("try:\n    1 / 0\nexcept Exception:\n    get_ipython().showtraceback()\n{}[0]"),
            {},
            "KeyError",
            "0",
        ),
    ],
    ids=lambda value: value.cells[-1][-12:] if isinstance(value, Case) else "",
)
def test_what_is_no_exception_fails_as_one(
    case: Case, options: dict[str, Any], ename: str, evalue: str, run: Run, tmp_path: Path
) -> None:
    error, made = run("exactrun", case.write(tmp_path), **options)
    assert isinstance(error, PapermillExecutionError)
    assert error.ename == ename
    assert re.search(evalue, error.evalue)
    failed = [cell for cell in made.cells if cell.metadata.get("papermill", {}).get("exception")]
    assert [cell.source for cell in failed] == [error.source]
    at = made.cells.index(failed[0])
    assert 'id="papermill-error-cell"' in made.cells[at - 1].source
    assert made.metadata.papermill.exception is True


@pytest.mark.thorough
def test_an_exception_that_is_meant_passes_and_is_still_seen(run: Run, tmp_path: Path) -> None:
    notebook = case_of("# tags: raises-exception\n1 / 0", "print('af', 'ter')").write(tmp_path)
    assert isinstance(run("nbclient", notebook)[0], PapermillExecutionError)
    error, made = run("exactrun", notebook)
    assert error is None
    assert "ZeroDivisionError" in made.cells[-2].outputs[0].text
    assert made.cells[-1].outputs[0].text == "af ter\n"
    assert made.metadata.exactrun.passed is True


def test_an_unknown_option_is_named_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out.ipynb").write_text(json.dumps(nbformat.v4.new_notebook()))
    error, made = run("exactrun", case_of("1").write(tmp_path), execution_timeuot=1)
    assert isinstance(error, TypeError)
    assert "no option execution_timeuot. Did you mean execution_timeout?" in str(error)
    assert made.cells == []


@pytest.mark.thorough
def test_it_is_called_from_a_notebook_too(run: Run, tmp_path: Path) -> None:
    """Where a loop of asyncio runs already."""
    notebook = case_of("print(steps)").write(tmp_path)

    async def main() -> tuple[Exception | None, Any]:
        return run("exactrun", notebook)

    error, made = asyncio.run(main())
    assert error is None
    assert made.cells[-1].outputs[0].text == "3\n"


def test_papermill_inspects_a_notebook_by_itself(tmp_path: Path) -> None:
    found = papermill.inspect_notebook(case_of("1").write(tmp_path))
    assert [(each["name"], each["default"]) for each in found.values()] == [
        ("steps", "3"),
        ("fast", "False"),
    ]


@pytest.mark.parametrize(
    ("name", "metadata", "fault"),
    [
        ("python3", {}, ""),
        ("python3", {"kernelspec": {"language": "R"}}, ""),  # given by papermill's --kernel
        ("other", {}, "kernel other, of R; exactrun executes notebooks in Python only"),
        ("ir", {"kernelspec": {"language": "R"}}, "kernel ir, of R; exactrun"),
        ("ir", {"language_info": {"name": "R"}}, "kernel ir, of R; exactrun"),  # as Colab writes it
        ("ir", {}, "kernel ir, which is not installed. .* that is: .*python3"),
    ],
)
def test_a_kernel_that_can_not_be_used_is_named(
    name: str, metadata: dict[str, Any], fault: str
) -> None:
    found = kernel_fault(name, metadata)
    assert re.search(fault, found)
    assert bool(found) == bool(fault)
