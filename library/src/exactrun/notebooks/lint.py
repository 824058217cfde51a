"""What is wrong with notebooks as they are stored, and fixing what a machine can fix."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..files import write_whole
from . import checks
from .files import read_notebook
from .leftovers import leftovers
from .rules import MENDABLE, Finding
from .settings import read_lint_settings
from .spans import edited


def check(path: Path) -> list[Finding]:
    """Return what is wrong with a notebook, by the rules that its `pyproject.toml` leaves on.

    Raises:
        UserError: If the file is not a valid notebook, or the settings are not.
    """
    settings = read_lint_settings(path)
    notebook = read_notebook(path)
    findings = [finding for finding, _ in leftovers(_text(path), notebook)]
    if "secret" in settings.rules:  # the one that takes time
        findings += checks.secrets(notebook)
    findings += checks.code(notebook)
    findings += checks.pictures(notebook)
    findings += checks.kernel(notebook)
    findings += checks.runtime(notebook, pinned=settings.runtime)
    findings += checks.parameters(notebook, needed=settings.has_parameters)
    findings += checks.badges(notebook, path)
    order = {name: index for index, (name, _) in enumerate(checks.named(notebook))}
    found = dict.fromkeys(finding for finding in findings if finding.rule in settings.rules)
    return sorted(found, key=lambda finding: order.get(finding.cell, -1))


def fix(path: Path) -> bool:
    """Fix what a machine can fix of what `check` finds, and return whether there was anything.

    Raises:
        UserError: As `check` does.
    """
    return _mend(path, read_lint_settings(path).rules)


def clean(path: Path) -> bool:
    """Take out what running it left in a notebook, and return whether there was anything.

    Raises:
        UserError: If the file is not a valid notebook.
    """
    return _mend(path, MENDABLE)


def mended(path: Path, rules: Collection[str]) -> str:
    """Return a notebook's text without what these rules find in it, every other byte the same."""
    text = _text(path)
    found = leftovers(text, read_notebook(path))
    return edited(text, [e for finding, edits in found if finding.rule in rules for e in edits])


def _mend(path: Path, rules: Collection[str]) -> bool:
    fixed = mended(path, rules)
    if fixed == _text(path):
        return False
    file = path.resolve()  # a link stays one
    mode = file.stat().st_mode
    write_whole(file, fixed)
    file.chmod(mode)
    return True


def _text(path: Path) -> str:
    """Return a file's text with its own line ends."""
    return path.read_bytes().decode("utf-8")
