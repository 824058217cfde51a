"""The report of a real run, in a real browser: on a desk, on a phone, in the dark, on paper.

Slow: it builds an environment and executes the notebooks. The screenshots stay in the folder that
pytest names with `--basetemp`, for people to look at.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from baking import CHOICES, run
from baking import bake as bake_anew
from browser import Browser

pytestmark = pytest.mark.slow

WIDTHS = {"desk": 1280, "tablet": 768, "phone": 390}
PAGES = [*CHOICES["task"], "failed", "index"]
TITLE = "Handwritten Digits"


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
    """Execute the notebook of each task, and one that fails, and write their reports."""
    folder = tmp_path_factory.mktemp("reports")
    projects = {task: bake_anew(folder / "projects" / task, task=task) for task in CHOICES["task"]}
    environment = folder / "environment"
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, environment], check=True)
    needs = ["--requirement", projects["image"].path / "requirements-dev.txt"]
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, *needs], check=True)

    pages: dict[str, Path] = {}
    (folder / "file").touch()
    for name in (*CHOICES["task"], "failed"):
        project = projects.get(name, projects["image"])
        output = folder / "out" / name
        place = folder / "file" if name == "failed" else output  # a file can't be a folder
        flags = ["--output", output, "-p", "epochs=1", "-p", f"persistent={place}"]
        flags += ["-p", "benchmark_scale=0.02"]
        done = project.run(python, "-m", "harness", "run", "notebooks/setup.ipynb", *flags)
        assert done.returncode == (1 if name == "failed" else 0), done.stdout + done.stderr
        pages[name] = output / "setup.html"
        script = (
            "import sys; from pathlib import Path; from harness.report import write_report;"
            "notebook, page, record = map(Path, sys.argv[1:]);"
            "write_report(notebook, page, beside=notebook.parent, record=record)"
        )
        record = output / "runs" / "first" / "run.json"
        done = project.run(python, "-c", script, output / "setup.ipynb", pages[name], record)
        assert done.returncode == 0, done.stderr
    script = (
        "import sys; from pathlib import Path; from harness.report import write_index;"
        "print(write_index(Path(sys.argv[1])))"
    )
    done = run(python, "-c", script, folder / "out", cwd=projects["image"].path)
    pages["index"] = Path(done.stdout.strip())
    pictures = folder / "pictures"
    pictures.mkdir()
    return Reports(pages=pages, pictures=pictures)


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


def test_the_colours_follow_the_readers_choice(browser: Browser, reports: Reports) -> None:
    papers = []
    for scheme in ("light", "dark"):
        browser.open(reports.pages["image"], width=1280, scheme=scheme)
        papers.append(browser.ask("getComputedStyle(document.body).backgroundColor"))
    assert papers == ["rgb(255, 255, 255)", "rgb(21, 24, 27)"]


def test_on_paper_code_and_contents_are_left_out(browser: Browser, reports: Reports) -> None:
    browser.open(reports.pages["image"], width=700, scheme="dark", media="print")
    browser.picture(reports.pictures / "image-paper.png")
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
    assert verdicts == {"image": "Passed:", "text": "Passed:", "failed": "Failed"}
