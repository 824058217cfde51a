"""Stored runs: their records, from `run.json` or by way of a report; and a table of several."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..record import MARKS
from .compare import PLACES, figures_of, number, words
from .index import read_summary
from .record import read_json

RECORD = "run.json"


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run's record and where it lies.

    Attributes:
        path: Of its `run.json`, or of the report that holds the record.
        record: What it says; empty if it can't be read.
        problem: Why it can't be read.
    """

    path: Path
    record: Mapping[str, Any]
    problem: str = ""

    @property
    def name(self) -> str:
        """Its own name, or that of its directory."""
        return str(self.record.get("name") or self.path.resolve().parent.name)

    @property
    def status(self) -> str:
        """How it ended."""
        checks = _checks(self.record)
        failed = [name for name, status in checks if status == "failed"]
        if self.problem or failed:
            return f"{MARKS['failed']} {', '.join(failed) or 'unreadable'}"
        if stopped := self.record.get("stopped_by"):
            return f"{MARKS['skipped']} stopped by {stopped}"
        if not self.record.get("finished", bool(checks)):
            return f"{MARKS['skipped']} not finished"
        return f"{MARKS['passed']} {'finished' if 'finished' in self.record else 'passed'}"

    @property
    def written(self) -> str:
        """When its file was written."""
        return f"{datetime.fromtimestamp(self.path.stat().st_mtime, UTC):%Y-%m-%d %H:%M}"


def read_run(path: Path) -> StoredRun:
    """Read a run that can be compared.

    Args:
        path: The run's directory, its `run.json`, its report, or the executed notebook beside that.

    Raises:
        UserError: If there is no record, or it is of a run that has trained nothing yet.
    """
    run = _read(path)
    if "weights_sha256" not in run.record:
        raise UserError(f"{run.path} records no weights yet. Run it to its end, then compare.")
    return run


def find_runs(directory: Path) -> list[StoredRun]:
    """Return the runs in a directory and below it, by their names.

    Raises:
        UserError: If there are none.
    """
    if not directory.is_dir():
        raise UserError(f"{directory} is no directory. Give two runs, or a directory of runs.")
    runs = []
    for path in directory.rglob(RECORD):
        try:
            runs.append(_read(path))
        except UserError as error:
            runs.append(StoredRun(path=path, record={}, problem=str(error)))
    if not runs:
        raise UserError(f"There is no {RECORD} in {directory} or below it, so no run to list.")
    return sorted(runs, key=lambda run: (run.name, run.path))


def table(runs: Sequence[StoredRun], *, width: int) -> str:
    """Return a line for each run: how it ended, the settings that differ, and its figures.

    Args:
        runs: The runs.
        width: Of the text, in characters; what is wider becomes a paragraph for each run.
    """
    names = [run.name for run in runs]
    if len({*names}) < len(names):
        places = [run.path.parent.resolve() for run in runs]
        common = Path(os.path.commonpath(places))
        names = [place.relative_to(common).as_posix() for place in places]
    settings = [_settings(run) for run in runs]
    known = [each for each, run in zip(settings, runs, strict=True) if not run.problem]
    every = dict.fromkeys(name for each in known for name in each)
    differ = [name for name in every if len({each.get(name, "–") for each in known}) > 1]
    figures = [figures_of(run.record) for run in runs]
    tested = [{n: v for n, v in each.items() if n.startswith("test ")} or each for each in figures]
    measured = list(dict.fromkeys(name for each in tested for name in each))
    rows = [["run", "written (UTC)", "status", *differ, *measured]]
    for name, run, held, found in zip(names, runs, settings, figures, strict=True):
        rows.append([name, run.written, run.status, *(held.get(each, "–") for each in differ)])
        rows[-1] += [number(found.get(each, "–")) for each in measured]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sum(wide) + 2 * len(wide) - 2 <= width:
        lines = ["  ".join(map(str.ljust, row, wide)).rstrip() for row in rows]
    else:
        lines = [line for row in rows[1:] for line in _paragraph(rows[0], row, width)]
    problems = [run.problem for run in runs if run.problem]
    return "\n".join([*lines, *(["", *problems] if problems else [])])


def _paragraph(names: Sequence[str], row: Sequence[str], width: int) -> list[str]:
    known = [f"{name} {text}" for name, text in zip(names[3:], row[3:], strict=True) if text != "–"]
    wrapped = textwrap.wrap(", ".join(known), max(width, 40) - 4)
    return ["  ".join(row[:3]), *(f"    {line}" for line in wrapped)]


def _settings(run: StoredRun) -> dict[str, str]:
    held = run.record.get("settings")
    held = held if isinstance(held, Mapping) else {}
    return {name: words(value) for name, value in held.items() if name not in PLACES}


def _read(path: Path) -> StoredRun:
    try:
        if path.is_dir():
            path = path / RECORD
        if path.suffix == ".ipynb":
            path = path.with_suffix(".html")
        if path.suffix == ".html":
            return _of_report(path)
        return StoredRun(path=path, record=read_json(path))
    except RecursionError:
        raise UserError(f"{path} is nested too deeply to be a run's record.") from None


def _of_report(page: Path) -> StoredRun:
    """Read the record in a report, or the one beside it or below with the checks that it shows."""
    try:
        summary = read_summary(page)
    except OSError as error:
        raise UserError(f"{page} can't be read: {error.strerror}. Check the path.") from error
    if not summary:
        raise UserError(f"{page} is no report of a notebook. Give the run's directory.")
    figures = summary.get("figures") if isinstance(summary.get("figures"), dict) else {}
    if isinstance(summary.get("record"), dict):
        record = summary["record"]
        return StoredRun(path=page, record=record | {"figures": figures})
    beside = [
        StoredRun(path=path, record=read_json(path)) for path in sorted(page.parent.rglob(RECORD))
    ]
    same = [run for run in beside if _shows(summary, run.record)]
    if len({str(run.record.get("weights_sha256")) for run in same}) != 1:
        raise UserError(
            f"{page} holds no record of its run, and beside it or below there are {len(same)} files"
            f" {RECORD} with the checks and figures that it shows. Give the run's directory."
        )
    run = same[0]
    return StoredRun(path=run.path, record={**run.record, "figures": figures})


def _shows(summary: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Tell whether a report is of this record, whose long texts and paths it shortens."""
    figures, shown = record.get("figures"), summary.get("figures")
    held = figures.items() if isinstance(figures, dict) else set()
    seen = shown.items() if isinstance(shown, dict) else set()
    return _checks(record) == _checks(summary) != [] and held <= seen


def _checks(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the name and status of each check, of those that have both."""
    checks = record.get("checks")
    held = [each for each in checks if isinstance(each, dict)] if isinstance(checks, list) else []
    return [(str(each.get("name")), str(each.get("status"))) for each in held]
