"""Texts that are printed: what is left of them where a terminal or a reader sees only a part."""

from __future__ import annotations

TEXT_LIMIT = 100_000
"""Characters kept of one output: what a page can still show."""

LINE_LIMIT = 10_000
"""Characters kept of a line of a log, and of an exception's message."""


def collapse(text: str) -> str:
    """Return what is left of a text where carriage returns made lines start again."""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join(lines) + ("\r" if text.endswith("\r") else "")


def shorten(text: str, limit: int) -> str:
    """Return the beginning and the end of a text that is longer than a limit, in characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[… longer than {limit:,} characters: left out here …]\n{text[-half:]}"
