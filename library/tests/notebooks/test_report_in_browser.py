"""The report of a real run, in a real browser: on a desk, on a phone, in the dark, on paper.

The screenshots stay in the directory that pytest names with `--basetemp`, for people to look at.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from browser import Browser
from hostile import hostile_notebook
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from exactrun.notebooks import NotebookFailed, run_notebook
from exactrun.notebooks.report import write_index, write_report

pytestmark = pytest.mark.thorough

WIDTHS = {"desk": 1280, "tablet": 768, "phone": 390}
PAGES = ["passed", "failed", "index"]
TITLE = "Handwritten Digits"
BADGE = "[![Open in Colab](https://x.org/badge.svg)](https://colab.research.google.com/)"
PLOT = """\
import matplotlib.pyplot as plt
figure, axes = plt.subplots(figsize=(10, 3.6))
axes.plot([0, 1, 2], [3.0, 1.5, 1.2], marker="o")
plt.close(figure)
display(figure, metadata={"image/png": {"alt": "The loss falls from 3.0 to 1.2"}})"""
TABLE = """\
import pandas as pd
print("\\033[31mred\\033[0m and", "a-long-line-without-a-break" * 20)
pd.DataFrame({f"column {n}": [n / 7, n * 1e9] for n in range(12)})"""
RECORD = {
    "figures": {"Test accuracy": "98.2 %", "Training": "12 min 5 s", "Device": "Tesla T4"},
    "settings": {"epochs": 3, "learning_rate": 0.002, "persistent_dir": "/content/drive/" * 9},
    "weights_sha256": "ab" * 32,
    "checks": [
        {"name": "environment", "status": "passed", "detail": "colab 2026.07, Python 3.12.11"},
        {"name": "persistent directory", "status": "passed", "detail": "/content/drive/" * 9},
        {"name": "gpu", "status": "skipped", "detail": "there is none"},
    ],
}
CELLS = [
    new_markdown_cell(f"# {TITLE}\n\n{BADGE}\n\nWhat `load` returns, and *more*."),
    new_code_cell("place = ''  # where the record goes", metadata={"tags": ["parameters"]}),
    new_markdown_cell("## The data\n\n> As it was collected.\n\n```python\nload()\n```"),
    new_code_cell(TABLE),
    new_markdown_cell("## The training\n\n### Its curve"),
    new_code_cell(PLOT),
    new_code_cell(f"open(place, 'w').write({json.dumps(RECORD)!r})"),
]


@dataclass(frozen=True, kw_only=True)
class Reports:
    """The pages to look at, by name, and a place for pictures of them."""

    pages: dict[str, Path]
    pictures: Path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("neither chromium nor google-chrome is at hand")
    with Browser(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """Execute a notebook that passes and one that fails, and write their reports."""
    place = tmp_path_factory.mktemp("reports")
    pages: dict[str, Path] = {}
    for name in ("passed", "failed"):
        more = [new_code_cell("def load():\n    raise ValueError('no data')\n\nload()")]
        notebook = new_notebook(cells=[*CELLS, *(more if name == "failed" else [])])
        notebook.metadata = {
            "kernelspec": {"name": "python3", "display_name": "Python 3"},
            "language_info": {"name": "python"},
        }
        nbformat.write(notebook, place / f"{name}.ipynb")
        record = place / f"{name}.json"
        try:
            executed = run_notebook(
                place / f"{name}.ipynb",
                output=place / "out" / name,
                parameters={"place": str(record)},
                record=record,
            )
        except NotebookFailed as failed:
            executed = failed.executed
        pages[name] = executed.report
    pages["index"] = write_index(place / "out")
    (place / "pictures").mkdir()
    return Reports(pages=pages, pictures=place / "pictures")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_the_page_fits_and_loads_nothing(
    name: str, place: str, scheme: str, browser: Browser, reports: Reports
) -> None:
    page = reports.pages[name]
    browser.open(page, width=WIDTHS[place], scheme=scheme)
    browser.picture(reports.pictures / f"{name}-{place}-{scheme}.png")
    requested = [seen["request"]["url"] for seen in browser.seen("Network.requestWillBeSent")]
    assert [url for url in requested if not url.startswith("data:")] == [page.resolve().as_uri()]
    said = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    assert [seen for kind in said for seen in browser.seen(kind)] == []
    assert browser.ask("document.documentElement.scrollWidth") <= WIDTHS[place]
    assert browser.ask("[...document.images].filter(i => !i.naturalWidth || !i.alt).length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_text_stands_out_from_its_paper(
    name: str, scheme: str, browser: Browser, reports: Reports
) -> None:
    browser.open(reports.pages[name], width=1280, scheme=scheme)
    assert browser.ask(f"({FAINT})()") == []


# Contrast by WCAG 2.2, success criterion 1.4.3 (4.5:1), of each text with the nearest background.
FAINT = """() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = element => {
    for (; element; element = element.parentElement) {
      const found = parts(getComputedStyle(element).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
    .filter(e => getComputedStyle(e).opacity === "1")
    .map(e => [e, [light(parts(getComputedStyle(e).color)), light(paper(e))].sort((a, b) => b - a)])
    .map(([e, [high, low]]) => [e.className + ": " + e.textContent.slice(0, 40),
                                (high + 0.05) / (low + 0.05)])
    .filter(([, contrast]) => contrast < 4.5);
}"""


def test_a_plot_is_shown_with_its_alt_text(browser: Browser, reports: Reports) -> None:
    browser.open(reports.pages["passed"], width=1280)
    alts = browser.ask("[...document.images].map(image => image.alt)")
    assert alts == ["The loss falls from 3.0 to 1.2"]


def test_the_colours_follow_the_readers_choice(browser: Browser, reports: Reports) -> None:
    papers = []
    for scheme in ("light", "dark"):
        browser.open(reports.pages["passed"], width=1280, scheme=scheme)
        papers.append(browser.ask("getComputedStyle(document.body).backgroundColor"))
    assert papers == ["rgb(255, 255, 255)", "rgb(21, 24, 27)"]


def test_on_paper_code_and_contents_are_left_out(browser: Browser, reports: Reports) -> None:
    browser.open(reports.pages["passed"], width=700, scheme="dark", media="print")
    browser.picture(reports.pictures / "paper.png")
    shown = "[...document.querySelectorAll('nav, .code')].filter(e => e.offsetHeight).length"
    assert browser.ask(shown) == 0
    assert browser.ask("document.querySelector('.checks').offsetHeight") > 0
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_the_link_at_the_top_leads_to_the_failing_cell(browser: Browser, reports: Reports) -> None:
    browser.open(reports.pages["failed"], width=390)
    browser.ask("document.querySelector('header a').click()")
    top = "document.querySelector('.code_cell:target').getBoundingClientRect().top"
    assert -1 < browser.ask(top) < 844
    assert browser.ask("document.querySelector('.code_cell:target details').open")


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_smaller_than_a_megabyte(name: str, reports: Reports) -> None:
    assert reports.pages[name].stat().st_size < 1_000_000


def test_the_reports_are_those_of_the_runs(browser: Browser, reports: Reports) -> None:
    verdicts = {}
    for name in PAGES[:-1]:
        browser.open(reports.pages[name], width=1280)
        assert browser.ask("document.querySelector('h1').textContent") == TITLE
        verdicts[name] = browser.ask("document.querySelector('.verdict').textContent.split(' ')[1]")
    assert verdicts == {"passed": "Passed:", "failed": "Failed"}


@pytest.mark.parametrize("width", [1280, 390])
def test_a_hostile_notebook_stays_in_its_page(width: int, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "hostile.ipynb"
    file.write_text(json.dumps(hostile_notebook()), encoding="utf-8")
    page = write_report(file, file.with_suffix(".html"), beside=tmp_path)
    plain = tmp_path / "plain.ipynb"
    plain.write_text(json.dumps(hostile_notebook(attacks=False)), encoding="utf-8")
    colours = []
    for each in (write_report(plain, plain.with_suffix(".html"), beside=tmp_path), page):
        browser.open(each, width=width)
        look = "['.verdict', 'body', 'h1'].map(s => {const c = getComputedStyle(\
            document.querySelector(s)); return [c.color, c.display, c.position, c.fontSize]})"
        colours.append(browser.ask(look))
    assert colours[0] == colours[1]
    # What a reader may do by mistake, and time for what would happen by itself.
    browser.ask(
        "document.querySelectorAll('article [onclick], button, summary').forEach(e => e.click())"
    )
    browser.ask(
        "document.querySelectorAll('a').forEach(a => a.protocol === 'javascript:' && a.click())"
    )
    time.sleep(1)
    assert browser.ask("location.href") == page.resolve().as_uri()
    assert browser.ask("window.hit") is None
    assert browser.ask("document.forms.length + document.scripts.length + frames.length") == 0
    requested = [seen["request"]["url"] for seen in browser.seen("Network.requestWillBeSent")]
    assert [url for url in requested if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert browser.ask("document.documentElement.scrollWidth") <= width
    over = "[...document.querySelectorAll('article *')].filter(e => \
        ['fixed', 'sticky'].includes(getComputedStyle(e).position)).length"
    assert browser.ask(over) == 0


def test_a_plot_opens_large_and_closes(browser: Browser, reports: Reports) -> None:
    browser.open(reports.pages["passed"], width=390)
    width = "document.querySelector('.picture img').getBoundingClientRect().width"
    small = browser.ask(width)
    browser.ask("document.querySelector('.picture .open').click()")
    assert browser.ask(width) > 2 * small
    browser.picture(reports.pictures / "large.png")
    browser.ask("document.querySelector('.picture .close').click()")
    assert browser.ask(width) == small


def test_the_contents_can_be_reached_from_everywhere(browser: Browser, reports: Reports) -> None:
    browser.open(reports.pages["passed"], width=390)
    browser.ask("scrollTo(0, document.body.scrollHeight)")
    browser.ask("document.querySelector('.to-contents').click()")
    top = browser.ask("document.querySelector('nav').getBoundingClientRect().top")
    assert -1 < top < 844
    browser.open(reports.pages["passed"], width=1280)
    browser.ask("scrollTo(0, document.body.scrollHeight)")
    assert browser.ask("document.querySelector('nav a').getBoundingClientRect().top") > 0


def test_the_first_tab_leads_past_the_summary(browser: Browser, reports: Reports) -> None:
    browser.open(reports.pages["passed"], width=1280)
    for kind in ("rawKeyDown", "keyUp"):
        browser("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.ask("document.activeElement.textContent") == "Skip to the notebook"
    assert browser.ask("document.activeElement.getBoundingClientRect().top") > 0
    names = "[...document.querySelectorAll('a')].filter(a => !a.textContent.trim() && !a.ariaLabel)"
    assert browser.ask(f"{names}.length") == 0
    unnamed = "[...document.querySelectorAll('.anchor-link')].filter(a => !a.ariaLabel).length"
    assert browser.ask(unnamed) == 0


def test_mathematics_is_shown_without_a_script(browser: Browser, tmp_path: Path) -> None:
    pytest.importorskip("docutils")
    formula = "# Loss\n\n$$\\frac{1}{N} \\sum_i \\log p_\\theta(x_i)$$"
    notebook = new_notebook(cells=[new_markdown_cell(formula)])
    nbformat.write(notebook, tmp_path / "math.ipynb")
    browser.open(
        write_report(tmp_path / "math.ipynb", tmp_path / "math.html", beside=tmp_path), width=1280
    )
    fraction = "document.querySelector('mfrac').getBoundingClientRect()"
    assert browser.ask(f"{fraction}.height") > 25  # one above the other
