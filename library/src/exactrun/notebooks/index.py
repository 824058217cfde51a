"""What the reports of a directory say first, read without reading all of their pages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..record import MARKS

HEAD_LIMIT = 4_000_000
"""Bytes of a page in which its head must end."""

TAIL = 200_000
"""Bytes at the end of a notebook's file in which its own metadata is looked for."""

_STARTED = re.compile(rb'"start_time": (null|"[^"]*")')


def read_reports(directory: Path) -> list[dict[str, Any]]:
    """Return what the reports in and below a directory say first, and their files.

    A page that is not whole, or that tells of another run than the notebook beside it, is failed.
    """
    found = (_row(directory, path) for path in sorted(directory.rglob("*.html")))
    return [row for row in found if row is not None]


def _row(directory: Path, path: Path) -> dict[str, Any] | None:
    file = path.relative_to(directory).as_posix()
    summary = read_summary(path)
    if summary is None:
        return None
    row: dict[str, Any] = {"file": file, "link": quote(file)}
    for name in ("title", "status", "verdict", "detail", "finished"):
        row[name] = str(summary.get(name, ""))
    row["title"] = row["title"] or path.stem
    row["figures"] = _texts(summary.get("figures"))
    checks = summary.get("checks")
    texts = [_texts(check) for check in checks] if isinstance(checks, list) else []
    row["checks"] = [
        c for c in texts if c.keys() >= {"name", "detail"} and c.get("status") in MARKS
    ]
    fault = _fault(path, summary)
    if fault or row["status"] not in ("passed", "failed"):
        fault = fault or "this page does not say how its run ended"
        row |= {"status": "failed", "verdict": f"Not known: {fault}", "detail": ""}
    return row


def read_summary(page: Path) -> Mapping[str, Any] | None:
    """Return what a page says first; None if it is no report.

    Raises:
        OSError: If it can't be read.
    """
    head = b""
    with page.open("rb") as file:
        while len(head) < HEAD_LIMIT and b"</head>" not in head and (read := file.read(32_768)):
            head += read
    parser = _Summary()
    parser.feed(head.partition(b"</head>")[0].decode("utf-8", "replace"))
    if parser.content is None:
        return None
    try:
        found = json.loads(parser.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class _Summary(HTMLParser):
    """Takes the summary out of a report's page: its `<meta name="run-report">`."""

    content: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        if tag == "meta" and held.get("name") == "run-report" and self.content is None:
            self.content = held.get("content") or ""


def _fault(path: Path, summary: Mapping[str, Any]) -> str:
    """Say why a page does not tell of the last run; nothing if it does."""
    if not _end_of(path, 200).rstrip().endswith(b"</html>"):
        return "this page is not whole"
    name = str(summary.get("notebook") or "")
    beside = path.with_name(name) if name and "/" not in name and "\\" not in name else None
    if beside is not None and beside.is_file():
        times = _STARTED.findall(_end_of(beside, TAIL)) or _STARTED.findall(beside.read_bytes())
        if times and json.loads(times[-1]) != summary.get("started"):
            return "this page is of another run than the notebook beside it"
    return ""


def _end_of(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - size, 0))
        return file.read()


def _texts(values: Any) -> dict[str, str]:
    return {str(n): str(v) for n, v in values.items()} if isinstance(values, Mapping) else {}
