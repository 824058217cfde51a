"""The commit that a notebook was executed at, and its address."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

_BADGE = re.compile(r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/")


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit, with the address of its page where that is known."""

    revision: str
    address: str
    changed: bool


def commit_of(notebook: NotebookNode, record: Mapping[str, Any]) -> Commit | None:
    """Return the commit that the record or GitHub Actions names; None if neither does.

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
    return Commit(revision=revision, address=address, changed=bool(changes))
