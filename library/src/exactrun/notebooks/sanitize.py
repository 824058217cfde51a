"""HTML that a notebook holds, made safe: nothing runs, loads, submits, or leaves its place."""

from __future__ import annotations

import base64
import re
from html import escape, unescape
from typing import Any
from xml.etree import ElementTree

import tinycss2
from bleach.css_sanitizer import ALLOWED_CSS_PROPERTIES, CSSSanitizer
from bleach.sanitizer import Cleaner
from bs4 import BeautifulSoup, Tag
from soupsieve import SelectorSyntaxError

_NAMES = """\
a abbr audio b bdi bdo blockquote br caption center cite code col colgroup dd del details dfn
div dl dt em figcaption figure font h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre progress
q s samp section small source span strong sub summary sup table tbody td tfoot th thead time tr
tt u ul var video wbr"""
TAGS = frozenset(_NAMES.split())
ATTRIBUTES = {
    "*": {"align", "aria-label", "dir", "hidden", "id", "lang", "style", "title", "valign"},
    "a": {"href", "name"},
    "audio": {"controls", "src"},
    "details": {"open"},
    "font": {"color"},
    "img": {"alt", "height", "src", "width"},
    "ol": {"start", "type"},
    "progress": {"max", "value"},
    "source": {"src"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "video": {"controls", "height", "src", "width"},
}
STYLES = (
    ALLOWED_CSS_PROPERTIES
    | {"background", "border", "border-bottom", "border-left", "border-right", "border-top"}
    | {
        "border-style",
        "border-width",
        "font-feature-settings",
        "max-height",
        "max-width",
        "min-width",
    }
    | {"padding", "padding-bottom", "padding-left", "padding-right", "padding-top", "opacity"}
) - {"cursor"}
"""None of them moves a thing out of its place, as margins, positions and transforms do."""

CLASSES = re.compile(
    r"(?:\s*\b(?:highlight|anchor-link|dataframe|math|display|alert(?:-\w+)?|[a-z]{1,2}\d?)(?!\S))+\s*"
)
"""Those of Pygments, of pandas, of our own Markdown, and of the boxes that tutorials use."""

DATA = re.compile(
    r"data:(?:image/(?:png|jpeg|gif|webp|avif|bmp|svg\+xml)|(?:audio|video)/[\w.+-]+)[;,]"
)
TANGLED_LIMIT = 20_000
"""Characters of HTML that is tangled. The time that html5lib takes for it grows with the square."""

DEPTH = 50
ELEMENTS = 15_000
FAULTS = 100
"""Elements within one another and in all, and those that are not well nested or in a table but not
in a cell of it, above which HTML is tangled."""

RULES = 5_000
WORK = 100_000
STYLES_LIMIT = 300_000
"""Rules of style sheets that are applied, of one output; elements that are looked at for it; and
characters that elements get by it."""

_NO_TEXT = "script style template noscript title textarea select button object embed iframe math"
_TOKEN = re.compile(
    r"""(?P<text>[^<]++|<(?![a-z/!?]))|<!--.*?-->|<[!?][a-z][^>]*+>
    |<(?P<raw>script|style|svg|title|textarea)\b.*?</(?P=raw)\s*>
    |<(?P<close>/?)(?P<name>[a-z][\w:-]*+)
    (?:\s*+[\w:@.-]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s"'=<>`]++))?+){0,40}+\s*+/?>""",
    re.S | re.I | re.X,
)
_ENDLESS = """\
area base br col dd dt hr img input li link meta option p source tbody td tfoot th thead tr track
wbr"""
_CLOSED_BY_OTHERS = frozenset(_ENDLESS.split())
_FORMATTING = frozenset(
    {*"abisu", "big", "code", "em", "font", "nobr", "small", "strike", "strong", "tt"}
)
_CELLS = frozenset({"caption", "td", "th"})
_OF_TABLES = _CELLS | {"col", "colgroup", "table", "tbody", "tfoot", "thead", "tr"}


def clean(html: str, *, missing: str) -> str:
    """Return HTML of which only what can be shown without a script is left.

    Its style sheets become the styles of the elements that they name, so none reaches the page;
    an SVG becomes a picture, in which no script runs and nothing is loaded. What is tangled is
    shown as it is written.

    Args:
        html: A piece of a page.
        missing: What to say, as HTML, where nothing is left of what a script would have drawn.
    """
    if is_tangled(html):
        return f"<pre>{escape(html)}</pre>"
    drawn = bool(re.search(r"<(script|iframe|object|embed)\b", html, re.I))
    if re.search(rf"<({'|'.join(_NO_TEXT.split())}|svg)\b", html, re.I):
        html = _without_raw_text(html)
    css = _Styles(allowed_css_properties=STYLES)
    # A new one each time, since it keeps what it reads: reports may be written by several threads.
    cleaner = Cleaner(
        tags=TAGS,
        attributes=_allowed,
        protocols={"http", "https", "mailto", "data"},  # `data` for pictures only: see _allowed
        strip=True,
        css_sanitizer=css,
    )
    cleaned = str(cleaner.clean(html))
    seen = re.sub(r"<(?!img|audio|video|hr|progress)[^>]*>", "", cleaned).strip()
    return missing if drawn and not seen else cleaned


class _Styles(CSSSanitizer):
    """Keeps declarations that look nothing up elsewhere."""

    def sanitize_css(self, style: str) -> str:
        if re.search(r"url|image-set|image\(|\\|expression", style, re.I):
            return ""
        return str(super().sanitize_css(style))


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "class":
        return CLASSES.fullmatch(value) is not None
    if name not in ATTRIBUTES["*"] and name not in ATTRIBUTES.get(tag, ()):
        return False
    if name == "src":
        return DATA.match(value) is not None
    if name == "href":
        plain = re.sub(r"[\x00-\x20\x7f-\xa0\s]+", "", unescape(value)).lower()
        # Bleach takes `javascript:1` for a host with a port.
        return re.match(r"https?://|mailto:|#|(?![/\\]{2})[^:\\]*$", plain) is not None
    return True


def is_tangled(html: str, *, limit: int = TANGLED_LIMIT) -> bool:
    """Tell whether HTML would take long to read as a browser does, by a look that takes none."""
    if len(html) <= limit:
        return False
    position, elements, faults = 0, 0, 0
    opened, outside = list[str](), False  # of a table's cells, but in it
    while position < len(html):
        found = _TOKEN.match(html, position)
        if not found or len(opened) > DEPTH or elements > ELEMENTS or faults > FAULTS:
            return True
        position, closes, name = found.end(), found["close"] == "/", (found["name"] or "").lower()
        content = name or (found["text"] or "").strip()
        faults += outside and content != "" and content not in _OF_TABLES
        elements += name != "" and not closes
        if name == "table":
            outside = not closes
        elif name in _OF_TABLES:
            outside = closes or name not in _CELLS
        elif name == "p" and opened and opened[-1] in _FORMATTING:
            faults += 1
        if name and name not in _CLOSED_BY_OTHERS:
            if not closes:
                opened.append(name)
            elif name in opened:
                while opened.pop() != name:
                    faults += 1
            else:
                faults += 1
    return False


def _without_raw_text(html: str) -> str:
    """Take out elements whose text is none to read, and put the styles where they belong."""
    html = re.sub(r"<svg\b.*?</svg\s*>", _as_picture, html, flags=re.S | re.I)
    page = BeautifulSoup(html, "html.parser")
    sheets = "\n".join(sheet.get_text() for sheet in page.find_all("style"))
    for element in page.find_all([*_NO_TEXT.split(), "svg"]):
        if not element.decomposed:
            element.decompose()
    if sheets:
        _apply(sheets, page)
    return str(page)


def _as_picture(svg: re.Match[str]) -> str:
    text = svg[0]
    if "<use" in text or re.search(r"<svg[^>]*(?:width: ?0|\bhidden\b)", text):
        return ""  # symbols for others to use, or one of them: nothing alone
    if "xmlns=" not in text:
        text = text.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    try:
        ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return ""  # no picture for a browser, either
    code = base64.b64encode(text.encode()).decode()
    return f'<img alt="A drawing" src="data:image/svg+xml;base64,{code}">'


def _apply(sheets: str, page: BeautifulSoup) -> None:
    """Give the declarations of style sheets to the elements that their simple selectors name."""
    found: dict[int, tuple[Tag, list[str]]] = {}
    by_id = {str(element["id"]): element for element in page.find_all(id=True)}
    elements, room = len(page.find_all(True)), STYLES_LIMIT
    work = 0 if is_tangled(str(page), limit=0) else WORK
    rules = tinycss2.parse_stylesheet(sheets, skip_comments=True, skip_whitespace=True)
    for rule in rules[:RULES]:
        if rule.type != "qualified-rule":
            continue
        declared = tinycss2.serialize(rule.content).strip(" \n;")
        for selector in map(str.strip, tinycss2.serialize(rule.prelude).split(",")):
            if selector.startswith("#") and selector[1:] in by_id:
                named = [by_id[selector[1:]]]  # thousands of a table's cells are named so
            elif work > 0:
                named = _selected(selector, page)
                work -= elements
            else:
                named = []
            for element in named:
                room -= len(declared)
                if room < 0:
                    break
                found.setdefault(id(element), (element, []))[1].append(declared)
    for element, styles in found.values():
        element["style"] = "; ".join([*styles, str(element.get("style", ""))])


def _selected(selector: str, page: BeautifulSoup) -> list[Any]:
    if not re.fullmatch(r"[\w.#*>\s-]{1,200}", selector) or len(selector.split()) > 2:
        return []
    try:
        return list(page.select(selector))
    except SelectorSyntaxError:
        return []  # such as a rule for a state that only a browser knows
