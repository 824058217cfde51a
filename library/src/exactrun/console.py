"""Printing for whoever looks on, also where a console knows few signs, as on Windows."""

from __future__ import annotations

import codecs
import io
import sys

PLAIN = {"✔": "+", "✖": "x", "–": "-", "→": ">", "×": "x"}
"""What a console shows in place of signs that it lacks; of all others, a question mark."""

ERRORS = "exactrun.console"
"""The name of that, as an encoding's `errors`."""


def say(text: str) -> None:
    """Print a line at once, also on a console that can't show all of its signs."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, ERRORS).decode(encoding), flush=True)


def show_what_it_can() -> None:
    """Have this process's console show what it can, whoever prints; else it would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS, line_buffering=True)


def _in_place(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign, "?") for sign in signs), error.end


codecs.register_error(ERRORS, _in_place)
