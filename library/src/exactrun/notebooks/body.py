"""The cells of a notebook as HTML: nbconvert's, made safe, with mathematics, of bounded size."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from traitlets.config import Config

from .mathematics import marked, marked_text, mathml
from .sanitize import clean
from .shown import FORMS, PICTURE_LIMIT
from .summary import duration

TEMPLATES = Path(__file__).parent / "templates"

PAGE_LIMIT = 10_000_000
RESERVE = 3_000_000
"""Bytes of all cells' HTML, and of that of the cell to look at."""

FORMULAS = 1_000
MATHEMATICS = 50_000
"""Formulas that are converted, of a page, and their characters: MathML is ten times as long."""

HEADINGS = 300
"""That the table of contents has."""

CONTENT_WORDS = 150
"""Characters of a heading in the table of contents."""


def convert(
    notebook: NotebookNode, *, beside: Path, look_at: str, whole: str
) -> tuple[str, list[tuple[str, str, str]], str]:
    """Return the cells of a notebook as HTML that loads nothing and runs nothing.

    Args:
        notebook: What is shown of it.
        beside: Directory where the pictures of its texts lie.
        look_at: Id of the cell that is open.
        whole: Name of the file that has what is left out.

    Returns:
        The first heading; of each other heading its level (`h2` or `h3`), id and text; and all but
        the first heading as HTML.
    """
    exporter = _Exporter(
        default_preprocessors=[],  # after each, nbconvert checks the notebook against a schema
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        embed_images=True,
        sanitize_html=True,
        anchor_link_text="#",
        filters={
            "clean_html": lambda html: clean(str(html), missing=""),
            "latex2html": marked_text,
            "duration": duration,
        },
        config=Config({"NbConvertBase": {"display_data_priority": FORMS}}),
    )
    resources = {
        "metadata": {"name": "report", "path": str(beside)},
        "look_at": look_at,
        "room": _Room(whole),
    }
    html, used = exporter.from_notebook_node(notebook, resources)
    page = BeautifulSoup(html, "html.parser")
    _cleaned_up(page)
    _show_mathematics(page)
    contents = _contents(page)
    title = page.select_one(".text_cell h1")
    text = _words(title.extract()) if title else ""
    return text[:300], contents, used["room"].put_back(str(page))


class _Renderer(IPythonRenderer):
    """Marks mathematics in Markdown, and embeds the pictures that a page has room for."""

    def block_math(self, body: str) -> str:
        return marked(body, display=True)

    def inline_math(self, body: str) -> str:
        return marked(body, display=False)

    def latex_environment(self, name: str, body: str) -> str:
        return marked(f"\\begin{{{name}}}{body}\\end{{{name}}}", display=True)

    def task_list_item(self, text: str, checked: bool = False) -> str:
        return f"<li>{'☑' if checked else '☐'} {text}</li>\n"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        try:
            return str(super().image(text, url, title))
        except InvalidNotebook:  # the picture is not attached
            return escape(text)

    def _src_to_base64(self, src: str) -> str | None:
        try:
            path = Path(self.path, src)
            if not path.is_file() or path.stat().st_size > PICTURE_LIMIT:
                return None
            found = super()._src_to_base64(src)
        except (OSError, ValueError):  # no name of a file, or none that may be read
            return None
        return str(found) if found else None


class _Exporter(HTMLExporter):
    """nbconvert's, with a renderer of Markdown of our own."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """Convert Markdown; what can't be converted is shown as it is written."""
        renderer = _Renderer(
            escape=False,
            attachments=context.get("cell", {}).get("attachments", {}),
            embed_images=self.embed_images,
            path=context["resources"]["metadata"]["path"],
            anchor_link_text=self.anchor_link_text,
        )
        try:
            return str(MarkdownWithMath(renderer=renderer).render(source))
        except RecursionError:
            return f"<pre>{escape(source)}</pre>"


