"""LaTeX as MathML, which browsers show without a script; docutils knows how."""

from __future__ import annotations

import re
from html import escape, unescape
from xml.etree import ElementTree

LENGTH = 2_000
"""Characters of a formula that are converted."""

ALIGNED = r"\\(?:begin|end)\{(?:equation|align|aligned|gather|eqnarray|multline|displaymath)\*?\}"
PIECES = re.compile(
    r"\$\$(?P<display>.+?)\$\$|(?P<environment>\\begin\{(?P<name>[a-z]+\*?)\}.*?\\end\{(?P=name)\})"
    r"|\$(?P<inline>.+?)\$",
    re.S,
)
_NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"
_NAMES = """\
math menclose merror mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow
mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover"""
_TAGS = frozenset(_NAMES.split())
_ATTRIBUTE_NAMES = """\
accent accentunder columnalign columnspacing depth display displaystyle fence form height
linethickness lspace mathvariant maxsize minsize movablelimits notation rowspacing rspace
scriptlevel separator stretchy symmetric voffset width"""
_ATTRIBUTES = frozenset(_ATTRIBUTE_NAMES.split())


def marked(source: str, *, display: bool) -> str:
    """Return LaTeX as HTML that shows its source, and says that it is mathematics."""
    return f'<code class="math{" display" if display else ""}">{escape(source)}</code>'


def marked_text(text: str) -> str:
    """Return a text with LaTeX between dollars, as `text/latex` is, as HTML."""
    parts, end = [], 0
    for found in PIECES.finditer(text):
        parts.append(escape(text[end : found.start()]))
        source = found["display"] or found["environment"] or found["inline"]
        parts.append(marked(source, display=found["inline"] is None))
        end = found.end()
    return "".join([*parts, escape(text[end:])])


def mathml(source: str, *, display: bool) -> str | None:
    """Return LaTeX as MathML; None if docutils is not there, or does not know all of its commands.

    Whoever shows it shows the source instead, which can be read.
    """
    if len(source) > LENGTH:
        return None
    try:
        from docutils.utils.math import MathError
        from docutils.utils.math.latex2mathml import tex2mathml
    except ImportError:
        return None
    # docutils wants braces, and knows no size of a fence but that of one that opens or closes.
    source = re.sub(r"(\\[dt]?frac) ?(\d) ?(\w)", r"\1{\2}{\3}", source)
    source = re.sub(r"(\\[Bb]igg?)(?![A-Za-z])", r"\1l", source)
    source = re.sub(rf"{ALIGNED}|\\(?:label|tag)\{{[^}}]*\}}|\\(?:nonumber|notag)\b", "", source)
    try:
        found = tex2mathml(source.strip(), as_block=display)
        # Of HTML's names of characters, XML knows five.
        found = re.sub(r"&(?!(?:lt|gt|amp|quot|apos);)\w+;", lambda name: unescape(name[0]), found)
        made = ElementTree.fromstring(found)
    except (MathError, SyntaxError, RecursionError, LookupError, AttributeError, ValueError):
        return None
    for element in made.iter():
        element.tag = element.tag.removeprefix(_NAMESPACE)
        if element.tag not in _TAGS:
            return None
        element.attrib = {n: v for n, v in element.attrib.items() if n in _ATTRIBUTES}
        element.text = element.text if (element.text or "").strip() else None
        element.tail = None  # line breaks that docutils puts in
    return ElementTree.tostring(made, encoding="unicode")
