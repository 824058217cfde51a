"""The report: what stands first, what is folded, and that it loads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from commanded import command
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from exactrun.errors import UserError
from exactrun.notebooks.report import write_index, write_report

PICTURE = '<img alt="A rising curve" src="data:image/png;base64,iVBORw0KGgo=">'
RECORD: dict[str, Any] = {
    "version": 1,
    "figures": {"Test accuracy": "98.2 %", "Test loss": "0.0608", "Device": "Tesla <T4>"},
    "run_name": "first <run>",
    "settings": {"epochs": 3, "rate": 0.1 + 0.2, "place": ""},
    "stopped_by": "",
    "epochs_each": [{"loss": 0.5}, {"loss": 0.25}],
    "nothing": None,
    "checks": [
        {"name": "pins", "status": "passed", "detail": "all are Colab's"},
        {"name": "gpu", "status": "skipped", "detail": "there is <none>"},
    ],
}


def cell(source: str, count: int | None, *outputs: Any, **metadata: Any) -> Any:
    return new_code_cell(
        source, id=f"c{count}", execution_count=count, outputs=list(outputs), metadata=metadata
    )


def html(content: str) -> Any:
    return new_output("display_data", data={"text/html": content, "text/plain": "a figure"})


ERROR = new_output(
    "error", ename="ValueError", evalue="no <data>", traceback=["\x1b[0;31mValueError\x1b[0m"]
)
TEXTS = [
    new_markdown_cell("# Digits\n\n[![Open in Colab](https://x.org/badge.svg)](https://x.org)"),
    new_markdown_cell("## The data"),
    new_markdown_cell("## The data\n\n### Its classes"),
]
FAILED = [cell("load()", 1, ERROR), cell("train()", None)]
NOTED = {"passed": False, "failure": "ValueError: no <data>", "cell": "c1"}  # by the engine
LAST = cell("show(curve)", 2, html(PICTURE))


def page_of(directory: Path, *cells: Any, name: str = "small", **options: Any) -> BeautifulSoup:
    """Write the report of a notebook with these cells, and read it."""
    notebook = new_notebook(cells=[*TEXTS, *cells])
    notebook.metadata = {
        "language_info": {"name": "python"},
        "papermill": {
            "duration": 38.44,
            "end_time": "2026-11-21T05:01:13.5+00:00",
        },
        "exactrun": options.pop("noted", {"passed": True}),
    }
    executed = directory / f"{name}.ipynb"
    nbformat.write(notebook, executed)
    path = write_report(
        executed, executed.with_suffix(".html"), beside=directory / "notebooks", **options
    )
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def words(page: BeautifulSoup, selector: str) -> str:
    """Return the text of the one element that a selector finds, in one line."""
    (element,) = page.select(selector)
    return " ".join(element.get_text().split())


def named(page: BeautifulSoup, selector: str) -> dict[str, str]:
    """Return the names and values of a description list."""
    rows = [row.find_all(["dt", "dd"]) for row in page.select(f"{selector} > div")]
    return {name.get_text(): " ".join(value.get_text().split()) for name, value in rows}


def test_the_summary_stands_first(tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST, record=RECORD)
    parts = [part.name for part in page.select("main > *")]
    assert parts == ["header", "section", "nav", "article"]
    assert words(page, "h1") == words(page, "title") == "Digits"
    assert words(page, ".verdict") == "✔ Passed: 1 of 2 checks, 1 skipped"


def test_the_summary_shows_the_figures_that_were_recorded(tmp_path: Path) -> None:
    assert named(page_of(tmp_path, LAST, record=RECORD), ".figures") == {
        "Test accuracy": "98.2 %",
        "Test loss": "0.0608",
        "Device": "Tesla <T4>",
        "Whole notebook": "38.4 s",
    }


def test_all_else_that_was_recorded_is_folded(tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST, record=RECORD)
    assert named(page, ".summary details:not([open]) .facts") == {
        "Run name": "first <run>",
        "Settings": "epochs = 3, rate = 0.3, place = empty",
        "Epochs each": "loss = 0.5, loss = 0.25",
    }


def test_the_summary_shows_every_check(tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST, record=RECORD)
    checks = [" ".join(row.get_text().split()) for row in page.select(".checks li")]
    assert checks == [
        "✔ pins, passed: all are Colab's",
        "– gpu, skipped: there is <none>",
    ]


def test_the_failing_cell_is_open_and_linked_from_the_top(tmp_path: Path) -> None:
    page = page_of(tmp_path, *FAILED, noted=NOTED)
    assert words(page, ".verdict.failed") == "✖ Failed in cell [1]"
    assert words(page, ".failure") == "ValueError: no <data>"
    (link,) = page.select("header a[href^='#']")
    (failing,) = (each for each in page.select(".code_cell") if f"#{each['id']}" == link["href"])
    assert failing.select("details[open] .highlight")
    assert words(BeautifulSoup(str(failing), "html.parser"), ".output_error") == "ValueError"
    assert [each.get_text(strip=True) for each in page.select(".code > summary")] == [
        "Code [1]",
        "Code, not executed",
    ]


def test_a_failure_that_only_the_engine_knows_is_shown(tmp_path: Path) -> None:
    page = page_of(
        tmp_path, LAST, noted={"passed": False, "failure": "The time is over", "cell": "c2"}
    )
    assert words(page, ".verdict.failed") == "✖ Failed in cell [2]"
    assert words(page, ".failure") == "The time is over"


def test_code_is_folded(tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST)
    (code,) = page.select("details:not([open])")
    assert code.select_one(".highlight") is not None
    assert page.select(".highlight") == code.select(".highlight")


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    outside = (
        "<script src='https://x.org/x.js'></script><link rel='stylesheet' href='https://x.org/x'>"
        "<img alt='Far away' src='https://x.org/x.png'><iframe src='https://x.org'></iframe>"
    )
    widget = new_output(
        "display_data",
        data={
            "application/javascript": "alert(1)",
            "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
            "text/plain": "100 %",
        },
    )
    page = page_of(tmp_path, cell("show()", 1, html(outside), widget))
    assert page.select("script, link, iframe") == []
    assert [picture for picture in page.select("img") if "x.org" in str(picture)] == []
    assert "Open in Colab" in page.get_text()
    assert "Far away" in page.get_text()
    assert "100 %" in page.get_text()
    (policy,) = page.select("meta[http-equiv='Content-Security-Policy']")
    assert str(policy["content"]).startswith("default-src 'none'")


def test_the_index_leads_to_every_report(tmp_path: Path) -> None:
    below = tmp_path / "deep down"
    below.mkdir()
    page_of(tmp_path, LAST, name="first", record=RECORD)
    page_of(below, *FAILED, name="second", noted=NOTED)
    (tmp_path / "other.html").write_text("<p>no report", encoding="utf-8")
    index = BeautifulSoup(write_index(tmp_path).read_text(encoding="utf-8"), "html.parser")
    assert [link["href"] for link in index.select("a")] == ["deep%20down/second.html", "first.html"]
    rows = [
        [" ".join(value.get_text(" ").split()) for value in row.select("th, td")]
        for row in index.select("tr")
    ]
    by_name = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert by_name[0]["Outcome"] == "✖ Failed in cell [1]"
    assert by_name[0]["Test accuracy"] == "–"
    assert by_name[1]["Outcome"] == "✔ Passed: 1 of 2 checks, 1 skipped"
    assert by_name[1]["Test accuracy"] == "98.2 %"


def test_the_index_writes_the_summaries_of_a_job_in_ci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page_of(tmp_path, LAST, name="first", record=RECORD)
    page_of(tmp_path, *FAILED, name="second", noted=NOTED)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("before\n\n", encoding="utf-8")
    assert command("notebook", "index", tmp_path) == 0
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").splitlines() == [
        "before",
        "",
        "### ✔ Digits: Passed: 1 of 2 checks, 1 skipped",
        "",
        "`first.html`",
        "",
        "| Test accuracy | Test loss | Device | Whole notebook |",
        "| --- | --- | --- | --- |",
        r"| 98.2 % | 0.0608 | Tesla \<T4\> | 38.4 s |",
        "",
        "|  | check | what was found |",
        "| --- | --- | --- |",
        "| ✔ | pins | all are Colab's |",
        r"| – | gpu | there is \<none\> |",
        "",
        "### ✖ Digits: Failed in cell [1]",
        "",
        "`second.html`",
        "",
        "````",
        "ValueError: no <data>",
        "````",
        "",
        "| Whole notebook |",
        "| --- |",
        "| 38.4 s |",
        "",
    ]


def test_without_a_record_the_summary_says_what_is_known(tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST)
    assert words(page, ".verdict") == "✔ Passed: 1 of 1 cells executed"
    assert page.select(".checks, .facts") == []


def test_what_is_wrong_although_all_cells_ran_fails_the_report(tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST, problem="it left no record")
    assert words(page, ".verdict.failed") == "✖ Failed"
    assert words(page, ".failure") == "it left no record"


def test_a_failed_check_fails_the_report(tmp_path: Path) -> None:
    failed = {"name": "model", "status": "failed", "detail": "other answers"}
    page = page_of(tmp_path, LAST, record=RECORD | {"checks": [*RECORD["checks"], failed]})
    assert words(page, ".verdict.failed") == "✖ 1 of 3 checks failed"


@pytest.mark.parametrize("noted", [{}, {"passed": False}], ids=["never begun", "killed"])
def test_only_what_the_engine_ended_well_is_called_passed(noted: Any, tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST, noted=noted)
    assert words(page, ".verdict.failed") == "✖ Stopped: 1 of 1 cells executed"


def test_a_notebook_that_was_left_half_way_is_no_success(tmp_path: Path) -> None:
    page = page_of(tmp_path, cell("import sys", 1), cell("train()", None), noted={})
    assert words(page, ".verdict.failed") == "✖ Stopped: 1 of 2 cells executed"
    assert page.select("header a[href='#cell-id=c1']")


def test_every_entry_of_the_contents_leads_to_its_own_heading(tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST)
    links = [str(link["href"]) for link in page.select("nav a")]
    headings = [page.find(id=link.removeprefix("#")) for link in links]
    assert [type(heading) for heading in headings] == [Tag] * 3
    assert [link.get_text() for link in page.select("nav a")] == [
        "The data",
        "The data",
        "Its classes",
    ]
    assert len(set(links)) == 3


def test_the_index_does_not_replace_a_report(tmp_path: Path) -> None:
    page_of(tmp_path, LAST, name="index")
    before = (tmp_path / "index.html").read_bytes()
    with pytest.raises(UserError, match="Rename the notebook"):
        write_index(tmp_path)
    assert (tmp_path / "index.html").read_bytes() == before


def test_an_index_that_can_not_be_written_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "index.html"
    place.mkdir()
    assert command("notebook", "index", tmp_path) == 1
    said = f"{place}: Is a directory. Put that right, and run this again.\n"
    assert capsys.readouterr().err == said
