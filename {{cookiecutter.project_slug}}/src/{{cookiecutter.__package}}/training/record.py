"""`run.json`: what a run was made of, what it did, and which checks it passed."""

from __future__ import annotations

import html
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..colab.files import write_whole

Status = Literal["passed", "failed", "skipped"]

VERSION = 1
"""Of the format; `harness/run.schema.json` describes it field by field."""

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
    """Collects a run's facts and checks, and writes them to `run.json` after every one.

    A run that stops half way leaves the record of what it had done. It is written to the local disk
    and copied from there, so that a slow Drive holds up no cell.

    Args:
        facts: What is known at the start.
    """

    def __init__(self, **facts: Any) -> None:
        self.facts: dict[str, Any] = {"version": VERSION, **facts}
        self.checks: list[Check] = []
        self._path: Path | None = None
        self._copy: Callable[[Path], object] = lambda path: None

    def write_to(self, path: Path, *, copy: Callable[[Path], object]) -> None:
        """Write the record here from now on.

        Args:
            path: A file on the local disk.
            copy: Called after each time it was written; must not wait.
        """
        self._path, self._copy = path, copy
        self._write()

    def note(self, **facts: Any) -> None:
        """Add facts; a later one of the same name replaces an earlier one."""
        self.facts |= facts
        self._write()

    def check(self, name: str, status: Status, detail: str) -> None:
        """Add a check and print it; of two with one name, the later one counts."""
        check = Check(name=name, status=status, detail=detail)
        self.checks = [c for c in self.checks if c.name != name] + [check]
        print(check)
        self._write()

    @property
    def failed(self) -> Sequence[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.status == "failed"]

    def _repr_html_(self) -> str:
        """Return the checks as a table, which is what a notebook shows of a record."""
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
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            write_whole(self._path, self.to_json())
            self._copy(self._path)
        except OSError as error:  # such as a full disk: the next write is the retry
            print(f"{self._path} was not written: {error}")


def git_revision(root: Path) -> str | None:
    """Return the commit of a project, with `+changes` if files differ from it; None without git.

    A project inside another repository, which doesn't track it, has no revision of its own.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return None
    revision = git("rev-parse", "HEAD")
    return f"{revision}+changes" if revision and git("status", "--porcelain") else revision
