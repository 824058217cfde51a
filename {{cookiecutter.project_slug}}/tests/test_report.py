"""The report: what stands first, what is folded, and that it loads nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from harness.__main__ import main
from harness.report import write_index, write_report

PICTURE = '<img alt="A rising curve" src="data:image/png;base64,iVBORw0KGgo=">'
RECORD: dict[str, Any] = {
    "project": "engine",
    "git_revision": "0123456789abcdef0123456789abcdef01234567+changes",
    "run_name": "first <run>",
    "settings": {"epochs": 3, "seed": 0},
    "environment": {"where": "colab", "release": "2026.08", "python": "3.13.5", "cpus": 2},
    "pins": {
        "runtime": "2026.08",
        "differences": [{"name": "numpy", "pinned": "2.1.3", "installed": None}],
    },
    "accelerator": {"kind": "gpu", "name": "Tesla T4", "checked": "sums agree"},
    "devices": "one device",
    "precision": "mixed_float16",
    "xla": True,
    "parameters": 160010,
    "epoch": 12,
    "steps": 1500,
    "resumed_from": 750,
    "seconds": 725.4,
    "examples_per_second": 3639.17,
    "metrics": {"loss": 0.05, "accuracy": 0.98, "test_loss": 0.0608, "test_accuracy": 0.982},
    "weights_sha256": "ab" * 32,
    "artifacts": [{"name": "model.keras", "size": 684326, "sha256": "cd" * 32}],
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
NOTED = {"failure": "ValueError: no <data>", "cell": "c1"}  # by the engine
LAST = cell("show(curve)", 2, html(PICTURE))


def page_of(folder: Path, *cells: Any, name: str = "small", **options: Any) -> BeautifulSoup:
    """Write the report of a notebook with these cells, and read it."""
    notebook = new_notebook(cells=[*TEXTS, *cells])
    notebook.metadata = {
        "language_info": {"name": "python"},
        "papermill": {
            "duration": 38.44,
            "end_time": "2026-11-21T05:01:13.5+00:00",
        },
        "harness": options.pop("noted", {}),
    }
    executed = folder / f"{name}.ipynb"
    nbformat.write(notebook, executed)
    if record := options.pop("facts", None):
        options["record"] = folder / "run.json"
        options["record"].write_text(json.dumps(record), encoding="utf-8")
    path = write_report(
        executed, executed.with_suffix(".html"), beside=folder / "notebooks", **options
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
    page = page_of(tmp_path, LAST, facts=RECORD)
    parts = [part.name for part in page.select("main > *")]
    assert parts == ["header", "section", "nav", "article"]
    assert words(page, "h1") == words(page, "title") == "Digits"
    assert words(page, ".verdict") == "✔ Passed: 1 of 2 checks, 1 skipped"


def test_the_summary_shows_the_figures_of_the_run(tmp_path: Path) -> None:
    assert named(page_of(tmp_path, LAST, facts=RECORD), ".figures") == {
        "Test accuracy": "98.2 %",
        "Test loss": "0.0608",
        "Training": "12 min 5 s",
        "Whole notebook": "38.4 s",
        "Examples/s": "3,639",
        "Device": "Tesla T4",
    }


def test_the_summary_shows_what_the_run_was_made_of(tmp_path: Path) -> None:
    facts = named(page_of(tmp_path, LAST, facts=RECORD), ".facts")
    assert facts["Run"] == "first <run>, finished 2026-11-21 05:01 UTC"
    assert facts["Code"] == "engine at 0123456789ab, with changes"
    assert facts["Packages"] == "Colab’s 2026.08, but numpy missing instead of 2.1.3"
    assert facts["Machine"] == "colab 2026.08, Python 3.13.5, 2 processors"
    assert facts["Device"] == "Tesla T4 (one device), mixed_float16, compiled by XLA"
    assert facts["Model"] == "160,010 parameters, the weights of epoch 12"
    assert facts["Steps"] == "1,500, resumed from step 750"
    assert facts["Weights, SHA-256"] == "ab" * 32
    assert "Data" not in facts  # which the record lacks


def test_the_summary_shows_every_check(tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST, facts=RECORD)
    checks = [" ".join(row.get_text().split()) for row in page.select(".checks li")]
    assert checks == [
        "✔ pins, passed: all are Colab's",
        "– gpu, skipped: there is <none>",
    ]


def test_the_failing_cell_is_open_and_linked_from_the_top(tmp_path: Path) -> None:
    page = page_of(tmp_path, *FAILED, noted=NOTED)
    assert words(page, ".verdict.failed") == "✖ Failed in cell [1]"
    assert words(page, ".failure") == "ValueError: no <data>"
    (link,) = page.select("header a")
    (failing,) = (each for each in page.select(".code_cell") if f"#{each['id']}" == link["href"])
    assert failing.select("details[open] .highlight")
    assert words(BeautifulSoup(str(failing), "html.parser"), ".output_error") == "ValueError"
    assert [each.get_text(strip=True) for each in page.select(".code > summary")] == [
        "Code [1]",
        "Code, not executed",
    ]


def test_a_failure_that_only_the_engine_knows_is_shown(tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST, noted={"failure": "The time is over", "cell": "c2"})
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
    page_of(tmp_path, LAST, name="first", facts=RECORD)
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
    page_of(tmp_path, LAST, name="first", facts=RECORD)
    page_of(tmp_path, *FAILED, name="second", noted=NOTED)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("before\n\n", encoding="utf-8")
    assert main(["index", str(tmp_path)]) == 0
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").splitlines() == [
        "before",
        "",
        "### ✔ Digits: Passed: 1 of 2 checks, 1 skipped",
        "",
        "`first.html`",
        "",
        "| Test accuracy | Test loss | Training | Whole notebook | Examples/s | Device |",
        "| --- | --- | --- | --- | --- | --- |",
        "| 98.2 % | 0.0608 | 12 min 5 s | 38.4 s | 3,639 | Tesla T4 |",
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
