"""docs/troubleshooting.md and the messages of the package stay in step."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from conftest import NOTEBOOK, ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SOURCES = {path: ast.parse(path.read_text("utf-8")) for path in (ROOT / "src").rglob("*.py")}
CONSTANTS = {
    node.targets[0].id: node.value
    for tree in SOURCES.values()
    for node in tree.body
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
}
"""What the modules assign at their top, by name: some messages are put together from it."""


def words(node: ast.expr) -> str:
    """Return a message as the page writes it: with … for what is known only when it runs."""
    if isinstance(node, ast.Name) and isinstance(CONSTANTS.get(node.id), ast.Constant):
        node = CONSTANTS[node.id]
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.FormattedValue):
        return words(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(words, node.values))
    if isinstance(node, ast.BinOp):
        return words(node.left) + words(node.right)
    return "…"


def raised() -> Iterator[str]:
    """All messages of the exception that is meant for the user."""
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError":
                message = words(node.args[0])
                assert len(re.findall(r"\w+", message)) > 1, (
                    f"{path}:{node.lineno}: write the message where it is raised"
                )
                yield message


def shown() -> Iterator[str]:
    """The messages, and all other texts of the package and the notebook."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for tree in (*SOURCES.values(), *map(ast.parse, cells)):
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr | ast.Constant):
                yield words(node)


def entries(text: str) -> list[str]:
    """The messages that the page names, in the first column of its tables and in its lists."""
    named = re.findall(r"^(?:\| |- )([^|\n]*)", text, flags=re.MULTILINE)
    found = [entry for cell in named for entry in re.findall(r"`([^`]+)`", cell)]
    return [re.sub(r"^✖ \w+: ", "", entry) for entry in found]  # the mark and name of a check


def matches(entry: str, message: str) -> bool:
    """Whether a message begins with an entry's words; … stands for anything."""
    return re.match(".*".join(map(re.escape, entry.split("…"))), message, re.DOTALL) is not None


def test_every_message_is_on_the_page() -> None:
    named = entries(PAGE)
    assert len(named) > 20
    assert "…" not in named  # it would stand for every message
    missing = [text for text in raised() if not any(matches(entry, text) for entry in named)]
    assert missing == []


def test_every_entry_of_the_page_is_a_message() -> None:
    own, _, _ = PAGE.partition("## What others say")
    texts = list(shown())
    stale = [entry for entry in entries(own) if not any(matches(entry, text) for text in texts)]
    assert stale == []
