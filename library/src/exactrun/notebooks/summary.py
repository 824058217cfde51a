"""What a report says first: how an execution ended, its figures, and the commit it was at."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nbformat import NotebookNode

from ..record import MARKS

DETAIL_LIMIT = 10_000
WORDS_LIMIT = 1_000
CHECKS_LIMIT = 100
FIGURES_LIMIT = 50
FACTS_LIMIT = 200
"""Characters of what went wrong and of any other text, and how many of each are shown."""


_BADGE = re.compile(r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/")


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
    ran = [each for each in code if each.get("execution_count") is not None]
    checks = [check["status"] for check in record.get("checks", [])]
    if "failure" in noted:
        cell = noted.get("cell")
        count = next((each.get("execution_count") for each in code if each.get("id") == cell), None)
        verdict = f"Failed in cell [{count}]" if isinstance(count, int) else "Failed"
        return Outcome(status="failed", verdict=verdict, detail=str(noted["failure"]), cell=cell)
    if not noted.get("passed") and "problem" not in noted:
        verdict = f"Stopped: {len(ran)} of {len(code)} cells executed"
        return Outcome(status="failed", verdict=verdict, cell=ran[-1].get("id") if ran else None)
    if (problem := problem or str(noted.get("problem", ""))) or "failed" in checks:
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
    figures = list(record.get("figures", {}).items())[:FIGURES_LIMIT]
    took = times.get("duration")
    whole = {"Whole notebook": duration(took)} if isinstance(took, int | float) and took else {}
    return {shorten(name, 100): shorten(str(value), 200) for name, value in figures} | whole


def checks_of(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the checks that were recorded; of too many, those that failed come before others."""
    checks = list(record.get("checks", []))
    if len(checks) > CHECKS_LIMIT:
        checks.sort(key=lambda check: check["status"] != "failed")
    return [
        {name: shorten(value, WORDS_LIMIT) for name, value in check.items()}
        for check in checks[:CHECKS_LIMIT]
    ]


def facts_of(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return all else that was recorded, each fact with its name, in words."""
    facts: dict[str, list[str]] = {}
    for name, value in list(record.items())[:FACTS_LIMIT]:
        if name not in ("checks", "figures", "version") and value not in (None, "", {}, []):
            named = shorten(name, 100).replace("_", " ")
            facts[named[:1].upper() + named[1:]] = list(_some_words(value, 10 * WORDS_LIMIT))
    return facts


def _some_words(value: Any, room: int) -> Iterator[str]:
    for words in _words(value):
        room -= len(words)
        if room < 0:
            yield "… the rest is left out"
            return
        yield shorten(words, WORDS_LIMIT)


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield f"{name} = {', '.join(_some_words(each, WORDS_LIMIT))}"
    elif isinstance(value, list):
        for each in value:
            yield " ".join(_some_words(each, WORDS_LIMIT))
    else:
        yield f"{value:.6g}" if isinstance(value, float) else str(value) or "empty"


def shorten(text: str, limit: int) -> str:
    """Return a text, or its beginning and end with words on how much is left out between."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} […{len(text) - 2 * half:,} characters are left out…] {text[-half:]}"


def changes(summary: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Return in words what changed since the run before, besides its figures.

    Args:
        summary: What this report says first, with its `settings`.
        before: The same of the report before.
    """
    found = []
    if summary["status"] != before.get("status"):
        found.append(f"{before.get('status')} before, {summary['status']} now")
    for name, kind in (("settings", "setting"), ("states", "check")):
        old, new = before.get(name) or {}, summary.get(name) or {}
        found += [
            f"{kind} {key}: {old.get(key, 'none')} → {new.get(key, 'none')}"
            for key in dict.fromkeys([*old, *new])
            if old.get(key) != new.get(key)
        ]
    more = len(found) - 30
    return found[:30] + ([f"{more} more"] if more > 0 else [])


def longest_cells(
    notebook: NotebookNode, anchor: Callable[[Any], str]
) -> list[tuple[str, str, str]]:
    """Return of the three cells that took longest, if over a second, anchor, number and time."""
    took = [
        (cell.metadata.get("papermill", {}).get("duration"), cell)
        for cell in notebook.cells
        if cell.cell_type == "code" and isinstance(cell.get("execution_count"), int)
    ]
    long = [(time, cell) for time, cell in took if isinstance(time, int | float) and time >= 1]
    return [
        (anchor(cell), f"[{cell.execution_count}]", duration(time))
        for time, cell in sorted(long, key=lambda each: -each[0])[:3]
    ]


def commit_of(notebook: NotebookNode, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the commit that the record or GitHub Actions names, with its address; None without.

    Its repository is the one of the job in GitHub Actions, or that of the badge by which the
    notebook opens in Colab.
    """
    recorded = record.get("git_revision")
    revision = recorded if isinstance(recorded, str) else os.environ.get("GITHUB_SHA", "")
    revision, _, changes = revision.partition("+")
    if not re.fullmatch(r"[0-9a-f]{7,64}", revision):
        return None
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    repository = os.environ.get("GITHUB_REPOSITORY", "")
    if not repository:
        texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        found = next(filter(None, map(_BADGE.search, texts)), None)
        server, repository = "https://github.com", found[1] if found else ""
    known = re.fullmatch(r"https://[\w.:-]+", server) and re.fullmatch(
        r"[\w.-]+/[\w.-]+", repository
    )
    address = f"{server}/{repository}/commit/{revision}" if known else ""
    return {"revision": revision, "address": address, "changed": bool(changes)}


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
