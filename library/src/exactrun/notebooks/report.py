"""An executed notebook as one web page that loads nothing from anywhere; an index of several."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import nbformat
from bs4 import BeautifulSoup, SoupStrainer
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nbconvert import HTMLExporter
from traitlets.config import Config

from ..errors import UserError
from ..files import write_whole
from ..record import MARKS
from .summary import facts_of, figures_of, judge

TEMPLATES = Path(__file__).parent / "templates"

FORMS = [
    *("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg"),
    *("text/latex", "text/plain"),
]
"""The first of these that an output has is shown: none needs a script."""


def write_report(
    notebook: Path,
    target: Path,
    *,
    beside: Path,
    record: Mapping[str, Any] = MappingProxyType({}),
    problem: str = "",
) -> Path:
    """Convert an executed notebook to one HTML page, summary first, with everything inside.

    What would be loaded from elsewhere is left out: scripts, and pictures that lie on the web,
    such as badges, of which the alt texts stay.

    Args:
        notebook: The executed notebook, whole or as far as it came.
        target: Where to write the page.
        beside: Directory of the notebook that was executed, where the pictures of its Markdown lie.
        record: What it recorded, for the summary.
        problem: What is wrong although its cells ran.

    Returns:
        The path of the page.
    """
    executed = nbformat.read(notebook, as_version=4)
    executed.metadata.pop("widgets", None)  # they need a script; their text form does not
    outcome = judge(executed, record, problem=problem)
    times = executed.metadata.get("papermill", {})
    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        embed_images=True,
        anchor_link_text="#",
        config=Config({"NbConvertBase": {"display_data_priority": FORMS}}),
    )
    files = {"name": notebook.stem, "path": str(beside)}
    html, _ = exporter.from_notebook_node(executed, {"metadata": files, "look_at": outcome.cell})
    title, contents, body = _self_contained(html)
    end = times.get("end_time")
    page = _rendered(
        "report.html.j2",
        title=title or notebook.stem,
        outcome=outcome,
        figures=figures_of(record, times),
        checks=record.get("checks", []),
        facts=facts_of(record),
        finished=f"{datetime.fromisoformat(end).astimezone(UTC):%Y-%m-%d %H:%M} UTC" if end else "",
        contents=contents,
        body=Markup(body),  # trusted as far as the notebook's code is
    )
    write_whole(target, page)
    return target


def read_reports(directory: Path) -> list[dict[str, Any]]:
    """Return what the reports in and below a directory say first, and their files."""
    reports = []
    for path in sorted(directory.rglob("*.html")):
        head = BeautifulSoup(path.read_bytes(), "html.parser", parse_only=SoupStrainer("meta"))
        summary = head.select_one("meta[name=run-report]")
        if summary is None:
            continue
        file = path.relative_to(directory).as_posix()
        link = {"file": file, "link": quote(file)}
        reports.append(json.loads(str(summary["content"])) | link)
    return reports


def write_index(directory: Path) -> Path:
    """Write `index.html`, a table of the reports in and below a directory.

    Raises:
        UserError: If a report is called `index.html`, as that of `index.ipynb` is.
    """
    target = directory / "index.html"
    reports = read_reports(directory)
    if target.name in [report["file"] for report in reports]:
        raise UserError(
            f"{target} is the report of a notebook, and the index of all reports goes by that"
            " name. Rename the notebook."
        )
    names = list(dict.fromkeys(name for report in reports for name in report["figures"]))
    write_whole(target, _rendered("index.html.j2", title="Reports", reports=reports, names=names))
    return target


def _self_contained(html: str) -> tuple[str, list[tuple[str, str, str]], str]:
    """Take the title out of a notebook's HTML, and all that would be loaded from elsewhere.

    Returns:
        The title; of each heading its level (`h2` or `h3`), id and text; the rest of the page.
    """
    page = BeautifulSoup(html, "html.parser")
    for element in page.select("script, link, base, object, embed, iframe:not([src^='data:'])"):
        element.decompose()
    for picture in page.select("img:not([src^='data:'])"):
        picture.replace_with(str(picture["alt"]))
    contents: list[tuple[str, str, str]] = []
    for heading in page.select(".text_cell h2[id], .text_cell h3[id]"):
        same = [text for _, _, text in contents].count(heading.get_text().removesuffix("#"))
        if same:  # two headings of one text would be one place
            heading["id"] = f"{heading['id']}-{same + 1}"
            heading.select(".anchor-link")[0]["href"] = f"#{heading['id']}"
        text = heading.get_text().removesuffix("#")
        contents.append((heading.name, str(heading["id"]), text))
    title = page.select_one(".text_cell h1")
    text = title.extract().get_text().removesuffix("#") if title else ""
    return text, contents, str(page)


def _rendered(template: str, **content: Any) -> str:
    pages = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.globals["marks"] = MARKS
    pages.policies["json.dumps_kwargs"] = {"sort_keys": False}  # the first figure counts most
    return str(pages.get_template(template).render(content))
