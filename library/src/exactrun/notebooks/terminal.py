"""What programs write to a terminal: colours, and what moves its cursor."""

from __future__ import annotations

import re

COLOURS_LIMIT = 1_000
"""Changes of colour in a text that is shown with its colours: their time grows with the square."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_EXACT_COLOUR = re.compile(r"\b([34])8;(?:5;(\d{1,3})|2;(\d{1,3});(\d{1,3});(\d{1,3}))(?!\d)")
"""One of 256 colours, as IPython 9 uses in tracebacks, or of 16 million."""


def plain(text: str) -> str:
    """Return a text without colours and movements of the cursor."""
    return _CONTROL.sub("", text)


def with_basic_colours(text: str) -> str:
    """Return a text whose only controls are the eight colours that a page has."""
    if len(_COLOUR.findall(text)) > COLOURS_LIMIT:
        return plain(text)

    def kept(found: re.Match[str]) -> str:
        return _EXACT_COLOUR.sub(_basic_colour, found[0]) if found[0].endswith("m") else ""

    return _CONTROL.sub(kept, text)


def _basic_colour(found: re.Match[str]) -> str:
    """Return the nearest of the colours of which the page has one for either background."""
    ground, index = found[1], int(found[2] or 16)
    if index < 16:
        return found[0]
    parts = [(index - 16) // 36, (index - 16) // 6 % 6, (index - 16) % 6]
    if not found[2]:
        parts = [int(part) for part in found.group(3, 4, 5)]
    least, most = min(parts), max(parts)
    if least == most or index > 231:  # a grey is the colour of the text
        return f"{ground}9"
    return f"{ground}{sum(2**n for n, part in enumerate(parts) if 2 * part > least + most)}"
