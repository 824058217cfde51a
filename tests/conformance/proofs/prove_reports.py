"""The report of notebooks that ended in unusual ways, or hold unusual things."""

from __future__ import annotations

from pathlib import Path

import pytest
from bs4 import Tag
from harness.errors import HarnessError
from harness.report import write_index
from test_report import LAST, RECORD, cell, named, page_of, words


def test_a_run_that_was_not_tested_yet_shows_how_it_was_validated(tmp_path: Path) -> None:
    record = RECORD | {"metrics": {"loss": 0.05, "val_loss": 0.07, "val_accuracy": 0.975}}
    figures = named(page_of(tmp_path, LAST, facts=record), ".figures")
    assert list(figures.items())[:2] == [
        ("Validation accuracy", "97.5 %"),
        ("Validation loss", "0.0700"),
    ]


def test_a_record_of_a_run_that_just_began_is_shown(tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST, facts={"project": "engine", "run_name": "first", "checks": []})
    assert list(named(page, ".facts")) == ["Run", "Code"]


def test_without_a_record_the_summary_says_what_is_known(tmp_path: Path) -> None:
    page = page_of(tmp_path, LAST)
    assert words(page, ".verdict") == "✔ Passed: 1 of 1 cells executed"
    assert page.select(".checks, .facts") == []


def test_a_record_that_was_not_written_or_not_to_its_end_is_named(tmp_path: Path) -> None:
    record = tmp_path / "run.json"
    for _ in range(2):
        page = page_of(tmp_path, LAST, record=record)
        assert "No run.json that can be read: the run stopped" in words(page, ".summary")
        record.write_text('{"checks": [', encoding="utf-8")


def test_a_failed_check_fails_the_report(tmp_path: Path) -> None:
    failed = {"name": "model", "status": "failed", "detail": "other answers"}
    page = page_of(tmp_path, LAST, facts=RECORD | {"checks": [*RECORD["checks"], failed]})
    assert words(page, ".verdict.failed") == "✖ 1 of 3 checks failed"


def test_a_notebook_that_was_left_half_way_is_no_success(tmp_path: Path) -> None:
    page = page_of(tmp_path, cell("import sys", 1), cell("train()", None))
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
    with pytest.raises(HarnessError, match="Rename the notebook"):
        write_index(tmp_path)
    assert (tmp_path / "index.html").read_bytes() == before
