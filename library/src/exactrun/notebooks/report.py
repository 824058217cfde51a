"""An executed notebook as one web page that loads nothing from anywhere; an index of several."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..errors import UserError
from ..files import hidden, write_whole
from ..record import MARKS
from .body import TEMPLATES, convert
from .index import read_reports
from .places import hide_places
from .shown import Selection, anchor_of
from .summary import (
    DETAIL_LIMIT,
    changes,
    checks_of,
    commit_of,
    facts_of,
    figures_of,
    judge,
    longest_cells,
    shorten,
)

FIGURES_SHOWN = 20
"""Columns of figures that an index has."""


def write_report(
    notebook: Path,
    target: Path,
    *,
    beside: Path,
    record: Mapping[str, Any] = MappingProxyType({}),
    problem: str = "",
    before: Mapping[str, Any] | None = None,
) -> Path:
    """Convert an executed notebook to one HTML page, summary first, with everything inside.

    What would be loaded from elsewhere, or would run, is left out: scripts, and pictures that lie
    on the web, such as badges, of which the alt texts stay. The page stays below 15 MB: what does
    not fit is named in its place, and is whole in the notebook. What the page says first is kept
    in a small hidden file beside it, so that the next page can tell what changed.

    Args:
        notebook: The executed notebook, whole or as far as it came.
        target: Where to write the page.
        beside: Directory of the notebook that was executed, where the pictures of its Markdown lie.
        record: What it recorded, for the summary.
        problem: What is wrong although its cells ran.
        before: What the report of the run before said first; default: what was kept beside it.

    Returns:
        The path of the page.
    """
    # Not `nbformat.read`, which would check every output against a schema: the engine wrote it.
    executed = nbformat.v4.reads(notebook.read_text(encoding="utf-8"))
    hide = hide_places(beside, target.parent, Path.cwd())
    outcome = judge(executed, record, problem=problem)
    look_at: Any = next((cell for cell in executed.cells if cell.get("id") == outcome.cell), {})
    times = executed.metadata.get("papermill", {})
    selection = Selection(whole=notebook.name, hide=hide)
    title, contents, body = convert(
        selection.of(executed, look_at=outcome.cell),
        beside=beside,
        look_at=anchor_of(look_at),
        whole=notebook.name,
    )
    end = times.get("end_time")
    checks = _hidden(checks_of(record), hide)
    summary = {
        "title": title or notebook.stem,
        "status": outcome.status,
        "verdict": outcome.verdict,
        "detail": hide(shorten(outcome.detail, DETAIL_LIMIT)),
        "finished": f"{datetime.fromisoformat(end).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        if end
        else "",
        "figures": _hidden(figures_of(record, times), hide),
        "checks": checks,
        "notebook": notebook.name if notebook.parent == target.parent else "",
        "started": times.get("start_time"),
    }
    facts = _hidden(facts_of(record), hide)
    kept = summary | {
        "settings": dict(each.partition(" = ")[::2] for each in facts.get("Settings", [])),
        "states": {check["name"]: check["status"] for check in checks},
    }
    memory = hidden(target.with_suffix(""), "report.json")
    before = before if before is not None else _before(memory, kept["started"])
    page = _rendered(
        "report.html.j2",
        title=summary["title"],
        summary=summary,
        look_at=anchor_of(look_at),
        facts=facts,
        before={"figures": {}, "finished": ""} | dict(before),
        changes=changes(kept, before) if before else [],
        longest=longest_cells(executed, anchor_of),
        notebook=quote(os.path.relpath(notebook, target.parent).replace(os.sep, "/")),
        commit=commit_of(executed, record),
        contents=contents,
        body=Markup(body),  # made safe by body.py
    )
    write_whole(target, page)
    write_whole(memory, json.dumps({"now": kept, "before": dict(before)}, ensure_ascii=False))
    return target


def write_index(directory: Path) -> Path:
    """Write `index.html`, a table of the reports in and below a directory.

    Raises:
        UserError: If a report is called `index.html`, as that of `index.ipynb` is.
    """
    target = directory / "index.html"
    reports = read_reports(directory)
    if target.name in [report["file"] for report in reports]:
        raise UserError(
            f"{target} is the report of a notebook, and the index of all reports goes by that"
            " name. Rename the notebook."
        )
    names = list(dict.fromkeys(name for report in reports for name in report["figures"]))
    counts = {
        status: sum(report["status"] == status for report in reports)
        for status in ("passed", "failed")
    }
    content = {"reports": reports, "names": names[:FIGURES_SHOWN], "counts": counts}
    write_whole(target, _rendered("index.html.j2", title="Reports", **content))
    return target


def _before(memory: Path, started: Any) -> Mapping[str, Any]:
    """Return what was kept of the run before this one; nothing if there is none."""
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
        # A page of the same run, written again, has the same run before it.
        found = kept["before" if kept["now"]["started"] == started else "now"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _hidden(value: Any, hide: Any) -> Any:
    """Return what was recorded with each text's paths shortened."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {name: _hidden(each, hide) for name, each in value.items()}
    return [_hidden(each, hide) for each in value] if isinstance(value, list) else value


def _rendered(template: str, **content: Any) -> str:
    pages = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.globals["marks"] = MARKS
    pages.policies["json.dumps_kwargs"] = {"sort_keys": False}  # the first figure counts most
    return str(pages.get_template(template).render(content))
