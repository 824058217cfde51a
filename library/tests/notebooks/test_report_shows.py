"""What a page shows of cells and run: pictures, mathematics, tags, times, what changed."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_notebook, new_output
from report_pages import displayed, output, ran, written

from exactrun.notebooks.index import read_reports
from exactrun.notebooks.report import write_index

PNG = "iVBORw0KGgo="
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
PLOTLY = "application/vnd.plotly.v1+json"
DRAWN = "<div id='plot'></div><script>Plotly.newPlot('plot')</script>"
REVISION = "d1feb7686b2b1a51bf4ee7e1ca3d6ef1ff3e0b5c"
BADGE = "[open](https://colab.research.google.com/github/octo/birds/blob/main/n.ipynb)"


@pytest.fixture(autouse=True)
def no_github(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_SHA", "GITHUB_REPOSITORY", "GITHUB_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("form", "value"), [("image/png", PNG), ("image/svg+xml", SVG)])
def test_a_plot_by_a_script_shows_its_own_picture(form: str, value: str, tmp_path: Path) -> None:
    more = {"text/html": DRAWN, form: value}
    page = written(tmp_path, output({"data": []}, PLOTLY, **more))
    (picture,) = page.select(".picture img")
    assert str(picture["src"]).startswith(f"data:{form};base64,")
    assert page.select(".note") == []


@pytest.mark.parametrize("more", [{}, {"text/html": DRAWN}, {"text/plain": "Figure({...})"}])
def test_a_plot_without_a_picture_says_why(more: dict[str, str], tmp_path: Path) -> None:
    page = written(tmp_path, output({"data": []}, PLOTLY, **more))
    (note,) = page.select(".note, .output_html p")
    assert 'figure.show("png")' in note.get_text()
    assert "page.ipynb has all of it" in note.get_text()
    assert "Figure(" not in page.get_text()


def test_a_form_that_no_page_can_show_is_named(tmp_path: Path) -> None:
    page = written(tmp_path, output("x", "application/x-own"))
    assert "application/x-own" in page.select(".note")[0].get_text()


def test_mathematics_becomes_mathml(tmp_path: Path) -> None:
    pytest.importorskip("docutils")
    text = "Let $x_i < 1$, and\n\n$$\\frac{a}{b}$$\n\n\\begin{align}a &= b\\\\ c &= d\\end{align}"
    latex = displayed(text_latex="is $\\sqrt{x}$", text_plain="sqrt(x)")
    page = written(tmp_path, new_markdown_cell(text), ran("x", latex))
    assert [each.get("display") for each in page.select("math")] == [None, "block", "block", None]
    assert page.select("math msub")
    assert page.select("math mfrac")
    assert page.select("math mtr")
    assert page.select(".output_latex math msqrt")
    assert page.select("math")[0]["title"] == "x_i < 1"


def test_mathematics_that_docutils_lacks_becomes_mathml_too(tmp_path: Path) -> None:
    pytest.importorskip("docutils")
    text = r"$\frac12 + \tfrac 1n$ and $\big( x \big) \bigg| \bigl[ y \bigr]$"
    page = written(tmp_path, new_markdown_cell(text))
    assert [part.get_text() for part in page.select("mfrac > *")] == ["1", "2", "1", "n"]
    assert [each.get_text() for each in page.select("math")][1:] == ["(x)|[y]"]


@pytest.mark.parametrize("source", ["\\unknown{x}", "{" * 5_000, "x" * 3_000])
def test_mathematics_that_is_not_known_is_shown_as_written(source: str, tmp_path: Path) -> None:
    page = written(tmp_path, new_markdown_cell(f"$$ {source} $$"))
    assert page.select("code.math.display")[0].get_text().strip() == source


def test_prices_are_no_mathematics(tmp_path: Path) -> None:
    page = written(
        tmp_path, new_markdown_cell("It costs \\$5 and \\$6."), output("<p>$1 and $2</p>")
    )
    assert page.select("math, code.math") == []


def test_times_are_shown_where_they_are_long(tmp_path: Path) -> None:
    cells = [ran("x", count=n, seconds=s) for n, s in enumerate((0.4, 16.23, 5.0, 125.0, 2.0), 1)]
    page = written(tmp_path, *cells)
    assert [each.get_text() for each in page.select(".took")] == [
        *("16.2 s", "5.0 s", "2 min 5 s", "2.0 s")
    ]
    (longest,) = page.select(".longest")
    assert longest.get_text() == "Longest cells: [4] 2 min 5 s, [2] 16.2 s, [3] 5.0 s"
    assert [link["href"] for link in longest.select("a")] == [f"#cell-id=c{n}" for n in (4, 2, 3)]


def test_tags_hide_what_they_name(tmp_path: Path) -> None:
    text = new_output("stream", name="stdout", text="printed")
    page = written(
        tmp_path,
        ran("cell", text, count=1, tags=["remove-cell"]),
        ran("input", text, count=2, tags=["remove-input"]),
        ran("output", text, count=3, tags=["remove-output"]),
        ran("folded", text, count=4, tags=["hide-output"]),
        new_markdown_cell("gone", metadata={"tags": ["remove-cell"]}),
    )
    shown = {str(c["id"]): c for c in page.select(".code_cell")}
    assert list(shown) == ["cell-id=c2", "cell-id=c3", "cell-id=c4"]
    assert not shown["cell-id=c2"].select(".code")
    assert "printed" in shown["cell-id=c2"].get_text()
    assert shown["cell-id=c3"].select(".code")
    assert "printed" not in shown["cell-id=c3"].get_text()
    assert "Code [3]" in shown["cell-id=c3"].get_text()
    assert shown["cell-id=c4"].select("details.hidden-output:not([open])")
    assert "gone" not in page.get_text()


@pytest.mark.parametrize("tag", ["remove-cell", "remove-input", "remove-output", "hide-output"])
def test_a_cell_that_failed_is_shown_whatever_its_tags(tag: str, tmp_path: Path) -> None:
    notebook = new_notebook()
    notebook.metadata["exactrun"] = {"passed": False, "failure": "E: no", "cell": "c1"}
    error = new_output("error", ename="E", evalue="no", traceback=["E: no"])
    page = written(tmp_path, ran("fail()", error, tags=[tag]), notebook=notebook)
    (cell,) = page.select(".code_cell")
    assert cell.select("details[open] .highlight")
    assert "E: no" in cell.get_text()
    assert not cell.select(".hidden-output")


@pytest.mark.parametrize(
    ("environment", "record", "link"),
    [
        ({}, {"git_revision": f"{REVISION}+changes"}, "https://github.com/octo/birds/commit/"),
        (
            {
                "GITHUB_SHA": REVISION,
                "GITHUB_REPOSITORY": "a/b",
                "GITHUB_SERVER_URL": "https://g.x",
            },
            {},
            "https://g.x/a/b/commit/",
        ),
    ],
)
def test_the_page_leads_to_its_notebook_and_commit(
    environment: dict[str, str],
    record: dict[str, Any],
    link: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    page = written(tmp_path, new_markdown_cell(BADGE), name="a #1", record=record)
    links = [str(each["href"]) for each in page.select(".links a")]
    assert links == ["a%20%231.ipynb", link + REVISION]
    assert ("with changes" in page.select(".links")[0].get_text()) == bool(record)


@pytest.mark.parametrize("revision", ["javascript:1", "'><script>", None])
def test_what_is_no_commit_is_no_link(revision: Any, tmp_path: Path) -> None:
    page = written(tmp_path, new_markdown_cell(BADGE), record={"git_revision": revision})
    assert len(page.select(".links a")) == 1


def run(place: Path, start: str, accuracy: str, epochs: int, gpu: str) -> BeautifulSoup:
    notebook = new_notebook()
    notebook.metadata["papermill"] = {
        "start_time": f"2026-11-2{start}T05:00:00+00:00",
        "end_time": f"2026-11-2{start}T05:01:00+00:00",
        "duration": 60.0,
    }
    checks = [{"name": "gpu", "status": gpu, "detail": "d"}]
    record = {"figures": {"Accuracy": accuracy}, "settings": {"epochs": epochs}, "checks": checks}
    return written(place, ran("x"), notebook=notebook, record=record)


def test_the_page_says_what_changed_since_the_run_before(tmp_path: Path) -> None:
    page = run(tmp_path, "1", "97.9 %", 2, "passed")
    assert page.select(".since, .before") == []
    (tmp_path / "page.html").unlink()  # as a run does when it starts
    for _ in range(2):  # the page of the same run, written again, says the same
        page = run(tmp_path, "2", "98.2 %", 3, "skipped")
        assert [each.get_text() for each in page.select(".before")] == ["before: 97.9 %"]
        assert page.select(".since")[0].get_text() == (
            "Since the run before, of 2026-11-21 05:01 UTC: setting epochs: 2 → 3;"
            " check gpu: passed → skipped."
        )
    page = run(tmp_path, "3", "98.2 %", 3, "skipped")
    assert "the same settings, checks and outcome" in page.select(".since")[0].get_text()


def test_a_damaged_memory_of_the_run_before_is_none(tmp_path: Path) -> None:
    (tmp_path / ".page.report.json").write_text('{"now": 3', encoding="utf-8")
    assert run(tmp_path, "1", "97.9 %", 2, "passed").select(".since") == []


def test_no_path_of_this_machine_is_in_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home" / "ada"
    project = home / "birds"
    (project / "build").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(project)
    notebook = new_notebook()
    failure = f"cell 1 of 1: FileNotFoundError: '{project}/data/x.csv'"
    notebook.metadata["exactrun"] = {"passed": False, "failure": failure, "cell": "c1"}
    trace = [f"File {home}/.venv/lib/pandas/io.py:3", f"{project}/n.py", "no such file"]
    page = written(
        project / "build",
        ran(
            "load()",
            new_output("error", ename="E", evalue="v", traceback=trace),
            new_output("stream", name="stdout", text=f"saved {project}/build/m.keras, /content/x"),
            displayed(text_html=f"<p>{home}/x</p>"),
        ),
        notebook=notebook,
        beside=project / "notebooks",
        record={"directory": f"{home}/runs", "figures": {"place": str(project)}},
        problem=f"{project}/build/n.json can't be read",
    )
    text = page.get_text()
    assert str(tmp_path) not in str(page)
    for shown in (
        "'…/data/x.csv'",
        "~/.venv/lib/pandas/io.py:3",
        "…/m.keras, /content/x",
        "~/runs",
    ):
        assert shown in text, shown


def test_every_part_can_be_reached_and_has_a_name(tmp_path: Path) -> None:
    page = written(
        tmp_path, new_markdown_cell("# T\n\n## The *data*"), output(PNG, "image/png"), ran("x")
    )
    first = page.body.select("a")[0] if page.body else None
    assert first is not None
    assert first["href"] == "#notebook"
    assert page.select("article#notebook")
    assert page.select("a.to-contents[href='#contents']")
    assert page.select("nav#contents[aria-label]")
    (link,) = page.select("article h2 .anchor-link")
    assert link["aria-label"] == "Link to “The data”"
    assert all(picture["alt"] for picture in page.select("img"))
    (large,) = page.select(".picture .open")
    assert page.select(str(large["href"])) == page.select("figure.picture")


def test_a_text_embeds_its_pictures_and_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "small.png").write_bytes(b"\x89PNG")
    (tmp_path / "huge.png").write_bytes(b"0" * 5_000_000)
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    sources = ("small.png", "huge.png", "secret.txt", ".", "../x.png", "attachment:none", "a\0b")
    texts = [new_markdown_cell(f"![picture of {each}]({each})") for each in sources]
    page = written(tmp_path, *texts)
    assert [picture["alt"] for picture in page.select("img")] == ["picture of small.png"]
    assert "picture of huge.png" in page.get_text()
    assert "secret.txt" in page.get_text()


def damaged(place: Path, kind: str) -> None:
    path = place / "page.html"
    text = path.read_text(encoding="utf-8")
    if kind == "cut":
        path.write_text(text[: len(text) // 2], encoding="utf-8")
    elif kind == "no summary":
        path.write_text(re.sub("content='.*'", "content='{'", text), encoding="utf-8")
    elif kind == "of another run":
        notebook = json.loads((place / "page.ipynb").read_text(encoding="utf-8"))
        notebook["metadata"]["papermill"]["start_time"] = "2026-11-29T05:00:00+00:00"
        (place / "page.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


@pytest.mark.parametrize("kind", ["whole", "cut", "no summary", "of another run"])
def test_only_a_whole_page_of_the_last_run_is_shown_as_passed(kind: str, tmp_path: Path) -> None:
    run(tmp_path, "1", "97.9 %", 2, "passed")
    damaged(tmp_path, kind)
    (report,) = read_reports(tmp_path)
    assert report["status"] == ("passed" if kind == "whole" else "failed")
    index = BeautifulSoup(write_index(tmp_path).read_text(encoding="utf-8"), "html.parser")
    assert len(index.select("td.passed")) == (kind == "whole")


@pytest.mark.thorough
def test_a_thousand_reports_are_listed_in_seconds(tmp_path: Path) -> None:
    run(tmp_path, "1", "97.9 %", 2, "passed")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for number in range(1_000):
        large = page.replace("</article>", "<p>x</p>" * 20_000 + "</article>")
        (tmp_path / f"page-{number}.html").write_text(large, encoding="utf-8")
    begun = time.process_time()
    assert len(read_reports(tmp_path)) == 1_001
    assert time.process_time() - begun < 15


def brightness(colour: str) -> float:
    """Return a colour's relative luminance, as WCAG 2 defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_the_colours_of_a_terminal_can_be_read(scheme: int, tmp_path: Path) -> None:
    codes = [*range(30, 38), *range(90, 98), *(f"38;5;{number};01" for number in range(256))]
    codes += [f"48;5;{number}" for number in range(256)] + ["38;2;0;135;0", "38;2;90;90;90"]
    text = "".join(f"\x1b[0;{code}mx" for code in codes) + "\x1b[0m"
    failed = new_output("error", ename="E", evalue="", traceback=[text])
    page = written(tmp_path, ran("x", failed))
    spans = page.select(".output_error span")
    assert [span for span in spans if span.get("style")] == []
    names = {name for span in spans for name in span["class"]}
    css = page.select("style")[0].get_text()
    palettes = re.findall(r":root \{(.*?)\}", css, re.S)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", palettes[0]))
    colours |= dict(re.findall(r"--([\w-]+): (#\w{6})", palettes[scheme]))
    used = {"text"}
    for selector, colour in re.findall(r"^(.*ansi-.*) \{ color: var\(--(\w+)\); \}$", css, re.M):
        used |= {colour for name in names if f".{name}" in selector}
    assert len(used) == 6
    for colour in used:
        for ground in ("paper", "failed-paper"):
            levels = sorted(brightness(colours[each]) for each in (colour, ground))
            assert (levels[1] + 0.05) / (levels[0] + 0.05) >= 4.5, (colour, ground)
