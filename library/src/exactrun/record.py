"""`run.json`: what a run was made of, what it did, and which checks it passed."""

from __future__ import annotations

import html
import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal

from .console import say

Status = Literal["passed", "failed", "skipped"]

VERSION = 2
"""Of the format."""

MARKS: dict[Status, str] = {"passed": "✔", "failed": "✖", "skipped": "–"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that was verified, or the reason why it was not."""

    name: str
    status: Status
    detail: str

    def __str__(self) -> str:
        return f"{MARKS[self.status]} {self.name}: {self.detail}"


class Record:
    """Collect a run's facts and checks; a notebook shows the checks as a table."""

    def __init__(self, **facts: Any) -> None:
        self.facts: dict[str, Any] = {"version": VERSION, **facts}
        self.checks: list[Check] = []

    def note(self, **facts: Any) -> None:
        """Add facts; a later one of the same name replaces an earlier one."""
        self.facts |= facts

    def check(self, name: str, status: Status, detail: str) -> None:
        """Add a check and print it; of two with one name, the later one counts."""
        check = Check(name=name, status=status, detail=detail)
        self.checks = [c for c in self.checks if c.name != name] + [check]
        say(str(check))

    @property
    def failed(self) -> Sequence[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.status == "failed"]

    def _repr_html_(self) -> str:
        rows = [
            f"<tr><td>{MARKS[check.status]}</td><th scope='row' style='text-align:left'>"
            f"{html.escape(check.name)}</th><td>{check.status}</td>"
            f"<td style='text-align:left'>{html.escape(check.detail)}</td></tr>"
            for check in self.checks
        ]
        return f"<table>{''.join(rows)}</table>"

    def __repr__(self) -> str:
        return "\n".join(str(check) for check in self.checks)

    def to_json(self) -> str:
        """Return what `run.json` holds."""
        content = self.facts | {"checks": [asdict(check) for check in self.checks]}
        return json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n"


def git_revision(root: Path) -> str | None:
    """Return the commit of a project, with `+changes` if files differ from it; None without git.

    A project inside another repository, which doesn't track it, has no revision of its own.
    """

    def git(*arguments: str) -> list[bytes] | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, check=False
            )
        except OSError:
            return None
        return done.stdout.splitlines() if done.returncode == 0 else None  # in any encoding

    within, *revision = git("rev-parse", "--show-prefix", "HEAD") or [b"no repository"]
    if within or not revision:
        return None
    return revision[0].decode("ascii") + ("+changes" if git("status", "--porcelain") else "")


def _plain(value: Any) -> Any:
    """Return what JSON can hold in place of a dataclass, a path, or an array of NumPy's."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)