class _Room:
    """Says what a page has no room for any more, and keeps what need not be read again."""

    def __init__(self, whole: str) -> None:
        self._whole, self._left, self._reserve = whole, PAGE_LIMIT, RESERVE
        self._pictures, self._key, self._parts = 0, uuid.uuid4().hex, list[str]()

    def picture(self) -> str:
        """Return the id of the next picture."""
        self._pictures += 1
        return f"picture-{self._pictures}"

    def full(self, looked_at: bool) -> bool:
        """Return whether nothing more is to be made."""
        return not looked_at and self._left <= 0

    def take(self, html: str, looked_at: bool, finished: bool) -> str:
        """Return HTML if there is room for it, or what is left out instead.

        Args:
            html: A part of the page.
            looked_at: Whether it is of the cell to look at, for which room is kept.
            finished: Whether it holds no markup of the user's. Only a mark is returned for it, in
                whose place `put_back` puts it: to read megabytes of plain text or of pictures as
                HTML once more takes long.
        """
        size = len(html.encode("utf-8", "replace"))
        if looked_at and size <= self._reserve:
            self._reserve -= size
        elif size <= self._left:
            self._left -= size
        else:
            return self.note()
        if not finished:
            return html
        self._parts.append(html)
        return f"{self._key}-{len(self._parts) - 1}-"

    def put_back(self, html: str) -> str:
        """Return HTML with the finished parts in the place of their marks."""
        return re.sub(rf"{self._key}-(\d+)-", lambda mark: self._parts[int(mark[1])], html)

    def note(self) -> str:
        """Say that something is left out."""
        return f'<p class="note">Left out, since the page is full; {escape(self._whole)} has it</p>'


def _cleaned_up(page: BeautifulSoup) -> None:
    """Leave out pictures that would be loaded, and names that only the page itself may give."""
    for picture in page.select("img:not([src])"):
        alt = picture.get("alt")
        picture.replace_with(str(alt) if alt else "")
    taken = {"notebook", "contents", "summary", "top"}
    counts: dict[str, int] = defaultdict(lambda: 1)
    for element in page.find_all(id=True):
        own = "cell" in (element.get("class") or []) or "picture" in (element.get("class") or [])
        name = str(element["id"])
        if own:
            taken.add(name)
        elif (
            element.find_parent(class_="output_wrapper")
            or name.startswith(("cell-id=", "picture-"))
            or (name in taken and element.name not in ("h1", "h2", "h3", "h4", "h5", "h6"))
        ):
            del element["id"]
        else:
            first = name
            while name in taken:  # two headings of one text would be one place
                counts[first] += 1
                name = f"{first}-{counts[first]}"
            taken.add(name)
            element["id"] = name
    for link in page.select("a.anchor-link"):
        heading = link.parent
        if heading is None or not heading.get("id"):
            link.decompose()
            continue
        link["href"] = f"#{heading['id']}"
        link["aria-label"] = f"Link to “{_words(heading)[:CONTENT_WORDS]}”"


def _show_mathematics(page: BeautifulSoup) -> None:
    room = MATHEMATICS
    for element in page.select("code.math")[:FORMULAS]:
        source = element.get_text()
        room -= len(source)
        if room < 0:
            return
        made = mathml(source, display="display" in (element.get("class") or []))
        if made is not None:
            formula = BeautifulSoup(made, "html.parser")
            if formula.math is not None:
                formula.math["title"] = source
                element.replace_with(formula.math)


def _contents(page: BeautifulSoup) -> list[tuple[str, str, str]]:
    headings = page.select(".text_cell h2[id], .text_cell h3[id]")[:HEADINGS]
    return [(each.name, str(each["id"]), _words(each)[:CONTENT_WORDS]) for each in headings]


def _words(heading: Tag) -> str:
    """Return the text of a heading, without the link to it."""
    link = heading.select_one("a.anchor-link")
    text = heading.get_text()
    return " ".join((text.removesuffix(link.get_text()) if link else text).split())
