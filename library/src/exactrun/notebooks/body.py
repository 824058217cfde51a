"""The cells of a notebook as HTML: nbconvert's, made safe, with mathematics, and of bounded size."""

from __future__ import annotations

from dataclasses import dataclass
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

PAGE_LIMIT = 11_000_000
"""Bytes of all cells' HTML; 2 MB more are kept for the one to look at."""

FORMULAS = 1_000
"""That are converted, of a page."""

HEADINGS = 300
"""That the table of contents has."""

CONTENT_WORDS = 150
"""Characters of a heading in the table of contents."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """The cells as HTML.

    Attributes:
        title: The first heading.
        contents: Of each other heading its level (`h2` or `h3`), id and text.
        html: All but the title.
    """

    title: str
    contents: list[tuple[str, str, str]]
    html: str


def convert(notebook: NotebookNode, *, beside: Path, look_at: str, whole: str) -> Body:
    """Return the cells of a notebook as HTML that loads nothing and runs nothing.

    Args:
        notebook: What is shown of it.
        beside: Directory where the pictures of its texts lie.
        look_at: Id of the cell that is open.
        whole: Name of the file that has what is left out.
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
    html, _ = exporter.from_notebook_node(notebook, resources)
    page = BeautifulSoup(html, "html.parser")
    _cleaned_up(page)
    _show_mathematics(page)
    contents = _contents(page)
    title = page.select_one(".text_cell h1")
    text = _words(title.extract()) if title else ""
    return Body(title=text[:300], contents=contents, html=str(page))


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
    """Says what a page has no room for any more."""

    def __init__(self, whole: str) -> None:
        self._whole, self._left, self._reserve = whole, PAGE_LIMIT, 2_000_000
        self._pictures = 0

    def picture(self) -> str:
        """Return the id of the next picture."""
        self._pictures += 1
        return f"picture-{self._pictures}"

    def full(self, looked_at: bool) -> bool:
        """Return whether nothing more is to be made."""
        return not looked_at and self._left <= 0

    def take(self, html: str, looked_at: bool) -> str:
        """Return HTML if there is room for it, or what is left out instead."""
        size = len(html.encode("utf-8", "replace"))
        if looked_at and size <= self._reserve:
            self._reserve -= size
            return html
        if size <= self._left:
            self._left -= size
            return html
        return self.note()

    def note(self) -> str:
        """Say that something is left out."""
        return f'<p class="note">Left out, since the page is full; {escape(self._whole)} has it</p>'


def _cleaned_up(page: BeautifulSoup) -> None:
    """Leave out pictures that would be loaded, and names that only the page itself may give."""
    for picture in page.select("img:not([src])"):
        alt = picture.get("alt")
        picture.replace_with(str(alt) if alt else "")
    taken = {"notebook", "contents", "summary", "top"}
    for element in page.find_all(id=True):
        own = "cell" in (element.get("class") or []) or "picture" in (element.get("class") or [])
        name = str(element["id"])
        if own:
            taken.add(name)
        elif element.find_parent(class_="output_wrapper") or name.startswith(("cell-id=", "picture-")):
            del element["id"]
        elif name in taken and element.name not in ("h1", "h2", "h3", "h4", "h5", "h6"):
            del element["id"]
        else:
            count, first = 1, name
            while name in taken:  # two headings of one text would be one place
                count += 1
                name = f"{first}-{count}"
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
    for element in page.select("code.math")[:FORMULAS]:
        source = element.get_text()
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
