"""What a report says first: how an execution ended, and the figures of its run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nbformat import NotebookNode

MARKS = {"passed": "✔", "failed": "✖", "skipped": "–"}


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


def judge(
    notebook: NotebookNode,
    record: Mapping[str, Any],
    *,
    failure: str | None = None,
    cell: str | None = None,
) -> Outcome:
    """Say how an execution ended.

    Args:
        notebook: The executed notebook.
        record: What `run.json` holds; empty if there is none.
        failure: Why it did not pass, by the engine; None if it did, or could not say any more.
        cell: Id of the cell that `failure` is about.
    """
    code = [each for each in notebook.cells if each.cell_type == "code" and each.source.strip()]
    ran = [each for each in code if each.execution_count is not None]
    if failure is not None:
        count = next((each.execution_count for each in code if each.id == cell), None)
        where = f" in cell [{count}]" if count else ""
        return Outcome(status="failed", verdict=f"Failed{where}", detail=failure, cell=cell)
    if len(ran) < len(code):
        verdict = f"Stopped: {len(ran)} of {len(code)} cells executed"
        return Outcome(status="failed", verdict=verdict, cell=ran[-1].id if ran else None)
    checks = [check["status"] for check in record.get("checks", [])]
    if failed := checks.count("failed"):
        return Outcome(status="failed", verdict=f"{failed} of {len(checks)} checks failed")
    verdict = f"Passed: {len(ran)} of {len(code)} cells executed"
    if checks:
        skipped = checks.count("skipped")
        verdict = f"Passed: {checks.count('passed')} of {len(checks)} checks, {skipped} skipped"
    return Outcome(status="passed", verdict=verdict)


def figures_of(record: Mapping[str, Any], times: Mapping[str, Any]) -> dict[str, str]:
    """Return what one looks at first, each figure with its name, ready to be shown.

    Args:
        record: What `run.json` holds; empty if there is none.
        times: What papermill noted of the whole notebook, its `duration` in seconds among it.
    """
    figures = {}
    metrics = record.get("metrics", {})
    # A run that stopped before its model was delivered has not been tested, but validated.
    part = "test" if any(name.startswith("test_") for name in metrics) else "val"
    for name in sorted(metrics, key=lambda name: "accuracy" not in name):
        if name.startswith(f"{part}_"):
            share = "accuracy" in name
            value = f"{100 * metrics[name]:.1f} %" if share else f"{metrics[name]:.4f}"
            figures[name.replace("_", " ").replace("val ", "validation ").capitalize()] = value
    if "seconds" in record:
        figures["Training"] = _duration(record["seconds"])
    if times.get("duration"):
        figures["Whole notebook"] = _duration(times["duration"])
    if record.get("examples_per_second"):
        figures["Examples/s"] = f"{record['examples_per_second']:,.0f}"
    if "accelerator" in record:
        figures["Device"] = record["accelerator"]["name"]
    return figures


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


def _duration(seconds: float) -> str:
    """Return a length of time as people say it: 13.2 s, 12 min 5 s, 3 h 12 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
