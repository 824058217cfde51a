"""What a running notebook says, as lines of a log: which cell runs, and what it prints."""

from __future__ import annotations

import logging
import time
from typing import Any

from .terminal import plain

cells = logging.getLogger("exactrun.notebooks.cells")
printed = logging.getLogger("exactrun.notebooks.printed")
logging.getLogger("exactrun.notebooks").setLevel(logging.WARNING)  # papermill logs what it wants

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


class Progress:
    """Turns what the kernel publishes while it runs one cell into lines.

    A line that is replaced again and again, as a progress bar is, is shown every ten seconds and
    at the end: in a log, nothing can be taken back.
    """

    REPEAT_SECONDS = 10.0

    def __init__(self) -> None:
        self._unfinished: dict[str, str] = {}
        self._passing: dict[str, str] = {}
        self._shown: dict[str, tuple[float, str]] = {}
        self._cleared = False

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Take a stream, a display, an error, or a clearing of the output."""
        if kind == "stream":
            self._stream(content["name"], content["text"])
        elif kind == "clear_output":
            self._cleared = True  # what follows takes the place of what was shown
        elif kind == "error":
            self._show(kind, "\n".join(content["traceback"]))
        elif kind in ("display_data", "execute_result", "update_display_data"):
            display = (content.get("transient") or {}).get("display_id")
            text = content["data"].get("text/plain", "")
            if len(content["data"]) > 1 and text.startswith("<"):
                return  # the name of a picture or a page, which a log can't show
            self._show(display or kind, text, passing=display is not None)

    def end(self) -> None:
        """Show what was held back."""
        unfinished = {name: text for name, text in self._unfinished.items() if text}
        for name, text in (self._passing | unfinished).items():
            if text != self._shown.get(name, (0.0, ""))[1]:
                _print(text)

    def _stream(self, name: str, text: str) -> None:
        *lines, last = collapse(self._unfinished.get(name, "") + text).split("\n")
        for line in lines:
            self._show(name, line)
        self._unfinished[name] = last
        if "\r" in text and last:
            self._show(name, last.rstrip("\r"), passing=True)

    def _show(self, name: str, text: str, *, passing: bool = False) -> None:
        now = time.monotonic()
        recent = now - self._shown.get(name, (-self.REPEAT_SECONDS, ""))[0] < self.REPEAT_SECONDS
        if (passing or self._cleared) and recent:
            self._passing[name] = text
            return
        self._passing.pop(name, None)
        self._shown[name] = (now, text)
        _print(text)


def _print(text: str) -> None:
    if text.strip():
        printed.info(shorten(plain(text.rstrip("\r")), LINE_LIMIT))
