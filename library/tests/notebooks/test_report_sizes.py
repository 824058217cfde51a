"""A page stays small whatever its notebook holds, and says in each place what is left out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from nbformat.v4 import new_markdown_cell, new_notebook, new_output
from report_pages import displayed, output, ran, written

LARGEST = 15_000_000
ROW = "<tr>" + "<td>0.142857</td>" * 10 + "</tr>"
PNG = "iVBORw0KGgo" + "A" * 1_000_000


def stream(text: str) -> Any:
    return new_output("stream", name="stdout", text=text)


LONG: dict[str, Any] = {
    "text": ran("x", stream("a line of text <&>\n" * 300_000)),
    "error": ran("x", new_output("error", ename="E", evalue="v", traceback=["m" * 5_000_000])),
    "value": ran("x", displayed(text_plain="v" * 3_000_000)),
    "latex": ran("x", displayed(text_latex="$x$ " * 300_000)),
    "html": output(f"<table>{ROW * 3_000}</table>"),
    "markdown output": output("word *word* " * 100_000, "text/markdown"),
    "markdown": new_markdown_cell("word *word* " * 100_000),
    "code": ran("x = 'word'\n" * 100_000),
    "png": output("A" * 5_000_000, "image/png"),
    "svg": output(f"<svg><!--{'A' * 5_000_000}--></svg>", "image/svg+xml"),
    "outputs": ran("x", *[displayed(text_plain=f"output {n}") for n in range(10_000)]),
    "colours": ran("x", stream("\x1b[1;4;31;42mx" * 300_000)),
    "cursor": ran("x", stream("x\x1b[K" * 300_000)),
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", LONG)
def test_what_is_too_long_is_named_in_its_place(kind: str, tmp_path: Path) -> None:
    page = written(tmp_path, new_markdown_cell("# Title"), LONG[kind], new_markdown_cell("The end"))
    text = page.select("article")[0].get_text()
    assert "left out here; page.ipynb has it all" in text
    assert "The end" in text
    assert (tmp_path / "page.html").stat().st_size < 2_500_000


def test_a_long_table_with_a_longer_style_sheet_is_cut_between_its_tags(tmp_path: Path) -> None:
    numbers = range(10_000)
    sheet = "".join(f"#T_row{n} {{ color: red }}\n" for n in numbers)
    rows = "".join(f'<tr><td id="T_row{n}">{n}</td></tr>' for n in numbers)
    page = written(tmp_path, output(f"<style>{sheet}</style><table>{rows}</table>"))
    cells = [cell.get_text() for cell in page.select("article td")]
    assert cells == [str(n) for n in range(len(cells))]
    assert len(cells) > 3_000
    assert page.select(".output_html")[0].get_text().strip().startswith("0")  # no half of a tag
    assert [note.get_text()[:24] for note in page.select(".note")] == ["The rest of this output,"]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    page = written(tmp_path, LONG["outputs"])
    notes = [note.get_text() for note in page.select(".note")]
    assert notes == ["9,900 outputs are left out here; page.ipynb has it all"]
    shown = [text.get_text().strip() for text in page.select(".output_text")]
    assert (shown[0], shown[89], shown[90], shown[-1]) == (
        *("output 0", "output 89"),
        *("output 9990", "output 9999"),
    )
    page = written(tmp_path, LONG["png"])
    assert page.select(".note")[0].get_text().startswith("A picture (PNG) of 5.0 MB is left out")


FULL: dict[str, list[Any]] = {
    "pictures": [output(PNG, "image/png") for _ in range(30)],
    "pictures of one cell": [ran("x", *[displayed(image_png=PNG) for _ in range(30)])],
    "pictures in HTML": [output(f'<img src="data:image/png;base64,{PNG}">') for _ in range(30)],
    "texts": [ran("x", stream("<&>" * 30_000)) for _ in range(200)],
    "cells": [ran("x = 1", stream("1")) for _ in range(3_000)],
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", FULL)
def test_a_full_page_still_shows_the_cell_that_failed(kind: str, tmp_path: Path) -> None:
    failed = ran("fail()", new_output("error", ename="E", evalue="no", traceback=["E: no"]))
    failed["id"] = "failed"
    notebook = new_notebook(cells=[*FULL[kind], failed])
    noted = {"passed": False, "failure": "cell 9: E: no", "cell": "failed"}
    notebook.metadata["exactrun"] = noted
    page = written(tmp_path, notebook=notebook)
    assert (tmp_path / "page.html").stat().st_size < LARGEST
    assert page.select("#cell-id\\=failed details[open] .highlight")
    assert "E: no" in page.select("#cell-id\\=failed .output_error")[0].get_text()
    assert "page.ipynb has it" in page.select("article")[0].get_text()


def test_a_record_and_a_verdict_are_shortened(tmp_path: Path) -> None:
    notebook = new_notebook()
    notebook.metadata["exactrun"] = {"passed": False, "failure": "m" * 20_000_000, "cell": "c1"}
    record = {
        "figures": {f"figure {n}": "v" * 5_000 for n in range(500)},
        "checks": [
            {"name": f"c{n}", "status": "failed" if n == 400 else "passed", "detail": "d" * 9_000}
            for n in range(500)
        ],
        **{f"fact {n}": ["x" * 5_000] * 50 for n in range(500)},
    }
    page = written(tmp_path, ran("x"), notebook=notebook, record=record)
    assert (tmp_path / "page.html").stat().st_size < 3_000_000
    assert "19,990,000 characters are left out" in page.select(".failure")[0].get_text()
    assert page.select(".checks li")[0]["class"] == ["failed"]
    assert len(json.loads(str(page.select("meta[name=run-report]")[0]["content"]))["checks"]) == 100


def test_ten_thousand_outputs_take_seconds(tmp_path: Path) -> None:
    begun = time.process_time()
    written(tmp_path, LONG["outputs"])
    assert time.process_time() - begun < 10
