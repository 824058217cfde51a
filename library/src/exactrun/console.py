"""Printing for whoever looks on, also where a console knows few signs, as of Windows."""

from __future__ import annotations

import sys

PLAIN = str.maketrans({"✔": "+", "✖": "x", "–": "-", "→": ">", "×": "x"})
"""What a console shows that knows ASCII only."""


def say(text: str) -> None:
    """Print a line at once, also on a console that can't show all of its signs."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(PLAIN).encode(encoding, "replace").decode(encoding)
    print(text, flush=True)
