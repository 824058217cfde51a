"""What a report says first: how an execution ended, and the figures of its run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nbformat import NotebookNode

from ..record import MARKS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an execution ended.

    Attributes:
        status: Whether it passed.
        verdict: The same in a few words.
        detail: Why it did not pass.
        cell: Id of the cell to look at.
    """

    status: Literal["passed", "failed"]
    verdict: str
    detail: str = ""
    cell: str | None = None


def judge(notebook: NotebookNode, record: Mapping[str, Any], *, problem: str = "") -> Outcome:
    """Say how an execution ended; it passed only if the engine said so, as its last word.

    Args:
        notebook: The executed notebook.
        record: What it recorded; empty if there is nothing.
        problem: What is wrong although its cells ran, such as a record that is missing.
    """
    noted = notebook.metadata.get("exactrun", {})
    code = [each for each in notebook.cells if each.cell_type == "code" and each.source.strip()]
    ran = [each for each in code if each.execution_count is not None]
    checks = [check["status"] for check in record.get("checks", [])]
    if "failure" in noted:
        cell = noted.get("cell")
        count = next((each.execution_count for each in code if each.id == cell), None)
        verdict = f"Failed in cell [{count}]" if count else "Failed"
        return Outcome(status="failed", verdict=verdict, detail=noted["failure"], cell=cell)
    if not noted.get("passed"):
        verdict = f"Stopped: {len(ran)} of {len(code)} cells executed"
        return Outcome(status="failed", verdict=verdict, cell=ran[-1].id if ran else None)
    if problem or "failed" in checks:
        failed = checks.count("failed")
        verdict = f"{failed} of {len(checks)} checks failed" if failed else "Failed"
        return Outcome(status="failed", verdict=verdict, detail=problem)
    verdict = f"Passed: {len(ran)} of {len(code)} cells executed"
    if checks:
        skipped = checks.count("skipped")
        verdict = f"Passed: {checks.count('passed')} of {len(checks)} checks, {skipped} skipped"
    return Outcome(status="passed", verdict=verdict)


def figures_of(record: Mapping[str, Any], times: Mapping[str, Any]) -> dict[str, str]:
    """Return what one looks at first: the record's figures, and how long the notebook took."""
    took = {"Whole notebook": duration(times["duration"])} if times.get("duration") else {}
    return {**record.get("figures", {}), **took}


def facts_of(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return all else that was recorded, each fact with its name, in words."""
    return {
        name.replace("_", " ").capitalize(): _words(value)
        for name, value in record.items()
        if name not in ("checks", "figures", "version") and value not in (None, "", {}, [])
    }


def _words(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name} = {', '.join(_words(each))}" for name, each in value.items()]
    if isinstance(value, list):
        return [" ".join(_words(each)) for each in value]
    return [f"{value:.6g}" if isinstance(value, float) else str(value) or "empty"]


def as_markdown(report: Mapping[str, Any]) -> str:
    """Return what a report says first as Markdown, for the summary of a job in GitHub Actions.

    Args:
        report: One of those that `read_reports` returned.
    """
    parts = [f"### {MARKS[report['status']]} {report['title']}: {report['verdict']}"]
    parts.append(f"`{report['file']}`")
    if report["detail"]:
        parts.append(f"````\n{report['detail']}\n````")
    if report["figures"]:
        parts.append(_table([[*report["figures"]], [*report["figures"].values()]]))
    checks = [[MARKS[each["status"]], each["name"], each["detail"]] for each in report["checks"]]
    if checks:
        parts.append(_table([["", "check", "what was found"], *checks]))
    return "\n\n".join(parts) + "\n\n"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [[re.sub(r"[\\|<>&`*_]", r"\\\g<0>", each) for each in row] for row in rows]
    lines.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(' '.join(each.split()) for each in row)} |" for row in lines)


def duration(seconds: float) -> str:
    """Return a length of time as people say it: 13.2 s, 12 min 5 s, 3 h 12 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
